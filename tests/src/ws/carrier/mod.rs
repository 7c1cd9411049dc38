//! Small carriers: each speaks one vendor's protocol as its documentation shows it, and checks that what comes back keeps
//! the vendor's rules. They must never be lenient where a vendor is not, nor share code with the product.

mod asterisk;
mod exotel;
mod freeswitch;
mod genesys;
mod jambonz;
mod native;
mod plivo;
mod raw;
mod telnyx;
mod twilio;
mod vonage;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use std::time::Duration;
use tokio_tungstenite::tungstenite::Message;

pub use native::Native;

/// The customer's number and the one that was called, in every carrier's calls.
pub const CALLER: &str = "+919876543210";
pub const DID: &str = "+911140001234";

/// What a message of the platform meant.
#[derive(Debug)]
pub enum Got {
    /// To be played, 8 kHz.
    Audio(Vec<i16>),
    /// To be given back when all before it was played.
    Mark(String),
    /// What was not played is to be thrown away.
    Clear,
    /// The protocol wants an answer to it.
    Reply(Message),
    /// The call is over, in the protocol's words.
    HangUp,
}

/// One call of a vendor.
pub trait Carrier: Send {
    /// The protocol's name, as `?dialect=` has it.
    fn name(&self) -> &'static str;
    /// Headers of its upgrade request, beside the key.
    fn headers(&self) -> Vec<(&'static str, &'static str)> {
        Vec::new()
    }
    /// What its URL needs behind the path.
    fn query(&self) -> &'static str {
        ""
    }
    /// How it shows the key.
    fn credential(&self) -> Credential {
        Credential::Header
    }
    /// Whether it can be told to throw away what it has not played.
    fn can_clear(&self) -> bool {
        true
    }
    /// Whether it can give back marks.
    fn can_mark(&self) -> bool {
        false
    }
    /// Whether a call ends in words before the socket is closed.
    fn is_told_of_the_end(&self) -> bool {
        false
    }
    /// Whether custom fields and numbers come with a call.
    fn has_fields(&self) -> bool {
        true
    }
    /// The first messages.
    fn open(&mut self) -> Vec<Message>;
    /// Messages for the next 20 ms of the customer's voice, 8 kHz.
    fn say(&mut self, samples: &[i16]) -> Vec<Message>;
    /// Reads a message of the platform.
    ///
    /// # Errors
    /// It breaks a rule.
    fn take(&mut self, message: Message) -> Result<Vec<Got>>;
    /// A mark was reached.
    fn played(&mut self, _mark: &str) -> Vec<Message> {
        Vec::new()
    }
    /// The buffer was thrown away, with these marks in it.
    fn cleared(&mut self, _marks: &[String]) -> Vec<Message> {
        Vec::new()
    }
    /// Every 20 ms, since the first one.
    fn tick(&mut self, _at: Duration) -> Vec<Message> {
        Vec::new()
    }
    /// Rules that can only be judged at the end.
    ///
    /// # Errors
    /// One was broken.
    fn finish(&self) -> Result<()> {
        Ok(())
    }
}

/// How a vendor can show a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Credential {
    Header,
    Basic,
    Query,
}

/// One call of every vendor.
pub fn all() -> Vec<Box<dyn Carrier>> {
    vec![
        Box::new(Native::new("native-1")),
        Box::new(twilio::Twilio::default()),
        Box::new(exotel::Exotel::default()),
        Box::new(plivo::Plivo::default()),
        Box::new(telnyx::Telnyx::default()),
        Box::new(vonage::Vonage),
        Box::new(genesys::Genesys::default()),
        Box::new(jambonz::Jambonz),
        Box::new(asterisk::Asterisk::default()),
        Box::new(freeswitch::Freeswitch),
        Box::new(raw::Raw),
    ]
}

fn json(value: &Value) -> Message {
    Message::text(value.to_string())
}

/// A text message as JSON.
fn parsed(message: &Message) -> Result<Value> {
    let Message::Text(text) = message else { bail!("{message:?} where text belongs") };
    serde_json::from_str(text).with_context(|| format!("no JSON: {text}"))
}

/// A binary message.
fn binary(message: &Message) -> Result<&[u8]> {
    let Message::Binary(bytes) = message else { bail!("{message:?} where audio belongs") };
    Ok(bytes)
}

/// A text member.
fn text<'a>(value: &'a Value, at: &str) -> Result<&'a str> {
    value.pointer(at).and_then(Value::as_str).with_context(|| format!("no text at {at} in {value}"))
}

/// Checks that a member is a certain text.
fn must_be(value: &Value, at: &str, expect: &str) -> Result<()> {
    let found = text(value, at)?;
    ensure!(found == expect, "{at} is {found:?}, not {expect:?}, in {value}");
    Ok(())
}

/// Checks that an object has these members and no others.
fn members(value: &Value, names: &[&str]) -> Result<()> {
    let object = value.as_object().with_context(|| format!("{value} is no object"))?;
    let mut found: Vec<&str> = object.keys().map(String::as_str).collect();
    let mut expect = names.to_vec();
    found.sort_unstable();
    expect.sort_unstable();
    ensure!(found == expect, "members {found:?} instead of {expect:?}");
    Ok(())
}

/// The bytes of a base64 member.
fn payload(value: &Value, at: &str) -> Result<Vec<u8>> {
    use base64::Engine;
    let text = text(value, at)?;
    base64::engine::general_purpose::STANDARD.decode(text).with_context(|| format!("{at} is no base64"))
}

fn base64(bytes: &[u8]) -> String {
    use base64::Engine;
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

fn ulaw(samples: &[i16]) -> Vec<u8> {
    samples.iter().copied().map(crate::audio::to_ulaw).collect()
}

fn of_ulaw(bytes: &[u8]) -> Vec<i16> {
    bytes.iter().copied().map(crate::audio::from_ulaw).collect()
}
