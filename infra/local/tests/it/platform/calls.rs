//! Calls through the whole platform: what drives a result from its end to the CRM, restarts included.

use domain::delivery::Channel;
use domain::ids::CallId;
use infra::aws::connect;
use infra::config::{AwsConfig, NamesConfig};
use infra::dynamodb::stores;
use infra::schema::Names;
use serde_json::{Value, json};

use super::process::{Running, World, run, within};
use super::sink::Sink;
use super::uas::Uas;

fn push(sink: &Sink) -> Value {
    let mapper =
        json!({"who":"{{crm.name}}","how":"{{result.disposition}}","call":"{{call.id}}","why":"{{call.end_reason}}"});
    json!({"push":{"url":sink.url,"key_mapper":mapper},"outcome_map":{"busy":"BUSY"}})
}

#[tokio::test]
async fn a_busy_phone_ends_in_one_result_and_one_push() {
    let world = World::new();
    let running = world.up(&[]).await;
    let (phone, sink, admin) = (Uas::bind().await, Sink::start().await, running.admin());
    admin.create_bot(phone.port(), push(&sink)).await;
    let call = admin.dial(json!({"name":"Asha"})).await;
    phone.refuse("486 Busy Here").await;

    let pushed = sink.next().await;
    assert_eq!(pushed.json(), json!({"who":"Asha","how":"BUSY","call":call,"why":"busy"}));
    assert_eq!(pushed.headers["webhook-id"], format!("{call}-push").as_str());
    let result = admin.until(&format!("/api/v1/calls/{call}"), |call| call["state"] == "ended").await;
    assert_eq!(
        (&result["disconnected_by"], &result["end_reason"], &result["sip_code"]),
        (&json!("customer"), &json!("busy"), &json!(486))
    );
    assert_eq!(result["recording_url"], "");
    let metrics = reqwest::get(format!("{}/metrics", running.text("fleet_http"))).await.unwrap();
    let (status, metrics) = (metrics.status().as_u16(), metrics.text().await.unwrap());
    assert!(status == 200 && metrics.contains("# TYPE ringfleet_"), "{status} {metrics}");
}

#[tokio::test]
async fn a_restart_loses_no_push() {
    let world = World::new();
    let running = world.up(&[]).await;
    let (phone, sink, admin) = (Uas::bind().await, Sink::start().await, running.admin());
    admin.create_bot(phone.port(), push(&sink)).await;
    sink.answer(500);
    let call = admin.dial(json!({"name":"Asha"})).await;
    phone.refuse("486 Busy Here").await;
    let first = sink.next().await;

    // Once the try is noted, its repetition lies in the queue, which a restart empties.
    let stores = tables(&running).await;
    let id = CallId::parse(&call).unwrap();
    within(async {
        while stores.deliveries.attempts(id, Channel::Push).await.unwrap().is_empty() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    running.kill().await;
    sink.answer(200);
    let running = world.up(&["--set", "periods.sweep=1s"]).await;
    let second = sink.next().await;
    assert_eq!((&first.bytes, &first.headers["webhook-id"]), (&second.bytes, &second.headers["webhook-id"]));
    let stores = tables(&running).await;
    within(async {
        while stores.deliveries.attempts(id, Channel::Push).await.unwrap().len() < 2 {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

/// The tables of a running platform.
pub(super) async fn tables(running: &Running) -> domain::ports::Tables {
    stores(&clients(running).await, &Names::new(&NamesConfig::default()))
}

/// Its AWS, by what its ready line says.
pub(super) async fn clients(running: &Running) -> infra::aws::Clients {
    let credentials = std::fs::read_to_string(running.ready["aws"]["credentials_file"].as_str().unwrap()).unwrap();
    let value = |name: &str| {
        let line = credentials.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        line.trim_start_matches([' ', '=']).to_owned()
    };
    let config = AwsConfig {
        endpoint: running.ready["aws"]["endpoint"].as_str().map(str::to_owned),
        region: running.ready["aws"]["region"].as_str().map(str::to_owned),
        access_key_id: Some(value("aws_access_key_id")),
        secret_access_key: Some(value("aws_secret_access_key").into()),
    };
    connect(&config).await
}

#[tokio::test]
async fn one_call_from_the_terminal() {
    let world = World::new();
    let phone = Uas::bind().await;
    let bot = world.path("bot.json");
    std::fs::write(&bot, json!({"name":"B","opening_message":"Hello.","push":null}).to_string()).unwrap();
    let mut command =
        world.command(["call", "--json", "--to", &format!("sip:+919876543210@127.0.0.1:{}", phone.port())]);
    command.arg("--bot").arg(&bot);
    let (said, ()) = tokio::join!(run(command), phone.refuse("486 Busy Here"));
    assert_eq!(said.code, Some(1), "{said:?}");
    let result: Value = serde_json::from_str(&said.stdout).unwrap();
    assert_eq!((&result["end_reason"], &result["to_number"]), (&json!("busy"), &json!("+919876543210")));
    assert!(said.stderr.contains("ended"), "{said:?}");
}

#[tokio::test]
async fn a_call_and_entities_from_the_command_line_on_a_running_platform() {
    let world = World::new();
    let running = world.up(&[]).await;
    let (url, key) = (running.text("http"), running.text("admin_key"));
    let ask = async |arguments: &[&str]| {
        let mut command = world.command(arguments);
        command.env("RINGFLEET_URL", &url).env("RINGFLEET_ADMIN_KEY", &key);
        run(command).await
    };
    let file = world.path("entity.json");
    let path = file.to_str().unwrap();
    std::fs::write(
        &file,
        json!({"trunk_id":"t","name":"T","host":"127.0.0.1","default_number":"+911234567890"}).to_string(),
    )
    .unwrap();
    let first = ask(&["trunk", "put", path]).await;
    assert_eq!((first.code, first.stdout.as_str()), (Some(0), "trunk t is stored, version 1\n"), "{first:?}");
    let second = ask(&["trunk", "put", path]).await;
    assert_eq!((second.code, second.stdout.as_str()), (Some(0), "trunk t is stored, version 2\n"), "{second:?}");
    std::fs::write(&file, json!({"bot_id":"b","name":"B","trunk_ids":["t"],"colour":"red"}).to_string()).unwrap();
    let wrong = ask(&["bot", "put", path]).await;
    assert_eq!(wrong.code, Some(1));
    assert!(wrong.stderr.contains("422") && wrong.stderr.contains("colour: unknown field"), "{wrong:?}");
    std::fs::write(&file, json!({"bot_id":"b","name":"B","trunk_ids":["t"],"opening_message":"Hello."}).to_string())
        .unwrap();
    assert_eq!(ask(&["bot", "put", path]).await.code, Some(0));

    let phone = Uas::bind().await;
    let to = format!("sip:bob@127.0.0.1:{}", phone.port());
    let call = ["call", "--url", &url, "--bot", "b", "--to", &to];
    let (said, ()) = tokio::join!(ask(&call), phone.refuse("603 Decline"));
    assert!(said.stdout.contains("ended by customer (declined, SIP 603)"), "{said:?}");
    assert!(said.stderr.contains("`bob` is no phone number"), "{said:?}");
    let (_, bots) = running.admin().get("/api/v1/admin/bots").await;
    let (_, trunks) = running.admin().get("/api/v1/admin/trunks").await;
    assert_eq!((bots["items"].as_array().unwrap().len(), trunks["items"].as_array().unwrap().len()), (1, 1));

    let minted = ask(&["key", "mint", "--name", "crm", "--bot", "b"]).await;
    let client = running.client(minted.stdout.trim());
    assert_eq!(client.get("/health/fleet").await.0, 200);
    assert_eq!(client.get("/api/v1/admin/keys").await.0, 403);
}
