//! The headers without which a message belongs to nothing (RFC 3261 §8.1.1), typed and checked.

use super::address::NameAddr;
use super::frame::{Message, StartLine};
use super::header::HeaderName;
use super::scan::{is_token, number};
use super::text::Text;
use super::via::Via;
use super::{Method, ParseError};

/// What transactions and dialogs are found by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Essentials {
    /// The topmost Via value.
    pub via: Text,
    /// Its branch parameter.
    pub branch: Option<Text>,
    pub from_tag: Option<Text>,
    pub to_tag: Option<Text>,
    pub call_id: Text,
    pub cseq: u32,
    /// The method of the CSeq; that of the start line in a request.
    pub method: Method,
}

impl Essentials {
    /// Types the essential headers of a message.
    ///
    /// # Errors
    /// The first fault, that of the framing included.
    pub fn of(message: &Message) -> Result<Self, ParseError> {
        if let Some(fault) = message.fault {
            return Err(fault);
        }
        for (at, header) in message.headers.iter().enumerate() {
            if header.name.is_single() && message.headers.iter().take(at).any(|h| h.name == header.name) {
                return Err(single_fault(&header.name));
            }
        }
        let (via, branch) = top_via(message)?;
        let from_tag = tag(message, &HeaderName::From, ParseError::From)?;
        let to_tag = tag(message, &HeaderName::To, ParseError::To)?;
        let call_id = message
            .header(&HeaderName::CallId)
            .filter(|id| !id.is_empty() && !id.contains([' ', '\t', ',']))
            .ok_or(ParseError::CallId)?
            .clone();
        let (cseq, method) = cseq(message)?;
        if let StartLine::Request { method: start, .. } = &message.start
            && *start != method
        {
            return Err(ParseError::CSeq);
        }
        if let Some(hops) = message.header(&HeaderName::MaxForwards)
            && number::<u8>(hops).is_none()
        {
            return Err(ParseError::MaxForwards);
        }
        Ok(Essentials { via, branch, from_tag, to_tag, call_id, cseq, method })
    }
}

fn single_fault(name: &HeaderName) -> ParseError {
    match name {
        HeaderName::From => ParseError::From,
        HeaderName::To => ParseError::To,
        HeaderName::CallId => ParseError::CallId,
        HeaderName::CSeq => ParseError::CSeq,
        HeaderName::MaxForwards => ParseError::MaxForwards,
        _ => ParseError::HeaderLine,
    }
}

fn top_via(message: &Message) -> Result<(Text, Option<Text>), ParseError> {
    let line = message.header(&HeaderName::Via).ok_or(ParseError::Via)?;
    let value = super::scan::split(line, b',').next().ok_or(ParseError::Via)?;
    let via = Via::parse(value)?;
    Ok((line.slice(value), via.branch().map(|branch| line.slice(branch))))
}

fn tag(message: &Message, name: &HeaderName, fault: ParseError) -> Result<Option<Text>, ParseError> {
    let line = message.header(name).ok_or(fault)?;
    let address = NameAddr::parse(line).map_err(|_| fault)?;
    match address.tag() {
        Some(tag) if !is_token(tag) => Err(fault),
        tag => Ok(tag.map(|tag| line.slice(tag))),
    }
}

fn cseq(message: &Message) -> Result<(u32, Method), ParseError> {
    let line = message.header(&HeaderName::CSeq).ok_or(ParseError::CSeq)?;
    let mut words = line.split_ascii_whitespace();
    let (Some(sequence), Some(method), None) = (words.next(), words.next(), words.next()) else {
        return Err(ParseError::CSeq);
    };
    // Below 2^31 (§8.1.1.5), so that adding one never wraps.
    let sequence = number::<u32>(sequence).filter(|sequence| *sequence < 1 << 31).ok_or(ParseError::CSeq)?;
    if !is_token(method) {
        return Err(ParseError::CSeq);
    }
    Ok((sequence, Method::parse(method)))
}
