//! Sessions on a fake recogniser and a detector of loudness: the transcript is the audio's length in ms.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use super::super::pool::{Recogniser, Transcript};
use super::super::voice::Detect;
use super::*;
use crate::provider::test_support::next;

const RATE: u32 = 16_000;

struct Loudness;

impl Detect for Loudness {
    fn probability(&mut self, frame: &[f32]) -> f32 {
        frame.iter().map(|s| s.abs()).fold(0.0, f32::max)
    }
}

/// Reports each decode it begins, then waits to be let go.
struct Fake {
    begun: SyncSender<usize>,
    go: Receiver<()>,
}

impl Recogniser for Fake {
    fn vendor(&self) -> &'static str {
        "fake"
    }

    fn transcribe(&mut self, audio: &[f32], go_on: &dyn Fn() -> bool) -> Result<Option<Transcript>, ProviderError> {
        let ms = audio.len() / 16;
        let _ = self.begun.send(ms);
        let _ = self.go.recv();
        Ok(go_on().then(|| Transcript { text: format!("{ms}ms"), confidence: 0.5 }))
    }
}

struct Bench {
    stt: LocalStt,
    begun: Receiver<usize>,
    go: SyncSender<()>,
}

/// One thread; `go_ahead` decodes are let go beforehand.
fn bench(go_ahead: usize) -> Bench {
    let (begun_sender, begun) = sync_channel(10_000);
    let (go, go_receiver) = sync_channel(10_000);
    for _ in 0..go_ahead {
        go.send(()).unwrap();
    }
    let pool = RecogniserPool::start(vec![Box::new(Fake { begun: begun_sender, go: go_receiver })]).unwrap();
    Bench { stt: LocalStt::new(pool, SegmentConfig::default(), &["en"]), begun, go }
}

impl Bench {
    fn open(&self) -> SttSession {
        self.stt.open_with(Ear::with_detector(RATE, Box::new(Loudness)).unwrap())
    }
}

fn speech(session: &mut SttSession, ms: usize) {
    push(session, ms, 30_000);
}

fn silence(session: &mut SttSession, ms: usize) {
    push(session, ms, 0);
}

fn push(session: &mut SttSession, ms: usize, level: i16) {
    for chunk in vec![level; ms * 16].chunks(320) {
        session.push(chunk);
    }
}

/// Reads up to and with the next `count` finals or failures.
fn read(session: &mut SttSession, count: usize) -> Vec<SttEvent> {
    let mut events = Vec::new();
    while events.iter().filter(|e| matches!(e, SttEvent::Final { .. } | SttEvent::Failed { .. })).count() < count {
        events.push(next(&mut session.events).expect("the session lives"));
    }
    events
}

fn words(events: &[SttEvent]) -> Vec<String> {
    let word = |event: &SttEvent| match event {
        SttEvent::SpeechStarted { at_ms } => format!("started@{at_ms}"),
        SttEvent::Partial { text, at_ms } => format!("partial {text}@{at_ms}"),
        SttEvent::Final { text, from_ms, to_ms, .. } => format!("final {text}@{from_ms}..{to_ms}"),
        SttEvent::SpeechEnded { at_ms } => format!("ended@{at_ms}"),
        SttEvent::Failed { error, .. } => format!("failed: {error}"),
    };
    events.iter().map(word).collect()
}

#[test]
fn one_segment() {
    let bench = bench(1_000);
    let mut session = bench.open();
    silence(&mut session, 640);
    speech(&mut session, 320);
    silence(&mut session, 640);
    let events = read(&mut session, 1);
    let finals: Vec<&SttEvent> = events.iter().filter(|e| !matches!(e, SttEvent::Partial { .. })).collect();
    assert_eq!(
        words(&finals.into_iter().cloned().collect::<Vec<_>>()),
        ["started@640", "ended@960", "final 672ms@640..960"]
    );
}

#[test]
fn the_final_is_decoded_before_the_segment_is_over() {
    let bench = bench(0);
    let mut session = bench.open();
    silence(&mut session, 640);
    speech(&mut session, 320);
    silence(&mut session, 160);
    assert_eq!(bench.begun.recv().unwrap(), 672, "it began after 128 ms of silence");
    bench.go.send(()).unwrap();
    assert_eq!(
        words(&[next(&mut session.events).unwrap(), next(&mut session.events).unwrap()]),
        ["started@640", "partial 672ms@1072"]
    );
    silence(&mut session, 200);
    assert_eq!(words(&read(&mut session, 1)), ["ended@960", "final 672ms@640..960"]);
    assert!(bench.begun.try_recv().is_err(), "nothing was decoded twice");
}

#[test]
fn speech_that_goes_on_makes_one_final_of_all() {
    let bench = bench(1_000);
    let mut session = bench.open();
    silence(&mut session, 640);
    speech(&mut session, 320);
    silence(&mut session, 200);
    speech(&mut session, 320);
    silence(&mut session, 640);
    let events = words(&read(&mut session, 1));
    assert_eq!(events.iter().filter(|e| e.starts_with("started")).count(), 1, "{events:?}");
    let last = events.last().unwrap();
    assert!(last.starts_with("final 1") && last.ends_with("@640..1488"), "{events:?}");
}

#[test]
fn endpoint_brings_the_final_at_once() {
    let bench = bench(1_000);
    let mut session = bench.open();
    silence(&mut session, 640);
    speech(&mut session, 320);
    session.endpoint();
    let events = words(&read(&mut session, 1));
    assert_eq!(events.last().unwrap(), "final 560ms@640..960", "{events:?}");
}

#[test]
fn partials_follow_long_speech_and_give_way() {
    let bench = bench(0);
    let mut session = bench.open();
    silence(&mut session, 640);
    speech(&mut session, 640);
    let partial = bench.begun.recv().unwrap();
    assert!((600..900).contains(&partial), "{partial}");
    // While that partial is worked on, no further one is queued; the segment's end is.
    speech(&mut session, 2_000);
    silence(&mut session, 640);
    bench.go.send(()).unwrap();
    let last = bench.begun.recv().unwrap();
    assert!(last > 2_800, "{last}");
    bench.go.send(()).unwrap();
    let events = words(&read(&mut session, 1));
    assert_eq!(
        events.iter().filter(|e| e.starts_with("partial")).count(),
        0,
        "an outdated partial is not sent: {events:?}"
    );
}

#[test]
fn a_full_queue_fails_segments_and_says_so() {
    let bench = bench(0);
    let mut sessions: Vec<SttSession> = (0..300).map(|_| bench.open()).collect();
    for session in &mut sessions {
        silence(session, 320);
        speech(session, 320);
        silence(session, 640);
    }
    for _ in 0..1_000 {
        bench.go.send(()).unwrap();
    }
    let last: Vec<String> = sessions.iter_mut().map(|session| words(&read(session, 1)).pop().unwrap()).collect();
    let failed = last.iter().filter(|e| *e == "failed: fake is overloaded").count();
    assert!((40..=45).contains(&failed), "{failed} of 300, with room for 256");
}

#[test]
fn a_closed_session_costs_no_decode() {
    let bench = bench(0);
    let mut blocker = bench.open();
    silence(&mut blocker, 320);
    speech(&mut blocker, 320);
    silence(&mut blocker, 640);
    assert!(bench.begun.recv().is_ok());
    let mut gone = bench.open();
    silence(&mut gone, 320);
    speech(&mut gone, 480);
    silence(&mut gone, 640);
    drop(gone);
    for _ in 0..10 {
        bench.go.send(()).unwrap();
    }
    read(&mut blocker, 1);
    let mut after = bench.open();
    silence(&mut after, 320);
    speech(&mut after, 320);
    silence(&mut after, 640);
    read(&mut after, 1);
    let decoded: Vec<usize> = bench.begun.try_iter().collect();
    assert_eq!(decoded, [672], "only the session that still listens");
}

#[test]
fn audio_that_is_over_is_let_go() {
    let bench = bench(0);
    let stt = &bench.stt;
    let (sender, _events) = mpsc::channel(EVENT_CAPACITY);
    let session = Arc::new(Shared { events: sender, vendor: "fake", state: Mutex::default() });
    let mut input = stt.input(session, Ear::with_detector(RATE, Box::new(Loudness)).unwrap());
    for _ in 0..1_000 {
        input.push(&[0; 1_600]);
    }
    assert!(input.audio.len() < 16_000, "{}", input.audio.len());
}

#[test]
fn languages_and_rates() {
    let bench = bench(0);
    for (rate, language, ok) in [
        (8_000, "en", true),
        (16_000, "en-IN", true),
        (8_000, "EN_us", true),
        (8_000, "", true),
        (8_000, "hi-IN", false),
        (8_000, "eng", false),
        (100, "en", false),
    ] {
        assert_eq!(bench.stt.open(rate, language).is_ok(), ok, "{rate} {language}");
    }
}
