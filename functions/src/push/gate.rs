//! The way to an endpoint and back: whether a delivery may try it now, and what its try says of it. The endpoint's row is
//! shared by all workers and changed only from what was read; who loses that race reads again.
//! It must never hold up a delivery because the endpoint's row could not be written.

use domain::delivery::{Answer, DeliveryRow, sighting};
use domain::endpoint::{Admission, EndpointId, EndpointRow, Sighting};
use domain::ids::BotId;
use domain::ports::{Bots, StoreError};
use jiff::Timestamp;

use super::Desk;

/// Workers that see the same endpoint fail at the same moment get in each other's way; who is not heard after so many
/// tries has been spoken for by the others.
const CAS_TRIES: usize = 5;

/// What stands between a delivery and its endpoint.
pub(super) enum Gate {
    Open(Pass),
    Wait { until: Timestamp },
    Disabled,
}

/// The right to one try.
pub(super) struct Pass {
    /// The row that this delivery's probe has stored, if it probes.
    probe: Option<EndpointRow>,
}

/// Asks to try the endpoint of `row`; a probe is held until `lease`.
pub(super) async fn enter(
    desk: &Desk,
    row: &DeliveryRow,
    now: Timestamp,
    lease: Timestamp,
) -> Result<Gate, StoreError> {
    let endpoints = &desk.endpoints;
    let Some(endpoint) = endpoints.get(&row.bot_id, &EndpointId::of(row.channel, &row.url)).await? else {
        return Ok(Gate::Open(Pass { probe: None }));
    };
    if is_disabled(&*desk.bots, &endpoint).await? {
        return Ok(Gate::Disabled);
    }
    match endpoint.admission(now) {
        Admission::Go => Ok(Gate::Open(Pass { probe: None })),
        Admission::Wait { until } => Ok(Gate::Wait { until }),
        Admission::Probe => {
            let probing = raised(endpoint.probing(lease), &endpoint, now);
            if endpoints.put(&probing, Some(endpoint.rev)).await? {
                note_change(&endpoint, &probing);
                Ok(Gate::Open(Pass { probe: Some(probing) }))
            } else {
                // Another one probes; what it finds is known soon.
                Ok(Gate::Wait { until: now + desk.delivery.total })
            }
        }
    }
}

/// Gives a probe back that was not made.
pub(super) async fn give_back(desk: &Desk, pass: Pass, now: Timestamp) {
    let Some(probing) = pass.probe else { return };
    let released = raised(probing.released(now), &probing, now);
    if let Err(cause) = desk.endpoints.put(&released, Some(probing.rev)).await {
        tracing::warn!(bot.id = %probing.bot_id, error = %cause, "a probe was not given back; its lease will end");
    }
}

/// Writes down what a try saw; `true` when its endpoint is disabled now.
pub(super) async fn leave(desk: &Desk, row: &DeliveryRow, pass: &Pass, answer: &Answer) -> bool {
    match seen(desk, row, pass, answer).await {
        Ok(disabled) => disabled,
        Err(cause) => {
            tracing::warn!(call.id = %row.call_id, bot.id = %row.bot_id, error = %cause, "what a try saw of its endpoint is not kept");
            false
        }
    }
}

async fn seen(desk: &Desk, row: &DeliveryRow, pass: &Pass, answer: &Answer) -> Result<bool, StoreError> {
    let current = match answer {
        Answer::Status { code: 410, .. } => current_version(&*desk.bots, &row.bot_id).await?,
        _ => None,
    };
    let now = desk.clock.now();
    let Some(seen) = sighting(answer, row.call_id, current.unwrap_or_default()) else {
        if let Some(probing) = &pass.probe {
            give_back(desk, Pass { probe: Some(probing.clone()) }, now).await;
        }
        return Ok(false);
    };
    let endpoints = &desk.endpoints;
    let id = EndpointId::of(row.channel, &row.url);
    for _ in 0..CAS_TRIES {
        let found = endpoints.get(&row.bot_id, &id).await?;
        let replaces = found.as_ref().map(|found| found.rev);
        let before = found.unwrap_or_else(|| EndpointRow::new(row.bot_id.clone(), row.channel, &row.url, now));
        let after = before.after(&seen, &desk.holding.breaker, now);
        let disabled = || matches!(seen, Sighting::Gone { .. }) && after.disabled_since(current).is_some();
        if after == before {
            return Ok(disabled());
        }
        let after = raised(after.clone(), &before, now);
        if endpoints.put(&after, replaces).await? {
            note_change(&before, &after);
            return Ok(disabled());
        }
    }
    Ok(false)
}

/// Until when the endpoint of a delivery is held back; for `sweep`, which sends nothing there before.
pub(crate) fn held_back_until(endpoint: &EndpointRow, now: Timestamp) -> Option<Timestamp> {
    match endpoint.admission(now) {
        Admission::Wait { until } => Some(until),
        Admission::Go | Admission::Probe => None,
    }
}

/// Whether an endpoint said that it is gone, and its bot was not replaced since.
///
/// # Errors
/// When the table of bots does not answer.
pub(crate) async fn is_disabled(bots: &dyn Bots, endpoint: &EndpointRow) -> Result<bool, StoreError> {
    if endpoint.gone.disabled_at.is_none() {
        return Ok(false);
    }
    Ok(endpoint.disabled_since(current_version(bots, &endpoint.bot_id).await?).is_some())
}

async fn current_version(bots: &dyn Bots, bot: &BotId) -> Result<Option<u64>, StoreError> {
    Ok(bots.get(bot).await?.map(|bot| bot.version))
}

fn raised(row: EndpointRow, from: &EndpointRow, now: Timestamp) -> EndpointRow {
    EndpointRow { rev: from.rev + 1, changed_at: now, ..row }
}

fn note_change(before: &EndpointRow, after: &EndpointRow) {
    let channel = after.channel.as_str();
    if before.breaker.word() != after.breaker.word() {
        let to = after.breaker.word();
        metrics::counter!("ringfleet_breaker_changes_total", "channel" => channel, "to" => to).increment(1);
        tracing::warn!(bot.id = %after.bot_id, channel, from = before.breaker.word(), to, "an endpoint's breaker moved");
    }
    if after.gone.disabled_at.is_some() && before.gone.disabled_at != after.gone.disabled_at {
        metrics::counter!("ringfleet_endpoints_disabled_total", "channel" => channel).increment(1);
        tracing::error!(bot.id = %after.bot_id, channel, "an endpoint says that it is gone; disabled until the bot is replaced");
    }
}
