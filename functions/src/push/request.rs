//! The request of one delivery: stored bytes, the endpoint's token, and a Standard Webhooks signature of this moment.
//! It must never render anything, and never let a token or a secret into an error.

use domain::bot::Bot;
use domain::delivery::{Channel, DeliveryRow};
use domain::ports::{CallEntry, OutboundRequest, StoreError, bot_entity};
use domain::secret::{ExposeSecret, Sealed, SecretString};
use domain::signing::webhook_signature;
use http::header::{AUTHORIZATION, CONTENT_TYPE, USER_AGENT};
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use jiff::Timestamp;
use thiserror::Error;

use super::Desk;

/// Why a request could not even be made.
#[derive(Debug, Error)]
pub(super) enum Unsendable {
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
    /// One word for attempt rows.
    pub(super) fn word(&self) -> &'static str {
        match self {
            Self::Body => "body_gone",
            Self::Sealed => "sealed",
            Self::Token => "token",
            Self::Secret => "secret",
            Self::Endpoint => "endpoint_gone",
        }
    }
}

/// Makes the request; what stands in its way is as final as an answer, a store that is silent is not.
///
/// # Errors
/// When a store does not answer.
pub(super) async fn request(
    desk: &Desk,
    row: &DeliveryRow,
    now: Timestamp,
) -> Result<Result<OutboundRequest, Unsendable>, StoreError> {
    let Some(body) = desk.archive.objects.get(&row.body_key).await? else { return Ok(Err(Unsendable::Body)) };
    let bot = bot_of_call(desk, row).await?;
    let headers = match bot.ok_or(Unsendable::Endpoint).and_then(|bot| headers(desk, row, &bot, &body, now)) {
        Ok(headers) => headers,
        Err(why) => return Ok(Err(why)),
    };
    let limits = &desk.delivery;
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
async fn bot_of_call(desk: &Desk, row: &DeliveryRow) -> Result<Option<Bot>, StoreError> {
    match desk.calls.get(row.call_id).await? {
        Some(CallEntry::Call(call)) => desk.bots.version(&call.bot_id, call.bot_version).await,
        Some(CallEntry::Fenced(_)) | None => Ok(None),
    }
}

fn headers(desk: &Desk, row: &DeliveryRow, bot: &Bot, body: &[u8], now: Timestamp) -> Result<HeaderMap, Unsendable> {
    let (token, secret) = match row.channel {
        Channel::Push => {
            bot.push.as_ref().map(|push| (push.token.as_ref(), push.secret.as_ref())).ok_or(Unsendable::Endpoint)?
        }
        Channel::Webhook => {
            bot.webhook.as_ref().map(|webhook| (None, webhook.secret.as_ref())).ok_or(Unsendable::Endpoint)?
        }
    };
    let open = |sealed: &Sealed| -> Result<SecretString, Unsendable> {
        desk.seal.open(&bot_entity(&bot.bot_id), sealed).map_err(|_| Unsendable::Sealed)
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
