//! How the fleet is, as numbers for alarms and for the scaling of its groups: in all, and for each group of servers.
//! It must never count a server that nobody would offer a call.

use std::collections::BTreeMap;

use domain::fleet::{STALE_FOR_RANKING_SECONDS, ServerRow, capacity};
use jiff::Timestamp;

use crate::fleet_health::believable;

/// Tells what the rows of all servers come to.
pub(super) fn tell(servers: Vec<ServerRow>, now: Timestamp) {
    let mut groups: BTreeMap<String, Vec<ServerRow>> = BTreeMap::new();
    for server in believable(servers.clone(), now) {
        if let Some(group) = server.group.clone() {
            groups.entry(group).or_default().push(server);
        }
    }
    let whole = Numbers::of(&believable(servers, now), now);
    metrics::gauge!("ringfleet_healthy_servers").set(whole.healthy);
    metrics::gauge!("ringfleet_free_slots").set(whole.free);
    if let Some(busy) = whole.busy {
        metrics::gauge!("ringfleet_busy_percent").set(busy);
    }
    for (group, servers) in groups {
        let part = Numbers::of(&servers, now);
        metrics::gauge!("ringfleet_healthy_servers", "server_group" => group.clone()).set(part.healthy);
        metrics::gauge!("ringfleet_free_slots", "server_group" => group.clone()).set(part.free);
        if let Some(busy) = part.busy {
            metrics::gauge!("ringfleet_busy_percent", "server_group" => group).set(busy);
        }
    }
}

#[derive(Debug, PartialEq)]
struct Numbers {
    healthy: f64,
    free: f64,
    /// Of 100; rises with the load. `None` where nobody takes calls: then it says nothing.
    busy: Option<f64>,
}

impl Numbers {
    fn of(servers: &[ServerRow], now: Timestamp) -> Self {
        let takes_calls =
            |server: &&ServerRow| !server.draining && server.age_seconds(now) <= STALE_FOR_RANKING_SECONDS;
        let open: Vec<ServerRow> = servers.iter().filter(takes_calls).cloned().collect();
        let sum = capacity(&open, now);
        let busy = (sum.max > 0).then(|| 100.0 * f64::from(sum.calls) / f64::from(sum.max));
        Self { healthy: open.len() as f64, free: f64::from(sum.available), busy }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::testing::World;

    #[test]
    fn only_who_takes_calls_counts() {
        let world = World::new();
        let now = world.now();
        let server = |calls: u32, change: &dyn Fn(&mut ServerRow)| {
            world.server("a", |row| {
                (row.calls, row.max, row.free) = (calls, 10, 10 - calls);
                change(row);
            })
        };
        let open = server(4, &|_| ());
        let check = |servers: &[ServerRow], healthy: f64, free: f64, busy: Option<f64>| {
            assert_eq!(Numbers::of(servers, now), Numbers { healthy, free, busy });
        };
        check(&[], 0.0, 0.0, None);
        check(std::slice::from_ref(&open), 1.0, 6.0, Some(40.0));
        check(&[open.clone(), server(10, &|_| ())], 2.0, 6.0, Some(70.0));
        check(&[open.clone(), server(9, &|row| row.draining = true)], 1.0, 6.0, Some(40.0));
        check(&[open, server(0, &|row| row.heartbeat_at = now - Duration::from_secs(60))], 1.0, 6.0, Some(40.0));
    }
}
