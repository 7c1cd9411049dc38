//! Every table, index, queue and bucket of the platform, as data; the deployment template must say the same.
//! It must never hold a row's content, and it must never drop or change what exists.

use domain::ports::QueueName;

use crate::config::{NamesConfig, Shards};

mod ensure;
mod inspect;
pub use ensure::ensure;
pub use inspect::{Found, account, inspect};

/// Where a row's tidying time lies (Unix seconds). For tidying only: readers judge times themselves.
pub const TTL: &str = "ttl";

/// The tables; one an entity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Table {
    ApiKeys,
    Bots,
    BotVersions,
    Trunks,
    /// Which bot a DID belongs to.
    Numbers,
    Calls,
    Deliveries,
    Attempts,
    /// How far the deleting of each bot's data has come.
    Retention,
    /// The health of each bot's endpoints.
    Endpoints,
    /// Last heartbeats, and the sum of them.
    Servers,
    /// The last epoch of each server; outlives its heartbeats.
    Epochs,
    TrunkLeases,
    Idempotency,
    /// What bots and trunks with a ceiling spent by day, and what is set aside for calls under way.
    Spend,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyKind {
    Text,
    Number,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Key {
    pub name: &'static str,
    pub kind: KeyKind,
}

const fn text(name: &'static str) -> Key {
    Key { name, kind: KeyKind::Text }
}

const fn number(name: &'static str) -> Key {
    Key { name, kind: KeyKind::Number }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Projection {
    KeysOnly,
    Include(&'static [&'static str]),
}

/// A global secondary index. Each is sparse: rows without its keys are not in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IndexSpec {
    pub name: &'static str,
    pub hash: Key,
    pub range: Option<Key>,
    pub projection: Projection,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TableSpec {
    pub table: Table,
    /// The name without the deployment's prefix.
    pub name: &'static str,
    pub hash: Key,
    pub range: Option<Key>,
    pub indexes: &'static [IndexSpec],
    /// Whether rows carry [`TTL`].
    pub ttl: bool,
}

/// Calls of a bot on a day, by start.
pub const BY_BOT_DAY: &str = "by_bot_day";
/// Live calls by server.
pub const BY_OPEN_ON: &str = "by_open_on";
/// Ended calls by what is left to do, by when it is due.
pub const BY_STEP: &str = "by_step";
/// Pending deliveries by when they are due; and holds on spend, in their table.
pub const BY_DUE: &str = "by_due";

const fn plain(table: Table, name: &'static str, hash: Key) -> TableSpec {
    TableSpec { table, name, hash, range: None, indexes: &[], ttl: false }
}

pub const TABLES: &[TableSpec] = &[
    plain(Table::ApiKeys, "api-keys", text("key_hash")),
    plain(Table::Bots, "bots", text("bot_id")),
    TableSpec { range: Some(number("version")), ..plain(Table::BotVersions, "bot-versions", text("bot_id")) },
    plain(Table::Trunks, "trunks", text("trunk_id")),
    plain(Table::Numbers, "numbers", text("number")),
    TableSpec {
        indexes: &[
            IndexSpec {
                name: BY_BOT_DAY,
                hash: text("bot_day"),
                range: Some(number("started_at")),
                projection: Projection::KeysOnly,
            },
            IndexSpec {
                name: BY_OPEN_ON,
                hash: text("open_on"),
                range: None,
                projection: Projection::Include(&["owner"]),
            },
            IndexSpec {
                name: BY_STEP,
                hash: text("step"),
                range: Some(number("due_at")),
                projection: Projection::KeysOnly,
            },
        ],
        ttl: true,
        ..plain(Table::Calls, "calls", text("call_id"))
    },
    TableSpec {
        range: Some(text("channel")),
        indexes: &[IndexSpec {
            name: BY_DUE,
            hash: text("due_shard"),
            range: Some(number("due_at")),
            projection: Projection::KeysOnly,
        }],
        ..plain(Table::Deliveries, "deliveries", text("call_id"))
    },
    TableSpec { range: Some(number("n")), ..plain(Table::Attempts, "attempts", text("delivery")) },
    TableSpec { range: Some(text("kind")), ..plain(Table::Retention, "retention", text("bot_id")) },
    TableSpec { range: Some(text("endpoint")), ..plain(Table::Endpoints, "endpoints", text("bot_id")) },
    TableSpec { range: Some(text("server_id")), ttl: true, ..plain(Table::Servers, "servers", number("shard")) },
    plain(Table::Epochs, "epochs", text("server_id")),
    TableSpec { ttl: true, ..plain(Table::TrunkLeases, "trunk-leases", text("trunk_id")) },
    TableSpec { ttl: true, ..plain(Table::Idempotency, "idempotency", text("key")) },
    TableSpec {
        indexes: &[IndexSpec {
            name: BY_DUE,
            hash: text("due_shard"),
            range: Some(number("due_at")),
            projection: Projection::KeysOnly,
        }],
        ttl: true,
        ..plain(Table::Spend, "spend", text("entry"))
    },
];

/// A queue and the dead-letter queue behind it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QueueSpec {
    pub queue: QueueName,
    /// The name without the deployment's prefix.
    pub name: &'static str,
    /// Seconds that the function behind the queue may run.
    pub function_timeout_seconds: u32,
    /// Deliveries of a message before it is a dead letter.
    pub max_receive_count: u32,
}

impl QueueSpec {
    /// A message being handled is hidden this long: six times its function's limit, as AWS advises.
    pub const fn visibility_seconds(&self) -> u32 {
        6 * self.function_timeout_seconds
    }
}

pub const QUEUES: &[QueueSpec] = &[
    QueueSpec { queue: QueueName::CallEnded, name: "call-ended", function_timeout_seconds: 90, max_receive_count: 5 },
    QueueSpec { queue: QueueName::Deliveries, name: "deliveries", function_timeout_seconds: 60, max_receive_count: 5 },
];

/// Seconds that queues and dead-letter queues keep a message: the longest there is.
pub const RETENTION_SECONDS: u32 = 14 * 24 * 3600;

/// The description of a table.
pub fn table(table: Table) -> &'static TableSpec {
    TABLES.iter().find(|spec| spec.table == table).expect("every table is described: a test walks them")
}

/// The description of a queue.
pub fn queue(queue: QueueName) -> &'static QueueSpec {
    QUEUES.iter().find(|spec| spec.queue == queue).expect("every queue is described: a test walks them")
}

/// What the tables, queues and the bucket are called in this deployment, and into how many shards indexes are spread.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Names {
    prefix: String,
    bucket: String,
    pub shards: Shards,
}

impl Names {
    pub fn new(config: &NamesConfig) -> Self {
        let bucket = config.bucket.clone().unwrap_or_else(|| format!("{}calls", config.prefix));
        Self { prefix: config.prefix.clone(), bucket, shards: config.shards.clone().at_least_one() }
    }

    pub fn table(&self, which: Table) -> String {
        format!("{}{}", self.prefix, table(which).name)
    }

    pub fn queue(&self, which: QueueName) -> String {
        format!("{}{}", self.prefix, queue(which).name)
    }

    pub fn dead_letters(&self, which: QueueName) -> String {
        format!("{}-dead", self.queue(which))
    }

    pub fn bucket(&self) -> &str {
        &self.bucket
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_table_and_queue_is_described_once() {
        use Table::*;
        let tables = [
            ApiKeys,
            Bots,
            BotVersions,
            Trunks,
            Numbers,
            Calls,
            Deliveries,
            Attempts,
            Endpoints,
            Retention,
            Servers,
            Epochs,
            TrunkLeases,
            Idempotency,
            Spend,
        ];
        for which in tables {
            assert_eq!(TABLES.iter().filter(|spec| spec.table == which).count(), 1, "{which:?}");
        }
        assert_eq!(TABLES.len(), tables.len());
        for which in [QueueName::CallEnded, QueueName::Deliveries] {
            assert_eq!(queue(which).visibility_seconds(), 6 * queue(which).function_timeout_seconds);
            assert_eq!(queue(which).max_receive_count, 5);
        }
    }

    #[test]
    fn names_carry_the_prefix() {
        let names = Names::new(&NamesConfig { prefix: "rf-test-".into(), ..NamesConfig::default() });
        assert_eq!(names.table(Table::BotVersions), "rf-test-bot-versions");
        assert_eq!(names.queue(QueueName::CallEnded), "rf-test-call-ended");
        assert_eq!(names.dead_letters(QueueName::Deliveries), "rf-test-deliveries-dead");
        assert_eq!(names.bucket(), "rf-test-calls");
        let own = NamesConfig {
            bucket: Some("acme-calls".into()),
            shards: Shards { calls: 0, deliveries: 0, servers: 0 },
            ..NamesConfig::default()
        };
        assert_eq!(Names::new(&own).bucket(), "acme-calls");
        assert_eq!(Names::new(&own).shards, Shards { calls: 1, deliveries: 1, servers: 1 });
    }
}
