//! One socket as frames: what is to be sent waits here while the far side does not read, and never without a bound.
//! It must never know what a frame means, and never hold up what comes in for what can't go out.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use dialect::{Frame, Violation};
use futures_util::{SinkExt, StreamExt};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::{Instant, timeout_at};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Error;
use tokio_tungstenite::tungstenite::error::ProtocolError;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Message, Role, WebSocketConfig};

use super::Limits;
use super::alarm::Alarm;
use super::codes;
use super::flood::Flood;
use super::metered::Metered;
use super::telemetry::Telemetry;

/// Memory that each socket reads into: some 20 ms of audio fit.
const READ_BUFFER: usize = 8 * 1024;
/// What a peer that was cut off in mid-message may still send before it has seen why: closing at once would reset the
/// connection and take the close frame along.
const LAST_READ: usize = 4 * 1024 * 1024;

/// Why no further frame comes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Gone {
    /// The far side said that it closes.
    Closed {
        /// 1005: it gave none.
        code: u16,
    },
    /// Reset, or an end of the stream without a word.
    Broken,
    /// Nothing was heard of it for too long.
    Silent,
    /// It reads nothing.
    Stuck,
    /// It broke a rule.
    Violation(Violation),
}

/// What a look at the socket brought.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Turn {
    Frame(Frame),
    /// The moment that was asked for has come.
    Due,
    Gone(Gone),
}

/// A message that waits to be sent.
#[derive(Debug)]
struct Outgoing {
    message: Message,
    /// When it should leave, if it is audio: audio may be dropped, nothing else.
    due: Option<Instant>,
}

/// A socket, its outbox, and its signs of life.
pub(super) struct Wire<S> {
    socket: WebSocketStream<Metered<S>>,
    outbox: VecDeque<Outgoing>,
    /// Audio among what waits.
    audio: usize,
    /// Handed to the socket and not yet taken by the network: when it should have left.
    leaving: Option<Option<Instant>>,
    /// Since when the far side has taken nothing of what waits.
    blocked: Option<Instant>,
    heard: Instant,
    next_ping: Instant,
    closed: bool,
    flood: Flood,
    limits: Limits,
    alarm: Alarm,
    telemetry: Telemetry,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Wire<S> {
    /// Takes over a socket whose handshake is done.
    pub(super) async fn new(stream: S, limits: Limits, telemetry: Telemetry) -> Self {
        let config = WebSocketConfig::default()
            .read_buffer_size(READ_BUFFER)
            .max_message_size(Some(limits.message))
            .max_frame_size(Some(limits.message));
        let socket = WebSocketStream::from_raw_socket(Metered::new(stream), Role::Server, Some(config)).await;
        let now = Instant::now();
        Self {
            socket,
            outbox: VecDeque::new(),
            audio: 0,
            leaving: None,
            blocked: None,
            heard: now,
            next_ping: now + limits.ping_every,
            closed: false,
            flood: Flood::new(now, limits.messages_per_second),
            limits,
            alarm: Alarm::new(),
            telemetry,
        }
    }

    /// Queues a frame; `due` says that it is audio, and when it should leave. Too much audio drops the oldest.
    pub(super) fn send(&mut self, frame: Frame, due: Option<Instant>) {
        let message = match frame {
            Frame::Text(text) => Message::text(text),
            Frame::Binary(bytes) => Message::binary(bytes),
        };
        if due.is_some() {
            self.audio += 1;
            if self.audio > self.limits.outbox_audio {
                self.drop_oldest_audio();
            }
        }
        self.outbox.push_back(Outgoing { message, due });
    }

    fn drop_oldest_audio(&mut self) {
        if let Some(oldest) = self.outbox.iter().position(|waiting| waiting.due.is_some()) {
            self.outbox.remove(oldest);
            self.audio -= 1;
            self.telemetry.dropped("peer_slow", 1);
        }
    }

    /// Takes back the audio that waits: nobody shall hear it.
    pub(super) fn drop_audio(&mut self) {
        self.outbox.retain(|waiting| waiting.due.is_none());
        self.audio = 0;
    }

    /// Whether something waits that the far side has not taken.
    pub(super) fn is_behind(&self) -> bool {
        self.leaving.is_some() || !self.outbox.is_empty()
    }

    /// Sends what waits, and returns when there is a frame, at `until`, or when the socket is gone. May be dropped and
    /// called again at any time.
    pub(super) async fn turn(&mut self, until: Option<Instant>) -> Turn {
        poll_fn(|cx| self.poll(cx, until)).await
    }

    fn poll(&mut self, cx: &mut Context<'_>, until: Option<Instant>) -> Poll<Turn> {
        let mut now = Instant::now();
        loop {
            if now >= self.next_ping {
                self.next_ping = now + self.limits.ping_every;
                self.outbox.push_back(Outgoing { message: Message::Ping(Bytes::new()), due: None });
            }
            if let Err(gone) = self.poll_send(cx, now) {
                return Poll::Ready(Turn::Gone(gone));
            }
            match self.poll_receive(cx, now) {
                Poll::Ready(Ok(Some(frame))) => return Poll::Ready(Turn::Frame(frame)),
                Poll::Ready(Ok(None)) => continue,
                Poll::Ready(Err(gone)) => return Poll::Ready(Turn::Gone(gone)),
                Poll::Pending => {}
            }
            if now >= self.heard + self.limits.dead_after {
                return Poll::Ready(Turn::Gone(Gone::Silent));
            }
            if self.blocked.is_some_and(|since| now >= since + self.limits.stuck_after) {
                return Poll::Ready(Turn::Gone(Gone::Stuck));
            }
            if until.is_some_and(|until| now >= until) {
                return Poll::Ready(Turn::Due);
            }
            ready!(self.alarm.poll(cx, self.wake(until)));
            now = Instant::now();
        }
    }

    /// The next moment at which something is to be done without a frame.
    fn wake(&self, until: Option<Instant>) -> Instant {
        let own = self.next_ping.min(self.heard + self.limits.dead_after);
        let stuck = self.blocked.map(|since| since + self.limits.stuck_after);
        [until, stuck].into_iter().flatten().fold(own, Instant::min)
    }

    /// Hands messages to the network one by one: never more than one of them is out of our hands.
    fn poll_send(&mut self, cx: &mut Context<'_>, now: Instant) -> Result<(), Gone> {
        loop {
            if let Some(due) = self.leaving {
                match self.socket.poll_flush_unpin(cx) {
                    Poll::Ready(Ok(())) => {
                        if let Some(due) = due {
                            self.telemetry.left(now.saturating_duration_since(due));
                        }
                        (self.leaving, self.blocked) = (None, None);
                    }
                    Poll::Ready(Err(_)) => return Err(Gone::Broken),
                    Poll::Pending => {
                        self.blocked.get_or_insert(now);
                        return Ok(());
                    }
                }
            }
            let Some(next) = self.outbox.pop_front() else { return Ok(()) };
            if next.due.is_some() {
                self.audio -= 1;
            }
            self.socket.start_send_unpin(next.message).map_err(|_| Gone::Broken)?;
            self.leaving = Some(next.due);
        }
    }

    /// `Ok(None)`: something that is no frame for anybody else.
    fn poll_receive(&mut self, cx: &mut Context<'_>, now: Instant) -> Poll<Result<Option<Frame>, Gone>> {
        let polled = self.socket.poll_next_unpin(cx);
        let bytes = self.socket.get_mut().taken();
        if bytes > 0 {
            self.heard = now;
        }
        let messages = u32::from(polled.is_ready());
        if let Err(violation) = self.flood.note(now, messages, bytes) {
            return Poll::Ready(Err(Gone::Violation(violation)));
        }
        Poll::Ready(match ready!(polled) {
            Some(Ok(Message::Text(text))) => Ok(Some(Frame::Text(text.to_string()))),
            Some(Ok(Message::Binary(bytes))) => Ok(Some(Frame::Binary(bytes))),
            Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => Ok(None),
            Some(Ok(Message::Close(frame))) => {
                self.closed = true;
                Err(Gone::Closed { code: frame.map_or(codes::NO_STATUS, |frame| frame.code.into()) })
            }
            Some(Err(error)) => Err(gone(&error, self.limits.message)),
            None => Err(Gone::Broken),
        })
    }

    /// Sends what waits but for audio that nobody will hear, then the close frame, and waits a little for the far side
    /// to be done too.
    pub(super) async fn close(mut self, close: &codes::Close) {
        let until = Instant::now() + self.limits.close_wait;
        // Whoever does not read or is gone learns nothing any more.
        let _ = timeout_at(until, self.say_goodbye(close)).await;
        let _ = timeout_at(until, self.socket.get_mut().shutdown()).await;
    }

    async fn say_goodbye(&mut self, close: &codes::Close) -> Result<(), Error> {
        if !self.closed {
            self.flush().await?;
            let frame = CloseFrame { code: CloseCode::from(close.code), reason: (&*close.reason).into() };
            self.socket.send(Message::Close(Some(frame))).await?;
        }
        while let Some(message) = self.socket.next().await {
            self.closed |= message?.is_close();
        }
        if self.closed {
            return Ok(());
        }
        // Reading broke off in a message: the rest of it has to be taken, or the close frame is lost with the connection.
        let (mut left, mut scratch) = (LAST_READ, [0; READ_BUFFER]);
        let raw = self.socket.get_mut();
        while left > 0 {
            match raw.read(&mut scratch).await? {
                0 => break,
                read => left = left.saturating_sub(read),
            }
        }
        Ok(())
    }

    /// Sends all that waits, reading meanwhile: a far side that writes before it reads must not hold both up.
    async fn flush(&mut self) -> Result<(), Error> {
        poll_fn(|cx| {
            let now = Instant::now();
            if self.poll_send(cx, now).is_err() {
                return Poll::Ready(Err(Error::ConnectionClosed));
            }
            if !self.is_behind() {
                return Poll::Ready(Ok(()));
            }
            match self.socket.poll_next_unpin(cx) {
                Poll::Ready(Some(Ok(_))) => {
                    cx.waker().wake_by_ref();
                    Poll::Pending
                }
                Poll::Ready(_) | Poll::Pending => Poll::Pending,
            }
        })
        .await
    }
}

/// What an error of the WebSocket layer says of the far side.
fn gone(error: &Error, most: usize) -> Gone {
    let (code, reason) = match error {
        Error::Capacity(_) => (codes::TOO_BIG, format!("a message has at most {most} bytes")),
        Error::Utf8(_) => (codes::NOT_TEXT, "a text message is UTF-8".to_owned()),
        Error::Protocol(ProtocolError::ResetWithoutClosingHandshake | ProtocolError::HandshakeIncomplete) => {
            return Gone::Broken;
        }
        // The library's words name rules of RFC 6455 and nothing that was sent.
        Error::Protocol(broken) => (codes::PROTOCOL, format!("RFC 6455: {broken}")),
        _ => return Gone::Broken,
    };
    Gone::Violation(codes::violation(code, reason))
}
