//! What the demo puts into the platform: a trunk, a bot with its dialogue and key mapper, and a customer's data.
//! It must never hold anything real: names, numbers and loans are made up.

use jiff::ToSpan;
use jiff::civil::Date;
use serde_json::{Value, json};

pub(super) const BOT: &str = "payment-reminder";
pub(super) const TRUNK: &str = "test-phone";
/// The customer's number; every number on the demo's trunk leads to the test phone.
pub(super) const TO: &str = "+919876543210";
/// Where the bot works, and whose tomorrow is meant.
pub(super) const ZONE: &str = "Asia/Kolkata";
/// What a kept promise is called in the CRM.
pub(super) const PROMISED: &str = "PROMISE_TO_PAY";
pub(super) const METHOD: &str = "bank transfer";

/// A trunk to the phone at `host:port`.
pub(super) fn trunk(host: &str, port: u16, username: &str, password: &str) -> Value {
    json!({
        "trunk_id": TRUNK,
        "name": "The built-in test phone",
        "host": host,
        "port": port,
        "username": username,
        "password": password,
        "default_number": "+918040001234",
        "default_country": "IN",
        "max_calls": 1,
    })
}

/// The bot, which pushes to `url`.
pub(super) fn bot(url: &str, token: &str, secret: &str) -> Value {
    json!({
        "bot_id": BOT,
        "name": "Payment reminder",
        "language": "en-IN",
        "timezone": ZONE,
        "opening_message": "Hello, this is Sunrise Finance calling. Am I speaking with {{crm.customer_name}}?",
        "script": dialogue(),
        "trunk_ids": [TRUNK],
        "max_call_duration_seconds": 150,
        "ring_timeout_seconds": 20,
        "outcome_map": {"RNR": "NO_ANSWER", "voicemail": "VOICEMAIL", "error": "CALL_FAILED"},
        "push": {"url": url, "token": token, "secret": secret, "key_mapper": key_mapper()},
    })
}

fn dialogue() -> Value {
    json!({
        "steps": [
            {
                "id": "identity",
                "expect": "yes_no",
                "reprompt": "Sorry, am I speaking with {{crm.customer_name}}?",
                "field": "identity_confirmed",
                "branches": {
                    "no": {"say": "I am sorry for the trouble. Goodbye.", "end": true, "result": {"disposition": "WRONG_PERSON"}},
                    "?": {"say": "I will call again later. Goodbye.", "end": true, "result": {"disposition": "NOT_CONFIRMED"}},
                },
            },
            {
                "id": "day",
                "question": "Thank you. Your payment of {{crm.amount_due}} rupees is due on {{crm.due_date}}. On which day can you pay it?",
                "expect": "date",
                "reprompt": "Sorry, which day was that?",
                "field": "promise_date",
                "branches": {"?": {"say": "A colleague will call you back. Goodbye.", "end": true, "result": {"disposition": "CALL_BACK"}}},
            },
            {
                "id": "method",
                "question": "Good. Would you like to pay by card, or by bank transfer?",
                "expect": "choice",
                "choices": {METHOD: ["transfer", "bank"], "card": ["credit card", "debit card"]},
                "reprompt": "Sorry, by card, or by bank transfer?",
                "field": "payment_method",
            },
            {
                "id": "reminder",
                "question": "All right. Shall I send you a reminder message in the morning?",
                "expect": "yes_no",
                "reprompt": "Sorry, shall I send you a reminder?",
                "field": "reminder",
            },
        ],
        "closing": "Thank you, {{crm.customer_name}}. I have noted {{crm.amount_due}} rupees by {{result.payment_method}}. Have a nice day.",
        "result": {
            "disposition": PROMISED,
            "remarks": "{{crm.customer_name}} pays {{crm.amount_due}} rupees on {{result.promise_date}} by {{result.payment_method}}",
        },
    })
}

fn key_mapper() -> Value {
    json!({
        "customer": {"id": "{{crm.customer_id}}", "name": "{{crm.customer_name}}", "phone": "{{call.caller_id}}"},
        "loan": "{{crm.loan_number}}",
        "disposition": "{{result.disposition}}",
        "promise_date": "{{result.promise_date}}",
        "payment_method": "{{result.payment_method}}",
        "reminder": "{{result.reminder}}",
        "remarks": "{{result.remarks}}",
        "call": {
            "id": "{{call.id}}",
            "seconds": "{{call.duration}}",
            "ended_by": "{{call.disconnected_by}}",
            "recording": "{{call.recording_url}}",
        },
        "source": "ringfleet",
        "schema": 1,
    })
}

/// What the CRM knows of the customer, on a day at the bot's place.
pub(super) fn variables(name: &str, today: Date) -> Value {
    json!({
        "customer_name": name,
        "customer_id": "C-20417",
        "loan_number": 90071992547409931_u64,
        "amount_due": 4500,
        "due_date": spoken(today.saturating_add(3.days())),
    })
}

/// As one says it: `Friday, the 27th of November`.
fn spoken(date: Date) -> String {
    let day = date.day();
    let ending = match day {
        11..=13 => "th",
        _ if day % 10 == 1 => "st",
        _ if day % 10 == 2 => "nd",
        _ if day % 10 == 3 => "rd",
        _ => "th",
    };
    format!("{}, the {day}{ending} of {}", date.strftime("%A"), date.strftime("%B"))
}

#[cfg(test)]
mod tests {
    use domain::bot::Bot;
    use domain::trunk::Trunk;

    use super::*;

    #[test]
    fn the_platform_has_no_objections() {
        let bot: Bot = serde_json::from_value(bot("http://127.0.0.1:9/crm", "t", "whsec_c2VjcmV0")).unwrap();
        assert_eq!((bot.validate(), bot.warnings()), (vec![], vec![]));
        let trunk: Trunk = serde_json::from_value(trunk("127.0.0.1", 5070, "u", "p")).unwrap();
        assert_eq!(trunk.validate(), vec![]);
    }

    #[test]
    fn dates_are_written_as_they_are_spoken() {
        let check = |date: &str, expect: &str| assert_eq!(spoken(date.parse().unwrap()), expect);
        check("2026-11-27", "Friday, the 27th of November");
        check("2026-12-01", "Tuesday, the 1st of December");
        check("2026-12-02", "Wednesday, the 2nd of December");
        check("2026-12-03", "Thursday, the 3rd of December");
        check("2026-12-11", "Friday, the 11th of December");
        check("2026-12-12", "Saturday, the 12th of December");
        check("2026-12-13", "Sunday, the 13th of December");
        check("2026-12-31", "Thursday, the 31st of December");
    }

    #[test]
    fn the_due_date_is_near() {
        let variables = variables("X", "2026-02-27".parse().unwrap());
        assert_eq!(variables["due_date"], "Monday, the 2nd of March");
    }
}
