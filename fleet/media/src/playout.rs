//! What the bot says next: a bounded queue of audio with marks in it, cut in frames of 20 ms.
//!
//! Never copies shared audio: a [`Clip`] is handed from call to call, with its encoded form
//! beside it, so that a fixed prompt costs a memory copy a frame and no coding.

use crate::{Codec, FRAME_SAMPLES};
use std::collections::VecDeque;
use std::sync::Arc;

/// Most audio that waits to be played: 60 s.
pub const MAX_QUEUED: usize = 60 * 8000;
/// Most marks that wait.
pub const MAX_MARKS: usize = 256;
/// Samples over which a cut is faded, so that barge-in doesn't click: 5 ms.
const FADE: usize = 40;

/// Immutable 8 kHz audio, cheap to clone.
#[derive(Debug, Clone)]
pub struct Clip {
    samples: Arc<[i16]>,
    encoded: Option<(Codec, Arc<[u8]>)>,
}

impl Clip {
    /// Takes samples that are encoded when they are sent.
    pub fn new(samples: impl Into<Arc<[i16]>>) -> Self {
        Self { samples: samples.into(), encoded: None }
    }

    /// Encodes at once, for audio that is played often.
    pub fn encoded(samples: impl Into<Arc<[i16]>>, codec: Codec) -> Self {
        let samples = samples.into();
        let mut bytes = vec![0; samples.len()];
        codec.encode(&samples, &mut bytes);
        Self { samples, encoded: Some((codec, bytes.into())) }
    }

    /// The audio.
    pub fn samples(&self) -> &[i16] {
        &self.samples
    }
}

/// A mark that came due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DueMark {
    /// The caller's number for it.
    pub id: u64,
    /// Samples played since the start when it was reached.
    pub at_sample: u64,
}

/// Where a frame comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// Queued audio, the rest of its last frame silence.
    Queue,
    /// The background.
    Background,
    /// Nowhere: silence.
    Nothing,
}

/// The queue of one call.
#[derive(Debug, Default)]
pub struct Playout {
    queue: VecDeque<Segment>,
    queued: usize,
    played: u64,
    marks: VecDeque<DueMark>,
    background: Option<Segment>,
}

#[derive(Debug)]
struct Segment {
    clip: Clip,
    next: usize,
}

impl Playout {
    /// Queues a copy of the samples; returns how many found room.
    pub fn play(&mut self, samples: &[i16]) -> usize {
        let taken = samples.len().min(MAX_QUEUED - self.queued);
        self.push(Clip::new(&samples[..taken]));
        taken
    }

    /// Queues shared audio, all of it or, without room, nothing; returns how many samples.
    pub fn play_clip(&mut self, clip: &Clip) -> usize {
        if clip.samples.len() > MAX_QUEUED - self.queued {
            return 0;
        }
        self.push(clip.clone());
        clip.samples.len()
    }

    /// Plays this over and over while the queue is empty; it doesn't count as played.
    pub fn set_background(&mut self, clip: Option<Clip>) {
        self.background = clip.filter(|c| !c.samples.is_empty()).map(|clip| Segment { clip, next: 0 });
    }

    /// Sets a mark behind all that is queued. False when too many wait.
    pub fn mark(&mut self, id: u64) -> bool {
        if self.marks.len() == MAX_MARKS {
            return false;
        }
        let at_sample = self.played + self.queued as u64;
        self.marks.push_back(DueMark { id, at_sample });
        true
    }

    /// Drops what is queued, but for a few samples that fade out; returns how many were dropped.
    /// The waiting marks are handed to `cleared`.
    pub fn clear(&mut self, cleared: impl FnMut(DueMark)) -> usize {
        let played = self.played;
        let mut fade = [0i16; FADE];
        let kept = self.take(&mut fade);
        self.played = played;
        let dropped = self.cut(cleared);
        if kept > 0 {
            for (n, sample) in fade[..kept].iter_mut().enumerate() {
                *sample = (i32::from(*sample) * (kept - n) as i32 / (kept + 1) as i32) as i16;
            }
            self.push(Clip::new(&fade[..kept]));
        }
        dropped
    }

    /// Drops all that is queued, without a fade; otherwise as [`Playout::clear`].
    pub fn cut(&mut self, mut cleared: impl FnMut(DueMark)) -> usize {
        for mark in self.marks.drain(..) {
            cleared(DueMark { at_sample: self.played.min(mark.at_sample), ..mark });
        }
        self.queue.clear();
        std::mem::take(&mut self.queued)
    }

    /// Takes the next frame as samples only.
    pub fn next_samples(&mut self, frame: &mut [i16; FRAME_SAMPLES]) -> Source {
        if self.queued > 0 {
            let taken = self.take(frame);
            frame[taken..].fill(0);
            return Source::Queue;
        }
        if let Some(background) = &mut self.background {
            background.go_round(frame);
            return Source::Background;
        }
        frame.fill(0);
        Source::Nothing
    }

    /// Takes the next frame: samples and payload of the codec. Returns how many samples of it were
    /// queued audio; the rest is background or silence.
    pub fn next_frame(&mut self, codec: Codec, frame: &mut [i16; FRAME_SAMPLES], payload: &mut [u8]) -> usize {
        let payload = &mut payload[..FRAME_SAMPLES];
        if self.queued == 0 {
            self.idle(codec, frame, payload);
            return 0;
        }
        if let Some(front) = self.queue.front_mut()
            && front.copy(codec, frame, payload)
        {
            if front.next == front.clip.samples.len() {
                self.queue.pop_front();
            }
            self.queued -= FRAME_SAMPLES;
            self.played += FRAME_SAMPLES as u64;
            return FRAME_SAMPLES;
        }
        let taken = self.take(frame);
        frame[taken..].fill(0);
        codec.encode(frame, payload);
        taken
    }

    /// The next mark that all audio before it has been taken for.
    pub fn poll_mark(&mut self) -> Option<DueMark> {
        self.marks.pop_front_if(|m| m.at_sample <= self.played)
    }

    /// Samples waiting.
    pub fn queued(&self) -> usize {
        self.queued
    }

    /// Samples of queued audio taken since the start.
    pub fn played(&self) -> u64 {
        self.played
    }

    fn push(&mut self, clip: Clip) {
        if !clip.samples.is_empty() {
            self.queued += clip.samples.len();
            self.queue.push_back(Segment { clip, next: 0 });
        }
    }

    fn take(&mut self, out: &mut [i16]) -> usize {
        let mut filled = 0;
        while filled < out.len() {
            let Some(front) = self.queue.front_mut() else {
                break;
            };
            let rest = &front.clip.samples[front.next..];
            let count = rest.len().min(out.len() - filled);
            out[filled..filled + count].copy_from_slice(&rest[..count]);
            filled += count;
            front.next += count;
            if front.next == front.clip.samples.len() {
                self.queue.pop_front();
            }
        }
        self.queued -= filled;
        self.played += filled as u64;
        filled
    }

    fn idle(&mut self, codec: Codec, frame: &mut [i16; FRAME_SAMPLES], payload: &mut [u8]) {
        let Some(background) = &mut self.background else {
            frame.fill(0);
            payload.fill(codec.silence());
            return;
        };
        if !background.copy(codec, frame, payload) {
            background.go_round(frame);
            codec.encode(frame, payload);
        }
        background.next %= background.clip.samples.len();
    }
}

impl Segment {
    /// Copies a whole frame, encoded beforehand or now. False when less than a frame is left.
    fn copy(&mut self, codec: Codec, frame: &mut [i16; FRAME_SAMPLES], payload: &mut [u8]) -> bool {
        let range = self.next..self.next + FRAME_SAMPLES;
        let Some(samples) = self.clip.samples.get(range.clone()) else {
            return false;
        };
        frame.copy_from_slice(samples);
        match &self.clip.encoded {
            Some((encoded, bytes)) if *encoded == codec => payload.copy_from_slice(&bytes[range.clone()]),
            _ => codec.encode(frame, payload),
        }
        self.next = range.end;
        true
    }

    /// Copies the next samples, from the start again after the end. The clip must not be empty.
    fn go_round(&mut self, frame: &mut [i16; FRAME_SAMPLES]) {
        let samples = &self.clip.samples;
        let mut filled = 0;
        while filled < frame.len() {
            let rest = &samples[self.next..];
            let count = rest.len().min(frame.len() - filled);
            frame[filled..filled + count].copy_from_slice(&rest[..count]);
            filled += count;
            self.next = (self.next + count) % samples.len();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn next(playout: &mut Playout) -> (usize, Vec<i16>) {
        let mut frame = [0; FRAME_SAMPLES];
        let mut payload = [0; FRAME_SAMPLES];
        let taken = playout.next_frame(Codec::Pcma, &mut frame, &mut payload);
        let mut expect = [0; FRAME_SAMPLES];
        Codec::Pcma.encode(&frame, &mut expect);
        if taken > 0 {
            assert_eq!(payload, expect);
        }
        (taken, frame.to_vec())
    }

    #[test]
    fn pieces_of_any_length_join() {
        for piece in [1, 7, 40, 159, 160, 161, 1000] {
            let audio: Vec<i16> = (0..1600).collect();
            let mut playout = Playout::default();
            for (n, part) in audio.chunks(piece).enumerate() {
                match n % 3 {
                    0 => playout.play(part),
                    1 => playout.play_clip(&Clip::new(part)),
                    _ => playout.play_clip(&Clip::encoded(part, if n % 2 == 0 { Codec::Pcma } else { Codec::Pcmu })),
                };
            }
            let heard: Vec<i16> = (0..10).flat_map(|_| next(&mut playout).1).collect();
            assert_eq!(heard, audio, "pieces of {piece}");
            assert_eq!(next(&mut playout), (0, vec![0; 160]));
            assert_eq!(playout.played(), 1600);
        }
    }

    #[test]
    fn a_mark_comes_due_with_the_last_sample_before_it() {
        let mut playout = Playout::default();
        playout.mark(1);
        playout.play(&[5; 200]);
        playout.mark(2);
        playout.play(&[5; 100]);
        playout.mark(3);
        let mut due = Vec::new();
        for tick in 0..3 {
            while let Some(mark) = playout.poll_mark() {
                due.push((tick, mark.id, mark.at_sample));
            }
            next(&mut playout);
        }
        assert_eq!(due, [(0, 1, 0), (2, 2, 200), (2, 3, 300)]);
    }

    #[test]
    fn clear_fades_and_reports_what_was_heard() {
        let mut playout = Playout::default();
        playout.play(&[1000; 800]);
        playout.mark(9);
        next(&mut playout);
        let mut cleared = Vec::new();
        let dropped = playout.clear(|m| cleared.push((m.id, m.at_sample)));
        assert_eq!((dropped, cleared), (600, vec![(9, 160)]));
        let (taken, frame) = next(&mut playout);
        assert_eq!(taken, 40);
        assert!(frame[..40].windows(2).all(|w| w[0] > w[1]) && frame[39] < 50, "{frame:?}");
        assert_eq!(frame[40..], [0; 120]);
        assert_eq!(next(&mut playout).0, 0);
        assert!(playout.poll_mark().is_none());
    }

    #[test]
    fn samples_alone_come_from_the_same_queue() {
        let mut playout = Playout::default();
        let mut frame = [0; FRAME_SAMPLES];
        assert_eq!((playout.next_samples(&mut frame), frame), (Source::Nothing, [0; 160]));
        playout.set_background(Some(Clip::new(vec![7; 100])));
        playout.play(&[1; 200]);
        playout.mark(3);
        assert_eq!((playout.next_samples(&mut frame), frame), (Source::Queue, [1; 160]));
        assert_eq!(playout.poll_mark(), None);
        assert_eq!(playout.next_samples(&mut frame), Source::Queue);
        assert_eq!((frame[39], frame[40], playout.played()), (1, 0, 200));
        assert_eq!(playout.poll_mark(), Some(DueMark { id: 3, at_sample: 200 }));
        assert_eq!((playout.next_samples(&mut frame), frame), (Source::Background, [7; 160]));
    }

    #[test]
    fn a_cut_leaves_nothing() {
        let mut playout = Playout::default();
        playout.play(&[1000; 800]);
        playout.mark(9);
        next(&mut playout);
        let mut cleared = Vec::new();
        assert_eq!(playout.cut(|mark| cleared.push((mark.id, mark.at_sample))), 640);
        assert_eq!((cleared, playout.queued(), playout.played()), (vec![(9, 160)], 0, 160));
        assert_eq!(next(&mut playout), (0, vec![0; 160]));
    }

    #[test]
    fn the_queue_is_bounded() {
        let mut playout = Playout::default();
        assert_eq!(playout.play(&vec![1; MAX_QUEUED - 10]), MAX_QUEUED - 10);
        assert_eq!(playout.play_clip(&Clip::new(vec![1; 11])), 0);
        assert_eq!(playout.play(&[1; 100]), 10);
        assert_eq!(playout.play(&[1; 100]), 0);
        assert!((0..MAX_MARKS as u64).all(|n| playout.mark(n)));
        assert!(!playout.mark(0));
    }

    #[test]
    fn background_loops_and_gives_way() {
        let mut playout = Playout::default();
        playout.set_background(Some(Clip::encoded((0..100).collect::<Vec<i16>>(), Codec::Pcma)));
        let heard: Vec<i16> = (0..5).flat_map(|_| next(&mut playout).1).collect();
        assert!(heard.iter().enumerate().all(|(n, s)| *s == (n % 100) as i16));
        playout.play(&[-1; 160]);
        assert_eq!(next(&mut playout), (160, vec![-1; 160]));
        assert_eq!(next(&mut playout).1[0], 0);
        assert_eq!(playout.played(), 160);
        playout.set_background(Some(Clip::new(Vec::new())));
        assert_eq!(next(&mut playout).1, vec![0; 160]);
    }
}
