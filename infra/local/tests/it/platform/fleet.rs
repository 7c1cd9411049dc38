//! Fleet servers as processes of their own, as on EC2: they join, carry calls, drain, and are missed.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use serde_json::json;
use tokio::process::Command;

use super::process::{Running, World, clean, run};
use super::uas::Uas;

/// The program beside ours: as `tests/run` has built it, else built now, since cargo builds no other package's programs
/// for a test.
fn ringfleet_fleet() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        if let Some(built) = std::env::var_os("RINGFLEET_TEST_BINARIES") {
            return Path::new(&built).join("ringfleet-fleet");
        }
        let mut cargo = std::process::Command::new(env!("CARGO"));
        cargo.args(["build", "--quiet", "-p", "ringfleet-server", "--bin", "ringfleet-fleet"]);
        if !cfg!(debug_assertions) {
            cargo.arg("--release");
        }
        let built = cargo.current_dir(env!("CARGO_MANIFEST_DIR")).status().unwrap();
        assert!(built.success(), "ringfleet-fleet cannot be built");
        Path::new(env!("CARGO_BIN_EXE_ringfleet")).with_file_name("ringfleet-fleet")
    })
}

/// A fleet server that is told nothing but what every AWS tool is told, its id and its ports, and the secret.
pub(super) fn server(world: &World, platform: &Running, id: &str) -> Command {
    let mut command = clean(ringfleet_fleet());
    let aws = &platform.ready["aws"];
    command
        .env("AWS_ENDPOINT_URL", aws["endpoint"].as_str().unwrap())
        .env("AWS_REGION", aws["region"].as_str().unwrap())
        .env("AWS_SHARED_CREDENTIALS_FILE", aws["credentials_file"].as_str().unwrap())
        .env("RINGFLEET_MODELS", world.path("no-models"))
        .args(["--json", "--server-id", id, "--sip", "127.0.0.1:0", "--fleet-http", "127.0.0.1:0"])
        .arg("--fleet-secret-file")
        .arg(platform.text("fleet_secret_file"))
        .arg("--spool")
        .arg(world.path(id));
    command
}

#[tokio::test]
async fn servers_join_carry_calls_and_leave() {
    let world = World::new();
    let platform = world.up(&["--fleet", "external"]).await;
    assert!(platform.ready["sip"].is_null() && platform.ready.get("fleet_http").is_none(), "{}", platform.ready);
    let (phone, admin) = (Uas::bind().await, platform.admin());
    admin.create_bot(phone.port(), json!({})).await;
    let asked = json!({"bot_id":"b","to_number":"+919876543210"});
    let (status, refused) = admin.send("POST", "/api/v1/dialout", Some(asked)).await;
    assert_eq!((status, &refused["code"]), (503, &json!("no_capacity")));

    let mut one = Running::start(server(&world, &platform, "one")).await;
    let _two = Running::start(server(&world, &platform, "two")).await;
    assert_eq!(one.ready["server_id"], "one");
    let fleet =
        admin.until("/health/fleet", |fleet| fleet["workers"].as_array().is_some_and(|all| all.len() == 2)).await;
    assert_eq!((&fleet["workers"][0]["id"], &fleet["workers"][1]["id"]), (&json!("one"), &json!("two")));
    assert_eq!(fleet["fleet_max"], 200);

    let call = admin.dial(json!({})).await;
    phone.refuse("486 Busy Here").await;
    let result = admin.until(&format!("/api/v1/calls/{call}"), |call| call["state"] == "ended").await;
    assert_eq!(result["end_reason"], "busy");

    // One that ends in good order is off the list at once.
    one.signal("TERM");
    assert_eq!(one.ended().await.code(), Some(0));
    let (_, fleet) = admin.get("/health/fleet").await;
    assert_eq!(fleet["workers"].as_array().unwrap().len(), 1, "{fleet}");
}

#[tokio::test]
async fn a_server_that_is_killed_in_mid_call_leaves_one_result() {
    let world = World::new();
    let platform =
        world.up(&["--fleet", "external", "--set", "periods.reap=500ms", "--set", "periods.reap_stale=2s"]).await;
    let (phone, admin) = (Uas::bind().await, platform.admin());
    admin.create_bot(phone.port(), json!({})).await;
    let server = Running::start(server(&world, &platform, "one")).await;
    let call = admin.dial(json!({})).await;
    phone.ring().await;
    let path = format!("/api/v1/calls/{call}");
    admin.until(&path, |call| call["state"] == "ringing").await;
    server.kill().await;
    let result = admin.until(&path, |call| call["state"] == "ended").await;
    assert_eq!((&result["disconnected_by"], &result["end_reason"]), (&json!("error"), &json!("server_lost")));
}

#[tokio::test]
async fn a_server_without_what_it_needs_says_so() {
    let world = World::new();
    let program = ringfleet_fleet();
    let check = async |arguments: &[&str], code: i32, part: &str| {
        let mut command = clean(program);
        command
            .args(arguments)
            .env("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
            .env("RINGFLEET_MODELS", world.path("no-models"));
        command.env("AWS_ACCESS_KEY_ID", "a").env("AWS_SECRET_ACCESS_KEY", "b").current_dir(world.folder.path());
        let said = run(command).await;
        let last = said.stderr.lines().last().unwrap_or_default().to_owned();
        assert_eq!(said.code, Some(code), "{said:?}");
        assert!(last.contains(part) && !said.stderr.contains("panicked"), "`{part}` is not in {last}");
    };
    check(&[], 1, "--fleet-secret-file").await;
    check(&["--fleet-secret-file", "/nonexistent.json"], 1, "/nonexistent.json").await;
    check(&["--set", "fleet.max_cals=1"], 2, "did you mean `fleet.max_calls`?").await;
    check(&["--sipp", "x"], 2, "unexpected argument '--sipp'").await;
    let secrets = world.path("fleet.json");
    infra::secrets::create_if_absent(&secrets, &infra::clock::OsEntropy).unwrap();
    let with_secrets =
        ["--fleet-secret-file", secrets.to_str().unwrap(), "--sip", "127.0.0.1:0", "--fleet-http", "127.0.0.1:0"];
    check(&with_secrets, 1, "check the AWS endpoint").await;
}
