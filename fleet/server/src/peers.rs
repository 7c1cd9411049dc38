//! Other servers of the fleet, as this one's heartbeat saw them last (in a large fleet some of them): where a call may go that finds no room here.
//! It must never read the table itself: whoever is full has no time for that.

use std::sync::Arc;

use arc_swap::ArcSwap;
use domain::fleet::{ServerRow, rank};
use domain::ids::ServerId;
use jiff::Timestamp;

#[derive(Debug, Clone, Default)]
pub(crate) struct Peers {
    seen: Arc<ArcSwap<Vec<ServerRow>>>,
}

impl Peers {
    /// Takes in what was just read of the fleet.
    pub(crate) fn observe(&self, servers: Vec<ServerRow>) {
        self.seen.store(Arc::new(servers));
    }

    /// Servers but `own` that have room as far as is known, best first.
    pub(crate) fn with_room(
        &self,
        own: &ServerId,
        group: Option<&str>,
        now: Timestamp,
        dice: impl Fn(&ServerId) -> u32,
    ) -> Vec<ServerRow> {
        let mut ranked = rank(&self.seen.load(), now, group, dice);
        ranked.retain(|server| server.server_id != *own);
        ranked
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_others_with_room_are_named() {
        let now = Timestamp::from_second(1_000).unwrap();
        let row = |id: &str, free: u32, draining: bool| -> ServerRow {
            serde_json::from_value(json!({
                "server_id": id, "epoch": 1, "address": "h:1", "calls": 0, "max": 10, "free": free,
                "draining": draining, "version": "0", "heartbeat_at": now.to_string()
            }))
            .unwrap()
        };
        let peers = Peers::default();
        let named = |peers: &Peers| -> Vec<String> {
            let own = ServerId::parse("own").unwrap();
            peers.with_room(&own, None, now, |_| 0).iter().map(|server| server.server_id.to_string()).collect()
        };
        assert!(named(&peers).is_empty());
        peers.observe(vec![
            row("own", 9, false),
            row("full", 0, false),
            row("leaves", 9, true),
            row("roomy", 9, false),
        ]);
        assert_eq!(named(&peers), ["roomy"]);
    }
}
