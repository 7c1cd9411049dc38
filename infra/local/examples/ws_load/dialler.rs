//! One dialler: connects, says who calls, sends a frame every 20 ms and notes when each of the bot's frames came.

use std::ops::Range;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use futures_util::{SinkExt, StreamExt};
use media::FRAME_SAMPLES;
use tokio::net::TcpStream;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_tungstenite::tungstenite::{Message, Utf8Bytes};
use tokio_tungstenite::{WebSocketStream, client_async};

const FRAME: Duration = Duration::from_millis(20);
/// How long a call may take to come up, and to go down.
const LIMIT: Duration = Duration::from_secs(10);
/// One frame in so many is read whole: it must be 20 ms of audio.
const LOOKED_AT: usize = 50;

/// What all calls have in common.
pub(crate) struct Plan {
    pub url: String,
    /// The frames to send, ready to go, over and over.
    pub messages: Vec<Utf8Bytes>,
    /// When frames count.
    pub window: Range<Instant>,
}

/// What became of a call.
pub(crate) struct Told {
    /// From the first byte to the bot's first frame.
    pub set_up: Duration,
    /// When each of the bot's frames of the window came, since its start.
    pub frames: Vec<Duration>,
    /// How late the dialler itself was with a frame, at worst.
    pub sent_late: Duration,
}

/// The frames of a WAV, or of a second of a tone of 440 Hz, as messages.
pub(crate) fn messages(wav: Option<&Path>) -> anyhow::Result<Vec<Utf8Bytes>> {
    let samples: Vec<i16> = match wav {
        None => {
            (0..8000).map(|n| (8000.0 * (std::f64::consts::TAU * 440.0 * f64::from(n) / 8000.0).sin()) as i16).collect()
        }
        Some(path) => {
            let bytes = std::fs::read(path).with_context(|| format!("{} can't be read", path.display()))?;
            let wav = media::wav::Wav::read(&bytes).with_context(|| format!("{} is no WAV", path.display()))?;
            ensure!(wav.sample_rate == 8000 && wav.channels == 1, "{} is not 8 kHz mono", path.display());
            wav.samples
        }
    };
    ensure!(samples.len() >= FRAME_SAMPLES, "less than 20 ms of audio");
    let message = |frame: &[i16]| {
        let bytes: Vec<u8> = frame.iter().flat_map(|sample| sample.to_le_bytes()).collect();
        Utf8Bytes::from(format!(r#"{{"event":"media","payload":"{}"}}"#, STANDARD.encode(bytes)))
    };
    Ok(samples.chunks_exact(FRAME_SAMPLES).map(message).collect())
}

/// Holds one call until the window is over.
///
/// # Errors
/// When it does not come up, breaks, or is sent something else than 20 ms of audio.
pub(crate) async fn call(n: usize, plan: &Plan) -> anyhow::Result<Told> {
    let began = Instant::now();
    let mut socket = tokio::time::timeout(LIMIT, connect(n, plan)).await.context("no answer to the handshake")??;
    let mut told = Told { set_up: Duration::ZERO, frames: Vec::new(), sent_late: Duration::ZERO };
    told.frames.reserve(plan.window.end.duration_since(plan.window.start).as_millis() as usize / 20 + 16);
    let mut clock = tokio::time::interval(FRAME);
    clock.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let (mut sent, mut came) = (0, 0);
    loop {
        tokio::select! {
            biased;
            due = clock.tick() => {
                let now = Instant::now();
                if plan.window.contains(&now) {
                    told.sent_late = told.sent_late.max(now.duration_since(due));
                }
                if now >= plan.window.end {
                    break;
                }
                ensure!(came > 0 || now.duration_since(began) < LIMIT, "the bot says nothing");
                socket.send(Message::Text(plan.messages[sent % plan.messages.len()].clone())).await?;
                sent += 1;
            }
            message = socket.next() => {
                let now = Instant::now();
                let text = match message.context("the server closed the socket")?? {
                    Message::Text(text) => text,
                    Message::Close(frame) => bail!("the server closed the socket: {frame:?}"),
                    _ => continue,
                };
                if !is_audio(&text) {
                    continue;
                }
                if came == 0 {
                    told.set_up = now.duration_since(began);
                }
                if came % LOOKED_AT == 0 {
                    look_at(&text)?;
                }
                came += 1;
                if plan.window.contains(&now) {
                    told.frames.push(now.duration_since(plan.window.start));
                }
            }
        }
    }
    let _ = tokio::time::timeout(LIMIT, hang_up(socket)).await;
    Ok(told)
}

async fn connect(n: usize, plan: &Plan) -> anyhow::Result<WebSocketStream<TcpStream>> {
    let address = plan.url.strip_prefix("ws://").and_then(|rest| rest.split('/').next()).context("no ws:// URL")?;
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let (mut socket, _) = client_async(&plan.url, stream).await?;
    let who = format!(r#"{{"event":"connected","callerId":"+9190000{n:05}","streamId":"bench-{n}"}}"#);
    socket.send(Message::Text(who.into())).await?;
    socket.send(Message::Text(r#"{"event":"answer"}"#.into())).await?;
    Ok(socket)
}

async fn hang_up(mut socket: WebSocketStream<TcpStream>) -> anyhow::Result<()> {
    socket.send(Message::Text(r#"{"event":"hangup-call","disconnectedBy":"customer"}"#.into())).await?;
    while let Some(Ok(message)) = socket.next().await {
        if message.is_close() {
            break;
        }
    }
    Ok(())
}

/// A look at the start is enough: the name of the event comes first.
fn is_audio(text: &str) -> bool {
    text.get(..40).unwrap_or(text).contains(r#""reverse-media""#)
}

fn look_at(text: &str) -> anyhow::Result<()> {
    let message: serde_json::Value = serde_json::from_str(text)?;
    let audio = STANDARD.decode(message["payload"].as_str().context("a frame without a payload")?)?;
    ensure!(audio.len() == 2 * FRAME_SAMPLES, "a frame of {} bytes", audio.len());
    Ok(())
}
