//! Whatever is wrong is one line that says what, and what to do.

use std::net::{TcpListener, UdpSocket};

use super::process::{Said, World, run};

/// A mistake has one line on standard error, nothing on standard output, and no backtrace.
fn check(said: &Said, code: i32, parts: &[&str]) {
    assert_eq!(said.code, Some(code), "{said:?}");
    assert_eq!(said.stdout, "", "{said:?}");
    let last = said.stderr.lines().last().unwrap();
    for part in parts {
        assert!(last.contains(part), "`{part}` is not in {last}");
    }
    for never in ["panicked", "RUST_BACKTRACE", "stack backtrace"] {
        assert!(!said.stderr.contains(never), "{said:?}");
    }
}

/// Flags and settings are judged before anything is started: nothing else is said.
fn check_alone(said: &Said, parts: &[&str]) {
    check(said, 2, parts);
    assert_eq!(said.stderr.lines().count(), 1, "{said:?}");
}

#[tokio::test]
async fn wrong_flags_and_settings() {
    let world = World::new();
    let config = world.path("ringfleet.toml");
    let file = config.to_str().unwrap();
    let with_file = async |text: &str, parts: &[&str]| {
        std::fs::write(&config, text).unwrap();
        let mut command = world.command(["--config", file]);
        command.env("RINGFLEET_DATA", world.path("data"));
        check_alone(&run(command).await, parts);
    };
    with_file("htp = 'x'", &["unknown key `htp`", file, "did you mean `http`?"]).await;
    with_file("[fleet]\nmax_cals = 5", &["did you mean `fleet.max_calls`?"]).await;
    with_file("http = ", &["is not TOML", "line 1"]).await;
    with_file("fleet.rtp_ports = '9-8'", &["fleet.rtp_ports `9-8`", "20000-29999"]).await;

    let with_flags = async |flags: &[&str], parts: &[&str]| {
        let mut command = world.command(flags);
        command.env("RINGFLEET_DATA", world.path("data"));
        command.env("RINGFLEET_HTTP", "127.0.0.1:0");
        check_alone(&run(command).await, parts);
    };
    with_flags(&["--htpt", "127.0.0.1:0"], &["unexpected argument '--htpt'", "--http", "see ringfleet --help"]).await;
    with_flags(&["--http", "here"], &["--http", "invalid socket address"]).await;
    with_flags(&["dance"], &["unrecognized subcommand 'dance'"]).await;
    with_flags(&["--set", "periods.sweep"], &["is no assignment"]).await;
    with_flags(&["--set", "periods.swep=5s"], &["unknown key `periods.swep`", "`periods.sweep`"]).await;
    with_flags(&["--log", "=x="], &["`=x=`"]).await;
    with_flags(&["--config", "/nonexistent.toml"], &["cannot read the config file /nonexistent.toml"]).await;
}

#[tokio::test]
async fn what_cannot_be_had() {
    let world = World::new();
    let up = |flags: &[&str]| {
        let mut command = world.command(["--http", "127.0.0.1:0", "--sip", "127.0.0.1:0"]);
        command.arg("--data").arg(world.path("data")).args(flags);
        command
    };
    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = tcp.local_addr().unwrap().to_string();
    let mut command = world.command(["--http", &taken]);
    command.arg("--data").arg(world.path("data"));
    check(&run(command).await, 1, &[&taken, "choose another with --http", "in use"]);
    check(&run(up(&["--fleet-http", &taken])).await, 1, &[&taken, "choose another with --fleet-http"]);
    check(&run(up(&["--ws", &taken])).await, 1, &[&taken, "choose another with --ws"]);

    let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
    let taken = udp.local_addr().unwrap().to_string();
    let mut command = world.command(["--http", "127.0.0.1:0", "--sip", &taken]);
    command.arg("--data").arg(world.path("data"));
    check(&run(command).await, 1, &[&taken, "--sip"]);

    let file = world.path("file");
    std::fs::write(&file, "").unwrap();
    let mut command = world.command(["--http", "127.0.0.1:0", "--data"]);
    command.arg(&file);
    check(&run(command).await, 1, &[file.to_str().unwrap(), "choose another with --data"]);

    check(&run(up(&["--set", "llm.model=m"])).await, 1, &["llm.base_url and llm.model go together"]);
    check(&run(up(&["--set", "admin_key=short"])).await, 1, &["RINGFLEET_ADMIN_KEY", "8 to 256"]);

    let nowhere = [
        "--set",
        "aws.endpoint=http://127.0.0.1:9",
        "--set",
        "aws.access_key_id=a",
        "--set",
        "aws.secret_access_key=b",
    ];
    check(&run(up(&nowhere)).await, 1, &["http://127.0.0.1:9", "check the endpoint"]);

    let _running = world.up(&[]).await;
    check(&run(up(&[])).await, 1, &["is in use by another process"]);

    let nobody =
        world.command(["key", "mint", "--name", "n", "--url", "http://127.0.0.1:9", "--key", "some-admin-key"]);
    check(&run(nobody).await, 1, &["no platform answers at http://127.0.0.1:9", "ringfleet up"]);
}
