//! Calls that came in: when they are answered, how soon the bot speaks, and how they end.

use domain::bot::OnFailure;
use domain::outcome::{DisconnectedBy, EndReason};
use serde_json::{Value, json};

use super::steps::short;
use super::world::World;

const OPENING: &str = "Hello, am I speaking with Rahul?";

fn ring() -> Value {
    json!({"inbound": {"answer": "ring"}})
}

/// Everything that the call wants from its first moment on, with the seconds at which it does.
#[track_caller]
fn check(settings: Value, awaiting: Option<OnFailure>, acts: &str, expect: &[&str]) {
    let mut world = World::inbound(settings, awaiting);
    world.play(acts);
    let effects: Vec<String> = world
        .effects
        .iter()
        .map(|(at, effect)| format!("{} {}", at.as_secs_f64(), short(effect)))
        .filter(|effect| !effect.contains(" entry "))
        .collect();
    assert_eq!(effects, expect, "{acts:?}");
}

#[test]
fn it_is_answered_at_once_or_rings_until_the_bot_is_ready() {
    let proceed = Some(OnFailure::Proceed);
    check(json!({}), None, "", &["0 take"]);
    check(json!({}), proceed, "wait 1.5", &["0 take"]);
    check(ring(), None, "wait 1.4", &[]);
    check(ring(), None, "wait 1.6", &["1.5 take"]);
    check(ring(), proceed, "wait 0.4\nfetched {}", &["0.4 take"]);
    check(ring(), proceed, "wait 0.4\nfetched {}\nwait 3", &["0.4 take"]);
    check(
        ring(),
        proceed,
        "wait 0.4\nfetch-fails",
        &["0.4 take", "0.4 warn prefetch failed; the call went on without"],
    );
    check(ring(), Some(OnFailure::Abort), "wait 0.4\nfetch-fails", &["0.4 hangup"]);
    // Whoever answers for itself needs no leave.
    check(ring(), None, "answer\nwait 0.1", &["0 progress answered", "0 ear listen"]);
    check(ring(), None, "ringing\nwait 1\ncancel", &["0 progress ringing", "1 ended customer_hangup"]);
}

#[test]
fn a_far_side_that_never_answers_is_let_go_after_a_minute() {
    check(json!({"ring_timeout_seconds": 10}), None, "wait 59", &["0 take"]);
    check(
        json!({}),
        None,
        "wait 2\ndialing\nwait 61",
        &["0 take", "2 progress dialing", "62 hangup", "62.05 ended no_answer"],
    );
}

/// When the opening was given to the voice.
#[track_caller]
fn opens(settings: Value, awaiting: Option<OnFailure>, acts: &str, expect: f64) {
    let mut world = World::inbound(settings, awaiting);
    world.play(acts);
    assert_eq!(world.said_at(OPENING), [expect], "{acts:?}");
}

#[test]
fn the_bot_speaks_first_and_soon() {
    opens(json!({}), None, "answer\nwait 1", 0.2);
    opens(json!({}), None, "wait 3\nanswer\nwait 1", 3.2);
    // It lets the caller finish a word, but not a speech.
    opens(json!({}), None, "answer\nwait 0.1\nsay 0.5 Hello?\nwait 2", 1.0);
    opens(json!({}), None, "answer\nnoise\nwait 3", 1.5);
}

#[test]
fn a_prefetch_never_keeps_a_caller_waiting_for_long() {
    let proceed = Some(OnFailure::Proceed);
    opens(json!({}), proceed, "answer\nwait 0.7\nfetched {\"city\":\"Pune\"}\nwait 1", 0.7);
    opens(json!({}), proceed, "answer\nwait 3", 1.5);
    // It has been under way since the call came in.
    opens(json!({}), proceed, "wait 3\nanswer\nwait 3", 3.2);
    // Rung for as long as it may: what is awaited no longer delays the first word.
    opens(ring(), proceed, "wait 1.5\nanswer\nwait 3", 1.7);
    opens(ring(), proceed, "wait 0.4\nfetched {}\nanswer\nwait 3", 0.6);
}

#[test]
fn one_prompt_serves_both_directions() {
    // `crm.name` and `crm.due` come from the far side's own fields; what was fetched goes before them.
    let mut world = World::inbound(json!({}), Some(OnFailure::Proceed));
    world.play("answer\nfetched {\"name\":\"Asha\"}\nwait 1\nbot\nsay 0.5 Yes.\nbot\nbye").finish();
    let said = world.transcript();
    assert!(said.contains("am I speaking with Asha?") && said.contains("Your payment of 15000 rupees"), "{said}");
    let crm = world.outcome().crm.stringified();
    assert_eq!((&crm["name"], &crm["due"]), (&json!("Asha"), &json!("15000")));
}

#[test]
fn machines_do_not_call() {
    let greeting = "answer\nwait 1\nbot\nsay 4 Please leave a message after the tone.\nwait 1\ntone ringback\nwait 1\ntone beep\nwait 2\nbye";
    let mut world = World::inbound(json!({}), None);
    world.play(greeting).finish();
    assert_eq!(world.outcome().end_reason, EndReason::CustomerHangup);
    assert_eq!(world.said_at(OPENING).len(), 1, "a ring-back tone is none of ours");
}

#[test]
fn ends() {
    let check = |acts: &str, reason: EndReason, by: DisconnectedBy, answered: bool| {
        let mut world = World::inbound(json!({}), None);
        world.play(acts).finish();
        let outcome = world.outcome();
        assert_eq!(
            (outcome.end_reason, outcome.end_reason.disconnected_by(), outcome.answered),
            (reason, by, answered),
            "{acts:?}"
        );
    };
    use DisconnectedBy as By;
    check("cancel", EndReason::CustomerHangup, By::Customer, false);
    check("socket-lost", EndReason::SocketLost, By::Customer, false);
    check("answer\nwait 1\nbot\nsay 0.5 Yes.\nsocket-lost", EndReason::SocketLost, By::Customer, true);
    check("answer\nwait 2\nbye", EndReason::CustomerHangup, By::Customer, true);
    check("answer\nwait 2\ntone busy", EndReason::CustomerHangup, By::Customer, true);
    check("answer\nwait 1\nbot\nsay 0.5 No.\nbot\nwait 1", EndReason::BotHangup, By::Bot, true);
    check("answer\nwait 90", EndReason::NoSpeech, By::Rnr, true);
    check("answer\nwait 1\noperator", EndReason::ApiHangup, By::Bot, true);
    check("drain", EndReason::Drained, By::Error, false);
}
