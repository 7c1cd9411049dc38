//! Lists of calls: what a query asks for, which rows it admits, and where the next page begins.
//! It must never say whose calls are listed: that is the reader's scope, taken anew for every page.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use sha2::{Digest, Sha256};

use crate::call::{CallRow, CallState};
use crate::field_error::FieldError;
use crate::ids::{BotId, CallId, KeyId, TrunkId};
use crate::outcome::EndReason;

/// Calls a page when the query says nothing, and at most.
pub const LIMIT_DEFAULT: usize = 50;
pub const LIMIT_MAX: usize = 100;
/// How far back a list goes that names no `from`: older calls are there for who asks for them.
const DEFAULT_SPAN: SignedDuration = SignedDuration::from_hours(31 * 24);
/// Servers' clocks may be ahead of ours by this much; their calls are listed all the same.
const AHEAD: SignedDuration = SignedDuration::from_secs(60);

/// Parameters that every reader may use.
pub const CLIENT_PARAMETERS: &[&str] = &["bot_id", "state", "from", "to", "cursor", "limit"];
/// Parameters of admins.
pub const ADMIN_PARAMETERS: &[&str] =
    &["bot_id", "state", "from", "to", "cursor", "limit", "disposition", "end_reason", "trunk_id"];

/// Where a call stands among all: by its start, then by its id. Lists run downwards.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CallPosition {
    /// Unix time, milliseconds.
    pub started_ms: i64,
    pub call_id: CallId,
}

impl CallPosition {
    pub fn of(row: &CallRow) -> Self {
        Self { started_ms: row.started_at.as_millisecond(), call_id: row.call_id }
    }

    /// The position after which everything started before `at`.
    pub fn start_of(at: Timestamp) -> Self {
        Self { started_ms: at.as_millisecond(), call_id: CallId::NIL }
    }

    /// The position after which everything started before that day (UTC).
    pub fn start_of_day(date: Date) -> Self {
        let start = date.to_zoned(TimeZone::UTC).map_or(Timestamp::MIN, |midnight| midnight.timestamp());
        Self::start_of(start)
    }

    /// The day (UTC) of the newest call that can stand before this.
    pub fn newest_day(&self) -> Date {
        let ms = if self.call_id == CallId::NIL { self.started_ms.saturating_sub(1) } else { self.started_ms };
        let at = Timestamp::from_millisecond(ms).unwrap_or(Timestamp::MIN);
        at.to_zoned(TimeZone::UTC).date()
    }
}

/// Which of the listed calls are wanted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CallFilter {
    pub state: Option<CallState>,
    pub disposition: Option<String>,
    pub end_reason: Option<EndReason>,
    pub trunk_id: Option<TrunkId>,
}

impl CallFilter {
    pub fn admits(&self, row: &CallRow) -> bool {
        self.state.is_none_or(|state| row.state == state)
            && self.disposition.as_ref().is_none_or(|word| row.disposition.as_ref() == Some(word))
            && self.end_reason.is_none_or(|reason| row.end_reason == Some(reason))
            && self.trunk_id.as_ref().is_none_or(|trunk| row.trunk_id.as_ref() == Some(trunk))
    }

    /// Whether it admits every call.
    pub fn is_open(&self) -> bool {
        *self == Self::default()
    }
}

/// A query, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallQuery {
    pub bot_id: Option<BotId>,
    pub filter: CallFilter,
    /// The earliest start that is listed.
    pub from: Timestamp,
    /// Only calls before this position.
    pub before: CallPosition,
    pub limit: usize,
    mark: Mark,
}

impl CallQuery {
    /// Reads the parameters of `reader`'s query, of which `known` are allowed.
    ///
    /// # Errors
    /// Everything that is wrong with them, at once.
    pub fn parse(
        pairs: &[(String, String)],
        known: &[&str],
        reader: &KeyId,
        now: Timestamp,
    ) -> Result<Self, Vec<FieldError>> {
        let mut parameters = Parameters { pairs, errors: Vec::new() };
        parameters.judge_names(known);
        let bot_id = parameters.read("bot_id", |text| BotId::parse(text).map_err(|e| e.to_string()));
        let filter = parameters.filter();
        let from = parameters.read("from", moment);
        let to = parameters.read("to", moment);
        let limit = parameters.read("limit", limit);
        let mark = Mark::of(reader, pairs);
        let cursor = parameters.read("cursor", |text| mark.position(text).ok_or_else(|| CURSOR.to_owned()));
        if let (Some(from), Some(to)) = (from, to)
            && from >= to
        {
            parameters.errors.push(FieldError::query("from", "value_error", "`from` lies before `to`"));
        }
        if !parameters.errors.is_empty() {
            return Err(parameters.errors);
        }
        let upper = to.unwrap_or_else(|| now.saturating_add(AHEAD).unwrap_or(now));
        let end = CallPosition::start_of(upper);
        Ok(Self {
            bot_id,
            filter,
            from: from.unwrap_or_else(|| upper.saturating_sub(DEFAULT_SPAN).unwrap_or(Timestamp::UNIX_EPOCH)),
            before: cursor.map_or(end, |cursor| cursor.min(end)),
            limit: limit.unwrap_or(LIMIT_DEFAULT),
            mark,
        })
    }

    /// What a client sends to have the calls before `position`, with the same query otherwise.
    pub fn cursor(&self, position: &CallPosition) -> String {
        self.mark.cursor(position)
    }
}

const CURSOR: &str =
    "not a cursor of this list: send `next_cursor` as it was answered, with the same key and parameters";

struct Parameters<'a> {
    pairs: &'a [(String, String)],
    errors: Vec<FieldError>,
}

impl<'a> Parameters<'a> {
    fn judge_names(&mut self, known: &[&str]) {
        for (index, (name, _)) in self.pairs.iter().enumerate() {
            let shown: String = name.chars().take(64).collect();
            if !known.contains(&name.as_str()) {
                let msg = format!("unknown parameter; there are {}", known.join(", "));
                self.errors.push(FieldError::query(&shown, "extra_forbidden", msg));
            } else if self.pairs[..index].iter().any(|(earlier, _)| earlier == name) {
                self.errors.push(FieldError::query(&shown, "too_many", "given more than once"));
            }
        }
    }

    /// The value of `name`; `None` when it is not there or wrong, which is noted.
    fn read<T>(&mut self, name: &str, parse: impl FnOnce(&'a str) -> Result<T, String>) -> Option<T> {
        let (_, text) = self.pairs.iter().find(|(given, _)| given == name)?;
        match parse(text) {
            Ok(value) => Some(value),
            Err(msg) => {
                self.errors.push(FieldError::query(name, "value_error", msg));
                None
            }
        }
    }

    fn filter(&mut self) -> CallFilter {
        CallFilter {
            state: self.read("state", |text| word(text, CallState::ALL, |state| state.as_str())),
            disposition: self.read("disposition", |text| match text.chars().count() {
                1..=256 => Ok(text.to_owned()),
                _ => Err("a disposition has 1 to 256 characters".to_owned()),
            }),
            end_reason: self.read("end_reason", |text| word(text, EndReason::ALL, |reason| reason.as_str())),
            trunk_id: self.read("trunk_id", |text| TrunkId::parse(text).map_err(|e| e.to_string())),
        }
    }
}

fn word<T: Copy>(text: &str, all: &[T], name: impl Fn(T) -> &'static str) -> Result<T, String> {
    let found = all.iter().copied().find(|value| name(*value) == text);
    found.ok_or_else(|| format!("one of {}", all.iter().map(|value| name(*value)).collect::<Vec<_>>().join(", ")))
}

fn limit(text: &str) -> Result<usize, String> {
    let digits = !text.is_empty() && text.len() <= 9 && text.bytes().all(|b| b.is_ascii_digit());
    let number = digits.then(|| text.parse().ok()).flatten().filter(|number| (1..=LIMIT_MAX).contains(number));
    number.ok_or_else(|| format!("a whole number from 1 to {LIMIT_MAX}"))
}

/// An RFC 3339 moment, or a day, which is its midnight UTC.
fn moment(text: &str) -> Result<Timestamp, String> {
    // A `+` that was not written %2B arrives as a space.
    let text = text.replace(' ', "+");
    let day = || text.parse::<Date>().ok()?.to_zoned(TimeZone::UTC).ok().map(|midnight| midnight.timestamp());
    let shape = || "an RFC 3339 moment (2026-05-01T09:30:00Z) or a day (2026-05-01, from midnight UTC)".to_owned();
    let found = if text.len() == 10 { day() } else { text.parse().ok() };
    // Beyond these, days could not be counted.
    found.filter(|at: &Timestamp| (0..=253_000_000_000).contains(&at.as_second())).ok_or_else(shape)
}

/// Ties a cursor to its reader and query, so that one sent elsewhere is a mistake that is told. It guards nothing:
/// a forged cursor shows its reader another page of what that reader may see.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Mark([u8; 8]);

/// The version of the form, the start, the call's id, the mark.
const CURSOR_BYTES: usize = 1 + 8 + 16 + 8;
const CURSOR_VERSION: u8 = 1;

impl Mark {
    fn of(reader: &KeyId, pairs: &[(String, String)]) -> Self {
        let mut asked: Vec<&(String, String)> =
            pairs.iter().filter(|(name, _)| name != "cursor" && name != "limit").collect();
        asked.sort();
        let mut hash = Sha256::new_with_prefix(reader.as_str());
        for (name, value) in asked {
            for part in [name, value] {
                hash.update((part.len() as u64).to_be_bytes());
                hash.update(part);
            }
        }
        let mut mark = [0; 8];
        mark.copy_from_slice(&hash.finalize()[..8]);
        Self(mark)
    }

    fn cursor(self, position: &CallPosition) -> String {
        let mut bytes = Vec::with_capacity(CURSOR_BYTES);
        bytes.push(CURSOR_VERSION);
        bytes.extend(position.started_ms.to_be_bytes());
        bytes.extend(position.call_id.as_bytes());
        bytes.extend(self.0);
        URL_SAFE_NO_PAD.encode(bytes)
    }

    fn position(self, cursor: &str) -> Option<CallPosition> {
        let bytes: [u8; CURSOR_BYTES] = URL_SAFE_NO_PAD.decode(cursor).ok()?.try_into().ok()?;
        let (started, rest) = bytes[1..].split_first_chunk::<8>()?;
        let (id, mark) = rest.split_first_chunk::<16>()?;
        let ours = bytes[0] == CURSOR_VERSION && mark == self.0;
        ours.then(|| CallPosition { started_ms: i64::from_be_bytes(*started), call_id: CallId::from_bytes(*id) })
    }
}

#[cfg(test)]
mod tests;
