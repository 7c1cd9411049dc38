//! The client of fleet servers against a server on loopback: signatures, answers, silence.

use std::collections::BTreeMap;
use std::sync::Mutex;

use domain::fleet::Refusal;
use domain::ids::{BotId, Epoch, KeyId, ServerId, TrunkId};
use domain::ports::StoreError;
use domain::secret::{Personal, SecretString};
use domain::signing::{FleetSecrets, verify};
use jiff::Timestamp;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::*;

/// For answers that come; it is never measured.
const PATIENCE: Duration = Duration::from_secs(60);

struct Fixed;

impl Clock for Fixed {
    fn now(&self) -> Timestamp {
        Timestamp::from_second(1_800_000_000).unwrap()
    }
}

fn secrets() -> FleetSecrets {
    FleetSecrets::single("k1", SecretString::from("secret"))
}

struct Known;

#[async_trait]
impl Secrets for Known {
    async fn fleet(&self) -> Result<FleetSecrets, StoreError> {
        Ok(secrets())
    }
}

fn client() -> FleetClient {
    FleetClient::new(Arc::new(Known), Arc::new(Fixed)).unwrap()
}

fn server(address: String) -> ServerRow {
    ServerRow {
        server_id: ServerId::parse("s1").unwrap(),
        epoch: Epoch(1),
        address,
        ws_url: String::new(),
        sip: String::new(),
        group: None,
        calls: 0,
        max: 1,
        free: 1,
        trunk_calls: BTreeMap::new(),
        draining: false,
        version: "0".into(),
        heartbeat_at: Fixed.now(),
    }
}

fn command() -> DialCommand {
    DialCommand {
        call_id: CallId::from_parts(1, [1; 10]),
        server_id: ServerId::parse("s1").unwrap(),
        epoch: Epoch(1),
        bot_id: BotId::parse("b").unwrap(),
        bot_version: 1,
        trunk_id: TrunkId::parse("t").unwrap(),
        to: Personal("+911234567890".into()),
        from: Personal("+911234567891".into()),
        variables: None,
        key_id: KeyId::parse("k").unwrap(),
        deadline: Fixed.now(),
        warnings: Vec::new(),
    }
}

async fn read_request(stream: &mut TcpStream) -> String {
    let mut seen = Vec::new();
    loop {
        let mut chunk = [0; 4096];
        let read = stream.read(&mut chunk).await.unwrap();
        seen.extend_from_slice(&chunk[..read]);
        let text = String::from_utf8_lossy(&seen).into_owned();
        let length = text.lines().find_map(|line| {
            line.to_ascii_lowercase().strip_prefix("content-length: ").map(|n| n.parse::<usize>().unwrap())
        });
        if let Some(end) = text.find("\r\n\r\n")
            && (read == 0 || text.len() >= end + 4 + length.unwrap_or(0))
        {
            return text;
        }
    }
}

/// A server that reads one request, answers `raw`, and closes; what it read lands in the mutex.
async fn serve(raw: &'static str) -> (String, Arc<Mutex<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let seen = Arc::new(Mutex::new(String::new()));
    let into = Arc::clone(&seen);
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let request = read_request(&mut stream).await;
        *into.lock().unwrap() = request;
        stream.write_all(raw.as_bytes()).await.unwrap();
    });
    (address, seen)
}

macro_rules! answer {
    ($status:literal, $body:literal) => {
        concat!("HTTP/1.1 ", $status, "\r\nconnection: close\r\n\r\n", $body)
    };
}

async fn dial(raw: &'static str) -> Result<DialAnswer, FleetError> {
    let (address, _) = serve(raw).await;
    client().dial(&server(address), &command(), PATIENCE).await
}

#[tokio::test]
async fn answers_to_an_offer_are_told_apart() {
    let refused = |why| Ok(DialAnswer::Refused(why));
    let no_answer = || Err(FleetError::NoAnswer("an answer that is none".into()));
    assert_eq!(dial(answer!("200 OK", r#"{"answer":"accepted"}"#)).await, Ok(DialAnswer::Accepted));
    assert_eq!(
        dial(answer!("503 Service Unavailable", r#"{"answer":"refused","reason":"full"}"#)).await,
        refused(Refusal::Full)
    );
    assert_eq!(
        dial(answer!("409 Conflict", r#"{"answer":"refused","reason":"wrong_server"}"#)).await,
        refused(Refusal::WrongServer)
    );
    assert_eq!(dial(answer!("200 OK", "")).await, no_answer());
    assert_eq!(dial(answer!("200 OK", r#"{"answer":"refused","reason":"full"}"#)).await, no_answer());
    assert_eq!(dial(answer!("503 Service Unavailable", "")).await, Err(FleetError::Unexpected(503)));
    assert_eq!(dial(answer!("401 Unauthorized", "")).await, Err(FleetError::Unexpected(401)));
    assert_eq!(dial(answer!("302 Found", "")).await, Err(FleetError::Unexpected(302)));
}

#[tokio::test]
async fn a_request_is_signed_over_what_is_sent() {
    let (address, seen) = serve(answer!("200 OK", r#"{"answer":"accepted"}"#)).await;
    client().dial(&server(address), &command(), PATIENCE).await.unwrap();
    let request = seen.lock().unwrap().clone();
    let (head, body) = request.split_once("\r\n\r\n").unwrap();
    let signature = head.lines().find_map(|line| line.strip_prefix("x-ringfleet-signature: ")).unwrap();
    assert!(head.starts_with("POST /calls HTTP/1.1"));
    assert_eq!(verify(&secrets(), signature, "POST", "/calls", body.as_bytes(), Fixed.now()), Ok(()));
    assert_eq!(serde_json::from_str::<DialCommand>(body).unwrap().call_id, command().call_id);
}

#[tokio::test]
async fn only_a_connection_that_never_was_is_unreachable() {
    // Nobody listens.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let free = listener.local_addr().unwrap().to_string();
    drop(listener);
    assert!(matches!(client().dial(&server(free), &command(), PATIENCE).await, Err(FleetError::Unreachable(_))));
    // No address at all.
    assert!(matches!(
        client().dial(&server("not an address".into()), &command(), PATIENCE).await,
        Err(FleetError::Unreachable(_))
    ));
    // Connected, and closed without a word; broken off inside the answer.
    assert!(matches!(dial("").await, Err(FleetError::NoAnswer(_))));
    assert!(matches!(dial("HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\n{").await, Err(FleetError::NoAnswer(_))));
    // Connected, and silent: the listener's backlog takes the connection, nobody answers.
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = silent.local_addr().unwrap().to_string();
    let answer = client().dial(&server(address), &command(), Duration::from_secs(1)).await;
    assert!(matches!(answer, Err(FleetError::NoAnswer(_))), "{answer:?}");
}

#[tokio::test]
async fn hang_up_and_health() {
    let hang_up = async |raw| client().hang_up(&server(serve(raw).await.0), command().call_id, PATIENCE).await;
    assert_eq!(hang_up(answer!("202 Accepted", "")).await, Ok(true));
    assert_eq!(hang_up(answer!("404 Not Found", "")).await, Ok(false));
    assert_eq!(hang_up(answer!("500 Oh", "")).await, Err(FleetError::Unexpected(500)));
    let alive = async |raw| client().alive(&server(serve(raw).await.0), PATIENCE).await;
    let expect = Alive { server_id: ServerId::parse("s1").unwrap(), epoch: Epoch(4), calls: 2, draining: false };
    assert_eq!(
        alive(answer!("200 OK", r#"{"server_id":"s1","epoch":4,"calls":2,"draining":false}"#)).await,
        Ok(expect)
    );
    assert!(matches!(alive(answer!("200 OK", "ok")).await, Err(FleetError::NoAnswer(_))));
}

#[tokio::test]
async fn drains_say_whom_they_mean_and_are_answered() {
    let drain = async |raw| client().drain(&server(serve(raw).await.0), true, PATIENCE).await;
    let alive = Alive { server_id: ServerId::parse("s1").unwrap(), epoch: Epoch(1), calls: 2, draining: true };
    let done = answer!("200 OK", r#"{"answer":"done","server_id":"s1","epoch":1,"calls":2,"draining":true}"#);
    assert_eq!(drain(done).await, Ok(DrainAnswer::Done(alive)));
    assert_eq!(drain(answer!("409 Conflict", r#"{"answer":"ending"}"#)).await, Ok(DrainAnswer::Ending));
    assert_eq!(drain(answer!("409 Conflict", r#"{"answer":"wrong_server"}"#)).await, Ok(DrainAnswer::WrongServer));
    assert_eq!(drain(answer!("409 Conflict", "")).await, Err(FleetError::Unexpected(409)));
    assert!(matches!(drain(answer!("200 OK", "")).await, Err(FleetError::NoAnswer(_))));
    let (address, seen) = serve(done).await;
    client().drain(&server(address), false, PATIENCE).await.unwrap();
    let request = seen.lock().unwrap().clone();
    assert!(
        request.starts_with("POST /undrain HTTP/1.1") && request.ends_with(r#"{"server_id":"s1","epoch":1}"#),
        "{request}"
    );
}

struct Silent;

#[async_trait]
impl Secrets for Silent {
    async fn fleet(&self) -> Result<FleetSecrets, StoreError> {
        std::future::pending().await
    }
}

#[tokio::test(start_paused = true)]
async fn secrets_that_do_not_come_take_no_longer_than_the_question_may() {
    let client = FleetClient::new(Arc::new(Silent), Arc::new(Fixed)).unwrap();
    let (within, began) = (Duration::from_secs(2), Instant::now());
    let answer = client.dial(&server("127.0.0.1:1".into()), &command(), within).await;
    assert!(matches!(answer, Err(FleetError::Unreachable(_))), "{answer:?}");
    assert!(began.elapsed() < within * 2, "{:?}", began.elapsed());
}
