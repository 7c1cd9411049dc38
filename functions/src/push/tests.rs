//! From an analysed call to its bodies, and from a body to the endpoint, try by try.

mod endpoints;
mod rendering;
mod tries;

use domain::call::{AnalysisStatus, CallRow, NextStep};
use domain::delivery::Channel;
use domain::objects::CallObjects;
use domain::ports::Job;
use domain::secret::SecretString;
use serde_json::{Value, json};

use super::handle;
use crate::testing::World;

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

/// A bot that pushes and has a webhook, as the guide configures them.
pub(super) fn world() -> World {
    let world = World::new();
    world.bot("bot", bot(&world));
    world
}

pub(super) fn bot(world: &World) -> Value {
    let platform = world.platform();
    let seal = |text: &str| platform.outside.seal.seal("bot/bot", &SecretString::from(text)).0;
    json!({
        "push": {
            "url": "https://crm.example.com/api/call-result",
            "method": "PUT",
            "token": seal("Bearer t0ken"),
            "secret": seal(SECRET),
            "key_mapper": {
                "CUSTOMER_ID": "{{crm.customer_id}}",
                "DISPOSITION": "{{result.disposition}}",
                "REMARKS": "{{result.remarks}}",
                "CALL_DURATION": "{{call.duration}}",
                "RECORDING_URL": "{{call.recording_url}}",
                "FIXED": [1, true, "{{crm.nothing}}"],
            },
        },
        "webhook": {"url": "https://hooks.example.com/result", "secret": seal(SECRET)},
    })
}

pub(super) fn analysed(world: &World, change: impl FnOnce(&mut CallRow)) -> CallRow {
    let now = world.now();
    let call = world.ended_call(|row| {
        (row.next_step, row.due_at, row.analysis_status) = (Some(NextStep::Push), Some(now), AnalysisStatus::Done);
        change(row);
    });
    world.record(&call, json!({"crm": {"customer_id": 9007199254740993_u64}}));
    world.object(&CallObjects::of(&call).analysis(), br#"{"analysis":{"disposition":"PTP"}}"#);
    call
}

pub(super) async fn run(world: &World, call: &CallRow, channel: Option<Channel>) {
    handle(&world.desk(), &Job { call_id: call.call_id, channel }).await.unwrap();
}

fn body(world: &World, call: &CallRow, channel: Channel) -> Value {
    let row = world.delivery_row(call.call_id, channel).unwrap();
    serde_json::from_slice(&world.read_object(&row.body_key).unwrap()).unwrap()
}
