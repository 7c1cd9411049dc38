//! Renders what a call delivers, once: body bytes into the bucket, then a delivery row that names them.
//! It must never clear the call's step before every row exists, and never render for a row that exists.

use std::time::Duration;

use bytes::Bytes;
use domain::bot::Bot;
use domain::call::{CallRow, NextStep, RecordingStatus};
use domain::delivery::{Channel, DeliveryRow, Target};
use domain::objects::CallObjects;
use domain::outcome::EndReason;
use domain::ports::{Job, QueueName, StoreError};
use domain::result::Record;
use jiff::Timestamp;
use sha2::{Digest, Sha256};

use super::Desk;
use crate::result::Ended;
use crate::salvage::salvage;

/// Renders every channel of the call's bot that has no delivery yet, and queues the new deliveries.
pub(super) async fn render(desk: &Desk, row: &CallRow) -> Result<(), StoreError> {
    if row.next_step != Some(NextStep::Push) {
        return Ok(());
    }
    let bot = desk.bots.version(&row.bot_id, row.bot_version).await?;
    let channels = bot.as_ref().map(channels).unwrap_or_default();
    let mut new = Vec::new();
    if let Some(bot) = bot.filter(|_| !channels.is_empty()) {
        let ended = ended(desk, row).await?;
        for channel in channels {
            if create(desk, row, &bot, &ended, channel).await? {
                new.push(channel);
            }
        }
    }
    for channel in new {
        domain::failpoint!("render.stored");
        let job = Job { call_id: row.call_id, channel: Some(channel) };
        if let Err(cause) = desk.queues.send(QueueName::Deliveries, &row.bot_id, &job, Duration::ZERO).await {
            tracing::warn!(call.id = %row.call_id, channel = channel.as_str(), error = %cause, "delivery not queued; sweep will");
        }
        domain::failpoint!("render.queued");
    }
    close(desk, row).await
}

/// Clears the last step of the call's life; but one whose recording is still on its way stays in sight of `sweep`,
/// until it is there or, its server being lost, what the checkpoints hold has taken its place.
async fn close(desk: &Desk, row: &CallRow) -> Result<(), StoreError> {
    let now = desk.clock.now();
    let calls = &desk.calls;
    if row.recording_status == RecordingStatus::Pending {
        let limit = row.ended_at.unwrap_or(row.started_at) + upload_limit(desk, row);
        if now < limit {
            calls.defer_step(row.call_id, NextStep::Push, now + desk.sweep.again_after).await?;
            return Ok(());
        }
        let saved = salvage(&desk.salvage, row).await?;
        calls.settle_recording(row.call_id, saved.recording).await?;
        tracing::warn!(call.id = %row.call_id, recording = ?saved.recording, "the recording never came; settled from what there is");
    }
    calls.take_step(row.call_id, &[NextStep::Push], None, now).await?;
    domain::failpoint!("render.closed");
    Ok(())
}

/// How long after the end a recording may still come. The server of a lost call is no more: what `reap` did not get to
/// store is stored here, unless the server's next start has been quicker.
fn upload_limit(desk: &Desk, row: &CallRow) -> Duration {
    let lost = row.end_reason == Some(EndReason::ServerLost);
    if lost { desk.analysis.record_wait } else { desk.reap.upload }
}

/// Where a bot wants its results.
fn channels(bot: &Bot) -> Vec<Channel> {
    let push = bot.push.as_ref().map(|_| Channel::Push);
    let webhook = bot.webhook.as_ref().map(|_| Channel::Webhook);
    push.into_iter().chain(webhook).collect()
}

/// The ended call; objects that no one can read any more are empty rather than an obstacle for ever.
async fn ended(desk: &Desk, row: &CallRow) -> Result<Ended, StoreError> {
    let missing =
        || StoreError::Corrupt { what: "calls", cause: format!("call {} is at push and has no end", row.call_id) };
    match Ended::read(&desk.archive, row).await {
        Err(StoreError::Corrupt { cause, .. }) => {
            tracing::error!(call.id = %row.call_id, error = %cause, "an object of the call is unreadable; pushing without it");
            Ended::of(&desk.archive.public_url, row, Record::default(), serde_json::Map::new()).ok_or_else(missing)
        }
        other => other?.ok_or_else(missing),
    }
}

/// `true` when the delivery is new.
async fn create(desk: &Desk, row: &CallRow, bot: &Bot, ended: &Ended, channel: Channel) -> Result<bool, StoreError> {
    if desk.deliveries.get(row.call_id, channel).await?.is_some() {
        return Ok(false);
    }
    let now = desk.clock.now();
    let Some(body) = body(bot, ended, channel, now)? else { return Ok(false) };
    let key = body_key(row, channel, &body.bytes);
    desk.archive.objects.put(&key, "application/json", Bytes::from(body.bytes)).await?;
    domain::failpoint!("render.body");
    let delivery = DeliveryRow::new(row.call_id, channel, row.bot_id.clone(), body.to, key, now);
    // `false`: another worker's row stands, and names its own bytes.
    let first = desk.deliveries.create(&delivery).await?;
    if first && !body.missing.is_empty() {
        let warnings: Vec<String> =
            body.missing.iter().map(|name| format!("push.key_mapper: {{{{{name}}}}} has no value")).collect();
        desk.calls.warn(row.call_id, &warnings).await?;
    }
    Ok(first)
}

struct Body {
    bytes: Vec<u8>,
    to: Target,
    missing: Vec<String>,
}

fn body(bot: &Bot, ended: &Ended, channel: Channel, now: Timestamp) -> Result<Option<Body>, StoreError> {
    Ok(match channel {
        Channel::Push => bot.push.as_ref().map(|push| {
            let context = domain::push::context(bot, &ended.result, &ended.record, now);
            let rendered = domain::push::render(&push.key_mapper, &context);
            Body {
                bytes: rendered.bytes,
                to: Target { url: push.url.clone(), method: push.method.as_str().to_owned() },
                missing: rendered.missing,
            }
        }),
        Channel::Webhook => match &bot.webhook {
            Some(webhook) => {
                let bytes = serde_json::to_vec(&ended.result)
                    .map_err(|fault| StoreError::Corrupt { what: "result", cause: fault.to_string() })?;
                let to = Target { url: webhook.url.clone(), method: "POST".to_owned() };
                Some(Body { bytes, to, missing: Vec::new() })
            }
            None => None,
        },
    })
}

/// Names a body by its bytes: a second worker that renders something else can't overwrite what a row points at.
fn body_key(row: &CallRow, channel: Channel, bytes: &[u8]) -> String {
    let digest = Sha256::digest(bytes);
    let short: String = digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    format!("{}.{short}", CallObjects::of(row).body(channel))
}
