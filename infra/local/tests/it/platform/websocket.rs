//! Diallers over real sockets: who is refused before the upgrade and why, and what becomes of those who are not.

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{WebSocketStream, client_async};

use super::process::{Client, Running, World, within};

/// The integration guide's own example, byte for byte.
pub(super) const GUIDE: &str = r#"{
  "event": "connected",
  "callerId": "+919876543210",
  "streamId": "stream-123",
  "customer_name": "Rahul Sharma",
  "loan_number": "LN123456"
}"#;

pub(super) type Socket = WebSocketStream<TcpStream>;

/// What a dialler was answered instead of an upgrade.
#[derive(Debug)]
pub(super) struct Refused {
    pub(super) status: u16,
    pub(super) retry_after: Option<u64>,
    pub(super) body: Value,
}

fn port(running: &Running) -> String {
    running.text("ws").trim_start_matches("ws://").to_owned()
}

pub(super) async fn connect(
    running: &Running,
    path: &str,
    headers: &[(&'static str, &str)],
) -> Result<Socket, Refused> {
    let host = port(running);
    let mut request = format!("ws://{host}{path}").into_client_request().unwrap();
    for (name, value) in headers {
        request.headers_mut().insert(*name, value.parse().unwrap());
    }
    let stream = TcpStream::connect(&host).await.unwrap();
    match within(client_async(request, stream)).await {
        Ok((socket, _)) => Ok(socket),
        Err(Error::Http(answer)) => {
            let retry_after = answer.headers().get("retry-after").map(|value| value.to_str().unwrap().parse().unwrap());
            let body = serde_json::from_slice(answer.body().as_deref().unwrap_or_default()).unwrap_or(Value::Null);
            Err(Refused { status: answer.status().as_u16(), retry_after, body })
        }
        Err(error) => panic!("{error}"),
    }
}

/// Reads on until the socket closes; answers the code.
async fn closed(socket: &mut Socket) -> u16 {
    within(async {
        while let Some(message) = socket.next().await {
            if let Message::Close(frame) = message.unwrap() {
                return frame.map_or(1005, |frame| frame.code.into());
            }
        }
        panic!("no close frame")
    })
    .await
}

/// The bot's one call, once `wanted` holds.
async fn call(admin: &Client, wanted: impl Fn(&Value) -> bool) -> Value {
    let calls = admin
        .until("/api/v1/calls?bot_id=b", |calls| calls["items"].as_array().is_some_and(|all| all.iter().any(&wanted)));
    calls.await["items"].as_array().unwrap().iter().find(|call| wanted(call)).unwrap().clone()
}

#[tokio::test]
async fn whoever_may_not_connect_is_told_so_before_the_upgrade() {
    let world = World::new();
    let running = world.up(&["--max-calls", "1"]).await;
    let admin = running.admin();
    admin.create_bot(9, json!({})).await;
    let closed_now = json!({"bot_id":"shut","name":"S","websocket":{"access":"open"},"timezone":"UTC",
        "active_hours":[{"days":["mon","tue","wed","thu","fri","sat","sun"],"start":"00:00","end":"00:01"}]});
    // Open for a minute a day: within it, this bot has that minute and the next closed instead.
    let closed_now = if minute_of_day() == 0 {
        let mut other = closed_now;
        other["active_hours"][0] =
            json!({"days":["mon","tue","wed","thu","fri","sat","sun"],"start":"12:00","end":"12:01"});
        other
    } else {
        closed_now
    };
    assert_eq!(admin.send("POST", "/api/v1/admin/bots", Some(closed_now)).await.0, 201);
    let other = json!({"bot_id":"other","name":"O","websocket":{"access":"open"}});
    assert_eq!(admin.send("POST", "/api/v1/admin/bots", Some(other)).await.0, 201);
    let off = json!({"bot_id":"off","name":"O","enabled":false,"websocket":{"access":"open"}});
    assert_eq!(admin.send("POST", "/api/v1/admin/bots", Some(off)).await.0, 201);
    let key = running.text("admin_key");
    let scoped = json!({"name":"s","role":"client","bots":["other"]});
    let (_, scoped) = admin.send("POST", "/api/v1/admin/keys", Some(scoped)).await;
    let scoped = scoped["key"].as_str().unwrap().to_owned();

    let check = async |path: &str, key: Option<&str>, status: u16, code: &str, says: &str| {
        let headers: Vec<_> = key.map(|key| ("x-api-key", key)).into_iter().collect();
        let refused = connect(&running, path, &headers).await.expect_err(path);
        assert_eq!((refused.status, &refused.body["code"]), (status, &json!(code)), "{path}: {refused:?}");
        assert!(refused.body["detail"].as_str().unwrap().contains(says), "{path}: {refused:?}");
        refused
    };
    let key = Some(key.as_str());
    let unknown = check("/ws/nobody", key, 404, "not_found", "").await;
    for path in ["/ws/off", "/ws/a%20b"] {
        assert_eq!(check(path, key, 404, "not_found", "").await.body, unknown.body, "{path}");
    }
    assert_eq!(check("/ws/b", Some(&scoped), 404, "not_found", "").await.body, unknown.body);
    check("/ws/b", None, 401, "unauthorized", "websocket.access").await;
    check("/ws/b", Some("a-wrong-key"), 401, "unauthorized", "websocket.access").await;
    check("/ws/b?dialect=twillio", key, 400, "invalid", "?dialect=twillio").await;
    check("/ws/b?rate=9000", key, 400, "invalid", "?rate=9000").await;
    check("/ws/b?codec=mp3", key, 400, "invalid", "?codec=mp3").await;
    let shut = check("/ws/shut", None, 503, "outside_active_hours", "it opens at").await;
    assert!(shut.retry_after.is_some_and(|wait| (1..=24 * 3600).contains(&wait)), "{shut:?}");

    let plain = reqwest::get(format!("http://{}/ws/b", port(&running))).await.unwrap();
    assert_eq!((plain.status().as_u16(), &plain.headers()["upgrade"]), (426, &"websocket".parse().unwrap()));
    let health =
        || async { reqwest::get(format!("http://{}/health", port(&running))).await.unwrap().status().as_u16() };
    assert_eq!(health().await, 200);

    // The one slot is taken, though nothing is a call yet.
    let mut first = connect(&running, "/ws/other", &[]).await.unwrap();
    let full = check("/ws/other", None, 503, "no_capacity", "").await;
    assert_eq!(full.retry_after, Some(5));
    admin.until("/health/fleet", |fleet| fleet["fleet_available"] == 0).await;
    assert_eq!(admin.get("/api/v1/calls?bot_id=other").await.1["items"], json!([]));
    first.close(None).await.unwrap();
    admin.until("/health/fleet", |fleet| fleet["fleet_available"] == 1).await;
}

fn minute_of_day() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs() / 60 % (24 * 60)
}

#[tokio::test]
async fn the_guides_example_starts_a_call_and_its_end_is_told() {
    let world = World::new();
    let running = world.up(&[]).await;
    let admin = running.admin();
    admin.create_bot(9, json!({"websocket":{"access":"open"}})).await;
    let mut socket = connect(&running, "/ws/b", &[]).await.unwrap();
    socket.send(Message::text(GUIDE)).await.unwrap();
    let row = call(&admin, |call| call["direction"] == "inbound").await;
    socket.send(Message::text(r#"{"event":"hangup-call","disconnectedBy":"customer"}"#)).await.unwrap();
    assert_eq!(closed(&mut socket).await, 1000);
    let path = format!("/api/v1/calls/{}", row["session_id"].as_str().unwrap());
    let result = admin.until(&path, |call| call["state"] == "ended").await;
    assert_eq!(
        (&result["disconnected_by"], &result["end_reason"], &result["caller_id"], &result["direction"]),
        (&json!("customer"), &json!("customer_hangup"), &json!("+919876543210"), &json!("inbound")),
        "{result}"
    );
    admin.until("/health/fleet", |fleet| fleet["fleet_calls"] == 0).await;
}

#[tokio::test]
async fn a_stream_that_comes_again_ends_the_older_call_first() {
    let world = World::new();
    let running = world.up(&[]).await;
    let admin = running.admin();
    admin.create_bot(9, json!({"websocket":{"access":"open"}})).await;
    let mut first = connect(&running, "/ws/b", &[]).await.unwrap();
    first.send(Message::text(GUIDE)).await.unwrap();
    let older = call(&admin, |_| true).await;
    let mut second = connect(&running, "/ws/b", &[]).await.unwrap();
    second.send(Message::text(GUIDE)).await.unwrap();
    assert_eq!(closed(&mut first).await, 1000);
    let newer = call(&admin, |call| call["session_id"] != older["session_id"]).await;
    let path = format!("/api/v1/calls/{}", older["session_id"].as_str().unwrap());
    let result = admin.until(&path, |call| call["state"] == "ended").await;
    assert_eq!((&result["disconnected_by"], &result["end_reason"]), (&json!("customer"), &json!("socket_lost")));
    drop(second);
    let path = format!("/api/v1/calls/{}", newer["session_id"].as_str().unwrap());
    let result = admin.until(&path, |call| call["state"] == "ended").await;
    assert_eq!(result["end_reason"], "socket_lost", "{result}");
}

#[tokio::test]
async fn sockets_are_bounded_by_address_and_closed_when_the_server_ends() {
    let world = World::new();
    let mut running = world.up(&["--set", "fleet.ws_per_address=2"]).await;
    let admin = running.admin();
    admin.create_bot(9, json!({"websocket":{"access":"open"}})).await;
    let mut first = connect(&running, "/ws/b?dialect=native", &[]).await.unwrap();
    let _second = connect(&running, "/ws/b", &[("sec-websocket-protocol", "audio.jambonz.org")]).await.unwrap();
    let refused = connect(&running, "/ws/b", &[]).await.unwrap_err();
    assert_eq!((refused.status, &refused.body["code"]), (429, &json!("too_many_connections")), "{refused:?}");
    running.signal("TERM");
    assert_eq!(closed(&mut first).await, 1001);
    drop(first);
    assert_eq!(running.ended().await.code(), Some(0));
}
