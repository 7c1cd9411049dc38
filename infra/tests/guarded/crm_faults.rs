//! Every way a CRM misbehaves in `crm_faults.tsv`: what becomes of the delivery, and of the try after it.

use std::sync::Arc;
use std::time::Duration;

use domain::delivery::{AttemptFlag, AttemptRow, Channel, DeliveryState};
use infra::guarded::EgressPolicy;
use standardwebhooks::Webhook;

use crate::internet::{Internet, Play, Seen};
use crate::plant::{LONG, Plant, SECRET, SHORT, TOKEN};

const FAULTS: &str = include_str!("../data/crm_faults.tsv");
const URL: &str = "https://crm.test/api/call-result?source=bot";
const DAY: i64 = 86_400;

struct Case {
    id: &'static str,
    required: &'static str,
    attempts: &'static str,
}

fn cases() -> Vec<Case> {
    let read = |line: &'static str| {
        let columns: Vec<&str> = line.split('\t').collect();
        assert_eq!(columns.len(), 4, "{line}");
        Case { id: columns[0], required: columns[2], attempts: columns[3] }
    };
    FAULTS.lines().skip(1).map(read).collect()
}

fn play(id: &str) -> Play {
    let status = |line: &str, headers: &str| {
        Play::text(&format!("HTTP/1.1 {line}\r\n{headers}content-length: 0\r\nconnection: close\r\n\r\n"))
    };
    let field = "x-filler: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\n";
    match id {
        "204" => Play::text("HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n"),
        "307_private" => status("307 Temporary Redirect", "location: http://169.254.169.254/\r\n"),
        "400" => status("400 Bad Request", ""),
        "429_ra" => status("429 Too Many Requests", "retry-after: 120\r\n"),
        "429_ra_i64max" => status("429 Too Many Requests", "retry-after: 9223372036854775807\r\n"),
        "429_ra_neg" => status("429 Too Many Requests", "retry-after: -5\r\n"),
        "429_ra_junk" => status("429 Too Many Requests", "retry-after: soon\r\n"),
        "500" => status("500 Internal Server Error", ""),
        "503_ra" => status("503 Service Unavailable", "retry-after: 5\r\n"),
        "timeout_first_byte" => Play::Silence,
        "slowloris" => Play::Drip(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n".to_vec(), Duration::from_millis(300)),
        "rst" => Play::Reset,
        "header_bomb" => Play::text(&format!("HTTP/1.1 200 OK\r\n{}\r\n", field.repeat(25_000))),
        "chunk_bad" => Play::text("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\nbroken"),
        "gzip_bomb" => {
            let head = b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\nconnection: close\r\n\r\n";
            Play::Answer([head.as_slice(), include_bytes!("../data/bomb.gz")].concat())
        }
        "http09" => Play::text("<html>hello</html>"),
        other => panic!("unknown behaviour {other}"),
    }
}

/// What the first try's row must say: (status, error, flag), and between which seconds the next try lies.
fn first_try(id: &str) -> (Option<u16>, Option<&'static str>, Option<AttemptFlag>, std::ops::RangeInclusive<i64>) {
    use AttemptFlag::{ConfigError, Security, Throttled};
    let schedule = 4..=6;
    match id {
        "204" | "chunk_bad" | "gzip_bomb" => (Some(if id == "204" { 204 } else { 200 }), None, None, 0..=0),
        "307_private" => (Some(307), None, Some(Security), schedule),
        "400" => (Some(400), None, Some(ConfigError), schedule),
        "429_ra" => (Some(429), None, Some(Throttled), 120..=120),
        "429_ra_i64max" => (Some(429), None, Some(Throttled), DAY..=DAY),
        "429_ra_neg" | "429_ra_junk" => (Some(429), None, Some(Throttled), schedule),
        "500" => (Some(500), None, None, schedule),
        "503_ra" => (Some(503), None, Some(Throttled), 5..=6),
        "timeout_first_byte" | "slowloris" => (None, Some("timeout"), None, schedule),
        "rst" | "header_bomb" | "http09" => (None, Some("broken"), None, schedule),
        other => panic!("unknown behaviour {other}"),
    }
}

#[tokio::test]
async fn every_case_of_the_crm_list() {
    let net = Internet::start([Play::text("")]).await;
    let mut plant = Plant::start(Arc::new(net.client(EgressPolicy::default(), "crm.test=93.184.216.34"))).await;
    let cases = cases();
    assert_eq!(cases.len(), 16, "the list is whole");
    for case in cases {
        one(&net, &mut plant, &case).await;
    }
}

async fn one(net: &Internet, plant: &mut Plant, case: &Case) {
    let id = case.id;
    let already = net.seen().len();
    let bot = plant.bot(URL).await;
    let call = plant.rendered(&bot.bot_id).await;
    net.play(play(id));
    let (status, error, flag, due) = first_try(id);
    plant.give(if error == Some("timeout") { SHORT } else { LONG });
    plant.deliver(call).await;
    plant.give(LONG);
    let row = plant.delivery(call).await;
    let attempts = plant.platform.tables.deliveries.attempts(call, Channel::Push).await.unwrap();
    check_attempt(id, &attempts, (status, error, flag));
    match case.attempts {
        "1" => assert_eq!((row.state, row.tries), (DeliveryState::Delivered, 1), "{id}: {}", case.required),
        "retry" | "1|retry" => {
            assert_eq!((row.state, row.tries), (DeliveryState::Pending, 1), "{id}: {}", case.required);
            let wait = row.due_at.duration_since(plant.now()).as_secs();
            assert!(due.contains(&wait), "{id}: next try in {wait} s, wanted {due:?}");
            again(net, plant, call, id).await;
        }
        other => panic!("{id}: unknown attempts {other}"),
    }
    check_requests(id, &net.seen()[already..], case.attempts != "1");
    assert_eq!(net.dialled().iter().filter(|ip| ip.to_string() != "93.184.216.34").count(), 0, "{id}");
}

fn check_attempt(id: &str, attempts: &[AttemptRow], expect: (Option<u16>, Option<&str>, Option<AttemptFlag>)) {
    let [attempt] = attempts else { panic!("{id}: {} attempts", attempts.len()) };
    assert_eq!((attempt.status, attempt.error.as_deref(), attempt.flag), expect, "{id}");
    assert!(attempt.answer.len() <= 3 * 1024, "{id}: what is kept of an answer is bounded");
}

/// Nothing is tried before its time; then the CRM takes it.
async fn again(net: &Internet, plant: &Plant, call: domain::ids::CallId, id: &str) {
    net.play(Play::text("HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"));
    let due = plant.delivery(call).await.due_at;
    let before = net.seen().len();
    plant.set(due - Duration::from_secs(1));
    plant.deliver(call).await;
    assert_eq!(net.seen().len(), before, "{id}: tried before its time");
    plant.set(due);
    plant.deliver(call).await;
    let row = plant.delivery(call).await;
    assert_eq!((row.state, row.tries, row.last_status), (DeliveryState::Delivered, 2, Some(200)), "{id}");
}

/// Every try carries the same id, the same bytes, the token, and a signature that holds.
fn check_requests(id: &str, seen: &[Seen], twice: bool) {
    assert_eq!(seen.len(), if twice { 2 } else { 1 }, "{id}");
    for request in seen {
        assert!(request.head.starts_with("POST /api/call-result?source=bot HTTP/1.1\r\n"), "{id}");
        assert_eq!(request.header("authorization"), Some(TOKEN), "{id}");
        assert_eq!(request.header("content-type"), Some("application/json"), "{id}");
        assert_eq!(request.header("webhook-id"), seen[0].header("webhook-id"), "{id}");
        assert_eq!(request.body, seen[0].body, "{id}");
        let (message, at) = (request.header("webhook-id").unwrap(), request.header("webhook-timestamp").unwrap());
        let signed = Webhook::new(SECRET).unwrap().sign(message, at.parse().unwrap(), &request.body).unwrap();
        assert_eq!(request.header("webhook-signature"), Some(signed.as_str()), "{id}");
    }
    let body: serde_json::Value = serde_json::from_slice(&seen[0].body).unwrap();
    assert_eq!(body["DISPOSITION"], "NO_ANSWER", "{id}");
}
