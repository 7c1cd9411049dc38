//! Every way a call can end, over the whole machine.

use std::time::Duration;

use domain::bot::OnFailure;
use domain::outcome::EndReason;
use serde_json::json;

use super::world::{World, check, plan, script_bot, with};
use crate::io::{Effect, LegCommand, Progress};
use crate::{BrainChoice, Plan};

#[track_caller]
fn ends(settings: serde_json::Value, acts: &str, reason: EndReason) -> World {
    let mut world = World::script(settings);
    world.play(acts).finish();
    assert_eq!(world.outcome().end_reason, reason, "{acts}");
    world
}

#[test]
fn never_answered() {
    let world = ends(json!({}), "dialing\nwait 1\nringing\nstatus 486", EndReason::Busy);
    assert_eq!(
        (world.outcome().sip_code, world.outcome().answered, world.outcome().talked),
        (Some(486), false, Duration::ZERO)
    );
    ends(json!({}), "dialing\nstatus 603", EndReason::Declined);
    ends(json!({}), "dialing\nstatus 404", EndReason::InvalidNumber);
    ends(json!({}), "dialing\nstatus 503", EndReason::TrunkUnreachable);
    ends(json!({}), "operator", EndReason::ApiHangup);
    ends(json!({}), "dialing\nringing\ndrain", EndReason::Drained);
    ends(json!({}), "dialing\nfault", EndReason::Internal);
    ends(json!({}), "dialing\nstt-fails", EndReason::ProviderFailed);
}

#[test]
fn ringing_out() {
    let world = ends(json!({"ring_timeout_seconds": 20}), "wait 2\ndialing\nringing", EndReason::NoAnswer);
    let hangup = world.effects.iter().find(|(_, effect)| matches!(effect, Effect::Leg(LegCommand::HangUp))).unwrap();
    assert_eq!(hangup.0, Duration::from_secs(22));
    assert_eq!(world.outcome().sip_code, Some(487));
    // The leg never even started.
    ends(json!({"ring_timeout_seconds": 20}), "", EndReason::NoAnswer);
    // A leg that answers to nothing.
    let world = ends(json!({"ring_timeout_seconds": 20}), "dialing\ndeaf-leg", EndReason::NoAnswer);
    assert_eq!(world.effects.last().unwrap().0, Duration::from_secs(25));
    // Busy crossed our CANCEL.
    ends(json!({"ring_timeout_seconds": 20}), "dialing\ndeaf-leg\nwait 21\nstatus 486", EndReason::Busy);
    // So did an answer: it is hung up, and nobody was talked to.
    let world = ends(
        json!({"ring_timeout_seconds": 20}),
        "dialing\ndeaf-leg\nwait 20.1\nanswer\nwait 0.1\nbye",
        EndReason::NoAnswer,
    );
    assert!(!world.outcome().answered);
    assert_eq!(world.effects.iter().filter(|(_, effect)| matches!(effect, Effect::Leg(_))).count(), 2);
}

#[test]
fn answered() {
    ends(json!({}), "answer\nbye", EndReason::CustomerHangup);
    ends(json!({}), "answer\nwait 1\nbot\nbye", EndReason::CustomerHangup);
    ends(json!({}), "answer\nwait 1\nbot\noperator", EndReason::ApiHangup);
    ends(json!({}), "answer\nwait 1\ndrain", EndReason::Drained);
    ends(json!({}), "answer\nwait 1\nfault", EndReason::Internal);
    ends(json!({}), "answer\nwait 3\nvoice-fails\nsay 0.5 Yes.", EndReason::ProviderFailed);
    ends(json!({}), "voice-mute\nanswer", EndReason::ProviderFailed);
    ends(json!({}), "answer-silent", EndReason::NoMedia);
    ends(json!({}), "answer\nwait 2\ntone busy", EndReason::Busy);
    ends(json!({}), "answer\nwait 1\nbot\nsay 0.4 Yes.\nbot\ntone busy", EndReason::CustomerHangup);
    // A beep of the line that sounded like one: the customer speaks on.
    ends(json!({}), "answer\nwait 1\nbot\ntone busy\nsay 0.4 Yes.\nbot\nwait 5\nbye", EndReason::CustomerHangup);
    ends(json!({}), "answer\nwait 1\nbot\nkey 5\nwait 60", EndReason::IdleSilence);
    ends(json!({}), "answer\nwait 1\nbot\ncough 1.5\nwait 60", EndReason::IdleSilence);
    ends(json!({}), "answer\nwait 1\nbot\ncough 0.3\nwait 60", EndReason::NoSpeech);
}

#[test]
fn without_a_recogniser_silence_says_nothing_of_the_customer() {
    let check = |acts: &str, reason: EndReason| {
        let mut world = World::new(Plan { hears: false, ..plan(script_bot(), BrainChoice::Script) });
        world.play(acts).finish();
        assert_eq!(world.outcome().end_reason, reason, "{acts}");
    };
    check("answer\nwait 60", EndReason::ProviderFailed);
    check("answer\nwait 1\nbot\nkey 5\nwait 60", EndReason::IdleSilence);
    check("answer\nwait 1\nbot\nbye", EndReason::CustomerHangup);
    check("dialing\nringing\nwait 60", EndReason::NoAnswer);
}

#[test]
fn lost_media_ends_the_call_named() {
    // Nothing else may end it first.
    let patient = json!({"silence": {"prompt_after_seconds": 100, "prompts": [], "hangup_after_seconds": 100}});
    let world = ends(patient.clone(), "answer-silent\nwait 9", EndReason::NoMedia);
    assert_eq!(world.outcome().talked, Duration::from_millis(10_050));
    let world = ends(patient, "answer\nwait 1\nbot\nsay 0.4 Hm.\nbot\nlost 0", EndReason::NoMedia);
    assert!(world.outcome().talked > Duration::from_secs(30));
}

#[test]
fn the_longest_call_ends() {
    let patient = json!({"max_call_duration_seconds": 60, "silence": {"prompt_after_seconds": 100, "prompts": [], "hangup_after_seconds": 100}});
    let world = ends(patient.clone(), "answer\nwait 1\nbot\nsay 0.5 Yes.", EndReason::MaxDuration);
    assert_eq!(world.outcome().talked, Duration::from_millis(60_050));
    ends(patient.clone(), "answer", EndReason::NoSpeech);
    // Even when the leg does not listen.
    let world = ends(patient, "answer\ndeaf-leg\nsay 0.5 Yes.", EndReason::MaxDuration);
    assert_eq!(world.outcome().talked, Duration::from_secs(65));
}

#[test]
fn a_goodbye_is_heard_whole_and_bounded() {
    let goodbye = "answer\nwait 1\nbot\nsay 0.5 No.";
    // The customer hangs up in the middle of it.
    check(
        &mut World::script(json!({})),
        &format!("{goodbye}\nwait 1\nbye"),
        "bot: Hello, am I speaking with Rahul?
         customer: No.
         bot: Sorry to tro
         = customer_hangup",
    );
    // Speech over it does not stop it.
    let mut world = World::script(json!({}));
    check(
        &mut world,
        &format!("{goodbye}\nwait 0.5\nsay 1.2 Wait wait wait stop it please"),
        "bot: Hello, am I speaking with Rahul?
         customer: No.
         bot: Sorry to trouble you. Goodbye.
         customer: Wait wait wait stop it please
         = bot_hangup",
    );
    // A voice that never finishes it: bounded.
    let mut world = World::script(json!({}));
    world.play("answer\nwait 1\nbot\nvoice-mute\nsay 0.5 No.").finish();
    assert_eq!(world.outcome().end_reason, EndReason::BotHangup);
    assert!(world.outcome().talked < Duration::from_secs(20), "{:?}", world.outcome().talked);
}

#[test]
fn what_the_bot_said_ends_where_the_customer_hung_up() {
    check(
        &mut World::script(json!({})),
        "answer
         wait 1.92
         bye",
        "bot: Hello, am I spe
         = customer_hangup",
    );
}

#[test]
fn without_a_recogniser_the_bot_apologises() {
    check(
        &mut World::script(json!({})),
        "answer
         wait 1
         bot
         stt-fails",
        "bot: Hello, am I speaking with Rahul?
         bot: I am sorry, I have a technical problem and must end this call. Goodbye.
         = provider_failed",
    );
}

#[test]
fn prefetch() {
    let bot = with(script_bot(), json!({"opening_message": "Hello {{crm.title}} {{crm.name}}, all well?"}));
    let world = |on_failure| World::awaiting(plan(bot.clone(), BrainChoice::Script), on_failure);
    let opening = |world: &World| {
        world.effects.iter().filter(|(_, effect)| matches!(effect, Effect::Mouth(_))).map(|(at, _)| *at).next()
    };

    // In time: variables win, fetched fields fill.
    let mut done = world(OnFailure::Abort);
    done.play("dialing\nringing\nfetched {\"title\":\"Mr\",\"name\":\"Other\",\"loan\":12345678901234567890}\nanswer\nwait 3\nbye").finish();
    assert_eq!(done.said_at("Hello Mr Rahul, all well?").len(), 1);
    assert_eq!(done.outcome().crm.get("loan").unwrap().get(), "12345678901234567890");

    // Late: waited for, but not for long.
    let mut late = world(OnFailure::Proceed);
    late.play("answer\nwait 1.2\nfetched {\"title\":\"Mr\"}\nwait 3\nbye").finish();
    assert_eq!(opening(&late), Some(Duration::from_millis(1200)));
    let mut never = world(OnFailure::Proceed);
    never.play("answer\nwait 5\nbye").finish();
    assert_eq!(opening(&never), Some(Duration::from_millis(1500)));
    assert_eq!(never.warnings()[0], "prefetch was not done at the answer; the call went on without");

    // Failed: as the bot says.
    let mut failed = world(OnFailure::Proceed);
    failed.play("dialing\nfetch-fails\nanswer\nwait 3\nbye").finish();
    assert_eq!(failed.outcome().end_reason, EndReason::CustomerHangup);
    let mut aborted = world(OnFailure::Abort);
    aborted.play("dialing\nfetch-fails").finish();
    assert_eq!(aborted.outcome().end_reason, EndReason::PrefetchFailed);
    let mut aborted = world(OnFailure::Abort);
    aborted.play("answer").finish();
    assert_eq!(aborted.outcome().end_reason, EndReason::PrefetchFailed);
    assert!(aborted.outcome().transcript.is_empty());
}

#[test]
fn progress_is_told_once_each() {
    let mut world = World::script(json!({}));
    world.play("dialing\ndialing\nringing\nringing\nanswer\nringing\nanswer\nbye").finish();
    let progress: Vec<Progress> = world
        .effects
        .iter()
        .filter_map(|(_, effect)| if let Effect::Progress(p) = effect { Some(*p) } else { None })
        .collect();
    assert_eq!(progress, [Progress::Dialing, Progress::Ringing, Progress::Answered]);
}
