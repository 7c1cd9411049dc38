//! Everything goes wrong at once, from a seed: processes die and stand still, networks part, services throttle and lose
//! acknowledgements, disks fill, clocks differ, the CRM misbehaves. In the end every call has one result, told once.

mod deeds;
mod host;

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use ringfleet_tests::api::Api;
use ringfleet_tests::carrier::Callee;
use ringfleet_tests::cluster::{Cluster, Placed, Verdict, place, stores};
use ringfleet_tests::crm::{Answer, Crm};
use ringfleet_tests::dice::Dice;
use ringfleet_tests::fault::{Proxy, Weather};
use ringfleet_tests::history::History;
use ringfleet_tests::{gate, tools};
use tokio::task::JoinSet;
use tokio::time::Instant;

use host::Host;

/// How large a run is.
#[derive(Debug, Clone, Copy)]
struct Size {
    seed: u64,
    /// That clients heard a yes to.
    calls: u32,
    /// Clients that place calls side by side.
    clients: u32,
    /// Between two calls of a client, on average.
    pace: Duration,
    servers: usize,
}

/// Numbers for each call that is to be accepted: while everything is down, clients use them up for nothing.
const NUMBERS_A_CALL: u32 = 6;
/// A client that heard no yes waits for this long, and as much again by chance.
const BACK_OFF_MS: u64 = 1000;
/// Slots of a server: more than its share of calls, so that dead servers leave room on the others.
const SLOTS: u32 = 30;
/// After the last fault.
const SLOTS_FREE: Duration = Duration::from_secs(60);
const SETTLED: Duration = Duration::from_secs(240);
/// A try of a delivery is leased for this long: what it learnt is noted by then, or tried again.
const LEASE: Duration = Duration::from_secs(30);

/// Now and then something is slow, throttled or cut, all the time.
pub(crate) const CHANGEABLE: Weather = Weather {
    late: 100,
    longest: Duration::from_millis(300),
    refused: 15,
    cut_before: 5,
    cut_after: 10,
    twice: 100,
    held: 100,
    cut_off: false,
    only: None,
};
/// Half of it goes wrong.
pub(crate) const STORM: Weather = Weather {
    late: 500,
    longest: Duration::from_millis(1200),
    refused: 150,
    cut_before: 60,
    cut_after: 60,
    twice: 400,
    held: 400,
    cut_off: false,
    only: None,
};
/// On the way to a server's private port nobody throttles.
const PRIVATE: Weather = Weather {
    late: 100,
    longest: Duration::from_millis(400),
    refused: 0,
    cut_before: 20,
    cut_after: 60,
    twice: 0,
    held: 0,
    cut_off: false,
    only: None,
};
const MOODY_CRM: Weather = Weather {
    late: 200,
    longest: Duration::from_millis(800),
    refused: 100,
    cut_before: 30,
    cut_after: 60,
    twice: 0,
    held: 0,
    cut_off: false,
    only: None,
};

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn chaos_for_a_minute_loses_and_doubles_nothing() {
    let seed = number("RINGFLEET_CHAOS_SEED").unwrap_or(7);
    run(Size { seed, calls: 30, clients: 3, pace: Duration::from_millis(1500), servers: 2 }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes minutes: tests/run --long"]
async fn soak_chaos_over_two_thousand_calls_loses_and_doubles_nothing() {
    let seed = number("RINGFLEET_CHAOS_SEED").unwrap_or(20_261_125);
    let calls = number("RINGFLEET_CHAOS_CALLS").and_then(|calls| u32::try_from(calls).ok()).unwrap_or(2000);
    run(Size { seed, calls, clients: 12, pace: Duration::from_millis(900), servers: 3 }).await;
}

async fn run(size: Size) {
    if !tools::can_run("chaos", &["sipp", "faketime"]) {
        return;
    }
    let _turn = gate::whole().await;
    let history = History::default();
    let outcome = chaos(size, &history).await;
    match outcome {
        Ok(verdict) => tools::note(&format!("chaos, seed {}: {verdict:?}", size.seed)),
        Err(error) => {
            let kept = history.keep("chaos").map_or_else(|error| error.to_string(), |path| path.display().to_string());
            panic!("seed {} (RINGFLEET_CHAOS_SEED), history in {kept}: {error:#}", size.seed)
        }
    }
}

/// All that is running.
pub(crate) struct World {
    pub(crate) cluster: Cluster,
    pub(crate) functions: Proxy,
    pub(crate) crm: Proxy,
    pub(crate) hosts: Vec<Host>,
    pub(crate) history: History,
    /// When the functions were disturbed: what the CRM took then may not have been noted.
    pub(crate) disturbed: Vec<(Instant, Instant)>,
}

async fn chaos(size: Size, history: &History) -> Result<Verdict> {
    let mut dice = Dice::new(size.seed);
    history.note(format_args!("{size:?}"));
    let mut world = start(size, &mut dice, history).await?;
    let mut plan = dice.split();
    let placing = place_calls(&world, size, &mut dice);
    world.set_weather(CHANGEABLE);
    world.crm.set(MOODY_CRM);
    world.cluster.crm.script("/brief", &[Answer::Never]);
    let placed = tokio::spawn(placing);
    let mut next = Vec::new();
    while !placed.is_finished() {
        if next.is_empty() {
            next = deeds::round(&world, &mut plan);
        }
        let Some(deed) = next.pop() else { break };
        world.history.note(format_args!("deed: {deed:?}"));
        world.commit(deed).await.with_context(|| format!("{deed:?}"))?;
    }
    let placed = placed.await??;
    world.calm().await?;
    world.cluster.all_slots_free(size.servers, SLOTS_FREE).await?;
    history.note("every slot is free");
    let verdict = world.cluster.settle(&placed, SETTLED).await?;
    world.check_doubles(&verdict)?;
    world.end().await?;
    Ok(verdict)
}

async fn start(size: Size, dice: &mut Dice, history: &History) -> Result<World> {
    let stores = stores().await?;
    let upstream = address(stores.ready()["aws"]["endpoint"].as_str())?;
    let crm = Crm::start().await?;
    let crm_proxy = Proxy::start("crm", address(Some(&crm.url("")))?, dice.split(), history).await?;
    let functions = Proxy::start("functions", upstream, dice.split(), history).await?;
    let endpoint = format!("http://{}", functions.address);
    let crm_url = format!("http://{}", crm_proxy.address);
    let cluster = Cluster::start(stores, Some(&endpoint), crm, Some(crm_url)).await?;
    let mut hosts = Vec::new();
    for number in 0..size.servers {
        hosts.push(Host::start(&cluster, number, SLOTS, upstream, dice, history).await?);
    }
    Ok(World { cluster, functions, crm: crm_proxy, hosts, history: history.clone(), disturbed: Vec::new() })
}

fn address(url: Option<&str>) -> Result<SocketAddr> {
    let url = url.and_then(|url| url.strip_prefix("http://")).context("no plain URL")?;
    url.trim_end_matches('/').parse().with_context(|| url.to_owned())
}

/// What all clients share: numbers that nobody has dialled, and how many calls are yet to be accepted.
#[derive(Debug)]
struct Errand {
    numbers: Mutex<Vec<String>>,
    wanted: AtomicU32,
}

impl Errand {
    fn number(&self) -> Option<String> {
        if self.wanted.load(Ordering::SeqCst) == 0 {
            return None;
        }
        self.numbers.lock().unwrap_or_else(PoisonError::into_inner).pop()
    }

    fn note(&self, heard: &Placed) {
        if heard.id().is_some() {
            let _ = self.wanted.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |wanted| wanted.checked_sub(1));
        }
    }
}

/// Places calls until enough were accepted, by some clients side by side; what each client heard.
fn place_calls(world: &World, size: Size, dice: &mut Dice) -> impl Future<Output = Result<Vec<Placed>>> + use<> {
    let numbers = (0..size.calls * NUMBERS_A_CALL).map(|_| world.cluster.number()).collect();
    let errand = Arc::new(Errand { numbers: Mutex::new(numbers), wanted: AtomicU32::new(size.calls) });
    let mut clients = JoinSet::new();
    for _ in 0..size.clients {
        let api = world.cluster.functions.api.clone();
        clients.spawn(client(api, errand.clone(), size.pace, dice.split(), world.history.clone()));
    }
    async move {
        let placed = clients.join_all().await.into_iter().collect::<Result<Vec<_>>>()?.concat();
        let short = errand.wanted.load(Ordering::SeqCst);
        ensure!(short == 0, "{short} calls were never accepted, though {} were asked for", placed.len());
        Ok(placed)
    }
}

async fn client(
    api: Api,
    errand: Arc<Errand>,
    pace: Duration,
    mut dice: Dice,
    history: History,
) -> Result<Vec<Placed>> {
    let kinds = [Callee::Busy, Callee::Busy, Callee::Brief, Callee::Brief, Callee::Talks, Callee::Away];
    let mut placed = Vec::new();
    while let Some(number) = errand.number() {
        let heard = place(&api, *dice.pick(&kinds), number).await?;
        errand.note(&heard);
        history.note(format_args!("client: {heard:?}"));
        let pause = match heard.id() {
            Some(_) => dice.below(u64::try_from(pace.as_millis() * 2)?),
            None => BACK_OFF_MS + dice.below(BACK_OFF_MS),
        };
        placed.push(heard);
        tokio::time::sleep(Duration::from_millis(pause)).await;
    }
    Ok(placed)
}

impl World {
    pub(crate) fn set_weather(&self, weather: Weather) {
        self.functions.set(weather);
        for host in &self.hosts {
            host.aws.set(weather);
            host.private.set(PRIVATE);
        }
    }

    /// Fine weather, right clocks, everybody up: the last fault is over when this returns.
    async fn calm(&mut self) -> Result<()> {
        self.set_weather(Weather::default());
        self.crm.set(Weather::default());
        for host in &mut self.hosts {
            host.private.set(Weather::default());
            host.calm(&self.cluster.functions).await?;
        }
        self.history.note("calm");
        Ok(())
    }

    /// What was taken comes again for one reason only: its acknowledgement was lost, on the way to the functions or on the
    /// way to the row that keeps it, within the time that the try was leased for. Each repetition has a reason of its own.
    fn check_doubles(&self, verdict: &Verdict) -> Result<()> {
        let unnoted = self.functions.faults("DynamoDB TransactWriteItems");
        let taken = self.cluster.taken();
        for id in &verdict.doubled {
            let unheard = self.crm.unheard(&format!("{id}-push"));
            let pushes = taken.get(id).map_or(&[][..], Vec::as_slice);
            for (n, first) in pushes.iter().enumerate().take(pushes.len().saturating_sub(1)) {
                let leased = first.at..=first.at + LEASE;
                let disturbed = self.disturbed.iter().any(|(from, to)| from <= leased.end() && to >= leased.start());
                let lost = unheard.iter().chain(&unnoted).any(|at| leased.contains(at));
                ensure!(lost || disturbed, "push {} of {id} was acknowledged, and came again for no reason", n + 1);
            }
        }
        Ok(())
    }

    async fn end(self) -> Result<()> {
        let Self { cluster, hosts, .. } = self;
        for host in hosts {
            host.end().await?;
        }
        cluster.stop().await
    }
}
