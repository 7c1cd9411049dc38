//! Legs: signalling plus an audio port, whatever the protocol. A call sees only their events and its commands.
//! It must never decide when a call ends or what is said in it.

pub(crate) mod sip;

use std::collections::VecDeque;

use call::io::{LegCommand, LegEvent, LegFailure};
use tokio::sync::mpsc;

pub(crate) use sip::SipLegs;

use crate::rtp::AudioPort;

/// Events that a call task may leave unread; a leg makes a handful.
const EVENT_QUEUE: usize = 64;
const COMMAND_QUEUE: usize = 8;

/// One side of a call.
#[derive(Debug)]
pub(crate) struct Leg {
    pub events: mpsc::Receiver<LegEvent>,
    pub commands: mpsc::Sender<LegCommand>,
    pub audio: AudioPort,
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
    (Leg { events: events_in, commands, audio }, LegLine { events, commands: commands_in, waiting: VecDeque::new() })
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

    /// Delivers the last events, then waits until the call has let go of its leg.
    async fn close(mut self) {
        while let Some(event) = self.waiting.pop_front() {
            if self.events.send(event).await.is_err() {
                return;
            }
        }
        while self.commands.recv().await.is_some() {}
    }
}
