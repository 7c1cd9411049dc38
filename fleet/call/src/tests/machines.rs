//! Answering machines, and people who must not be taken for one.

use serde_json::json;

use super::world::{World, check};

const GREETING: &str = "Hi, this is Rahul. I can't take your call right now. Please leave a message after the tone.";

#[test]
fn a_machine_is_hung_up_on() {
    let mut world = World::script(json!({}));
    world.play(&format!("answer\nwait 0.4\nsay 6 {GREETING}\nwait 2\ntone beep")).finish();
    assert_eq!(world.outcome().end_reason.as_str(), "voicemail");
    assert!(world.said_at("").is_empty());
}

#[test]
fn a_message_is_left_after_the_beep() {
    let leave = json!({"voicemail": {"detect": true, "action": "leave_message", "message": "This is for {{crm.name}}. Please call back."}});
    for (acts, beeped_at) in [("wait 1.5\ntone beep", 7.5), ("wait 30", 0.0)] {
        let mut world = World::script(leave.clone());
        world.play(&format!("answer\nwait 0.4\nsay 6 {GREETING}\n{acts}")).finish();
        assert!(
            world.transcript().ends_with("bot: This is for Rahul. Please call back.\n= voicemail"),
            "{}",
            world.transcript()
        );
        let said = world.said_at("This is for Rahul")[0];
        // Without a beep, when the machine has been silent for three seconds.
        let expect = if beeped_at > 0.0 { 0.4 + 6.0 + 0.2 + 1.5 } else { 0.4 + 6.0 + 3.0 };
        assert!((said - expect).abs() < 0.01, "{said} {expect}");
    }
    // The machine hangs up first.
    let mut world = World::script(leave);
    world.play(&format!("answer\nwait 0.4\nsay 6 {GREETING}\nwait 0.5\nbye")).finish();
    assert_eq!(world.outcome().end_reason.as_str(), "voicemail");
}

#[test]
fn the_bot_that_was_speaking_stops_for_a_machine() {
    let mut world = World::script(json!({}));
    world.play("answer\nwait 0.3\nsay 1.0 Hi, this is Rahul.\nwait 0.5\nsay 2.5 The person you are calling is not available.").finish();
    assert_eq!(world.outcome().end_reason.as_str(), "voicemail");
    assert_eq!(world.stops(), 1);
}

#[test]
fn people_are_no_machines() {
    for acts in [
        "say 0.5 Hello?",
        "say 2.5 Hello, this is Rahul Sharma, who is calling please?",
        "say 2.0 He is not available right now.",
        "say 4.5 Hello? Hello? Yes, hello, I can hear you, who is this, please tell me?",
        "say 0.4 Hello?\ntone beep",
    ] {
        let mut world = World::script(json!({}));
        world.play(&format!("answer\nwait 0.3\n{acts}\nwait 4\nbye")).finish();
        assert_eq!(world.outcome().end_reason.as_str(), "customer_hangup", "{acts}");
        assert_eq!(world.said_at("Hello, am I speaking").len(), 1, "{acts}");
    }
}

#[test]
fn with_detection_off_a_machine_is_talked_to() {
    let mut world = World::script(json!({"voicemail": {"detect": false}}));
    world.play(&format!("answer\nwait 0.4\nsay 6 {GREETING}\nwait 3\nbye")).finish();
    assert_eq!(world.outcome().end_reason.as_str(), "customer_hangup");
}

#[test]
fn a_ring_back_tone_after_the_answer_is_waited_out() {
    // The gateway answers, the bot opens, and only then is the tone recognised.
    let mut world = World::script(json!({}));
    check(
        &mut world,
        "answer
         wait 1.5
         tone ringback
         wait 15
         say 0.5 Hello?
         bot
         wait 0.5
         say 0.5 Yes.
         bot
         bye",
        "bot: Hello, a
         customer: Hello?
         bot: Hello, am I speaking with Rahul?
         customer: Yes.
         bot: Your payment of 15000 rupees is due. Can you pay it today?
         = customer_hangup",
    );
    let opened = world.said_at("Hello, am I speaking");
    assert!(opened.len() == 2 && (opened[1] - 17.4).abs() < 0.01, "{opened:?}");
    // Nobody ever comes.
    let mut world = World::script(json!({"ring_timeout_seconds": 30}));
    world.play("answer\nwait 0.5\ntone ringback").finish();
    assert_eq!(world.outcome().end_reason.as_str(), "no_speech");
    assert_eq!(world.said_at("Hello, am I speaking"), [30.0]);
}
