//! Customer data fetched from the CRM while the phone rings. It must never hold up a call longer than the bot allows.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use domain::bot::{Prefetch, PrefetchMethod};
use domain::ids::BotId;
use domain::ports::{Outbound, OutboundError, OutboundRequest, Seal, SealError, bot_entity};
use domain::secret::ExposeSecret;
use domain::template::{Context, Template};
use domain::variables::Fields;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use serde_json::Value;
use serde_json::value::RawValue;
use thiserror::Error;

const CONNECT_LIMIT: Duration = Duration::from_secs(2);
/// Longest answer that is read, bytes.
const ANSWER_LIMIT: usize = 256 * 1024;

/// Why there is no pre-fetched data; the words are fit for a call's warnings.
#[derive(Debug, Error, PartialEq, Eq)]
pub(crate) enum PrefetchError {
    #[error("prefetch: {0}")]
    Outbound(#[from] OutboundError),
    #[error("prefetch: the CRM answered {0}")]
    Status(u16),
    #[error("prefetch: the answer is no JSON object")]
    NotObject,
    #[error("prefetch: the answer has no object at {0:?}")]
    NoPath(String),
    #[error("prefetch: the header {0:?} can't be sent")]
    Header(String),
    #[error("prefetch: {0}")]
    Seal(#[from] SealError),
}

/// Asks the CRM and answers the fields for `crm.*`.
///
/// # Errors
/// Why there are none; the bot's `on_failure` says what follows.
pub(crate) async fn fetch(
    outbound: &Arc<dyn Outbound>,
    seal: &Arc<dyn Seal>,
    bot: &BotId,
    prefetch: &Prefetch,
    context: &Context,
) -> Result<Fields, PrefetchError> {
    let request = request(seal, bot, prefetch, context)?;
    let answer = outbound.send(request).await?;
    if !(200..300).contains(&answer.status) {
        return Err(PrefetchError::Status(answer.status));
    }
    let text = std::str::from_utf8(&answer.body).map_err(|_| PrefetchError::NotObject)?;
    pick(text, prefetch.response_path.as_deref())
}

/// Walks the dotted path through objects and arrays; numbers keep their source text.
fn pick(text: &str, path: Option<&str>) -> Result<Fields, PrefetchError> {
    let path = path.unwrap_or("");
    let mut at: Box<RawValue> = serde_json::from_str(text).map_err(|_| PrefetchError::NotObject)?;
    for part in path.split('.').filter(|part| !part.is_empty()) {
        let next = match part.parse::<usize>() {
            Ok(index) if at.get().starts_with('[') => {
                serde_json::from_str::<Vec<Box<RawValue>>>(at.get()).ok().and_then(|items| items.into_iter().nth(index))
            }
            _ => Fields::of_object(at.get()).and_then(|fields| fields.get(part).map(ToOwned::to_owned)),
        };
        at = next.ok_or_else(|| PrefetchError::NoPath(path.to_owned()))?;
    }
    Fields::of_object(at.get())
        .ok_or_else(|| if path.is_empty() { PrefetchError::NotObject } else { PrefetchError::NoPath(path.to_owned()) })
}

fn request(
    seal: &Arc<dyn Seal>,
    bot: &BotId,
    prefetch: &Prefetch,
    context: &Context,
) -> Result<OutboundRequest, PrefetchError> {
    let mut url = Template::parse(&prefetch.url).render_url(context).text;
    let facts = [("call_id", "id"), ("bot_id", "bot_id"), ("caller_id", "caller_id"), ("direction", "direction")];
    let fact = |field: &str| Template::parse(&format!("{{{{call.{field}}}}}")).render(context).text;
    let mut headers = HeaderMap::new();
    for (name, value) in &prefetch.headers {
        let value = Template::parse(value).render(context).text;
        let header = HeaderName::try_from(name.as_str()).ok().zip(HeaderValue::try_from(value).ok());
        let (name, value) = header.ok_or_else(|| PrefetchError::Header(name.clone()))?;
        headers.insert(name, value);
    }
    if let Some(token) = &prefetch.token {
        let token = seal.open(&bot_entity(bot), token)?;
        let mut value = HeaderValue::try_from(token.expose_secret())
            .map_err(|_| PrefetchError::Header(AUTHORIZATION.to_string()))?;
        value.set_sensitive(true);
        headers.insert(AUTHORIZATION, value);
    }
    let (method, body) = match prefetch.method {
        PrefetchMethod::Get => {
            if prefetch.body.is_none() && !prefetch.url.contains("{{") {
                append_query(&mut url, &facts.map(|(name, field)| (name, fact(field))));
            }
            (Method::GET, Bytes::new())
        }
        PrefetchMethod::Post => {
            headers.entry(CONTENT_TYPE).or_insert(HeaderValue::from_static("application/json"));
            let body = match &prefetch.body {
                Some(template) => domain::push::render(template, context).bytes.into(),
                None => Value::Object(
                    facts.map(|(name, field)| (name.to_owned(), Value::String(fact(field)))).into_iter().collect(),
                )
                .to_string()
                .into(),
            };
            (Method::POST, body)
        }
    };
    let total_timeout = Duration::from_millis(u64::from(prefetch.timeout_ms));
    Ok(OutboundRequest {
        method,
        url,
        headers,
        body,
        connect_timeout: CONNECT_LIMIT.min(total_timeout),
        total_timeout,
        answer_limit: ANSWER_LIMIT,
    })
}

fn append_query(url: &mut String, pairs: &[(&str, String)]) {
    if let Ok(mut parsed) = url::Url::parse(url) {
        parsed.query_pairs_mut().extend_pairs(pairs);
        *url = parsed.into();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_is_picked_by_path() {
        let check = |body: &str, path: Option<&str>, expect: Result<&str, PrefetchError>| {
            let expect = expect.map(|text| Fields::of_object(text).unwrap());
            assert_eq!(pick(body, path), expect, "{body} {path:?}");
        };
        check(r#"{"a":1}"#, None, Ok(r#"{"a":1}"#));
        check(r#"{"loan":12345678901234567890}"#, None, Ok(r#"{"loan":12345678901234567890}"#));
        check(r#"{"data":{"customer":{"name":"R"}}}"#, Some("data.customer"), Ok(r#"{"name":"R"}"#));
        check(r#"{"rows":[{"a":1},{"a":2}]}"#, Some("rows.0"), Ok(r#"{"a":1}"#));
        check("[1]", None, Err(PrefetchError::NotObject));
        check("half {", None, Err(PrefetchError::NotObject));
        check(r#"{"data":5}"#, Some("data"), Err(PrefetchError::NoPath("data".into())));
        check(r#"{"data":{}}"#, Some("data.x"), Err(PrefetchError::NoPath("data.x".into())));
        check(r#"{"a":1}"#, Some(""), Ok(r#"{"a":1}"#));
    }
}
