//! Names of a call's objects in the bucket: `calls/{yyyy}/{mm}/{dd}/{call_id}/…`.
//! It must never build a name from anything but a call's id and the date of its start.

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;

use crate::delivery::Channel;
use crate::ids::CallId;

/// The folder of one call's objects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CallObjects {
    pub date: Date,
    pub call_id: CallId,
}

impl CallObjects {
    pub fn of(row: &crate::call::CallRow) -> Self {
        Self { date: row.date(), call_id: row.call_id }
    }

    /// Of a call that began in the very millisecond in which its id was made, as one that came in does.
    pub fn of_id(call_id: CallId) -> Self {
        let ms = i64::try_from(call_id.unix_ms()).unwrap_or_default();
        let date = Timestamp::from_millisecond(ms).unwrap_or_default().to_zoned(TimeZone::UTC).date();
        Self { date, call_id }
    }

    /// What the names of all of the call's objects begin with.
    pub fn folder(self) -> String {
        let d = self.date;
        format!("calls/{:04}/{:02}/{:02}/{}/", d.year(), d.month(), d.day(), self.call_id)
    }

    fn key(self, name: &str) -> String {
        format!("{}{name}", self.folder())
    }

    /// What the dialout sent, as it was received; written before the call is accepted.
    pub fn variables(self) -> String {
        self.key("variables.json")
    }

    /// The custom `call.*` fields of a call that came in; written before its row.
    pub fn custom(self) -> String {
        self.key("custom.json")
    }

    /// [`crate::result::Record`].
    pub fn record(self) -> String {
        self.key("record.json")
    }

    /// The finished WAV.
    pub fn recording(self) -> String {
        self.key("recording.wav")
    }

    /// Checkpoint `number` (1-based) of a recording under way: headerless s16le stereo 8 kHz.
    pub fn checkpoint(self, number: u32) -> String {
        self.key(&format!("checkpoint-{number:05}.pcm"))
    }

    /// What was said up to the last checkpoint: a [`crate::result::Record`].
    pub fn checkpoint_record(self) -> String {
        self.key("checkpoint-record.json")
    }

    pub fn analysis(self) -> String {
        self.key("analysis.json")
    }

    /// The exact bytes that `channel` delivers.
    pub fn body(self, channel: Channel) -> String {
        self.key(&format!("{}.body.json", channel.as_str()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_folder_of_a_call_is_known_from_its_id() {
        let check = |at: &str, expect: &str| {
            let at: Timestamp = at.parse().unwrap();
            let call_id = CallId::from_parts(at.as_millisecond().unsigned_abs(), [7; 10]);
            assert_eq!(CallObjects::of_id(call_id).folder(), format!("calls/{expect}/{call_id}/"));
        };
        check("2026-03-09T23:59:59.999Z", "2026/03/09");
        check("2026-03-10T00:00:00Z", "2026/03/10");
    }
}
