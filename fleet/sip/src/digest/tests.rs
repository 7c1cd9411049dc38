//! The examples of the RFCs, and client against server.

use std::time::{Duration, Instant};

use super::*;
use crate::{AuthOutcome, Credentials};

fn credentials(username: &str, password: &str) -> Credentials {
    Credentials { username: username.into(), password: password.into(), realm: None }
}

/// Answers a challenge to `GET uri` and gives the response value.
fn respond(challenge: &str, user: &Credentials, cnonce: &str, method: &str, uri: &str) -> String {
    let challenge = Challenge::parse(challenge).unwrap();
    let header = Session::new(challenge, user, cnonce.into()).authorize(method, uri, b"");
    Params::of(&header).unwrap().raw("response").unwrap().to_owned()
}

#[test]
fn rfc_2617_section_3_5() {
    let challenge = "Digest realm=\"testrealm@host.com\", qop=\"auth,auth-int\", \
        nonce=\"dcd98b7102dd2f0e8b11d0f600bfb0c093\", opaque=\"5ccc069c403ebaf9f0171e9517f40e41\"";
    let user = credentials("Mufasa", "Circle Of Life");
    assert_eq!(respond(challenge, &user, "0a4f113b", "GET", "/dir/index.html"), "6629fae49393a05397450978507c4ef1");
    // The same without qop: the form of RFC 2069 (§3.2.2.1).
    let old = challenge.replace("qop=\"auth,auth-int\", ", "");
    assert_eq!(respond(&old, &user, "0a4f113b", "GET", "/dir/index.html"), "670fd8c2df070c60b045671b8b24ff02");
}

#[test]
fn rfc_7616_section_3_9_1() {
    let challenge = |algorithm: &str| {
        format!(
            "Digest realm=\"http-auth@example.org\", qop=\"auth, auth-int\", algorithm={algorithm}, \
             nonce=\"7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v\", opaque=\"FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS\""
        )
    };
    let user = credentials("Mufasa", "Circle of Life");
    let cnonce = "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ";
    for (algorithm, expect) in [
        ("MD5", "8ca523f5e9506fed4657c9700eebdbec"),
        ("SHA-256", "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1"),
    ] {
        assert_eq!(respond(&challenge(algorithm), &user, cnonce, "GET", "/dir/index.html"), expect);
    }
}

#[test]
fn the_answer_is_written_as_the_grammar_wants_it() {
    let challenge = Challenge::parse(
        "Digest realm=\"a \\\"b\\\"\", nonce=\"n\", algorithm=SHA-256, qop=\"auth\", opaque=\"o\", stale=TRUE",
    )
    .unwrap();
    assert!(challenge.stale);
    let mut session = Session::new(challenge, &credentials("al\"ice", "p"), "c".into());
    let first = session.authorize("INVITE", "sip:b@h", b"");
    assert!(first.starts_with(
        "Digest username=\"al\\\"ice\", realm=\"a \\\"b\\\"\", nonce=\"n\", uri=\"sip:b@h\", response=\""
    ));
    assert!(first.ends_with(", algorithm=SHA-256, cnonce=\"c\", qop=auth, nc=00000001, opaque=\"o\""), "{first}");
    let second = session.authorize("INVITE", "sip:b@h", b"");
    assert!(second.contains("nc=00000002"));
    assert!(!format!("{session:?}").contains("alice"));
}

#[test]
fn the_strongest_challenge_of_each_realm_is_answered() {
    let values = [
        "Digest realm=\"a\", nonce=\"1\", algorithm=MD5",
        "Digest realm=\"a\", nonce=\"2\", algorithm=SHA-512-256",
        "Digest realm=\"a\", nonce=\"3\", algorithm=SHA-256",
        "Digest realm=\"a\", nonce=\"4\", algorithm=AKAv1-MD5",
        "Digest realm=\"b\", nonce=\"5\"",
        "Digest realm=\"b\", nonce=\"6\", qop=\"other\"",
        "NoOneKnowsThisScheme opaque-data=here",
        "Digest realm=\"c\"",
    ];
    let chosen = strongest(values.into_iter(), &credentials("u", "p"));
    let found: Vec<_> = chosen.iter().map(|c| (c.realm.as_str(), c.algorithm)).collect();
    assert_eq!(found, [("a", Algorithm::Sha512_256), ("b", Algorithm::Md5)]);
    let only_b = Credentials { realm: Some("b".into()), ..credentials("u", "p") };
    assert_eq!(strongest(values.into_iter(), &only_b).len(), 1);
}

struct Server {
    nonces: Nonces,
    now: Instant,
}

impl Server {
    #[expect(clippy::disallowed_methods, reason = "a point in time to count from")]
    fn new() -> Self {
        Server { nonces: Nonces::new([7; 32]), now: Instant::now() }
    }

    fn session(&mut self, algorithm: Algorithm, user: &Credentials) -> Session {
        let value = self.nonces.challenge(self.now, "ring \"fleet\"", algorithm, false);
        Session::new(Challenge::parse(&value).unwrap(), user, "cn".into())
    }

    fn check(&mut self, authorization: &str) -> AuthOutcome {
        let claim = Claim { authorization, method: "INVITE", body: b"v=0", username: "alice", password: "secret" };
        self.nonces.check(self.now, &claim)
    }
}

#[test]
fn what_the_client_says_the_server_accepts_once() {
    for algorithm in Algorithm::ALL {
        let mut server = Server::new();
        let mut session = server.session(algorithm, &credentials("alice", "secret"));
        let first = session.authorize("INVITE", "sip:b@h", b"v=0");
        assert_eq!(server.check(&first), AuthOutcome::Accepted, "{algorithm:?}");
        assert_eq!(server.check(&first), AuthOutcome::Stale, "a replay");
        let second = session.authorize("INVITE", "sip:b@h", b"v=0");
        assert_eq!(server.check(&second), AuthOutcome::Accepted);
        server.now += LONG;
        let third = session.authorize("INVITE", "sip:b@h", b"v=0");
        assert_eq!(server.check(&third), AuthOutcome::Stale, "too old");
    }
}

const LONG: Duration = Duration::from_secs(301);

#[test]
fn what_the_server_refuses() {
    let mut server = Server::new();
    let right = credentials("alice", "secret");
    let authorize = |server: &mut Server, user: &Credentials, method: &str| {
        server.session(Algorithm::Sha256, user).authorize(method, "sip:b@h", b"")
    };
    let wrong_password = authorize(&mut server, &credentials("alice", "guess"), "INVITE");
    assert_eq!(server.check(&wrong_password), AuthOutcome::Rejected);
    let wrong_user = authorize(&mut server, &credentials("bob", "secret"), "INVITE");
    assert_eq!(server.check(&wrong_user), AuthOutcome::Rejected);
    let wrong_method = authorize(&mut server, &right, "BYE");
    assert_eq!(server.check(&wrong_method), AuthOutcome::Rejected);
    let good = authorize(&mut server, &right, "INVITE");
    // Another algorithm, realm or endpoint than the nonce was made for.
    for bad in [
        good.replace("algorithm=SHA-256", "algorithm=MD5"),
        good.replace("fleet", "other"),
        good.replace("nonce=\"0", "nonce=\"1"),
        "Digest username=\"alice\"".to_owned(),
        "Basic YWxpY2U6c2VjcmV0".to_owned(),
        String::new(),
    ] {
        assert_eq!(server.check(&bad), AuthOutcome::Missing, "{bad}");
    }
    assert_eq!(server.check(&good), AuthOutcome::Accepted);
    assert_eq!(claimed_username(&good).as_deref(), Some("alice"));
}

#[test]
fn old_nonces_are_forgotten() {
    let mut server = Server::new();
    let mut session = server.session(Algorithm::Md5, &credentials("alice", "secret"));
    let first = session.authorize("INVITE", "sip:b@h", b"");
    assert_eq!(server.check(&first), AuthOutcome::Accepted);
    assert_eq!(server.nonces.remembered(), 1);
    let later = server.now + LONG;
    server.nonces.expire(later);
    assert_eq!(server.nonces.remembered(), 0);
}

#[test]
fn sha_512_256_is_the_function_of_its_name() {
    // FIPS 180-4, the example of "abc".
    assert_eq!(Algorithm::Sha512_256.hash(b"abc"), "53048e2681941ef99b2e29b76b4c7dabe4c2d0c634fc6d46e0e2f13107e7af23");
}
