//! As many calls as there is room for and no more, counted where they arrive: at the carrier.

use std::time::Duration;

use domain::fleet::ServerRow;
use domain::ids::{Epoch, ServerId};
use infra::config::{AwsConfig, NamesConfig};
use infra::schema::Names;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy, sink};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::fleet::server;
use super::process::{Client, Running, World, within};
use super::switchboard::Switchboard;

/// From the request to the answer. The rule is 8 s (`api.md` §6.1): the handler's own tests hold it on simulated time. Here, on
/// real time, there is room for a machine that stands still for some seconds.
const ANSWER_WITHIN: Duration = Duration::from_secs(16);

fn asked() -> Value {
    json!({"bot_id":"b","to_number":"+919876543210"})
}

/// So many dialouts at once: statuses and bodies.
async fn crowd(client: &Client, count: usize) -> Vec<(u16, Value)> {
    let mut crowd = JoinSet::new();
    for _ in 0..count {
        let client = client.clone();
        crowd.spawn(async move { client.send("POST", "/api/v1/dialout", Some(asked())).await });
    }
    crowd.join_all().await
}

fn accepted(answers: &[(u16, Value)]) -> Vec<&str> {
    answers.iter().filter(|(status, _)| *status == 200).map(|(_, body)| body["call_id"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn five_hundred_ask_for_thirty_seven_slots() {
    const SLOTS: usize = 37;
    let world = World::new();
    let running = world.up(&["--max-calls", "37"]).await;
    let (carrier, admin) = (Switchboard::start().await, running.admin());
    admin.create_bot(carrier.port(), json!({})).await;

    let mut calls = Vec::new();
    while calls.len() < SLOTS {
        let answers = crowd(&admin, 500).await;
        let refused: Vec<&Value> = answers.iter().filter(|(status, _)| *status == 503).map(|(_, body)| body).collect();
        let late = refused.iter().filter(|body| body["code"] == "unavailable").count();
        calls.extend(accepted(&answers).into_iter().map(str::to_owned));
        assert!(calls.len() <= SLOTS && refused.iter().all(|body| is_refused(body)), "{refused:?}");
        assert_eq!(accepted(&answers).len() + refused.len(), 500);
        // Only a machine too slow to look at all of them in time may leave slots to a second crowd.
        assert!(calls.len() == SLOTS || late > 0, "{} of {SLOTS}: {refused:?}", calls.len());
    }
    for call in &calls {
        admin.until(&format!("/api/v1/calls/{call}"), |call| call["state"] == "ringing").await;
    }
    let full = admin.until("/health/fleet", |fleet| fleet["fleet_available"] == 0).await;
    assert_eq!((&full["fleet_calls"], carrier.calls()), (&json!(SLOTS), SLOTS));
    told_to_anyone(&running, SLOTS, 0).await;

    carrier.end_all("603 Decline").await;
    for call in &calls {
        admin.until(&format!("/api/v1/calls/{call}"), |call| call["state"] == "ended").await;
    }
    let empty = admin.until("/health/fleet", |fleet| fleet["fleet_available"] == SLOTS).await;
    assert_eq!((&empty["fleet_calls"], carrier.calls()), (&json!(0), SLOTS));
    told_to_anyone(&running, 0, SLOTS).await;
}

fn is_refused(body: &Value) -> bool {
    body["code"] == "no_capacity" || body["code"] == "unavailable"
}

/// Waits until who has no key is told this, from the fleet's summary.
async fn told_to_anyone(running: &Running, calls: usize, available: usize) {
    let url = format!("{}/health/fleet", running.text("http"));
    within(async {
        loop {
            let told: Value = reqwest::get(&url).await.unwrap().json().await.unwrap();
            assert!(told.get("workers").is_none(), "{told}");
            if told["fleet_calls"] == calls && told["fleet_available"] == available {
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_ceiling_is_kept_and_what_unanswered_calls_had_set_aside_comes_back() {
    let world = World::new();
    let running = world.up(&["--set", "prices.calls=[\"+91 0.5\"]"]).await;
    let (carrier, admin) = (Switchboard::start().await, running.admin());
    admin.create_bot(carrier.port(), json!({"max_spend_per_day":"1.25"})).await;
    let ask = async || admin.send("POST", "/api/v1/dialout", Some(asked())).await;
    for _ in 0..2 {
        admin.dial(json!({})).await;
    }
    let (status, body) = ask().await;
    assert_eq!((status, &body["code"]), (503, &json!("spend_ceiling")));
    assert!(body["resets_at"].is_string(), "{body}");
    carrier.reached(2).await;
    carrier.end_all("603 Decline").await;
    // Nobody answered, so nothing was spent: both places come back with the calls' ends.
    let mut again = 0;
    within(async {
        while again < 2 {
            again += usize::from(ask().await.0 == 200);
        }
    })
    .await;
    assert_eq!(ask().await.1["code"], "spend_ceiling");
    carrier.reached(4).await;
    assert_eq!(carrier.calls(), 4);
}

#[tokio::test]
async fn failures_of_an_address_are_slowed_and_its_good_key_is_not() {
    let world = World::new();
    let running = world.up(&[]).await;
    let url = format!("{}/api/v1/admin/keys", running.text("http"));
    let http = reqwest::Client::new();
    let knock = async || {
        let answer = within(http.get(&url).header("x-api-key", "no-such-key").send()).await.unwrap();
        assert_eq!(answer.status(), 401);
        answer.headers().get("retry-after").is_some()
    };
    let mut slowed = Vec::new();
    for _ in 0..7 {
        slowed.push(knock().await);
    }
    assert_eq!(slowed, [false, false, false, false, false, true, true]);
    assert_eq!(running.admin().get("/api/v1/admin/keys").await.0, 200);
}

#[tokio::test]
async fn a_trunks_limit_holds_over_two_servers() {
    let world = World::new();
    let platform = world.up(&["--fleet", "external"]).await;
    let (carrier, admin) = (Switchboard::start().await, platform.admin());
    let _one = Running::start(server(&world, &platform, "one")).await;
    let _two = Running::start(server(&world, &platform, "two")).await;
    admin.create_bot(carrier.port(), json!({})).await;
    let trunk =
        json!({"name":"T","host":"127.0.0.1","port":carrier.port(),"default_number":"+911234567890","max_calls":3});
    let (status, body) = admin.replace("/api/v1/admin/trunks/t", trunk).await;
    assert_eq!(status, 200, "{body}");

    // The second server has no share before everybody knows of it; until then its part is nobody's.
    let mut calls = 0;
    within(async {
        while calls < 3 {
            let answers = crowd(&admin, 4).await;
            calls += accepted(&answers).len();
            // On a machine that stood still for a moment the servers' shares, or the stores, were away for one.
            assert!(answers.iter().all(|(_, body)| body["status"] == "ok" || is_over(body)), "{answers:?}");
        }
    })
    .await;
    carrier.reached(3).await;
    let answers = crowd(&admin, 10).await;
    assert!(answers.iter().all(|(status, body)| *status == 503 && is_over(body)), "{answers:?}");
    assert!(answers.iter().any(|(_, body)| body["code"] == "trunk_limit"), "{answers:?}");
    assert_eq!((calls, carrier.calls()), (3, 3));
}

fn is_over(body: &Value) -> bool {
    body["code"] == "trunk_limit" || is_refused(body)
}

/// A server's row, put into the platform's own table.
async fn register(platform: &Running, id: &str, address: String) {
    let aws = &platform.ready["aws"];
    let file = std::fs::read_to_string(aws["credentials_file"].as_str().unwrap()).unwrap();
    let value = |name: &str| {
        let line = file.lines().find_map(|line| line.strip_prefix(name)?.trim_start().strip_prefix('='));
        line.unwrap_or_else(|| panic!("no {name}")).trim().to_owned()
    };
    let config = AwsConfig {
        endpoint: aws["endpoint"].as_str().map(str::to_owned),
        region: aws["region"].as_str().map(str::to_owned),
        access_key_id: Some(value("aws_access_key_id")),
        secret_access_key: Some(value("aws_secret_access_key").into()),
    };
    let clients = infra::aws::connect(&config).await;
    let stores = infra::dynamodb::stores(&clients, &Names::new(&NamesConfig::default()));
    let row = ServerRow {
        server_id: ServerId::parse(id).unwrap(),
        epoch: Epoch(1),
        address,
        ws_url: String::new(),
        sip: String::new(),
        group: None,
        calls: 0,
        max: 10,
        free: 10,
        trunk_calls: Default::default(),
        draining: false,
        version: "0".into(),
        heartbeat_at: jiff::Timestamp::now(),
    };
    stores.servers.heartbeat(&row).await.unwrap();
}

#[tokio::test]
async fn a_server_that_takes_no_call_and_never_answers_costs_its_client_no_more_than_the_budget() {
    let world = World::new();
    let platform = world.up(&["--fleet", "external"]).await;
    let (carrier, admin) = (Switchboard::start().await, platform.admin());
    admin.create_bot(carrier.port(), json!({})).await;
    let hole = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = hole.local_addr().unwrap().to_string();
    let listening = tokio::spawn(async move {
        let mut held = Vec::new();
        loop {
            held.push(hole.accept().await.unwrap());
        }
    });
    register(&platform, "hole", address).await;
    let answer = admin.send("POST", "/api/v1/dialout", Some(asked()));
    let (status, body) = tokio::time::timeout(ANSWER_WITHIN, answer).await.expect("an answer within the budget");
    assert_eq!((status, &body["code"], carrier.calls()), (503, &json!("no_capacity"), 0), "{body}");
    listening.abort();
}

/// Passes requests on and drops every answer.
async fn swallow(listener: TcpListener, upstream: watch::Receiver<Option<String>>) {
    loop {
        let (mut client, _) = listener.accept().await.unwrap();
        let Some(upstream) = upstream.borrow().clone() else { continue };
        tokio::spawn(async move {
            let (mut read, mut write) = TcpStream::connect(upstream).await.unwrap().into_split();
            let dropped = tokio::spawn(async move { copy(&mut read, &mut sink()).await });
            let mut buffer = vec![0; 16 * 1024];
            while let Ok(length @ 1..) = client.read(&mut buffer).await {
                write.write_all(&buffer[..length]).await.unwrap();
            }
            dropped.abort();
        });
    }
}

#[tokio::test]
async fn a_server_whose_answers_get_lost_dials_once_and_its_client_hears_yes() {
    let world = World::new();
    let platform = world.up(&["--fleet", "external"]).await;
    let (carrier, admin) = (Switchboard::start().await, platform.admin());
    admin.create_bot(carrier.port(), json!({})).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let advertised = format!("fleet.http_advertised={}", listener.local_addr().unwrap());
    let (known, upstream) = watch::channel(None);
    let swallowing = tokio::spawn(swallow(listener, upstream));
    let mut command = server(&world, &platform, "mute");
    command.args(["--set", &advertised]);
    let mute = Running::start(command).await;
    known.send_replace(Some(mute.text("http").trim_start_matches("http://").to_owned()));

    let answer = admin.send("POST", "/api/v1/dialout", Some(asked()));
    let (status, body) = tokio::time::timeout(ANSWER_WITHIN, answer).await.expect("an answer within the budget");
    assert_eq!(status, 200, "{body}");
    let path = format!("/api/v1/calls/{}", body["call_id"].as_str().unwrap());
    carrier.reached(1).await;
    carrier.end_all("486 Busy Here").await;
    let result = admin.until(&path, |call| call["state"] == "ended").await;
    assert_eq!((&result["end_reason"], carrier.calls()), (&json!("busy"), 1));
    swallowing.abort();
}
