//! The script brain over whole calls.

use serde_json::{Value, json};

use super::world::{World, check, plan, script_bot, with};
use crate::BrainChoice;

#[test]
fn a_promise_to_pay() {
    let mut world = World::script(json!({}));
    check(
        &mut world,
        "dialing
         wait 1
         ringing
         wait 4
         answer
         say 0.5 Hello?
         bot
         wait 0.4
         say 1.2 Yes, this is Rahul.
         bot
         wait 0.4
         say 1.0 No, not today.
         bot
         wait 0.4
         say 0.8 Next Friday.
         bot",
        "customer: Hello?
         bot: Hello, am I speaking with Rahul?
         customer: Yes, this is Rahul.
         bot: Your payment of 15000 rupees is due. Can you pay it today?
         customer: No, not today.
         bot: When can you pay?
         customer: Next Friday.
         bot: Noted. Thank you, goodbye.
         = bot_hangup",
    );
    let outcome = world.outcome();
    assert_eq!(
        Value::Object(outcome.collected.clone()),
        json!({"will_pay": "no", "date": "2026-04-24", "disposition": "PTP"})
    );
    assert!(outcome.answered);
    assert_eq!(outcome.latency.len(), 3);
    assert!(world.warnings().is_empty());
}

#[test]
fn timings_run_from_the_end_of_speech_to_the_first_packet() {
    let mut world = World::script(json!({}));
    world.play("answer\nwait 1\nbot\nwait 0.5\nsay 1.0 Yes.\nbot\nbye").finish();
    let turns = world.turns();
    let turn = &turns[0];
    assert_eq!((turn.turn, turn.final_transcript_ms), (1, Some(200)));
    // 250 ms for an answer that is understood, then the voice.
    assert_eq!((turn.first_token_ms, turn.first_audio_ms, turn.first_packet_ms), (Some(250), Some(350), Some(370)));
}

#[test]
fn branches_and_reprompts() {
    check(
        &mut World::script(json!({})),
        "answer
         wait 1
         bot
         say 1.0 No, wrong number.
         bot",
        "bot: Hello, am I speaking with Rahul?
         customer: No, wrong number.
         bot: Sorry to trouble you. Goodbye.
         = bot_hangup",
    );
    check(
        &mut World::script(json!({})),
        "answer
         wait 1
         bot
         wait 0.5
         say 1.0 Who is this?
         bot
         wait 0.5
         say 1.0 Yes, speaking.
         bot
         say 0.6 Yes.
         bot",
        "bot: Hello, am I speaking with Rahul?
         customer: Who is this?
         bot: Sorry, is this Rahul?
         customer: Yes, speaking.
         bot: Your payment of 15000 rupees is due. Can you pay it today?
         customer: Yes.
         bot: Thank you. Goodbye.
         = bot_hangup",
    );
}

#[test]
fn keys_answer_too() {
    check(
        &mut World::script(json!({})),
        "answer
         wait 1
         bot
         wait 1
         key 1
         wait 0.5
         key 2
         bot
         wait 0.5
         bye",
        "bot: Hello, am I speaking with Rahul?
         customer: (keypad) 1
         bot: Your
         customer: (keypad) 2
         bot: When can you pay?
         = customer_hangup",
    );
}

#[test]
fn unknown_fields_are_named() {
    let bot = with(script_bot(), json!({"opening_message": "Hello {{crm.nobody}}, is this {{other.thing}}?"}));
    let mut world = World::new(plan(bot, BrainChoice::Script));
    world.play("answer\nwait 1\nbot\nbye").finish();
    assert_eq!(
        world.warnings(),
        [
            "template opening_message: crm.nobody is unknown or missing",
            "template opening_message: other.thing is unknown or missing"
        ]
    );
}

#[test]
fn a_bot_without_a_script_says_so() {
    let mut world = World::new(plan(json!({"opening_message": "Your parcel is here."}), BrainChoice::Script));
    check(
        &mut world,
        "answer
         wait 1
         bot
         say 0.5 Thanks.
         bot",
        "bot: Your parcel is here.
         customer: Thanks.
         bot: Thank you. Goodbye.
         = bot_hangup",
    );
    assert_eq!(world.warnings().len(), 1);
}
