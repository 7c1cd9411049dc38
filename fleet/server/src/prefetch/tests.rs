//! What a CRM is asked, and what is made of its answers.

use std::sync::Mutex;

use async_trait::async_trait;
use domain::call::Direction;
use domain::ids::CallId;
use domain::ports::OutboundAnswer;
use domain::secret::{Sealed, SecretString};
use domain::template::LiveCall;
use jiff::Timestamp;
use serde_json::json;

use super::*;

const ID: &str = "01a20317-8731-7e86-8d34-f3a89a0f8795";

/// A CRM that answers one thing, after a while.
struct Crm {
    answer: Result<(u16, &'static str), OutboundError>,
    after: Duration,
    asked: Mutex<Option<OutboundRequest>>,
}

#[async_trait]
impl Outbound for Crm {
    async fn send(&self, request: OutboundRequest) -> Result<OutboundAnswer, OutboundError> {
        *self.asked.lock().unwrap() = Some(request);
        tokio::time::sleep(self.after).await;
        let (status, body) = self.answer.clone()?;
        Ok(OutboundAnswer { status, headers: HeaderMap::new(), body: Bytes::from_static(body.as_bytes()) })
    }
}

struct Plain;

impl Seal for Plain {
    fn seal(&self, _: &str, secret: &SecretString) -> Sealed {
        Sealed(secret.expose_secret().to_owned())
    }

    fn open(&self, entity: &str, sealed: &Sealed) -> Result<SecretString, SealError> {
        if entity == "bot/b" && sealed.0 != "broken" {
            return Ok(SecretString::from(sealed.0.clone()));
        }
        Err(SealError::Unopenable(entity.to_owned()))
    }
}

fn context(direction: Direction) -> Context {
    let bot = BotId::parse("b").unwrap();
    let (to, from) = match direction {
        Direction::Outbound => ("+919876543210", "+911140001234"),
        Direction::Inbound => ("+911140001234", "+919876543210"),
    };
    let variables: Box<RawValue> = serde_json::from_str(r#"{"id": "a/b&c=d", "loan": 12345678901234567890}"#).unwrap();
    let none = Fields::new();
    let live = LiveCall {
        call_id: CallId::parse(ID).unwrap(),
        bot_id: &bot,
        direction,
        to_number: to,
        from_number: from,
        started_at: Timestamp::UNIX_EPOCH,
        answered_at: None,
        variables: Some(&variables),
        prefetched: &none,
        custom: &none,
    };
    Context::of_call(&live, "UTC", Timestamp::UNIX_EPOCH)
}

async fn run(prefetch: Value, direction: Direction, crm: Crm) -> (Fetched, Option<OutboundRequest>) {
    let prefetch: Prefetch = serde_json::from_value(prefetch).unwrap();
    let crm = Arc::new(crm);
    let (outbound, seal): (Arc<dyn Outbound>, Arc<dyn Seal>) = (crm.clone(), Arc::new(Plain));
    let fetched = fetch(&outbound, &seal, &BotId::parse("b").unwrap(), &prefetch, &context(direction)).await;
    let asked = crm.asked.lock().unwrap().take();
    (fetched, asked)
}

fn answering(answer: Result<(u16, &'static str), OutboundError>) -> Crm {
    Crm { answer, after: Duration::ZERO, asked: Mutex::default() }
}

async fn asked(prefetch: Value, direction: Direction) -> (OutboundRequest, Vec<String>) {
    let (fetched, asked) = run(prefetch, direction, answering(Ok((200, "{}")))).await;
    (asked.expect("the CRM was asked"), fetched.warnings)
}

#[tokio::test]
async fn a_get_appends_what_the_url_does_not_say_itself() {
    let check = async |url: &str, direction: Direction, expect: &str, warnings: &[&str]| {
        let (request, warned) = asked(json!({ "url": url }), direction).await;
        assert_eq!((request.method, request.url.as_str()), (Method::GET, expect));
        assert!(request.body.is_empty());
        assert_eq!(warned, warnings, "{url}");
    };
    use Direction::{Inbound, Outbound};
    let facts = |direction: &str| format!("call_id={ID}&bot_id=b&caller_id=%2B919876543210&direction={direction}");
    check("https://crm.example/lead", Outbound, &format!("https://crm.example/lead?{}", facts("outbound")), &[]).await;
    check("https://crm.example/lead", Inbound, &format!("https://crm.example/lead?{}", facts("inbound")), &[]).await;
    check("https://crm.example/l?a=1", Outbound, &format!("https://crm.example/l?a=1&{}", facts("outbound")), &[])
        .await;
    check(
        "https://crm.example/l/{{crm.id}}?n={{crm.loan}}",
        Outbound,
        &format!("https://crm.example/l/a%2Fb%26c%3Dd?n=12345678901234567890&{}", facts("outbound")),
        &[],
    )
    .await;
    check(
        "https://crm.example/l?caller_id={{call.caller_id}}&call_id=x&bot_id=y&direction=z",
        Outbound,
        "https://crm.example/l?caller_id=%2B919876543210&call_id=x&bot_id=y&direction=z",
        &[],
    )
    .await;
    check(
        "https://crm.example/l?direction={{crm.nothing}}&x={{call.did}}",
        Inbound,
        &format!("https://crm.example/l?direction=&x=%2B911140001234&call_id={ID}&bot_id=b&caller_id=%2B919876543210"),
        &["template prefetch.url: crm.nothing is unknown or missing"],
    )
    .await;
}

#[tokio::test]
async fn a_post_sends_its_own_body_or_the_facts() {
    let check = async |body: Option<Value>, expect: Value, warnings: &[&str]| {
        let mut prefetch = json!({"url": "https://crm.example/l/{{crm.loan}}", "method": "POST"});
        if let Some(body) = body {
            prefetch["body"] = body;
        }
        let (request, warned) = asked(prefetch, Direction::Outbound).await;
        assert_eq!(
            (request.method, request.url.as_str()),
            (Method::POST, "https://crm.example/l/12345678901234567890")
        );
        assert_eq!(request.headers[CONTENT_TYPE], "application/json");
        assert_eq!(serde_json::from_slice::<Value>(&request.body).unwrap(), expect);
        assert_eq!(warned, warnings);
    };
    let facts = json!({"call_id": ID, "bot_id": "b", "caller_id": "+919876543210", "direction": "outbound"});
    check(None, facts, &[]).await;
    check(
        Some(json!({"lead": "{{crm.id}}", "n": 1, "deep": ["{{call.direction}}", "{{crm.no}}"]})),
        json!({"lead": "a/b&c=d", "n": 1, "deep": ["outbound", ""]}),
        &["template prefetch.body: crm.no is unknown or missing"],
    )
    .await;
}

#[tokio::test]
async fn headers_are_templates_and_the_token_is_not() {
    let prefetch = json!({
        "url": "https://crm.example/", "token": "Bearer {{crm.id}}", "timeout_ms": 700,
        "headers": {"X-Lead": "{{crm.id}}", "X-Number": "{{call.caller_id}}"}
    });
    let (request, _) = asked(prefetch, Direction::Outbound).await;
    assert_eq!(request.headers["x-lead"], "a/b&c=d");
    assert_eq!(request.headers["x-number"], "+919876543210");
    assert_eq!(request.headers[AUTHORIZATION], "Bearer {{crm.id}}");
    assert!(request.headers[AUTHORIZATION].is_sensitive());
    assert_eq!((request.connect_timeout.as_millis(), request.total_timeout.as_millis()), (700, 700));
    let shown = format!("{request:?}");
    assert!(!shown.contains("98765") && !shown.contains("Bearer"), "{shown}");
}

#[tokio::test(start_paused = true)]
async fn failures_are_told_without_what_they_were_about() {
    let check = async |prefetch: Value, crm: Crm, expect: PrefetchError, words: &str| {
        let (fetched, _) = run(prefetch, Direction::Outbound, crm).await;
        let error = fetched.fields.unwrap_err();
        assert_eq!((&error, error.to_string().as_str()), (&expect, words));
    };
    let plain = || json!({"url": "https://crm.example/"});
    use PrefetchError as E;
    check(
        plain(),
        answering(Ok((404, "{\"no\":\"+919876543210\"}"))),
        E::Status(404),
        "prefetch: the CRM answered 404",
    )
    .await;
    check(plain(), answering(Ok((302, ""))), E::Status(302), "prefetch: the CRM answered 302").await;
    check(plain(), answering(Ok((200, "<html>"))), E::NotObject, "prefetch: the answer is no JSON object").await;
    check(
        plain(),
        answering(Err(OutboundError::Blocked("private".into()))),
        E::Outbound(OutboundError::Blocked("private".into())),
        "prefetch: not allowed: private",
    )
    .await;
    let slow = Crm { after: Duration::from_secs(60), ..answering(Ok((200, "{}"))) };
    check(plain(), slow, E::Outbound(OutboundError::Timeout), "prefetch: no answer in time").await;
    check(
        json!({"url": "https://crm.example/", "response_path": "data"}),
        answering(Ok((200, "{}"))),
        E::NoPath("data".into()),
        "prefetch: the answer has no object at \"data\"",
    )
    .await;
    check(
        json!({"url": "https://crm.example/", "token": "broken"}),
        answering(Ok((200, "{}"))),
        E::Seal(SealError::Unopenable("bot/b".into())),
        "prefetch: a sealed secret of bot/b does not open: it was sealed with another key, or for another entity",
    )
    .await;
    check(
        json!({"url": "https://crm.example/", "headers": {"X-Lead": "a\nb"}}),
        answering(Ok((200, "{}"))),
        E::Header("X-Lead".into()),
        "prefetch: the header \"X-Lead\" can't be sent",
    )
    .await;
}

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
