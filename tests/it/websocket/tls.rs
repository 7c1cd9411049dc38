//! `wss://` by the server itself, and a certificate that is renewed while calls go on.

use anyhow::{Context, Result, bail, ensure};
use ringfleet_tests::platform::Setup;
use ringfleet_tests::wait::until;
use ringfleet_tests::ws::carrier::Native;
use ringfleet_tests::ws::socket::{self, Attempt, attempt_over};
use ringfleet_tests::ws::tls::Authority;
use ringfleet_tests::{gate, tools};
use serde_json::{Value, json};

use super::{ANSWER, World, talks};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_is_renewed_while_a_call_goes_on() {
    let name = "a_certificate_is_renewed_while_a_call_goes_on";
    if tools::can_run(name, &["flite"]) {
        let _turn = gate::part().await;
        renewed().await.unwrap();
    }
}

async fn renewed() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let (certificate, key) = (folder.path().join("tls.crt"), folder.path().join("tls.key"));
    let authority = Authority::new()?;
    let first = authority.issue(&certificate, &key)?;
    let settings = [format!("fleet.tls_certificate={}", json!(certificate)), format!("fleet.tls_key={}", json!(key))];
    let settings: Vec<&str> = settings.iter().map(String::as_str).collect();
    let world = World::start(Setup { deaf: true, ..Setup::default() }.with(&settings), &[talks("tls")]).await?;
    ensure!(world.ws.starts_with("wss://"), "the ready line says {}", world.ws);
    let address = socket::address(&world.ws)?;

    let (stream, shown) = authority.connect(&address).await?;
    ensure!(shown == first, "another certificate is shown");
    let headers = [("x-api-key", world.key.as_str())];
    let Attempt::Open(mut call, _) = attempt_over(stream, &world.url("tls"), &headers).await? else {
        bail!("the upgrade was refused")
    };
    for message in Native::opening("tls") {
        socket::send(&mut call, &message).await?;
    }
    let audio = |message: &Value| (message["event"] == "reverse-media").then_some(());
    socket::find(&mut call, "the bot's first words", ANSWER, audio).await?;

    // A pair that doesn't fit together changes nothing.
    std::fs::write(&key, "nonsense")?;
    let (_, shown) = authority.connect(&address).await?;
    ensure!(shown == first, "a broken key changed the certificate");
    let second = authority.issue(&certificate, &key)?;
    ensure!(first != second, "the second certificate is the first");
    until("the new certificate", 2 * ANSWER, || async {
        let (_, shown) = authority.connect(&address).await?;
        ensure!(shown == first || shown == second, "a certificate of nobody");
        Ok((shown == second).then_some(()))
    })
    .await?;
    // Nobody else is believed.
    ensure!(Authority::new()?.connect(&address).await.is_err(), "any certificate would do");

    socket::send(&mut call, &Native::media(&[0; 160])).await?;
    socket::send(&mut call, &json!({"event": "hangup-call", "disconnectedBy": "customer"})).await?;
    let closing = socket::closing(&mut call, ANSWER).await?;
    ensure!(closing.code == 1000, "the call before the renewal closed with {closing:?}");
    let (push, _) = world.told("tls").await.context("the call over TLS")?;
    ensure!(push.json()?["ended_by"] == "customer", "{}", push.json()?);
    world.stop().await
}
