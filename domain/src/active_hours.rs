//! When a bot may call: weekly windows of local wall-clock time.
//! It must never read the host's time zone data: the bundled database makes every machine agree.

use std::fmt;
use std::sync::LazyLock;

use jiff::civil::{Date, Time, Weekday};
use jiff::tz::{AmbiguousOffset, TimeZone, TimeZoneDatabase};
use jiff::{Timestamp, ToSpan};
use serde::{Deserialize, Serialize};
use thiserror::Error;
use utoipa::ToSchema;

static ZONES: LazyLock<TimeZoneDatabase> = LazyLock::new(TimeZoneDatabase::bundled);

/// The IANA time zone of that name; `None` if there is none.
pub fn zone(name: &str) -> Option<TimeZone> {
    ZONES.get(name).ok()
}

/// A bot's time zone and the windows in which it is open.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ActiveHours {
    /// IANA name.
    #[serde(default = "kolkata")]
    pub timezone: String,
    /// Empty = always open.
    #[serde(default)]
    pub active_hours: Vec<Window>,
}

fn kolkata() -> String {
    "Asia/Kolkata".to_owned()
}

impl Default for ActiveHours {
    fn default() -> Self {
        Self { timezone: kolkata(), active_hours: Vec::new() }
    }
}

/// A half-open span of wall-clock time on some days; one that ends at or before its start runs into the next day.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Window {
    /// The days on which it starts.
    pub days: Vec<Day>,
    pub start: TimeOfDay,
    pub end: TimeOfDay,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Day {
    Mon,
    Tue,
    Wed,
    Thu,
    Fri,
    Sat,
    Sun,
}

impl Day {
    fn of(weekday: Weekday) -> Self {
        match weekday {
            Weekday::Monday => Self::Mon,
            Weekday::Tuesday => Self::Tue,
            Weekday::Wednesday => Self::Wed,
            Weekday::Thursday => Self::Thu,
            Weekday::Friday => Self::Fri,
            Weekday::Saturday => Self::Sat,
            Weekday::Sunday => Self::Sun,
        }
    }
}

/// Minutes since local midnight, 0..=1440; on the wire `HH:MM`, `24:00` being the end of the day.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[schema(value_type = String, pattern = "^([01][0-9]|2[0-3]):[0-5][0-9]$|^24:00$")]
#[serde(try_from = "String", into = "String")]
pub struct TimeOfDay(u16);

const DAY_MINUTES: u16 = 24 * 60;

impl TimeOfDay {
    /// Reads `HH:MM` from `00:00` to `24:00`.
    ///
    /// # Errors
    /// [`HoursError::Time`] for anything else.
    pub fn parse(text: &str) -> Result<Self, HoursError> {
        let bad = || HoursError::Time(text.chars().take(16).collect());
        let bytes = text.as_bytes();
        let digits = |at: usize| bytes[at..at + 2].iter().all(u8::is_ascii_digit);
        if bytes.len() != 5 || bytes[2] != b':' || !digits(0) || !digits(3) {
            return Err(bad());
        }
        let number = |at: usize| u16::from(bytes[at] - b'0') * 10 + u16::from(bytes[at + 1] - b'0');
        let (hours, minutes) = (number(0), number(3));
        if minutes > 59 || hours * 60 + minutes > DAY_MINUTES {
            return Err(bad());
        }
        Ok(Self(hours * 60 + minutes))
    }
}

impl fmt::Display for TimeOfDay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02}:{:02}", self.0 / 60, self.0 % 60)
    }
}

impl TryFrom<String> for TimeOfDay {
    type Error = HoursError;
    fn try_from(text: String) -> Result<Self, HoursError> {
        Self::parse(&text)
    }
}

impl From<TimeOfDay> for String {
    fn from(time: TimeOfDay) -> String {
        time.to_string()
    }
}

/// What is wrong with active hours.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum HoursError {
    #[error("{0:?} is no IANA time zone")]
    Zone(String),
    #[error("a time of day is HH:MM from 00:00 to 24:00, not {0:?}")]
    Time(String),
    #[error("window {0} has no days")]
    NoDays(usize),
    #[error("window {0} starts and ends at the same time; 00:00 to 24:00 is a whole day")]
    Empty(usize),
    #[error("window {0} starts at 24:00; the next day's 00:00 is meant")]
    StartsAtEndOfDay(usize),
    #[error("there are more than 100 windows")]
    TooMany,
}

impl ActiveHours {
    /// Judges zone and windows.
    ///
    /// # Errors
    /// The first thing that is wrong; windows count from 0.
    pub fn validate(&self) -> Result<(), HoursError> {
        if zone(&self.timezone).is_none() {
            return Err(HoursError::Zone(self.timezone.chars().take(64).collect()));
        }
        if self.active_hours.len() > 100 {
            return Err(HoursError::TooMany);
        }
        for (index, window) in self.active_hours.iter().enumerate() {
            if window.days.is_empty() {
                return Err(HoursError::NoDays(index));
            }
            if window.start == window.end {
                return Err(HoursError::Empty(index));
            }
            if window.start.0 == DAY_MINUTES {
                return Err(HoursError::StartsAtEndOfDay(index));
            }
        }
        Ok(())
    }

    /// Whether the local clock at `at` stands in a window. By the clock's reading: an hour that the clock skips is
    /// never open, one that it repeats is open (or closed) both times. An unknown zone is never open.
    pub fn is_open(&self, at: Timestamp) -> bool {
        if self.active_hours.is_empty() {
            return true;
        }
        zone(&self.timezone).is_some_and(|zone| self.is_open_in(&zone, at))
    }

    fn is_open_in(&self, zone: &TimeZone, at: Timestamp) -> bool {
        let local = zone.to_datetime(at);
        let today = Day::of(local.date().weekday());
        let yesterday = local.date().yesterday().map(|date| Day::of(date.weekday())).unwrap_or(today);
        let minute = i64::from(local.hour()) * 60 + i64::from(local.minute());
        self.active_hours.iter().any(|window| window.holds(today, yesterday, minute))
    }

    /// The first moment at or after `at` that is open; `None` if there is none within two weeks and a day.
    pub fn next_open(&self, at: Timestamp) -> Option<Timestamp> {
        if self.active_hours.is_empty() {
            return Some(at);
        }
        let zone = zone(&self.timezone)?;
        if self.is_open_in(&zone, at) {
            return Some(at);
        }
        // Opening happens at a window's start, or where the clock jumps into a window.
        let until = at.checked_add((15 * 24).hours()).ok()?;
        let jumps = zone.following(at).map(|jump| jump.timestamp()).take_while(|&jump| jump <= until).take(4);
        let first = zone.to_datetime(at).date();
        let starts = first.series(1.day()).take(16).flat_map(|date| self.starts_on(&zone, date));
        jumps.chain(starts).filter(|&moment| moment >= at && self.is_open_in(&zone, moment)).min()
    }

    fn starts_on<'a>(&'a self, zone: &'a TimeZone, date: Date) -> impl Iterator<Item = Timestamp> + 'a {
        let day = Day::of(date.weekday());
        self.active_hours.iter().filter(move |window| window.days.contains(&day)).flat_map(move |window| {
            let local = date.to_datetime(window.start.as_time());
            let offsets = match zone.to_ambiguous_timestamp(local).offset() {
                AmbiguousOffset::Unambiguous { offset } => [Some(offset), None],
                AmbiguousOffset::Fold { before, after } => [Some(before), Some(after)],
                // The clock never shows this time; the jump over it is a candidate of its own.
                AmbiguousOffset::Gap { .. } => [None, None],
            };
            offsets.into_iter().flatten().filter_map(move |offset| offset.to_timestamp(local).ok())
        })
    }
}

impl TimeOfDay {
    fn as_time(self) -> Time {
        // 24:00 is refused as a start, and only starts are asked for.
        Time::new((self.0 / 60 % 24) as i8, (self.0 % 60) as i8, 0, 0).unwrap_or(Time::MIN)
    }
}

impl Window {
    fn holds(&self, today: Day, yesterday: Day, minute: i64) -> bool {
        let (start, end) = (i64::from(self.start.0), i64::from(self.end.0));
        if start < end {
            return self.days.contains(&today) && (start..end).contains(&minute);
        }
        (self.days.contains(&today) && minute >= start) || (self.days.contains(&yesterday) && minute < end)
    }
}

#[cfg(test)]
mod tests;
