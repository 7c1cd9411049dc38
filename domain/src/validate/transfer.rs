//! Judges whom a bot may give its calls to, and where its script does. It must never judge whether somebody is there.

use std::collections::BTreeMap;

use super::Findings;
use crate::bot::Script;
use crate::field_error::FieldError;
use crate::phone::{E164, parse_dialled};

/// Most targets of one bot: a model reads all their names in every turn.
const MAX_TARGETS: usize = 50;
/// Longest name of one, characters.
const MAX_NAME: usize = 64;

pub(super) fn check_targets(found: &mut Findings, targets: &BTreeMap<String, String>) {
    found.between("transfer_targets", targets.len(), 0, MAX_TARGETS);
    for (name, number) in targets {
        let mut wrong = |kind: &str, msg: String| found.0.push(FieldError::at(&["transfer_targets", name], kind, msg));
        let named = (1..=MAX_NAME).contains(&name.len())
            && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'_'));
        if !named {
            wrong("name", format!("a target's name has 1 to {MAX_NAME} of a-z, 0-9, - and _, e.g. front_desk"));
        }
        if E164::parse(number).is_err() {
            wrong("phone_number_parsing", "a target is written in E.164, e.g. +911234567890".to_owned());
        // The country only counts for national spellings, which E.164 is not.
        } else if let Err(error) = parse_dialled(number, "IN") {
            wrong(error.word(), error.to_string());
        }
    }
}

pub(super) fn check_script(found: &mut Findings, script: &Script, targets: &BTreeMap<String, String>) {
    for (index, step) in script.steps.iter().enumerate() {
        for (answer, branch) in &step.branches {
            let Some(target) = &branch.transfer else { continue };
            let mut wrong = |kind: &str, msg: String| {
                let index = index.to_string();
                let place = ["script", "steps", &index, "branches", answer, "transfer"];
                found.0.push(FieldError::at(&place, kind, msg));
            };
            if !targets.contains_key(target) {
                let known = targets.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
                let known = if known.is_empty() { "none" } else { &known };
                wrong("unknown_target", format!("{target:?} is not in transfer_targets, which has: {known}"));
            }
            if branch.end {
                wrong("contradiction", "a branch either ends the call or transfers it".to_owned());
            }
        }
    }
}
