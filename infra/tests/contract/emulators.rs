//! The same suite against emulators that others wrote: each test here starts one, and runs this very program against it.
//! `tests/run --aws` asks for them. They must never listen beyond this machine, nor outlive their test.

use std::process::Stdio;

use ringfleet_tests::aws::{Emulator, Kind, Place, Tools};
use testcontainers::core::{IntoContainerPort, WaitFor};
use testcontainers::runners::AsyncRunner;
use testcontainers::{GenericImage, ImageExt};
use tokio::process::Command;

use crate::docker;
use crate::gaps::note;

/// Names the emulator to the suite that runs against it.
pub(crate) const EMULATOR: &str = "RINGFLEET_CONTRACT_EMULATOR";
/// The last LocalStack that starts without an account of its maker's.
const LOCALSTACK: (&str, &str) = ("localstack/localstack", "4.14.0");
const LOCALSTACK_PORT: u16 = 4566;
/// Tests wait more than they work.
const MANY: &str = "8";

/// Runs every other test of this program against an endpoint.
async fn suite(name: &str, place: &Place, threads: &str) {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["--skip", "emulators::", "--skip", "docker::", "--test-threads", threads])
        .env(EMULATOR, name)
        .envs(place.owner());
    // A container of an earlier shell must not be found first.
    command.env_remove("AWS_ENDPOINT_URL_S3").env_remove("AWS_PROFILE").stdin(Stdio::null()).kill_on_drop(true);
    let output = command.output().await.unwrap();
    let said = format!("{}\n{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    for line in said.lines().filter(|line| line.starts_with("GAP ") || line.starts_with("test result")) {
        note(&format!("{name}: {line}"));
    }
    assert!(output.status.success(), "against {name}:\n{said}");
}

async fn against(kind: Kind, threads: &str) {
    let emulator = Emulator::start(&Tools::find().unwrap(), kind).await.unwrap();
    suite(kind.name(), emulator.place(), threads).await;
    emulator.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs what tests/run --aws installs"]
async fn ministack_keeps_the_contract() {
    against(Kind::MiniStack, MANY).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs what tests/run --aws installs"]
async fn moto_keeps_the_contract() {
    // What one of its threads does to a table, another may undo.
    against(Kind::Moto, "1").await;
}

/// Not run where no Docker answers, and that is said.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs what tests/run --aws installs"]
async fn localstack_keeps_the_contract() {
    let answer = match docker::socket() {
        Ok(socket) => docker::answers(&socket).await,
        Err(why) => Err(why),
    };
    if let Err(why) = answer {
        note(&format!("SKIPPED the contract against LocalStack: no Docker answers ({why})"));
        return;
    }
    let image = GenericImage::new(LOCALSTACK.0, LOCALSTACK.1)
        .with_exposed_port(LOCALSTACK_PORT.tcp())
        .with_wait_for(WaitFor::message_on_stdout("Ready."))
        .with_env_var("SERVICES", "dynamodb,s3,sqs,secretsmanager,kms");
    let container = image.start().await.unwrap();
    let port = container.get_host_port_ipv4(LOCALSTACK_PORT).await.unwrap();
    let place = Place { endpoint: format!("http://127.0.0.1:{port}"), port, authority: None };
    suite("localstack", &place, MANY).await;
    container.rm().await.unwrap();
}
