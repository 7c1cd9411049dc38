//! A call's row: what is queried about it, who owns it, what has yet to be done.
//! It must never hold what can grow (transcript, variables, analysis, bodies): that lies in the bucket, see `objects`.

use std::collections::BTreeSet;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::ToSchema;

use crate::ids::{BotId, CallId, Epoch, KeyId, Owner, ServerId, TrunkId};
use crate::outcome::EndReason;
use crate::retention::Kind;
use crate::secret::Personal;
use crate::variables::Fields;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    Outbound,
    Inbound,
}

/// Stages of a call's life; it only ever moves down this list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum CallState {
    Accepted,
    Dialing,
    Ringing,
    Answered,
    Ended,
}

impl CallState {
    /// Every state, in their order.
    pub const ALL: &[Self] = &[Self::Accepted, Self::Dialing, Self::Ringing, Self::Answered, Self::Ended];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Dialing => "dialing",
            Self::Ringing => "ringing",
            Self::Answered => "answered",
            Self::Ended => "ended",
        }
    }

    /// Whether a call in this state may move to `next`: forwards only.
    pub fn may_become(self, next: Self) -> bool {
        next > self
    }
}

/// What is left to do for an ended call; the sparse index `next_step` finds it when due.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum NextStep {
    /// `call-ended` must be sent (the recording may still be on its way).
    Announce,
    Analyze,
    /// Deliveries must be rendered and stored.
    Push,
}

impl NextStep {
    pub const ALL: &[Self] = &[Self::Announce, Self::Analyze, Self::Push];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Announce => "announce",
            Self::Analyze => "analyze",
            Self::Push => "push",
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum RecordingStatus {
    /// Not asked for, or the call never was answered.
    None,
    /// Ended, upload not through yet.
    Pending,
    Complete,
    /// Assembled from checkpoints after its server was lost.
    Partial,
    Lost,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum AnalysisStatus {
    Pending,
    Done,
    /// Nothing to analyse, or no prompt; `analysis_note` says which.
    Skipped,
    Failed,
}

/// One row of `Calls`.
#[derive(derive_more::Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct CallRow {
    pub call_id: CallId,
    pub bot_id: BotId,
    pub bot_version: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trunk_id: Option<TrunkId>,
    pub direction: Direction,
    /// E.164, the called number.
    #[schema(value_type = String)]
    pub to_number: Personal<String>,
    /// E.164 or as the carrier gave it, the calling number.
    #[schema(value_type = String)]
    pub from_number: Personal<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_id: Option<KeyId>,
    pub state: CallState,
    pub owner: Owner,
    /// When the permit was taken.
    pub started_at: Timestamp,
    /// Latest moment at which the call can still be alive; the control plane ends it after that.
    pub deadline: Timestamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ringing_at: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answered_at: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end_reason: Option<EndReason>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sip_code: Option<u16>,
    /// Answer to end, milliseconds.
    #[serde(default)]
    pub duration_ms: u64,
    pub recording_status: RecordingStatus,
    /// 128 random bits, hex; part of the stable recording URL.
    #[debug("***")]
    #[schema(ignore)]
    pub recording_token: String,
    /// Recording blocks of 30 s that are in the object store already.
    #[serde(default)]
    pub checkpoints: u32,
    pub analysis_status: AnalysisStatus,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disposition: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_step: Option<NextStep>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub due_at: Option<Timestamp>,
    /// Tries of the current step, for its ceiling.
    #[serde(default)]
    pub step_tries: u32,
    /// Names of unknown body fields, unresolved templates and the like; at most [`MAX_WARNINGS`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
    /// Classes of its data that are gone: their period is over, or the customer was erased.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub expired: BTreeSet<Kind>,
    /// When the customer was erased from it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub erased_at: Option<Timestamp>,
    /// What it was begun with, where the bucket did not take that: then the row is the only place that has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(ignore)]
    pub brought: Option<Brought>,
}

/// JSON texts of what a call was begun with, as they were received.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Brought {
    /// A dialout's `variables`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variables: Option<Personal<String>>,
    /// Custom `call.*` fields that the far side of an inbound call sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub custom: Option<Personal<String>>,
}

impl Brought {
    /// Longest text that a row takes, bytes: an item of the table ends at 400 kB, and it has more to hold.
    pub const MAX_TEXT: usize = 256 * 1024;

    /// The variables, if they are here and readable.
    pub fn variables(&self) -> Option<Box<RawValue>> {
        serde_json::from_str(&self.variables.as_ref()?.0).ok()
    }

    /// The custom fields, if they are here and readable.
    pub fn custom(&self) -> Option<Fields> {
        Fields::of_object(&self.custom.as_ref()?.0)
    }
}

/// What stands in place of the number of a customer who was erased.
pub const ERASED: &str = "erased";

/// Warnings kept on a call; further ones are dropped.
pub const MAX_WARNINGS: usize = 50;

impl CallRow {
    /// The customer's number: called outbound, calling inbound.
    pub fn customer_number(&self) -> &str {
        match self.direction {
            Direction::Outbound => &self.to_number.0,
            Direction::Inbound => &self.from_number.0,
        }
    }

    /// The date under which the call's objects lie: of its start, UTC.
    pub fn date(&self) -> jiff::civil::Date {
        self.started_at.to_zoned(jiff::tz::TimeZone::UTC).date()
    }
}

/// What `Calls` holds under an id that was refused for good: no call, no result, and never will be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FenceRow {
    pub call_id: CallId,
    pub refused: bool,
    pub fenced_at: Timestamp,
}

/// One forward step of a live call, written by its owner.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Advance {
    Dialing,
    Ringing {
        at: Timestamp,
    },
    Answered {
        at: Timestamp,
    },
    /// Checkpoint number `count` (1-based) of the recording is stored.
    Checkpoint {
        count: u32,
    },
}

/// What the end of a call writes, once.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Terminal {
    pub ended_at: Timestamp,
    #[serde(default)]
    pub answered_at: Option<Timestamp>,
    pub end_reason: EndReason,
    pub sip_code: Option<u16>,
    pub duration_ms: u64,
    pub recording_status: RecordingStatus,
    pub warnings: Vec<String>,
}

/// Who may write a call's end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Finisher {
    Owner(Owner),
    /// `reap`, for a server found dead; valid for this owner only.
    Reaper {
        dead: Owner,
    },
}

impl Finisher {
    pub fn owner(&self) -> &Owner {
        match self {
            Self::Owner(owner) | Self::Reaper { dead: owner } => owner,
        }
    }
}

/// The `open_on` index value of a live call.
pub fn open_on(server: &ServerId) -> String {
    server.as_str().to_owned()
}

/// The `bot_day` index value: `bot_id#yyyy-mm-dd#shard`.
pub fn bot_day(bot: &BotId, date: jiff::civil::Date, shard: u16) -> String {
    format!("{bot}#{date}#{shard}")
}

/// The `step` index value: `next_step#shard`.
pub fn step_shard(step: NextStep, shard: u16) -> String {
    format!("{}#{shard}", step.as_str())
}

/// Whether `row` belongs to an older incarnation of the server that now has `epoch`.
pub fn is_of_older_epoch(row: &CallRow, epoch: Epoch) -> bool {
    row.owner.epoch < epoch
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_only_move_forwards() {
        use CallState::*;
        let all = [Accepted, Dialing, Ringing, Answered, Ended];
        for (i, from) in all.iter().enumerate() {
            for (j, to) in all.iter().enumerate() {
                assert_eq!(from.may_become(*to), j > i, "{from:?} -> {to:?}");
            }
        }
    }
}
