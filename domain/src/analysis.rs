//! Whether a call is analysed at all, and what stands in the result where it is not.
//! It must never call a model: that is `functions::analyze`.

use serde_json::{Map, Value};

use crate::bot::Bot;
use crate::outcome::{EndReason, outcome_word};

/// What to do about a call's analysis.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Plan {
    /// Ask the model with the bot's prompt.
    Model,
    /// The script already filled the result's fields.
    Collected,
    Skip(SkipReason),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SkipReason {
    CustomerNeverSpoke,
    NotAnswered,
    Voicemail,
    Error,
    NoPrompt,
    /// There is a prompt, and no language model that could follow it.
    NoModel,
}

/// Decides by the call's end, whether the customer spoke, and what the bot is set to.
/// `model_ready`: a language model for analysis is configured.
pub fn plan(
    bot: &Bot,
    reason: EndReason,
    customer_spoke: bool,
    collected: &Map<String, Value>,
    model_ready: bool,
) -> Plan {
    use crate::outcome::DisconnectedBy as By;
    match reason.disconnected_by() {
        By::Rnr => return Plan::Skip(SkipReason::NotAnswered),
        By::Voicemail => return Plan::Skip(SkipReason::Voicemail),
        By::Error if !customer_spoke => return Plan::Skip(SkipReason::Error),
        By::Customer if matches!(reason, EndReason::Busy | EndReason::Declined) => {
            return Plan::Skip(SkipReason::NotAnswered);
        }
        By::Bot | By::Customer | By::Timeout | By::Error => {}
    }
    if !customer_spoke {
        return Plan::Skip(SkipReason::CustomerNeverSpoke);
    }
    let prompted = !bot.post_call_analysis_prompt.is_empty();
    match (prompted, model_ready) {
        (true, true) => Plan::Model,
        _ if !collected.is_empty() => Plan::Collected,
        (true, false) => Plan::Skip(SkipReason::NoModel),
        (false, _) => Plan::Skip(SkipReason::NoPrompt),
    }
}

/// `disposition` and `remarks` for a call, filling what its analysis left out (`api.md` §4: both always exist).
pub fn with_defaults(
    bot: &Bot,
    reason: EndReason,
    customer_spoke: bool,
    mut analysis: Map<String, Value>,
) -> Map<String, Value> {
    let (word, fallback) = outcome_word(reason, customer_spoke);
    let disposition = bot.outcome_map.get(word).map_or(fallback, String::as_str);
    analysis.entry("disposition").or_insert_with(|| Value::String(disposition.to_owned()));
    analysis
        .entry("remarks")
        .or_insert_with(|| Value::String(format!("Call ended: {}.", reason.as_str().replace('_', " "))));
    analysis
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn bot(prompt: &str) -> Bot {
        serde_json::from_value(json!({"bot_id": "b", "name": "B", "post_call_analysis_prompt": prompt, "outcome_map": {"RNR": "NO_PICKUP"}})).unwrap()
    }

    #[test]
    fn calls_are_analysed_where_there_is_something_to_analyse() {
        let check = |reason: EndReason, spoke: bool, prompt: &str, collected: Value, model: bool, expect: Plan| {
            let collected = collected.as_object().unwrap();
            assert_eq!(
                plan(&bot(prompt), reason, spoke, collected, model),
                expect,
                "{reason:?} {spoke} {prompt:?} {model}"
            );
        };
        use EndReason as R;
        check(R::BotHangup, true, "p", json!({}), true, Plan::Model);
        check(R::BotHangup, true, "p", json!({"a": 1}), false, Plan::Collected);
        check(R::BotHangup, true, "", json!({"a": 1}), true, Plan::Collected);
        check(R::BotHangup, true, "", json!({}), true, Plan::Skip(SkipReason::NoPrompt));
        check(R::BotHangup, true, "", json!({}), false, Plan::Skip(SkipReason::NoPrompt));
        check(R::BotHangup, true, "p", json!({}), false, Plan::Skip(SkipReason::NoModel));
        check(R::CustomerHangup, false, "p", json!({}), true, Plan::Skip(SkipReason::CustomerNeverSpoke));
        check(R::Busy, false, "p", json!({}), true, Plan::Skip(SkipReason::NotAnswered));
        check(R::NoAnswer, false, "p", json!({}), true, Plan::Skip(SkipReason::NotAnswered));
        check(R::Voicemail, true, "p", json!({}), true, Plan::Skip(SkipReason::Voicemail));
        check(R::ServerLost, false, "p", json!({}), true, Plan::Skip(SkipReason::Error));
        check(R::ServerLost, true, "p", json!({}), true, Plan::Model);
    }

    #[test]
    fn disposition_and_remarks_always_exist() {
        let check = |reason: EndReason, spoke: bool, analysis: Value, disposition: &str| {
            let full = with_defaults(&bot(""), reason, spoke, analysis.as_object().unwrap().clone());
            assert_eq!(full["disposition"], disposition, "{reason:?}");
            assert!(full["remarks"].is_string());
        };
        check(EndReason::NoAnswer, false, json!({}), "NO_PICKUP");
        check(EndReason::Busy, false, json!({}), "BUSY");
        check(EndReason::BotHangup, true, json!({"disposition": "PTP"}), "PTP");
    }
}
