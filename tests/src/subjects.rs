//! Trunks and bots of the tests, as an admin would write them.

use serde_json::{Value, json};

/// A trunk to a peer on this machine.
pub fn trunk(id: &str, port: u16) -> Value {
    json!({
        "trunk_id": id, "name": id, "host": "127.0.0.1", "port": port,
        "default_number": "+911140001234", "default_country": "IN"
    })
}

/// The same with an account.
pub fn trunk_with_account(id: &str, port: u16, user: &str, password: &str) -> Value {
    let mut trunk = trunk(id, port);
    trunk["username"] = json!(user);
    trunk["password"] = json!(password);
    trunk
}

/// A trunk whose calls come from `cidr`.
pub fn inbound_trunk(id: &str, cidr: &str) -> Value {
    let mut trunk = trunk(id, 5060);
    trunk["inbound_cidrs"] = json!([cidr]);
    trunk
}

/// A bot that takes the calls to `did`, with a key mapper over what a carrier sends along.
pub fn called_bot(id: &str, did: &str, crm: &str) -> Value {
    let mut bot = bot(id, "unused", crm);
    bot["trunk_ids"] = json!([]);
    bot["numbers"] = json!([did]);
    bot["opening_message"] =
        json!("Hello customer {{call.x_customer_id}}, this is Ringfleet. How may I help you today?");
    bot["push"]["key_mapper"] = json!({
        "session": "{{call.id}}", "number": "{{call.caller_id}}", "did": "{{call.did}}", "way": "{{call.direction}}",
        "customer": "{{crm.x_customer_id}}", "lead": "{{call.x_lead_id}}", "from": "{{call.diverted_from}}",
        "why": "{{call.end_reason}}", "ended_by": "{{call.disconnected_by}}", "audio": "{{call.recording_url}}",
        "seconds": "{{call.duration}}"
    });
    bot
}

/// What the CRM of the tests is sent: values of all namespaces, a constant, and a nested list.
pub fn key_mapper() -> Value {
    json!({
        "lead": "{{crm.lead_id}}",
        "greeting": "Dear {{crm.customer_name}}!",
        "session": "{{call.id}}",
        "number": "{{call.to_number}}",
        "ended_by": "{{call.disconnected_by}}",
        "why": "{{call.end_reason}}",
        "code": "{{call.sip_code}}",
        "seconds": "{{call.duration}}",
        "audio": "{{call.recording_url}}",
        "disposition": "{{result.disposition}}",
        "source": {"kind": 7, "tags": ["{{crm.customer_name}}", true]}
    })
}

/// The variables of the tests' dialouts; no float holds the number.
pub const VARIABLES: &str = r#"{"lead_id": 123456789012345678901234, "customer_name": "Asha Rao"}"#;

/// A bot with an opening message that only a hang-up ends, which tells `crm`.
pub fn bot(id: &str, trunk: &str, crm: &str) -> Value {
    let step = |number: usize| {
        let question = if number == 0 { "" } else { "I see. And what else is new?" };
        json!({"id": format!("step{number}"), "question": question, "expect": "free_text", "max_reprompts": 9, "reprompt": "Sorry?"})
    };
    let steps: Vec<Value> = (0..9).map(step).collect();
    json!({
        "bot_id": id, "name": id, "trunk_ids": [trunk],
        "opening_message": "Hello {{crm.customer_name}}, this is a call from Ringfleet about your account. How are you today?",
        "script": {
            "steps": steps,
            "closing": "Thank you very much. Goodbye."
        },
        "voicemail": {"detect": false},
        "ring_timeout_seconds": 20,
        "silence": {"prompt_after_seconds": 60.0, "prompts": [], "hangup_after_seconds": 60.0},
        "push": {"url": crm, "token": "Bearer crm-token", "key_mapper": key_mapper()}
    })
}
