//! What a dialler says before the first word, collected from wherever its protocol puts it. It must never lose a field, and
//! never take more of them than a dialout may have.

use domain::call::Direction;
use domain::variables::{Fields, MAX_KEYS, MAX_TEXT};
use serde_json::value::{RawValue, to_raw_value};

use crate::event::Opening;
use crate::format::Format;
use crate::json::Object;
use crate::name::Name;
use crate::violation::Violation;

/// Carriers that tell no numbers have them passed on by parameters and headers; under these names, usually.
pub(crate) const CALLER: &[&str] = &["caller_id", "callerId", "from", "From", "from_number", "caller"];
pub(crate) const CALLED: &[&str] = &["did", "to", "To", "to_number", "called"];
pub(crate) const DIRECTION: &[&str] = &["call_direction", "callDirection", "direction", "Direction"];

/// Fields for `call.*`; what is said first under a name stands.
#[derive(Debug, Default)]
pub(crate) struct Collected {
    fields: Fields,
    bytes: usize,
}

/// What every protocol has in some form, under the names that prompts use for all of them.
#[derive(Debug, Default)]
pub(crate) struct Known<'a> {
    pub(crate) caller_id: Option<&'a str>,
    pub(crate) did: Option<&'a str>,
    pub(crate) stream_id: Option<&'a str>,
    pub(crate) call_direction: Option<&'a str>,
}

impl Collected {
    /// Adds the members of `object` that are not `but`, as they were written.
    pub(crate) fn object(&mut self, object: &Object<'_>, but: &[&str]) -> Result<(), Violation> {
        for (name, value) in object.members().filter(|(name, _)| !but.contains(name)) {
            self.add(name, value.raw().to_owned())?;
        }
        Ok(())
    }

    /// Adds a text.
    pub(crate) fn text(&mut self, name: &str, value: &str) -> Result<(), Violation> {
        match to_raw_value(value) {
            Ok(raw) => self.add(name, raw),
            Err(_) => Ok(()),
        }
    }

    fn add(&mut self, name: &str, raw: Box<RawValue>) -> Result<(), Violation> {
        if self.fields.get(name).is_some() {
            return Ok(());
        }
        self.bytes += name.len() + raw.get().len();
        if self.bytes > MAX_TEXT {
            return Err(Violation::too_big("custom fields have at most 65536 bytes"));
        }
        if self.fields.len() == MAX_KEYS {
            return Err(Violation::protocol("more than 256 custom fields"));
        }
        self.fields.set(name, raw);
        Ok(())
    }

    /// All fields, with the known ones under their common names.
    pub(crate) fn with(mut self, known: &Known<'_>) -> Fields {
        let named = [
            ("caller_id", known.caller_id),
            ("did", known.did),
            ("stream_id", known.stream_id),
            ("call_direction", known.call_direction),
        ];
        for (name, value) in named {
            if let Some(value) = value
                && self.fields.get(name).is_none()
            {
                self.fields.set_text(name, value);
            }
        }
        self.fields
    }
}

/// What a carrier's `start` says of the call itself.
#[derive(Debug)]
pub(crate) struct Introduction {
    pub(crate) stream: String,
    /// The carrier's own id of the call.
    pub(crate) call: Option<String>,
    pub(crate) caller: Option<String>,
    pub(crate) did: Option<String>,
    pub(crate) direction: Direction,
}

impl Introduction {
    /// The call of a carrier that gives marks back.
    pub(crate) fn opening(self, dialect: Name, fields: Collected, hears: Format, plays: Format) -> Opening {
        let known = Known {
            caller_id: self.caller.as_deref(),
            did: self.did.as_deref(),
            stream_id: Some(&self.stream),
            call_direction: Some(direction_word(self.direction)),
        };
        Opening {
            dialect,
            fields: fields.with(&known),
            stream_id: Some(self.stream),
            call_ref: self.call,
            caller: self.caller,
            did: self.did,
            direction: self.direction,
            hears,
            plays,
            confirms_marks: true,
        }
    }
}

/// Who called whom, in the words of any dialler: the customer called unless the dialler says otherwise.
pub(crate) fn direction(word: Option<&str>) -> Direction {
    let word = word.unwrap_or_default().trim().to_ascii_lowercase();
    if word.starts_with("out") { Direction::Outbound } else { Direction::Inbound }
}

/// `direction` as the native protocol words it.
pub(crate) fn direction_word(direction: Direction) -> &'static str {
    match direction {
        Direction::Inbound => "incoming",
        Direction::Outbound => "outgoing",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn collected(texts: &[&str]) -> Result<Collected, Violation> {
        let mut all = Collected::default();
        for text in texts {
            all.object(&Object::read(text)?, &["event"])?;
        }
        Ok(all)
    }

    #[test]
    fn the_first_to_say_a_name_has_it() {
        let known = Known { caller_id: Some("+91"), did: Some("theirs"), ..Known::default() };
        let fields =
            collected(&[r#"{"event":"x","a":1.0,"o":{"k": [1]}}"#, r#"{"a":2,"did":"ours"}"#]).unwrap().with(&known);
        assert_eq!(
            serde_json::to_string(&fields).unwrap(),
            r#"{"a":1.0,"o":{"k": [1]},"did":"ours","caller_id":"+91"}"#
        );
    }

    #[test]
    fn there_is_an_end_to_what_is_collected() {
        let many: Vec<String> = (0..300).map(|n| format!("\"k{n}\":1")).collect();
        assert_eq!(collected(&[&format!("{{{}}}", many.join(","))]).unwrap_err().code, 1008);
        assert_eq!(collected(&[&format!("{{\"k\":\"{}\"}}", "v".repeat(70_000))]).unwrap_err().code, 1009);
    }

    #[test]
    fn directions_are_read_in_every_spelling() {
        for word in ["outgoing", "outbound", "OUTBOUND", "outbound-api"] {
            assert_eq!(direction(Some(word)), Direction::Outbound);
        }
        for word in [None, Some(""), Some("incoming"), Some("inbound"), Some("7")] {
            assert_eq!(direction(word), Direction::Inbound);
        }
    }
}
