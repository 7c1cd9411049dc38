//! A call of a dialler: the caller's 20 ms out, the bot's audio into a buffer that is played in real time, marks given
//! back when they are reached, the buffer thrown away when the platform says so. It must never be kinder than a vendor:
//! a broken rule ends the call with an error.

use std::collections::VecDeque;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use futures_util::{SinkExt, StreamExt};
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_tungstenite::tungstenite::Message;

use crate::wait::within;
use crate::ws::caller::Caller;
use crate::ws::carrier::{Carrier, Got};
use crate::ws::pcm::FRAME;
use crate::ws::socket::{Closing, Socket};

const TICK: Duration = Duration::from_millis(20);

/// What a call was for the dialler.
#[derive(Debug, Default)]
pub struct Called {
    /// What its caller heard, from the first moment on, 8 kHz.
    pub heard: Vec<i16>,
    /// How often the buffer was thrown away while the caller had not heard all of it.
    pub cleared: usize,
    /// Orders to throw it away.
    pub clears: usize,
    /// Marks that were set.
    pub marks: usize,
    /// The most audio that ever waited in the buffer.
    pub longest_buffer: Duration,
    /// The platform said in its protocol's words that the call is over.
    pub hung_up: bool,
    pub closing: Option<Closing>,
}

/// What waits to be played.
#[derive(Debug)]
enum Piece {
    Samples(VecDeque<i16>),
    Mark(String),
}

struct Line<'a> {
    socket: Socket,
    carrier: &'a mut dyn Carrier,
    caller: Caller,
    buffer: VecDeque<Piece>,
    called: Called,
}

/// Holds a call until the platform closes it.
///
/// # Errors
/// It breaks a rule of the protocol, or does not end.
pub async fn talk(socket: Socket, carrier: &mut dyn Carrier, caller: Caller, limit: Duration) -> Result<Called> {
    let name = carrier.name();
    let mut line = Line { socket, carrier, caller, buffer: VecDeque::new(), called: Called::default() };
    within(format!("a call over {name}"), limit, line.run())
        .await
        .and_then(|ran| ran)
        .with_context(|| format!("{name}, after {:.1} s", line.called.heard.len() as f64 / 8000.0))?;
    line.carrier.finish().with_context(|| format!("{name}, at the end"))?;
    Ok(line.called)
}

impl Line<'_> {
    async fn run(&mut self) -> Result<()> {
        let opening = self.carrier.open();
        self.send(opening).await?;
        let begun = Instant::now();
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
        loop {
            tokio::select! {
                _ = ticks.tick() => self.tick(begun.elapsed()).await?,
                message = self.socket.next() => match message {
                    Some(Ok(Message::Close(frame))) => {
                        let told = frame.map(|frame| (u16::from(frame.code), frame.reason.to_string()));
                        let (code, reason) = told.unwrap_or((1005, String::new()));
                        self.called.closing = Some(Closing { code, reason });
                    }
                    Some(Ok(message)) => self.take(message).await?,
                    // Whether it was closed well is judged by whoever asked for the call.
                    Some(Err(_)) | None => return Ok(()),
                },
            }
        }
    }

    async fn tick(&mut self, at: Duration) -> Result<()> {
        let (frame, marks) = self.play();
        self.caller.hear(&frame);
        self.called.heard.extend(&frame);
        let mut messages: Vec<Message> = marks.iter().flat_map(|mark| self.carrier.played(mark)).collect();
        let said = self.caller.say();
        messages.extend(self.carrier.say(&said));
        messages.extend(self.carrier.tick(at));
        self.send(messages).await
    }

    /// 20 ms of what was received, and the marks that they pass.
    fn play(&mut self) -> (Vec<i16>, Vec<String>) {
        let (mut frame, mut marks) = (Vec::with_capacity(FRAME), Vec::new());
        loop {
            match self.buffer.front_mut() {
                Some(Piece::Samples(samples)) if !samples.is_empty() => {
                    if frame.len() == FRAME {
                        break;
                    }
                    frame.extend(samples.drain(..samples.len().min(FRAME - frame.len())));
                }
                Some(Piece::Samples(_)) => {
                    self.buffer.pop_front();
                }
                Some(Piece::Mark(name)) => {
                    marks.push(std::mem::take(name));
                    self.buffer.pop_front();
                }
                None => break,
            }
        }
        frame.resize(FRAME, 0);
        (frame, marks)
    }

    async fn take(&mut self, message: Message) -> Result<()> {
        if matches!(message, Message::Ping(_) | Message::Pong(_)) {
            return Ok(());
        }
        for got in self.carrier.take(message)? {
            match got {
                Got::Audio(samples) => self.receive(samples),
                Got::Mark(name) => {
                    self.called.marks += 1;
                    self.buffer.push_back(Piece::Mark(name));
                }
                Got::Clear => {
                    let answers = self.clear();
                    self.send(answers).await?;
                }
                Got::Reply(answer) => self.send(vec![answer]).await?,
                Got::HangUp => self.called.hung_up = true,
            }
        }
        Ok(())
    }

    fn receive(&mut self, samples: Vec<i16>) {
        match self.buffer.back_mut() {
            Some(Piece::Samples(last)) => last.extend(samples),
            _ => self.buffer.push_back(Piece::Samples(samples.into())),
        }
        let waiting: usize = self.buffer.iter().map(Piece::len).sum();
        self.called.longest_buffer = self.called.longest_buffer.max(Duration::from_micros(waiting as u64 * 125));
    }

    fn clear(&mut self) -> Vec<Message> {
        self.called.clears += 1;
        self.called.cleared += usize::from(self.buffer.iter().any(|piece| piece.len() > 0));
        let unheard: Vec<String> = self.buffer.drain(..).filter_map(Piece::mark).collect();
        self.carrier.cleared(&unheard)
    }

    /// A vendor goes on for a moment after the platform has closed: that is no error.
    async fn send(&mut self, messages: Vec<Message>) -> Result<()> {
        if self.called.closing.is_some() {
            return Ok(());
        }
        for message in messages {
            use tokio_tungstenite::tungstenite::Error;
            match self.socket.send(message).await {
                Ok(()) | Err(Error::ConnectionClosed | Error::AlreadyClosed | Error::Protocol(_) | Error::Io(_)) => {}
                Err(error) => bail!("a message can't be sent: {error}"),
            }
        }
        Ok(())
    }
}

impl Piece {
    fn len(&self) -> usize {
        match self {
            Self::Samples(samples) => samples.len(),
            Self::Mark(_) => 0,
        }
    }

    fn mark(self) -> Option<String> {
        match self {
            Self::Samples(_) => None,
            Self::Mark(name) => Some(name),
        }
    }
}
