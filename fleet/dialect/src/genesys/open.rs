//! `open`: who calls, and in which of the offered codings we talk. It must never choose audio without the customer in it.

use domain::call::Direction;
use serde::Serialize;

use super::{Genesys, Stage, Stream};
use crate::event::{Event, Opening, Out};
use crate::format::{Encoding, Format};
use crate::intake::Intake;
use crate::json::{Object, Value};
use crate::name::Name;
use crate::opening::{Collected, Known, direction_word};
use crate::violation::Violation;

const RATE: u32 = 8_000;
/// The customer's channel.
const EXTERNAL: &str = "external";

#[derive(Serialize)]
struct Opened<'a> {
    #[serde(rename = "startPaused")]
    start_paused: bool,
    media: [&'a Media; 1],
}

/// One of the offered media that we can use, with what else Genesys says of it left out.
#[derive(Debug, Serialize)]
struct Media {
    #[serde(rename = "type")]
    kind: &'static str,
    format: &'static str,
    channels: Vec<&'static str>,
    rate: u32,
}

impl Media {
    /// The best of what is offered; where nothing was said of media, what Genesys always has.
    fn best(offered: Option<&Value<'_>>) -> Option<Self> {
        let Some(offered) = offered else {
            return Some(Self { kind: "audio", format: "PCMU", channels: vec![EXTERNAL], rate: RATE });
        };
        let usable = offered.as_list()?.iter().filter_map(|offer| Self::usable(offer.as_object()?));
        usable.min_by_key(Self::worth)
    }

    /// Reads an offer; `None` when we can't use it.
    fn usable(offer: &Object<'_>) -> Option<Self> {
        let format = match offer.text("format")?.as_ref() {
            "PCMU" => "PCMU",
            "L16" => "L16",
            _ => return None,
        };
        let named = |channel: &Value<'_>| match channel.text()?.as_ref() {
            EXTERNAL => Some(EXTERNAL),
            "internal" => Some("internal"),
            _ => None,
        };
        let channels: Vec<_> = offer.get("channels")?.as_list()?.iter().map(named).collect::<Option<_>>()?;
        let usable = offer.text("type")? == "audio"
            && offer.number("rate") == Some(RATE.into())
            && matches!(channels.len(), 1 | 2)
            && channels.contains(&EXTERNAL);
        usable.then_some(Self { kind: "audio", format, channels, rate: RATE })
    }

    /// The less of it is thrown away, the better; 0 is best.
    fn worth(&self) -> usize {
        self.channels.len() * 2 + usize::from(self.format != "PCMU")
    }

    fn format(&self) -> Format {
        let encoding = if self.format == "PCMU" { Encoding::Mulaw } else { Encoding::L16 };
        Format::new(encoding, RATE)
    }

    fn intake(&self) -> Intake {
        let external = self.channels.iter().position(|channel| *channel == EXTERNAL).unwrap_or(0);
        Intake::one_of(self.format(), self.channels.len(), external)
    }
}

impl Genesys {
    pub(super) fn open(&mut self, parameters: Option<&Object<'_>>, out: &mut Out) -> Result<(), Violation> {
        let parameters = parameters.ok_or_else(|| Violation::protocol("open must have parameters"))?;
        let media = Media::best(parameters.get("media")).ok_or_else(|| {
            Violation::protocol("media must offer PCMU or L16 at 8000 Hz with the channel \"external\"")
        })?;
        let opening = self.opening(parameters, media.format())?;
        self.say("opened", &Opened { start_paused: false, media: [&media] }, out);
        if parameters.text("conversationId").is_some_and(|id| is_null_uuid(&id)) {
            self.stage = Stage::Probe;
            return Ok(());
        }
        self.stage = Stage::Open(Stream::new(media.intake(), media.format()));
        out.events.push_back(Event::Opened(Box::new(opening)));
        out.events.push_back(Event::Answered);
        Ok(())
    }

    fn opening(&self, parameters: &Object<'_>, format: Format) -> Result<Opening, Violation> {
        let participant = parameters.object("participant");
        let number = |name| participant?.first_text(&[name]).map(|word| bare(&word));
        let (caller, did) = (number("ani"), number("dnis"));
        let stream_id = self.numbers.id();
        let known = Known {
            caller_id: caller.as_deref(),
            did: did.as_deref(),
            stream_id: stream_id.as_deref(),
            call_direction: Some(direction_word(Direction::Inbound)),
        };
        let mut collected = Collected::default();
        // First those of the flow that was made for this bot, so that no name of Genesys' own takes their place.
        for name in ["inputVariables", "customConfig"] {
            if let Some(own) = parameters.object(name) {
                collected.object(own, &[])?;
            }
        }
        collected.object(parameters, &["media"])?;
        if let Some(participant) = participant {
            collected.object(participant, &["id"])?;
        }
        Ok(Opening {
            dialect: Name::Genesys,
            stream_id: stream_id.clone(),
            call_ref: parameters.first_text(&["conversationId"]),
            fields: collected.with(&known),
            caller,
            did,
            direction: Direction::Inbound,
            hears: format,
            plays: format,
            confirms_marks: false,
        })
    }
}

/// The number in `tel:+1555…` and `sip:+1555…@host`.
fn bare(word: &str) -> String {
    let word = word.strip_prefix("tel:").or_else(|| word.strip_prefix("sip:")).unwrap_or(word);
    word.split(['@', ';']).next().unwrap_or(word).to_owned()
}

fn is_null_uuid(id: &str) -> bool {
    !id.is_empty() && id.bytes().all(|byte| matches!(byte, b'0' | b'-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_come_bare() {
        for (word, expect) in [
            ("+1-555-555-1234", "+1-555-555-1234"),
            ("tel:+15555551234", "+15555551234"),
            ("sip:+15555551234@example.com;user=phone", "+15555551234"),
            ("", ""),
        ] {
            assert_eq!(bare(word), expect);
        }
    }
}
