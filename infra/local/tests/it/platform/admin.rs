//! Admin work from the command line on a running platform: readable, as JSON, and refused in one line.

use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use domain::fleet::{DrainAnswer, ServerRow};
use domain::ids::{Epoch, ServerId};
use domain::ports::Fleet;
use infra::clock::SystemClock;
use infra::fleet_client::FleetClient;
use infra::secrets::DeploymentSecrets;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;

use super::calls::tables;
use super::process::{Running, Said, World, run, within};
use super::uas::Uas;

struct Terminal {
    world: World,
    running: Running,
    key: String,
}

impl Terminal {
    async fn new() -> Self {
        let world = World::new();
        let running = world.up(&[]).await;
        let key = running.text("admin_key");
        Self { world, running, key }
    }

    async fn ask(&self, arguments: &[&str]) -> Said {
        let mut command = self.world.command(arguments);
        command.env("RINGFLEET_URL", self.running.text("http")).env("RINGFLEET_ADMIN_KEY", &self.key);
        run(command).await
    }

    async fn text(&self, arguments: &[&str]) -> String {
        let said = self.ask(arguments).await;
        assert_eq!(said.code, Some(0), "{arguments:?}: {said:?}");
        said.stdout
    }

    /// The same with `--json`.
    async fn json(&self, arguments: &[&str]) -> Value {
        let text = self.text(&[arguments, &["--json"]].concat()).await;
        serde_json::from_str(&text).unwrap_or_else(|e| panic!("{arguments:?}: {e}: {text}"))
    }

    /// A mistake is one line that says what and where.
    async fn refused(&self, arguments: &[&str], code: i32, parts: &[&str]) {
        let said = self.ask(arguments).await;
        assert_eq!((said.code, said.stdout.as_str()), (Some(code), ""), "{arguments:?}: {said:?}");
        assert_eq!(said.stderr.lines().count(), 1, "{said:?}");
        for part in parts {
            assert!(said.stderr.contains(part), "`{part}` is not in {said:?}");
        }
    }

    /// Writes a file and answers its path.
    fn file(&self, name: &str, text: &str) -> String {
        let path = self.world.path(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    }
}

#[tokio::test]
async fn bots_and_trunks() {
    let terminal = Terminal::new().await;
    let trunk =
        json!({"trunk_id":"t","name":"Carrier","preset":"telnyx","default_number":"+911234567890","password":"pa55"});
    let file = terminal.file("trunk.json", &trunk.to_string());
    assert_eq!(terminal.text(&["trunk", "put", &file]).await, "trunk t is stored, version 1\n");
    let shown = terminal.json(&["trunk", "show", "t"]).await;
    assert_eq!(
        (&shown["host"], &shown["password"]),
        (&json!("sip.telnyx.com"), &json!("***")),
        "the preset is applied"
    );
    let listed = terminal.text(&["trunk", "list"]).await;
    assert!(listed.starts_with("TRUNK") && listed.contains("telnyx") && !listed.contains("pa55"), "{listed}");

    let mapper = json!({"Who": "{{crm.name}}", "How": "{{call.transcipt}}"});
    let bot = json!({"bot_id":"b","name":"Collections","trunk_ids":["t"],"opening_message":"Hello.","system_prompt":"x",
        "push":{"url":"https://crm.example.com/x","key_mapper":mapper}});
    let file = terminal.file("bot.json", &bot.to_string());
    let put = terminal.ask(&["bot", "put", &file]).await;
    assert!(put.stdout.starts_with("bot b is stored, version 1\npush.secret whsec_"), "{put:?}");
    assert!(
        put.stderr.contains("push.key_mapper/How: there is no {{call.transcipt}}; did you mean {{call.transcript}}?"),
        "{put:?}"
    );
    assert_eq!(terminal.json(&["bot", "put", &file]).await["version"], 2);
    let shown = terminal.text(&["bot", "show", "b"]).await;
    assert!(shown.contains("push.token") || shown.contains("push.secret"), "{shown}");
    assert!(!shown.contains("whsec_"), "secrets are masked: {shown}");
    assert_eq!(terminal.json(&["bot", "show", "b", "--version", "1"]).await["version"], 1);
    let versions = terminal.json(&["bot", "versions", "b", "--limit", "1"]).await;
    assert_eq!((&versions["items"][0]["version"], &versions["next_before"]), (&json!(2), &json!(2)));
    assert!(terminal.text(&["bot", "versions", "b", "--limit", "1"]).await.contains("more with --before 2"));
    assert!(terminal.text(&["bot", "list"]).await.contains("Collections"));

    let preview = terminal.text(&["bot", "preview", "b"]).await;
    assert!(
        preview.contains("\"Who\": \"<name>\"") && preview.contains("did you mean {{call.transcript}}?"),
        "{preview}"
    );
    let mapper = terminal.file("mapper.json", r#"{"N": "{{crm.loan}}"}"#);
    let preview = terminal.json(&["bot", "preview", "b", "--mapper", &mapper]).await;
    assert_eq!((&preview["body"], &preview["lint"]), (&json!({"N": "<loan>"}), &json!([])));

    let url = terminal.text(&["bot", "connect-token", "b", "--expires", "2m"]).await;
    assert!(url.starts_with(&format!("{}/ws/b?token=rfc_", terminal.running.text("ws"))), "{url}");
    let made = terminal.json(&["bot", "connect-token", "b", "--name", "Dialler"]).await;
    assert!(made["token"].as_str().unwrap().starts_with("rfc_") && made["name"] == "Dialler", "{made}");
    terminal.refused(&["bot", "connect-token", "b", "--expires", "2"], 2, &["--expires", "write one such as"]).await;
    terminal.refused(&["bot", "connect-token", "b", "--expires", "9000h"], 1, &["422", "from 60 to 31536000"]).await;
    terminal.refused(&["bot", "connect-token", "nobody"], 1, &["not found", "nobody"]).await;

    terminal.refused(&["bot", "show", "nobody"], 1, &["there is no", "bots/nobody"]).await;
    terminal.refused(&["bot", "show", "a/b"], 2, &["an id has only the characters"]).await;
    terminal.refused(&["bot", "show", "b", "--version", "9"], 1, &["there is no", "versions/9"]).await;
    terminal.refused(&["bot", "preview", "b", "--call", "x"], 2, &["a call id is a UUID"]).await;
    let (old, new) = (bot.to_string(), bot.to_string().replace("\"name\"", "\"nmae\""));
    assert_ne!(old, new);
    let file = terminal.file("wrong.json", &new);
    terminal.refused(&["bot", "put", &file], 1, &["422", "name"]).await;

    assert_eq!(terminal.text(&["bot", "delete", "b"]).await, "bot b is deleted\n");
    terminal.refused(&["bot", "delete", "b"], 1, &["there is no"]).await;
    assert_eq!(terminal.json(&["bot", "list"]).await["items"], json!([]));
    assert_eq!(terminal.json(&["trunk", "delete", "t"]).await, json!(null));
}

#[tokio::test]
async fn keys() {
    let terminal = Terminal::new().await;
    let minted =
        terminal.text(&["key", "mint", "--name", "crm", "--bot", "b", "--expires", "2099-01-01T00:00:00Z"]).await;
    let client = terminal.running.client(minted.trim());
    assert_eq!(client.get("/health/fleet").await.0, 200);
    let listed = terminal.json(&["key", "list"]).await;
    let id_of = |name: &str| {
        let items = listed["items"].as_array().unwrap();
        items.iter().find(|key| key["name"] == name).unwrap()["key_id"].as_str().unwrap().to_owned()
    };
    let (crm, own) = (id_of("crm"), id_of("first admin"));
    assert_eq!(terminal.text(&["key", "revoke", &crm]).await, format!("key {crm} is revoked\n"));
    assert_eq!(client.get("/health/fleet").await.0, 401);
    let table = terminal.text(&["key", "list"]).await;
    assert!(table.contains("revoked") && !table.contains(minted.trim()), "{table}");

    // A key's text comes from a file or standard input, never as an argument.
    let file = terminal.file("legacy", "legacy-key-1\n");
    let imported = terminal.text(&["key", "import", &file, "--name", "old"]).await;
    assert!(imported.contains("old") && !imported.contains("legacy-key-1"), "{imported}");
    assert_eq!(terminal.running.client("legacy-key-1").get("/health/fleet").await.0, 200);
    let mut command = terminal.world.command(["key", "list", "--json", "--key-file", "-"]);
    command.env("RINGFLEET_URL", terminal.running.text("http")).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(terminal.key.as_bytes()).await.unwrap();
    let said = within(child.wait_with_output()).await.unwrap();
    assert_eq!(serde_json::from_slice::<Value>(&said.stdout).unwrap()["items"].as_array().unwrap().len(), 3);

    terminal.refused(&["key", "import", &file, "--name", "twice"], 1, &["409", "exists"]).await;
    terminal.refused(&["key", "revoke", &own], 1, &["409", "last_admin_key", "make another one first"]).await;
    terminal.text(&["key", "mint", "--name", "second", "--role", "admin"]).await;
    terminal.refused(&["key", "delete", &own], 1, &["409", "own_key"]).await;
    assert_eq!(terminal.text(&["key", "delete", &crm]).await, format!("key {crm} is deleted\n"));
    terminal.refused(&["key", "delete", &crm], 1, &["there is no"]).await;
    let nobody = run(terminal.world.command(["key", "list"])).await;
    assert_eq!(nobody.code, Some(2), "{nobody:?}");
    assert!(nobody.stderr.contains("RINGFLEET_ADMIN_KEY") && nobody.stderr.contains("--key-file"), "{nobody:?}");
}

#[tokio::test]
async fn a_server_is_drained_while_its_call_goes_on_and_opened_again() {
    let terminal = Terminal::new().await;
    let (phone, admin) = (Uas::bind().await, terminal.running.admin());
    admin.create_bot(phone.port(), json!({})).await;
    let call = admin.dial(json!({})).await;
    let ringing = phone.ring().await;
    let path = format!("/api/v1/calls/{call}");
    admin.until(&path, |call| call["state"] == "ringing").await;

    assert_eq!(terminal.text(&["fleet", "drain", "local"]).await, "server local takes no further call; 1 go on\n");
    assert_eq!(terminal.json(&["fleet", "drain", "local"]).await["draining"], true, "twice is as good as once");
    let drained = admin.until("/api/v1/admin/fleet", |fleet| fleet["servers"][0]["draining"] == true).await;
    assert_eq!((&drained["servers"][0]["calls"], &drained["sums"]["free"]), (&json!(1), &json!(0)));
    assert!(terminal.text(&["fleet", "show"]).await.contains("draining"));
    let asked = json!({"bot_id":"b","to_number":"+919876543210"});
    let (status, refused) = admin.send("POST", "/api/v1/dialout", Some(asked)).await;
    assert_eq!((status, &refused["code"]), (503, &json!("no_capacity")));

    // The call that lives is still in its hands.
    assert_eq!(admin.get(&path).await.1["state"], "ringing");
    let hangup = ["calls", "hangup", call.as_str()];
    let (said, ()) = tokio::join!(terminal.text(&hangup), phone.cancelled(&ringing));
    assert_eq!(said, format!("call {call} ends\n"));
    let result = admin.until(&path, |call| call["state"] == "ended").await;
    assert_eq!(result["end_reason"], "api_hangup");
    let shown = terminal.json(&["calls", "show", &call]).await;
    assert_eq!(shown["call"]["call_id"], call);

    assert_eq!(terminal.text(&["fleet", "undrain", "local"]).await, "server local takes calls again\n");
    admin.until("/api/v1/admin/fleet", |fleet| fleet["sums"]["free"] == 100).await;
    let again = admin.dial(json!({})).await;
    phone.refuse("486 Busy Here").await;
    admin.until(&format!("/api/v1/calls/{again}"), |call| call["state"] == "ended").await;
    terminal.refused(&["fleet", "drain", "nobody"], 1, &["not found"]).await;
}

#[tokio::test]
async fn the_private_port_drains_for_the_control_plane_and_the_epoch_it_means() {
    let terminal = Terminal::new().await;
    let unsigned = reqwest::Client::new().post(format!("{}/drain", terminal.running.text("fleet_http"))).body("{}");
    assert_eq!(within(unsigned.send()).await.unwrap().status(), 401);

    let id = ServerId::parse("local").unwrap();
    let row = tables(&terminal.running).await.servers.get(&id).await.unwrap().unwrap();
    let secrets = DeploymentSecrets::file(Path::new(&terminal.running.text("fleet_secret_file")));
    let client = FleetClient::new(Arc::new(secrets), Arc::new(SystemClock)).unwrap();
    let drain = async |row: &ServerRow, drain: bool| client.drain(row, drain, Duration::from_secs(60)).await.unwrap();
    let successor = ServerRow { epoch: Epoch(row.epoch.0 + 1), ..row.clone() };
    assert_eq!(drain(&successor, true).await, DrainAnswer::WrongServer);
    for wanted in [true, false] {
        let DrainAnswer::Done(alive) = drain(&row, wanted).await else { panic!("not done") };
        assert_eq!((alive.server_id, alive.epoch, alive.draining), (id.clone(), row.epoch, wanted));
    }
}
