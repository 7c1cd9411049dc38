//! Sockets that break: with a reset in the middle of a sentence, without a word, or because the same stream comes again.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use ringfleet_tests::audio::Speech;
use ringfleet_tests::platform::Setup;
use ringfleet_tests::wav::{audible_seconds, likeness};
use ringfleet_tests::ws::carrier::Native;
use ringfleet_tests::ws::pcm::FRAME;
use ringfleet_tests::ws::proxy::BlackHole;
use ringfleet_tests::ws::socket::{self, Socket, cut_off};
use ringfleet_tests::{gate, tools};
use serde_json::{Value, json};
use tokio::time::{Instant, interval};

use super::clients::client;
use super::{ANSWER, World, talks};

/// How long a peer may be silent, and what a busy machine adds to telling it.
const FOUND: Duration = Duration::from_secs(90);
/// So late a frame may be sent; on a machine that stood still for longer, nobody can say what a recording should hold.
const LATE: Duration = Duration::from_millis(150);
/// Calls that are held for one on which the machine did not stand still; the last one is judged anyhow.
const TRIES: usize = 4;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_socket_that_breaks_ends_its_call_as_the_customers_with_the_whole_recording() {
    let name = "a_socket_that_breaks_ends_its_call_as_the_customers_with_the_whole_recording";
    if tools::can_run(name, &["flite"]) {
        let _turn = gate::part().await;
        cut().await.unwrap();
    }
}

async fn cut() -> Result<()> {
    let bots: Vec<Value> =
        (0..TRIES).flat_map(|n| [talks(&format!("reset-{n}")), talks(&format!("closed-{n}"))]).collect();
    let world = World::start(Setup { deaf: true, ..Setup::default() }, &bots).await?;
    let voice = Speech::flite("I am in the middle of a sentence, and I never come to its end.")?;
    for kind in ["reset", "closed"] {
        for n in 0..TRIES {
            let bot = format!("{kind}-{n}");
            let mut socket = world.answered(&bot, &bot).await?;
            let late = speak(&mut socket, &voice, 3.0).await?;
            if kind == "reset" {
                cut_off(socket)?;
            } else {
                // TCP is closed in good order, the WebSocket is not.
                drop(socket);
            }
            let (push, result) = world.told(&bot).await?;
            let body = push.json()?;
            ensure!(body["ended_by"] == "customer" && body["why"] == "socket_lost", "{bot}: {body}");
            let whole = check_whole(&world, &result, &voice, 3.0).await;
            if whole.is_err() && late > LATE && n + 1 < TRIES {
                tools::note(&format!("{bot}: a frame was {late:?} late; the call is held again"));
                continue;
            }
            whole.with_context(|| format!("{bot}, at most {late:?} late: {result}"))?;
            break;
        }
    }
    world.stop().await
}

/// Sends the first seconds of a voice in real time; by how much a frame was late at the most.
async fn speak(socket: &mut Socket, voice: &Speech, seconds: f64) -> Result<Duration> {
    const TICK: Duration = Duration::from_millis(20);
    let mut ticks = interval(TICK);
    let (begun, mut late) = (Instant::now(), Duration::ZERO);
    for (number, frame) in (0_u32..).zip(voice.samples.chunks_exact(FRAME).take((seconds * 50.0) as usize)) {
        ticks.tick().await;
        late = late.max(begun.elapsed().saturating_sub(TICK * number));
        socket::send(socket, &Native::media(frame)).await?;
    }
    Ok(late)
}

async fn check_whole(world: &World, result: &Value, voice: &Speech, seconds: f64) -> Result<()> {
    ensure!(result["recording_status"] == "complete", "the recording is {}", result["recording_status"]);
    let wav = world.platform.api.recording(result).await?;
    let said = &voice.samples[..(seconds * 8000.0) as usize];
    let (alike, at) = likeness(&wav.left, said);
    ensure!(alike > 0.65, "likeness {alike:.2} to what was said");
    let missing = at + seconds - wav.seconds();
    ensure!(missing < 0.2, "the last {missing:.2} s are missing");
    ensure!(audible_seconds(&wav.right) > 1.0, "the bot is not on the recording");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_is_frozen_or_swallowed_is_found() {
    let name = "a_peer_that_is_frozen_or_swallowed_is_found";
    if tools::can_run(name, &["flite", "python3"]) && tools::has_python(name, "websockets") {
        let _turn = gate::part().await;
        silent().await.unwrap();
    }
}

async fn silent() -> Result<()> {
    let world = World::start(Setup { deaf: true, ..Setup::default() }, &[talks("swallowed"), talks("python")]).await?;
    let hole = BlackHole::start(socket::address(&world.ws)?).await?;
    let url = format!("ws://{}/ws/swallowed", hole.address);
    let mut socket = socket::open(&url, &[("x-api-key", &world.key)]).await?;
    for message in Native::opening("swallowed") {
        socket::send(&mut socket, &message).await?;
    }
    heard_something(&mut socket).await?;

    let folder = tempfile::tempdir()?;
    let says = Speech::silence(110.0).write_wav(&folder.path().join("says.wav"))?;
    let mut frozen = client("python", Path::new(folder.path()), &world, &says, &folder.path().join("heard.wav"))?;
    world.busy_with(2).await?;
    hole.fall_silent();
    frozen.signal("STOP")?;
    for bot in ["swallowed", "python"] {
        let push = world.crm.delivered(&format!("/{bot}"), FOUND).await?;
        let body = push.json()?;
        ensure!(body["ended_by"] == "customer" && body["why"] == "socket_lost", "{bot}: {body}");
    }
    world.busy_with(0).await?;
    frozen.kill().await?;
    drop((socket, hole));
    world.stop().await
}

async fn heard_something(socket: &mut Socket) -> Result<()> {
    let audio = |message: &Value| (message["event"] == "reverse-media").then_some(());
    socket::find(socket, "the bot's first words", ANSWER, audio).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_stream_again_ends_the_older_call_first() {
    let name = "the_same_stream_again_ends_the_older_call_first";
    if tools::can_run(name, &["flite"]) {
        let _turn = gate::part().await;
        again().await.unwrap();
    }
}

async fn again() -> Result<()> {
    let world = World::start(Setup { deaf: true, ..Setup::default() }, &[talks("again")]).await?;
    let mut first = world.answered("again", "one-and-the-same").await?;
    heard_something(&mut first).await?;
    let mut second = world.answered("again", "one-and-the-same").await?;
    let mut other = world.answered("again", "another").await?;
    socket::closing(&mut first, ANSWER).await?;
    let (_, result) = world.told("again").await?;
    ensure!(result["state"] == "ended", "{result}");
    heard_something(&mut second).await?;
    heard_something(&mut other).await?;
    world.busy_with(2).await?;
    for socket in [&mut second, &mut other] {
        socket::send(socket, &json!({"event": "hangup-call", "disconnectedBy": "customer"})).await?;
        let closing = socket::closing(socket, ANSWER).await?;
        ensure!(closing.code == 1000, "closed with {closing:?}");
    }
    world.stop().await
}
