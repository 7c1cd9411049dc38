//! Who speaks when: openings, interruptions, murmurs, echoes, second thoughts, silence.

use serde_json::json;

use super::world::{World, check, script_bot, with};

const OPENING: &str = "Hello, am I speaking with Rahul?";

#[test]
fn the_bot_opens_after_a_short_silence() {
    let mut world = World::script(json!({}));
    world.play("wait 5\nanswer\nwait 3\nbye").finish();
    assert_eq!(world.said_at(OPENING), [5.8]);
}

#[test]
fn the_bot_opens_soon_after_the_customers_first_words() {
    let mut world = World::script(json!({}));
    world.play("wait 5\nanswer\nwait 0.3\nsay 0.9 Hello, who is this?\nwait 3\nbye").finish();
    // Spoken until 6.2; a person must hear the bot within 1.2 s of that.
    assert_eq!(world.said_at(OPENING), [6.6]);
}

#[test]
fn a_hello_over_the_opening_is_no_interruption_and_no_answer() {
    let mut world = World::script(json!({}));
    check(
        &mut world,
        "answer
         wait 1.0
         say 0.6 Hello? Hello?
         bot
         wait 0.8
         say 0.5 Yes.
         bot
         bye",
        "bot: Hello, am I speaking with Rahul?
         customer: Hello? Hello?
         customer: Yes.
         bot: Your payment of 15000 rupees is due. Can you pay it today?
         = customer_hangup",
    );
    assert_eq!(world.stops(), 0);
}

#[test]
fn a_short_answer_over_the_end_of_the_question_counts() {
    check(
        &mut World::script(json!({})),
        "answer
         wait 2.4
         say 0.4 Yes.
         bot
         bot
         bye",
        "bot: Hello, am I speaking with Rahul?
         customer: Yes.
         bot: Your payment of 15000 rupees is due. Can you pay it today?
         = customer_hangup",
    );
}

#[test]
fn a_real_interruption_cuts_the_bot_where_it_was_heard() {
    let mut world = World::script(json!({}));
    check(
        &mut world,
        "answer
         wait 1
         bot
         say 0.5 Yes.
         wait 1.2
         say 1.8 Listen, I already told you next Friday.
         bot
         bye",
        "bot: Hello, am I speaking with Rahul?
         customer: Yes.
         bot: Your payment of 15000
         customer: Listen, I already told you next Friday.
         bot: Your payment of 15000 rupees is due. Can you pay it today?
         = customer_hangup",
    );
    assert_eq!(world.stops(), 1);
}

#[test]
fn murmurs_and_coughs_do_not_stop_the_bot() {
    for sound in ["say 1.2 Haan ji, achha, okay.", "cough 1.5", "say 0.8 Mm-hmm."] {
        let mut world = World::script(json!({}));
        world.play(&format!("answer\nwait 1\nbot\nsay 0.5 Yes.\nwait 1.2\n{sound}\nbot\nbye")).finish();
        assert_eq!(world.stops(), 0, "{sound}");
        assert!(world.transcript().contains("Can you pay it today?"), "{sound}");
    }
}

#[test]
fn after_a_false_alarm_the_bot_goes_on_where_it_stopped() {
    // Any sound of half a second stops this bot.
    let bot = json!({"interruption": {"enabled": true, "min_words": 0, "min_speech_ms": 500}});
    for sound in ["cough 0.9", "say 0.9 Okay."] {
        let mut world = World::script(bot.clone());
        world.play(&format!("answer\nwait 1\nbot\nsay 0.5 Yes.\nwait 1.5\n{sound}\nwait 12\nbye")).finish();
        let said = world.transcript();
        assert!(said.contains("bot: Your payment of 15000 rupees is due. Can you pay it today?"), "{sound}: {said}");
        assert_eq!(
            world.stops(),
            if sound.starts_with("cough") { 1 } else { 0 } + usize::from(sound.starts_with("say")) * world.stops(),
            "{sound}"
        );
    }
}

#[test]
fn the_bots_own_echo_is_nobody() {
    let mut world = World::script(json!({}));
    check(
        &mut world,
        "answer
         wait 1
         bot
         say 0.5 Yes.
         wait 0.6
         begin 3.0 Your payment of 15000 rupees is due.
         wait 0.2
         echo 0.9
         echo 0.8
         bot
         wait 2
         bye",
        "bot: Hello, am I speaking with Rahul?
         customer: Yes.
         bot: Your payment of 15000 rupees is due. Can you pay it today?
         = customer_hangup",
    );
    assert_eq!(world.stops(), 0);
}

#[test]
fn a_customer_who_goes_on_before_the_reply_has_not_finished() {
    // "Yes" alone would be answered; the second thought comes 0.3 s later, before the reply sounds.
    let mut world = World::script(json!({}));
    check(
        &mut world,
        "answer
         wait 1
         bot
         say 0.5 Yes.
         bot
         wait 0.3
         slow-voice 1
         begin 0.5 Yes
         wait 0.70
         begin 1.4 but only on Friday, not today.
         wait 3
         bot
         bye",
        "bot: Hello, am I speaking with Rahul?
         customer: Yes.
         bot: Your payment of 15000 rupees is due. Can you pay it today?
         customer: Yes but only on Friday, not today.
         bot: Thank you. Goodbye.
         = bot_hangup",
    );
}

#[test]
fn silence_is_prompted_then_ends_the_call() {
    let settings = json!({"silence": {"prompt_after_seconds": 4, "prompts": ["Are you there, {{crm.name}}?", "Hello?"], "hangup_after_seconds": 6}});
    let mut world = World::script(settings.clone());
    check(
        &mut world,
        "answer
         wait 1
         bot
         say 0.5 Yes.
         bot
         wait 3.9
         wait 1",
        "bot: Hello, am I speaking with Rahul?
         customer: Yes.
         bot: Your payment of 15000 rupees is due. Can you pay it today?
         bot: Are you there, Rahul?
         bot: Hello?
         = idle_silence",
    );
    check(
        &mut World::script(settings.clone()),
        "answer",
        "bot: Hello, am I speaking with Rahul?
         bot: Are you there, Rahul?
         bot: Hello?
         = no_speech",
    );
    // Words start the prompts over.
    check(
        &mut World::script(settings),
        "answer
         wait 1
         bot
         wait 4.5
         bot
         say 0.5 Yes.",
        "bot: Hello, am I speaking with Rahul?
         bot: Are you there, Rahul?
         customer: Yes.
         bot: Your payment of 15000 rupees is due. Can you pay it today?
         bot: Are you there, Rahul?
         bot: Hello?
         = idle_silence",
    );
}

#[test]
fn on_hold_nobody_is_silent() {
    let mut world =
        World::script(json!({"silence": {"prompt_after_seconds": 4, "prompts": [], "hangup_after_seconds": 4}}));
    world
        .play("answer\nwait 1\nbot\nsay 0.4 Yes.\nbot\nhold\nlost 1\nwait 300\nunhold\nwait 3\nsay 0.4 No.\nbot\nbye")
        .finish();
    assert!(
        world.transcript().ends_with("customer: No.\nbot: When can you pay?\n= customer_hangup"),
        "{}",
        world.transcript()
    );
}

#[test]
fn with_interruptions_switched_off_the_bot_is_heard_out() {
    let mut world = World::script(with(script_bot(), json!({"interruption": {"enabled": false}})));
    world.play("answer\nwait 1\nbot\nsay 0.5 Yes.\nwait 1\nsay 1.5 Stop, stop, I have paid already\nbot\nbye").finish();
    assert_eq!(world.stops(), 0);
    assert!(world.transcript().contains("Can you pay it today?"));
}

#[test]
fn a_turn_is_split_by_a_pause_for_thought_only_if_it_sounds_finished() {
    check(
        &mut World::script(json!({})),
        "answer
         wait 1
         bot
         say 0.5 Yes.
         bot
         say 0.5 No.
         bot
         wait 0.5
         say 0.9 I think I can pay on
         wait 0.9
         say 0.6 Friday.
         bot",
        "bot: Hello, am I speaking with Rahul?
         customer: Yes.
         bot: Your payment of 15000 rupees is due. Can you pay it today?
         customer: No.
         bot: When can you pay?
         customer: I think I can pay on Friday.
         bot: Noted. Thank you, goodbye.
         = bot_hangup",
    );
}

#[test]
fn a_final_that_is_too_late_is_not_said_twice() {
    // Recognition brings only a guess; two and a half seconds after the end of speech that has to do.
    check(
        &mut World::script(json!({})),
        "answer
         wait 1
         bot
         lazy-ear 5
         say 0.8 Yes, this is Rahul.
         bot
         wait 3
         bye",
        "bot: Hello, am I speaking with Rahul?
         customer: Yes, this
         bot: Your payment of 15000 rupees is due. Can you pay it today?
         = customer_hangup",
    );
}

#[test]
fn speech_without_an_end_or_a_final_holds_nobody_up_for_ever() {
    let mut world = World::script(json!({}));
    world.play("answer\nwait 1\nbot\nnoise").finish();
    assert_eq!(world.transcript(), "bot: Hello, am I speaking with Rahul?\nbot: Are you still there?\n= idle_silence");
    assert!(world.outcome().talked.as_secs() < 50, "{:?}", world.outcome().talked);
}
