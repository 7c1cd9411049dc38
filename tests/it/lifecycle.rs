//! A fleet server whose machine is to go: it finishes its calls while its Auto Scaling group waits, and says when it is done.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use ringfleet_tests::audio::Speech;
use ringfleet_tests::crm::Crm;
use ringfleet_tests::ec2::{Ec2, INSTANCE};
use ringfleet_tests::platform::{FleetServer, Platform, ServerSetup, Setup};
use ringfleet_tests::sipp::Sipp;
use ringfleet_tests::subjects::{VARIABLES, bot, trunk};
use ringfleet_tests::wait::until;
use ringfleet_tests::{gate, ports, tools};
use serde_json::json;

const CALL: Duration = Duration::from_secs(90);
const SOON: Duration = Duration::from_secs(60);
const HOLD: &str = "RecordLifecycleActionHeartbeat";
const COMPLETE: &str = "CompleteLifecycleAction";

/// Looks and pleas at the pace of a test.
fn setup(ec2: &Ec2, set: &[&str]) -> ServerSetup {
    let paces = ["periods.lifecycle_look=200ms", "periods.lifecycle_hold=600ms", "periods.drain=60s"];
    let set = Ec2::settings().into_iter().chain(paces.iter().chain(set).map(|&setting| setting.to_owned()));
    ServerSetup { set: set.collect(), environment: ec2.environment(), ..ServerSetup::default() }
}

async fn is_draining(platform: &Platform, id: &str) -> Result<()> {
    until(format!("{id} drains"), SOON, || async {
        let fleet = platform.api.get("/api/v1/admin/fleet").await?;
        let servers = fleet["servers"].as_array().context("no servers")?;
        Ok(servers.iter().any(|server| server["id"] == id && server["draining"] == true).then_some(()))
    })
    .await
}

async fn ends_well(server: &mut FleetServer) -> Result<()> {
    let status = server.ended(CALL).await?;
    ensure!(status.code() == Some(0), "it ended with {status}: {}", server.log());
    ensure!(!server.log().contains("panicked"), "{}", server.log());
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_machine_that_goes_is_waited_for_until_its_call_has_ended() {
    let test = "a_machine_that_goes_is_waited_for_until_its_call_has_ended";
    if !tools::can_run(test, &["sipp", "espeak-ng"]) || !tools::can_hear(test) {
        return;
    }
    let _turn = gate::whole().await;
    let test = async {
        let (crm, ec2) = (Crm::start().await?, Ec2::start("127.0.0.1", None).await?);
        let mut platform = Platform::start(Setup { external: true, ..Setup::default() }).await?;
        let mut server = platform.fleet_server_with("alpha", setup(&ec2, &[])).await?;
        let voice = Speech::espeak("Hello? Yes, I am listening to you.")?;
        let audio = voice.until(100.0).write_ulaw(&platform.folder().join("voice.ulaw"))?;
        let sipp = Sipp::start("talk-until-bye", &[("AUDIO", &audio.display().to_string())])?;
        platform.api.create(&trunk("line", sipp.port), &bot("bot", "line", &crm.url("/crm"))).await?;
        let call = platform.api.dialout("bot", VARIABLES).await?;
        platform.api.reached(&call, "answered", CALL).await?;
        ensure!(ec2.told(HOLD) + ec2.refused() == 0, "a server in service tells its group nothing");

        ec2.terminate(false);
        is_draining(&platform, "alpha").await?;
        // A balancer forgets the machine first: until then nobody waits, and the server asks again.
        until("a refused plea", SOON, || async { Ok((ec2.refused() >= 2).then_some(())) }).await?;
        ec2.wait();
        until("pleas for time", SOON, || async { Ok((ec2.told(HOLD) >= 2).then_some(())) }).await?;
        let live = platform.api.call(&call).await?;
        ensure!(live["state"] == "answered" && ec2.told(COMPLETE) == 0, "the call must go on: {live}");
        // One who stops the service of a machine that goes changes nothing.
        server.signal("TERM")?;
        let seen = ec2.told(HOLD);
        until("pleas after a signal", SOON, || async { Ok((ec2.told(HOLD) >= seen + 2).then_some(())) }).await?;
        let live = platform.api.call(&call).await?;
        ensure!(live["state"] == "answered", "the signal ended the call: {live}");

        platform.api.ask(http::Method::POST, &format!("/api/v1/calls/{call}/hangup"), Some(&json!({}))).await?;
        let result = platform.api.result(&call, CALL).await?;
        ensure!(result["end_reason"] == "api_hangup" && result["recording_status"] == "complete", "{result}");
        ends_well(&mut server).await?;
        ensure!(ec2.told(COMPLETE) == 1, "the group was told {} times that the machine may go", ec2.told(COMPLETE));
        crm.delivered("/crm", CALL).await?;
        platform.stop().await?;
        sipp.finish().await?;
        crm.once("/crm").map(|_| ())
    };
    test.await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_idle_machine_goes_at_once_unless_it_has_to_stay_also_one_that_is_interrupted() {
    let _turn = gate::part().await;
    let test = async {
        let mut platform = Platform::start(Setup { external: true, deaf: true, ..Setup::default() }).await?;
        let ec2 = Ec2::start("127.0.0.1", None).await?;
        let mut server = platform.fleet_server_with("group", setup(&ec2, &[])).await?;
        ec2.terminate(true);
        ends_well(&mut server).await?;
        ensure!(ec2.told(COMPLETE) == 1, "{}", server.log());

        // A balancer may send connections for a while to who was to be forgotten: they find somebody.
        let ec2 = Ec2::start("127.0.0.1", None).await?;
        let mut server = platform.fleet_server_with("stays", setup(&ec2, &["periods.lifecycle_stay=5s"])).await?;
        let begun = Instant::now();
        ec2.terminate(true);
        ends_well(&mut server).await?;
        ensure!(begun.elapsed() >= Duration::from_secs(5), "it went after {:?}", begun.elapsed());
        ensure!(ec2.told(HOLD) >= 2 && ec2.told(COMPLETE) == 1, "{}", server.log());

        // Nobody waits for an interrupted one, however long it would stay: it says so once, and goes when it is stopped.
        let ec2 = Ec2::start("127.0.0.1", None).await?;
        let mut server = platform.fleet_server_with("spot", setup(&ec2, &["periods.lifecycle_stay=10m"])).await?;
        ec2.interrupt("2020-01-01T00:00:00Z");
        until("a refused word", SOON, || async { Ok((ec2.refused() >= 1).then_some(())) }).await?;
        ends_well(&mut server).await?;
        platform.stop().await
    };
    test.await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_takes_its_id_and_its_addresses_from_its_machine() {
    let _turn = gate::part().await;
    let test = async {
        let mut platform = Platform::start(Setup { external: true, deaf: true, ..Setup::default() }).await?;
        // The carrier is told the public address; a call comes by it, and the control plane knows the private one.
        let ec2 = Ec2::start("127.0.0.1", Some("127.0.0.2")).await?;
        let (http, sip) = (ports::one()?, ports::one()?);
        let crm = Crm::start().await?;
        let mut setup = setup(&ec2, &["fleet.addresses=imds"]);
        setup.http = http;
        setup.sip = sip;
        let mut server = platform.fleet_server_with("", setup).await?;
        ensure!(server.ready()["server_id"] == INSTANCE, "{}", server.ready());

        let sipp = Sipp::start("bye-at-once", &[])?;
        platform.api.create(&trunk("line", sipp.port), &bot("bot", "line", &crm.url("/crm"))).await?;
        let call = platform.api.dialout("bot", VARIABLES).await?;
        platform.api.result(&call, CALL).await?;
        let trace = sipp.finish().await?;
        let invite = trace.iter().find(|message| message.start_line().starts_with("INVITE")).context("no INVITE")?;
        let contact = invite.header("Contact").context("no Contact")?;
        ensure!(
            contact.contains(&format!("@127.0.0.2:{sip}")) || contact.contains(&format!(":127.0.0.2:{sip}")),
            "{contact}"
        );
        ensure!(invite.text.contains("IN IP4 127.0.0.2"), "{}", invite.text);
        server.stop().await?;
        platform.stop().await
    };
    test.await.unwrap();
}
