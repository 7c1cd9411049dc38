//! A fleet of many shards on simulated time: who reads what, who sums up, and what becomes of it when somebody is gone.

use std::collections::BTreeSet;
use std::sync::Mutex;

use async_trait::async_trait;
use domain::ids::{Epoch, Owner};
use domain::ports::{Deletion, Owned, Put};
use domain::trunk::Trunk;
use serde_json::json;

use super::*;

const SHARDS: u16 = 20;

/// The table, and who asked what of it.
#[derive(Default)]
struct Table {
    rows: Mutex<BTreeMap<ServerId, ServerRow>>,
    sums: Mutex<BTreeMap<u16, ShardSummary>>,
    view: Mutex<Option<FleetView>>,
    summary: Mutex<Option<FleetSummary>>,
    shards_read: Mutex<Vec<u16>>,
}

struct Sky {
    began: Instant,
}

impl Clock for Sky {
    fn now(&self) -> Timestamp {
        Timestamp::from_second(1_000_000).unwrap() + self.began.elapsed()
    }
}

#[async_trait]
impl Servers for Table {
    async fn next_epoch(&self, _: &ServerId) -> Result<Epoch, StoreError> {
        Ok(Epoch(1))
    }
    async fn heartbeat(&self, row: &ServerRow) -> Result<Owned, StoreError> {
        self.rows.lock().unwrap().insert(row.server_id.clone(), row.clone());
        Ok(Owned::Written)
    }
    async fn retire(&self, owner: &Owner) -> Result<(), StoreError> {
        self.rows.lock().unwrap().remove(&owner.server_id);
        Ok(())
    }
    fn shards(&self) -> u16 {
        SHARDS
    }
    /// `s7-…` lies in shard 7.
    fn shard_of(&self, id: &ServerId) -> u16 {
        id.as_str()[1..].split('-').next().unwrap().parse().unwrap()
    }
    async fn of_shard(&self, shard: u16) -> Result<Vec<ServerRow>, StoreError> {
        self.shards_read.lock().unwrap().push(shard);
        Ok(self.rows.lock().unwrap().values().filter(|row| self.shard_of(&row.server_id) == shard).cloned().collect())
    }
    async fn get(&self, id: &ServerId) -> Result<Option<ServerRow>, StoreError> {
        Ok(self.rows.lock().unwrap().get(id).cloned())
    }
    async fn all(&self) -> Result<Vec<ServerRow>, StoreError> {
        panic!("nobody reads the whole fleet")
    }
    async fn put_shard(&self, sum: &ShardSummary) -> Result<(), StoreError> {
        self.sums.lock().unwrap().insert(sum.shard, sum.clone());
        Ok(())
    }
    async fn shard_sums(&self) -> Result<Vec<ShardSummary>, StoreError> {
        Ok(self.sums.lock().unwrap().values().cloned().collect())
    }
    async fn put_view(&self, view: &FleetView) -> Result<(), StoreError> {
        *self.view.lock().unwrap() = Some(view.clone());
        Ok(())
    }
    async fn view(&self, _: u16) -> Result<Option<FleetView>, StoreError> {
        Ok(self.view.lock().unwrap().clone())
    }
    async fn put_summary(&self, summary: &FleetSummary) -> Result<(), StoreError> {
        *self.summary.lock().unwrap() = Some(summary.clone());
        Ok(())
    }
    async fn summary(&self) -> Result<Option<FleetSummary>, StoreError> {
        Ok(self.summary.lock().unwrap().clone())
    }
}

struct OneTrunk;

#[async_trait]
impl Trunks for OneTrunk {
    async fn get(&self, _: &TrunkId) -> Result<Option<Trunk>, StoreError> {
        Ok(None)
    }
    async fn put(&self, _: &Trunk, _: Option<u64>) -> Result<Put, StoreError> {
        Ok(Put::Conflict)
    }
    async fn delete(&self, _: &TrunkId, _: Option<u64>) -> Result<Deletion, StoreError> {
        Ok(Deletion::Missing)
    }
    async fn list(&self) -> Result<Vec<Trunk>, StoreError> {
        let trunk = json!({"trunk_id": "t", "version": 1, "name": "t", "host": "sip.example.com",
            "default_number": "+911234567890", "numbers": ["+911234567890"], "max_calls": 30});
        Ok(vec![serde_json::from_value(trunk).unwrap()])
    }
}

struct Sim {
    table: Arc<Table>,
    sky: Arc<Sky>,
    servers: BTreeMap<ServerId, (Lookout, Admission, Peers)>,
    rows: BTreeMap<ServerId, ServerRow>,
}

impl Sim {
    fn new() -> Self {
        let sky = Arc::new(Sky { began: Instant::now() });
        Self { table: Arc::default(), sky, servers: BTreeMap::new(), rows: BTreeMap::new() }
    }

    fn start(&mut self, name: &str, calls: u32) {
        let id = ServerId::parse(name).unwrap();
        let row: ServerRow = serde_json::from_value(json!({
            "server_id": name, "epoch": 1, "address": "h:1", "calls": calls, "max": 10, "free": 10 - calls,
            "trunk_calls": {"t": calls}, "draining": false, "version": "0", "heartbeat_at": self.sky.now().to_string()
        }))
        .unwrap();
        let peers = Peers::default();
        let lookout = Lookout::of(id.clone(), self.table.clone(), Arc::new(OneTrunk), self.sky.clone(), peers.clone());
        self.servers.insert(id.clone(), (lookout, Admission::new(10, id.clone(), None), peers));
        self.rows.insert(id, row);
    }

    fn kill(&mut self, name: &str) {
        let id = ServerId::parse(name).unwrap();
        self.servers.remove(&id);
        self.rows.remove(&id);
    }

    /// Everybody beats and looks each second, in the order of ids.
    async fn seconds(&mut self, seconds: u32) {
        for _ in 0..seconds {
            tokio::time::advance(Duration::from_secs(1)).await;
            for (id, (lookout, admission, _)) in &mut self.servers {
                let row = ServerRow { heartbeat_at: self.sky.now(), ..self.rows[id].clone() };
                self.table.heartbeat(&row).await.unwrap();
                assert!(lookout.look(Instant::now(), admission).await.is_some());
            }
        }
    }

    fn summary(&self) -> FleetSummary {
        self.table.summary.lock().unwrap().clone().unwrap()
    }

    fn view(&self) -> FleetView {
        self.table.view.lock().unwrap().clone().unwrap()
    }
}

/// Three servers with three calls each in every second shard.
async fn fleet() -> Sim {
    let mut sim = Sim::new();
    for shard in (0..SHARDS).step_by(2) {
        for name in ["a", "b", "c"] {
            sim.start(&format!("s{shard}-{name}"), 3);
        }
    }
    sim.seconds(5).await;
    sim
}

#[tokio::test(start_paused = true)]
async fn what_is_told_of_the_fleet_is_right_and_one_tells_it() {
    let mut sim = fleet().await;
    let capacity = sim.summary().capacity;
    assert_eq!((capacity.healthy, capacity.calls, capacity.max, capacity.available), (30, 90, 300, 210));
    let view = sim.view();
    assert_eq!(view.shards.len(), usize::from(SHARDS));
    assert_eq!(view.trunks[&TrunkId::parse("t").unwrap()].held, 90);
    assert!(view.valid_for(sim.sky.now()) > Duration::from_secs(20), "empty shards are read in time, too");
    let maker = view.summed_by.clone();
    sim.rows.get_mut(&ServerId::parse("s4-b").unwrap()).unwrap().calls = 9;
    sim.seconds(3).await;
    assert_eq!(sim.summary().capacity.calls, 96);
    sim.seconds(20).await;
    assert_eq!(sim.view().summed_by, maker, "while it lives, it is the one");
    assert!(sim.view().valid_for(sim.sky.now()) > Duration::from_secs(15));
}

#[tokio::test(start_paused = true)]
async fn a_server_reads_its_own_shard_only() {
    let mut sim = fleet().await;
    sim.table.shards_read.lock().unwrap().clear();
    sim.seconds(10).await;
    let read = sim.table.shards_read.lock().unwrap().clone();
    let followers = 30 * 10;
    // One makes the view, and reads the ten shards where nobody is, each once in eight seconds.
    let empty = read.iter().filter(|shard| **shard % 2 == 1).count();
    assert!(read.len() - empty == followers && empty <= 20, "{} {empty}", read.len());
}

#[tokio::test(start_paused = true)]
async fn the_fleet_is_told_of_again_when_whoever_told_is_gone() {
    let mut sim = fleet().await;
    let maker = sim.view().summed_by;
    sim.kill(maker.as_str());
    sim.seconds(25).await;
    assert_ne!(sim.view().summed_by, maker);
    assert_eq!(sim.summary().capacity.healthy, 29);
    assert!(sim.summary().is_fresh(sim.sky.now()));
    assert!(sim.view().valid_for(sim.sky.now()) > Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn a_full_shard_knows_of_room_elsewhere() {
    let mut sim = Sim::new();
    for name in ["s0-a", "s0-b", "s1-a"] {
        sim.start(name, 10);
    }
    sim.start("s2-a", 1);
    sim.seconds(8).await;
    for own in ["s0-a", "s0-b", "s1-a"] {
        let own = ServerId::parse(own).unwrap();
        let named = sim.servers[&own].2.with_room(&own, None, sim.sky.now(), |_| 0);
        let named: BTreeSet<&str> = named.iter().map(|row| row.server_id.as_str()).collect();
        assert_eq!(named, BTreeSet::from(["s2-a"]), "{own}");
    }
}
