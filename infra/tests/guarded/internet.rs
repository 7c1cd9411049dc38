//! The Internet of a test: a name server that answers as it is told, and one TLS server on loopback for every address.

use std::collections::{HashMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use domain::ports::OutboundRequest;
use infra::guarded::{EgressPolicy, GuardedClient, Lookup, Unresolved, Wiring};
use reqwest::Certificate;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::server::TlsStream;

const CA: &[u8] = include_bytes!("../data/tls/ca.pem");
const CERT: &[u8] = include_bytes!("../data/tls/server.pem");
const KEY: &[u8] = include_bytes!("../data/tls/server.key.pem");
pub(crate) const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok";

/// What the server does with one request.
#[derive(Debug, Clone)]
pub(crate) enum Play {
    /// Answers these bytes and closes.
    Answer(Vec<u8>),
    /// Answers these bytes and waits for the next request.
    Stay(Vec<u8>),
    Silence,
    /// Answers these bytes, and no more; the connection stays open.
    Hang(Vec<u8>),
    /// One byte at a time, with a pause before each.
    Drip(Vec<u8>, Duration),
    /// These bytes, then the other ones again and again.
    Endless(Vec<u8>, Vec<u8>),
    Reset,
}

impl Play {
    pub(crate) fn text(text: &str) -> Self {
        Self::Answer(text.as_bytes().to_vec())
    }
}

/// One request as it arrived.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    /// Which connection it came by.
    pub(crate) connection: usize,
    pub(crate) server_name: String,
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl Seen {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (found, value) = line.split_once(':')?;
            found.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }
}

#[derive(Default)]
struct State {
    accepted: usize,
    seen: Vec<Seen>,
    /// What is done with the next requests; the last stays.
    script: VecDeque<Play>,
    dialled: Vec<IpAddr>,
}

/// The server, and what it saw.
#[derive(Clone)]
pub(crate) struct Internet {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
}

impl Internet {
    pub(crate) async fn start(script: impl IntoIterator<Item = Play>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(Mutex::new(State { script: script.into_iter().collect(), ..State::default() }));
        let (acceptor, serving) = (tls(), Arc::clone(&state));
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let connection = {
                    let mut state = serving.lock().unwrap();
                    state.accepted += 1;
                    state.accepted
                };
                tokio::spawn(serve(acceptor.clone(), stream, connection, Arc::clone(&serving)));
            }
        });
        Self { address, state }
    }

    /// Does this with all requests from now on.
    pub(crate) fn play(&self, play: Play) {
        self.state.lock().unwrap().script = VecDeque::from([play]);
    }

    pub(crate) fn client(&self, policy: EgressPolicy, dns: &str) -> GuardedClient {
        GuardedClient::with(policy, self.wiring(dns))
    }

    pub(crate) fn wiring(&self, dns: &str) -> Wiring {
        let (state, address) = (Arc::clone(&self.state), self.address);
        let dial = move |ip| {
            state.lock().unwrap().dialled.push(ip);
            address
        };
        Wiring {
            lookup: Arc::new(Names::parse(dns)),
            dial: Some(Arc::new(dial)),
            roots: vec![Certificate::from_pem(CA).unwrap()],
        }
    }

    pub(crate) fn port(&self) -> u16 {
        self.address.port()
    }

    pub(crate) fn accepted(&self) -> usize {
        self.state.lock().unwrap().accepted
    }

    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.state.lock().unwrap().seen.clone()
    }

    /// The addresses that were judged good and dialled.
    pub(crate) fn dialled(&self) -> Vec<IpAddr> {
        self.state.lock().unwrap().dialled.clone()
    }
}

fn tls() -> TlsAcceptor {
    let chain = vec![CertificateDer::from_pem_slice(CERT).unwrap()];
    let key = PrivateKeyDer::from_pem_slice(KEY).unwrap();
    TlsAcceptor::from(Arc::new(ServerConfig::builder().with_no_client_auth().with_single_cert(chain, key).unwrap()))
}

async fn serve(acceptor: TlsAcceptor, stream: TcpStream, connection: usize, state: Arc<Mutex<State>>) {
    let Ok(mut stream) = acceptor.accept(stream).await else { return };
    let server_name = stream.get_ref().1.server_name().unwrap_or_default().to_owned();
    loop {
        let Some((head, body)) = request_of(&mut stream).await else { return };
        let play = {
            let mut state = state.lock().unwrap();
            state.seen.push(Seen { connection, server_name: server_name.clone(), head, body });
            if state.script.len() > 1 { state.script.pop_front() } else { state.script.front().cloned() }
        };
        match play.expect("a server without a script") {
            Play::Stay(bytes) => {
                if stream.write_all(&bytes).await.is_err() {
                    return;
                }
            }
            other => {
                act(&mut stream, other).await;
                return;
            }
        }
    }
}

/// What ends the connection; the other side may be gone before.
async fn act(stream: &mut TlsStream<TcpStream>, play: Play) {
    match play {
        Play::Answer(bytes) | Play::Stay(bytes) => {
            let _ = stream.write_all(&bytes).await;
            let _ = stream.shutdown().await;
        }
        Play::Silence => std::future::pending().await,
        Play::Hang(bytes) => {
            let _ = stream.write_all(&bytes).await;
            let _ = stream.flush().await;
            std::future::pending().await
        }
        Play::Drip(bytes, pause) => {
            for byte in bytes {
                tokio::time::sleep(pause).await;
                if stream.write_all(&[byte]).await.is_err() || stream.flush().await.is_err() {
                    return;
                }
            }
        }
        Play::Endless(first, again) => {
            let mut wrote = stream.write_all(&first).await;
            while wrote.is_ok() {
                wrote = stream.write_all(&again).await;
            }
        }
        Play::Reset => {
            let _ = socket2::SockRef::from(stream.get_ref().0).set_linger(Some(Duration::ZERO));
        }
    }
}

/// Head and body of the next request; `None` when the other side is gone.
async fn request_of(stream: &mut TlsStream<TcpStream>) -> Option<(String, Vec<u8>)> {
    let mut seen = Vec::new();
    let head_end = loop {
        if let Some(at) = seen.windows(4).position(|end| end == b"\r\n\r\n") {
            break at + 4;
        }
        read_more(stream, &mut seen).await?;
    };
    let head = String::from_utf8_lossy(&seen[..head_end]).into_owned();
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().unwrap())
    });
    let whole = head_end + length.unwrap_or(0);
    while seen.len() < whole {
        read_more(stream, &mut seen).await?;
    }
    Some((head, seen[head_end..whole].to_vec()))
}

async fn read_more(stream: &mut TlsStream<TcpStream>, seen: &mut Vec<u8>) -> Option<()> {
    let mut chunk = [0; 4096];
    match stream.read(&mut chunk).await {
        Ok(read @ 1..) => seen.extend_from_slice(&chunk[..read]),
        _ => return None,
    }
    Some(())
}

/// Answers of a play name server: each question takes the next, the last stays.
#[derive(Default)]
struct Names(Mutex<HashMap<String, VecDeque<Vec<IpAddr>>>>);

impl Names {
    /// `name=1.2.3.4,5.6.7.8 then 9.9.9.9`, several of them parted by `;`; `-` for none.
    fn parse(dns: &str) -> Self {
        let mut names = HashMap::new();
        for (name, answers) in dns.split(';').filter_map(|entry| entry.split_once('=')) {
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

/// A name server that never answers.
pub(crate) struct NobodyAnswers;

#[async_trait]
impl Lookup for NobodyAnswers {
    async fn addresses(&self, _: &str) -> Result<Vec<IpAddr>, Unresolved> {
        std::future::pending().await
    }
}

pub(crate) fn request(url: &str) -> OutboundRequest {
    OutboundRequest {
        method: http::Method::POST,
        url: url.to_owned(),
        headers: http::HeaderMap::new(),
        body: Bytes::from_static(b"{}"),
        // For what comes: a machine that stands still must not end it.
        connect_timeout: Duration::from_secs(60),
        total_timeout: Duration::from_secs(60),
        answer_limit: 1024,
    }
}

/// What local mode allows besides the public Internet.
pub(crate) fn loopback() -> EgressPolicy {
    EgressPolicy { allow_cidrs: vec!["127.0.0.0/8".parse().unwrap()], allow_http: true, ..EgressPolicy::default() }
}
