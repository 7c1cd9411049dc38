//! Random inputs on simulated time: whatever comes, in whatever order, a call ends once, in time, and never spins.

use std::time::Duration;

use domain::call::Direction;
use domain::variables::Fields;
use proptest::prelude::*;
use serde_json::{Map, json};

use super::epoch;
use super::world::{plan, script_bot, with};
use crate::io::*;
use crate::{BrainChoice, Call, ring_limit};

fn texts() -> impl Strategy<Value = String> {
    prop_oneof![
        Just(String::new()),
        Just("Yes.".to_owned()),
        Just("No, not today.".to_owned()),
        Just("okay".to_owned()),
        Just("Stop, I have already paid it".to_owned()),
        Just("Please leave a message after the tone.".to_owned()),
        Just("next friday and".to_owned()),
        "\\PC{0,40}",
    ]
}

fn positions() -> impl Strategy<Value = Duration> {
    prop_oneof![9 => (0..120_000u64).prop_map(Duration::from_millis), 1 => Just(Duration::MAX)]
}

fn legs() -> impl Strategy<Value = LegEvent> {
    prop_oneof![
        1 => Just(LegEvent::Dialing),
        1 => Just(LegEvent::Ringing),
        1 => Just(LegEvent::EarlyMedia),
        3 => Just(LegEvent::Answered),
        1 => Just(LegEvent::MediaStarted),
        1 => Just(LegEvent::MediaResumed),
        1 => positions().prop_map(LegEvent::MediaMissing),
        1 => any::<bool>().prop_map(LegEvent::Hold),
        1 => any::<char>().prop_map(LegEvent::Dtmf),
        1 => Just(LegEvent::Dtmf('1')),
        1 => Just(LegEvent::TransferRefused),
    ]
}

fn ends() -> impl Strategy<Value = LegEvent> {
    prop_oneof![
        (300u16..700, proptest::option::of(0u16..128))
            .prop_map(|(code, q850)| LegEvent::Failed(LegFailure::Status { code, q850 })),
        Just(LegEvent::Failed(LegFailure::Cancelled)),
        (any::<bool>(), prop_oneof![Just(LegEnd::Normal), Just(LegEnd::SocketLost), Just(LegEnd::Unresponsive)])
            .prop_map(|(by_remote, cause)| LegEvent::Ended { by_remote, cause }),
    ]
}

fn ears() -> impl Strategy<Value = EarEvent> {
    prop_oneof![
        3 => positions().prop_map(|at| EarEvent::SpeechStarted { at }),
        3 => positions().prop_map(|at| EarEvent::SpeechEnded { at }),
        3 => (texts(), positions()).prop_map(|(text, at)| EarEvent::Partial { text, at }),
        4 => (texts(), positions(), positions()).prop_map(|(text, from, to)| EarEvent::Final { text, from, to, confidence: 0.5 }),
        1 => (prop_oneof![Just(Tone::Beep), Just(Tone::RingBack), Just(Tone::BusyTone)], positions()).prop_map(|(kind, at)| EarEvent::Tone { kind, at }),
        1 => any::<f32>().prop_map(|likeness| EarEvent::Echo { likeness }),
    ]
}

fn mouths() -> impl Strategy<Value = MouthEvent> {
    let id = || 0u32..8;
    prop_oneof![
        1 => id().prop_map(|utterance| MouthEvent::FirstAudio { utterance }),
        3 => id().prop_map(|utterance| MouthEvent::Started { utterance }),
        3 => (id(), texts()).prop_map(|(utterance, text)| MouthEvent::Played { utterance, text }),
        3 => id().prop_map(|utterance| MouthEvent::Finished { utterance }),
        2 => (id(), texts()).prop_map(|(utterance, heard)| MouthEvent::Cut { utterance, heard }),
    ]
}

fn brains() -> impl Strategy<Value = BrainEvent> {
    let turn = || 0u32..6;
    prop_oneof![
        4 => (turn(), texts()).prop_map(|(turn, text)| BrainEvent::Token { turn, text }),
        1 => turn().prop_map(|turn| BrainEvent::ToolCall { turn, name: "end_call".to_owned(), arguments: Map::new() }),
        1 => (turn(), prop_oneof![Just("desk"), Just("moon")]).prop_map(|(turn, target)| {
            let arguments = Map::from_iter([("target".to_owned(), target.into())]);
            BrainEvent::ToolCall { turn, name: "transfer_call".to_owned(), arguments }
        }),
        1 => turn().prop_map(|turn| BrainEvent::ToolCall { turn, name: "other".to_owned(), arguments: Map::new() }),
        3 => turn().prop_map(|turn| BrainEvent::Done { turn }),
        1 => turn().prop_map(|turn| BrainEvent::Failed { turn }),
    ]
}

fn inputs() -> impl Strategy<Value = Input> {
    prop_oneof![
        20 => legs().prop_map(Input::Leg),
        1 => ends().prop_map(Input::Leg),
        40 => ears().prop_map(Input::Ear),
        1 => Just(Input::Ear(EarEvent::Failed)),
        30 => mouths().prop_map(Input::Mouth),
        1 => (0u32..8).prop_map(|utterance| Input::Mouth(MouthEvent::Failed { utterance })),
        20 => brains().prop_map(Input::Brain),
        1 => Just(Input::Prefetch(PrefetchEvent::Failed)),
        2 => Just(Input::Prefetch(PrefetchEvent::Fetched(Fields::new()))),
        1 => prop_oneof![Just(Control::HangUp), Just(Control::Drain), Just(Control::Fault)].prop_map(Input::Control),
    ]
}

/// Drains the effects; whether the end was among them.
fn drain(call: &mut Call, ended: bool) -> bool {
    let mut ended = ended;
    while let Some(effect) = call.poll_effect() {
        assert!(!ended, "an effect after the end: {effect:?}");
        ended |= matches!(effect, Effect::Ended(_));
    }
    assert_eq!(ended, call.is_over());
    ended
}

fn run(model: bool, way: Direction, leave: bool, transfer: bool, min_words: u32, inputs: Vec<(u64, Input)>) {
    let mut settings = json!({
        "transfer_targets": {"desk": "+911140000001"},
        "max_call_duration_seconds": 90,
        "ring_timeout_seconds": 30,
        "inbound": {"answer": if leave { "ring" } else { "immediate" }},
        "interruption": {"enabled": true, "min_words": min_words, "min_speech_ms": 400},
        "voicemail": {"detect": true, "action": if leave { "leave_message" } else { "hangup" }, "message": "Call back."},
    });
    if transfer {
        settings["script"] = script_bot()["script"].clone();
        settings["script"]["steps"][1]["branches"]["yes"] =
            json!({"say": "I am putting you through.", "transfer": "desk"});
    }
    let brain = if model { BrainChoice::Model } else { BrainChoice::Script };
    let start = epoch();
    let mut plan = plan(with(script_bot(), settings), brain);
    plan.direction = way;
    let ring_limit = ring_limit(way, &plan.bot);
    let mut call = Call::new(start, plan);
    let mut ended = drain(&mut call, false);
    let mut now = start;
    let mut ended_at = None;
    let mut rings = 0;
    let mut ring = |call: &mut Call, now: std::time::Instant, ended: bool| {
        rings += 1;
        assert!(rings < 5000, "the call spins");
        call.handle_timeout(now);
        assert!(call.poll_timeout().is_none_or(|next| next > now), "a clock rings without end");
        drain(call, ended)
    };
    for (delay, input) in inputs {
        let next = now + Duration::from_millis(delay);
        while let Some(at) = call.poll_timeout().filter(|at| *at <= next) {
            now = now.max(at);
            ended = ring(&mut call, now, ended);
            ended_at = ended_at.or(ended.then_some(now));
        }
        now = next;
        call.handle(now, input);
        ended = drain(&mut call, ended);
        ended_at = ended_at.or(ended.then_some(now));
    }
    while let Some(at) = call.poll_timeout() {
        now = now.max(at);
        ended = ring(&mut call, now, ended);
        ended_at = ended_at.or(ended.then_some(now));
    }
    assert!(ended, "the call never ended");
    // The longest call, or the ring timeout from the last INVITE; and the wait for the leg.
    let unanswered = start + ring_limit * 2 + Duration::from_secs(5);
    let latest = call.line.answered.map_or(unanswered, |answered| answered + Duration::from_secs(95));
    assert!(ended_at.is_some_and(|at| at <= latest), "it ended too late");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_call_ends_once_and_never_spins(
        model: bool,
        inbound: bool,
        leave: bool,
        transfer: bool,
        min_words in 0u32..4,
        inputs in proptest::collection::vec((0u64..2500, inputs()), 0..90),
    ) {
        let way = if inbound { Direction::Inbound } else { Direction::Outbound };
        run(model, way, leave, transfer, min_words, inputs);
    }

    #[test]
    fn nothing_said_is_misread_into_a_panic(text in "\\PC{0,80}") {
        use domain::bot::Expect::*;
        let today = jiff::civil::date(2026, 4, 15);
        for expect in [YesNo, Number, Date, Amount, Choice, FreeText] {
            let _ = crate::understand::answer(expect, &text, &std::collections::BTreeMap::new(), Some(today));
        }
    }

    #[test]
    fn number_words_in_any_order_are_read_without_a_panic(
        words in proptest::collection::vec(
            prop_oneof![
                Just("five"), Just("twenty"), Just("hundred"), Just("thousand"), Just("lakh"), Just("crore"), Just("and"), Just("a"), Just("half"),
                Just("point"), Just("double"), Just("oh"), Just("15,000"), Just("99999999999999"), Just("2.5"), Just("may"), Just("fifth"), Just("of"),
                Just("next"), Just("month"), Just("days"), Just("no"), Just("rupees"), Just("paise"), Just("31st"), Just("friday"), Just("dhai"), Just("do"),
            ],
            0..14,
        ),
    ) {
        let text = words.join(" ");
        let today = jiff::civil::date(2026, 1, 31);
        let _ = crate::understand::number::number(&text);
        let _ = crate::understand::amount::amount(&text);
        let _ = crate::understand::date::date(&text, today);
    }
}
