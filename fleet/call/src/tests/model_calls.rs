//! The language-model brain over whole calls.

use std::time::Duration;

use serde_json::{Value, json};

use super::world::{World, check, plan};
use crate::BrainChoice;
use crate::io::{BrainCommand, Effect, Role};

fn world(replies: &[(&'static str, &'static str)]) -> World {
    let bot = json!({
        "system_prompt": "You call {{crm.name}} about {{crm.due}} rupees.",
        "opening_message": "Hello, am I speaking with {{crm.name}}?",
    });
    let mut world = World::new(plan(bot, BrainChoice::Model));
    world.replies = replies.to_vec();
    world
}

fn thinks(world: &World) -> usize {
    world.effects.iter().filter(|(_, effect)| matches!(effect, Effect::Brain(BrainCommand::Think { .. }))).count()
}

#[test]
fn a_conversation_and_the_tool_that_ends_it() {
    let mut world = world(&[
        ("Yes", "Good. Your payment is due. When can you pay?"),
        ("Friday", "Thank you, I have noted Friday. Goodbye.[end]"),
    ]);
    check(
        &mut world,
        "answer
         wait 1
         bot
         wait 0.4
         say 1.0 Yes, speaking.
         bot
         wait 0.4
         say 1.0 On Friday.
         bot",
        "bot: Hello, am I speaking with Rahul?
         customer: Yes, speaking.
         bot: Good. Your payment is due. When can you pay?
         customer: On Friday.
         bot: Thank you, I have noted Friday. Goodbye.
         = bot_hangup",
    );
    assert_eq!(thinks(&world), 2, "a guess that was right is not asked twice");
    let prompt = &world.prompts[1];
    assert_eq!(prompt[0].role, Role::System);
    assert!(prompt[0].text.starts_with("You call Rahul about 15000 rupees."));
    let roles: Vec<Role> = prompt[1..].iter().map(|message| message.role).collect();
    assert_eq!(roles, [Role::Assistant, Role::User, Role::Assistant, Role::User]);
    assert_eq!(world.outcome().collected.get("end_call_reason"), Some(&Value::String("done".to_owned())));
}

#[test]
fn the_reply_is_thought_of_before_the_turn_is_over() {
    let mut world = world(&[("Yes", "Good.")]);
    world.play("answer\nwait 1\nbot\nwait 0.4\nsay 1.0 Yes, I would like to know more about that.\nbot\nbye").finish();
    let turn = &world.turns()[0];
    // The final after 200 ms, the model 300 ms later: it was there when the turn ended at 500 ms.
    assert_eq!(
        (turn.final_transcript_ms, turn.first_token_ms, turn.first_packet_ms),
        (Some(200), Some(500), Some(620))
    );
    assert_eq!(thinks(&world), 1);
}

#[test]
fn a_guess_is_thrown_away_when_the_customer_goes_on() {
    let mut world = world(&[("tomorrow", "Tomorrow then."), ("could pay", "When?")]);
    world.model_delay = Duration::from_millis(800);
    check(
        &mut world,
        "answer
         wait 1
         bot
         wait 0.4
         say 0.8 Perhaps I could pay
         wait 0.2
         say 0.8 maybe tomorrow.
         bot
         bye",
        "bot: Hello, am I speaking with Rahul?
         customer: Perhaps I could pay maybe tomorrow.
         bot: Tomorrow then.
         = customer_hangup",
    );
    assert_eq!((thinks(&world), world.cancelled.as_slice()), (2, [1].as_slice()));
}

#[test]
fn an_interrupted_reply_is_cut_in_the_history_too() {
    let mut world = world(&[
        ("Yes", "Your loan of fifteen thousandes is overdue since the first of March and must be paid."),
        ("paid it", "I will check that."),
    ]);
    check(
        &mut world,
        "answer
         wait 1
         bot
         wait 0.4
         say 0.5 Yes.
         wait 1.5
         say 1.5 But I have already paid it.
         bot
         bye",
        "bot: Hello, am I speaking with Rahul?
         customer: Yes.
         bot: Your loan of fifteen thousand
         customer: But I have already paid it.
         bot: I will check that.
         = customer_hangup",
    );
    let last = world.prompts.last().unwrap();
    assert_eq!(last[last.len() - 2].text, "Your loan of fifteen thousand");
}

#[test]
fn a_late_reply_is_bridged_once() {
    let mut world = world(&[("Yes", "Here it is.")]);
    world.model_delay = Duration::from_secs(5);
    check(
        &mut world,
        "answer
         wait 1
         bot
         wait 0.4
         say 0.5 Yes.
         wait 10
         bye",
        "bot: Hello, am I speaking with Rahul?
         customer: Yes.
         bot: One moment, please.
         bot: Here it is.
         = customer_hangup",
    );
}

#[test]
fn a_model_that_fails_or_hangs_ends_the_call_orderly() {
    for reply in ["[fail]", "[hang]"] {
        let mut world = world(&[("Yes", reply)]);
        world.play("answer\nwait 1\nbot\nwait 0.4\nsay 0.5 Yes.\nwait 30").finish();
        let said = world.transcript();
        assert!(said.ends_with("must end this call. Goodbye.\n= provider_failed"), "{reply}: {said}");
    }
}

#[test]
fn ends_without_or_with_last_words() {
    for (reply, last) in
        [("[end]", "Thank you. Goodbye."), ("[end]Take care.", "Take care."), ("Fine. [end]Bye now.", "Fine. Bye now.")]
    {
        let replies: &'static [(&str, &str)] = Box::leak(Box::new([("Yes", reply)]));
        let mut world = world(replies);
        world.play("answer\nwait 1\nbot\nwait 0.4\nsay 0.5 Yes.\nbot").finish();
        assert!(world.transcript().ends_with(&format!("bot: {last}\n= bot_hangup")), "{reply}: {}", world.transcript());
    }
}

#[test]
fn an_empty_reply_is_no_dead_air() {
    let mut world = world(&[("Yes", "")]);
    world.play("answer\nwait 1\nbot\nwait 0.4\nsay 0.5 Yes.\nbot\nbye").finish();
    assert!(world.transcript().contains("bot: Sorry, could you say that again?"), "{}", world.transcript());
}

#[test]
fn without_an_opening_message_the_model_opens() {
    let mut world = World::new(plan(json!({"system_prompt": "Be kind."}), BrainChoice::Model));
    world.replies = vec![("", "Hello, this is the bank.")];
    check(
        &mut world,
        "answer
         wait 3
         bot
         bye",
        "bot: Hello, this is the bank.
         = customer_hangup",
    );
}
