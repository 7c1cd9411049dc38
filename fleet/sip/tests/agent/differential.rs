//! Our reading of messages held against that of `rsip`, where it reads them at all.

use std::path::Path;

use bytes::Bytes;
use rsip::message::HasHeaders as _;
use rsip::prelude::{HeadersExt as _, ToTypedHeader as _, UntypedHeader as _};
use sip::Limits;
use sip::message::{Essentials, HeaderName, parse};

/// What both must agree on: method, Call-ID, CSeq, tags, number of headers, body.
type Reading = (String, String, u32, Option<String>, Option<String>, usize);

fn ours(bytes: &[u8]) -> Option<Reading> {
    let message = parse(&Bytes::copy_from_slice(bytes), &Limits::default()).ok()?;
    let essentials = Essentials::of(&message).ok()?;
    Some((
        essentials.method.to_string(),
        essentials.call_id.to_string(),
        essentials.cseq,
        essentials.from_tag.map(|tag| tag.to_string()),
        essentials.to_tag.map(|tag| tag.to_string()),
        message.headers.all(&HeaderName::Via).count(),
    ))
}

fn theirs(bytes: &[u8]) -> Option<Reading> {
    let message = rsip::SipMessage::try_from(bytes).ok()?;
    let cseq = message.cseq_header().ok()?.typed().ok()?;
    let tag = |tag: Option<rsip::common::uri::param::Tag>| tag.map(|tag| tag.value().to_owned());
    Some((
        cseq.method.to_string(),
        message.call_id_header().ok()?.value().to_owned(),
        cseq.seq,
        tag(message.from_header().ok()?.tag().ok()?),
        tag(message.to_header().ok()?.tag().ok()?),
        message.headers().iter().filter(|header| matches!(header, rsip::Header::Via(_))).count(),
    ))
}

#[test]
fn where_both_read_a_message_they_read_the_same() {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data");
    let (mut both, mut differ) = (0, Vec::new());
    for entry in std::fs::read_dir(data).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "dat") {
            continue;
        }
        let bytes = std::fs::read(&path).unwrap();
        let (Some(ours), Some(theirs)) = (ours(&bytes), theirs(&bytes)) else {
            continue;
        };
        both += 1;
        if ours != theirs {
            differ.push((path.file_name().unwrap().to_owned(), ours, theirs));
        }
    }
    assert!(differ.is_empty(), "{differ:#?}");
    assert!(both > 10, "{both}");
}
