//! `GET /health` and `GET /health/fleet`: how many calls the fleet can take now.
//! It must never show a server's address, and the servers themselves only to a valid key.

use std::sync::Arc;

use axum::extract::{FromRef, State};
use axum::routing::get;
use axum::{Json, Router};
use domain::fleet::view::READ_WHOLE;
use domain::fleet::{Capacity, FleetSummary, STALE_FOR_RANKING_SECONDS, ServerRow, capacity};
use domain::ids::ServerId;
use domain::ports::{Clock, Servers, StoreError};
use futures_util::future::try_join_all;
use jiff::Timestamp;
use serde::Serialize;
use utoipa::ToSchema;

use crate::auth::{self, Authenticated};
use crate::memory::{Memory, Moment};
use crate::problem::{Refusal, dress};

/// At most so many workers are listed; a larger fleet says how many it leaves out.
const MOST_WORKERS: usize = 500;
const SHARDS_AT_ONCE: usize = 32;
/// A heartbeat further in the future than this is a broken clock's, and not believed.
const MAX_AHEAD_SECONDS: f64 = 10.0;

/// What it takes to tell how the fleet is.
#[derive(Clone, derive_more::Debug)]
#[debug("fleet_health::Desk")]
pub struct Desk {
    pub auth: auth::Desk,
    pub clock: Arc<dyn Clock>,
    pub servers: Arc<dyn Servers>,
    /// Of what was read a moment ago; lost, it is read again.
    pub memory: Arc<Memory>,
}

impl FromRef<Desk> for auth::Desk {
    fn from_ref(desk: &Desk) -> Self {
        desk.auth.clone()
    }
}

pub(crate) fn routes() -> Router<Desk> {
    Router::new().route("/health", get(health)).route("/health/fleet", get(fleet))
}

/// This function's routes alone.
pub fn router(desk: Desk) -> Router {
    dress(routes().with_state(desk))
}

#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Health {
    status: &'static str,
}

async fn health() -> Json<Health> {
    Json(Health { status: "ok" })
}

#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct FleetHealth {
    status: &'static str,
    fleet_calls: u32,
    fleet_max: u32,
    fleet_available: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    workers: Option<Vec<Worker>>,
    /// Workers beyond those listed.
    #[serde(skip_serializing_if = "Option::is_none")]
    workers_left_out: Option<u32>,
}

#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Worker {
    id: ServerId,
    calls: u32,
    max: u32,
    draining: bool,
    heartbeat_age_seconds: f64,
}

async fn fleet(State(desk): State<Desk>, caller: Option<Authenticated>) -> Result<Json<FleetHealth>, Refusal> {
    let now = desk.clock.now();
    let is_large = desk.servers.shards() > READ_WHOLE;
    // Whoever has no key is told from one row: the whole world may ask, and as often as it likes.
    if caller.is_none() || is_large {
        let sum = match summary(&desk).await?.filter(|summary| summary.is_fresh(now)) {
            Some(summary) => Some(summary.capacity),
            None if is_large => Some(summed(&desk, now).await?),
            None => None,
        };
        if let Some(sum) = sum {
            let workers = if caller.is_some() { Some(some_workers(&desk, now).await?) } else { None };
            return Ok(Json(told(sum, workers)));
        }
    }
    let mut servers = believable(desk.servers.all().await?, now);
    servers.sort_by(|a, b| a.server_id.cmp(&b.server_id));
    let workers = caller.is_some().then(|| servers.iter().map(|server| worker(server, now)).collect());
    Ok(Json(told(capacity(&servers, now), workers)))
}

/// The fleet's summary as it was at most a moment ago.
async fn summary(desk: &Desk) -> Result<Option<Arc<FleetSummary>>, StoreError> {
    let asked = Moment::now(&*desk.clock);
    if let Some(summary) = desk.memory.summary.fresh(&(), asked, desk.memory.staleness.servers) {
        return Ok(Some(summary));
    }
    let summary = desk.servers.summary().await?.map(Arc::new);
    Ok(summary.inspect(|summary| desk.memory.summary.keep((), asked, summary.clone())))
}

/// The capacity of a large fleet of which nobody has told for a while, by its shards' sums.
async fn summed(desk: &Desk, now: Timestamp) -> Result<Capacity, StoreError> {
    let mut sum = Capacity::default();
    for shard in desk.servers.shard_sums().await? {
        let age = now.duration_since(shard.summed_at).as_secs_f64().abs();
        if age <= STALE_FOR_RANKING_SECONDS {
            shard.groups.iter().for_each(|group| sum += group.capacity);
        }
    }
    Ok(sum)
}

/// The workers of a large fleet, by shards, until there are enough.
async fn some_workers(desk: &Desk, now: Timestamp) -> Result<Vec<Worker>, StoreError> {
    let shards: Vec<u16> = (0..desk.servers.shards()).collect();
    let mut workers = Vec::new();
    for some in shards.chunks(SHARDS_AT_ONCE) {
        let read = try_join_all(some.iter().map(|shard| desk.servers.of_shard(*shard))).await?;
        let servers = believable(read.into_iter().flatten().collect(), now);
        workers.extend(servers.iter().map(|server| worker(server, now)));
        if workers.len() > MOST_WORKERS {
            break;
        }
    }
    Ok(workers)
}

fn told(sum: Capacity, mut workers: Option<Vec<Worker>>) -> FleetHealth {
    let count = |workers: &Vec<Worker>| u32::try_from(workers.len()).unwrap_or(u32::MAX);
    let mut workers_left_out = None;
    if let Some(workers) = &mut workers
        && workers.len() > MOST_WORKERS
    {
        let known = count(workers).max(sum.healthy);
        workers.truncate(MOST_WORKERS);
        workers_left_out = Some(known - count(workers));
    }
    FleetHealth {
        status: "ok",
        fleet_calls: sum.calls,
        fleet_max: sum.max,
        fleet_available: sum.available,
        workers,
        workers_left_out,
    }
}

fn worker(server: &ServerRow, now: Timestamp) -> Worker {
    Worker {
        id: server.server_id.clone(),
        calls: server.calls,
        max: server.max,
        draining: server.draining,
        heartbeat_age_seconds: (server.age_seconds(now) * 10.0).round() / 10.0,
    }
}

/// Drops rows whose heartbeat is from the future: by age alone they would count as fresh until time catches up.
pub(crate) fn believable(mut servers: Vec<ServerRow>, now: Timestamp) -> Vec<ServerRow> {
    servers.retain(|server| server.heartbeat_at.duration_since(now).as_secs_f64() <= MAX_AHEAD_SECONDS);
    servers
}

#[cfg(test)]
mod tests {
    use domain::fleet::FleetSummary;
    use domain::fleet::view::ShardSummary;
    use serde_json::json;

    use crate::testing::{World, request};

    #[tokio::test]
    async fn capacity_is_public_and_workers_are_not() {
        let world = World::new();
        world.key("sk_test_client", |_| ());
        world.server("a", |s| (s.calls, s.max, s.free) = (8, 10, 2));
        world.server("b", |s| (s.calls, s.max, s.free, s.draining) = (1, 10, 9, true));
        let now = world.now();
        world.server("old", |s| s.heartbeat_at = now - std::time::Duration::from_secs(11));
        world.server("ahead", |s| s.heartbeat_at = now + std::time::Duration::from_secs(3600));
        let app = super::router(world.desk());
        let anyone = request(&app, "GET", "/health/fleet", None, &[], "").await;
        assert_eq!(anyone.json(), json!({"status":"ok","fleet_calls":9,"fleet_max":20,"fleet_available":2}));
        let known = request(&app, "GET", "/health/fleet", Some("sk_test_client"), &[], "").await;
        let ids: Vec<_> = known.json()["workers"].as_array().unwrap().iter().map(|w| w["id"].clone()).collect();
        assert_eq!(ids, ["a", "b", "old"]);
        assert_eq!(known.json()["workers"][2]["heartbeat_age_seconds"], 11.0);
        assert_eq!(request(&app, "GET", "/health/fleet", Some("wrong-key"), &[], "").await.status, 401);
        assert_eq!(request(&app, "GET", "/health", None, &[], "").await.json(), json!({"status":"ok"}));
    }

    #[tokio::test]
    async fn a_fresh_summary_is_told_and_an_old_one_is_not() {
        let world = World::new();
        world.key("sk_test_client", |_| ());
        world.server("a", |s| (s.calls, s.max, s.free) = (1, 10, 9));
        let platform = world.platform();
        let app = super::router((&platform).into());
        let rows = platform.tables.servers.all().await.unwrap();
        let summary = FleetSummary::by(&rows[0].server_id, &rows, world.now()).unwrap();
        platform.tables.servers.put_summary(&summary).await.unwrap();
        world.server("a", |s| (s.calls, s.max, s.free) = (2, 10, 8));
        let calls = async |key| request(&app, "GET", "/health/fleet", key, &[], "").await.json()["fleet_calls"].clone();
        assert_eq!((calls(None).await, calls(Some("sk_test_client")).await), (json!(1), json!(2)));
        world.advance(std::time::Duration::from_secs(4));
        assert_eq!(calls(None).await, json!(2));
    }

    #[tokio::test]
    async fn a_large_fleet_lists_some_of_its_workers_and_says_how_many_more_there_are() {
        let world = World::new();
        world.key("sk_test_client", |_| ());
        world.tables.lock().shards = 64;
        for n in 0..620_u32 {
            let first = char::from_u32(u32::from('A') + n % 50).filter(char::is_ascii_alphabetic).unwrap_or('0');
            world.server(&format!("{first}{n}"), |s| (s.calls, s.max, s.free) = (1, 10, 9));
        }
        let platform = world.platform();
        let rows = platform.tables.servers.all().await.unwrap();
        let summary = FleetSummary::of(&rows, &rows[0].server_id, world.now());
        platform.tables.servers.put_summary(&summary).await.unwrap();
        let app = super::router((&platform).into());
        let answer = request(&app, "GET", "/health/fleet", Some("sk_test_client"), &[], "").await.json();
        assert_eq!((&answer["fleet_max"], answer["workers"].as_array().unwrap().len()), (&json!(6200), 500));
        assert_eq!(answer["workers_left_out"], 120);
        world.tables.lock().summary = None;
        let sum = ShardSummary::of(3, &rows[..30], &rows[0].server_id, world.now());
        platform.tables.servers.put_shard(&sum).await.unwrap();
        let answer = request(&app, "GET", "/health/fleet", None, &[], "").await.json();
        assert_eq!(answer, json!({"status":"ok","fleet_calls":30,"fleet_max":300,"fleet_available":270}), "by sums");
    }

    #[tokio::test]
    async fn everything_else_is_a_problem() {
        let app = super::router(World::new().desk());
        let missing = request(&app, "GET", "/nope", None, &[], "").await;
        assert_eq!((missing.status, missing.code()), (404, "not_found".to_owned()));
        let wrong = request(&app, "POST", "/health", None, &[], "").await;
        assert_eq!((wrong.status, wrong.code()), (405, "method_not_allowed".to_owned()));
        assert_eq!(wrong.header("allow"), "GET,HEAD");
        assert_eq!(wrong.header("content-type"), "application/problem+json");
    }
}
