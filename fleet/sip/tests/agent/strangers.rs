//! Who is not known gets no sign of life, and leaves no trace; what goes on with a call of ours counts from anywhere.

use bytes::Bytes;
use sip::{EndedBy, Event};

use crate::harness::*;

#[test]
fn a_stranger_is_told_nothing() {
    let check = |request: &str| {
        let mut agent = Agent::new();
        agent.receive_from_stranger(request);
        agent.quiet();
        let stats = agent.endpoint.stats();
        assert_eq!((stats.calls_live, stats.transactions_live, stats.dropped), (0, 0, 1), "{request}");
        agent.assert_clean();
    };
    let invite = incoming_invite(Some(ANSWER));
    check(&invite);
    check(&incoming_with("INVITE", "inv", "Require: 100rel\n", Some(ANSWER)));
    check(&invite.replace("CSeq: 1 INVITE", "CSeq: 1 BYE"));
    check(&invite.replace("SIP/2.0\nVia", "SIP/7.0\nVia"));
    for method in ["OPTIONS", "REGISTER", "BYE", "CANCEL", "DANCE", "INFO"] {
        check(&incoming_with(method, "x", "", None));
    }
    check(&peer_request("BYE", 1, "nobody", "x", "", None));
    check(&peer_request("INVITE", 1, "nobody", "x", "", Some(ANSWER)));
}

#[test]
fn a_call_goes_on_from_wherever() {
    let mut agent = Agent::new();
    let (call, invite) = agent.invite(invite_request());
    agent.receive_from_stranger(&response(&invite, "200 OK", "b1", CONTACT, Some(ANSWER)));
    agent.expect("ACK ");
    assert!(matches!(agent.event(), Event::Answered { .. }));
    agent.receive_from_stranger(&callee_request(&invite, "BYE", 1, "", None));
    agent.expect("SIP/2.0 200 ");
    assert_eq!(agent.event(), Event::Ended { call, by: EndedBy::Remote, reason: None });
    agent.assert_clean();
}

#[test]
fn what_was_let_in_may_go_on_after_its_trunk_is_gone() {
    let mut agent = Agent::new();
    let invite = incoming_invite(Some(ANSWER));
    let (call, _) = agent.incoming(&invite);
    // The same INVITE again, and the ACK of our answer.
    agent.receive_from_stranger(&invite);
    agent.expect("SIP/2.0 100 ");
    agent.endpoint.accept(agent.now, call, Bytes::from_static(OFFER)).unwrap();
    let tag = to_tag(&agent.expect("SIP/2.0 200 "));
    agent.receive_from_stranger(&peer_request("ACK", 1, &tag, "ack", "", None));
    assert_eq!(agent.event(), Event::Confirmed { call, sdp: None });
    agent.receive_from_stranger(&peer_request("BYE", 2, &tag, "bye", "", None));
    agent.expect("SIP/2.0 200 ");
    assert_eq!(agent.event(), Event::Ended { call, by: EndedBy::Remote, reason: None });

    let (call, _) = agent.incoming(&incoming_with("INVITE", "two", "", Some(ANSWER)).replace("in-1", "in-2"));
    agent.receive_from_stranger(&incoming_with("CANCEL", "two", "", None).replace("in-1", "in-2"));
    assert_eq!(agent.sent().len(), 2);
    assert_eq!(agent.event(), Event::Cancelled { call });
}

#[test]
fn addresses_of_list_headers_are_read() {
    let check = |name: &str, lines: &str, expect: &[(&str, &str)]| {
        let mut agent = Agent::new();
        let (_, request) = agent.incoming(&incoming_with("INVITE", "inv", lines, Some(ANSWER)));
        let found = request.addresses(name);
        let found: Vec<(String, &str)> =
            found.iter().map(|(party, params)| (party.user().unwrap_or_default(), params.as_str())).collect();
        let expect: Vec<(String, &str)> = expect.iter().map(|(user, params)| ((*user).to_owned(), *params)).collect();
        assert_eq!(found, expect, "{lines}");
    };
    check("P-Asserted-Identity", "", &[]);
    check(
        "p-asserted-identity",
        "P-Asserted-Identity: \"Asha, Rao\" <sip:+919876543210@carrier.example>, <tel:+919876543210>\n",
        &[("+919876543210", ""), ("+919876543210", "")],
    );
    check(
        "Diversion",
        "Diversion: <sip:100@a>;reason=no-answer\nDiversion: <sip:200@b>;counter=1\n",
        &[("100", "reason=no-answer"), ("200", "counter=1")],
    );
    check("Diversion", "Diversion: nonsense, <sip:300@c>\n", &[("300", "")]);
}
