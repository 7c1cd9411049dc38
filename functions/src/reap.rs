//! Ends the calls of servers that are gone: saves what they left, writes the end once, and announces it.
//! It must never end a call whose server answers, and never act while most of the fleet looks dead: then it is the
//! view that is broken, more likely than the fleet.
//!
//! A server is taken for gone when
//! - its heartbeat is older than 30 s AND its private port does not answer (or answers as a later incarnation), or
//! - its row has a later epoch than the call, or
//! - there is no row of it any more and the call is older than a minute.
//!
//! The majority rule: of the servers heard of in the last ten minutes, if there are three or more and more than half
//! of them are silent for 30 s, the pass stops and alarms. With one or two servers a majority says nothing, and the
//! knock alone decides. A server silent for longer than those ten minutes no longer counts, so that a fleet that was
//! replaced as a whole does not block `reap` for ever; it is still knocked at.

mod ending;
mod gauges;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use domain::call::CallRow;
use domain::fleet::ServerRow;
use domain::ids::{Owner, ServerId};
use domain::ports::{Calls, Clock, Fleet, Queues, Servers, StoreError};
use jiff::Timestamp;
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

use crate::platform::ReapLimits;
use crate::salvage;

/// The next event comes after this long; the last pass must have begun before.
const MINUTE: Duration = Duration::from_secs(55);

/// What it takes to end the calls of lost servers.
#[derive(Clone, derive_more::Debug)]
#[debug("reap::Desk")]
pub struct Desk {
    pub clock: Arc<dyn Clock>,
    pub calls: Arc<dyn Calls>,
    pub servers: Arc<dyn Servers>,
    pub fleet: Arc<dyn Fleet>,
    pub queues: Arc<dyn Queues>,
    pub salvage: salvage::Desk,
    pub reap: ReapLimits,
}

/// What one pass did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Report {
    /// More than half of the fleet looked dead: nothing was done.
    pub alarm: bool,
    pub servers_gone: u32,
    pub calls_ended: u32,
}

/// One pass over all live calls.
///
/// # Errors
/// When a table does not answer; a single call's failure is logged, and the next pass takes it up again.
pub async fn pass(desk: &Desk) -> Result<Report, StoreError> {
    let now = desk.clock.now();
    let rows = desk.servers.all().await?;
    gauges::tell(rows.clone(), now);
    let servers: HashMap<ServerId, ServerRow> =
        rows.into_iter().map(|server| (server.server_id.clone(), server)).collect();
    if majority_is_silent(desk, servers.values(), now) {
        metrics::counter!("ringfleet_reap_stopped_total").increment(1);
        tracing::error!(
            alarm = "reap_stopped",
            servers = servers.len(),
            "more than half of the fleet looks dead; nothing is reaped"
        );
        return Ok(Report { alarm: true, ..Report::default() });
    }
    let owners: HashSet<Owner> = desk.calls.owners_of_open().await?.into_iter().collect();
    let silent = knock_at_silent(desk, &servers, &owners, now).await;
    let mut report = Report::default();
    for owner in &owners {
        let fate = fate(&servers, &silent, owner);
        let ended = end_calls(desk, owner, fate, servers.get(&owner.server_id), now).await?;
        report.servers_gone += u32::from(fate == Fate::Gone);
        report.calls_ended += ended;
    }
    forget_old_rows(desk, &servers, &owners, now).await;
    Ok(report)
}

/// Passes for as long as one schedule event lasts: the schedule itself has no finer grain than a minute.
///
/// # Errors
/// The last pass's, if it failed.
pub async fn for_a_minute(desk: &Desk) -> Result<(), StoreError> {
    let every = desk.reap.every.max(Duration::from_secs(1));
    let end = tokio::time::Instant::now() + MINUTE.saturating_sub(every);
    let mut ticks = tokio::time::interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let last = pass(desk).await.map(|_| ());
        if tokio::time::Instant::now() >= end {
            return last;
        }
    }
}

fn is_silent(desk: &Desk, server: &ServerRow, now: Timestamp) -> bool {
    server.age_seconds(now) > desk.reap.stale.as_secs_f64()
}

fn majority_is_silent<'a>(desk: &Desk, servers: impl Iterator<Item = &'a ServerRow>, now: Timestamp) -> bool {
    let remembered = desk.reap.forgotten.as_secs_f64();
    let known: Vec<&ServerRow> = servers.filter(|server| server.age_seconds(now) <= remembered).collect();
    let silent = known.iter().filter(|server| is_silent(desk, server, now)).count();
    known.len() >= 3 && silent * 2 > known.len()
}

/// What a call's owner has come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Alive,
    Gone,
    /// No row says anything.
    Unknown,
}

fn fate(servers: &HashMap<ServerId, ServerRow>, gone: &HashSet<Owner>, owner: &Owner) -> Fate {
    match servers.get(&owner.server_id) {
        None => Fate::Unknown,
        Some(server) if server.epoch > owner.epoch => Fate::Gone,
        Some(_) if gone.contains(owner) => Fate::Gone,
        Some(_) => Fate::Alive,
    }
}

/// Knocks at every silent server that owns a live call, all at once; answers the owners that are gone.
async fn knock_at_silent(
    desk: &Desk,
    servers: &HashMap<ServerId, ServerRow>,
    owners: &HashSet<Owner>,
    now: Timestamp,
) -> HashSet<Owner> {
    let mut knocks = JoinSet::new();
    for server in servers.values().filter(|server| is_silent(desk, server, now) && owners.contains(&server.owner())) {
        let (desk, server) = (desk.clone(), server.clone());
        knocks.spawn(async move {
            let answer = desk.fleet.alive(&server, desk.reap.knock).await;
            let is_here = answer.is_ok_and(|alive| alive.server_id == server.server_id && alive.epoch == server.epoch);
            (!is_here).then(|| server.owner())
        });
    }
    knocks.join_all().await.into_iter().flatten().collect()
}

async fn end_calls(
    desk: &Desk,
    owner: &Owner,
    fate: Fate,
    server: Option<&ServerRow>,
    now: Timestamp,
) -> Result<u32, StoreError> {
    let mut ended = 0;
    for row in desk.calls.open_on(&owner.server_id).await?.into_iter().filter(|row| row.owner == *owner) {
        if !is_lost(desk, &row, fate, server, now).await {
            continue;
        }
        // Heartbeats of a later incarnation say nothing about this call.
        let last_seen = server.filter(|server| server.epoch == owner.epoch).map(|server| server.heartbeat_at);
        match ending::end(desk, &row, last_seen).await {
            Ok(true) => ended += 1,
            Ok(false) => {}
            Err(cause) => {
                tracing::error!(call.id = %row.call_id, error = %cause, "a lost call could not be ended; the next pass tries again")
            }
        }
    }
    Ok(ended)
}

async fn is_lost(desk: &Desk, row: &CallRow, fate: Fate, server: Option<&ServerRow>, now: Timestamp) -> bool {
    let limits = &desk.reap;
    match fate {
        Fate::Gone => true,
        Fate::Unknown => row.started_at + limits.unknown_server <= now,
        Fate::Alive if row.deadline + limits.overdue > now => false,
        Fate::Alive => !still_held(desk, row, server, now).await,
    }
}

/// Asks a living server to end a call that is past its deadline; one that has it gets as long again to do so.
async fn still_held(desk: &Desk, row: &CallRow, server: Option<&ServerRow>, now: Timestamp) -> bool {
    let limits = &desk.reap;
    let Some(server) = server else { return false };
    tracing::warn!(call.id = %row.call_id, server.id = %server.server_id, "a call is past its deadline");
    let told = desk.fleet.hang_up(server, row.call_id, limits.knock).await;
    let patience = row.deadline + limits.overdue + limits.overdue > now;
    patience && !matches!(told, Ok(false))
}

/// Takes rows of servers off that are silent for long and own nothing; one that lives after all puts its row again.
async fn forget_old_rows(desk: &Desk, servers: &HashMap<ServerId, ServerRow>, owners: &HashSet<Owner>, now: Timestamp) {
    let remembered = desk.reap.forgotten.as_secs_f64();
    for server in
        servers.values().filter(|server| server.age_seconds(now) > remembered && !owners.contains(&server.owner()))
    {
        if let Err(cause) = desk.servers.retire(&server.owner()).await {
            tracing::warn!(server.id = %server.server_id, error = %cause, "an old server row was not removed");
        }
    }
}

#[cfg(test)]
mod tests;
