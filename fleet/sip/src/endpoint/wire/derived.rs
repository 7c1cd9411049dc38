//! Messages that are made of an INVITE that was sent: they repeat its headers, and are not the user's.
//! It must never take anything from a message that we did not write.

use bytes::Bytes;

use crate::Limits;
use crate::message::{HeaderName, MessageWriter, StartLine, Via, parse};

/// An ACK or a CANCEL from the INVITE that it belongs to (RFC 3261 §9.1, §17.1.1.3), with its branch.
pub(super) fn derived(
    method: &str,
    invite: &Bytes,
    to: Option<&str>,
    reason: Option<&str>,
    limits: &Limits,
) -> Option<(Bytes, String)> {
    // Our own message: its headers may be longer than what we take from others.
    let limits = Limits { max_header: usize::MAX, max_headers: usize::MAX, max_message: usize::MAX, ..*limits };
    let invite = parse(invite, &limits).ok()?;
    let StartLine::Request { uri, .. } = &invite.start else {
        return None;
    };
    let via = invite.header(&HeaderName::Via)?;
    let branch = Via::parse(via).ok()?.branch()?.to_owned();
    let number = invite.header(&HeaderName::CSeq)?.split(' ').next()?.to_owned();
    let mut writer = MessageWriter::request(method, uri);
    writer.header("Via", via).header("Max-Forwards", 70);
    for route in invite.headers.all(&HeaderName::Route) {
        writer.header("Route", route);
    }
    writer
        .header("From", invite.header(&HeaderName::From)?)
        .header("To", to.or(invite.header(&HeaderName::To).map(|to| to.as_str()))?)
        .header("Call-ID", invite.header(&HeaderName::CallId)?)
        .header("CSeq", format_args!("{number} {method}"));
    if let Some(reason) = reason {
        writer.header("Reason", reason);
    }
    Some((writer.finish(), branch))
}
