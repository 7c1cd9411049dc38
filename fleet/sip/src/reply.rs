//! Responses from requests (RFC 3261 §8.2.6); it must never send where the request did not come from.

use bytes::Bytes;

use crate::message::{Essentials, HeaderName, Message, MessageWriter, StartLine, Via, phrase, split};
use crate::{Source, Transmit};

/// The methods we take.
pub(crate) const ALLOW: &str = "INVITE, ACK, BYE, CANCEL, OPTIONS, INFO";

/// A request that can be answered as often as need be.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub(crate) message: Message,
    pub(crate) essentials: Essentials,
    pub(crate) source: Source,
}

impl Request {
    /// The Request-URI.
    pub(crate) fn uri(&self) -> &str {
        match &self.message.start {
            StartLine::Request { uri, .. } => uri,
            StartLine::Response { .. } => "",
        }
    }

    /// Starts a response; `tag` is put into To where the request had none.
    pub(crate) fn reply(&self, code: u16, tag: &str) -> MessageWriter {
        start(&self.message, &self.source, code, phrase(code), tag)
    }

    /// Addresses a response.
    pub(crate) fn transmit(&self, bytes: Bytes) -> Transmit {
        transmit(&self.message, &self.source, bytes)
    }
}

/// Answers a request that could not be typed with what can be copied from it; `None` if there is nobody to answer.
pub(crate) fn to_faulty(message: &Message, source: &Source, code: u16, phrase: &str, tag: &str) -> Option<Transmit> {
    message.header(&HeaderName::Via)?;
    let bytes = start(message, source, code, phrase, tag).finish();
    Some(transmit(message, source, bytes))
}

fn top_via(message: &Message) -> Option<Via<'_>> {
    let line = message.header(&HeaderName::Via)?;
    Via::parse(split(line, b',').next()?).ok()
}

fn transmit(message: &Message, source: &Source, bytes: Bytes) -> Transmit {
    Transmit {
        transport: source.transport,
        local: source.local,
        remote: top_via(message).map_or(source.remote, |via| via.response_address(source)),
        bytes,
    }
}

fn start(message: &Message, source: &Source, code: u16, phrase: &str, tag: &str) -> MessageWriter {
    let mut writer = MessageWriter::response(code, phrase);
    write_vias(&mut writer, message, source);
    // Routes are recorded in what makes a dialog (§12.1.1).
    if (101..300).contains(&code) {
        for route in message.headers.all(&HeaderName::RecordRoute) {
            writer.header("Record-Route", route);
        }
    }
    for header in message.headers.iter() {
        match header.name {
            HeaderName::From | HeaderName::CallId | HeaderName::CSeq => {
                writer.header(header.name.as_str(), &header.value);
            }
            HeaderName::To if tag.is_empty() || has_tag(&header.value) => {
                writer.header("To", &header.value);
            }
            HeaderName::To => {
                writer.header("To", format_args!("{};tag={tag}", header.value));
            }
            _ => {}
        }
    }
    writer
}

fn write_vias(writer: &mut MessageWriter, message: &Message, source: &Source) {
    for (at, line) in message.headers.all(&HeaderName::Via).enumerate() {
        let top = (at == 0)
            .then(|| split(line, b',').next())
            .flatten()
            .and_then(|value| Some((value, Via::parse(value).ok()?)));
        match top {
            Some((value, via)) => {
                let rest = line.get(value.len()..).unwrap_or_default();
                writer.header("Via", format_args!("{}{rest}", via.with_source(source)));
            }
            None => {
                writer.header("Via", line);
            }
        }
    }
}

fn has_tag(to: &str) -> bool {
    crate::message::NameAddr::parse(to).is_ok_and(|address| address.tag().is_some())
}
