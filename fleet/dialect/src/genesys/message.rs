//! The shapes and numbers of AudioHook messages. It must never number two messages alike, nor take one out of turn.

use std::time::Duration;

use domain::variables::stringify;
use serde::Serialize;
use serde_json::value::RawValue;

use crate::event::Ending;
use crate::json::Object;
use crate::violation::Violation;

/// Longest position that is repeated: no call is longer.
const MAX_POSITION: usize = 20;
/// Longest id of a session; it is a UUID.
const MAX_ID: usize = 64;

/// Which message is which, on both sides.
#[derive(Debug)]
pub(super) struct Numbers {
    /// The session's id, as JSON.
    id: Option<Box<RawValue>>,
    seq: u64,
    clientseq: u64,
    position: String,
}

impl Default for Numbers {
    fn default() -> Self {
        Self { id: None, seq: 0, clientseq: 0, position: "PT0S".to_owned() }
    }
}

#[derive(Serialize)]
struct Message<'a, P> {
    version: &'static str,
    #[serde(rename = "type")]
    kind: &'static str,
    seq: u64,
    clientseq: u64,
    id: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    position: Option<&'a str>,
    parameters: &'a P,
}

impl Numbers {
    /// Takes a message's place in the session.
    pub(super) fn heard(&mut self, message: &Object<'_>) -> Result<(), Violation> {
        if message.text("version").as_deref() != Some("2") {
            return Err(Violation::protocol("the version must be \"2\""));
        }
        if message.number("seq") != Some(self.clientseq + 1) {
            return Err(Violation::protocol("seq must be one more than that of the message before, and begin with 1"));
        }
        if message.number("serverseq").is_some_and(|said| said > self.seq) {
            return Err(Violation::protocol("serverseq must not be more than the seq of our last message"));
        }
        let id = message.get("id").filter(|id| id.text().is_some()).map(|id| id.raw());
        match (id, &self.id) {
            (Some(id), Some(ours)) if id.get() == ours.get() => {}
            (Some(id), None) if id.get().len() <= MAX_ID => self.id = Some(id.to_owned()),
            _ => return Err(Violation::protocol("id must be the session's, at most 64 characters, in every message")),
        }
        self.clientseq += 1;
        if let Some(position) = message.text("position").filter(|word| seconds(word).is_some()) {
            self.position = position.into_owned();
        }
        Ok(())
    }

    /// The session's id, bare.
    pub(super) fn id(&self) -> Option<String> {
        self.id.as_deref().map(stringify)
    }

    /// The next message of ours.
    pub(super) fn message(&mut self, kind: &'static str, parameters: &impl Serialize) -> String {
        self.seq += 1;
        let message = Message {
            version: "2",
            kind,
            seq: self.seq,
            clientseq: self.clientseq,
            id: self.id.as_deref(),
            position: (kind != "opened").then_some(&self.position),
            parameters,
        };
        serde_json::to_string(&message).expect("texts and numbers are always JSON")
    }
}

/// Reads a duration of the form `PT1.5S`.
pub(super) fn seconds(word: &str) -> Option<Duration> {
    let digits = word.strip_prefix("PT")?.strip_suffix('S')?;
    let plain = digits.len() <= MAX_POSITION && digits.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    if !plain {
        return None;
    }
    Duration::try_from_secs_f64(digits.parse().ok()?).ok()
}

/// `parameters` of messages that have nothing to say.
#[derive(Serialize)]
pub(super) struct Nothing {}

/// Tells Genesys to throw away what it has not played.
#[derive(Serialize)]
pub(super) struct BargeIn {
    entities: [Entity; 1],
}

#[derive(Serialize)]
struct Entity {
    #[serde(rename = "type")]
    kind: &'static str,
    data: Nothing,
}

impl Default for BargeIn {
    fn default() -> Self {
        Self { entities: [Entity { kind: "barge_in", data: Nothing {} }] }
    }
}

/// What the Architect flow goes on with.
#[derive(derive_more::Debug, Clone, Serialize)]
pub(super) struct OutputVariables {
    pub(super) action: &'static str,
    #[debug(skip)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) transfer_to: Option<String>,
}

#[derive(Serialize)]
pub(super) struct Closed {
    #[serde(rename = "outputVariables")]
    pub(super) outcome: OutputVariables,
}

#[derive(Serialize)]
pub(super) struct Disconnect<'a> {
    reason: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    info: Option<&'a str>,
    #[serde(rename = "outputVariables", skip_serializing_if = "Option::is_none")]
    outcome: Option<OutputVariables>,
}

impl<'a> Disconnect<'a> {
    pub(super) fn of(ending: Ending, outcome: OutputVariables) -> Self {
        let (reason, info) = match ending {
            Ending::Completed => ("completed", None),
            Ending::Failed => ("error", Some("the bot failed")),
        };
        Self { reason, info, outcome: Some(outcome) }
    }

    pub(super) fn refusing(why: &'a str) -> Self {
        Self { reason: "error", info: Some(why), outcome: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_genesys_writes_them() {
        let check = |word: &str, ms: Option<u64>| assert_eq!(seconds(word), ms.map(Duration::from_millis), "{word}");
        check("PT0S", Some(0));
        check("PT1.5S", Some(1500));
        check("PT3600.25S", Some(3_600_250));
        check("PT1M", None);
        check("PTS", None);
        check("PT-1S", None);
        check("PT1e9S", None);
        check("PTinfS", None);
        check("PT1.5.2S", None);
        check(&format!("PT{}S", "9".repeat(30)), None);
        check("", None);
    }
}
