//! `GET /health` and `GET /health/fleet`: how many calls the fleet can take now.
//! It must never show a server's address, and the servers themselves only to a valid key.

use axum::extract::State;
use axum::routing::get;
use axum::{Json, Router};
use domain::fleet::{Capacity, ServerRow, capacity};
use domain::ids::ServerId;
use jiff::Timestamp;
use serde::Serialize;
use utoipa::ToSchema;

use crate::auth::Authenticated;
use crate::platform::Platform;
use crate::problem::{Refusal, dress};

/// A heartbeat further in the future than this is a broken clock's, and not believed.
const MAX_AHEAD_SECONDS: f64 = 10.0;

pub(crate) fn routes() -> Router<Platform> {
    Router::new().route("/health", get(health)).route("/health/fleet", get(fleet))
}

/// This function's routes alone.
pub fn router(platform: Platform) -> Router {
    dress(routes().with_state(platform))
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
}

#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Worker {
    id: ServerId,
    calls: u32,
    max: u32,
    draining: bool,
    heartbeat_age_seconds: f64,
}

async fn fleet(State(platform): State<Platform>, caller: Option<Authenticated>) -> Result<Json<FleetHealth>, Refusal> {
    let now = platform.outside.clock.now();
    // Whoever has no key is told from one row: the whole world may ask, and as often as it likes.
    if caller.is_none()
        && let Some(summary) = platform.tables.servers.summary().await?.filter(|summary| summary.is_fresh(now))
    {
        return Ok(Json(told(summary.capacity, None)));
    }
    let mut servers = believable(platform.tables.servers.all().await?, now);
    servers.sort_by(|a, b| a.server_id.cmp(&b.server_id));
    let workers = caller.is_some().then(|| servers.iter().map(|server| worker(server, now)).collect());
    Ok(Json(told(capacity(&servers, now), workers)))
}

fn told(sum: Capacity, workers: Option<Vec<Worker>>) -> FleetHealth {
    FleetHealth { status: "ok", fleet_calls: sum.calls, fleet_max: sum.max, fleet_available: sum.available, workers }
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
        let app = super::router(world.platform());
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
        let app = super::router(platform.clone());
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
    async fn everything_else_is_a_problem() {
        let app = super::router(World::new().platform());
        let missing = request(&app, "GET", "/nope", None, &[], "").await;
        assert_eq!((missing.status, missing.code()), (404, "not_found".to_owned()));
        let wrong = request(&app, "POST", "/health", None, &[], "").await;
        assert_eq!((wrong.status, wrong.code()), (405, "method_not_allowed".to_owned()));
        assert_eq!(wrong.header("allow"), "GET,HEAD");
        assert_eq!(wrong.header("content-type"), "application/problem+json");
    }
}
