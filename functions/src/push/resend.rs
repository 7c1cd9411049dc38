//! Sends a delivery again because an admin asks: the stored bytes under the same id, on a schedule that begins anew.
//! It must never render, never send itself, and never take a delivery from a worker that is at it.

use std::sync::Arc;
use std::time::Duration;

use domain::call::{CallRow, CallState};
use domain::delivery::{Channel, DeliveryRow};
use domain::endpoint::EndpointId;
use domain::ports::{Bots, Clock, Deliveries, Endpoints, Job, Objects, Owned, QueueName, Queues, StoreError};
use thiserror::Error;

use super::gate::is_disabled;

/// A worker may begin or end a try between reading and writing; who meets that so often comes back later.
const TRIES: usize = 3;

/// What it takes to send again.
#[derive(Clone, derive_more::Debug)]
#[debug("resend::Desk")]
pub struct Desk {
    pub clock: Arc<dyn Clock>,
    pub bots: Arc<dyn Bots>,
    pub deliveries: Arc<dyn Deliveries>,
    pub endpoints: Arc<dyn Endpoints>,
    pub objects: Arc<dyn Objects>,
    pub queues: Arc<dyn Queues>,
}

/// Why a delivery is not sent again.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum NotResent {
    #[error("the call has not ended: its result is rendered after that")]
    CallLive,
    #[error("the call's result is not rendered yet (next step: {step}): it is sent by itself when it is")]
    NotRendered { step: &'static str },
    #[error(
        "nothing was ever rendered for {what}: version {bot_version} of the bot, with which the call ran, has none"
    )]
    NoDelivery { what: &'static str, bot_version: u64 },
    #[error("the rendered body of {} is no longer stored: there is nothing to send", .channel.as_str())]
    BodyGone { channel: Channel },
    #[error("a try of {} is under way: ask again when it is over", .channel.as_str())]
    TryRunning { channel: Channel, wait: Duration },
    #[error(
        "the bot's {} answered 410 Gone and is disabled: replace the bot (PUT, with another URL or the same) to enable it",
        .channel.as_str()
    )]
    EndpointDisabled { channel: Channel },
}

impl NotResent {
    /// The machine word of the refusal.
    pub fn code(&self) -> &'static str {
        match self {
            Self::CallLive => "call_live",
            Self::NotRendered { .. } => "not_rendered",
            Self::NoDelivery { .. } => "no_delivery",
            Self::BodyGone { .. } => "body_gone",
            Self::TryRunning { .. } => "try_running",
            Self::EndpointDisabled { .. } => "endpoint_disabled",
        }
    }
}

/// What became of each delivery asked for.
#[derive(Debug, Default)]
pub struct Report {
    pub resent: Vec<DeliveryRow>,
    pub refused: Vec<NotResent>,
}

/// Sends the deliveries of a call again: one channel's, or all there are.
///
/// # Errors
/// When a store does not answer; what was put on its way by then stays so.
pub async fn resend(desk: &Desk, call: &CallRow, channel: Option<Channel>) -> Result<Report, StoreError> {
    let mut report = Report::default();
    let channels = channel.as_ref().map_or(Channel::ALL, std::slice::from_ref);
    let mut missing = None;
    for channel in channels {
        match one(desk, call, *channel).await? {
            Ok(row) => report.resent.push(row),
            Err(why @ NotResent::NoDelivery { .. }) => missing = Some(why),
            Err(why) => report.refused.push(why),
        }
    }
    // A channel that the bot has not got is no refusal where all were meant and another one is there.
    if let Some(why) = missing.filter(|_| report.resent.is_empty() && report.refused.is_empty()) {
        report.refused.push(without_rows(call, channel).unwrap_or(why));
    }
    Ok(report)
}

/// Why a call has no deliveries at all, if that is but for now.
fn without_rows(call: &CallRow, channel: Option<Channel>) -> Option<NotResent> {
    if call.state != CallState::Ended {
        return Some(NotResent::CallLive);
    }
    // The step `push` outlives the rendering while a recording is on its way: only a row that is missing counts.
    if let Some(step) = call.next_step {
        return Some(NotResent::NotRendered { step: step.as_str() });
    }
    let what = channel.map_or("this call", Channel::as_str);
    Some(NotResent::NoDelivery { what, bot_version: call.bot_version })
}

async fn one(desk: &Desk, call: &CallRow, channel: Channel) -> Result<Result<DeliveryRow, NotResent>, StoreError> {
    let deliveries = &desk.deliveries;
    let mut wait = Duration::from_secs(1);
    for _ in 0..TRIES {
        let Some(row) = deliveries.get(call.call_id, channel).await? else {
            return Ok(Err(NotResent::NoDelivery { what: channel.as_str(), bot_version: call.bot_version }));
        };
        if let Some(why) = obstacle(desk, &row).await? {
            return Ok(Err(why));
        }
        let now = desk.clock.now();
        if let Some(until) = row.held_until(now) {
            wait = Duration::try_from(until.duration_since(now)).unwrap_or_default();
            return Ok(Err(NotResent::TryRunning { channel, wait }));
        }
        if deliveries.resend(&row, now).await? == Owned::Written {
            announce(desk, &row).await;
            return Ok(Ok(deliveries.get(call.call_id, channel).await?.unwrap_or(row)));
        }
    }
    Ok(Err(NotResent::TryRunning { channel, wait }))
}

async fn obstacle(desk: &Desk, row: &DeliveryRow) -> Result<Option<NotResent>, StoreError> {
    let channel = row.channel;
    if !desk.objects.exists(&row.body_key).await? {
        return Ok(Some(NotResent::BodyGone { channel }));
    }
    let endpoint = desk.endpoints.get(&row.bot_id, &EndpointId::of(channel, &row.url)).await?;
    Ok(match endpoint {
        Some(endpoint) if is_disabled(&*desk.bots, &endpoint).await? => Some(NotResent::EndpointDisabled { channel }),
        Some(_) | None => None,
    })
}

async fn announce(desk: &Desk, row: &DeliveryRow) {
    let channel = row.channel.as_str();
    metrics::counter!("ringfleet_deliveries_resent_total", "channel" => channel).increment(1);
    tracing::info!(call.id = %row.call_id, bot.id = %row.bot_id, channel, state = ?row.state, "to be sent again");
    let job = Job { call_id: row.call_id, channel: Some(row.channel) };
    if let Err(cause) = desk.queues.send(QueueName::Deliveries, &row.bot_id, &job, Duration::ZERO).await {
        tracing::warn!(call.id = %row.call_id, channel, error = %cause, "resend not queued; sweep will");
    }
}
