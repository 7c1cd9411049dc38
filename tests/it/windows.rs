//! Windows that no death of a process shows: somebody acts for a server that is alive after all, a store is away for long,
//! an acknowledgement never comes.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use ringfleet_tests::carrier::Callee;
use ringfleet_tests::cluster::{Cluster, Heard, stores};
use ringfleet_tests::crm::Crm;
use ringfleet_tests::dice::Dice;
use ringfleet_tests::fault::{Proxy, Weather};
use ringfleet_tests::history::History;
use ringfleet_tests::platform::{FleetServer, ServerSetup};
use ringfleet_tests::wait::until;
use ringfleet_tests::{gate, tools};

const CALL: Duration = Duration::from_secs(90);
/// An orphan is looked for every 30 s and is 30 s old before it is one.
const SETTLED: Duration = Duration::from_secs(180);
const SLOTS: Duration = Duration::from_secs(60);

/// One server, with a proxy between it and the stores.
struct World {
    cluster: Cluster,
    server: FleetServer,
    aws: Proxy,
}

async fn world() -> Result<World> {
    let stores = stores().await?;
    let endpoint = stores.ready()["aws"]["endpoint"].as_str().and_then(|url| url.strip_prefix("http://"));
    let upstream: SocketAddr = endpoint.context("no endpoint")?.trim_end_matches('/').parse()?;
    let aws = Proxy::start("alpha aws", upstream, Dice::new(1), &History::default()).await?;
    let cluster = Cluster::start(stores, None, Crm::start().await?, None).await?;
    let environment = vec![("AWS_ENDPOINT_URL".to_owned(), format!("http://{}", aws.address))];
    let setup = ServerSetup { environment, ..ServerSetup::default() };
    let server = cluster.functions.fleet_server_with("alpha", setup).await?;
    Ok(World { cluster, server, aws })
}

impl World {
    async fn end(mut self) -> Result<()> {
        self.server.stop().await?;
        self.cluster.stop().await
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_stood_still_hangs_up_what_was_ended_for_it() {
    if tools::can_run("windows", &["sipp"]) {
        let _turn = gate::whole().await;
        stood_still().await.unwrap();
    }
}

async fn stood_still() -> Result<()> {
    let world = world().await?;
    let placed = world.cluster.place(Callee::Stays).await?;
    let id = placed.id().with_context(|| format!("{placed:?}"))?;
    world.cluster.functions.api.reached(id, "answered", CALL).await?;
    world.server.signal("STOP")?;
    let result = world.cluster.functions.api.reached(id, "ended", CALL).await?;
    ensure!(result["end_reason"] == "server_lost", "{result}");
    ensure!(world.cluster.carrier.requests(Callee::Stays, "BYE")? == 0, "it was hung up before it was lost");
    world.server.signal("CONT")?;
    until("the callee is hung up on", SLOTS, || async {
        Ok((world.cluster.carrier.requests(Callee::Stays, "BYE")? > 0).then_some(()))
    })
    .await?;
    world.cluster.all_slots_free(1, SLOTS).await?;
    let verdict = world.cluster.settle(&[placed], SETTLED).await?;
    ensure!(verdict.results == 1 && verdict.doubled.is_empty(), "{verdict:?}");
    world.end().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_call_was_begun_with_outlives_its_server_and_a_bucket_that_is_away() {
    if tools::can_run("windows", &["sipp"]) {
        let _turn = gate::whole().await;
        begun_without_a_bucket(After::Nobody).await.unwrap();
        begun_without_a_bucket(After::TheSame).await.unwrap();
    }
}

/// Who ends the call of a server that died.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum After {
    /// The control plane.
    Nobody,
    /// Its next process, which can't read the bucket at first.
    TheSame,
}

async fn begun_without_a_bucket(after: After) -> Result<()> {
    let mut world = world().await?;
    let no_bucket = Weather { refused: 1000, only: Some("S3"), ..Weather::default() };
    world.aws.set(no_bucket);
    let placed = world.cluster.place(Callee::Away).await?;
    let id = placed.id().with_context(|| format!("{placed:?}"))?;
    world.cluster.functions.api.reached(id, "ringing", CALL).await?;
    world.server.kill().await?;
    if after == After::TheSame {
        world.server.again_with(&world.cluster.functions, None).await?;
        let asked = || async { Ok((!world.aws.faults("S3 GET").is_empty()).then_some(())) };
        until("the bucket is asked in vain", CALL, asked).await?;
    }
    world.aws.set(Weather::default());
    // The lead that the dialout named is among what is held against the push.
    let verdict = world.cluster.settle(&[placed], SETTLED).await?;
    ensure!(verdict.reasons.contains_key("server_lost"), "{verdict:?}");
    if after == After::Nobody {
        return world.cluster.stop().await;
    }
    world.end().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "waits for a lease of a minute: tests/run --long"]
async fn soak_an_end_is_announced_in_time_though_the_bucket_is_away() {
    if tools::can_run("windows", &["sipp"]) {
        let _turn = gate::whole().await;
        bucket_away().await.unwrap();
    }
}

async fn bucket_away() -> Result<()> {
    let world = world().await?;
    world.aws.set(Weather { refused: 1000, only: Some("S3"), ..Weather::default() });
    let placed = world.cluster.place(Callee::Brief).await?;
    let id = placed.id().with_context(|| format!("{placed:?}"))?;
    world.cluster.functions.api.reached(id, "ended", CALL).await?;
    until("call-ended is sent", CALL, || async { Ok((world.aws.passed("SQS SendMessage") > 0).then_some(())) }).await?;
    ensure!(world.aws.passed("S3 PUT") == 0, "{:?}", world.aws.counts());
    world.aws.set(Weather::default());
    let verdict = world.cluster.settle(&[placed], SETTLED).await?;
    ensure!(verdict.recordings.contains_key("complete"), "{verdict:?}");
    world.end().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "waits for the look for orphans: tests/run --long"]
async fn soak_a_row_that_nobody_acknowledged_is_no_refused_call() {
    if tools::can_run("windows", &["sipp"]) {
        let _turn = gate::whole().await;
        unacknowledged().await.unwrap();
    }
}

async fn unacknowledged() -> Result<()> {
    let world = world().await?;
    world.aws.set(Weather { cut_after: 1000, only: Some("DynamoDB PutItem"), ..Weather::default() });
    let placed = world.cluster.place(Callee::Busy).await?;
    world.aws.set(Weather::default());
    // Its row stands: a client that heard "no" would be sent a result of a call that it never had.
    ensure!(placed.heard != Heard::Refused, "{placed:?} has a row");
    let verdict = world.cluster.settle(&[placed], SETTLED).await?;
    ensure!(verdict.results == 1, "{verdict:?}");
    world.end().await
}
