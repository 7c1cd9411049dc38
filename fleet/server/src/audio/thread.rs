//! One media thread: its calls are spread over the sub-slots of a 20 ms cycle, so that their audio leaves evenly.
//! It must never block on anything but its own clock.

use std::collections::HashMap;
use std::io;
use std::thread::sleep;
use std::time::Instant;

use media::StreamStats;
use media::pacer::{Due, Pacer, Slot};
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TryRecvError;

use super::call::{Call, Line};
use super::handle::{Command, Reserved};
use super::rtp::Scratch;
use crate::recording::Recordings;

/// A thread wakes every 2 ms while anybody talks.
const SLOTS: usize = 10;

pub(super) fn spawn(n: usize, inbox: mpsc::Receiver<Command>, recordings: Recordings) -> io::Result<()> {
    std::thread::Builder::new().name(format!("media-{n}")).spawn(move || Thread::new(recordings).run(inbox)).map(|_| ())
}

struct Thread {
    recordings: Recordings,
    slots: [Vec<Call>; SLOTS],
    /// Which slot a call is in.
    places: HashMap<u64, Slot>,
    pacer: Pacer,
    scratch: Scratch,
}

impl Thread {
    fn new(recordings: Recordings) -> Self {
        Self {
            recordings,
            slots: Default::default(),
            places: HashMap::new(),
            pacer: Pacer::new(Instant::now(), SLOTS),
            scratch: Scratch::new(),
        }
    }

    fn run(mut self, mut inbox: mpsc::Receiver<Command>) {
        loop {
            if self.places.is_empty() {
                // Nobody talks: wait for a call instead of turning idle cycles.
                match inbox.blocking_recv() {
                    Some(command) => {
                        self.pacer = Pacer::new(Instant::now(), SLOTS);
                        self.obey(command);
                    }
                    None => return,
                }
            }
            loop {
                match inbox.try_recv() {
                    Ok(command) => self.obey(command),
                    Err(TryRecvError::Empty) => break,
                    Err(TryRecvError::Disconnected) => return,
                }
            }
            if let Some(early) = self.pacer.next_deadline().checked_duration_since(Instant::now()) {
                sleep(early);
            }
            if let Some(due) = self.pacer.poll(Instant::now()) {
                self.step(due);
            }
        }
    }

    fn step(&mut self, due: Due) {
        if due.skipped > 0 {
            metrics::counter!("ringfleet_media_ticks_skipped_total").increment(due.skipped);
        }
        let Self { slots, scratch, recordings, .. } = self;
        for _ in 0..due.ticks {
            for call in &mut slots[due.slot.index()] {
                call.step(scratch, recordings);
            }
        }
    }

    fn obey(&mut self, command: Command) {
        match command {
            Command::Reserve { id, reserved } => self.reserve(id, *reserved),
            Command::Open { id, opening } => self.on_call(id, |call| call.open(&opening)),
            Command::OpenSocket { id, recording } => self.on_call(id, |call| call.open_socket(recording)),
            Command::Close { id, reply } => {
                let _ = reply.send(self.close(id));
            }
            Command::Update { id, to } => self.on_call(id, |call| {
                if let Line::Rtp(line) = &mut call.line {
                    line.update(Instant::now(), to);
                }
            }),
            Command::Pause { id, paused } => self.on_call(id, |call| {
                if let Line::Socket(line) = &mut call.line {
                    line.pause(paused);
                }
            }),
            Command::Play { id, clip } => self.on_call(id, |call| {
                call.on_desk(|desk| {
                    desk.play_clip(&clip);
                });
            }),
            Command::Background { id, clip } => self.on_call(id, |call| call.on_desk(|desk| desk.set_background(clip))),
            Command::Mark { id, mark } => self.on_call(id, |call| {
                call.on_desk(|desk| {
                    desk.mark(mark);
                });
            }),
            Command::Clear { id } => self.on_call(id, Call::clear),
            Command::Dtmf { id, digits } => self.on_call(id, |call| {
                call.on_desk(|desk| {
                    desk.send_dtmf(&digits);
                });
            }),
        }
    }

    fn reserve(&mut self, id: u64, reserved: Reserved) {
        let slot = self.pacer.assign();
        self.places.insert(id, slot);
        self.slots[slot.index()].push(Call::new(id, reserved));
    }

    fn on_call(&mut self, id: u64, act: impl FnOnce(&mut Call)) {
        let Some(slot) = self.places.get(&id) else { return };
        if let Some(call) = self.slots[slot.index()].iter_mut().find(|call| call.id == id) {
            act(call);
        }
    }

    fn close(&mut self, id: u64) -> Option<StreamStats> {
        let slot = self.places.remove(&id)?;
        self.pacer.release(slot);
        let calls = &mut self.slots[slot.index()];
        let at = calls.iter().position(|call| call.id == id)?;
        calls.swap_remove(at).finish(&self.recordings)
    }
}
