//! What calls get for an analysis, and that nothing holds their push back.

use std::time::Duration;

use domain::call::{AnalysisStatus, CallRow, NextStep, RecordingStatus};
use domain::objects::CallObjects;
use domain::outcome::EndReason;
use domain::ports::{Job, OutboundError, QueueName};
use domain::secret::{ExposeSecret, SecretString};
use serde_json::{Value, json};

use super::handle;
use crate::platform::LanguageModel;
use crate::result::Analysis;
use crate::testing::{World, answer};

const PROMPT: &str = "Judge the call with {{crm.name}}.";

fn world(bot: Value) -> World {
    let world = World::new();
    world.bot("bot", bot);
    world.set(|settings| {
        settings.analysis_model = Some(LanguageModel {
            base_url: "https://llm.example.com/v1/".into(),
            api_key: Some(SecretString::from("k3y")),
            model: "m".into(),
        });
    });
    world
}

fn announced(world: &World, change: impl FnOnce(&mut CallRow)) -> CallRow {
    let due = world.now() + Duration::from_secs(60);
    world.ended_call(|row| {
        (row.next_step, row.due_at) = (Some(NextStep::Announce), Some(due));
        change(row);
    })
}

fn said(content: &str) -> Result<domain::ports::OutboundAnswer, OutboundError> {
    answer(200, &[], json!({"choices": [{"message": {"content": content}}]}).to_string().as_bytes())
}

async fn run(world: &World, call: &CallRow) {
    handle(&world.desk(), &Job { call_id: call.call_id, channel: None }).await.unwrap();
}

fn stored(world: &World, call: &CallRow) -> Analysis {
    serde_json::from_slice(&world.read_object(&CallObjects::of(call).analysis()).unwrap()).unwrap()
}

fn assert_on_its_way(world: &World, call: &CallRow, status: AnalysisStatus) {
    let row = world.row(call.call_id);
    assert_eq!((row.analysis_status, row.next_step), (status, Some(NextStep::Push)));
    assert_eq!(world.sent(QueueName::Deliveries), [Job { call_id: call.call_id, channel: None }]);
}

#[tokio::test]
async fn a_model_answers_and_the_push_goes_on() {
    let world = world(json!({"post_call_analysis_prompt": PROMPT}));
    let call = announced(&world, |_| ());
    world.record(&call, json!({"crm": {"name": "Asha"}}));
    world.outbound([said(r#"{"disposition":"PTP","remarks":"pays on Friday"}"#)]);
    run(&world, &call).await;
    assert_on_its_way(&world, &call, AnalysisStatus::Done);
    assert_eq!(world.row(call.call_id).disposition.as_deref(), Some("PTP"));
    assert_eq!(stored(&world, &call).analysis["remarks"], "pays on Friday");
    let sent = world.requests().remove(0);
    assert_eq!(sent.url, "https://llm.example.com/v1/chat/completions");
    assert_eq!(sent.headers["authorization"], "Bearer k3y");
    let body: Value = serde_json::from_slice(&sent.body).unwrap();
    assert!(body["messages"][0]["content"].as_str().unwrap().starts_with("Judge the call with Asha."));
    assert!(body["messages"][1]["content"].as_str().unwrap().contains("customer: Yes, I will pay on Friday."));
}

#[tokio::test]
async fn an_answer_that_breaks_the_schema_is_repaired_once() {
    let schema = json!({"type": "object", "required": ["disposition"], "properties": {"disposition": {"enum": ["PTP", "PAID"]}}});
    let world = world(json!({"post_call_analysis_prompt": PROMPT, "analysis_schema": schema}));
    let call = announced(&world, |_| ());
    world.record(&call, json!({}));
    world.outbound([said(r#"{"disposition":"MAYBE"}"#), said(r#"{"disposition":"PAID"}"#)]);
    run(&world, &call).await;
    assert_on_its_way(&world, &call, AnalysisStatus::Done);
    assert_eq!(stored(&world, &call).analysis["disposition"], "PAID");
    let body: Value = serde_json::from_slice(&world.requests()[1].body).unwrap();
    assert_eq!(body["messages"].as_array().unwrap().len(), 4);
    assert!(body["messages"][3]["content"].as_str().unwrap().contains("/disposition"));
}

#[tokio::test]
async fn calls_without_a_conversation_are_skipped_and_say_why() {
    let check = async |bot: Value, change: &dyn Fn(&mut CallRow), record: Value, note: &str, disposition: &str| {
        let world = world(bot);
        let call = announced(&world, |row| change(row));
        world.record(&call, record);
        run(&world, &call).await;
        assert_on_its_way(&world, &call, AnalysisStatus::Skipped);
        assert_eq!(stored(&world, &call), Analysis { analysis: serde_json::Map::new(), note: Some(note.to_owned()) });
        assert_eq!(world.row(call.call_id).disposition.as_deref(), Some(disposition));
        assert_eq!(world.requests().len(), 0);
    };
    let bot = || json!({"post_call_analysis_prompt": PROMPT, "outcome_map": {"busy": "TRY_LATER"}});
    let silent = || json!({"transcript": []});
    check(bot(), &|row| row.end_reason = Some(EndReason::NoAnswer), silent(), "not_answered", "NO_ANSWER").await;
    check(bot(), &|row| row.end_reason = Some(EndReason::Busy), silent(), "not_answered", "TRY_LATER").await;
    check(bot(), &|row| row.end_reason = Some(EndReason::Voicemail), json!({}), "voicemail", "VOICEMAIL").await;
    check(bot(), &|row| row.end_reason = Some(EndReason::ServerLost), silent(), "error", "ERROR").await;
    check(bot(), &|_| (), silent(), "customer_never_spoke", "NO_CUSTOMER_MESSAGE").await;
    check(json!({}), &|_| (), json!({}), "no_prompt", "COMPLETED").await;
}

#[tokio::test]
async fn what_the_script_collected_is_the_analysis() {
    let world = world(json!({}));
    let call = announced(&world, |_| ());
    world.record(&call, json!({"collected": {"disposition": "PTP", "amount": "500"}}));
    run(&world, &call).await;
    assert_on_its_way(&world, &call, AnalysisStatus::Done);
    assert_eq!(stored(&world, &call).analysis["amount"], "500");
    assert_eq!(world.row(call.call_id).disposition.as_deref(), Some("PTP"));
}

#[tokio::test]
async fn a_model_that_fails_three_times_does_not_hold_the_push_back() {
    let world = world(json!({"post_call_analysis_prompt": PROMPT}));
    let call = announced(&world, |_| ());
    world.record(&call, json!({"collected": {"amount": "500"}}));
    world.outbound([Err(OutboundError::Timeout), answer(500, &[], b"{}"), said("no"), said("JSON")]);
    for expect in [Some(NextStep::Analyze), Some(NextStep::Analyze), Some(NextStep::Push)] {
        run(&world, &call).await;
        assert_eq!(world.row(call.call_id).next_step, expect);
        world.advance(Duration::from_secs(61));
    }
    assert_on_its_way(&world, &call, AnalysisStatus::Failed);
    assert_eq!(stored(&world, &call).note.as_deref(), Some("answer_unusable"));
    assert_eq!(stored(&world, &call).analysis["amount"], "500");
}

#[tokio::test]
async fn ten_minutes_are_the_end_of_it() {
    let world = world(json!({"post_call_analysis_prompt": PROMPT}));
    let call = announced(&world, |_| ());
    world.record(&call, json!({}));
    world.advance(Duration::from_secs(601));
    run(&world, &call).await;
    assert_on_its_way(&world, &call, AnalysisStatus::Failed);
    assert_eq!(world.requests().len(), 0);
}

#[tokio::test]
async fn said_twice_it_is_done_once() {
    let world = world(json!({"post_call_analysis_prompt": PROMPT}));
    let call = announced(&world, |_| ());
    world.record(&call, json!({}));
    world.outbound([Err(OutboundError::Timeout), said(r#"{"disposition":"PTP"}"#)]);
    // The first fails; its duplicate finds the lease and leaves it alone.
    run(&world, &call).await;
    run(&world, &call).await;
    assert_eq!((world.requests().len(), world.row(call.call_id).step_tries), (1, 1));
    world.advance(Duration::from_secs(61));
    run(&world, &call).await;
    run(&world, &call).await;
    assert_eq!(world.requests().len(), 1);
    assert_on_its_way(&world, &call, AnalysisStatus::Done);
}

#[tokio::test]
async fn of_two_that_read_the_same_row_one_goes_on() {
    let world = world(json!({}));
    let call = announced(&world, |row| row.next_step = Some(NextStep::Analyze));
    let desk = world.desk();
    assert_eq!(super::claim(&desk, &call).await.unwrap(), Some(1));
    assert_eq!(super::claim(&desk, &call).await.unwrap(), None);
}

#[tokio::test]
async fn the_server_may_take_the_first_step_at_the_same_time() {
    let world = world(json!({}));
    let read = announced(&world, |_| ());
    let platform = world.platform();
    let due = world.now() + Duration::from_secs(120);
    platform.tables.calls.take_step(read.call_id, &[NextStep::Announce], Some(NextStep::Analyze), due).await.unwrap();
    assert_eq!(super::claim(&world.desk(), &read).await.unwrap(), Some(1));
    assert_eq!(super::claim(&world.desk(), &read).await.unwrap(), None);
}

#[tokio::test]
async fn a_record_on_its_way_is_waited_for_and_then_salvaged() {
    let world = world(json!({}));
    let call = announced(&world, |row| row.recording_status = RecordingStatus::Pending);
    let objects = CallObjects::of(&call);
    world.object(&objects.checkpoint(1), &[0; 32_000]);
    world.object(
        &objects.checkpoint_record(),
        br#"{"collected":{"amount":"500"},"transcript":[{"speaker":"customer","text":"Yes","timestamp":1.0}]}"#,
    );
    run(&world, &call).await;
    assert_eq!(world.row(call.call_id).next_step, Some(NextStep::Analyze));
    world.advance(Duration::from_secs(121));
    run(&world, &call).await;
    assert_on_its_way(&world, &call, AnalysisStatus::Done);
    assert_eq!(world.row(call.call_id).recording_status, RecordingStatus::Partial);
    assert_eq!(stored(&world, &call).analysis["amount"], "500");
}

#[tokio::test]
async fn a_living_server_is_given_longer_to_store_its_record() {
    let world = world(json!({}));
    let call = announced(&world, |_| ());
    let objects = CallObjects::of(&call);
    world.object(&objects.checkpoint_record(), br#"{"transcript":[]}"#);
    for (after, next) in [(121, NextStep::Analyze), (301, NextStep::Analyze), (200, NextStep::Push)] {
        world.advance(Duration::from_secs(after));
        world.server("a", |_| ());
        run(&world, &call).await;
        assert_eq!(world.row(call.call_id).next_step, Some(next), "{after} s later");
    }
}

#[tokio::test]
async fn unreadable_things_are_no_obstacle() {
    let world = world(json!({}));
    let call = announced(&world, |_| ());
    world.object(&CallObjects::of(&call).record(), b"{");
    run(&world, &call).await;
    assert_on_its_way(&world, &call, AnalysisStatus::Skipped);

    let other = announced(&world, |row| row.bot_version = 9);
    world.record(&other, json!({}));
    run(&world, &other).await;
    assert_on_its_way(&world, &other, AnalysisStatus::Skipped);
    assert_eq!(stored(&world, &other).note.as_deref(), Some("bot_gone"));
}

#[tokio::test]
async fn a_bots_own_model_goes_before_the_deployments() {
    let bot = json!({"post_call_analysis_prompt": PROMPT, "llm": {"providers": [
        {"vendor": "script"},
        {"vendor": "openai", "model": "own", "base_url": "https://own.example.com/v1", "api_key": "sealed:bot/bot:b3du"},
    ]}});
    let world = world(bot.clone());
    let bot: domain::bot::Bot =
        serde_json::from_value(json!({"bot_id": "bot", "name": "b", "llm": bot["llm"]})).unwrap();
    let model = super::language_model(&world.desk(), &bot).await.unwrap().unwrap();
    assert_eq!((model.base_url.as_str(), model.model.as_str()), ("https://own.example.com/v1", "own"));
    assert_eq!(model.api_key.unwrap().expose_secret(), "own");
}

#[tokio::test]
async fn the_key_of_the_deployments_model_may_lie_among_the_secrets() {
    let world = world(json!({"post_call_analysis_prompt": PROMPT}));
    let bot: domain::bot::Bot = serde_json::from_value(json!({"bot_id": "bot", "name": "b"})).unwrap();
    let check = async |named: Option<&str>, expect: &str| {
        let key = named.map(SecretString::from);
        world.set(|settings| settings.analysis_model.as_mut().unwrap().api_key = key);
        let model = super::language_model(&world.desk(), &bot).await.unwrap().unwrap();
        assert_eq!((model.model.as_str(), model.api_key.unwrap().expose_secret()), ("m", expect));
    };
    check(Some("k3y"), "k3y").await;
    check(None, "the model's key").await;
}
