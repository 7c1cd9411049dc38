//! Who gets in: one pool of slots for SIP and WebSocket, and the answers before the upgrade.

use anyhow::{Context, Result, ensure};
use http::StatusCode;
use ringfleet_tests::platform::Setup;
use ringfleet_tests::sipp::Sipp;
use ringfleet_tests::subjects::{VARIABLES, bot, trunk};
use ringfleet_tests::ws::socket::{self, Refusal};
use ringfleet_tests::{gate, tools};
use serde_json::{Value, json};

use super::{ANSWER, CALL, World, talks};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sip_and_websocket_share_one_pool_and_a_full_one_says_so() {
    let name = "sip_and_websocket_share_one_pool_and_a_full_one_says_so";
    if tools::can_run(name, &["flite", "sipp"]) {
        let _turn = gate::part().await;
        shared().await.unwrap();
    }
}

async fn shared() -> Result<()> {
    let setup = Setup { deaf: true, ..Setup::default() }.with(&["fleet.max_calls=3"]);
    let world = World::start(setup, &[talks("ws")]).await?;
    let sipp = Sipp::start("answer-and-hang-up", &[("MS", "60000")])?;
    world.platform.api.create(&trunk("line", sipp.port), &bot("sip", "line", &world.crm.url("/sip"))).await?;
    let call = world.platform.api.dialout("sip", VARIABLES).await?;
    world.platform.api.reached(&call, "answered", CALL).await?;
    let first = world.answered("ws", "first").await?;
    let mut second = world.answered("ws", "second").await?;
    world.busy_with(3).await?;

    let refused = socket::refused(&world.url("ws"), &[("x-api-key", &world.key)]).await?;
    ensure!(refused.status == StatusCode::SERVICE_UNAVAILABLE, "{refused:?}");
    ensure!(seconds(&refused, "retry-after").is_some(), "no Retry-After: {refused:?}");
    let body = json!({"bot_id": "sip", "to_number": "+919876543210", "variables": {}});
    let (status, answer) = world.platform.api.ask(reqwest::Method::POST, "/api/v1/dialout", Some(&body)).await?;
    ensure!(status == StatusCode::SERVICE_UNAVAILABLE && answer["code"] == "no_capacity", "{status}: {answer}");

    socket::send(&mut second, &json!({"event": "hangup-call", "disconnectedBy": "customer"})).await?;
    socket::closing(&mut second, ANSWER).await?;
    world.busy_with(2).await?;
    let third = world.answered("ws", "third").await?;
    world.busy_with(3).await?;
    socket::cut_off(first)?;
    drop(third);
    world.platform.api.post(&format!("/api/v1/calls/{call}/hangup"), &json!({})).await?;
    sipp.kill().await?;
    world.stop().await
}

fn seconds(refused: &Refusal, header: &str) -> Option<u64> {
    refused.headers.get(header)?.to_str().ok()?.parse().ok()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_wrong_ones_are_refused_before_the_upgrade() {
    let name = "the_wrong_ones_are_refused_before_the_upgrade";
    if tools::can_run(name, &["flite"]) {
        let _turn = gate::part().await;
        refused().await.unwrap();
    }
}

async fn refused() -> Result<()> {
    let world = World::start(Setup { deaf: true, ..Setup::default() }, &[talks("keyed")]).await?;
    for (id, websocket) in [
        ("elsewhere", json!({})),
        ("open", json!({"access": "open"})),
        ("listed", json!({"access": "allowlist", "cidrs": ["127.0.0.0/8"]})),
        ("unlisted", json!({"access": "allowlist", "cidrs": ["203.0.113.0/24"]})),
    ] {
        let mut bot = talks(id);
        bot["websocket"] = websocket;
        world.add(bot).await?;
    }
    let key = world.key.clone();
    let with_key: [(&str, &str); 1] = [("x-api-key", &key)];
    for (bot, headers, status) in [
        ("keyed", &[][..], 401),
        ("keyed", &[("x-api-key", "rf_wrong_key_wrong_key_wrong_key")][..], 401),
        ("keyed", &[("authorization", "Basic ZGlhbGxlcjp3cm9uZw==")][..], 401),
        ("elsewhere", &with_key[..], 404),
        ("nobody", &with_key[..], 404),
        ("unlisted", &with_key[..], 403),
    ] {
        let refusal = socket::refused(&world.url(bot), headers).await?;
        ensure!(refusal.status.as_u16() == status, "{bot}, {headers:?}: {refusal:?}");
        let problem: Value = serde_json::from_str(&refusal.body).with_context(|| format!("{refusal:?}"))?;
        ensure!(problem["status"] == status && problem["detail"].is_string(), "{problem}");
        let names_it = status == 404 || refusal.body.contains("websocket.access");
        ensure!(names_it, "the setting is not named: {problem}");
        ensure!(!refusal.body.contains(&key), "the key is in the answer");
    }
    for bot in ["keyed", "open", "listed"] {
        let headers = if bot == "keyed" { &with_key[..] } else { &[] };
        drop(socket::open(&world.url(bot), headers).await.with_context(|| bot.to_owned())?);
    }
    drop(socket::open(&format!("{}?key={key}", world.url("keyed")), &[]).await?);
    let token = world.platform.api.post("/api/v1/admin/bots/keyed/connect-tokens", &json!({})).await?;
    let token = token["token"].as_str().context("no token")?;
    // Twilio keeps neither headers nor a query.
    drop(socket::open(&format!("{}/{token}", world.url("keyed")), &[]).await?);
    for (path, status) in
        [(format!("elsewhere/{token}"), 404), (format!("keyed/{token}x"), 401), (format!("keyed/{key}"), 401)]
    {
        let refusal = socket::refused(&world.url(&path), &[]).await?;
        ensure!(refusal.status.as_u16() == status, "{status} expected: {refusal:?}");
    }
    let log = world.platform.log();
    ensure!(!log.contains(&key) && !log.contains(token), "a credential is in the log");
    world.stop().await
}
