//! What each carrier sends, and what the bot does, in the same order for both sides.

use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use dialect::{Encoding, Format, Frame};
use serde_json::{Value, json};

/// One thing that happens, to both sides.
#[derive(Debug)]
pub(super) enum Step {
    /// A message of the carrier's, as its fixture has it.
    Hear(&'static str),
    /// Every byte value as audio of the carrier's.
    HearAudio,
    HearKey(char),
    /// As much audio as the protocol puts into one message.
    SayAudio,
    Interrupt,
    End,
}

/// A carrier that pipecat knows.
#[derive(Debug)]
pub(super) struct Carrier {
    pub(super) name: &'static str,
    pub(super) format: Format,
    /// Milliseconds of a message of ours.
    pub(super) chunk_ms: u32,
    /// Their `parse_telephony_websocket` knows it.
    pub(super) is_told: bool,
    pub(super) steps: &'static [Step],
    /// Members that only we send, with why beside them.
    pub(super) only_ours: &'static [&'static str],
    /// Members whose values may differ, with why beside them.
    pub(super) free: &'static [&'static str],
}

const MULAW: Format = Format::new(Encoding::Mulaw, 8_000);

macro_rules! conversation {
    ($($first:literal),*) => {
        &[
            $(Step::Hear($first),)*
            Step::HearAudio,
            Step::HearKey('0'), Step::HearKey('1'), Step::HearKey('2'), Step::HearKey('3'), Step::HearKey('4'),
            Step::HearKey('5'), Step::HearKey('6'), Step::HearKey('7'), Step::HearKey('8'), Step::HearKey('9'),
            Step::HearKey('*'), Step::HearKey('#'),
            Step::SayAudio,
            Step::Interrupt,
            Step::SayAudio,
        ]
    };
}

pub(super) const CARRIERS: &[Carrier] = &[
    Carrier {
        name: "twilio",
        format: MULAW,
        chunk_ms: 20,
        is_told: true,
        steps: conversation!("in-01-connected.json", "in-02-start.json"),
        only_ours: &[],
        free: &[],
    },
    Carrier {
        name: "exotel",
        format: Format::new(Encoding::L16, 8_000),
        chunk_ms: 200,
        is_told: true,
        steps: conversation!("in-01-connected.json", "in-02-start.json"),
        only_ours: &[],
        free: &[],
    },
    Carrier {
        name: "plivo",
        format: MULAW,
        chunk_ms: 20,
        is_told: true,
        steps: conversation!("in-01-start.json", "in-02-media.json"),
        only_ours: &[],
        free: &[],
    },
    Carrier {
        name: "telnyx",
        format: MULAW,
        chunk_ms: 20,
        is_told: true,
        steps: conversation!("in-01-connected.json", "in-02-start.json"),
        only_ours: &[],
        free: &[],
    },
    Carrier {
        name: "vonage",
        format: Format::new(Encoding::L16, 16_000),
        chunk_ms: 20,
        is_told: false,
        steps: conversation!("in-01-connected.json"),
        only_ours: &[],
        free: &[],
    },
    Carrier {
        name: "genesys",
        format: MULAW,
        chunk_ms: 200,
        is_told: false,
        steps: &[
            Step::Hear("in-01-open.json"),
            Step::HearAudio,
            Step::Hear("in-03-ping.json"),
            Step::Hear("in-04-dtmf.json"),
            Step::SayAudio,
            Step::Interrupt,
            Step::SayAudio,
            Step::End,
        ],
        // Genesys' own types have it in every message; they leave it out where it would be empty.
        only_ours: &[".parameters"],
        // They write "PT1.200S" for "PT1.2S"; their flow goes on with "transfer" unless told otherwise.
        free: &[".position", ".parameters.outputVariables.action"],
    },
];

impl Carrier {
    /// What the carrier sends at this step, if it does.
    pub(super) fn message(&self, step: &Step) -> Option<Frame> {
        match step {
            Step::Hear(file) => Some(Frame::Text(self.fixture(file))),
            Step::HearAudio => Some(self.audio(&self.every_value())),
            Step::HearKey(key) => Some(self.key(*key)),
            Step::SayAudio | Step::Interrupt | Step::End => None,
        }
    }

    /// Every byte value; of linear audio, samples from the whole range.
    fn every_value(&self) -> Vec<u8> {
        match self.format.encoding {
            Encoding::L16 => pcm(640).into_iter().flat_map(i16::to_le_bytes).collect(),
            _ => (0..=255).chain((0..=255).rev()).collect(),
        }
    }

    /// What the bot says in one message, as linear samples.
    pub(super) fn speech(&self) -> Vec<i16> {
        pcm((self.format.rate * self.chunk_ms / 1000) as usize)
    }

    fn audio(&self, bytes: &[u8]) -> Frame {
        let payload = STANDARD.encode(bytes);
        let message = match self.name {
            "twilio" => json!({"event": "media", "sequenceNumber": "3", "streamSid": self.stream(),
                "media": {"track": "inbound", "chunk": "1", "timestamp": "5", "payload": payload}}),
            "exotel" => json!({"event": "media", "sequence_number": "3", "stream_sid": self.stream(),
                "media": {"chunk": "2", "timestamp": "200", "payload": payload}}),
            "plivo" => json!({"event": "media", "sequenceNumber": 3, "streamId": self.stream(),
                "media": {"track": "inbound", "chunk": 3, "timestamp": "1777041000060", "payload": payload}}),
            "telnyx" => json!({"event": "media", "sequence_number": "2", "stream_id": self.stream(),
                "media": {"track": "inbound", "chunk": "1", "timestamp": "5", "payload": payload}}),
            _ => return Frame::Binary(bytes.to_vec().into()),
        };
        Frame::Text(message.to_string())
    }

    fn key(&self, key: char) -> Frame {
        let key = key.to_string();
        let message = match self.name {
            "twilio" => json!({"event": "dtmf", "streamSid": self.stream(), "sequenceNumber": "5",
                "dtmf": {"track": "inbound_track", "digit": key}}),
            "exotel" => json!({"event": "dtmf", "sequence_number": "7", "stream_sid": self.stream(),
                "dtmf": {"digit": key, "duration": "100"}}),
            "plivo" => json!({"event": "dtmf", "streamId": self.stream(), "sequenceNumber": 5,
                "dtmf": {"track": "inbound", "digit": key, "timestamp": "1777041000160"}}),
            "telnyx" => json!({"event": "dtmf", "stream_id": self.stream(), "occurred_at": "2026-04-24T14:30:00Z",
                "dtmf": {"digit": key}}),
            _ => json!({"event": "websocket:dtmf", "digit": key, "duration": 260}),
        };
        Frame::Text(message.to_string())
    }

    /// The name of the stream, where the protocol has one.
    fn stream(&self) -> String {
        let start = |file: &str| serde_json::from_str::<Value>(&self.fixture(file)).unwrap();
        let name = match self.name {
            "twilio" => start("in-02-start.json")["streamSid"].clone(),
            "exotel" => start("in-02-start.json")["stream_sid"].clone(),
            "plivo" => start("in-01-start.json")["start"]["streamId"].clone(),
            "telnyx" => start("in-02-start.json")["stream_id"].clone(),
            _ => Value::Null,
        };
        name.as_str().unwrap_or_default().to_owned()
    }

    fn fixture(&self, file: &str) -> String {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fleet/dialect/tests/fixtures").join(self.name);
        std::fs::read_to_string(folder.join(file)).unwrap_or_else(|error| panic!("{}/{file}: {error}", self.name))
    }

    /// The first two messages, for who calls.
    pub(super) fn firsts(&self) -> Value {
        let texts = self.steps.iter().filter_map(|step| match step {
            Step::Hear(file) => Some(self.fixture(file)),
            _ => None,
        });
        texts.take(2).collect()
    }

    /// The same for the other side.
    pub(super) fn case(&self) -> Value {
        let call = json!("call");
        let stream = json!(self.stream());
        let (arguments, params) = match self.name {
            "twilio" => (json!({"stream_sid": stream, "call_sid": call}), json!({"auto_hang_up": false})),
            "exotel" => (json!({"stream_sid": stream}), json!({"exotel_sample_rate": self.format.rate})),
            "plivo" => (json!({"stream_id": stream, "call_id": call}), json!({"auto_hang_up": false})),
            "telnyx" => (
                json!({"stream_id": stream, "inbound_encoding": "PCMU", "outbound_encoding": "PCMU"}),
                json!({"auto_hang_up": false}),
            ),
            "vonage" => (json!({}), json!({"vonage_sample_rate": self.format.rate})),
            _ => (json!({}), json!({})),
        };
        let steps: Vec<Value> = self.steps.iter().map(|step| self.asked(step)).collect();
        json!({"serializer": self.name, "arguments": arguments, "params": params, "rate": self.format.rate, "steps": steps})
    }

    fn asked(&self, step: &Step) -> Value {
        match (self.message(step), step) {
            (Some(Frame::Text(text)), _) => json!({ "text": text }),
            (Some(Frame::Binary(bytes)), _) => json!({ "binary": STANDARD.encode(bytes) }),
            (None, Step::SayAudio) => {
                let bytes: Vec<u8> = self.speech().into_iter().flat_map(i16::to_le_bytes).collect();
                json!({ "audio": STANDARD.encode(bytes) })
            }
            (None, Step::Interrupt) => json!({ "interrupt": true }),
            (None, _) => json!({ "end": true }),
        }
    }
}

/// Samples all over the range, in no order.
fn pcm(count: usize) -> Vec<i16> {
    (0..count).map(|n| (n as u32).wrapping_mul(40_503).wrapping_add(17) as u16 as i16).collect()
}
