//! Messages of RFC 4475 and RFC 5118 as files: what each of them must get.

use std::path::Path;

use sip::{Event, Source, Transport};

use crate::harness::{ANSWER, Agent, LOCAL, PEER, incoming_with};

/// The status of the one answer, or what else became of the message.
fn outcome(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name);
    let bytes = std::fs::read(path).unwrap();
    let mut agent = Agent::new();
    let source = Source { transport: Transport::Udp, local: LOCAL.parse().unwrap(), remote: PEER.parse().unwrap() };
    agent.endpoint.handle_datagram(agent.now, source, &bytes);
    let sent = agent.sent();
    assert!(sent.len() <= 1, "{sent:#?}");
    let calls = agent.events().iter().filter(|event| matches!(event, Event::Incoming { .. })).count();
    assert_eq!(calls, usize::from(sent.first().is_some_and(|answer| answer.starts_with("SIP/2.0 100"))));
    match sent.first() {
        Some(answer) => answer[8..11].to_owned(),
        None if agent.endpoint.stats().strays == 1 => "stray".to_owned(),
        None => "drop".to_owned(),
    }
}

/// A request of `len` bytes or more, made big by one repeated part.
fn bomb(part: &str, times: usize) -> String {
    incoming_with("INVITE", "bomb", &part.replace("*", &"x".repeat(times)), Some(ANSWER))
}

#[test]
fn bombs_are_refused_or_dropped_and_leave_nothing() {
    let quotes = format!("X: \"{}\"\n", "\\\"".repeat(20_000));
    let fold = format!("X: a{}\n", "\n b".repeat(5_000));
    let cases = [
        (bomb("X: *\n", 10_000), "513"),
        (bomb(&quotes, 1), "513"),
        (bomb(&fold, 1), "513"),
        (bomb(&"X: y\n".repeat(2_000), 1), "drop"),
        (bomb("X: *\n", 66_000), "drop"),
        (bomb("", 1).replace("bot@192.0.2.1 SIP", &format!("bot@192.0.2.1{} SIP", ";p=v".repeat(5_000))), "513"),
    ];
    for (message, expect) in cases {
        let mut agent = Agent::new();
        agent.receive(&message);
        let sent = agent.sent();
        assert_eq!(sent.first().map_or("drop", |answer| &answer[8..11]), expect);
        assert_eq!(agent.events(), vec![]);
        agent.assert_clean();
    }
}

#[test]
fn each_message_gets_what_it_must() {
    let table = include_str!("../data/expect.tsv");
    let mut checked = 0;
    for line in table.lines().filter(|line| !line.starts_with('#')) {
        let (name, expect) = line.split_once('\t').unwrap();
        assert_eq!(outcome(name), expect, "{name}");
        checked += 1;
    }
    assert!(checked > 40);
}
