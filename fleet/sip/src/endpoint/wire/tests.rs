//! A transaction that ended leaves nothing, and requests are found again.

use bytes::Bytes;

use super::*;
use crate::message::parse;
use crate::tokens::COOKIE;
use crate::{Source, Transport};

fn source() -> Source {
    Source {
        transport: Transport::Udp,
        local: "192.0.2.1:5060".parse().unwrap(),
        remote: "192.0.2.9:5060".parse().unwrap(),
    }
}

fn request(method: &str) -> Request {
    let text = format!(
        "{method} sip:a@h SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.9;branch=z9hG4bKx\r\nFrom: <sip:f@h>;tag=1\r\n\
         To: <sip:t@h>\r\nCall-ID: c\r\nCSeq: 1 {method}\r\n\r\n"
    );
    let message = parse(&Bytes::from(text), &Limits::default()).unwrap();
    let essentials = Essentials::of(&message).unwrap();
    Request { message, essentials, source: source() }
}

/// Runs one transaction to its end; gives what is left: transactions, keys, merge keys, timers.
#[expect(clippy::disallowed_methods, reason = "a point in time to count from")]
fn left_behind(code: Option<u16>, server: bool, method: &str) -> (usize, usize, usize, usize) {
    let mut wire = Wire::new(Limits::default());
    let mut now = Instant::now();
    let request = request(method);
    let transmit = request.transmit(Bytes::from_static(b"x"));
    if server {
        let id = wire.serve(&request, Owner::Nobody);
        wire.respond(now, id, 100, transmit.clone());
        wire.respond(now, id, code.unwrap_or(200), transmit);
        if code.is_none() {
            wire.on_ack(now, id);
        }
    } else {
        let id = wire.request(now, method, "z9hG4bKx", transmit, Owner::Nobody);
        if let Some(code) = code {
            wire.on_response(now, id, 100, &request.message);
            wire.on_response(now, id, code, &request.message);
        }
    }
    while let Some(next) = wire.next_deadline() {
        now = next;
        match wire.pop_timer(now) {
            // A timer of a forgotten transaction is a leak as well.
            Some(Wake::Transaction(id, timer)) if wire.transactions.contains_key(&id) => {
                wire.on_timer(now, id, timer);
            }
            _ => return (usize::MAX, 0, 0, 0),
        }
    }
    (wire.transactions.len(), wire.by_key.len(), wire.merged.len(), wire.timers.len())
}

#[test]
fn a_transaction_that_ended_leaves_nothing() {
    for method in ["INVITE", "BYE"] {
        for (code, server) in
            [(Some(200), false), (Some(486), false), (None, false), (Some(200), true), (Some(486), true), (None, true)]
        {
            assert_eq!(left_behind(code, server, method), (0, 0, 0, 0), "{method} {code:?} {server}");
        }
    }
}

#[test]
fn requests_without_the_cookie_are_told_apart_by_all_they_have() {
    let plain = request("INVITE");
    let mut old = plain.clone();
    old.essentials.branch = Some("390skdjuw".into());
    let mut bare = plain.clone();
    bare.essentials.branch = Some(COOKIE.into());
    let mut other = old.clone();
    other.essentials.cseq = 2;
    let key = |request: &Request| server_key(request, &Method::Invite);
    assert!(key(&plain).starts_with("s|") && key(&old).starts_with("o|") && key(&bare).starts_with("o|"));
    assert_ne!(key(&old), key(&other));
}
