//! The fleet as operators see it, and draining a server: it finishes its calls and lets no further one in, while its
//! process stays up.
//! It must never show a server's address, and never report a server as draining that has not said so itself.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::extract::{Path, State};
use axum::routing::{get, post};
use axum::{Json, Router};
use domain::fleet::{Alive, DrainAnswer, STALE_FOR_RANKING_SECONDS, ServerRow};
use domain::ids::{Epoch, ServerId, TrunkId};
use jiff::Timestamp;
use serde::Serialize;
use utoipa::ToSchema;

use super::Desk;
use crate::auth::Admin;
use crate::fleet_health::believable;
use crate::problem::Refusal;

const DRAIN_WITHIN: Duration = Duration::from_secs(3);

pub(super) fn routes() -> Router<Desk> {
    Router::new()
        .route("/api/v1/admin/fleet", get(view))
        .route("/api/v1/admin/fleet/{server_id}/drain", post(drain))
        .route("/api/v1/admin/fleet/{server_id}/undrain", post(undrain))
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Fleet)]
pub(crate) struct Fleet {
    servers: Vec<Shown>,
    sums: Sums,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = FleetServer)]
pub(crate) struct Shown {
    id: ServerId,
    epoch: Epoch,
    group: Option<String>,
    calls: u32,
    max: u32,
    free: u32,
    trunk_calls: BTreeMap<TrunkId, u32>,
    draining: bool,
    version: String,
    heartbeat_age_seconds: f64,
    /// Whether its heartbeat is fresh; one that drains can be healthy.
    healthy: bool,
}

/// Over healthy servers; `servers` and `trunk_calls` over all.
#[derive(Debug, Default, Serialize, ToSchema)]
#[schema(as = FleetSums)]
pub(crate) struct Sums {
    servers: usize,
    healthy: usize,
    draining: usize,
    calls: u32,
    max: u32,
    free: u32,
    trunk_calls: BTreeMap<TrunkId, u32>,
}

async fn view(State(desk): State<Desk>, _: Admin) -> Result<Json<Fleet>, Refusal> {
    let now = desk.clock.now();
    let mut rows = desk.servers.all().await?;
    rows.sort_by(|a, b| a.server_id.cmp(&b.server_id));
    let servers: Vec<Shown> = rows.into_iter().map(|row| shown(row, now)).collect();
    let sums = sums(&servers);
    Ok(Json(Fleet { servers, sums }))
}

fn shown(row: ServerRow, now: Timestamp) -> Shown {
    let age = row.age_seconds(now);
    let believed = !believable(vec![row.clone()], now).is_empty();
    Shown {
        id: row.server_id,
        epoch: row.epoch,
        group: row.group,
        calls: row.calls,
        max: row.max,
        free: row.free,
        trunk_calls: row.trunk_calls,
        draining: row.draining,
        version: row.version,
        heartbeat_age_seconds: (age * 10.0).round() / 10.0,
        healthy: believed && age <= STALE_FOR_RANKING_SECONDS,
    }
}

fn sums(servers: &[Shown]) -> Sums {
    let mut sums = Sums { servers: servers.len(), ..Sums::default() };
    for server in servers {
        for (trunk, calls) in &server.trunk_calls {
            *sums.trunk_calls.entry(trunk.clone()).or_default() += calls;
        }
        if server.healthy {
            sums.healthy += 1;
            sums.draining += usize::from(server.draining);
            sums.calls += server.calls;
            sums.max += server.max;
            sums.free += if server.draining { 0 } else { server.free };
        }
    }
    sums
}

async fn drain(state: State<Desk>, _: Admin, Path(id): Path<String>) -> Result<Json<Alive>, Refusal> {
    tell(&state, &id, true).await
}

async fn undrain(state: State<Desk>, _: Admin, Path(id): Path<String>) -> Result<Json<Alive>, Refusal> {
    tell(&state, &id, false).await
}

/// Answers how the server stands, in its own words: its next heartbeat is a moment away.
async fn tell(desk: &Desk, id: &str, drain: bool) -> Result<Json<Alive>, Refusal> {
    let missing = || Refusal::NotFound("server");
    let id = ServerId::parse(id).map_err(|_| missing())?;
    let server = desk.servers.get(&id).await?.ok_or_else(missing)?;
    let answer = desk.fleet.drain(&server, drain, DRAIN_WITHIN).await.map_err(|cause| {
        tracing::warn!(server.id = %id, drain, error = %cause, "draining did not reach the server");
        Refusal::ServerSilent
    })?;
    match answer {
        DrainAnswer::Done(alive) => {
            tracing::info!(server.id = %id, drain, calls = alive.calls, "server drained or opened by an admin");
            Ok(Json(alive))
        }
        DrainAnswer::Ending => Err(Refusal::ServerEnding),
        // It has restarted since its last heartbeat; the next one names its new epoch.
        DrainAnswer::WrongServer => Err(Refusal::ServerSilent),
    }
}
