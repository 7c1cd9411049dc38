//! Customer data fetched from the CRM while the phone rings, or when a call comes in.
//! It must never hold up a call longer than the bot allows, and never put a value that it sent or got into a text of its own.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use domain::bot::{Prefetch, PrefetchMethod};
use domain::ids::BotId;
use domain::ports::{Outbound, OutboundError, OutboundRequest, Seal, SealError, bot_entity};
use domain::secret::ExposeSecret;
use domain::template::{Context, Rendered, Template};
use domain::variables::Fields;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use serde_json::Value;
use serde_json::value::RawValue;
use thiserror::Error;

const CONNECT_LIMIT: Duration = Duration::from_secs(2);
/// Longest answer that is read, bytes.
const ANSWER_LIMIT: usize = 256 * 1024;
/// What a CRM is told where the bot does not say it itself, and the `call.*` fields behind it.
const FACTS: [(&str, &str); 4] =
    [("call_id", "id"), ("bot_id", "bot_id"), ("caller_id", "caller_id"), ("direction", "direction")];

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
    #[error("prefetch: it broke off")]
    BrokeOff,
}

/// What a pre-fetch came to.
#[derive(Debug)]
pub(crate) struct Fetched {
    /// The fields for `crm.*`, or why there are none; then the bot's `on_failure` says what follows.
    pub fields: Result<Fields, PrefetchError>,
    /// Templates of the request that had no value.
    pub warnings: Vec<String>,
}

impl Fetched {
    /// Nothing came of it.
    pub(crate) fn broke_off() -> Self {
        Self { fields: Err(PrefetchError::BrokeOff), warnings: Vec::new() }
    }
}

/// Asks the CRM.
pub(crate) async fn fetch(
    outbound: &Arc<dyn Outbound>,
    seal: &Arc<dyn Seal>,
    bot: &BotId,
    prefetch: &Prefetch,
    context: &Context,
) -> Fetched {
    let mut asking = Asking { context, warnings: Vec::new() };
    let fields = match asking.request(seal, bot, prefetch) {
        Ok(request) => ask(outbound, request, prefetch.response_path.as_deref()).await,
        Err(error) => Err(error),
    };
    let outcome = if fields.is_ok() { "fetched" } else { "failed" };
    metrics::counter!("ringfleet_prefetches_total", "outcome" => outcome).increment(1);
    Fetched { fields, warnings: asking.warnings }
}

async fn ask(
    outbound: &Arc<dyn Outbound>,
    request: OutboundRequest,
    response_path: Option<&str>,
) -> Result<Fields, PrefetchError> {
    let limit = request.total_timeout;
    let answer = tokio::time::timeout(limit, outbound.send(request)).await.unwrap_or(Err(OutboundError::Timeout))?;
    if !(200..300).contains(&answer.status) {
        return Err(PrefetchError::Status(answer.status));
    }
    let text = std::str::from_utf8(&answer.body).map_err(|_| PrefetchError::NotObject)?;
    pick(text, response_path)
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

/// A request in the making, and what its templates lacked.
struct Asking<'a> {
    context: &'a Context,
    warnings: Vec<String>,
}

impl Asking<'_> {
    fn request(
        &mut self,
        seal: &Arc<dyn Seal>,
        bot: &BotId,
        prefetch: &Prefetch,
    ) -> Result<OutboundRequest, PrefetchError> {
        let rendered = Template::parse(&prefetch.url).render_url(self.context);
        let mut url = self.noted("url", rendered);
        let mut headers = self.headers(prefetch)?;
        if let Some(token) = &prefetch.token {
            let token = seal.open(&bot_entity(bot), token)?;
            let mut value = HeaderValue::try_from(token.expose_secret())
                .map_err(|_| PrefetchError::Header(AUTHORIZATION.to_string()))?;
            value.set_sensitive(true);
            headers.insert(AUTHORIZATION, value);
        }
        let (method, body) = match prefetch.method {
            PrefetchMethod::Get => {
                append_facts(&mut url, self.context);
                (Method::GET, Bytes::new())
            }
            PrefetchMethod::Post => {
                headers.entry(CONTENT_TYPE).or_insert(HeaderValue::from_static("application/json"));
                (Method::POST, self.body(prefetch.body.as_ref()))
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

    fn headers(&mut self, prefetch: &Prefetch) -> Result<HeaderMap, PrefetchError> {
        let mut headers = HeaderMap::new();
        for (name, value) in &prefetch.headers {
            let value = self.noted("headers", Template::parse(value).render(self.context));
            let header = HeaderName::try_from(name.as_str()).ok().zip(HeaderValue::try_from(value).ok());
            let (name, value) = header.ok_or_else(|| PrefetchError::Header(name.clone()))?;
            headers.insert(name, value);
        }
        Ok(headers)
    }

    /// The bot's own, or the facts.
    fn body(&mut self, template: Option<&Value>) -> Bytes {
        if let Some(template) = template {
            let rendered = domain::push::render(template, self.context);
            self.note("body", rendered.missing);
            return rendered.bytes.into();
        }
        let facts = FACTS.map(|(name, field)| (name.to_owned(), Value::String(fact(self.context, field))));
        Value::Object(facts.into_iter().collect()).to_string().into()
    }

    fn noted(&mut self, place: &str, rendered: Rendered) -> String {
        self.note(place, rendered.missing);
        rendered.text
    }

    fn note(&mut self, place: &str, missing: Vec<String>) {
        let warning = |field: String| format!("template prefetch.{place}: {field} is unknown or missing");
        self.warnings.extend(missing.into_iter().map(warning));
    }
}

fn fact(context: &Context, field: &str) -> String {
    Template::parse(&format!("{{{{call.{field}}}}}")).render(context).text
}

/// Adds the facts to the URL's query; a name that stands there already is the bot's own choice.
fn append_facts(url: &mut String, context: &Context) {
    let Ok(mut parsed) = url::Url::parse(url) else { return };
    let named: Vec<String> = parsed.query_pairs().map(|(name, _)| name.into_owned()).collect();
    let missing: Vec<(&str, String)> = FACTS
        .iter()
        .filter(|(name, _)| !named.iter().any(|known| known == name))
        .map(|(name, field)| (*name, fact(context, field)))
        .collect();
    if !missing.is_empty() {
        parsed.query_pairs_mut().extend_pairs(missing);
        *url = parsed.into();
    }
}

#[cfg(test)]
mod tests;
