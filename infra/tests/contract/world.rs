//! The services under test, started once, on a runtime that outlives each test.

use std::path::Path;
use std::sync::LazyLock;
use std::time::Duration;

use aws_sdk_dynamodb::config::timeout::TimeoutConfig;
use domain::ids::{BotId, CallId};
use domain::ports::{Entropy, Tables};
use infra::aws::{Clients, connect};
use infra::clock::OsEntropy;
use infra::config::{AwsConfig, NamesConfig, Shards};
use infra::dynamodb::stores;
use infra::schema::{Names, ensure};
use jiff::Timestamp;
use secrecy::SecretString;
use tokio::runtime::Runtime;

pub(crate) struct World {
    /// Where the services are; the endpoint is always named.
    pub(crate) aws: AwsConfig,
    pub(crate) clients: Clients,
    pub(crate) names: Names,
    pub(crate) stores: Tables,
}

impl World {
    /// Whether the services are those that local mode brings along: tables, queues and objects.
    #[expect(clippy::unused_self, reason = "a question about this world")]
    pub(crate) fn is_embedded(&self) -> bool {
        std::env::var_os("AWS_ENDPOINT_URL").is_none()
    }
}

static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| Runtime::new().unwrap());
static WORLD: LazyLock<World> = LazyLock::new(|| RUNTIME.block_on(start()));

/// Runs a test; connections are shared, so all tests are on one runtime.
pub(crate) fn run<Test: AsyncFnOnce(&'static World)>(test: Test) {
    let world = &*WORLD;
    RUNTIME.block_on(crate::gaps::part(&crate::gaps::name_of::<Test>(), test(world)));
}

async fn start() -> World {
    let aws = match std::env::var("AWS_ENDPOINT_URL") {
        Ok(endpoint) => AwsConfig { endpoint: Some(endpoint), ..AwsConfig::default() },
        Err(_) => embedded().await,
    };
    let mut clients = connect(&aws).await;
    clients.dynamodb = patient(&clients.dynamodb);
    let shards = Shards { calls: 3, deliveries: 3, servers: 3 };
    let names = Names::new(&NamesConfig { prefix: format!("rf-{:08x}-", OsEntropy.dice()), bucket: None, shards });
    ensure(&clients, &names).await.unwrap();
    World { stores: stores(&clients, &names), aws, clients, names }
}

/// The same tables, waited for: a disk that stands still for some seconds is no answer of theirs.
pub(crate) fn patient(client: &aws_sdk_dynamodb::Client) -> aws_sdk_dynamodb::Client {
    let minute = Duration::from_secs(60);
    let timeouts = TimeoutConfig::builder().connect_timeout(minute).operation_attempt_timeout(minute);
    let timeouts = timeouts.operation_timeout(minute * 2).build();
    aws_sdk_dynamodb::Client::from_conf(client.config().to_builder().timeout_config(timeouts).build())
}

async fn embedded() -> AwsConfig {
    let data = Path::new(env!("CARGO_TARGET_TMPDIR")).join("contract");
    // Left by the run before.
    let _ = std::fs::remove_dir_all(&data);
    let config = local::embedded::EmbeddedConfig {
        data,
        listen: "127.0.0.1:0".parse().unwrap(),
        access_key: "test".into(),
        secret_key: "test".into(),
    };
    let services = local::embedded::start(config).await.unwrap();
    let endpoint = services.endpoint.clone();
    // They end with the process.
    std::mem::forget(services);
    AwsConfig {
        endpoint: Some(endpoint),
        region: Some("eu-central-1".into()),
        access_key_id: Some("test".into()),
        secret_access_key: Some(SecretString::from("test")),
    }
}

#[test]
fn the_schema_can_be_ensured_again() {
    run(async |world| ensure(&world.clients, &world.names).await.unwrap());
}

pub(crate) fn new_call_id() -> CallId {
    let mut random = [0; 10];
    OsEntropy.fill(&mut random);
    CallId::from_parts(1_795_341_600_000, random)
}

pub(crate) fn new_bot_id(name: &str) -> BotId {
    BotId::parse(format!("{name}-{:08x}", OsEntropy.dice())).unwrap()
}

/// When the tests began; rows of another day could be tidied away under them.
static BEGAN: LazyLock<i64> = LazyLock::new(|| Timestamp::now().as_second());

/// A moment, in seconds from the beginning of the tests.
pub(crate) fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(*BEGAN + seconds).unwrap()
}
