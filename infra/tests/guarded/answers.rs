//! What comes back, and how it is bounded.

use std::sync::Arc;
use std::time::Duration;

use domain::ports::{Outbound, OutboundAnswer, OutboundError, OutboundRequest};
use infra::guarded::{EgressPolicy, GuardedClient, Wiring, client_with};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::internet::{Internet, NobodyAnswers, OK, Play, loopback, request};

const DNS: &str = "crm.test=93.184.216.34";

/// For what does not come.
fn brief(url: &str) -> OutboundRequest {
    OutboundRequest { total_timeout: Duration::from_millis(500), ..request(url) }
}

async fn check(play: Play, expect: fn(&Result<OutboundAnswer, OutboundError>) -> bool) {
    check_of(request("https://crm.test/"), play, expect).await;
}

async fn check_of(wanted: OutboundRequest, play: Play, expect: fn(&Result<OutboundAnswer, OutboundError>) -> bool) {
    let shown = format!("{play:.80?}");
    let net = Internet::start([play]).await;
    let said = net.client(EgressPolicy::default(), DNS).send(wanted).await;
    assert!(expect(&said), "{}: {:.200}", &shown[..shown.len().min(80)], format!("{said:?}"));
}

#[tokio::test]
async fn what_goes_wrong_is_named() {
    let url = "https://crm.test/";
    check_of(brief(url), Play::Silence, |said| *said.as_ref().unwrap_err() == OutboundError::Timeout).await;
    check(Play::text(""), |said| matches!(said, Err(OutboundError::Broken(_)))).await;
    check(Play::Reset, |said| matches!(said, Err(OutboundError::Broken(_)))).await;
    check(Play::text("hello, this is HTTP/0.9"), |said| matches!(said, Err(OutboundError::Broken(_)))).await;
    check(Play::text("HTTP/1.1 2000 OK\r\n\r\n"), |said| matches!(said, Err(OutboundError::Broken(_)))).await;
    let net = Internet::start([Play::text(OK)]).await;
    let said = net.client(EgressPolicy::default(), "other.test=93.184.216.34").send(request(url)).await;
    assert!(matches!(said, Err(OutboundError::Dns(_))), "{said:?}");
}

#[tokio::test]
async fn slow_servers_end_with_the_whole_time_limit() {
    let (url, pause) = ("https://crm.test/", Duration::from_millis(100));
    let timeout: fn(&Result<OutboundAnswer, OutboundError>) -> bool =
        |said| *said.as_ref().unwrap_err() == OutboundError::Timeout;
    check_of(brief(url), Play::Drip(OK.as_bytes().to_vec(), pause), timeout).await;
    // Interim answers are none.
    let early = b"HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n";
    check_of(brief(url), Play::Endless(Vec::new(), early.to_vec()), |said| {
        matches!(said, Err(OutboundError::Timeout | OutboundError::Broken(_)))
    })
    .await;
    // Once the status is known the try is answered, however slow the body is.
    let head = b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n";
    let net = Internet::start([Play::Hang(head.to_vec())]).await;
    let known = OutboundRequest { total_timeout: Duration::from_secs(5), ..request(url) };
    let said = net.client(EgressPolicy::default(), DNS).send(known).await;
    assert_eq!(said.unwrap().status, 200);
    // Nor does a name server that is silent hold up more than a connection may take.
    let wiring = Wiring { lookup: Arc::new(NobodyAnswers), ..net.wiring(DNS) };
    let wanted = OutboundRequest {
        connect_timeout: Duration::from_millis(100),
        total_timeout: Duration::from_secs(5),
        ..request(url)
    };
    let said = GuardedClient::with(EgressPolicy::default(), wiring).send(wanted).await;
    assert!(matches!(said, Err(OutboundError::Connect(_) | OutboundError::Timeout)), "{said:?}");
}

#[tokio::test]
async fn bombs_stay_small() {
    let field = "x-filler: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\n";
    let many = format!("HTTP/1.1 200 OK\r\n{}\r\n", field.repeat(30_000));
    check(Play::text(&many), |said| matches!(said, Err(OutboundError::Broken(_)))).await;
    let one = format!("HTTP/1.1 200 OK\r\nx: {}\r\n\r\n", "a".repeat(1 << 20));
    check(Play::text(&one), |said| matches!(said, Err(OutboundError::Broken(_)))).await;
    let endless = Play::Endless(b"HTTP/1.1 200 OK\r\n".to_vec(), field.as_bytes().to_vec());
    check(endless, |said| matches!(said, Err(OutboundError::Broken(_)))).await;
    // Bodies: what is asked for is read, and nothing is inflated.
    let long = format!("HTTP/1.1 200 OK\r\ncontent-length: 5000\r\n\r\n{}", "b".repeat(5000));
    check(Play::text(&long), |said| said.as_ref().unwrap().body.len() == 1024).await;
    let endless = Play::Endless(b"HTTP/1.1 200 OK\r\n\r\n".to_vec(), vec![b'z'; 65_536]);
    check(endless, |said| said.as_ref().unwrap().body.len() == 1024).await;
    let bomb = include_bytes!("../data/bomb.gz");
    for encoding in ["gzip", "br", "deflate", "zstd"] {
        let head = format!("HTTP/1.1 200 OK\r\ncontent-encoding: {encoding}\r\nconnection: close\r\n\r\n");
        let net = Internet::start([Play::Answer([head.as_bytes(), bomb].concat())]).await;
        let said = net.client(EgressPolicy::default(), DNS).send(request("https://crm.test/")).await.unwrap();
        assert_eq!((said.status, &said.body[..2]), (200, &bomb[..2]), "{encoding}: as it came");
        assert_eq!(net.seen()[0].header("accept-encoding"), None, "and it was not asked for");
    }
}

#[tokio::test]
async fn a_status_counts_however_its_body_ends() {
    let chunked = |chunks: &str| Play::text(&format!("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n{chunks}"));
    check(chunked("2\r\nok\r\nzz\r\n"), |said| said.as_ref().unwrap().body == "ok").await;
    check(chunked("ffffffffffffffffff\r\nok"), |said| said.as_ref().unwrap().status == 200).await;
    check(chunked("2\r\nok\r\n"), |said| said.as_ref().unwrap().status == 200).await;
    check(Play::text("HTTP/1.1 201 Created\r\ncontent-length: 99\r\n\r\nbroken"), |said| {
        said.as_ref().unwrap().status == 201
    })
    .await;
    check(Play::text("HTTP/1.1 503 Later\r\nretry-after: 7\r\nconnection: close\r\n\r\n"), |said| {
        said.as_ref().unwrap().headers["retry-after"] == "7"
    })
    .await;
}

#[tokio::test]
async fn nobody_there_is_a_failed_connection() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let net = Internet::start([Play::text(OK)]).await;
    let wiring = Wiring { dial: Some(Arc::new(move |_| address)), ..net.wiring(DNS) };
    let said = GuardedClient::with(EgressPolicy::default(), wiring).send(request("https://crm.test/")).await;
    assert!(matches!(said, Err(OutboundError::Connect(_))), "{said:?}");
    // A certificate for another name, or of nobody we trust, is no connection either.
    let said =
        net.client(EgressPolicy::default(), "other.test=93.184.216.34").send(request("https://other.test/")).await;
    assert!(matches!(said, Err(OutboundError::Connect(_))), "{said:?}");
    let stranger = Wiring { roots: Vec::new(), ..net.wiring(DNS) };
    let said = GuardedClient::with(EgressPolicy::default(), stranger).send(request("https://crm.test/")).await;
    assert!(matches!(said, Err(OutboundError::Connect(_))), "{said:?}");
    assert!(net.seen().is_empty());
}

/// A plain HTTP server that answers `OK`.
async fn plain() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut seen = [0; 4096];
            let _ = stream.read(&mut seen).await;
            let _ = stream.write_all(OK.as_bytes()).await;
        }
    });
    port
}

#[tokio::test]
async fn plain_http_reaches_listed_addresses_only() {
    let port = plain().await;
    let net = Internet::start([Play::text(OK)]).await;
    let wiring = Wiring { dial: None, ..net.wiring("private.test=127.0.0.1") };
    let client = GuardedClient::with(loopback(), wiring);
    let check = async |url: String, allowed: bool| {
        let said = client.send(request(&url)).await;
        assert_eq!(said.as_ref().is_ok_and(|answer| answer.status == 200), allowed, "{url}: {said:?}");
        assert!(allowed || matches!(said, Err(OutboundError::Blocked(_))), "{url}: {said:?}");
    };
    check(format!("http://127.0.0.1:{port}/"), true).await;
    check(format!("http://localhost:{port}/"), true).await;
    check(format!("http://private.test:{port}/"), true).await;
    check(format!("http://[::1]:{port}/"), false).await;
    check("http://93.184.216.34/".to_owned(), false).await;
    // A public name in the clear: refused when its addresses are known.
    let said = net.client(loopback(), DNS).send(request("http://crm.test/")).await;
    assert!(matches!(said, Err(OutboundError::Blocked(_))), "{said:?}");
    assert_eq!(net.accepted(), 0);
}

#[tokio::test]
async fn the_streaming_client_has_the_same_guard() {
    let net = Internet::start([Play::text(OK)]).await;
    let limit = Duration::from_secs(60);
    let strict = client_with(EgressPolicy::default(), net.wiring(DNS), limit).unwrap();
    assert_eq!(strict.get("https://crm.test/").send().await.unwrap().status(), 200);
    let before = net.accepted();
    let port = net.port();
    for url in [
        format!("https://127.0.0.1:{port}/"),
        format!("http://127.0.0.1:{port}/"),
        format!("https://localhost:{port}/"),
        "http://crm.test/".to_owned(),
    ] {
        assert!(strict.get(&url).send().await.is_err(), "{url}");
    }
    assert_eq!(net.accepted(), before, "nothing was connected to");

    let port = plain().await;
    let open = client_with(loopback(), net.wiring("private.test=127.0.0.1"), limit).unwrap();
    assert_eq!(open.get(format!("http://127.0.0.1:{port}/")).send().await.unwrap().status(), 200);
    let named = format!("http://private.test:{port}/");
    assert!(open.get(named).send().await.is_err(), "names in the clear are refused here");
}
