//! The messages that we send in the native protocol, member by member as the design lists them.

use std::fmt::Write as _;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::json::quoted;
use crate::opening::Known;
use crate::payload;

/// Who the messages are about, as quoted JSON strings, and what was counted so far.
#[derive(derive_more::Debug)]
pub(super) struct Words {
    stream_id: String,
    #[debug(skip)]
    caller_id: String,
    did: String,
    direction: String,
    chunk: u64,
    clock: Clock,
}

/// The second that was written last, so that it is not written anew for every frame.
#[derive(Debug, Default)]
struct Clock {
    second: Option<i64>,
    text: String,
}

impl Words {
    /// What the dialler did not say is an empty string, a stream without a name goes by `ours`.
    pub(super) fn new(known: &Known<'_>, ours: &str) -> Self {
        Self {
            stream_id: quoted(known.stream_id.unwrap_or(ours)),
            caller_id: quoted(known.caller_id.unwrap_or_default()),
            did: quoted(known.did.unwrap_or_default()),
            direction: quoted(known.call_direction.unwrap_or("incoming")),
            chunk: 0,
            clock: Clock::default(),
        }
    }

    pub(super) fn name_stream(&mut self, id: &str) {
        self.stream_id = quoted(id);
    }

    /// `behind`: whole frames that are ready to follow this one.
    pub(super) fn media(&mut self, wall: Timestamp, audio: &[u8], behind: usize) -> String {
        self.chunk += 1;
        let Self { stream_id, caller_id, did, direction, chunk, clock, .. } = self;
        let names = stream_id.len() + caller_id.len() + did.len() + direction.len();
        let mut text = String::with_capacity(240 + names + payload::encoded_len(audio.len()));
        let _ = write!(text, r#"{{"event":"reverse-media","chunk":{chunk},"did":{did},"payload":""#);
        payload::encode(audio, &mut text);
        // 16 bytes are a millisecond of 8 kHz linear audio.
        let _ = write!(
            text,
            r#"","timestamp":"{}","streamId":{stream_id},"callerId":{caller_id},"chunk_durn_ms":{},"callDirection":{direction},"encoding":"LINEAR","RevMediaQ":{behind},"source":"ai"}}"#,
            clock.at(wall),
            audio.len() / 16
        );
        text
    }

    /// Clears the dialler's buffer.
    pub(super) fn media_stop(&self) -> String {
        let Self { stream_id, caller_id, .. } = self;
        format!(r#"{{"event":"reverse-media-stop","callerId":{caller_id},"streamId":{stream_id}}}"#)
    }

    pub(super) fn hangup(&self) -> String {
        let Self { stream_id, caller_id, .. } = self;
        format!(
            r#"{{"event":"reverse-hangup-call","streamId":{stream_id},"callerId":{caller_id},"source":"ai","message":"Call ended by bot"}}"#
        )
    }

    pub(super) fn transfer(&self, to: &str) -> String {
        let Self { stream_id, caller_id, .. } = self;
        let to = quoted(to);
        format!(
            r#"{{"event":"reverse-call-transfer","streamId":{stream_id},"callerId":{caller_id},"transferTo":{to}}}"#
        )
    }

    /// Acknowledges a message of the dialler.
    pub(super) fn mark(&self, sequence: i64, name: &str) -> String {
        let stream_id = &self.stream_id;
        format!(r#"{{"event":"mark","sequenceNumber":"{sequence}","streamId":{stream_id},"mark":{{"name":"{name}"}}}}"#)
    }
}

impl Clock {
    /// `2026-04-24 14:30:00`, UTC.
    fn at(&mut self, wall: Timestamp) -> &str {
        let second = wall.as_second();
        if self.second != Some(second) {
            self.second = Some(second);
            self.text = wall.to_zoned(TimeZone::UTC).strftime("%Y-%m-%d %H:%M:%S").to_string();
        }
        &self.text
    }
}
