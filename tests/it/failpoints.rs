//! Dies between any two writes of a call's life, at every failpoint that the code has: whatever stands then must be enough
//! for somebody to finish the call, once.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use ringfleet_tests::api::Api;
use ringfleet_tests::carrier::Callee;
use ringfleet_tests::cluster::{Cluster, Placed, left_in, place, stores};
use ringfleet_tests::crm::{Answer, Crm, Push};
use ringfleet_tests::platform::FleetServer;
use ringfleet_tests::wait::until;
use ringfleet_tests::{gate, tools};
use tokio::time::Instant;

/// From the dialout to the death.
const REACHED: Duration = Duration::from_secs(60);
/// The longest lease is a minute, and a machine that is busy takes its time.
const SETTLED: Duration = Duration::from_secs(180);
const SLOTS: Duration = Duration::from_secs(60);

/// Which process dies, and in what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scene {
    /// A fleet server, in a call that is answered and ends by itself.
    Server,
    /// A fleet server, while it takes a call that comes in.
    Caller,
    /// A fleet server that finds the leftovers of one that was killed in mid-call.
    Recovery,
    /// The functions, in or after a call.
    Functions,
    /// The functions, after a CRM that refused.
    Retry,
    /// The functions, while a server neither answers nor lets go.
    Silence,
    /// The functions, while they end the calls of a server that was killed.
    Reap,
    /// The functions, while they take up what they left when they died at this failpoint before.
    Sweep(&'static str),
}

fn scene(name: &str) -> Option<Scene> {
    let area = name.split('.').next()?;
    Some(match (area, name) {
        (_, "dialout.unanswered" | "dialout.fencing" | "dialout.fenced") => Scene::Silence,
        (_, "deliver.queued") => Scene::Retry,
        (_, "sweep.deferred" | "sweep.step") => Scene::Sweep("analyze.stepped"),
        (_, "sweep.delivery") => Scene::Sweep("render.stored"),
        ("accept" | "advance" | "checkpoint" | "finish", _) => Scene::Server,
        ("arrive", _) => Scene::Caller,
        ("recover", _) => Scene::Recovery,
        ("dialout" | "analyze" | "render" | "deliver", _) => Scene::Functions,
        ("reap" | "salvage", _) => Scene::Reap,
        _ => return None,
    })
}

/// Every failpoint in the sources, in the order of its name.
fn names() -> Vec<String> {
    fn walk(folder: &Path, found: &mut Vec<String>) {
        for entry in std::fs::read_dir(folder).unwrap().flatten() {
            let path = entry.path();
            if path.is_dir() {
                walk(&path, found);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = std::fs::read_to_string(&path).unwrap();
                let places = text.split("failpoint!(\"").skip(1);
                found.extend(places.filter_map(|rest| rest.split('"').next()).map(str::to_owned));
            }
        }
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut found = Vec::new();
    for part in ["functions/src", "fleet/server/src", "infra/src"] {
        walk(&root.join(part), &mut found);
    }
    found.sort();
    found
}

#[test]
fn every_failpoint_stands_once_and_has_its_scene() {
    let names = names();
    assert!(names.len() > 30, "{names:?}");
    assert_eq!(names.iter().collect::<BTreeSet<_>>().len(), names.len(), "a name stands twice in {names:?}");
    for name in &names {
        assert!(scene(name).is_some(), "nobody dies at {name}: add it to the scenes");
    }
}

/// Where a crash would hurt most: before an answer, before a row is dialled, around the one terminal write, between a CRM's
/// answer and its note.
const WORST: [&str; 7] = [
    "deliver.sent",
    "accept.row",
    "advance.answered",
    "finish.spooled",
    "finish.terminal",
    "dialout.fencing",
    "arrive.claimed",
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn death_between_the_worst_writes_loses_and_doubles_nothing() {
    if tools::can_run("failpoints", &["sipp"]) {
        let _turn = gate::whole().await;
        die_at(&WORST.map(str::to_owned)).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes minutes: tests/run --long"]
async fn soak_death_between_any_two_writes_loses_and_doubles_nothing() {
    if tools::can_run("failpoints", &["sipp"]) {
        let _turn = gate::whole().await;
        die_at(&names()).await.unwrap();
    }
}

struct World {
    cluster: Cluster,
    server: FleetServer,
    placed: Vec<Placed>,
    /// Callers whose call had a row when its server died: they must have a result.
    taken: Vec<String>,
    /// Deaths between a CRM's answer and its note: so many pushes may come twice.
    unnoted: usize,
}

async fn die_at(names: &[String]) -> Result<()> {
    let cluster = Cluster::start(stores().await?, None, Crm::start().await?, None).await?;
    cluster.can_be_called().await?;
    let server = cluster.functions.fleet_server("alpha").await?;
    let mut world = World { cluster, server, placed: Vec::new(), taken: Vec::new(), unnoted: 0 };
    for name in names {
        let begun = Instant::now();
        world.die(name).await.with_context(|| format!("at {name}"))?;
        tools::note(&format!("died at {name} and came back: {:.1} s", begun.elapsed().as_secs_f64()));
    }
    world.finish().await
}

impl World {
    /// Dies at one failpoint, and starts what died again.
    async fn die(&mut self, name: &str) -> Result<()> {
        match scene(name).context("no scene")? {
            Scene::Server => {
                self.server.again_with(&self.cluster.functions, Some(name)).await?;
                self.capacity().await?;
                let callee = if is_of_a_talk(name) { Callee::Talks } else { Callee::Brief };
                let (placed, died) = tokio::join!(self.cluster.place(callee), self.server.died(REACHED));
                self.placed.push(placed?);
                died?;
            }
            Scene::Caller => {
                self.server.again_with(&self.cluster.functions, Some(name)).await?;
                self.capacity().await?;
                let sip = self.server.ready()["sip"].as_str().context("no SIP address")?.to_owned();
                let (placed, sipp) = self.cluster.call_in(&sip)?;
                self.server.died(REACHED).await?;
                sipp.kill().await?;
                if matches!(name, "arrive.claimed" | "arrive.started") {
                    self.taken.push(placed.number.clone());
                }
                self.placed.push(placed);
            }
            Scene::Recovery => {
                self.capacity().await?;
                self.talk().await?;
                self.server.kill().await?;
                self.server.again_with(&self.cluster.functions, Some(name)).await?;
                self.server.died(REACHED).await?;
            }
            Scene::Functions => self.functions_die(name, Callee::Busy).await?,
            Scene::Retry => {
                self.cluster.crm.script("/away", &[Answer::Status(500)]);
                self.functions_die(name, Callee::Away).await?;
            }
            Scene::Silence => {
                self.server.again_with(&self.cluster.functions, Some("accept.begun=stop")).await?;
                self.functions_die(name, Callee::Brief).await?;
                self.server.signal("CONT")?;
                return self.cluster.functions.again_with(None).await;
            }
            Scene::Reap => {
                self.cluster.functions.again_with(Some(name)).await?;
                self.capacity().await?;
                self.talk().await?;
                self.server.kill().await?;
                self.cluster.functions.died(REACHED).await?;
            }
            Scene::Sweep(before) => {
                self.functions_die(before, Callee::Busy).await?;
                self.cluster.functions.again_with(Some(name)).await?;
                self.cluster.functions.died(REACHED).await?;
            }
        }
        if matches!(scene(name), Some(Scene::Server | Scene::Caller | Scene::Recovery)) {
            return self.server.again_with(&self.cluster.functions, None).await;
        }
        self.cluster.functions.again_with(None).await?;
        if scene(name) == Some(Scene::Reap) {
            self.server.again_with(&self.cluster.functions, None).await?;
        }
        Ok(())
    }

    async fn functions_die(&mut self, name: &str, callee: Callee) -> Result<()> {
        self.unnoted += usize::from(name == "deliver.sent");
        self.cluster.functions.again_with(Some(name)).await?;
        let api = self.cluster.functions.api.clone();
        // What earlier deaths left may come to this place before a new call does.
        tokio::select! {
            died = self.cluster.functions.died(REACHED) => return died,
            room = room(&api) => room?,
        }
        let number = self.cluster.number();
        let (placed, died) = tokio::join!(place(&api, callee, number), self.cluster.functions.died(REACHED));
        self.placed.push(placed?);
        died
    }

    /// A call that is answered, has checkpoints, and does not end by itself before its server does.
    async fn talk(&mut self) -> Result<()> {
        let placed = self.cluster.place(Callee::Stays).await?;
        let id = placed.id().with_context(|| format!("{placed:?}"))?.to_owned();
        self.placed.push(placed);
        self.cluster.functions.api.reached(&id, "answered", REACHED).await?;
        self.cluster.functions.api.checkpointed(&id, 2, REACHED).await
    }

    async fn capacity(&self) -> Result<()> {
        room(&self.cluster.functions.api).await
    }

    async fn finish(mut self) -> Result<()> {
        for number in &self.taken {
            until(format!("the push of the call from {number}"), SETTLED, || async {
                let told = |push: &Push| push.json().is_ok_and(|body| body["number"] == number.as_str());
                Ok(self.cluster.taken().values().flatten().any(told).then_some(()))
            })
            .await?;
        }
        let verdict = self.cluster.settle(&self.placed, SETTLED).await?;
        tools::note(&format!("{verdict:?}"));
        ensure!(verdict.doubled.len() <= self.unnoted, "doubled: {:?}", verdict.doubled);
        self.cluster.all_slots_free(1, SLOTS).await?;
        let spool = FleetServer::spool_of(&self.cluster.functions, "alpha");
        until("an empty spool", SLOTS, || async { Ok(left_in(&spool).is_empty().then_some(())) }).await?;
        self.server.stop().await?;
        self.cluster.stop().await
    }
}

/// Waits until a server is heard of and has room.
async fn room(api: &Api) -> Result<()> {
    until("a server with room", REACHED, || async {
        let Ok(health) = api.get("/health/fleet").await else { return Ok(None) };
        Ok(health["fleet_available"].as_u64().is_some_and(|free| free > 0).then_some(()))
    })
    .await
}

/// Reached only in a call that lasts for a checkpoint.
fn is_of_a_talk(name: &str) -> bool {
    name.starts_with("checkpoint.") || name == "advance.checkpoint"
}
