//! One media thread: its calls are spread over the sub-slots of a 20 ms cycle, so that their packets leave evenly.
//! It must never block on anything but its own clock.

use std::collections::HashMap;
use std::io;
use std::net::UdpSocket;
use std::thread::sleep;
use std::time::Instant;

use media::pacer::{Due, Pacer, Slot};
use media::{FRAME_SAMPLES, MAX_PACKET, Stream, StreamConfig, StreamEvent};
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::{TryRecvError, TrySendError};

use super::batch::Batch;
use super::{Command, Far, Opening, Reserved};
use crate::recording::{RecordingId, Recordings};

/// A thread wakes every 2 ms while anybody talks.
const SLOTS: usize = 10;

pub(super) fn spawn(n: usize, inbox: mpsc::Receiver<Command>, recordings: Recordings) -> io::Result<()> {
    std::thread::Builder::new().name(format!("media-{n}")).spawn(move || Thread::new(recordings).run(inbox)).map(|_| ())
}

struct Call {
    id: u64,
    socket: UdpSocket,
    /// Held for its port only.
    _rtcp: UdpSocket,
    far: mpsc::Sender<Far>,
    events: mpsc::Sender<StreamEvent>,
    stream: Option<Stream>,
    recording: Option<RecordingId>,
    /// Media time of the next step, and of the step at which the call was answered.
    next_position: u64,
    opened_at: u64,
}

struct Thread {
    recordings: Recordings,
    slots: [Vec<Call>; SLOTS],
    /// Which slot a call is in.
    places: HashMap<u64, Slot>,
    pacer: Pacer,
    batch: Batch,
    packet: [u8; MAX_PACKET],
}

impl Thread {
    fn new(recordings: Recordings) -> Self {
        Self {
            recordings,
            slots: Default::default(),
            places: HashMap::new(),
            pacer: Pacer::new(Instant::now(), SLOTS),
            batch: Batch::new(),
            packet: [0; MAX_PACKET],
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
        let Self { slots, batch, packet, recordings, .. } = self;
        for _ in 0..due.ticks {
            for call in &mut slots[due.slot.index()] {
                call.step(batch, packet, recordings);
            }
        }
    }

    fn obey(&mut self, command: Command) {
        match command {
            Command::Reserve { id, reserved } => self.reserve(id, *reserved),
            Command::Open { id, opening } => {
                if let Some(call) = self.call(id) {
                    call.open(&opening);
                }
            }
            Command::Close { id, reply } => {
                let _ = reply.send(self.close(id));
            }
            Command::Update { id, to } => self.on_stream(id, |stream| stream.update_remote(Instant::now(), to)),
            Command::Play { id, clip } => self.on_stream(id, |stream| {
                stream.play_clip(&clip);
            }),
            Command::Background { id, clip } => self.on_stream(id, |stream| stream.set_background(clip)),
            Command::Mark { id, mark } => self.on_stream(id, |stream| {
                stream.mark(mark);
            }),
            Command::Clear { id } => self.on_stream(id, |stream| {
                stream.clear();
            }),
            Command::Dtmf { id, digits } => self.on_stream(id, |stream| {
                stream.send_dtmf(&digits);
            }),
        }
    }

    fn reserve(&mut self, id: u64, reserved: Reserved) {
        let slot = self.pacer.assign();
        self.places.insert(id, slot);
        self.slots[slot.index()].push(Call {
            id,
            socket: reserved.sockets.rtp,
            _rtcp: reserved.sockets.rtcp,
            far: reserved.far,
            events: reserved.events,
            stream: None,
            recording: None,
            next_position: 0,
            opened_at: 0,
        });
    }

    fn call(&mut self, id: u64) -> Option<&mut Call> {
        let slot = *self.places.get(&id)?;
        self.slots[slot.index()].iter_mut().find(|call| call.id == id)
    }

    fn on_stream(&mut self, id: u64, act: impl FnOnce(&mut Stream)) {
        if let Some(stream) = self.call(id).and_then(|call| call.stream.as_mut()) {
            act(stream);
        }
    }

    fn close(&mut self, id: u64) -> Option<media::StreamStats> {
        let slot = self.places.remove(&id)?;
        self.pacer.release(slot);
        let calls = &mut self.slots[slot.index()];
        let at = calls.iter().position(|call| call.id == id)?;
        let mut call = calls.swap_remove(at);
        let stream = call.stream.as_mut()?;
        stream.finish();
        let stats = stream.stats();
        call.pass_on(&self.recordings);
        Some(stats)
    }
}

impl Call {
    /// Opens the stream; early media that became the call goes on with the same SSRC and sequence, and counts its
    /// positions from here.
    fn open(&mut self, opening: &Opening) {
        let now = Instant::now();
        self.recording = opening.recording;
        if let Some(stream) = &mut self.stream {
            stream.update_remote(now, opening.to.clone());
            if opening.recording.is_some() {
                stream.start_recording();
            }
            self.opened_at = self.next_position;
            return;
        }
        let config = StreamConfig {
            remote: opening.to.clone(),
            media_cidrs: opening.media_cidrs.clone(),
            ssrc: opening.ssrc,
            first_sequence: opening.first_sequence,
            first_timestamp: opening.first_timestamp,
            record: opening.recording.is_some(),
        };
        self.stream = Some(Stream::new(now, config));
    }

    fn step(&mut self, batch: &mut Batch, packet: &mut [u8; MAX_PACKET], recordings: &Recordings) {
        let Some(stream) = &mut self.stream else { return };
        let now = Instant::now();
        if let Err(error) = batch.receive(&self.socket, |source, bytes| stream.handle_rtp(now, source, bytes)) {
            tracing::debug!(%error, "RTP socket");
        }
        let mut far =
            Far { samples: [0; FRAME_SAMPLES], near: [0; FRAME_SAMPLES], kind: media::FarFrame::Nothing, position: 0 };
        let tick = stream.tick(now, &mut far.samples, packet);
        if let Some((length, to)) = tick.send {
            // A packet that does not go out is a lost packet.
            let _ = self.socket.send_to(&packet[..length], to);
        }
        far.kind = tick.far;
        self.next_position = tick.position + FRAME_SAMPLES as u64;
        far.position = tick.position.saturating_sub(self.opened_at);
        far.near = *stream.near_frame();
        // Closed means that nobody wants to hear: no loss. Full: this frame is lost, the gap shows in `position`.
        if let Err(TrySendError::Full(_)) = self.far.try_send(far) {
            metrics::counter!("ringfleet_far_frames_dropped_total").increment(1);
        }
        self.pass_on(recordings);
    }

    /// Hands on what the stream has ready: events to the call, blocks to the writer.
    fn pass_on(&mut self, recordings: &Recordings) {
        let Some(stream) = &mut self.stream else { return };
        while let Some(event) = stream.poll_event() {
            if let Err(TrySendError::Full(_)) = self.events.try_send(event) {
                metrics::counter!("ringfleet_media_events_dropped_total").increment(1);
            }
        }
        while let Some(block) = stream.poll_recording() {
            let Some(id) = self.recording else { continue };
            if let Err(block) = recordings.write(id, block) {
                metrics::counter!("ringfleet_recording_blocks_dropped_total").increment(1);
                stream.recycle_recording(block);
            }
        }
    }
}
