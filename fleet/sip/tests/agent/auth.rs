//! Challenges to our requests, and ours to theirs.

use bytes::Bytes;
use sip::digest::Algorithm;
use sip::{AuthOutcome, CommandError, Credentials, EndedBy, Event, Failure, InviteRequest};

use crate::harness::*;

fn ours() -> InviteRequest {
    InviteRequest { credentials: credentials(), ..invite_request() }
}

fn challenge(name: &str, realm: &str, nonce: &str, more: &str) -> String {
    format!("{name}: Digest realm=\"{realm}\", nonce=\"{nonce}\", qop=\"auth\"{more}\n")
}

#[test]
fn server_and_proxy_ask_one_after_the_other() {
    let mut agent = Agent::new();
    let (call, first) = agent.invite(ours());
    agent.receive(&response(&first, "407 Proxy", "p", &challenge("Proxy-Authenticate", "proxy", "n1", ""), None));
    let sent = agent.sent();
    assert!(sent[0].starts_with("ACK "));
    let second = &sent[1];
    assert_eq!((header(second, "CSeq"), header(second, "Call-ID")), ("2 INVITE", "call-1"));
    assert_eq!(header(second, "From"), header(&first, "From"));
    assert_eq!(header(second, "To"), header(&first, "To"));
    assert_ne!(branch(second), branch(&first));
    let answer = header(second, "Proxy-Authorization");
    assert!(answer.contains("uri=\"sip:bob@192.0.2.99\"") && answer.contains("nc=00000001"), "{answer}");
    agent.receive(&response(second, "401 No", "s", &challenge("WWW-Authenticate", "server", "n2", ""), None));
    let third = agent.sent().remove(1);
    assert!(header(&third, "Proxy-Authorization").contains("nc=00000002"));
    assert!(header(&third, "Authorization").contains("realm=\"server\""));
    agent.receive(&response(&third, "200 OK", "b1", CONTACT, Some(ANSWER)));
    let ack = agent.expect("ACK ");
    // The ACK repeats what the INVITE said (RFC 3261 §22.1).
    assert_eq!(header(&ack, "Authorization"), header(&third, "Authorization"));
    assert_eq!(header(&ack, "CSeq"), "3 ACK");
    assert!(matches!(agent.event(), Event::Answered { .. }));
    // A BYE brings credentials along, and takes up a new nonce.
    agent.endpoint.hang_up(agent.now, call, None).unwrap();
    let bye = agent.expect("BYE ");
    assert!(header(&bye, "Proxy-Authorization").contains("nc=00000003"));
    agent.receive(&response(&bye, "407 Proxy", "", &challenge("Proxy-Authenticate", "proxy", "n3", ""), None));
    let again = agent.expect("BYE ");
    assert!(header(&again, "Proxy-Authorization").contains("nonce=\"n3\""));
    assert_eq!(header(&again, "CSeq"), "5 BYE");
    agent.receive(&response(&again, "200 OK", "", "", None));
    assert!(matches!(agent.event(), Event::Ended { by: EndedBy::Local, .. }));
    agent.assert_clean();
}

#[test]
fn a_stale_nonce_is_replaced_and_a_wrong_password_is_not_repeated() {
    let mut agent = Agent::new();
    let (call, first) = agent.invite(ours());
    agent.receive(&response(&first, "401 No", "s", &challenge("WWW-Authenticate", "r", "n1", ""), None));
    let second = agent.sent().remove(1);
    agent.receive(&response(&second, "401 No", "s", &challenge("WWW-Authenticate", "r", "n2", ", stale=true"), None));
    let third = agent.sent().remove(1);
    assert!(header(&third, "Authorization").contains("nonce=\"n2\""));
    assert_eq!(headers(&third, "Authorization").len(), 1);
    agent.receive(&response(&third, "401 No", "s", &challenge("WWW-Authenticate", "r", "n3", ""), None));
    agent.expect("ACK ");
    assert_eq!(agent.event(), Event::Failed { call, cause: Failure::AuthRejected });
    agent.assert_clean();
}

#[test]
fn endless_challenges_come_to_an_end() {
    let mut agent = Agent::new();
    let (call, mut invite) = agent.invite(ours());
    let mut invites = 1;
    let event = loop {
        agent.receive(&response(
            &invite,
            "401 No",
            "s",
            &challenge("WWW-Authenticate", "r", "n", ", stale=true"),
            None,
        ));
        let mut sent = agent.sent();
        if sent.len() == 1 {
            break agent.event();
        }
        invites += 1;
        invite = sent.remove(1);
    };
    assert_eq!(event, Event::Failed { call, cause: Failure::AuthRejected });
    assert_eq!(invites, 5);
    agent.assert_clean();
}

#[test]
fn challenges_that_are_not_for_us() {
    for extra in [
        String::new(),
        challenge("WWW-Authenticate", "r", "n", ", algorithm=UNKNOWN"),
        "WWW-Authenticate: NoOneKnowsThisScheme opaque-data=here\n".into(),
    ] {
        let mut agent = Agent::new();
        let (call, invite) = agent.invite(ours());
        agent.receive(&response(&invite, "401 No", "s", &extra, None));
        agent.expect("ACK ");
        assert_eq!(agent.event(), Event::Failed { call, cause: Failure::AuthRejected });
    }
    let mut agent = Agent::new();
    let (_, invite) = agent.invite(InviteRequest {
        credentials: Some(Credentials { realm: Some("mine".into()), ..credentials().unwrap() }),
        ..invite_request()
    });
    agent.receive(&response(&invite, "401 No", "s", &challenge("WWW-Authenticate", "other", "n", ""), None));
    agent.expect("ACK ");
    assert!(matches!(agent.event(), Event::Failed { .. }));
}

#[test]
fn a_challenge_after_hang_up_is_not_answered() {
    let mut agent = Agent::new();
    let (call, invite) = agent.invite(ours());
    agent.endpoint.hang_up(agent.now, call, None).unwrap();
    agent.receive(&response(&invite, "401 No", "s", &challenge("WWW-Authenticate", "r", "n", ""), None));
    agent.expect("ACK ");
    assert_eq!(agent.event(), Event::Failed { call, cause: Failure::Cancelled });
    agent.assert_clean();
}

/// Our own client against our own server: challenged, then let in, with a replay refused.
#[track_caller]
fn let_in(algorithm: Algorithm) {
    let mut callee = Agent::new();
    let mut caller = Agent::new();
    let (_, mut invite) = caller.invite(ours());
    let (call, request) = callee.incoming(&invite);
    assert_eq!(request.call_id, "call-1");
    let verify = |callee: &mut Agent, call| callee.endpoint.verify(callee.now, call, "alice", "secret").unwrap();
    assert_eq!(verify(&mut callee, call), AuthOutcome::Missing);
    callee.endpoint.challenge(callee.now, call, "fleet", &[algorithm]).unwrap();
    let refusal = callee.expect("SIP/2.0 401 ");
    assert!(matches!(callee.event(), Event::Ended { by: EndedBy::Local, .. }));
    assert_eq!(callee.endpoint.verify(callee.now, call, "alice", "secret"), Err(CommandError::UnknownCall));
    caller.receive(&refusal);
    let sent = caller.sent();
    callee.receive(&sent[0]);
    callee.quiet();
    invite.clone_from(&sent[1]);
    let (call, request) = callee.incoming(&invite);
    assert_eq!(request.claims.as_deref(), Some("alice"));
    assert_eq!(callee.endpoint.verify(callee.now, call, "alice", "wrong"), Ok(AuthOutcome::Rejected));
    assert_eq!(verify(&mut callee, call), AuthOutcome::Accepted);
    // The same credentials in another INVITE are a replay, and only their nonce is at fault.
    let replay = invite.replace(branch(&invite), "z9hG4bKreplay").replace("CSeq: 2", "CSeq: 3");
    let (copy, _) = callee.incoming(&replay);
    assert_eq!(verify(&mut callee, copy), AuthOutcome::Stale);
    callee.endpoint.challenge(callee.now, copy, "fleet", &[algorithm]).unwrap();
    assert!(header(&callee.expect("SIP/2.0 401 "), "WWW-Authenticate").ends_with("stale=true"));
    callee.event();
    callee.endpoint.accept(callee.now, call, Bytes::from_static(ANSWER.as_bytes())).unwrap();
    caller.receive(&callee.expect("SIP/2.0 200 "));
    assert!(matches!(caller.event(), Event::Answered { .. }));
}

#[test]
fn our_client_satisfies_our_server() {
    for algorithm in
        [Algorithm::Md5, Algorithm::Md5Sess, Algorithm::Sha256, Algorithm::Sha256Sess, Algorithm::Sha512_256]
    {
        let_in(algorithm);
    }
}

#[test]
fn several_algorithms_are_offered_in_their_order() {
    let mut callee = Agent::new();
    let (call, request) = callee.incoming(&incoming_invite(Some(ANSWER)));
    assert_eq!(request.claims, None);
    callee.endpoint.challenge(callee.now, call, "fleet", &[Algorithm::Sha256, Algorithm::Md5]).unwrap();
    let refusal = callee.expect("SIP/2.0 401 ");
    let offered: Vec<bool> = headers(&refusal, "WWW-Authenticate").iter().map(|c| c.contains("SHA-256")).collect();
    assert_eq!(offered, [true, false]);
    assert!(matches!(callee.event(), Event::Ended { by: EndedBy::Local, .. }));
}
