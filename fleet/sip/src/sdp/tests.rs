//! Offer/answer as tables.

use super::*;

const LOCAL: &str = "192.0.2.1:40000";
const BOTH: [Codec; 2] = [Codec::Pcma, Codec::Pcmu];

fn local() -> SocketAddr {
    LOCAL.parse().unwrap()
}

fn body(connection: &str, media: &str) -> String {
    format!("v=0\r\no=- 1 1 IN IP4 198.51.100.7\r\ns=-\r\n{connection}t=0 0\r\n{media}")
}

fn basic(media: &str) -> String {
    body("c=IN IP4 198.51.100.7\r\n", media)
}

fn answered(offer: &str) -> Result<(String, AudioParams), SdpError> {
    let (sdp, params) = answer(local(), 7, 1, &BOTH, offer.as_bytes())?;
    Ok((String::from_utf8(sdp.to_vec()).unwrap(), params))
}

#[track_caller]
fn refused(offer: &str, expect: SdpError) {
    assert_eq!(answered(offer).map(|(_, params)| params), Err(expect));
}

#[track_caller]
fn held(offer: &str, expect: Direction, line: &str) {
    let (sdp, params) = answered(offer).unwrap();
    assert_eq!(params.direction, expect);
    assert!(sdp.contains(line), "{sdp}");
}

#[test]
fn our_offer_can_be_answered_by_ourselves() {
    let offer = offer(local(), 1, 1, &[Codec::Pcmu, Codec::Pcma]);
    let peer = "203.0.113.9:5004".parse().unwrap();
    let (answer, theirs) = answer(peer, 2, 1, &[Codec::Pcma], &offer).unwrap();
    assert_eq!(theirs.remote, local());
    let ours = parse_answer(&[Codec::Pcmu, Codec::Pcma], &answer).unwrap();
    assert_eq!(
        ours,
        AudioParams {
            remote: peer,
            codec: Codec::Pcma,
            payload_type: 8,
            dtmf_payload_type: Some(101),
            ptime_ms: 20,
            direction: Direction::SendRecv,
        }
    );
}

#[test]
fn the_offer_byte_for_byte() {
    let sdp = offer("[2001:db8::1]:6000".parse().unwrap(), 5, 9, &[Codec::Pcmu]);
    assert_eq!(
        std::str::from_utf8(&sdp).unwrap(),
        "v=0\r\no=- 5 9 IN IP6 2001:db8::1\r\ns=-\r\nc=IN IP6 2001:db8::1\r\nt=0 0\r\n\
         m=audio 6000 RTP/AVP 0 101\r\na=rtpmap:0 PCMU/8000\r\n\
         a=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-15\r\na=ptime:20\r\na=sendrecv\r\n"
    );
}

#[test]
fn our_preference_decides_and_the_peers_numbers_are_kept() {
    let (sdp, params) = answered(&basic(
        "m=audio 4000 RTP/AVP 96 8 97 100\r\na=rtpmap:96 PCMU/8000\r\na=rtpmap:97 opus/48000/2\r\n\
         a=rtpmap:100 telephone-event/8000\r\na=ptime:30\r\n",
    ))
    .unwrap();
    assert_eq!((params.codec, params.payload_type), (Codec::Pcma, 8));
    assert_eq!((params.dtmf_payload_type, params.ptime_ms), (Some(100), 30));
    assert!(sdp.contains("m=audio 40000 RTP/AVP 8 100\r\n"), "{sdp}");

    let remapped = basic("m=audio 4000 RTP/AVP 96\r\na=rtpmap:96 pcmu/8000\r\n");
    let (_, params) = answered(&remapped).unwrap();
    assert_eq!((params.codec, params.payload_type), (Codec::Pcmu, 96));
    assert_eq!((params.dtmf_payload_type, params.ptime_ms), (None, 20));
}

#[test]
fn static_numbers_can_be_mapped_away() {
    refused(&basic("m=audio 4000 RTP/AVP 0\r\na=rtpmap:0 G723/8000\r\n"), SdpError::NoCommonCodec);
}

#[test]
fn other_streams_are_refused_in_place() {
    let (sdp, params) = answered(&basic(
        "m=video 4002 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\nm=audio 4000 RTP/SAVP 0\r\n\
         m=audio 4004 RTP/AVP 0\r\nm=audio 4006 RTP/AVP 0\r\nm=image 4008 udptl t38\r\n",
    ))
    .unwrap();
    assert_eq!(params.remote.port(), 4004);
    let lines: Vec<&str> = sdp.lines().filter(|line| line.starts_with("m=")).collect();
    assert_eq!(
        lines,
        [
            "m=video 0 RTP/AVP 96",
            "m=audio 0 RTP/SAVP 0",
            "m=audio 40000 RTP/AVP 0",
            "m=audio 0 RTP/AVP 0",
            "m=image 0 udptl t38",
        ]
    );
}

#[test]
fn hold_in_all_its_forms() {
    let audio = "m=audio 4000 RTP/AVP 8\r\n";
    held(&basic(&format!("{audio}a=sendonly\r\n")), Direction::RecvOnly, "a=recvonly");
    held(&basic(&format!("{audio}a=inactive\r\n")), Direction::Inactive, "a=inactive");
    held(&basic(&format!("{audio}a=recvonly\r\n")), Direction::SendOnly, "a=sendonly");
    held(&basic(audio), Direction::SendRecv, "a=sendrecv");
    held(&body("c=IN IP4 0.0.0.0\r\n", audio), Direction::RecvOnly, "a=recvonly");
    held(
        &body("c=IN IP4 198.51.100.7\r\n", &format!("{audio}c=IN IP4 0.0.0.0\r\na=recvonly\r\n")),
        Direction::Inactive,
        "a=inactive",
    );
    // At session level it is the default of every stream.
    held(
        &body("c=IN IP4 198.51.100.7\r\n", audio).replace("t=0 0\r\n", "t=0 0\r\na=sendonly\r\n"),
        Direction::RecvOnly,
        "a=recvonly",
    );
}

#[test]
fn addresses() {
    let audio = "m=audio 4000 RTP/AVP 8\r\n";
    for bad in ["255.255.255.255", "224.2.1.1/127", "example.com"] {
        refused(&body(&format!("c=IN IP4 {bad}\r\n"), audio), SdpError::BadAddress);
    }
    refused(&body("", audio), SdpError::BadAddress);
    let (_, params) = answered(&body("c=IN IP6 2001:db8::5\r\n", audio)).unwrap();
    assert_eq!(params.remote, "[2001:db8::5]:4000".parse().unwrap());
}

#[test]
fn what_is_refused_and_how() {
    refused("", SdpError::Malformed);
    refused(&basic("m=audio 4000 RTP/AVP 8\r\n").replace("\r\n", "\r"), SdpError::Malformed);
    refused(&basic("m=audio -1 RTP/AVP 8\r\n"), SdpError::Malformed);
    refused(&basic("m=audio 99999999999 RTP/AVP 8\r\n"), SdpError::Malformed);
    refused(&basic(""), SdpError::NoAudio);
    refused(&basic("m=audio 0 RTP/AVP 8\r\n"), SdpError::NoAudio);
    refused(&basic("m=audio 4000 RTP/AVP 18\r\n"), SdpError::NoCommonCodec);
    refused(&basic(&"m=audio 4000 RTP/AVP 8\r\n".repeat(9)), SdpError::TooManyStreams);
    refused(&" ".repeat(MAX_LEN + 1), SdpError::TooLong);
    assert_eq!(SdpError::Malformed.status(), 400);
    assert_eq!(SdpError::NoCommonCodec.status(), 488);
}

#[test]
fn odd_attributes_are_ignored() {
    let (_, params) = answered(&basic(
        "m=audio 4000 RTP/AVP 8 101\r\na=ptime:-20\r\na=fmtp:101 0-99999999\r\na=rtpmap:\r\na=rtpmap:101 telephone-event/8000\r\n",
    ))
    .unwrap();
    assert_eq!((params.ptime_ms, params.dtmf_payload_type), (20, Some(101)));
}

#[test]
fn an_answer_must_take_what_was_offered() {
    let only_pcma = basic("m=audio 4000 RTP/AVP 8\r\n");
    assert_eq!(parse_answer(&[Codec::Pcmu], only_pcma.as_bytes()), Err(SdpError::NoCommonCodec));
    let refused = basic("m=audio 0 RTP/AVP 8\r\n");
    assert_eq!(parse_answer(&BOTH, refused.as_bytes()), Err(SdpError::NoAudio));
    // Several codecs in the answer: the peer's first is the one to send.
    let two = basic("m=audio 4000 RTP/AVP 0 8\r\n");
    assert_eq!(parse_answer(&BOTH, two.as_bytes()).unwrap().codec, Codec::Pcmu);
}
