//! Every address and URL that a user must not be able to reach, and how answers are bounded.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};

use reqwest::Certificate;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::*;

const SSRF: &str = include_str!("../../tests/data/ssrf.tsv");
const CA: &[u8] = include_bytes!("../../tests/data/tls/ca.pem");
const CERT: &[u8] = include_bytes!("../../tests/data/tls/server.pem");
const KEY: &[u8] = include_bytes!("../../tests/data/tls/server.key.pem");
const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok";

/// The row of `ssrf.tsv`, by column.
struct Case {
    id: &'static str,
    url: String,
    expect: &'static str,
    dns: &'static str,
    server: &'static str,
}

fn cases() -> Vec<Case> {
    let read = |line: &'static str| {
        let columns: Vec<&str> = line.split('\t').collect();
        let url = columns[1].replace("\\r", "\r").replace("\\n", "\n");
        // A backslash that is none of the two escapes is meant.
        Case { id: columns[0], url, expect: columns[2], dns: columns[4], server: columns[5] }
    };
    SSRF.lines().skip(1).map(read).collect()
}

/// Answers of a play name server: each question takes the next, the last stays.
#[derive(Default)]
struct Names(Mutex<HashMap<String, VecDeque<Vec<IpAddr>>>>);

impl Names {
    fn parse(dns: &str) -> Self {
        let mut names = HashMap::new();
        if let Some((name, answers)) = dns.split_once('=') {
            // What a name is an alias of does not matter: the addresses at the end do.
            let answers = answers.rsplit('=').next().unwrap();
            let addresses = |answer: &str| {
                let listed = answer.split(" (").next().unwrap();
                listed.split(',').map(|ip| ip.trim().parse().unwrap()).collect()
            };
            names.insert(name.to_owned(), answers.split(" then ").map(addresses).collect());
        }
        Self(Mutex::new(names))
    }
}

#[async_trait]
impl Lookup for Names {
    async fn addresses(&self, name: &str) -> Result<Vec<IpAddr>, Unresolved> {
        let mut names = self.0.lock().unwrap();
        let answers =
            names.get_mut(name).ok_or_else(|| Unresolved { name: name.to_owned(), cause: "no such name".into() })?;
        Ok(if answers.len() > 1 { answers.pop_front().unwrap() } else { answers[0].clone() })
    }
}

/// The Internet of a test: every allowed address leads to one TLS server on loopback.
struct Internet {
    client: GuardedClient,
    dialled: Arc<Mutex<Vec<IpAddr>>>,
    accepted: Arc<AtomicUsize>,
    address: SocketAddr,
}

fn tls() -> TlsAcceptor {
    let chain = vec![CertificateDer::from_pem_slice(CERT).unwrap()];
    let key = PrivateKeyDer::from_pem_slice(KEY).unwrap();
    TlsAcceptor::from(Arc::new(ServerConfig::builder().with_no_client_auth().with_single_cert(chain, key).unwrap()))
}

async fn internet(policy: EgressPolicy, dns: &str, answer: &str) -> Internet {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (accepted, answer, acceptor) = (Arc::new(AtomicUsize::new(0)), answer.to_owned(), tls());
    let counter = Arc::clone(&accepted);
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            counter.fetch_add(1, Ordering::SeqCst);
            let (acceptor, answer) = (acceptor.clone(), answer.clone());
            tokio::spawn(async move {
                let Ok(mut stream) = acceptor.accept(stream).await else { return };
                let mut seen = Vec::new();
                while !seen.windows(4).any(|end| end == b"\r\n\r\n") {
                    let mut chunk = [0; 4096];
                    match stream.read(&mut chunk).await {
                        Ok(read @ 1..) => seen.extend_from_slice(&chunk[..read]),
                        _ => return,
                    }
                }
                if answer == "silence" {
                    std::future::pending::<()>().await;
                }
                let _ = stream.write_all(answer.as_bytes()).await;
                let _ = stream.shutdown().await;
            });
        }
    });
    let dialled = Arc::new(Mutex::new(Vec::new()));
    let client = GuardedClient::with(policy, wiring(dns, address, &dialled));
    Internet { client, dialled, accepted, address }
}

fn wiring(dns: &str, address: SocketAddr, dialled: &Arc<Mutex<Vec<IpAddr>>>) -> Wiring {
    let noted = Arc::clone(dialled);
    let dial = move |ip| {
        noted.lock().unwrap().push(ip);
        address
    };
    Wiring {
        lookup: Arc::new(Names::parse(dns)),
        dial: Some(Arc::new(dial)),
        roots: vec![Certificate::from_pem(CA).unwrap()],
    }
}

fn request(url: &str) -> OutboundRequest {
    OutboundRequest {
        method: http::Method::POST,
        url: url.to_owned(),
        headers: http::HeaderMap::new(),
        body: Bytes::from_static(b"{}"),
        connect_timeout: Duration::from_secs(5),
        total_timeout: Duration::from_secs(5),
        answer_limit: 1024,
    }
}

#[tokio::test]
async fn every_case_of_the_ssrf_list() {
    let cases = cases();
    assert!(cases.len() > 70, "the list is whole");
    for case in cases {
        let answer = match case.server {
            redirect if redirect.starts_with("302 ") => {
                format!("HTTP/1.1 302 Found\r\n{}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n", &redirect[4..])
            }
            refresh if refresh.starts_with("200 ") => {
                format!("HTTP/1.1 200 OK\r\n{}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n", &refresh[4..])
            }
            _ => OK.to_owned(),
        };
        let policy = EgressPolicy { deny_hosts: vec!["fleet.example.com".into()], ..EgressPolicy::default() };
        let net = internet(policy, case.dns, &answer).await;
        let mut said = net.client.send(request(&case.url)).await;
        if case.id == "rebind_retry" {
            assert!(said.is_ok(), "the first answer was public");
            said = net.client.send(request(&case.url)).await;
        }
        let dialled = net.dialled.lock().unwrap().clone();
        let id = case.id;
        let public = dialled.iter().all(|ip| EgressPolicy::default().check_address(*ip).is_ok());
        assert!(public, "{id}: dialled {dialled:?}");
        let blocked = matches!(said, Err(OutboundError::Blocked(_)));
        let status = said.as_ref().ok().map(|answer| answer.status);
        let held = match case.expect {
            "allow" | "allow-ignored" => status == Some(200),
            "block" => blocked && (net.accepted.load(Ordering::SeqCst) == 0 || id == "rebind_retry"),
            "allow|block" | "allow-public-only" | "block-or-public" => blocked || status == Some(200),
            "fail-not-followed" => status == Some(302) && dialled.len() == 1,
            other => panic!("{id}: unknown expectation {other}"),
        };
        assert!(held, "{id} ({}) wants {}, got {said:?}", case.url, case.expect);
    }
}

#[tokio::test]
async fn what_goes_wrong_is_named() {
    let check = async |dns: &str, answer: &str, expect: fn(&Result<OutboundAnswer, OutboundError>) -> bool| {
        let net = internet(EgressPolicy::default(), dns, answer).await;
        let said = net
            .client
            .send(OutboundRequest { total_timeout: Duration::from_millis(500), ..request("https://crm.test/") })
            .await;
        assert!(expect(&said), "{dns} {:?}: {said:?}", &answer[..answer.len().min(40)]);
    };
    let known = "crm.test=93.184.216.34";
    let bomb = format!("HTTP/1.1 200 OK\r\n{}\r\n", "x-filler: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\n".repeat(30_000));
    let long = format!("HTTP/1.1 200 OK\r\ncontent-length: 5000\r\n\r\n{}", "b".repeat(5000));
    check("other.test=93.184.216.34", OK, |said| matches!(said, Err(OutboundError::Dns(_)))).await;
    check(known, "silence", |said| *said.as_ref().unwrap_err() == OutboundError::Timeout).await;
    check(known, "", |said| matches!(said, Err(OutboundError::Broken(_)))).await;
    check(known, "hello, this is HTTP/0.9", |said| matches!(said, Err(OutboundError::Broken(_)))).await;
    check(known, &bomb, |said| matches!(said, Err(OutboundError::Broken(_)))).await;
    // The status is known: that the body breaks off does not make the delivery undone.
    check(known, "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\nzz\r\n", |said| {
        said.as_ref().unwrap().body == "ok"
    })
    .await;
    check(known, "HTTP/1.1 201 Created\r\ncontent-length: 99\r\n\r\nbroken", |said| {
        said.as_ref().unwrap().status == 201
    })
    .await;
    check(known, &long, |said| said.as_ref().unwrap().body.len() == 1024).await;
    check(known, "HTTP/1.1 503 Later\r\nretry-after: 7\r\nconnection: close\r\n\r\n", |said| {
        said.as_ref().unwrap().headers["retry-after"] == "7"
    })
    .await;
}

#[tokio::test]
async fn nobody_there_is_a_failed_connection() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let client =
        GuardedClient::with(EgressPolicy::default(), wiring("crm.test=93.184.216.34", address, &Arc::default()));
    let said = client.send(request("https://crm.test/")).await;
    assert!(matches!(said, Err(OutboundError::Connect(_))), "{said:?}");
    // A certificate for another name is no connection either.
    let net = internet(EgressPolicy::default(), "other.test=93.184.216.34", OK).await;
    let said = net.client.send(request("https://other.test/")).await;
    assert!(matches!(said, Err(OutboundError::Connect(_))), "{said:?}");
}

fn loopback() -> EgressPolicy {
    EgressPolicy { allow_cidrs: vec!["127.0.0.0/8".parse().unwrap()], allow_http: true, deny_hosts: Vec::new() }
}

/// A plain HTTP server that answers `OK`.
async fn plain() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut seen = [0; 4096];
            let _ = stream.read(&mut seen).await;
            let _ = stream.write_all(OK.as_bytes()).await;
        }
    });
    address
}

#[tokio::test]
async fn plain_http_reaches_listed_addresses_only() {
    let port = plain().await.port();
    let system = Wiring { lookup: Arc::new(Names::parse("private.test=127.0.0.1")), ..Wiring::default() };
    let client = GuardedClient::with(loopback(), system);
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
    let net = internet(loopback(), "crm.test=93.184.216.34", OK).await;
    let said = net.client.send(request("http://crm.test/")).await;
    assert!(matches!(said, Err(OutboundError::Blocked(_))), "{said:?}");
    assert_eq!(net.accepted.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn the_streaming_client_has_the_same_guard() {
    let net = internet(EgressPolicy::default(), "crm.test=93.184.216.34", OK).await;
    let strict = client_with(
        EgressPolicy::default(),
        wiring("crm.test=93.184.216.34", net.address, &net.dialled),
        Duration::from_secs(5),
    )
    .unwrap();
    assert_eq!(strict.get("https://crm.test/").send().await.unwrap().status(), 200);
    let before = net.accepted.load(Ordering::SeqCst);
    let port = net.address.port();
    for url in [
        format!("https://127.0.0.1:{port}/"),
        format!("http://127.0.0.1:{port}/"),
        format!("https://localhost:{port}/"),
        "http://crm.test/".to_owned(),
    ] {
        assert!(strict.get(&url).send().await.is_err(), "{url}");
    }
    assert_eq!(net.accepted.load(Ordering::SeqCst), before, "nothing was connected to");

    let port = plain().await.port();
    let open =
        client_with(loopback(), wiring("private.test=127.0.0.1", net.address, &net.dialled), Duration::from_secs(5))
            .unwrap();
    assert_eq!(open.get(format!("http://127.0.0.1:{port}/")).send().await.unwrap().status(), 200);
    assert!(
        open.get(format!("http://private.test:{port}/")).send().await.is_err(),
        "names in the clear are refused here"
    );
}
