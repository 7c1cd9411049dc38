//! How long what a call leaves is kept: the bot's rule, the classes of data, and how far the deleting has come.
//! It must never count from anything but a call's first day, UTC: that is what the index by day knows.

use std::collections::BTreeSet;

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Span, Timestamp};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::ids::CallId;

/// Longest period that can be set, days: a hundred years.
pub const MAX_DAYS: u32 = 36_525;
/// No call is older: where the deleting begins for a bot of which nobody knows since when it is there.
pub const FIRST_DAY: Date = Date::constant(2026, 1, 1);
/// Calls of one bot and class that may wait for something before the walk itself waits for them.
pub const MAX_LEFT: usize = 200;

/// Days for which a bot keeps what its calls leave, counted from the call's day; 0 keeps it for good.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct Retention {
    /// The WAV, and the pieces it was made of.
    pub recordings_days: u32,
    /// What was said, collected and analysed, rendered bodies, and what endpoints answered to them.
    pub transcripts_days: u32,
    /// What the dialout and the pre-fetch brought.
    pub variables_days: u32,
    /// The call itself with everything of it: numbers, times, deliveries, attempts.
    pub calls_days: u32,
}

/// A class of data, in the order in which they are deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = ExpiredKind)]
pub enum Kind {
    Recording,
    Transcript,
    Variables,
    Call,
}

impl Kind {
    pub const ALL: &[Self] = &[Self::Recording, Self::Transcript, Self::Variables, Self::Call];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Recording => "recording",
            Self::Transcript => "transcript",
            Self::Variables => "variables",
            Self::Call => "call",
        }
    }
}

impl Retention {
    /// Days for which a class is kept; `None` = for good.
    pub fn days(&self, kind: Kind) -> Option<u32> {
        let days = match kind {
            Kind::Recording => self.recordings_days,
            Kind::Transcript => self.transcripts_days,
            Kind::Variables => self.variables_days,
            Kind::Call => self.calls_days,
        };
        (days > 0).then_some(days)
    }

    /// The first day whose calls are still kept: of all days before, the class is due. `None` = nothing ever is.
    /// A call is kept for the whole of its days, whatever the hour it began.
    pub fn kept_from(&self, kind: Kind, now: Timestamp) -> Option<Date> {
        let days = self.days(kind)?;
        now.to_zoned(TimeZone::UTC).date().checked_sub(Span::new().days(i64::from(days.min(MAX_DAYS)))).ok()
    }

    /// Classes that would never be deleted by their own period, since the whole call goes before.
    pub fn outlived(&self) -> impl Iterator<Item = Kind> {
        let calls = self.calls_days;
        let rule = *self;
        Kind::ALL
            .iter()
            .copied()
            .filter(move |kind| *kind != Kind::Call && calls > 0 && rule.days(*kind).is_some_and(|days| days > calls))
    }
}

/// A place in the index by day.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    pub started_at: Timestamp,
    pub call_id: CallId,
}

/// How far the deleting of one class of one bot's data has come.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// All days before it are done, but for `left`.
    pub day: Date,
    /// Shards of that day before this one are done.
    pub shard: u16,
    /// In that shard, everything up to here is done.
    pub after: Option<Place>,
    /// Calls that were passed over: something of theirs was still under way, or unreadable.
    pub left: BTreeSet<CallId>,
    /// Rises with each write, so that of two walkers one notices the other.
    pub revision: u64,
}

impl Progress {
    /// Nothing is done yet; there are no calls before `day`.
    pub fn starting(day: Date) -> Self {
        Self { day, shard: 0, after: None, left: BTreeSet::new(), revision: 0 }
    }

    /// Goes on to the next of `shards` shards, or to the next day.
    pub fn next_shard(&mut self, shards: u16) {
        self.after = None;
        self.shard += 1;
        if self.shard >= shards {
            self.shard = 0;
            self.day = self.day.tomorrow().unwrap_or(self.day);
        }
    }
}

/// To which class an object of a call's folder belongs, by its name in the folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    Recording,
    /// Holds what was said and nothing else.
    Transcript,
    Variables,
    /// Holds both: it goes with the first of them.
    Both,
    /// The record: what is due of it is cut out, see [`crate::result::Record::without`].
    Record,
    /// Nothing we know: goes with the call.
    Unknown,
}

impl Part {
    /// Judges a name such as `checkpoint-00001.pcm`.
    pub fn of(name: &str) -> Self {
        match name {
            "recording.wav" => Self::Recording,
            "record.json" => Self::Record,
            "checkpoint-record.json" => Self::Both,
            "analysis.json" => Self::Transcript,
            "variables.json" | "custom.json" => Self::Variables,
            _ if name.starts_with("checkpoint-") => Self::Recording,
            _ if name.contains(".body.json") => Self::Both,
            _ => Self::Unknown,
        }
    }

    /// Whether the object goes when `kinds` are deleted. The record stays for what is left of it.
    pub fn goes_with(self, kinds: &BTreeSet<Kind>) -> bool {
        let any = |wanted: &[Kind]| wanted.iter().any(|kind| kinds.contains(kind));
        kinds.contains(&Kind::Call)
            || match self {
                Self::Recording => any(&[Kind::Recording]),
                Self::Transcript => any(&[Kind::Transcript]),
                Self::Variables => any(&[Kind::Variables]),
                Self::Both => any(&[Kind::Transcript, Kind::Variables]),
                Self::Record => [Kind::Transcript, Kind::Variables].iter().all(|kind| kinds.contains(kind)),
                Self::Unknown => false,
            }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_is_kept_for_the_whole_of_its_days() {
        let check = |days: u32, now: &str, expect: Option<&str>| {
            let rule = Retention { recordings_days: days, ..Retention::default() };
            let from = rule.kept_from(Kind::Recording, now.parse().unwrap());
            assert_eq!(from.map(|day| day.to_string()).as_deref(), expect, "{days} {now}");
        };
        check(0, "2026-03-10T12:00:00Z", None);
        check(1, "2026-03-10T00:00:00Z", Some("2026-03-09"));
        check(1, "2026-03-10T23:59:59Z", Some("2026-03-09"));
        check(30, "2026-03-01T12:00:00Z", Some("2026-01-30"));
        check(u32::MAX, "2026-03-01T12:00:00Z", Some("1926-03-01"));
    }

    #[test]
    fn what_the_call_takes_along_is_named() {
        let check = |rule: Retention, expect: &[Kind]| assert_eq!(rule.outlived().collect::<Vec<_>>(), expect);
        check(Retention::default(), &[]);
        check(Retention { recordings_days: 90, calls_days: 90, ..Retention::default() }, &[]);
        check(Retention { recordings_days: 91, calls_days: 90, ..Retention::default() }, &[Kind::Recording]);
        check(Retention { transcripts_days: 5, variables_days: 4, ..Retention::default() }, &[]);
    }

    #[test]
    fn objects_go_with_their_class() {
        use Kind::{Call, Recording, Transcript, Variables};
        let check = |name: &str, goes: &[Kind], stays: &[Kind]| {
            let part = Part::of(name);
            for kind in goes {
                assert!(part.goes_with(&BTreeSet::from([*kind])), "{name} {kind:?}");
            }
            for kind in stays {
                assert!(!part.goes_with(&BTreeSet::from([*kind])), "{name} {kind:?}");
            }
        };
        check("recording.wav", &[Recording, Call], &[Transcript, Variables]);
        check("checkpoint-00001.pcm", &[Recording, Call], &[Transcript, Variables]);
        check("checkpoint-record.json", &[Transcript, Variables, Call], &[Recording]);
        check("push.body.json.0011223344556677", &[Transcript, Variables, Call], &[Recording]);
        check("analysis.json", &[Transcript, Call], &[Recording, Variables]);
        check("variables.json", &[Variables, Call], &[Recording, Transcript]);
        check("custom.json", &[Variables, Call], &[Recording, Transcript]);
        check("record.json", &[Call], &[Recording, Transcript, Variables]);
        check("something-new", &[Call], &[Recording, Transcript, Variables]);
        assert!(Part::Record.goes_with(&BTreeSet::from([Transcript, Variables])));
    }

    #[test]
    fn a_walk_goes_through_every_shard_of_every_day() {
        let mut progress = Progress::starting(jiff::civil::date(2026, 2, 28));
        let mut seen = Vec::new();
        for _ in 0..3 {
            progress.next_shard(2);
            seen.push(format!("{} {}", progress.day, progress.shard));
        }
        assert_eq!(seen, ["2026-02-28 1", "2026-03-01 0", "2026-03-01 1"]);
    }
}
