//! Two servers and more in one process: who is full passes a socket on, and it talks through.

use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use axum::Router;
use axum::extract::{Path, State};
use axum::response::IntoResponse;
use axum::routing::get;
use domain::ids::{BotId, Epoch, KeyId};
use domain::signing::FleetSecrets;
use futures_util::{SinkExt, StreamExt};
use tokio::net::TcpListener;
use tokio_tungstenite::tungstenite::handshake::client::generate_key;
use tokio_tungstenite::tungstenite::handshake::server::create_response_with_body;
use tokio_tungstenite::tungstenite::protocol::Role;
use tokio_tungstenite::tungstenite::{Error, Message, http};
use tokio_tungstenite::{WebSocketStream, client_async};

use super::*;
use crate::door::test_support::Outside;

type Client = WebSocketStream<TcpStream>;

/// What the servers of one fleet share, and see of each other.
#[derive(Default)]
struct Fleet {
    outside: Arc<Outside>,
    peers: Peers,
    rows: Mutex<Vec<ServerRow>>,
}

impl Fleet {
    fn add(&self, row: ServerRow) {
        let mut rows = self.rows.lock().unwrap();
        rows.push(row);
        self.peers.observe(rows.clone());
    }
}

/// One server: its public port passes everybody on, its private port takes them while there is room.
struct Node {
    id: &'static str,
    passing: Passing,
    outside: Arc<Outside>,
    full: AtomicBool,
    taken: AtomicUsize,
}

impl Node {
    async fn start(id: &'static str, fleet: &Fleet) -> (Arc<Self>, SocketAddr) {
        let outside = &fleet.outside;
        let passing = Passing {
            secrets: outside.clone(),
            clock: outside.clone(),
            entropy: outside.clone(),
            me: ServerId::parse(id).unwrap(),
            peers: fleet.peers.clone(),
            places: Arc::new(Semaphore::new(2)),
            tunnels: TaskTracker::new(),
            cut: CancellationToken::new(),
        };
        let (full, taken) = (AtomicBool::new(false), AtomicUsize::new(0));
        let node = Arc::new(Self { id, passing, outside: outside.clone(), full, taken });
        let private = Router::new().route("/ws/{bot_id}", get(take)).with_state(node.clone());
        let public = Router::new().route("/ws/{bot_id}", get(pass)).with_state(node.clone());
        let (private, public) = (listen(private).await, listen(public).await);
        fleet.add(ServerRow {
            server_id: ServerId::parse(id).unwrap(),
            epoch: Epoch(1),
            address: private.to_string(),
            ws_url: String::new(),
            sip: String::new(),
            group: None,
            calls: 0,
            max: 10,
            free: 10,
            trunk_calls: Default::default(),
            draining: false,
            version: "0".into(),
            heartbeat_at: outside.now(),
        });
        (node, public)
    }
}

async fn listen(router: Router) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    address
}

fn guest() -> Introduction {
    Introduction {
        bot_id: BotId::parse("b").unwrap(),
        address: "203.0.113.1".parse().unwrap(),
        key_id: Some(KeyId::parse("key_1").unwrap()),
    }
}

async fn pass(State(node): State<Arc<Node>>, request: Request) -> Response {
    match node.passing.pass_on(&guest(), request).await {
        Some(response) => response,
        None => StatusCode::SERVICE_UNAVAILABLE.into_response(),
    }
}

/// Says who it is and what it was told, and everything else back.
async fn take(State(node): State<Arc<Node>>, Path(bot): Path<String>, mut request: Request) -> Response {
    let secrets: FleetSecrets = node.outside.fleet().await.unwrap();
    let now = node.outside.now();
    let introduced = match Introduction::read(&secrets, &bot, request.uri(), request.headers(), now) {
        Ok(introduced) => introduced,
        Err(why) => return (StatusCode::UNAUTHORIZED, why.to_string()).into_response(),
    };
    assert_eq!(introduced, guest());
    assert!(request.headers().get("x-api-key").is_none() && request.headers().get("cookie").is_none());
    if node.full.load(Ordering::SeqCst) {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    }
    node.taken.fetch_add(1, Ordering::SeqCst);
    let mut response = create_response_with_body(&request, Body::empty).unwrap();
    response.headers_mut().insert("sec-websocket-protocol", "audio.jambonz.org".parse().unwrap());
    let greeting = format!("{} {}", node.id, request.uri());
    let upgrade = hyper::upgrade::on(&mut request);
    tokio::spawn(async move {
        let stream = TokioIo::new(upgrade.await.unwrap());
        let mut socket = WebSocketStream::from_raw_socket(stream, Role::Server, None).await;
        socket.send(Message::text(greeting)).await.unwrap();
        while let Some(Ok(message)) = socket.next().await {
            if message.is_close() || socket.send(message).await.is_err() {
                break;
            }
        }
    });
    response
}

async fn dial(public: SocketAddr) -> Result<(Client, String), Error> {
    let request = http::Request::builder()
        .uri(format!("ws://{public}/ws/b?dialect=jambonz&key=good-key-1&x=1&token=rfc_a.b"))
        .header("host", public.to_string())
        .header("upgrade", "websocket")
        .header("connection", "keep-alive, Upgrade")
        .header("sec-websocket-version", "13")
        .header("sec-websocket-key", generate_key())
        .header("sec-websocket-protocol", "audio.jambonz.org")
        .header("x-api-key", "good-key-1")
        .header("cookie", "a=b")
        .body(())
        .unwrap();
    let stream = TcpStream::connect(public).await.unwrap();
    let (mut socket, response) = client_async(request, stream).await?;
    assert_eq!(response.headers()["sec-websocket-protocol"], "audio.jambonz.org");
    let greeting = socket.next().await.unwrap().unwrap().into_text().unwrap().to_string();
    Ok((socket, greeting))
}

#[tokio::test]
async fn a_full_server_passes_a_socket_on_and_carries_it() {
    let fleet = Fleet::default();
    let (one, public) = Node::start("one", &fleet).await;
    let (two, _) = Node::start("two", &fleet).await;
    let (mut socket, greeting) = dial(public).await.unwrap();
    assert_eq!(greeting, "two /ws/b?dialect=jambonz&x=1", "and neither key nor token is told");
    for text in ["hello", &"long ".repeat(20_000)] {
        socket.send(Message::text(text)).await.unwrap();
        assert_eq!(socket.next().await.unwrap().unwrap(), Message::text(text));
    }
    socket.send(Message::binary(vec![7; 320])).await.unwrap();
    assert_eq!(socket.next().await.unwrap().unwrap().into_data(), vec![7; 320]);
    assert_eq!((one.passing.tunnels.len(), one.passing.places.available_permits()), (1, 1));

    // Its own private port is never asked.
    let (_second, _) = dial(public).await.unwrap();
    assert_eq!((one.taken.load(Ordering::SeqCst), two.taken.load(Ordering::SeqCst)), (0, 2));
    // No place is left for a third.
    assert!(matches!(dial(public).await, Err(Error::Http(answer)) if answer.status() == 503));

    // They end with their sockets: the one by a close, the other by a client that is gone.
    socket.close(None).await.unwrap();
    drop((socket, _second));
    one.passing.finished().await;
    assert_eq!(one.passing.places.available_permits(), 2);
}

#[tokio::test]
async fn the_next_peer_is_asked_and_when_all_are_full_the_client_is_told() {
    let fleet = Fleet::default();
    let (_, public) = Node::start("one", &fleet).await;
    let (two, _) = Node::start("two", &fleet).await;
    let (three, _) = Node::start("three", &fleet).await;
    two.full.store(true, Ordering::SeqCst);
    assert!(dial(public).await.unwrap().1.starts_with("three "));
    two.full.store(false, Ordering::SeqCst);
    three.full.store(true, Ordering::SeqCst);
    assert!(dial(public).await.unwrap().1.starts_with("two "));
    two.full.store(true, Ordering::SeqCst);
    let refused = dial(public).await;
    assert!(matches!(&refused, Err(Error::Http(answer)) if answer.status() == 503), "{:?}", refused.err());
}

#[tokio::test]
async fn peers_that_are_gone_or_strange_are_passed_over() {
    let fleet = Fleet::default();
    let (_, public) = Node::start("one", &fleet).await;
    let unreachable = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let gone = unreachable.local_addr().unwrap();
    drop(unreachable);
    let strange = listen(Router::new().route("/ws/{bot_id}", get(|| async { "no upgrade" }))).await;
    Node::start("two", &fleet).await;
    let two = fleet.rows.lock().unwrap()[1].clone();
    fleet.rows.lock().unwrap()[1].free = 1;
    // With more room, these are asked first.
    for (id, address) in [("gone", gone.to_string()), ("strange", strange.to_string()), ("no", "no address".into())] {
        fleet.add(ServerRow { server_id: ServerId::parse(id).unwrap(), address, ..two.clone() });
    }
    assert!(dial(public).await.unwrap().1.starts_with("two "));
    fleet.outside.broken.store(true, Ordering::SeqCst);
    assert!(matches!(dial(public).await, Err(Error::Http(answer)) if answer.status() == 503), "no secret, no request");
}

#[tokio::test]
async fn an_end_of_the_process_cuts_what_is_still_carried() {
    let fleet = Fleet::default();
    let (one, public) = Node::start("one", &fleet).await;
    Node::start("two", &fleet).await;
    let (mut socket, _) = dial(public).await.unwrap();
    one.passing.cut();
    one.passing.finished().await;
    assert!(!matches!(socket.next().await, Some(Ok(_))), "the client's connection is closed");
}

#[tokio::test]
async fn only_this_fleet_introduces_a_guest() {
    let outside = Outside::default();
    let secrets = outside.fleet().await.unwrap();
    let header = guest().to_header();
    let (now, path) = (outside.now(), "/ws/b?x=1");
    let signed = |header: &HeaderValue, path: &str| {
        let mut headers = HeaderMap::new();
        headers.insert(SIGNATURE_HEADER, sign(&secrets, "GET", path, now, header.as_bytes()).parse().unwrap());
        headers.insert(INTRODUCTION, header.clone());
        headers
    };
    let read = |bot: &str, path: &str, headers: &HeaderMap, later: i64| {
        let at = now + jiff::SignedDuration::from_secs(later);
        Introduction::read(&secrets, bot, &path.parse().unwrap(), headers, at).map_err(|why| why.to_string())
    };
    let headers = signed(&header, path);
    assert_eq!(read("b", path, &headers, 0), Ok(guest()));
    let check = |bot: &str, path: &str, headers: &HeaderMap, later: i64, expect: &str| {
        let why = read(bot, path, headers, later).unwrap_err();
        assert!(why.contains(expect), "{why} lacks {expect}");
    };
    check("b", path, &HeaderMap::new(), 0, "not signed");
    check("b", "/ws/b?x=2", &headers, 0, "does not match");
    check("b", path, &headers, 31, "30 s away");
    check("c", path, &headers, 0, "another bot's");
    let mut other = headers.clone();
    let changed = Introduction { key_id: None, ..guest() };
    other.insert(INTRODUCTION, changed.to_header());
    check("b", path, &other, 0, "does not match");
    other.remove(INTRODUCTION);
    check("b", path, &other, 0, "names no guest");
    check("b", path, &signed(&HeaderValue::from_static("e30"), path), 0, "names no guest");
}
