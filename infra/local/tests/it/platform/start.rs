//! The first start, the second, and the end.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use super::process::{Running, World, run, within};
use super::uas::Uas;

#[tokio::test]
async fn the_ready_line_tells_everything_and_the_key_is_told_once() {
    let world = World::new();
    let first = world.up(&[]).await;
    let names: Vec<&str> = first.ready.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(names, ["ready", "http", "sip", "ws", "data", "aws", "fleet_secret_file", "fleet_http", "admin_key"]);
    assert_eq!(first.ready["ready"], true);
    assert!(first.text("http").starts_with("http://127.0.0.1:") && first.text("sip").starts_with("127.0.0.1:"));
    assert!(first.text("ws").starts_with("ws://127.0.0.1:"));
    assert!(first.ready["aws"]["endpoint"].as_str().unwrap().starts_with("http://127.0.0.1:"));
    assert_eq!(first.ready["aws"]["region"], "us-east-1");
    let secret = first.text("fleet_secret_file");
    assert_eq!(std::fs::metadata(&secret).unwrap().permissions().mode() & 0o777, 0o600);

    let admin = first.admin();
    assert_eq!(admin.get("/health").await, (200, json!({"status":"ok"})));
    let (_, health) = admin.get("/health/fleet").await;
    assert_eq!((&health["workers"][0]["id"], &health["fleet_calls"]), (&json!("local"), &json!(0)));
    admin.create_bot(9, json!({})).await;

    // What was acknowledged survives kill -9.
    let (key, secrets) = (first.text("admin_key"), std::fs::read(&secret).unwrap());
    first.kill().await;
    let second = world.up(&[]).await;
    assert!(second.ready.get("admin_key").is_none(), "{}", second.ready);
    assert_eq!(std::fs::read(&secret).unwrap(), secrets);
    let (status, bot) = second.client(&key).get("/api/v1/admin/bots/b").await;
    assert_eq!((status, &bot["name"]), (200, &json!("B")));
    let (_, keys) = second.client(&key).get("/api/v1/admin/keys").await;
    assert_eq!(keys["items"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn an_admin_key_may_be_given() {
    let world = World::new();
    for _ in 0..2 {
        let running = world.up(&["--set", "admin_key=my-own-admin-key"]).await;
        assert!(running.ready.get("admin_key").is_none());
        assert_eq!(running.client("my-own-admin-key").get("/api/v1/admin/keys").await.0, 200);
        assert_eq!(running.client("another-key").get("/api/v1/admin/keys").await.0, 401);
        running.kill().await;
    }
}

#[tokio::test]
async fn who_comes_first_is_not_refused_for_a_key_that_is_being_made() {
    let world = World::new();
    let free = free_port();
    let key = "my-own-admin-key";
    let mut command = world.command(["up", "--json", "--http", &free, "--sip", "127.0.0.1:0"]);
    command.arg("--data").arg(world.path("data")).env("RINGFLEET_ADMIN_KEY", key);
    let first = within(async {
        let ask =
            || reqwest::Client::new().get(format!("http://{free}/api/v1/admin/keys")).header("x-api-key", key).send();
        loop {
            match ask().await {
                Ok(answer) => return answer.status().as_u16(),
                Err(_) => tokio::time::sleep(Duration::from_millis(2)).await,
            }
        }
    });
    let (running, status) = tokio::join!(Running::start(command), first);
    assert_eq!(status, 200);
    running.kill().await;
}

/// An address that nobody else gets by chance: below the ports that the system gives out.
fn free_port() -> String {
    let from = std::process::id() % 1000;
    let mut all = (0..1000).map(|n| format!("127.0.0.1:{}", 10_500 + (from + n) % 1000));
    all.find(|address| std::net::TcpListener::bind(address).is_ok()).unwrap()
}

#[tokio::test]
async fn sigterm_lets_a_call_finish_and_a_second_one_does_not() {
    let world = World::new();
    let mut running = world.up(&[]).await;
    let (phone, admin) = (Uas::bind().await, running.admin());
    admin.create_bot(phone.port(), json!({})).await;

    let call = admin.dial(json!({})).await;
    let ringing = phone.ring().await;
    admin.until(&format!("/api/v1/calls/{call}"), |call| call["state"] == "ringing").await;
    running.signal("TERM");
    admin.until("/health/fleet", |fleet| fleet["workers"][0]["draining"] == true).await;
    let (status, refused) =
        admin.send("POST", "/api/v1/dialout", Some(json!({"bot_id":"b","to_number":"+919876543210"}))).await;
    assert_eq!((status, &refused["code"]), (503, &json!("no_capacity")));
    assert!(running.is_running());
    phone.decline(&ringing).await;
    assert_eq!(running.ended().await.code(), Some(0));

    let key = running.text("admin_key");
    let mut again = world.up(&[]).await;
    let admin = again.client(&key);
    let result = admin.until(&format!("/api/v1/calls/{call}"), |call| call["state"] == "ended").await;
    assert_eq!(result["end_reason"], "declined", "{result}");

    let forced = admin.dial(json!({})).await;
    let ringing = phone.ring().await;
    admin.until(&format!("/api/v1/calls/{forced}"), |call| call["state"] == "ringing").await;
    again.signal("TERM");
    admin.until("/health/fleet", |fleet| fleet["workers"][0]["draining"] == true).await;
    again.signal("TERM");
    phone.cancelled(&ringing).await;
    assert_eq!(again.ended().await.code(), Some(0));
    let last = world.up(&[]).await;
    let path = format!("/api/v1/calls/{forced}");
    let result = last.client(&key).until(&path, |call| call["state"] == "ended").await;
    assert_eq!((&result["disconnected_by"], &result["end_reason"]), (&json!("error"), &json!("drained")), "{result}");
}

#[tokio::test]
async fn people_get_a_page() {
    let world = World::new();
    let mut command = world.command(["doctor", "--http", "127.0.0.1:0", "--sip", "127.0.0.1:0"]);
    command.arg("--data").arg(world.path("data"));
    let said = run(command).await;
    // Without speech models nothing can be said or heard.
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(said.stdout.contains("FAIL  models") && said.stdout.contains("ringfleet models fetch"), "{}", said.stdout);
    let mut command = world.command(["doctor", "--json", "--http", "127.0.0.1:0", "--sip", "127.0.0.1:0"]);
    command.arg("--data").arg(world.path("data"));
    let said = run(command).await;
    let report: Value = serde_json::from_str(&said.stdout).unwrap();
    assert_eq!((&report["ok"], &report["checks"][0]["status"]), (&json!(false), &json!("fail")));
    assert!(!Path::new(&world.path("data")).exists(), "a doctor changes nothing");
}
