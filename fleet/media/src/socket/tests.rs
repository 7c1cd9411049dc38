//! What goes out, and the far end through bursts, drift, gaps and stalls, on simulated time from a seed.

use super::*;
use crate::FRAME;
use crate::dtmf::{Digit, InbandDetector};
use crate::playout::Clip;
use crate::test_support::{Seeded, energy, epoch, voiced};

const CLICK: i16 = 20_000;

struct Call {
    stream: SocketStream,
    start: Instant,
    ticks: u64,
    far: [i16; FRAME_SAMPLES],
}

impl Call {
    fn new() -> Self {
        let start = epoch();
        let mut stream = SocketStream::new(start);
        stream.desk.start_recording();
        Self { stream, start, ticks: 0, far: [0; FRAME_SAMPLES] }
    }

    fn now(&self) -> Instant {
        self.start + FRAME * self.ticks as u32
    }

    fn tick(&mut self) -> SocketTick {
        let now = self.now();
        let tick = self.stream.tick(now, &mut self.far);
        self.ticks += 1;
        tick
    }

    fn spoken(&mut self) -> (Spoken, [i16; FRAME_SAMPLES]) {
        (self.tick().spoken, *self.stream.desk.near_frame())
    }

    fn events(&mut self) -> Vec<StreamEvent> {
        std::iter::from_fn(|| self.stream.desk.poll_event()).collect()
    }

    /// Customer and bot of what was recorded since.
    fn recorded(&mut self) -> Vec<(i16, i16)> {
        let mut frames = Vec::new();
        while let Some(block) = self.stream.desk.poll_recording() {
            let pairs = block.bytes().chunks_exact(4);
            frames.extend(pairs.map(|f| (i16::from_le_bytes([f[0], f[1]]), i16::from_le_bytes([f[2], f[3]]))));
            self.stream.desk.recycle_recording(block);
        }
        frames
    }
}

#[test]
fn only_what_sounds_is_sent_and_its_end_is_told_once() {
    let mut call = Call::new();
    assert_eq!(call.spoken().0, Spoken::Nothing);
    call.stream.desk.play(&[7; 200]);
    call.stream.desk.mark(1);
    let mut second = [0; FRAME_SAMPLES];
    second[..40].fill(7);
    assert_eq!(call.spoken(), (Spoken::Sound, [7; FRAME_SAMPLES]));
    assert_eq!(call.events(), []);
    assert_eq!(call.spoken(), (Spoken::Sound, second));
    assert_eq!(call.events(), [StreamEvent::MarkPlayed { id: 1, at_sample: 200 }]);
    assert_eq!(call.spoken(), (Spoken::Ended, [0; FRAME_SAMPLES]));
    assert_eq!(call.spoken().0, Spoken::Nothing);
    assert_eq!(call.stream.stats().sent, 2);
}

#[test]
fn a_background_is_sent_all_the_time() {
    let mut call = Call::new();
    call.stream.desk.set_background(Some(Clip::new(vec![3; 100])));
    assert!((0..10).all(|_| call.spoken() == (Spoken::Sound, [3; FRAME_SAMPLES])));
    call.stream.desk.set_background(None);
    assert_eq!(call.spoken().0, Spoken::Ended);
}

#[test]
fn barge_in_drops_everything_at_once() {
    let mut call = Call::new();
    call.stream.desk.play(&[1000; 1600]);
    call.stream.desk.mark(1);
    call.spoken();
    assert_eq!(call.stream.clear(), 1440);
    assert_eq!(call.events(), [StreamEvent::MarkCleared { id: 1, at_sample: 160 }]);
    assert_eq!(call.spoken(), (Spoken::Nothing, [0; FRAME_SAMPLES]), "a cut spurt has ended already");
    call.stream.desk.play(&[5; 160]);
    assert_eq!(call.spoken().0, Spoken::Sound);
    assert_eq!(call.spoken().0, Spoken::Ended);
}

#[test]
fn what_is_queued_waits_while_paused() {
    let mut call = Call::new();
    call.stream.desk.play(&[9; 320]);
    assert_eq!(call.spoken().0, Spoken::Sound);
    call.stream.pause(true);
    assert!((0..100).all(|_| call.spoken() == (Spoken::Nothing, [0; FRAME_SAMPLES])));
    call.stream.pause(false);
    assert_eq!(call.spoken(), (Spoken::Sound, [9; FRAME_SAMPLES]));
    assert_eq!((call.spoken().0, call.stream.desk.played_samples()), (Spoken::Ended, 320));
}

#[test]
fn keys_go_out_as_tones_with_their_pauses() {
    let mut call = Call::new();
    call.stream.desk.play(&[1; 160]);
    assert_eq!(call.stream.desk.send_dtmf("42"), 2);
    let mut detector = InbandDetector::default();
    let mut keys = Vec::new();
    for n in 0..18 {
        let (spoken, frame) = call.spoken();
        assert_eq!(spoken, Spoken::Sound, "frame {n}: a pause has to be sent too");
        keys.extend(detector.push(&frame));
    }
    assert_eq!(keys, ['4', '2'].map(|key| Digit::from_char(key).unwrap()));
    assert_eq!(call.spoken(), (Spoken::Sound, [1; FRAME_SAMPLES]), "audio waits for the keys");
}

#[test]
fn the_far_end_is_announced_once_and_a_silent_one_is_no_lost_one() {
    let mut call = Call::new();
    assert_eq!(call.tick().far, FarFrame::Nothing);
    let now = call.now();
    call.stream.hear(now, &[]);
    call.stream.hear(now, &[100; 800]);
    assert_eq!(call.events(), [StreamEvent::FirstPacket]);
    for _ in 0..3000 {
        call.tick();
    }
    assert_eq!((call.tick().far, call.events()), (FarFrame::Silence, vec![]));
}

#[test]
fn after_a_stall_of_ours_media_time_jumps() {
    let mut call = Call::new();
    call.tick();
    call.ticks += 49;
    let tick = call.tick();
    assert_eq!((tick.skipped, tick.position), (46, 47 * 160));
}

/// How a dialler sends.
#[derive(Debug, Clone, Copy)]
struct Dialler {
    chunk_ms: u64,
    /// How late a chunk may come, in milliseconds.
    jitter_ms: f64,
    /// Chunks that are sent at once, after the last of them was recorded.
    burst: u64,
    /// How much slower its clock runs.
    ppm: f64,
    /// Sends nothing in the last so many of each 10 s.
    silent_s: f64,
}

const STEADY: Dialler = Dialler { chunk_ms: 20, jitter_ms: 3.0, burst: 1, ppm: 0.0, silent_s: 0.0 };

/// What became of a dialler's audio, which has one click a second, each of its own height.
struct Played {
    sent: usize,
    /// Clicks that were heard: their number, and how long they took from being said to being heard, in milliseconds.
    clicks: Vec<(usize, f64)>,
    /// Clicks that a pitch period's blending left with another height.
    blended: usize,
    /// Frames at which the bot's clicks lie on the recording, one a second.
    bot: Vec<usize>,
    frames: usize,
    stats: StreamStats,
}

impl Played {
    /// The most that any click took that was said from a moment on, and the least.
    fn latency(&self, from_s: usize) -> (f64, f64) {
        let took = self.clicks.iter().filter(|(number, _)| *number >= from_s).map(|(_, ms)| *ms);
        took.fold((f64::MAX, 0.0), |(least, most), ms| (least.min(ms), most.max(ms)))
    }

    fn doubled(&self) -> usize {
        self.clicks.windows(2).filter(|pair| pair[0].0 == pair[1].0).count()
    }
}

/// Heights tell a hundred clicks apart; the right hundred follows from the time.
fn height(number: usize) -> i16 {
    12_000 + (number % 100) as i16 * 80
}

fn number(height: i16, heard_s: f64) -> usize {
    let within = (f64::from(height - 12_000) / 80.0).round() as usize % 100;
    let least = (heard_s - 50.0).max(0.0) as usize;
    least + (within + 100 - least % 100) % 100
}

/// The chunks of a dialler: when each arrives, in milliseconds of our clock, and its first sample.
fn chunks(dialler: Dialler, seconds: u64, seed: u64) -> Vec<(f64, u64)> {
    let mut seeded = Seeded(seed);
    let pace = 1.0 + dialler.ppm / 1e6;
    let mut arrivals = Vec::new();
    let mut last: f64 = 0.0;
    for n in 0..seconds * 1000 / dialler.chunk_ms {
        let said_s = (n * dialler.chunk_ms) as f64 / 1000.0;
        if said_s % 10.0 >= 10.0 - dialler.silent_s {
            continue;
        }
        let whole = (n / dialler.burst + 1) * dialler.burst * dialler.chunk_ms;
        let arrives = whole as f64 * pace + 15.0 + seeded.unit() * dialler.jitter_ms;
        // A connection keeps the order.
        last = last.max(arrives);
        arrivals.push((last, n * dialler.chunk_ms * 8));
    }
    arrivals
}

/// A hum far below the clicks, so that the pitch search has something to find, and a click in the middle of a second.
fn said(sample: u64) -> i16 {
    if sample % 8000 == 4000 { height((sample / 8000) as usize) } else { ((sample % 50) as i16 - 25) * 4 }
}

fn play(dialler: Dialler, seconds: u64, seed: u64) -> Played {
    let length = dialler.chunk_ms * 8;
    let arrivals = chunks(dialler, seconds, seed);
    let clicks_of = |first: &u64| (*first..first + length).filter(|n| n % 8000 == 4000).count();
    let mut played = Played {
        sent: arrivals.iter().map(|(_, first)| clicks_of(first)).sum(),
        clicks: Vec::new(),
        blended: 0,
        bot: Vec::new(),
        frames: 0,
        stats: StreamStats::default(),
    };
    let mut call = Call::new();
    let mut arrivals = arrivals.into_iter().peekable();
    let mut bot_clicks = [0; FRAME_SAMPLES];
    bot_clicks[80] = CLICK;
    for tick in 0..seconds * 50 {
        let now_ms = tick as f64 * 20.0;
        while let Some((_, first)) = arrivals.next_if(|(arrives, _)| *arrives <= now_ms) {
            let piece: Vec<i16> = (first..first + length).map(said).collect();
            let now = call.now();
            call.stream.hear(now, &piece);
        }
        call.stream.desk.play(if tick % 50 == 0 { &bot_clicks } else { &[0; FRAME_SAMPLES] });
        call.tick();
        played.collect(&mut call, dialler);
    }
    call.stream.desk.finish();
    played.collect(&mut call, dialler);
    played.stats = call.stream.stats();
    played
}

impl Played {
    /// Heard means recorded: both channels are read from the recording.
    fn collect(&mut self, call: &mut Call, dialler: Dialler) {
        for (customer, bot) in call.recorded() {
            let at_ms = self.frames as f64 / 8.0;
            if customer > 6000 {
                let number = number(customer, at_ms / 1000.0);
                let said_ms = (number as f64 * 1000.0 + 500.0) * (1.0 + dialler.ppm / 1e6);
                if (0.0..5000.0).contains(&(at_ms - said_ms)) {
                    self.clicks.push((number, at_ms - said_ms));
                } else {
                    self.blended += 1;
                }
            }
            if bot == CLICK {
                self.bot.push(self.frames);
            }
            self.frames += 1;
        }
    }
}

/// Shortening and lengthening by a pitch period may blend or swallow a click; neither may happen without a reason.
fn check(name: &str, dialler: Dialler, seconds: u64, most_ms: f64, odd_clicks: usize) {
    for seed in 0..3 {
        let played = play(dialler, seconds, seed);
        let (least, most) = played.latency(4);
        let off = (played.clicks.len() + played.blended).abs_diff(played.sent) + played.doubled();
        assert!(off <= odd_clicks, "{name}, seed {seed}: {} of {} clicks", played.clicks.len(), played.sent);
        assert!(least >= 0.0 && most <= most_ms, "{name}, seed {seed}: {least:.0}..{most:.0} ms");
        let bot: Vec<usize> = (0..seconds as usize).map(|n| n * 8000 + 80).collect();
        assert_eq!(played.bot, bot, "{name}, seed {seed}: the bot's channel");
        assert_eq!(played.frames as u64, seconds * 8000, "{name}, seed {seed}");
        assert_eq!(played.stats.overrun, 0, "{name}, seed {seed}");
    }
}

#[test]
fn whatever_a_dialler_sends_like_is_heard_whole_and_soon() {
    // Latency counts from the moment of saying: a chunk's own length is part of it.
    for (chunk_ms, jitter_ms, most_ms) in [(20, 3.0, 110.0), (20, 40.0, 160.0), (60, 20.0, 190.0), (100, 30.0, 260.0)] {
        let dialler = Dialler { chunk_ms, jitter_ms, ..STEADY };
        check(&format!("{chunk_ms} ms chunks"), dialler, 120, most_ms, 1);
    }
    check("bursts of five", Dialler { burst: 5, jitter_ms: 10.0, ..STEADY }, 120, 230.0, 1);
}

#[test]
fn an_hour_of_another_clock_neither_loses_doubles_nor_delays() {
    for ppm in [200.0, -200.0] {
        let dialler = Dialler { ppm, jitter_ms: 10.0, ..STEADY };
        // 0.72 s of drift, taken up by about a hundred pitch periods.
        check(&format!("{ppm} ppm"), dialler, 3600, 150.0, 6);
        let played = play(dialler, 3600, 9);
        let concealed = played.stats.concealed_frames;
        assert!(concealed < 100, "{ppm} ppm: {concealed} of 180000 frames concealed");
    }
}

#[test]
fn a_dialler_that_sends_nothing_in_silence_is_heard_where_it_speaks_again() {
    check("gaps", Dialler { silent_s: 4.0, jitter_ms: 15.0, ..STEADY }, 600, 170.0, 2);
    check("gaps, long chunks", Dialler { silent_s: 4.0, chunk_ms: 100, ..STEADY }, 600, 290.0, 2);
}

/// What is said rises by one every 16 samples: what was heard shows where it comes from.
#[test]
fn after_a_stalled_connection_everything_is_heard_in_order_and_the_delay_goes_back() {
    for (stall, most_ms) in [(8, 60), (25, 60), (75, 60), (150, 60)] {
        let mut call = Call::new();
        let mut said = 0u64;
        let mut last: Option<i16> = None;
        let mut gap = false;
        for tick in 0..2000u64 {
            let due = match tick {
                500.. if tick < 500 + stall => 0,
                _ if tick == 500 + stall => stall + 1,
                _ => 1,
            };
            for _ in 0..due {
                let piece: Vec<i16> = (said..said + 160).map(|n| (n / 16) as i16).collect();
                let now = call.now();
                call.stream.hear(now, &piece);
                said += 160;
            }
            if call.tick().far != FarFrame::Speech {
                gap = true;
                continue;
            }
            // After a gap there is silence first; the frame before it was partly heard, partly concealed.
            let (resumed, before) = (std::mem::take(&mut gap), last.unwrap_or(0));
            let most = if resumed { 12 } else { 3 };
            for sample in call.far.iter().skip_while(|sample| resumed && **sample < before) {
                let step = last.map_or(0, |last| sample - last);
                assert!((0..=most).contains(&step), "stall of {stall} frames, tick {tick}: {step}");
                last = Some(*sample);
            }
        }
        let behind_ms = (said - u64::from(last.unwrap().unsigned_abs()) * 16) / 8;
        assert!(behind_ms <= most_ms, "stall of {stall} frames: {behind_ms} ms behind in the end");
        assert_eq!(call.stream.stats().overrun, 0, "stall of {stall} frames");
    }
}

#[test]
fn what_comes_faster_than_it_can_be_played_is_bounded_and_counted() {
    let mut call = Call::new();
    let now = call.now();
    for _ in 0..100 {
        call.stream.hear(now, &[1000; 8000]);
    }
    let stats = call.stream.stats();
    let held = 800_000 - stats.overrun;
    assert!((MAX_BACKLOG as u64..MAX_BACKLOG as u64 + 8200).contains(&held), "{held}");
    // Five seconds later it has caught up with the present.
    for _ in 0..50 * 30 {
        call.tick();
    }
    assert!(call.stream.backlog.is_empty());
    assert_eq!(call.tick().far, FarFrame::Silence);
}

#[test]
fn shortening_a_voice_makes_no_clicks() {
    let mut call = Call::new();
    let audio = voiced(140.0, 8000 * 20, 6000.0);
    let steepest = |s: &[i16]| s.windows(2).map(|w| (i32::from(w[1]) - i32::from(w[0])).abs()).max().unwrap();
    let mut heard = Vec::new();
    let mut chunks = audio.chunks(160);
    for tick in 0..900 {
        // A second and a half comes at once in the middle.
        let due = match tick {
            300..375 => 0,
            375 => 76,
            _ => 1,
        };
        for _ in 0..due {
            let now = call.now();
            call.stream.hear(now, chunks.next().unwrap());
        }
        call.tick();
        if tick >= 380 {
            heard.extend(call.far);
        }
    }
    assert!(steepest(&heard) <= steepest(&audio) * 5 / 4, "{} > {}", steepest(&heard), steepest(&audio));
    assert!((0.7..1.4).contains(&(energy(&heard) / energy(&audio))));
    assert!(call.stream.stats().delay_ms <= 210, "{:?}", call.stream.stats());
}

#[test]
fn a_stream_is_small_enough_for_thousands() {
    // Heap beside it: jitter ring 17 kB, recording blocks 96 kB.
    assert!(size_of::<SocketStream>() < 8192, "{}", size_of::<SocketStream>());
}
