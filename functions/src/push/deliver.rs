//! One try of one delivery: lease, send, judge, write down, and say when the next try is due.
//! It must never follow a redirect, try while another worker holds the lease, or count a try that it does not make.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use domain::delivery::{
    Answer, AttemptRow, Channel, DeadWhy, DeliveryRow, DeliveryState, Next, QUEUE_DELAY_MAX, Schedule, Verdict, flag,
    verdict,
};
use domain::endpoint::BreakerRules;
use domain::ids::CallId;
use domain::ports::{
    Deliveries, Entropy, Job, OutboundAnswer, OutboundError, OutboundRequest, Owned, QueueName, StoreError,
};
use http::header::RETRY_AFTER;
use jiff::Timestamp;
use jiff::fmt::rfc2822::DateTimeParser;
use tokio::time::Instant;

use super::Desk;
use super::gate::{self, Gate, Pass};
use super::request::{Unsendable, request};

/// How often, and with which first pause, the end of a try is written: all within the lease of the try.
const END_TRIES: u32 = 4;
const END_PAUSE: Duration = Duration::from_millis(250);
/// Bytes of an answer that an attempt row keeps.
const ANSWER_KEPT: usize = 1024;

/// What it takes to put a delivery off, or to give it up.
#[derive(Clone, derive_more::Debug)]
#[debug("Holding")]
pub struct Holding {
    pub deliveries: Arc<dyn Deliveries>,
    pub entropy: Arc<dyn Entropy>,
    /// Waits between the tries of a delivery.
    pub schedule: Schedule,
    /// When deliveries to a failing endpoint are held back.
    pub breaker: BreakerRules,
}

/// Tries one delivery, if it is due, nobody else is at it, and its endpoint may be tried.
pub(super) async fn deliver(desk: &Desk, call: CallId, channel: Channel) -> Result<(), StoreError> {
    let Some(running) = begin(desk, call, channel).await? else { return Ok(()) };
    let outcome = exchange(desk, &running).await;
    domain::failpoint!("deliver.sent");
    conclude(desk, running, outcome).await
}

/// A try that is counted and leased to this worker.
pub(super) struct Running {
    /// As it was before the try.
    row: DeliveryRow,
    request: Result<OutboundRequest, Unsendable>,
    pass: Pass,
    at: Timestamp,
}

impl Running {
    fn number(&self) -> u32 {
        self.row.tries + 1
    }
}

/// Takes the delivery for one try; `None` when there is none to make.
pub(super) async fn begin(desk: &Desk, call: CallId, channel: Channel) -> Result<Option<Running>, StoreError> {
    let deliveries = &desk.deliveries;
    let Some(row) = deliveries.get(call, channel).await? else { return Ok(None) };
    let now = desk.clock.now();
    if row.state != DeliveryState::Pending || row.due_at > now {
        return Ok(None);
    }
    // Workers that died took the last tries with them.
    if row.tries_of_round() >= desk.holding.schedule.tries() {
        bury(&desk.holding, &row, now, DeadWhy::ScheduleOver).await?;
        return Ok(None);
    }
    // Before anything is taken: a bucket that is down must use up neither a try nor a probe.
    let request = request(desk, &row, now).await?;
    // A slow bucket must not use up the lease either: it is the try's alone.
    let now = desk.clock.now();
    let limits = &desk.delivery;
    let lease = now + limits.total + limits.lease_margin;
    let pass = match gate::enter(desk, &row, now, lease).await? {
        Gate::Open(pass) => pass,
        Gate::Wait { until } => {
            hold_back(&desk.holding, &row, now, until).await?;
            return Ok(None);
        }
        Gate::Disabled => {
            bury(&desk.holding, &row, now, DeadWhy::EndpointDisabled).await?;
            return Ok(None);
        }
    };
    match deliveries.begin_try(call, channel, row.tries, now, lease).await {
        Ok(Owned::Written) => {
            domain::failpoint!("deliver.begun");
            Ok(Some(Running { row, request, pass, at: now }))
        }
        Ok(Owned::Lost) => {
            gate::give_back(desk, pass, now).await;
            Ok(None)
        }
        // Whether the try is ours is unknown; the lease of row and probe will tell.
        Err(cause) => Err(cause),
    }
}

/// Puts the delivery off without counting a try, or gives it up when it was held back for longer than a schedule takes.
pub(crate) async fn hold_back(
    desk: &Holding,
    row: &DeliveryRow,
    now: Timestamp,
    until: Timestamp,
) -> Result<(), StoreError> {
    if until > row.round_began() + desk.schedule.longest() + desk.breaker.longest {
        return bury(desk, row, now, DeadWhy::EndpointDown).await;
    }
    // Not all at the same moment: whoever comes first probes, and the others should meet what it found.
    let spread = desk.breaker.pause.mul_f64(f64::from(desk.entropy.dice()) / f64::from(u32::MAX));
    desk.deliveries.put_off(row.call_id, row.channel, row.tries, now, until + spread).await?;
    metrics::counter!("ringfleet_deliveries_held_back_total", "channel" => row.channel.as_str()).increment(1);
    tracing::debug!(call.id = %row.call_id, channel = row.channel.as_str(), "the endpoint's breaker is open; held back");
    Ok(())
}

async fn bury(desk: &Holding, row: &DeliveryRow, now: Timestamp, why: DeadWhy) -> Result<(), StoreError> {
    let deliveries = &desk.deliveries;
    if deliveries.bury(row.call_id, row.channel, row.tries, now, why).await? == Owned::Written {
        note_end(row, DeliveryState::Dead, why.as_str());
        tracing::error!(call.id = %row.call_id, bot.id = %row.bot_id, channel = row.channel.as_str(), tries = row.tries, why = why.as_str(), "delivery is dead");
    }
    Ok(())
}

/// What one try brought.
pub(super) struct Outcome {
    answer: Answer,
    error: Option<&'static str>,
    body: Bytes,
    latency: Duration,
}

impl Outcome {
    fn none(answer: Answer, word: &'static str, latency: Duration) -> Self {
        Self { answer, error: Some(word), body: Bytes::new(), latency }
    }
}

/// Sends the request, if there is one to send.
pub(super) async fn exchange(desk: &Desk, running: &Running) -> Outcome {
    let row = &running.row;
    let request = match &running.request {
        Ok(request) => request.clone(),
        Err(why) => {
            tracing::error!(call.id = %row.call_id, channel = row.channel.as_str(), error = %why, "a delivery can't be sent");
            return Outcome::none(Answer::NotSent { blocked: false }, why.word(), Duration::ZERO);
        }
    };
    let begun = Instant::now();
    let sent = desk.outbound.send(request).await;
    let latency = begun.elapsed();
    metrics::histogram!("ringfleet_delivery_seconds", "channel" => row.channel.as_str()).record(latency.as_secs_f64());
    match sent {
        Ok(answer) => answered(row, answer, latency, desk.clock.now()),
        Err(cause @ OutboundError::Blocked(_)) => {
            tracing::warn!(call.id = %row.call_id, bot.id = %row.bot_id, "security: a delivery to a blocked address was refused");
            Outcome::none(Answer::NotSent { blocked: true }, cause.word(), latency)
        }
        Err(cause) => Outcome::none(Answer::NoAnswer, cause.word(), latency),
    }
}

fn answered(row: &DeliveryRow, answer: OutboundAnswer, latency: Duration, now: Timestamp) -> Outcome {
    if (300..400).contains(&answer.status) {
        tracing::warn!(call.id = %row.call_id, bot.id = %row.bot_id, status = answer.status, "security: an endpoint redirects deliveries; not followed");
    }
    let retry_after = answer
        .headers
        .get(RETRY_AFTER)
        .and_then(|value| value.to_str().ok())
        .and_then(|text| read_retry_after(text, now));
    Outcome { answer: Answer::Status { code: answer.status, retry_after }, error: None, body: answer.body, latency }
}

/// Writes down what the try says of its endpoint and of the delivery, and queues the next try where the queue can hold
/// it back that long. Crashed in between, the endpoint is disabled and the delivery meets that at its next try.
pub(super) async fn conclude(desk: &Desk, running: Running, outcome: Outcome) -> Result<(), StoreError> {
    let row = &running.row;
    let disabled = gate::leave(desk, row, &running.pass, &outcome.answer).await;
    let tries = row.tries_of_round() + 1;
    let wait = match verdict(&outcome.answer) {
        Verdict::Delivered => Err(Next::Delivered),
        Verdict::Gone if disabled => Err(Next::Dead(DeadWhy::EndpointGone)),
        Verdict::Gone => next_wait(desk, tries, None),
        Verdict::Retry { at_least } => next_wait(desk, tries, at_least),
    };
    let next = wait.map_or_else(|end| end, |wait| Next::Again { due_at: desk.clock.now() + wait });
    let attempt = attempt(&running, &outcome);
    let written = end_try(desk, &attempt, &next).await?;
    domain::failpoint!("deliver.ended");
    note(row, &attempt, next, written);
    match wait {
        Ok(wait) if written == Owned::Written && wait <= QUEUE_DELAY_MAX => queue_again(desk, row, wait).await,
        _ => {}
    }
    Ok(())
}

fn attempt(running: &Running, outcome: &Outcome) -> AttemptRow {
    let status = match outcome.answer {
        Answer::Status { code, .. } => Some(code),
        Answer::NoAnswer | Answer::NotSent { .. } => None,
    };
    AttemptRow {
        call_id: running.row.call_id,
        channel: running.row.channel,
        n: running.number(),
        at: running.at,
        status,
        error: outcome.error.map(str::to_owned),
        latency_ms: u64::try_from(outcome.latency.as_millis()).unwrap_or(u64::MAX),
        answer: String::from_utf8_lossy(&outcome.body[..outcome.body.len().min(ANSWER_KEPT)]).into_owned(),
        flag: flag(&outcome.answer),
    }
}

/// Writes an end of a try. What an endpoint has taken is sent again if this is not written, so a table that is busy for a
/// moment is asked again.
async fn end_try(desk: &Desk, attempt: &AttemptRow, next: &Next) -> Result<Owned, StoreError> {
    let mut pause = END_PAUSE;
    for _ in 1..END_TRIES {
        match desk.deliveries.end_try(attempt, next).await {
            Err(StoreError::Unavailable { .. }) => tokio::time::sleep(pause).await,
            other => return other,
        }
        pause *= 2;
    }
    desk.deliveries.end_try(attempt, next).await
}

fn next_wait(desk: &Desk, tries: u32, at_least: Option<Duration>) -> Result<Duration, Next> {
    let wait = desk.holding.schedule.wait_after(tries, at_least, desk.entropy.dice());
    wait.ok_or(Next::Dead(DeadWhy::ScheduleOver))
}

fn note(row: &DeliveryRow, attempt: &AttemptRow, next: Next, written: Owned) {
    let (channel, status, error) = (row.channel.as_str(), attempt.status, attempt.error.as_deref());
    let answer = match (status, error) {
        (Some(200..=299), _) => "2xx",
        (Some(300..=399), _) => "3xx",
        (Some(400..=499), _) => "4xx",
        (Some(_), _) => "5xx",
        (None, Some("timeout")) => "timeout",
        (None, Some("blocked")) => "blocked",
        (None, Some("dns" | "connect" | "broken")) => "unreachable",
        (None, _) => "not_sent",
    };
    metrics::counter!("ringfleet_delivery_tries_total", "channel" => channel, "answer" => answer).increment(1);
    // What the alarm on failing pushes divides.
    metrics::counter!("ringfleet_push_tries_total").increment(1);
    metrics::counter!("ringfleet_push_failures_total").increment(u64::from(answer != "2xx"));
    match (written, next) {
        (Owned::Lost, _) => {
            tracing::warn!(call.id = %row.call_id, channel, "a try outlived its lease; its outcome is not kept")
        }
        (_, Next::Delivered) => {
            note_end(row, DeliveryState::Delivered, "");
            tracing::info!(call.id = %row.call_id, channel, tries = attempt.n, "delivered")
        }
        (_, Next::Dead(why)) => {
            note_end(row, DeliveryState::Dead, why.as_str());
            tracing::error!(call.id = %row.call_id, bot.id = %row.bot_id, channel, tries = attempt.n, status, error, why = why.as_str(), "delivery is dead")
        }
        (_, Next::Again { .. }) => {
            tracing::info!(call.id = %row.call_id, channel, tries = attempt.n, status, error, "delivery failed; to be tried again")
        }
    }
}

fn note_end(row: &DeliveryRow, state: DeliveryState, why: &'static str) {
    let channel = row.channel.as_str();
    match state {
        DeliveryState::Delivered => {
            metrics::counter!("ringfleet_deliveries_delivered_total", "channel" => channel).increment(1);
        }
        DeliveryState::Dead => {
            metrics::counter!("ringfleet_deliveries_dead_total", "channel" => channel, "why" => why).increment(1);
        }
        DeliveryState::Pending => {}
    }
}

async fn queue_again(desk: &Desk, row: &DeliveryRow, wait: Duration) {
    // Up to the next whole second: the queue counts in seconds, and a message that comes early is dropped.
    let delay = Duration::from_secs(wait.as_secs_f64().ceil() as u64).min(QUEUE_DELAY_MAX);
    let job = Job { call_id: row.call_id, channel: Some(row.channel) };
    if let Err(cause) = desk.queues.send(QueueName::Deliveries, &row.bot_id, &job, delay).await {
        tracing::warn!(call.id = %row.call_id, error = %cause, "next try not queued; sweep will");
    }
    domain::failpoint!("deliver.queued");
}

/// `Retry-After` (RFC 9110 §10.2.3): seconds or an HTTP date; anything else is ignored. The verdict clamps it.
fn read_retry_after(text: &str, now: Timestamp) -> Option<Duration> {
    let text = text.trim();
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Some(Duration::from_secs(text.parse().unwrap_or(u64::MAX)));
    }
    let at = DateTimeParser::new().parse_timestamp(text).ok()?;
    Duration::try_from(at.duration_since(now)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_read_or_ignored() {
        let now = Timestamp::from_second(784_111_767).unwrap();
        let check = |text: &str, expect: Option<u64>| {
            assert_eq!(read_retry_after(text, now), expect.map(Duration::from_secs), "{text}")
        };
        check("120", Some(120));
        check(" 5 ", Some(5));
        check("9223372036854775807", Some(9_223_372_036_854_775_807));
        check("99999999999999999999999", Some(u64::MAX));
        check("-5", None);
        check("soon", None);
        check("", None);
        check("1.5", None);
        check("1e3", None);
        check("0x10", None);
        check("+7", None);
        check("١٢", None);
        check("Sun, 06 Nov 1994 08:49:37 GMT", Some(10));
        check("Sun, 06 Nov 1994 08:49:17 GMT", None);
        check("Tue, 31 Dec 2999 23:59:59 GMT", Some(31_719_568_232));
        check("Fri, 31 Dec 9999 23:59:59 GMT", None);
    }
}
