//! One input in one state, and exactly the effects it has.

use serde_json::json;

use super::world::World;
use crate::io::*;

/// One effect, short.
pub(super) fn short(effect: &Effect) -> String {
    match effect {
        Effect::Leg(LegCommand::Answer) => "take".to_owned(),
        Effect::Leg(LegCommand::HangUp) => "hangup".to_owned(),
        Effect::Leg(LegCommand::Transfer { .. }) => "transfer".to_owned(),
        Effect::Ear(command) => format!("ear {command:?}").to_lowercase(),
        Effect::Brain(BrainCommand::Think { turn, .. }) => format!("think {turn}"),
        Effect::Brain(BrainCommand::Cancel { turn }) => format!("cancel {turn}"),
        Effect::Mouth(MouthCommand::Say { utterance, text, last }) => {
            format!("say {utterance} {text:?}{}", if *last { " last" } else { "" })
        }
        Effect::Mouth(MouthCommand::Stop) => "stop".to_owned(),
        Effect::Progress(progress) => format!("progress {progress:?}").to_lowercase(),
        Effect::Transcript { index, entry } => format!("entry {index} {:?}", entry.text.0),
        Effect::Turn(turn) => format!("turn {}", turn.turn),
        Effect::Warn(warning) => format!("warn {warning}"),
        Effect::Ended(outcome) => format!("ended {}", outcome.end_reason.as_str()),
    }
}

/// Brings a call into a state by `acts`, gives it one more, and compares what that caused at once.
#[track_caller]
fn check(acts: &str, act: &str, expect: &[&str]) {
    let mut world = World::script(json!({}));
    world.play(acts);
    let before = world.effects.len();
    world.play(act);
    let effects: Vec<String> = world.effects[before..].iter().map(|(_, effect)| short(effect)).collect();
    assert_eq!(effects, expect, "{acts:?} then {act:?}");
}

const ASKED: &str = "answer\nwait 1\nbot\nwait 0.5";
const SPEAKING: &str = "answer\nwait 1\nbot\nsay 0.5 Yes.\nwait 1.5";
const CLOSING: &str = "answer\nwait 1\nbot\nsay 0.5 No.\nwait 1";

#[test]
fn before_the_answer() {
    check("", "dialing", &["progress dialing"]);
    check("dialing", "ringing", &["progress ringing"]);
    check("dialing\nringing", "ringing", &[]);
    check("dialing\nringing", "answer", &["progress answered", "ear listen"]);
    check("dialing", "operator", &["hangup"]);
    check("dialing", "status 486", &["ended busy"]);
    check("dialing\noperator", "status 487", &["ended api_hangup"]);
    check("dialing", "begin 1 Not the customer.", &[]);
    check("dialing", "key 1", &[]);
    check("dialing", "wait 44", &[]);
    check("dialing", "wait 45", &["hangup"]);
    check("dialing", "wait 46", &["hangup", "ended no_answer"]);
}

#[test]
fn at_the_answer() {
    check("answer", "wait 0.7", &[]);
    check("answer", "wait 0.8", &["say 1 \"Hello, am I speaking with Rahul?\" last"]);
    check("answer\nbegin 1 Hello?", "wait 1.3", &["entry 0 \"Hello?\""]);
    check("answer\nbegin 1 Hello?\nwait 1.3", "wait 0.2", &["say 1 \"Hello, am I speaking with Rahul?\" last"]);
    check("answer", "bye", &["ended customer_hangup"]);
    check("answer", "operator", &["hangup"]);
}

#[test]
fn in_the_customers_turn() {
    check(ASKED, "key 2", &["entry 1 \"(keypad) 2\"", "say 2 \"Sorry to trouble you. Goodbye.\" last"]);
    check(ASKED, "say 0.5 Yes.", &["entry 1 \"Yes.\""]);
    check(
        &format!("{ASKED}\nsay 0.5 Yes."),
        "wait 0.1",
        &["say 2 \"Your payment of 15000 rupees is due. Can you pay it today?\" last"],
    );
    check(ASKED, "cough 0.3", &[]);
    check(ASKED, "wait 7", &[]);
    check(ASKED, "wait 7.6", &["say 2 \"Are you still there?\" last"]);
    check(ASKED, "tone busy", &[]);
    check(ASKED, "bye", &["ended customer_hangup"]);
    check(ASKED, "fetched {\"a\":1}", &[]);
}

#[test]
fn while_the_bot_speaks() {
    check(SPEAKING, "cough 0.3", &[]);
    check(SPEAKING, "say 0.3 Okay.", &["entry 2 \"Okay.\""]);
    check(SPEAKING, "begin 1.6 But I have already paid this.\nwait 0.87", &[]);
    check(SPEAKING, "begin 1.6 But I have already paid this.\nwait 0.885", &["stop"]);
    check(
        SPEAKING,
        "begin 1.6 But I have already paid this.\nwait 0.91",
        &["stop", "entry 2 \"Your payment of 15000 rupees is d\""],
    );
    check(SPEAKING, "key 1", &["stop", "entry 2 \"(keypad) 1\"", "say 3 \"Thank you. Goodbye.\" last"]);
    check(SPEAKING, "operator", &["stop", "hangup"]);
    check(SPEAKING, "bye", &["stop"]);
    check(&format!("{SPEAKING}\nbye"), "wait 0.02", &["entry 2 \"Your payment of 150\"", "ended customer_hangup"]);
    check(
        SPEAKING,
        "stt-fails",
        &["stop", "say 3 \"I am sorry, I have a technical problem and must end this call. Goodbye.\" last"],
    );
}

#[test]
fn in_the_goodbye() {
    check(
        CLOSING,
        "say 0.6 Wait, stop please now",
        &["entry 2 \"Sorry to trouble you.\"", "entry 3 \"Wait, stop please now\""],
    );
    check(CLOSING, "key 1", &[]);
    check(CLOSING, "stt-fails", &[]);
    check(CLOSING, "operator", &["stop", "hangup"]);
    check(
        CLOSING,
        "wait 3",
        &[
            "entry 2 \"Sorry to trouble you.\"",
            "entry 2 \"Sorry to trouble you. Goodbye.\"",
            "hangup",
            "ended bot_hangup",
        ],
    );
}

#[test]
fn after_the_end_nothing() {
    for act in ["answer", "begin 1 Hello", "key 1", "operator", "drain", "bye", "wait 1000", "stt-fails", "fetch-fails"]
    {
        check("dialing\nstatus 486", act, &[]);
    }
}
