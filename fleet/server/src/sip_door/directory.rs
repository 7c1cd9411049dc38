//! The fleet's trunks as an INVITE finds them: by the address that it came from, or by the user name that it claims. Read
//! from the table every while, and soon after somebody knocked who is not in it.
//! It must never make a caller wait for the table, nor read it more often because more strangers knock.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use domain::ports::Trunks;
use domain::trunk::Trunk;
use ipnet::IpNet;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// A change of a trunk counts after this long at the latest.
const READ_EVERY: Duration = Duration::from_secs(20);
/// The table is read this often at most. Below the second repetition of an INVITE that was not answered (1.5 s), so that
/// a trunk that was just made gets its first call through.
const READ_AT_MOST_EVERY: Duration = Duration::from_secs(1);
/// One reading may take this long.
const READ_LIMIT: Duration = Duration::from_secs(5);
/// Trunks that are kept; a deployment has tens.
const MOST_TRUNKS: usize = 10_000;

/// What is known of the trunks; clones share it.
#[derive(Clone)]
pub(crate) struct Directory {
    trunks: Arc<dyn Trunks>,
    known: Arc<ArcSwap<Known>>,
    wanted: Arc<Notify>,
}

impl std::fmt::Debug for Directory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Directory")
    }
}

impl Directory {
    /// An empty one: nobody is known until it was read.
    pub(crate) fn new(trunks: Arc<dyn Trunks>) -> Self {
        Self { trunks, known: Arc::default(), wanted: Arc::default() }
    }

    pub(crate) fn known(&self) -> Arc<Known> {
        self.known.load_full()
    }

    /// Whether calls are taken from this address; one that is not known makes the table be read again soon.
    pub(crate) fn knows(&self, address: IpAddr) -> bool {
        let knows = !self.known.load().at(address).is_empty();
        if !knows {
            self.look_again();
        }
        knows
    }

    /// Somebody knocked who is not in it: the table is read soon, if it was not read just now.
    pub(crate) fn look_again(&self) {
        self.wanted.notify_one();
    }

    /// Keeps it fresh until `stop`.
    pub(crate) async fn keep(self, stop: CancellationToken) {
        loop {
            self.read().await;
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(READ_AT_MOST_EVERY) => {}
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(READ_EVERY - READ_AT_MOST_EVERY) => {}
                () = self.wanted.notified() => {}
            }
        }
    }

    /// Reads the table; what was known stays while it does not answer.
    pub(crate) async fn read(&self) {
        let failed = |cause: String| {
            metrics::counter!("ringfleet_trunk_reads_failed_total").increment(1);
            tracing::warn!(cause, "the trunks are not read; calls come in over those that were known");
        };
        match tokio::time::timeout(READ_LIMIT, self.trunks.list()).await {
            Ok(Ok(trunks)) => self.known.store(Arc::new(Known::of(trunks))),
            Ok(Err(error)) => failed(error.to_string()),
            Err(_) => failed(format!("no answer within {READ_LIMIT:?}")),
        }
    }
}

/// The trunks of each network of one length.
type ByNetwork = HashMap<IpNet, Vec<Arc<Trunk>>>;

/// The trunks of one reading.
#[derive(Debug, Default)]
pub(crate) struct Known {
    /// By prefix length, the longest first: as many look-ups as there are lengths, however many networks.
    by_length: Vec<(u8, ByNetwork)>,
    by_username: HashMap<String, Vec<Arc<Trunk>>>,
}

impl Known {
    fn of(mut trunks: Vec<Trunk>) -> Self {
        trunks.sort_by(|a, b| a.trunk_id.cmp(&b.trunk_id));
        if trunks.len() > MOST_TRUNKS {
            tracing::error!(trunks = trunks.len(), "calls come in over the first {MOST_TRUNKS} trunks only");
            trunks.truncate(MOST_TRUNKS);
        }
        let mut by_length: HashMap<u8, ByNetwork> = HashMap::new();
        let mut by_username: HashMap<String, Vec<Arc<Trunk>>> = HashMap::new();
        for trunk in trunks {
            let trunk = Arc::new(trunk);
            for net in &trunk.inbound_cidrs {
                let same = by_length.entry(net.prefix_len()).or_default().entry(net.trunc()).or_default();
                if !same.iter().any(|known| known.trunk_id == trunk.trunk_id) {
                    same.push(trunk.clone());
                }
            }
            if trunk.password.is_some() {
                let name = trunk.auth_username.as_ref().unwrap_or(&trunk.username);
                by_username.entry(name.clone()).or_default().push(trunk.clone());
            }
        }
        let mut by_length: Vec<_> = by_length.into_iter().collect();
        by_length.sort_by_key(|(length, _)| std::cmp::Reverse(*length));
        Self { by_length, by_username }
    }

    /// The trunks whose network the address lies in: those of the smallest such network, in the order of their ids.
    pub(crate) fn at(&self, address: IpAddr) -> &[Arc<Trunk>] {
        let address = address.to_canonical();
        let found = self.by_length.iter().find_map(|(length, nets)| {
            let net = IpNet::new(address, *length).ok()?.trunc();
            nets.get(&net)
        });
        found.map_or(&[], Vec::as_slice)
    }

    /// The trunks with an account of that name.
    pub(crate) fn named(&self, username: &str) -> &[Arc<Trunk>] {
        self.by_username.get(username).map_or(&[], Vec::as_slice)
    }
}

#[cfg(test)]
mod tests {
    use domain::trunk::Trunk;
    use serde_json::json;

    use super::*;

    fn trunk(id: &str, cidrs: &[&str], username: &str) -> Trunk {
        let mut wire = json!({
            "trunk_id": id, "name": id, "host": "h", "default_number": "+911140001234", "inbound_cidrs": cidrs,
            "username": username
        });
        if !username.is_empty() {
            wire["password"] = json!("sealed");
        }
        serde_json::from_value(wire).unwrap()
    }

    #[test]
    fn the_smallest_network_decides() {
        let known = Known::of(vec![
            trunk("wide", &["10.0.0.0/8"], ""),
            trunk("b", &["10.1.0.0/16"], ""),
            trunk("a", &["10.1.0.0/16", "10.1.0.0/16"], ""),
            trunk("one", &["10.1.2.3/32", "2001:db8::/32"], ""),
            trunk("none", &[], ""),
        ]);
        let check = |address: &str, expect: &[&str]| {
            let found: Vec<&str> =
                known.at(address.parse().unwrap()).iter().map(|trunk| trunk.trunk_id.as_str()).collect();
            assert_eq!(found, expect, "{address}");
        };
        check("10.9.9.9", &["wide"]);
        check("10.1.9.9", &["a", "b"]);
        check("10.1.2.3", &["one"]);
        check("::ffff:10.1.2.3", &["one"]);
        check("2001:db8:1::1", &["one"]);
        check("2001:db9::1", &[]);
        check("192.0.2.1", &[]);
    }

    #[test]
    fn only_a_trunk_with_a_password_has_an_account() {
        let mut other = trunk("c", &[], "acme");
        other.auth_username = Some("auth".into());
        let known = Known::of(vec![trunk("b", &[], "acme"), trunk("a", &[], "acme"), other, trunk("d", &[], "")]);
        let check = |name: &str, expect: &[&str]| {
            let found: Vec<&str> = known.named(name).iter().map(|trunk| trunk.trunk_id.as_str()).collect();
            assert_eq!(found, expect, "{name}");
        };
        check("acme", &["a", "b"]);
        check("auth", &["c"]);
        check("", &[]);
        check("nobody", &[]);
    }
}
