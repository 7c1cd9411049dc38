//! Legs: signalling plus an audio port, whatever the protocol. A call sees only their events and its commands.
//! It must never decide when a call ends or what is said in it.

pub(crate) mod sip;
pub(crate) mod websocket;

use std::collections::VecDeque;

use call::io::{LegCommand, LegEvent, LegFailure};
use domain::ids::CallId;
use tokio::sync::{mpsc, oneshot};

pub(crate) use sip::SipLegs;

use crate::audio::AudioPort;
use crate::recording::RecordingId;

/// Events that a call task may leave unread; a leg makes a handful.
const EVENT_QUEUE: usize = 64;
const COMMAND_QUEUE: usize = 8;

/// One side of a call.
#[derive(Debug)]
pub(crate) struct Leg {
    pub events: mpsc::Receiver<LegEvent>,
    pub commands: mpsc::Sender<LegCommand>,
    pub audio: AudioPort,
    /// Of a leg that came in: tells it that its call was taken. Dropped without a word, it was not.
    pub taken: Option<oneshot::Sender<Taken>>,
}

/// What a leg that came in learns once its call's row stands: before that it may neither ring nor answer.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Taken {
    pub call_id: CallId,
    /// Where the talk is recorded, from the answer on.
    pub recording: Option<RecordingId>,
}

impl Leg {
    /// A leg that failed before it began: it has said so, and nothing else will come.
    pub(crate) fn stillborn(failure: LegFailure) -> Self {
        let (leg, mut line) = line(AudioPort::closed());
        line.tell(LegEvent::Failed(failure));
        leg
    }
}

/// A leg's own end of its channels.
#[derive(Debug)]
struct LegLine {
    events: mpsc::Sender<LegEvent>,
    commands: mpsc::Receiver<LegCommand>,
    /// Kept back while the call task is behind, in order; bounded by what a leg can say in one call.
    waiting: VecDeque<LegEvent>,
}

fn line(audio: AudioPort) -> (Leg, LegLine) {
    let (events, events_in) = mpsc::channel(EVENT_QUEUE);
    let (commands, commands_in) = mpsc::channel(COMMAND_QUEUE);
    let leg = Leg { events: events_in, commands, audio, taken: None };
    (leg, LegLine { events, commands: commands_in, waiting: VecDeque::new() })
}

/// As [`line`], for a leg that came in: it rings and answers only after it was taken, and refuses its caller when the
/// sender is dropped.
fn arriving(audio: AudioPort) -> (Leg, LegLine, oneshot::Receiver<Taken>) {
    let (mut leg, line) = line(audio);
    let (taken, is_taken) = oneshot::channel();
    leg.taken = Some(taken);
    (leg, line, is_taken)
}

impl LegLine {
    /// Passes an event on without waiting; what finds no room goes with the next.
    fn tell(&mut self, event: LegEvent) {
        if self.waiting.len() < EVENT_QUEUE {
            self.waiting.push_back(event);
        }
        while let Some(event) = self.waiting.pop_front() {
            if let Err(mpsc::error::TrySendError::Full(event)) = self.events.try_send(event) {
                self.waiting.push_front(event);
                return;
            }
        }
    }

    /// Waits until the call has room for what was kept back.
    async fn deliver(&mut self) {
        while let Some(event) = self.waiting.pop_front() {
            if self.events.send(event).await.is_err() {
                return;
            }
        }
    }

    /// Delivers the last events, then waits until the call has let go of its leg.
    async fn close(mut self) {
        self.deliver().await;
        while self.commands.recv().await.is_some() {}
    }
}
