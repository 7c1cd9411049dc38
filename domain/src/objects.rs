//! Names of a call's objects in the bucket: `calls/{yyyy}/{mm}/{dd}/{call_id}/…`.
//! It must never build a name from anything but a call's id and the date of its start.

use jiff::civil::Date;

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
