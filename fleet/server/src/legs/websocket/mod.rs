//! WebSocket legs: one task holds one dialler's socket, from the upgrade to the last byte of the close.
//! It must never write anything down before the dialler has said who calls, and never let a far side that does not read,
//! or sends nonsense, cost more than its own call.
//!
//! The dialler's words are the `dialect` crate's, the pace of the bot's audio is the media thread's, and what is said is
//! the call's: this folder carries bytes between them, in both directions, in order and within bounds.

mod alarm;
mod cadence;
mod codes;
mod ears;
mod end;
mod flood;
mod held;
mod line;
mod marks;
mod metered;
mod opening;
mod telemetry;
#[cfg(test)]
mod tests;
mod voice;
mod wire;

use std::future::Future;
use std::time::Duration;

use dialect::{Opening, Settings};
use domain::fleet::Refusal;
use domain::ids::CallId;
use jiff::Timestamp;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use crate::audio::{AudioPort, MediaHandle, SocketLine};
use crate::legs::Leg;
use crate::ws::Stream;

/// Bounds of one socket.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// Bytes of a message.
    pub message: usize,
    /// Messages that may come in a second, over a few seconds.
    pub messages_per_second: u32,
    /// Frames of audio that wait for a far side that does not read; beyond, the oldest is dropped.
    pub outbox_audio: usize,
    pub ping_every: Duration,
    /// Without any sign of life for this long, the far side is gone.
    pub dead_after: Duration,
    /// A far side that reads nothing for this long is gone.
    pub stuck_after: Duration,
    /// What closing in order may take.
    pub close_wait: Duration,
    /// How long a dialler that was told to hang up may take to do it itself.
    pub hang_up_wait: Duration,
}

impl Limits {
    /// With at most so many messages a second.
    pub(crate) fn new(messages_per_second: u32) -> Self {
        Self {
            message: dialect::MAX_MESSAGE,
            messages_per_second,
            outbox_audio: 250,
            ping_every: Duration::from_secs(10),
            dead_after: Duration::from_secs(30),
            stuck_after: Duration::from_secs(10),
            close_wait: Duration::from_secs(2),
            hang_up_wait: Duration::from_secs(1),
        }
    }
}

/// What a socket needs of its server to become a call.
pub(crate) trait Reception: Send {
    /// The audio of a call without RTP.
    fn audio(&self) -> (MediaHandle, AudioPort, SocketLine);

    /// Makes this the only socket of the dialler's stream: an older one ends first.
    fn claim(&self, stream: &str) -> impl Future<Output = Stream> + Send;

    /// Writes the call down and starts it. Its slot goes along with it.
    fn take(self, opening: &Opening, leg: Leg) -> impl Future<Output = Result<CallId, Refusal>> + Send;
}

/// What is known of a socket when its handshake is done.
#[derive(Debug)]
pub(crate) struct Greeting {
    pub settings: Settings,
    /// Now, by the wall clock.
    pub wall: Timestamp,
    pub limits: Limits,
    /// The server ends.
    pub going: CancellationToken,
}

/// Holds a dialler's socket until it is closed.
pub(crate) async fn hold<S, R>(stream: S, greeting: Greeting, reception: R)
where
    S: AsyncRead + AsyncWrite + Unpin + Send,
    R: Reception,
{
    let Greeting { settings, wall, limits, going } = greeting;
    let mut line = line::Line::open(stream, settings, wall, limits).await;
    match opening::wait(&mut line, &going).await {
        Ok(opening) => {
            let span = tracing::info_span!("socket", dialect = %opening.dialect);
            held::hold(line, *opening, reception, limits, &going).instrument(span).await;
        }
        Err(end) => {
            tracing::info!(reason = end.word, "a socket ended before it was a call");
            telemetry::ended(end.word);
            line.close(end.close.as_ref()).await;
        }
    }
}
