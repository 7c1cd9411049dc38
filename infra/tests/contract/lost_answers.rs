//! A write takes place, its answer is lost, the SDK sends it again: the caller must hear that it was written, once.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use domain::call::{Advance, Finisher, NextStep};
use domain::delivery::{Channel, DeadWhy, Next};
use domain::idempotency::LetGo;
use domain::ports::{CallEntry, Claim, KeyClaim, Owned, Put, Tables};
use infra::aws::connect;
use infra::config::AwsConfig;
use infra::dynamodb::stores;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::world::{World, at, new_call_id, patient, run};
use crate::{bots, calls, deliveries, endpoints, idempotency, keys, servers};

/// Stores behind a wire on which the next answer can be lost.
struct Wire {
    stores: Tables,
    lose: Arc<AtomicBool>,
}

impl Wire {
    /// Loses the answer to the next request.
    fn lose(&self) -> &Tables {
        assert!(!self.lose.swap(true, Ordering::SeqCst), "the answer before was lost");
        &self.stores
    }
}

async fn wire(world: &World) -> Wire {
    let endpoint: url::Url = world.aws.endpoint.clone().unwrap().parse().unwrap();
    let upstream = format!("{}:{}", endpoint.host_str().unwrap(), endpoint.port().unwrap());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address: SocketAddr = listener.local_addr().unwrap();
    let lose = Arc::new(AtomicBool::new(false));
    let losing = Arc::clone(&lose);
    tokio::spawn(async move {
        loop {
            let (client, _) = listener.accept().await.unwrap();
            let server = TcpStream::connect(&upstream).await.unwrap();
            tokio::spawn(carry(client, server, Arc::clone(&losing)));
        }
    });
    let mut clients = connect(&AwsConfig { endpoint: Some(format!("http://{address}")), ..world.aws.clone() }).await;
    clients.dynamodb = patient(&clients.dynamodb);
    Wire { stores: stores(&clients, &world.names), lose }
}

async fn carry(client: TcpStream, server: TcpStream, lose: Arc<AtomicBool>) {
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    tokio::spawn(async move { tokio::io::copy(&mut from_client, &mut to_server).await });
    let mut chunk = [0; 16 * 1024];
    while let Ok(read @ 1..) = from_server.read(&mut chunk).await {
        // An answer has come, so the request took effect; hanging up here loses it.
        if lose.swap(false, Ordering::SeqCst) || to_client.write_all(&chunk[..read]).await.is_err() {
            return;
        }
    }
}

#[test]
fn calls_hear_that_they_were_written() {
    run(async |world| {
        let wire = wire(world).await;
        let row = calls::row();
        let (id, owner) = (row.call_id, row.owner.clone());
        assert_eq!(wire.lose().calls.create(&row).await.unwrap(), Claim::Claimed);
        let fence = calls::fence_of(new_call_id());
        assert_eq!(wire.lose().calls.fence(&fence).await.unwrap(), Claim::Claimed);
        for step in [Advance::Dialing, Advance::Answered { at: at(1) }, Advance::Checkpoint { count: 1 }] {
            assert_eq!(wire.lose().calls.advance(id, &owner, &step).await.unwrap(), Owned::Written, "{step:?}");
        }
        let by = Finisher::Owner(owner);
        assert_eq!(wire.lose().calls.finish(id, &by, &calls::terminal(), at(60)).await.unwrap(), Owned::Written);
        assert_eq!(wire.lose().calls.defer_step(id, NextStep::Announce, at(70)).await.unwrap(), Some(1));
        assert_eq!(wire.lose().calls.warn(id, &["w".to_owned()]).await.ok(), Some(()));
        let moved = wire.lose().calls.take_step(id, &[NextStep::Announce], Some(NextStep::Push), at(80)).await;
        assert_eq!(moved.unwrap(), Owned::Written);
        let Some(CallEntry::Call(read)) = wire.stores.calls.get(id).await.unwrap() else { panic!("no call") };
        assert_eq!(read.warnings.iter().filter(|warning| *warning == "w").count(), 1);
    });
}

#[test]
fn deliveries_hear_that_they_were_written() {
    run(async |world| {
        let wire = wire(world).await;
        let id = new_call_id();
        assert!(wire.lose().deliveries.create(&deliveries::row(id, Channel::Push)).await.unwrap());
        let begun = wire.lose().deliveries.begin_try(id, Channel::Push, 0, at(1), at(60)).await.unwrap();
        assert_eq!(begun, Owned::Written);
        let attempt = deliveries::attempt(id, Channel::Push, 1, Some(200));
        let ended = wire.lose().deliveries.end_try(&attempt, &Next::Delivered).await.unwrap();
        assert_eq!(ended, Owned::Written);
        let seen = wire.stores.deliveries.get(id, Channel::Push).await.unwrap().unwrap();
        assert_eq!(wire.lose().deliveries.resend(&seen, at(3)).await.unwrap(), Owned::Written);
        let put_off = wire.lose().deliveries.put_off(id, Channel::Push, 1, at(3), at(4)).await.unwrap();
        assert_eq!(put_off, Owned::Written);
        let buried = wire.lose().deliveries.bury(id, Channel::Push, 1, at(4), DeadWhy::EndpointDown).await.unwrap();
        assert_eq!(buried, Owned::Written);
        let endpoint = endpoints::row(0);
        assert!(wire.lose().endpoints.put(&endpoint, None).await.unwrap());
        assert!(wire.lose().endpoints.put(&endpoints::next(&endpoint), Some(0)).await.unwrap());
    });
}

#[test]
fn idempotency_keys_hear_that_they_were_written() {
    run(async |world| {
        let wire = wire(world).await;
        for how in [LetGo::Done, LetGo::GiveBack { at: at(1) }, LetGo::Release] {
            let first = idempotency::entry(&idempotency::new_key());
            assert_eq!(wire.lose().idempotency.claim(&first, None).await.unwrap(), KeyClaim::Claimed);
            let second = first.resumed(at(40));
            assert_eq!(wire.lose().idempotency.claim(&second, Some(&first)).await.unwrap(), KeyClaim::Claimed);
            assert_eq!(wire.lose().idempotency.let_go(&second, how).await.unwrap(), Owned::Written, "{how:?}");
        }
    });
}

#[test]
fn entities_hear_that_they_were_written() {
    run(async |world| {
        let wire = wire(world).await;
        let id = crate::world::new_bot_id("bot");
        assert_eq!(wire.lose().bots.put(&bots::bot(&id, 1, &bots::numbers(2)), None).await.unwrap(), Put::Stored);
        let key = keys::row(domain::api_key::BotScope::All);
        assert!(wire.lose().api_keys.create(&key).await.unwrap());
        let server = servers::row(servers::new_id(), 1);
        assert_eq!(wire.lose().servers.heartbeat(&server).await.unwrap(), Owned::Written);
    });
}
