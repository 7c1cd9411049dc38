//! Calls that are given to somebody else, and the ways in which that may not happen.

use serde_json::{Value, json};

use super::world::{World, check, plan, with};
use crate::BrainChoice;
use crate::io::{Effect, LegCommand};

fn bot() -> Value {
    json!({
        "opening_message": "Hello. Shall I put you through?",
        "transfer_targets": {"desk": "+911140000001"},
        "script": {
            "steps": [
                {"id": "want", "expect": "yes_no", "branches": {
                    "yes": {"say": "I am putting you through.", "transfer": "desk", "goto": "when", "result": {"disposition": "HANDED_OVER"}},
                    "no": {"transfer": "desk"}}},
                {"id": "other", "question": "Is there anything else?", "expect": "yes_no"},
                {"id": "when", "question": "When may we call you back?", "expect": "date", "field": "date"},
            ],
            "closing": "Noted. Goodbye.",
        }
    })
}

fn script() -> World {
    World::new(plan(bot(), BrainChoice::Script))
}

fn model(reply: &'static str) -> World {
    let bot = with(bot(), json!({"system_prompt": "Be kind."}));
    let mut world = World::new(plan(bot, BrainChoice::Model));
    world.replies = vec![("else", "Goodbye.[end]"), ("Yes", reply)];
    world
}

/// The numbers that the leg was told to transfer to.
fn transfers(world: &World) -> Vec<&str> {
    let of = |effect| match effect {
        &Effect::Leg(LegCommand::Transfer { ref to }) => Some(to.as_str()),
        _ => None,
    };
    world.effects.iter().filter_map(|(_, effect)| of(effect)).collect()
}

const ASKED: &str = "answer\nwait 1\nbot\nwait 0.4\nsay 0.5 Yes.\n";

#[test]
fn the_words_are_heard_whole_and_then_the_customer_is_somebody_elses() {
    // Whoever takes the customer closes the line, with or without a word.
    for end in ["bye", "socket-lost", "lets-go"] {
        let mut world = script();
        check(
            &mut world,
            &format!("{ASKED}wait 1\nbegin 2 No wait please stop it now.\nbot\nwait 2\n{end}"),
            "bot: Hello. Shall I put you through?
             customer: Yes.
             bot: I am putting you through.
             customer: No wait please stop it now.
             = transferred",
        );
        assert_eq!(transfers(&world), ["+911140000001"]);
        let outcome = world.outcome();
        assert_eq!(
            Value::Object(outcome.collected.clone()),
            json!({"disposition": "HANDED_OVER", "transferred_to": "desk"})
        );
    }
}

#[test]
fn refused_it_goes_on_as_if_there_had_been_none() {
    for (refusal, why) in [("refuse", "the line refused it"), ("wait 30", "nobody took the call over in time")] {
        let mut world = script();
        check(
            &mut world,
            &format!("{ASKED}bot\n{refusal}\nbot\nwait 0.4\nsay 1 Next Friday.\nbot"),
            "bot: Hello. Shall I put you through?
             customer: Yes.
             bot: I am putting you through.
             bot: Sorry, I could not put you through. When may we call you back?
             customer: Next Friday.
             bot: Noted. Goodbye.
             = bot_hangup",
        );
        assert_eq!(Value::Object(world.outcome().collected.clone()), json!({"date": "2026-04-24"}));
        assert_eq!(world.warnings(), [format!("the transfer to \"desk\" did not happen: {why}; the bot went on")]);
    }
    // Without words and a step to go to: at once, and on to the next step.
    check(
        &mut script(),
        "answer
         wait 1
         bot
         wait 0.4
         say 0.5 No.
         wait 1
         refuse
         bot
         bye",
        "bot: Hello. Shall I put you through?
         customer: No.
         bot: Sorry, I could not put you through. Is there anything else?
         = customer_hangup",
    );
}

#[test]
fn whoever_hangs_up_before_it_was_not_transferred() {
    for (acts, end) in [
        ("wait 1\nbye", "customer_hangup"),
        ("wait 1\nsocket-lost", "socket_lost"),
        ("bot\nunresponsive", "trunk_unreachable"),
        ("bot\noperator", "api_hangup"),
        ("bot\nwait 5\ndrain", "drained"),
        ("bot\nrefuse\nwait 1\nbye", "customer_hangup"),
        ("bot\nrefuse\nbot\nbye", "customer_hangup"),
        ("voice-mute\nwait 20\nbye", "transferred"),
    ] {
        let mut world = script();
        let said = world.play(ASKED).play(acts).finish().transcript();
        assert!(said.ends_with(&format!("= {end}")), "{acts:?}: {said}");
    }
}

#[test]
fn a_model_transfers_with_its_tool() {
    for (reply, last) in [
        ("Fine. [transfer desk]", "Fine."),
        ("Fine. [transfer desk]I connect you now.", "Fine. I connect you now."),
        ("[transfer Desk]Please hold on.", "Please hold on."),
        ("[transfer desk]", "One moment, I am putting you through."),
    ] {
        let mut world = model(reply);
        let said = world.play(ASKED).play("bot\nwait 1\nbye").finish().transcript();
        assert!(said.ends_with(&format!("bot: {last}\n= transferred")), "{reply}: {said}");
        assert_eq!(transfers(&world), ["+911140000001"], "{reply}");
    }
}

#[test]
fn a_model_is_told_that_it_did_not_happen() {
    for (reply, refusal, warning) in [
        (
            "Fine. [transfer desk]",
            "refuse\nbot",
            "the transfer to \"desk\" did not happen: the line refused it; the bot went on",
        ),
        ("Fine. [transfer moon]", "bot", "the model wanted to transfer the call to somebody not in transfer_targets"),
    ] {
        let mut world = model(reply);
        check(
            &mut world,
            &format!("{ASKED}bot\n{refusal}\nwait 0.4\nsay 0.8 Nothing else.\nbot"),
            "bot: Hello. Shall I put you through?
             customer: Yes.
             bot: Fine.
             bot: Sorry, I could not put you through.
             customer: Nothing else.
             bot: Goodbye.
             = bot_hangup",
        );
        assert_eq!(world.warnings(), [warning]);
        let system = &world.prompts.last().unwrap()[0].text;
        assert!(system.contains("did not happen, and the customer was told so."), "{system}");
        assert!(!world.prompts[0][0].text.contains("did not happen"));
    }
}
