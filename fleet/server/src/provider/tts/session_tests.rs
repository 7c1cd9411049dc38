//! Sessions on a fake engine that a test can hold back: each letter is ten samples of its code.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use super::*;
use crate::provider::config::Engine;
use crate::provider::test_support::next;
use crate::provider::tts::pool::{Synthesiser, SynthesiserSet};
use crate::provider::tts::shape::Waveform;

const SAMPLES_PER_LETTER: usize = 80;

/// Reports each clause it begins, then waits to be let go.
struct Fake {
    engine: Engine,
    begun: SyncSender<String>,
    go: Receiver<()>,
}

impl Synthesiser for Fake {
    fn engine(&self) -> Engine {
        self.engine
    }

    fn synthesise(&mut self, _: &VoiceSpec, text: &str) -> Result<Waveform, ProviderError> {
        let _ = self.begun.send(text.to_owned());
        // A test that has ended lets everything go.
        let _ = self.go.recv();
        if text.contains("fail") {
            return Err(ProviderError::engine("piper", "speaking", "told to"));
        }
        Ok(Waveform { samples: vec![0.5; text.len() * SAMPLES_PER_LETTER], rate: OUTPUT_RATE })
    }
}

struct Bench {
    tts: LocalTts,
    begun: Receiver<String>,
    go: SyncSender<()>,
}

/// A pool of one thread; `go_ahead` clauses are let go beforehand.
fn bench(go_ahead: usize) -> Bench {
    let (begun_sender, begun) = sync_channel(1_000);
    let (go, go_receiver) = sync_channel(1_000);
    for _ in 0..go_ahead {
        go.send(()).unwrap();
    }
    let fake = Fake { engine: Engine::Piper, begun: begun_sender, go: go_receiver };
    let set = SynthesiserSet { piper: Some(Box::new(fake)), flite: None };
    Bench { tts: LocalTts::new(SynthesiserPool::start(vec![set], 1 << 20).unwrap()), begun, go }
}

fn voice() -> VoiceSpec {
    VoiceSpec::new(Engine::Piper, "joe")
}

/// Reads until `count` utterances have ended; `1:text` for audio, `1.` for done, `1!` for failed.
fn read(session: &mut TtsSession, count: usize) -> String {
    let mut words = Vec::new();
    let mut ended = 0;
    while ended < count {
        match next(&mut session.events).expect("the session lives") {
            TtsEvent::Audio { utterance, samples, text } => {
                assert!(samples.len() >= text.len() * SAMPLES_PER_LETTER);
                words.push(format!("{}:{text}", utterance.0));
            }
            TtsEvent::Done { utterance } => {
                ended += 1;
                words.push(format!("{}.", utterance.0));
            }
            TtsEvent::Failed { utterance, .. } => {
                ended += 1;
                words.push(format!("{}!", utterance.0));
            }
        }
    }
    words.join(" ")
}

fn check(pieces: &[(u64, &str, bool)], count: usize, expect: &str) {
    let bench = bench(100);
    let mut session = bench.tts.open(&voice()).unwrap();
    for &(id, text, last) in pieces {
        session.say(UtteranceId(id), text, last).unwrap();
    }
    assert_eq!(read(&mut session, count), expect, "{pieces:?}");
    assert!(session.events.try_recv().is_err(), "nothing comes after the end");
}

#[test]
fn clauses_come_in_order_with_their_text() {
    check(&[(1, "Hello there, you. How are you?", true)], 1, "1:Hello there, 1:you. 1:How are you? 1.");
    check(&[(1, "Hel", false), (1, "lo. By", false), (1, "e", true)], 1, "1:Hello. 1:Bye 1.");
    check(&[(1, "One.", true), (2, "Two.", true)], 2, "1:One. 1. 2:Two. 2.");
}

#[test]
fn the_second_utterance_waits_for_the_end_of_the_first() {
    check(&[(1, "One. ", false), (2, "Two.", true), (1, "Three.", true)], 2, "1:One. 1:Three. 1. 2:Two. 2.");
}

#[test]
fn nothing_to_say_is_done_at_once() {
    check(&[(1, "", true)], 1, "1.");
    check(&[(1, " ... ", true), (2, "Yes.", true)], 2, "1. 2:Yes. 2.");
}

#[test]
fn a_failure_ends_its_utterance_only() {
    check(&[(1, "Good. This will fail. Never said.", true), (2, "Next.", true)], 2, "1:Good. 1! 2:Next. 2.");
}

#[test]
fn pauses_stand_between_clauses_and_not_around() {
    let bench = bench(100);
    let mut session = bench.tts.open(&voice()).unwrap();
    session.say(UtteranceId(1), "Hello there, you. Bye.", true).unwrap();
    let mut lengths = Vec::new();
    while let Some(TtsEvent::Audio { samples, text, .. }) = next(&mut session.events) {
        let leading = samples.iter().take_while(|sample| **sample == 0).count();
        lengths.push((leading / 8, text));
        assert_ne!(samples.last(), Some(&0));
    }
    let leading: Vec<bool> = lengths.iter().map(|(ms, _)| *ms > 0).collect();
    assert_eq!(leading, [false, true, true]);
    assert!((80..100).contains(&lengths[1].0) && (210..230).contains(&lengths[2].0), "{lengths:?}");
}

#[test]
fn what_was_said_before_comes_from_the_cache() {
    let bench = bench(1);
    let mut session = bench.tts.open(&voice()).unwrap();
    for id in 1..4 {
        session.say(UtteranceId(id), "Hello.", true).unwrap();
    }
    assert_eq!(read(&mut session, 3), "1:Hello. 1. 2:Hello. 2. 3:Hello. 3.");
    assert_eq!(bench.begun.try_iter().count(), 1);
}

#[test]
fn a_cancelled_utterance_is_never_heard_of_again() {
    let bench = bench(0);
    let mut session = bench.tts.open(&voice()).unwrap();
    session.say(UtteranceId(1), "One. Two. ", false).unwrap();
    assert_eq!(bench.begun.recv().unwrap(), "One.");
    session.say(UtteranceId(2), "Three.", true).unwrap();
    session.cancel(UtteranceId(1));
    for _ in 0..10 {
        bench.go.send(()).unwrap();
    }
    assert_eq!(read(&mut session, 1), "2:Three. 2.");
    assert_eq!(bench.begun.try_iter().collect::<Vec<_>>(), ["Three."], "its second clause was not spoken");
}

#[test]
fn an_id_may_be_used_again_after_cancelling() {
    let bench = bench(0);
    let mut session = bench.tts.open(&voice()).unwrap();
    session.say(UtteranceId(1), "Old.", true).unwrap();
    assert_eq!(bench.begun.recv().unwrap(), "Old.");
    session.cancel(UtteranceId(1));
    session.say(UtteranceId(1), "New.", true).unwrap();
    for _ in 0..2 {
        bench.go.send(()).unwrap();
    }
    assert_eq!(read(&mut session, 1), "1:New. 1.");
}

#[test]
fn cancelling_an_unfinished_utterance_lets_the_next_go_on() {
    let bench = bench(100);
    let mut session = bench.tts.open(&voice()).unwrap();
    session.say(UtteranceId(1), "One. ", false).unwrap();
    session.say(UtteranceId(2), "Two.", true).unwrap();
    assert!(matches!(next(&mut session.events), Some(TtsEvent::Audio { utterance: UtteranceId(1), .. })));
    session.cancel(UtteranceId(1));
    assert_eq!(read(&mut session, 1), "2:Two. 2.");
}

#[test]
fn sessions_take_turns_and_the_driest_goes_first() {
    let bench = bench(0);
    let first = bench.tts.open(&voice()).unwrap();
    let second = bench.tts.open(&voice()).unwrap();
    // 400 letters are four seconds of audio: the second session's first clause is due before the first's next.
    let long = format!("{}.", "a".repeat(80));
    first.say(UtteranceId(1), &format!("{long} Bee. Cee."), true).unwrap();
    assert_eq!(bench.begun.recv().unwrap(), long);
    second.say(UtteranceId(1), "Dee. Eve.", true).unwrap();
    for _ in 0..10 {
        bench.go.send(()).unwrap();
    }
    let order: Vec<String> = (0..4).map(|_| bench.begun.recv().unwrap()).collect();
    assert_eq!(order, ["Dee.", "Eve.", "Bee.", "Cee."]);
}

#[test]
fn too_much_text_is_refused() {
    let bench = bench(0);
    let session = bench.tts.open(&voice()).unwrap();
    let sentence = "All work and no play makes a dull bot. ".repeat(20);
    let mut said = 0;
    while session.say(UtteranceId(1), &sentence, false).is_ok() {
        said += sentence.len();
        assert!(said <= 2 * LONGEST_WAITING, "it must be refused at some time");
    }
    assert!(said >= LONGEST_WAITING / 2);
    session.cancel(UtteranceId(1));
    assert!(session.say(UtteranceId(1), &sentence, false).is_ok(), "cancelling makes room");
}

#[test]
fn a_voice_of_a_missing_engine_is_spoken_by_flite_or_refused() {
    let bench = bench(10);
    let flite = VoiceSpec::new(Engine::Flite, "slt");
    assert!(matches!(bench.tts.open(&flite), Err(ProviderError::Unavailable { .. })));

    let (begun, heard) = sync_channel(10);
    let (go, go_receiver) = sync_channel(10);
    go.send(()).unwrap();
    let fake = Fake { engine: Engine::Flite, begun, go: go_receiver };
    let set = SynthesiserSet { piper: None, flite: Some(Box::new(fake)) };
    let tts = LocalTts::new(SynthesiserPool::start(vec![set], 0).unwrap());
    let mut session = tts.open(&voice()).unwrap();
    session.say(UtteranceId(1), "Hello.", true).unwrap();
    assert_eq!(read(&mut session, 1), "1:Hello. 1.");
    assert_eq!(heard.recv().unwrap(), "Hello.");
}

#[test]
fn no_engine_is_no_pool() {
    assert!(SynthesiserPool::start(vec![SynthesiserSet::default()], 0).is_err());
    assert!(SynthesiserPool::start(vec![], 0).is_err());
}
