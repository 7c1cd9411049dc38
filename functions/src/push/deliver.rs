//! One try of one delivery: lease, send, judge, write down, and say when the next try is due.
//! It must never follow a redirect, and never try while another worker holds the lease.

use std::time::Duration;

use bytes::Bytes;
use domain::bot::Bot;
use domain::delivery::{Answer, AttemptRow, Channel, DeliveryRow, DeliveryState, QUEUE_DELAY_MAX, Verdict, verdict};
use domain::ids::CallId;
use domain::ports::{Job, OutboundAnswer, OutboundError, OutboundRequest, Owned, QueueName, StoreError, bot_entity};
use domain::secret::{ExposeSecret, Sealed, SecretString};
use domain::signing::webhook_signature;
use http::header::{AUTHORIZATION, CONTENT_TYPE, RETRY_AFTER, USER_AGENT};
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use jiff::Timestamp;
use jiff::fmt::rfc2822::DateTimeParser;
use thiserror::Error;
use tokio::time::Instant;

use crate::platform::Platform;

/// Bytes of an answer that an attempt row keeps.
const ANSWER_KEPT: usize = 1024;

/// Why a request could not even be made.
#[derive(Debug, Error)]
enum Unsendable {
    #[error("the body is gone")]
    Body,
    #[error("a secret does not open")]
    Sealed,
    #[error("the token is no header value")]
    Token,
    #[error("the signing secret is no key")]
    Secret,
    #[error("the bot no longer has this endpoint")]
    Endpoint,
}

impl Unsendable {
    fn word(&self) -> &'static str {
        match self {
            Self::Body => "body_gone",
            Self::Sealed => "sealed",
            Self::Token => "token",
            Self::Secret => "secret",
            Self::Endpoint => "endpoint_gone",
        }
    }
}

/// Tries one delivery, if it is due and nobody else is at it.
pub(super) async fn deliver(platform: &Platform, call: CallId, channel: Channel) -> Result<(), StoreError> {
    let Some(row) = platform.tables.deliveries.get(call, channel).await? else { return Ok(()) };
    let now = platform.outside.clock.now();
    if row.state != DeliveryState::Pending || row.due_at > now {
        return Ok(());
    }
    let limits = &platform.settings.delivery;
    let lease = now + limits.total + limits.lease_margin;
    if platform.tables.deliveries.begin_try(call, channel, row.tries, now, lease).await? == Owned::Lost {
        return Ok(());
    }
    let begun = Instant::now();
    let outcome = exchange(platform, &row, now).await?;
    let latency = begun.elapsed();
    conclude(platform, &row, now, latency, outcome).await
}

/// What one try brought.
struct Outcome {
    answer: Answer,
    error: Option<&'static str>,
    body: Bytes,
}

impl Outcome {
    fn none(word: &'static str) -> Self {
        Self { answer: Answer::NoAnswer, error: Some(word), body: Bytes::new() }
    }
}

async fn exchange(platform: &Platform, row: &DeliveryRow, now: Timestamp) -> Result<Outcome, StoreError> {
    let request = match request(platform, row, now).await? {
        Ok(request) => request,
        Err(why) => {
            tracing::error!(call.id = %row.call_id, channel = row.channel.as_str(), error = %why, "a delivery can't be sent");
            return Ok(Outcome::none(why.word()));
        }
    };
    Ok(match platform.outside.outbound.send(request).await {
        Ok(answer) => answered(answer, now),
        Err(cause) => {
            if matches!(cause, OutboundError::Blocked(_)) {
                tracing::warn!(call.id = %row.call_id, bot.id = %row.bot_id, "security: a delivery to a blocked address was refused");
            }
            Outcome::none(cause.word())
        }
    })
}

fn answered(answer: OutboundAnswer, now: Timestamp) -> Outcome {
    if (300..400).contains(&answer.status) {
        tracing::warn!(status = answer.status, "security: an endpoint redirects deliveries; not followed");
    }
    let retry_after = answer
        .headers
        .get(RETRY_AFTER)
        .and_then(|value| value.to_str().ok())
        .and_then(|text| read_retry_after(text, now));
    Outcome { answer: Answer::Status { code: answer.status, retry_after }, error: None, body: answer.body }
}

async fn request(
    platform: &Platform,
    row: &DeliveryRow,
    now: Timestamp,
) -> Result<Result<OutboundRequest, Unsendable>, StoreError> {
    let Some(body) = platform.outside.objects.get(&row.body_key).await? else { return Ok(Err(Unsendable::Body)) };
    let bot = bot_of_call(platform, row).await?;
    let headers = match bot.ok_or(Unsendable::Endpoint).and_then(|bot| headers(platform, row, &bot, &body, now)) {
        Ok(headers) => headers,
        Err(why) => return Ok(Err(why)),
    };
    let limits = &platform.settings.delivery;
    Ok(Ok(OutboundRequest {
        method: Method::from_bytes(row.method.as_bytes()).unwrap_or(Method::POST),
        url: row.url.clone(),
        headers,
        body,
        connect_timeout: limits.connect,
        total_timeout: limits.total,
        answer_limit: limits.answer,
    }))
}

/// The bot as it was when the call started: its endpoint's secrets are the row's.
async fn bot_of_call(platform: &Platform, row: &DeliveryRow) -> Result<Option<Bot>, StoreError> {
    match platform.tables.calls.get(row.call_id).await? {
        Some(domain::ports::CallEntry::Call(call)) => {
            platform.tables.bots.version(&call.bot_id, call.bot_version).await
        }
        Some(domain::ports::CallEntry::Fenced(_)) | None => Ok(None),
    }
}

fn headers(
    platform: &Platform,
    row: &DeliveryRow,
    bot: &Bot,
    body: &[u8],
    now: Timestamp,
) -> Result<HeaderMap, Unsendable> {
    let (token, secret) = match row.channel {
        Channel::Push => {
            bot.push.as_ref().map(|push| (push.token.as_ref(), push.secret.as_ref())).ok_or(Unsendable::Endpoint)?
        }
        Channel::Webhook => {
            bot.webhook.as_ref().map(|webhook| (None, webhook.secret.as_ref())).ok_or(Unsendable::Endpoint)?
        }
    };
    let open = |sealed: &Sealed| -> Result<SecretString, Unsendable> {
        platform.outside.seal.open(&bot_entity(&bot.bot_id), sealed).map_err(|_| Unsendable::Sealed)
    };
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(USER_AGENT, HeaderValue::from_static(concat!("ringfleet/", env!("CARGO_PKG_VERSION"))));
    let id = HeaderValue::from_str(&row.webhook_id).expect("a UUID and a channel's word are visible ASCII");
    headers.insert(HeaderName::from_static("webhook-id"), id);
    headers.insert(HeaderName::from_static("webhook-timestamp"), HeaderValue::from(now.as_second()));
    if let Some(sealed) = secret {
        let signature =
            webhook_signature(&open(sealed)?, &row.webhook_id, now, body).map_err(|_| Unsendable::Secret)?;
        let signature = HeaderValue::from_str(&signature).map_err(|_| Unsendable::Secret)?;
        headers.insert(HeaderName::from_static("webhook-signature"), signature);
    }
    if let Some(sealed) = token {
        let mut value = HeaderValue::from_str(open(sealed)?.expose_secret()).map_err(|_| Unsendable::Token)?;
        value.set_sensitive(true);
        headers.insert(AUTHORIZATION, value);
    }
    Ok(headers)
}

/// Writes the attempt and the row's new state, and queues the next try where the queue can hold it back that long.
async fn conclude(
    platform: &Platform,
    row: &DeliveryRow,
    at: Timestamp,
    latency: Duration,
    outcome: Outcome,
) -> Result<(), StoreError> {
    let tries = row.tries + 1;
    let wait = match verdict(&outcome.answer) {
        Verdict::Delivered => Err(DeliveryState::Delivered),
        // A webhook that is gone is not asked again; a CRM that says so once may have been misconfigured for a moment.
        Verdict::Gone if row.channel == Channel::Webhook => Err(DeliveryState::Dead),
        Verdict::Gone => next_wait(platform, tries, None),
        Verdict::Retry { at_least } => next_wait(platform, tries, at_least),
    };
    let now = platform.outside.clock.now();
    let (state, due) = match wait {
        Ok(wait) => (DeliveryState::Pending, now + wait),
        Err(state) => (state, now),
    };
    let status = match outcome.answer {
        Answer::Status { code, .. } => Some(code),
        Answer::NoAnswer => None,
    };
    let attempt = AttemptRow {
        call_id: row.call_id,
        channel: row.channel,
        n: tries,
        at,
        status,
        error: outcome.error.map(str::to_owned),
        latency_ms: u64::try_from(latency.as_millis()).unwrap_or(u64::MAX),
        answer: String::from_utf8_lossy(&outcome.body[..outcome.body.len().min(ANSWER_KEPT)]).into_owned(),
    };
    let written = platform.tables.deliveries.end_try(&attempt, state, due).await?;
    note(row, &attempt, state, written);
    match wait {
        Ok(wait) if written == Owned::Written && wait <= QUEUE_DELAY_MAX => queue_again(platform, row, wait).await,
        _ => {}
    }
    Ok(())
}

fn next_wait(platform: &Platform, tries: u32, at_least: Option<Duration>) -> Result<Duration, DeliveryState> {
    platform.settings.schedule.wait_after(tries, at_least, platform.outside.entropy.dice()).ok_or(DeliveryState::Dead)
}

fn note(row: &DeliveryRow, attempt: &AttemptRow, state: DeliveryState, written: Owned) {
    let (channel, status, error) = (row.channel.as_str(), attempt.status, attempt.error.as_deref());
    let outcome = match state {
        DeliveryState::Pending => "failed",
        DeliveryState::Delivered => "delivered",
        DeliveryState::Dead => "dead",
    };
    metrics::counter!("ringfleet_delivery_tries_total", "channel" => channel, "outcome" => outcome).increment(1);
    match (written, state) {
        (Owned::Lost, _) => {
            tracing::warn!(call.id = %row.call_id, channel, "a try outlived its lease; its outcome is not kept")
        }
        (_, DeliveryState::Delivered) => {
            tracing::info!(call.id = %row.call_id, channel, tries = attempt.n, "delivered")
        }
        (_, DeliveryState::Dead) => {
            tracing::error!(call.id = %row.call_id, bot.id = %row.bot_id, channel, tries = attempt.n, status, error, "delivery is dead")
        }
        (_, DeliveryState::Pending) => {
            tracing::info!(call.id = %row.call_id, channel, tries = attempt.n, status, error, "delivery failed; to be tried again")
        }
    }
}

async fn queue_again(platform: &Platform, row: &DeliveryRow, wait: Duration) {
    // Up to the next whole second: the queue counts in seconds, and a message that comes early is dropped.
    let delay = Duration::from_secs(wait.as_secs_f64().ceil() as u64).min(QUEUE_DELAY_MAX);
    let job = Job { call_id: row.call_id, channel: Some(row.channel) };
    if let Err(cause) = platform.outside.queues.send(QueueName::Deliveries, &row.bot_id, &job, delay).await {
        tracing::warn!(call.id = %row.call_id, error = %cause, "next try not queued; sweep will");
    }
}

/// `Retry-After` (RFC 9110 §10.2.3): seconds or an HTTP date; anything else is ignored. The schedule clamps it.
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
        check("Sun, 06 Nov 1994 08:49:37 GMT", Some(10));
        check("Sun, 06 Nov 1994 08:49:17 GMT", None);
    }
}
