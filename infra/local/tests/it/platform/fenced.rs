//! A call that was refused for good before its server was asked: it leaves nothing of the customer's.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use domain::call::FenceRow;
use domain::fleet::{DialAnswer, DialCommand, Refusal};
use domain::ids::{BotId, CallId, KeyId, ServerId, TrunkId};
use domain::objects::CallObjects;
use domain::ports::{Claim, Clock, Entropy, Fleet, Objects};
use domain::secret::Personal;
use infra::clock::{OsEntropy, SystemClock};
use infra::config::NamesConfig;
use infra::fleet_client::FleetClient;
use infra::s3::S3Objects;
use infra::schema::Names;
use infra::secrets::DeploymentSecrets;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::json;
use serde_json::value::RawValue;

use super::calls::{clients, tables};
use super::process::World;
use super::uas::Uas;

fn new_call_id(now: Timestamp) -> CallId {
    let mut random = [0; 10];
    OsEntropy.fill(&mut random);
    CallId::from_parts(now.as_millisecond().unsigned_abs(), random)
}

#[tokio::test]
async fn the_variables_of_a_fenced_call_leave_the_bucket() {
    let world = World::new();
    let running = world.up(&[]).await;
    let phone = Uas::bind().await;
    running.admin().create_bot(phone.port(), json!({})).await;
    let tables = tables(&running).await;
    let objects = S3Objects::new(clients(&running).await.s3, &Names::new(&NamesConfig::default()));
    let server = tables.servers.get(&ServerId::parse("local").unwrap()).await.unwrap().unwrap();
    let secrets = DeploymentSecrets::file(Path::new(&running.text("fleet_secret_file")));
    let fleet = FleetClient::new(Arc::new(secrets), Arc::new(SystemClock)).unwrap();

    for fenced in [true, false] {
        let now = SystemClock.now();
        let call_id = new_call_id(now);
        if fenced {
            let fence = FenceRow { call_id, refused: true, fenced_at: now };
            assert_eq!(tables.calls.fence(&fence).await.unwrap(), Claim::Claimed);
        }
        let command = DialCommand {
            call_id,
            server_id: server.server_id.clone(),
            epoch: server.epoch,
            bot_id: BotId::parse("b").unwrap(),
            bot_version: 1,
            trunk_id: TrunkId::parse("t").unwrap(),
            to: Personal("+919876543210".to_owned()),
            from: Personal("+911234567890".to_owned()),
            variables: Some(RawValue::from_string(r#"{"name":"Asha"}"#.to_owned()).unwrap()),
            key_id: KeyId::parse("key_test").unwrap(),
            deadline: now + Duration::from_secs(60),
            warnings: Vec::new(),
        };
        let expect = if fenced { DialAnswer::Refused(Refusal::Fenced) } else { DialAnswer::Accepted };
        assert_eq!(fleet.dial(&server, &command, Duration::from_secs(60)).await.unwrap(), expect);
        // Midnight may be in between.
        let mut kept = false;
        for day in [now, SystemClock.now()] {
            let date = day.to_zoned(TimeZone::UTC).date();
            kept |= objects.exists(&CallObjects { date, call_id }.variables()).await.unwrap();
        }
        assert_eq!(kept, !fenced, "a call that is has its variables, one that never was has none");
    }
}
