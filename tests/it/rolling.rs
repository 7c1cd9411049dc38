//! Two fleet servers are replaced by two new ones under a hundred live calls, while calls are placed all the time: nobody
//! is cut off, nobody is put onto a server that goes, and the number of free slots is right throughout.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use http::{Method, StatusCode};
use jiff::Timestamp;
use ringfleet_tests::api::Api;
use ringfleet_tests::audio::Speech;
use ringfleet_tests::carrier::Callee;
use ringfleet_tests::cluster::{Cluster, Heard, Placed, stores};
use ringfleet_tests::crm::Crm;
use ringfleet_tests::platform::{FleetServer, ServerSetup};
use ringfleet_tests::sipp::Sipp;
use ringfleet_tests::subjects::{bot, trunk};
use ringfleet_tests::wait::until;
use ringfleet_tests::{gate, tools};
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};

/// Of each server.
const SLOTS: i64 = 60;
/// Calls that are live when the old servers are told to go.
const LIVE: usize = 100;
/// Clients that place those.
const CLIENTS: usize = 10;
/// The far side hangs up so long after it answered.
const LASTS_MS: &str = "35000";
/// Between two of the calls that are placed all the time.
const PACE: Duration = Duration::from_millis(300);
/// Between two looks at the fleet.
const LOOK: Duration = Duration::from_millis(200);
/// From then on a draining server takes nobody.
const NO_NEW_CALL_AFTER: Duration = Duration::from_secs(2);
/// The free slots are right after so long: servers beat every two seconds, and an answer is remembered for one.
const RIGHT_WITHIN: Duration = Duration::from_secs(4);
/// And always after so long, though the machine be so busy that beats are late: one counts for ten seconds at most.
const RIGHT_AT_LAST: Duration = Duration::from_secs(11);
/// So many of a hundred looks may be at a late beat.
const LATE_OF_100: usize = 20;
/// A call is counted before its row is written, and a look takes its time.
const SLACK: Duration = Duration::from_millis(500);
const PATIENCE: Duration = Duration::from_secs(90);
const OLD: [&str; 2] = ["old-1", "old-2"];
const NEW: [&str; 2] = ["new-1", "new-2"];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_servers_are_replaced_under_a_hundred_calls_and_nobody_notices() {
    if !tools::can_run(
        "two_servers_are_replaced_under_a_hundred_calls_and_nobody_notices",
        &["sipp", "espeak-ng", "flite"],
    ) {
        return;
    }
    let _turn = gate::whole().await;
    roll().await.unwrap();
}

async fn roll() -> Result<()> {
    let crm = Crm::start().await?;
    let long_crm = crm.url("/long");
    let cluster = Cluster::start(stores().await?, None, crm, None).await?;
    // A call that nobody talks on is ended after ten seconds.
    let audio = Speech::espeak("Hello? Yes, I am listening to you.")?.until(60.0);
    let audio = audio.write_ulaw(&cluster.functions.folder().join("voice.ulaw"))?.display().to_string();
    let crowd = Sipp::crowd("talk-and-hang-up", &[("AUDIO", &audio), ("MS", LASTS_MS)])?;
    cluster.functions.api.create(&trunk("long", crowd.port), &bot("long", "long", &long_crm)).await?;
    let mut ups = Vec::new();
    let [first, second] = OLD;
    let (mut first, mut second) = (server(&cluster, first, &mut ups).await?, server(&cluster, second, &mut ups).await?);
    let long = place_long(&cluster).await?;
    let over = AtomicBool::new(false);
    let rolling = async {
        let rolled = replace(&cluster, &crowd, [&mut first, &mut second], &mut ups).await;
        // However it went, the others end too.
        over.store(true, Ordering::SeqCst);
        rolled
    };
    let (rolled, placed, looks) =
        tokio::join!(rolling, keep_placing(&cluster, &over), watch(&cluster.functions.api, &over));
    let ((told, mut new), placed, looks) = (rolled?, placed?, looks?);

    ensure!(placed.iter().all(|placed| placed.heard != Heard::Nothing), "somebody was not told: {placed:?}");
    cluster.settle(&placed, PATIENCE).await?;
    until("every long call is pushed", PATIENCE, || async {
        let pushed: BTreeSet<_> =
            cluster.crm.pushes("/long").iter().map(|p| p.header("webhook-id").to_owned()).collect();
        Ok(long.iter().all(|id| pushed.contains(&format!("{id}-push"))).then_some(()))
    })
    .await?;
    let calls = calls(&cluster.functions.api).await?;
    check_calls(&calls, &long, told)?;
    check_looks(&looks, &calls, &ups)?;
    for server in &mut new {
        server.stop().await?;
    }
    crowd.kill().await?;
    cluster.stop().await
}

/// Starts the new ones, tells the old ones to go, and waits until they have gone; when they were told.
async fn replace(
    cluster: &Cluster,
    crowd: &Sipp,
    old: [&mut FleetServer; 2],
    ups: &mut Vec<Up>,
) -> Result<(Timestamp, [FleetServer; 2])> {
    let [third, fourth] = NEW;
    let new = [server(cluster, third, ups).await?, server(cluster, fourth, ups).await?];
    until("all long calls are answered", PATIENCE, || async {
        let acknowledged = crowd.seen()?.into_iter().filter(|m| m.received && m.start_line().starts_with("ACK "));
        let calls: BTreeSet<_> = acknowledged.filter_map(|m| m.header("call-id").map(str::to_owned)).collect();
        Ok((calls.len() >= LIVE).then_some(()))
    })
    .await?;
    let health = cluster.functions.api.get("/health/fleet").await?;
    if health["fleet_calls"].as_u64() < Some(LIVE as u64) {
        let page = cluster.functions.api.get("/api/v1/admin/calls?limit=100").await?;
        let ended = page["items"].as_array().into_iter().flatten().filter(|call| call["bot_id"] == "long");
        let ended: Vec<_> = ended.filter(|call| call["state"] == "ended").collect();
        bail!("they have not lasted: {health} {ended:?}");
    }
    for server in &old {
        server.signal("TERM")?;
    }
    let told = Timestamp::now();
    for up in &mut ups[..OLD.len()] {
        up.until = Some(told);
    }
    for server in old {
        server.drained(PATIENCE).await?;
    }
    Ok((told, new))
}

/// When a server's slots count: not before, surely from, no longer after.
#[derive(Debug)]
struct Up {
    id: &'static str,
    earliest: Timestamp,
    latest: Timestamp,
    until: Option<Timestamp>,
}

async fn server(cluster: &Cluster, id: &'static str, ups: &mut Vec<Up>) -> Result<FleetServer> {
    let earliest = Timestamp::now();
    let set = ["periods.heartbeat=2s", "periods.drain=2m", &format!("fleet.max_calls={SLOTS}")].map(str::to_owned);
    let setup = ServerSetup { set: set.to_vec(), ..ServerSetup::default() };
    let server = cluster.functions.fleet_server_with(id, setup).await?;
    ups.push(Up { id, earliest, latest: Timestamp::now(), until: None });
    Ok(server)
}

async fn place_long(cluster: &Cluster) -> Result<BTreeSet<String>> {
    let mut clients = JoinSet::new();
    for _ in 0..CLIENTS {
        let api = cluster.functions.api.clone();
        clients.spawn(async move {
            let mut ids = Vec::new();
            while ids.len() < LIVE / CLIENTS {
                let body = json!({"bot_id": "long", "to_number": "+919876543210"});
                // On a busy machine servers and stores may stand still for too long: then it is asked again.
                match api.ask(Method::POST, "/api/v1/dialout", Some(&body)).await? {
                    (StatusCode::OK, answer) => ids.push(answer["call_id"].as_str().context("no call_id")?.to_owned()),
                    (status, answer) => ensure!(status.is_server_error(), "{status} {answer}"),
                }
            }
            anyhow::Ok(ids)
        });
    }
    let mut ids = BTreeSet::new();
    while let Some(placed) = clients.join_next().await {
        ids.extend(placed??);
    }
    Ok(ids)
}

/// Calls one after the other, whatever happens to the fleet.
async fn keep_placing(cluster: &Cluster, over: &AtomicBool) -> Result<Vec<Placed>> {
    let (mut placed, mut pace) = (Vec::new(), interval(PACE));
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while !over.load(Ordering::SeqCst) {
        pace.tick().await;
        placed.push(cluster.place(Callee::Brief).await?);
    }
    Ok(placed)
}

/// What was seen of the fleet, with when it was asked for and when it was told.
#[derive(Debug)]
struct Seen {
    asked: Timestamp,
    told: Timestamp,
    available: i64,
}

async fn watch(api: &Api, over: &AtomicBool) -> Result<Vec<Seen>> {
    let (mut seen, mut pace) = (Vec::new(), interval(LOOK));
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while !over.load(Ordering::SeqCst) {
        pace.tick().await;
        let asked = Timestamp::now();
        let health = api.get("/health/fleet").await?;
        let available = health["fleet_available"].as_i64().with_context(|| format!("no number: {health}"))?;
        seen.push(Seen { asked, told: Timestamp::now(), available });
    }
    Ok(seen)
}

/// A call as its row has it.
#[derive(Debug)]
struct Row {
    id: String,
    server: String,
    began: Timestamp,
    ended: Timestamp,
    reason: String,
}

async fn calls(api: &Api) -> Result<Vec<Row>> {
    let (mut rows, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = api.get(&format!("/api/v1/admin/calls?limit=100{cursor}")).await?;
        for call in page["items"].as_array().with_context(|| format!("no items in {page}"))? {
            let text =
                |at: &str| call.pointer(at).and_then(Value::as_str).with_context(|| format!("no {at} in {call}"));
            rows.push(Row {
                id: text("/session_id")?.to_owned(),
                server: text("/owner/server_id")?.to_owned(),
                began: text("/started_at")?.parse()?,
                ended: text("/ended_at")?.parse()?,
                reason: text("/end_reason")?.to_owned(),
            });
        }
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return Ok(rows),
        }
    }
}

/// Every call ended as its own scenario ends, and a server that was told to go took nobody more.
fn check_calls(calls: &[Row], long: &BTreeSet<String>, told: Timestamp) -> Result<()> {
    let live = calls.iter().filter(|call| long.contains(&call.id) && call.ended > told).count();
    ensure!(live > LIVE * 9 / 10, "only {live} calls were live when the servers were told to go");
    ensure!(calls.iter().filter(|call| long.contains(&call.id)).count() == LIVE, "rows are missing");
    for call in calls {
        ensure!(call.reason == "customer_hangup", "a call was cut: {call:?}");
        let old = OLD.contains(&call.server.as_str());
        ensure!(!long.contains(&call.id) || old, "it was to be on an old server: {call:?}");
        ensure!(!old || call.began <= told + NO_NEW_CALL_AFTER, "put onto a server that goes since {told}: {call:?}");
    }
    let mut taken: BTreeMap<&str, usize> = BTreeMap::new();
    for call in calls.iter().filter(|call| call.began > told + NO_NEW_CALL_AFTER) {
        *taken.entry(&call.server).or_default() += 1;
    }
    ensure!(taken.len() == NEW.len(), "calls did not go on meanwhile: {taken:?}");
    Ok(())
}

/// What was told of free slots was, for each server, true at some moment of the last seconds: their beats come when they
/// come, so the sum of them need never have been true.
fn check_looks(looks: &[Seen], calls: &[Row], ups: &[Up]) -> Result<()> {
    ensure!(looks.len() > 10, "nobody looked: {}", looks.len());
    let mut late = Vec::new();
    for look in looks {
        ensure!(look.available >= 0, "less than nothing: {look:?}");
        let right = |within: Duration| {
            let window = (look.asked - within, look.told + SLACK);
            let free = ups.iter().map(|up| up.free(calls, window));
            let (least, most) = free.fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
            ensure!((least..=most).contains(&look.available), "{look:?} is not between {least} and {most}");
            Ok(())
        };
        right(RIGHT_AT_LAST)?;
        late.extend(right(RIGHT_WITHIN).err());
    }
    ensure!(100 * late.len() <= LATE_OF_100 * looks.len(), "{} of {} looks: {late:?}", late.len(), looks.len());
    Ok(())
}

impl Up {
    /// The least and the most free slots that it had between these moments.
    fn free(&self, calls: &[Row], (from, to): (Timestamp, Timestamp)) -> (i64, i64) {
        let mine: Vec<&Row> = calls.iter().filter(|call| call.server == self.id).collect();
        let changes = mine.iter().flat_map(|call| [call.began, call.ended]);
        let changes = changes.chain([Some(self.earliest), Some(self.latest), self.until].into_iter().flatten());
        let free = |at: Timestamp, since: Timestamp| {
            let counts = since <= at && self.until.is_none_or(|until| at < until);
            let on = mine.iter().filter(|call| call.began <= at && at < call.ended).count();
            if counts { SLOTS - on as i64 } else { 0 }
        };
        let moments = changes.filter(|at| (from..=to).contains(at)).chain([from, to]);
        moments.fold((i64::MAX, i64::MIN), |(least, most), at| {
            (least.min(free(at, self.latest)), most.max(free(at, self.earliest)))
        })
    }
}
