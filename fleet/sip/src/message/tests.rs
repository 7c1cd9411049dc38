//! Framing and typed headers as tables.

use bytes::Bytes;

use super::*;
use crate::Limits;

fn framed(text: &str) -> Result<Message, ParseError> {
    parse(&Bytes::copy_from_slice(text.as_bytes()), &Limits::default())
}

fn request(headers: &str) -> String {
    format!("OPTIONS sip:a@h SIP/2.0\r\n{headers}\r\n")
}

const ESSENTIAL: &str = "Via: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bKx\r\nFrom: <sip:f@h>;tag=1\r\nTo: <sip:t@h>\r\nCall-ID: c@h\r\nCSeq: 7 OPTIONS\r\n";

#[track_caller]
fn fault(text: &str, expect: ParseError) {
    let found = framed(text).map(|message| Essentials::of(&message).map(|_| ()));
    assert!(found == Err(expect) || found == Ok(Err(expect)), "{found:?} instead of {expect:?}");
}

#[test]
fn a_request_with_folds_compact_forms_and_white_space() {
    let message = framed(
        "\r\n\r\nINVITE sip:v@h;unknownparam SIP/2.0\r\nTO :\r\n sip:v@h ;   tag    = 19n\r\n\
         f   : \"J \\\\\\\"\"       <sip:j@h>\r\n  ;\r\n  tag = 98asjd8\r\ni: c1\r\ncseq: 0009\r\n  INVITE\r\n\
         v:  SIP  / 2.0  / TCP     s.h   ;\r\n  branch  =   z9hG4bK9ikj8  ,\r\n SIP/2.0/UDP 192.0.2.2\r\n\
         l : 4\r\ns :\r\nZ: y\r\n z\r\n\r\nbodyTRAILING",
    )
    .unwrap();
    let essentials = Essentials::of(&message).unwrap();
    assert_eq!(essentials.branch.as_deref(), Some("z9hG4bK9ikj8"));
    assert_eq!((essentials.from_tag.as_deref(), essentials.to_tag.as_deref()), (Some("98asjd8"), Some("19n")));
    assert_eq!((essentials.cseq, &essentials.method), (9, &Method::Invite));
    assert_eq!(&message.body[..], b"body");
    assert_eq!(message.header(&HeaderName::parse("z")).unwrap().as_str(), "y z");
    let vias: Vec<_> = message.headers.values(&HeaderName::Via).collect();
    assert_eq!(vias.len(), 2);
    assert_eq!(message.headers.for_owner(), [("Subject".into(), String::new()), ("Z".into(), "y z".into())]);
}

#[test]
fn responses() {
    let of = |line: &str| framed(&format!("{line}\r\n{ESSENTIAL}\r\n")).map(|message| message.start);
    let status = |code, phrase: &str| Ok(StartLine::Response { code, phrase: Text::from(phrase) });
    assert_eq!(of("SIP/2.0 200 OK then"), status(200, "OK then"));
    assert_eq!(of("sip/2.0 100 "), status(100, ""));
    assert_eq!(of("SIP/2.0 100"), status(100, ""));
    assert_eq!(of("SIP/2.0 4294967301 better not break"), Err(ParseError::StartLine));
    assert_eq!(of("SIP/2.0 099 x"), Err(ParseError::StartLine));
    assert_eq!(of("SIP/7.0 200 x"), Err(ParseError::Version));
}

#[test]
fn a_missing_length_means_the_rest() {
    let with = |length: &str| framed(&format!("{}body", request(&format!("{ESSENTIAL}{length}"))));
    assert_eq!(&with("").unwrap().body[..], b"body");
    assert_eq!(&with("Content-Length: 2\r\n").unwrap().body[..], b"bo");
    for (length, expect) in [
        ("l: 5\r\n", ParseError::Truncated),
        ("l: -1\r\n", ParseError::ContentLength),
        ("l: 0x4\r\n", ParseError::ContentLength),
        ("l: 1\r\nContent-Length: 1\r\n", ParseError::ContentLength),
        ("l: 1, 2\r\n", ParseError::ContentLength),
        ("l: 99999999999999999999999\r\n", ParseError::ContentLength),
    ] {
        assert_eq!(with(length).unwrap().fault, Some(expect), "{length}");
    }
}

#[test]
fn what_can_not_be_answered() {
    for (text, expect) in [
        ("", ParseError::Empty),
        ("\r\n\r\n", ParseError::Empty),
        ("OPTIONS sip:a@h SIP/2.0\r\nVia: x\r\n", ParseError::Unterminated),
        ("OPTIONS sip:a@h SIP/2.0\nVia: x\n\n", ParseError::Unterminated),
        ("GET / HTTP/1.1\r\n\r\n", ParseError::NotSip),
        ("hello\r\n\r\n", ParseError::NotSip),
        ("a,b sip:a@h SIP/2.0\r\n\r\n", ParseError::NotSip),
    ] {
        assert_eq!(framed(text).map(|_| ()), Err(expect), "{text:?}");
    }
    let many = request(&"X: y\r\n".repeat(Limits::default().max_headers + 1));
    assert_eq!(framed(&many).map(|_| ()), Err(ParseError::TooManyHeaders));
    let long = request(&format!("X: {}\r\n", "y".repeat(70_000)));
    assert_eq!(framed(&long).map(|_| ()), Err(ParseError::TooLong));
}

#[test]
fn what_is_answered_with_an_error() {
    let swapped = |from: &str, to: &str| request(&ESSENTIAL.replace(from, to));
    fault(&swapped("Via: SIP/2.0/UDP 192.0.2.1;", "Via: SIP/2.0/UDP 192.0.2.1;;,;,,"), ParseError::Via);
    fault(&swapped("Via:", "X:"), ParseError::Via);
    fault(&swapped("<sip:f@h>", "\"open <sip:f@h>"), ParseError::From);
    fault(&swapped("To: <sip:t@h>", "To: <sip:t@h>;tag=a b"), ParseError::To);
    fault(&swapped("c@h", "c d"), ParseError::CallId);
    fault(&swapped("Call-ID: c@h\r\n", ""), ParseError::CallId);
    for cseq in ["36893488147419103232 OPTIONS", "2147483648 OPTIONS", "-1 OPTIONS", "1", "1 OPTIONS x", "7 INVITE"] {
        fault(&swapped("7 OPTIONS", cseq), ParseError::CSeq);
    }
    fault(&request(&format!("{ESSENTIAL}To: <sip:u@h>\r\n")), ParseError::To);
    fault(&request(&format!("{ESSENTIAL}Max-Forwards: -1\r\n")), ParseError::MaxForwards);
    fault(&request(&format!("{ESSENTIAL}No colon here\r\n")), ParseError::HeaderLine);
    fault(&request(&format!("{ESSENTIAL}X: a\rY: b\r\n")), ParseError::HeaderLine);
    fault(&request(&format!("{ESSENTIAL}X: {}\r\n", "y".repeat(5_000))), ParseError::HeaderTooLong);
    fault(&request(ESSENTIAL).replace("SIP/2.0\r\nVia", "SIP/7.0\r\nVia"), ParseError::Version);
    fault(&request(ESSENTIAL).replace("SIP/2.0\r\nVia", "SIP/2.0  \r\nVia"), ParseError::StartLine);
    assert_eq!(ParseError::Version.status().0, 505);
    assert_eq!(ParseError::CSeq.status().0, 400);
    assert_eq!(ParseError::HeaderTooLong.status().0, 513);
}

#[test]
fn the_cause_from_the_network_wins() {
    let of = |value: &str| reason(&framed(&request(value)).unwrap().headers);
    let found =
        of("Reason: SIP;cause=200;text=\"Call completed elsewhere\", q.850 ; cause=17 ; text=\"User, busy\"\r\n")
            .unwrap();
    assert_eq!((found.cause, found.text.as_deref()), (Some(17), Some("User, busy")));
    let found = of("Reason: SIP\r\n").unwrap();
    assert_eq!((found.protocol.as_str(), found.cause), ("SIP", None));
    assert_eq!(of("Reason: ;cause=16\r\n"), None);
    assert_eq!(
        reason_value(&crate::Reason {
            protocol: "Q.850".into(),
            cause: Some(16),
            text: Some("bye \"now\"\r\nX: y".into()),
        })
        .unwrap(),
        "Q.850;cause=16;text=\"bye \\\"now\\\"  X: y\""
    );
}

#[test]
fn retry_after_in_its_forms() {
    let of = |value: &str| {
        retry_after(&framed(&request(&format!("Retry-After: {value}\r\n"))).unwrap().headers).map(|d| d.as_secs())
    };
    assert_eq!(of("18000;duration=3600"), Some(18000));
    assert_eq!(of("120 (I'm in a meeting)"), Some(120));
    assert_eq!(of("soon"), None);
}

#[test]
fn sdp_is_found_in_a_multipart_body() {
    let with = |content_type: &str, body: &str| sdp_body(&framed(&format!("{}{body}", request(content_type))).unwrap());
    let parts = "--b\r\nContent-Type: application/ISUP\r\n\r\n\0\u{1}\r\n--b\r\nContent-Type: application/sdp\r\n\r\nv=0\r\n\r\n--b--\r\n";
    let sdp = |text: &'static str| SdpBody::Sdp(Bytes::from_static(text.as_bytes()));
    assert_eq!(with("Content-Type: multipart/mixed;boundary=b\r\n", parts), sdp("v=0\r\n"));
    assert_eq!(with("c: Application/SDP;x=y\r\n", "v=0\r\n"), sdp("v=0\r\n"));
    assert_eq!(with("c: application/unknown\r\n", "x"), SdpBody::Other);
    assert_eq!(with("", "v=0"), SdpBody::Other);
    assert_eq!(with("c: application/sdp\r\n", ""), SdpBody::None);
    assert_eq!(with("c: application/sdp\r\nContent-Encoding: gzip\r\n", "v"), SdpBody::Other);
    assert_eq!(with("c: multipart/mixed;boundary=b\r\n", "--b--b--b"), SdpBody::Other);
}

#[test]
fn digits_by_info() {
    let of = |kind: &str, body: &str| {
        dtmf_body(&framed(&format!("{}{body}", request(&format!("Content-Type: {kind}\r\n")))).unwrap())
    };
    assert_eq!(of("application/dtmf-relay", "Signal=5\r\nDuration=160\r\n"), Some(('5', 160)));
    assert_eq!(of("application/dtmf-relay", "Signal= *\nDuration= x"), Some(('*', 160)));
    assert_eq!(of("application/dtmf-relay", "Signal=11\r\nDuration=99999999"), Some(('#', 10_000)));
    assert_eq!(of("application/dtmf", "a\r\n"), Some(('A', 160)));
    assert_eq!(of("application/dtmf-relay", "Duration=5"), None);
    assert_eq!(of("application/dtmf-relay", "Signal=55"), None);
    assert_eq!(of("text/plain", "5"), None);
    assert_eq!(dtmf_relay('#', 100).as_deref(), Some("Signal=#\r\nDuration=100\r\n"));
    assert_eq!(dtmf_relay('x', 100), None);
}

#[test]
fn a_value_can_not_end_its_line() {
    let bytes =
        MessageWriter::response(200, "OK\r\nEvil: 1").header("X", "a\r\nEvil: 2").finish_with("text/plain", b"hi");
    assert_eq!(
        &bytes[..],
        b"SIP/2.0 200 OK  Evil: 1\r\nX: a  Evil: 2\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\nhi"
    );
}

mod properties {
    use proptest::prelude::*;

    use super::*;

    const SEED: &str = "INVITE sip:bob@example.com;lr?x=y SIP/2.0\r\nVia: SIP/2.0/UDP [2001:db8::1]:5060;branch=z9hG4bKx;rport\r\n\
        f: \"A \\\"b\\\" (c)\" <sip:a@h;x=%41>;tag=1\r\nTo: sip:bob@example.com;tag=2\r\nCall-ID: c@h\r\nCSeq: 1 INVITE\r\n\
        Reason: Q.850;cause=16;text=\"x, y\"\r\nContent-Type: multipart/mixed;boundary=\"b\"\r\nContact: <sip:a@h>, \"x\" <sip:b@h>\r\n\
        Retry-After: 5 (x)\r\nContent-Length: 40\r\n\r\n--b\r\nContent-Type: application/sdp\r\n\r\nv=0\r\n--b--";

    /// Reads everything there is to read in a message.
    fn read_all(bytes: &[u8]) {
        let Ok(message) = parse(&Bytes::copy_from_slice(bytes), &Limits::default()) else {
            return;
        };
        let _ = Essentials::of(&message);
        let _ = (reason(&message.headers), retry_after(&message.headers), sdp_body(&message), dtmf_body(&message));
        for header in message.headers.iter() {
            let _ = NameAddr::parse(&header.value)
                .map(|address| (address.tag(), address.display_name(), address.uri.user_unescaped()));
            let _ = Via::parse(&header.value).map(|via| via.branch());
            assert!(!header.value.contains(['\r', '\n']));
            for value in message.headers.values(&header.name) {
                assert_eq!(trim(value), value);
            }
        }
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
            read_all(&bytes);
        }

        #[test]
        fn no_mutation_of_a_message_panics(
            edits in proptest::collection::vec((0..SEED.len(), any::<u8>(), 0..4_u8), 1..12),
        ) {
            let mut bytes = SEED.as_bytes().to_vec();
            for (at, byte, kind) in edits {
                let at = at.min(bytes.len().saturating_sub(1));
                match kind {
                    0 => bytes[at] = byte,
                    1 => bytes.insert(at, byte),
                    2 if bytes.len() > 1 => { bytes.remove(at); }
                    _ => { let tail = bytes[at..].to_vec(); bytes.extend_from_slice(&tail[..tail.len().min(64)]); }
                }
            }
            read_all(&bytes);
        }
    }
}
