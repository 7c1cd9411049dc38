//! What a message is found by: the keys of transactions, and of requests that came over two ways.
//! It must never tell two messages apart that RFC 3261 takes for one.

use crate::message::{Essentials, Method, Via};
use crate::reply::Request;
use crate::tokens::COOKIE;

/// Our own branches are unique: RFC 3261 §17.1.3.
pub(super) fn client_key(branch: &str, method: &str) -> String {
    format!("c|{branch}|{method}")
}

/// RFC 3261 §17.2.3, with the matching of RFC 2543 for peers without the magic cookie.
pub(super) fn server_key(request: &Request, method: &Method) -> String {
    let essentials = &request.essentials;
    match essentials.branch.as_deref() {
        Some(branch) if branch.len() > COOKIE.len() && starts_with_cookie(branch) => {
            let sent_by = Via::parse(&essentials.via)
                .map(|via| (via.sent_by.host.to_ascii_lowercase(), via.sent_by.port.unwrap_or(0)))
                .unwrap_or_default();
            format!("s|{branch}|{}|{}|{method}", sent_by.0, sent_by.1)
        }
        _ => format!(
            "o|{}|{}|{}|{}|{}|{method}",
            essentials.call_id,
            essentials.cseq,
            essentials.from_tag.as_deref().unwrap_or_default(),
            request.uri(),
            essentials.via,
        ),
    }
}

fn starts_with_cookie(branch: &str) -> bool {
    branch.get(..COOKIE.len()).is_some_and(|start| start.eq_ignore_ascii_case(COOKIE))
}

/// A request outside of a dialog that came twice is a merged one: RFC 3261 §8.2.2.2.
pub(super) fn merge_key(essentials: &Essentials) -> Option<String> {
    if essentials.to_tag.is_some() {
        return None;
    }
    Some(format!(
        "{}|{}|{}|{}",
        essentials.from_tag.as_deref()?,
        essentials.call_id,
        essentials.cseq,
        essentials.method
    ))
}
