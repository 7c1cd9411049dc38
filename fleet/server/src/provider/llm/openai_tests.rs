//! A made-up service on loopback that sends exactly the bytes a case wants, when it wants.

use std::sync::{Arc, Mutex};

use secrecy::SecretString;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use url::Url;

use super::*;
use crate::provider::config::LlmDeadlines;
use crate::provider::llm::{ToolCall, ToolSpec, Usage};

/// What the service does after it has read the request.
enum Act {
    Send(Vec<u8>),
    /// Keeps the connection open and silent.
    Hang,
}

struct Service {
    url: Url,
    /// Head and body of the last request.
    seen: Arc<Mutex<String>>,
    /// Fires when the client has closed the connection.
    closed: oneshot::Receiver<()>,
}

async fn service(acts: Vec<Act>) -> Service {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/v1/", listener.local_addr().unwrap()).parse().unwrap();
    let seen = Arc::new(Mutex::new(String::new()));
    let (sender, closed) = oneshot::channel();
    let request = Arc::clone(&seen);
    tokio::spawn(async move {
        let (mut socket, _) = listener.accept().await.unwrap();
        let text = read_request(&mut socket).await;
        *request.lock().unwrap() = text;
        for act in acts {
            match act {
                Act::Send(bytes) => {
                    if socket.write_all(&bytes).await.is_err() || socket.flush().await.is_err() {
                        break;
                    }
                    tokio::task::yield_now().await;
                }
                Act::Hang => {
                    let _ = socket.read(&mut [0; 16]).await;
                }
            }
        }
        drop(socket);
        let _ = sender.send(());
    });
    Service { url, seen, closed }
}

async fn read_request(socket: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    loop {
        let mut buffer = [0; 4096];
        let read = socket.read(&mut buffer).await.unwrap();
        bytes.extend_from_slice(&buffer[..read]);
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let length =
            head.lines().find_map(|line| line.to_lowercase().strip_prefix("content-length: ").map(str::to_owned));
        if body.len() >= length.map_or(0, |length| length.parse().unwrap()) {
            return text;
        }
    }
}

const HEAD: &str = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n";

fn client() -> Client {
    Client::builder().no_proxy().build().unwrap()
}

fn model(url: &Url, deadlines: LlmDeadlines) -> OpenAi {
    model_by(client(), url, deadlines)
}

fn model_by(client: Client, url: &Url, deadlines: LlmDeadlines) -> OpenAi {
    let config =
        LlmConfig { base_url: url.clone(), api_key: Some(SecretString::from("sk-test")), model: "m".into(), deadlines };
    OpenAi::new(client, config)
}

fn patient() -> LlmDeadlines {
    let long = Duration::from_secs(60);
    LlmDeadlines { connect: long, first_token: long, between_tokens: long }
}

fn words(events: &[LlmEvent]) -> String {
    let word = |event: &LlmEvent| match event {
        LlmEvent::Token(token) => format!("'{token}'"),
        LlmEvent::ToolCall(call) => format!("{}#{}({})", call.name, call.id, call.arguments_json),
        LlmEvent::Done { usage, reason } => format!("{reason:?} {}+{}", usage.prompt_tokens, usage.completion_tokens),
        LlmEvent::Failed(error) => format!("failed: {error}"),
    };
    events.iter().map(word).collect::<Vec<_>>().join(" ")
}

async fn all(mut stream: LlmStream) -> Vec<LlmEvent> {
    let mut events = Vec::new();
    while let Some(event) = stream.next().await {
        events.push(event);
    }
    events
}

async fn run(acts: Vec<Act>, deadlines: LlmDeadlines) -> String {
    let service = service(acts).await;
    words(&all(model(&service.url, deadlines).start(LlmRequest::default())).await)
}

async fn check(body: &str, expect: &str) {
    let whole = format!("{HEAD}{body}").into_bytes();
    assert_eq!(run(vec![Act::Send(whole)], patient()).await, expect, "{body}");
}

fn delta(json: &str) -> String {
    format!("data: {{\"choices\":[{{\"index\":0,\"delta\":{json},\"finish_reason\":null}}]}}\n\n")
}

fn finish(reason: &str) -> String {
    format!("data: {{\"choices\":[{{\"index\":0,\"delta\":{{}},\"finish_reason\":\"{reason}\"}}]}}\n\n")
}

fn hello() -> String {
    let role = delta(r#"{"role":"assistant","content":""}"#);
    let usage = "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":7,\"completion_tokens\":2}}\n\n";
    format!(
        ": hi\n\n{role}{}{}{}{usage}data: [DONE]\n\n",
        delta(r#"{"content":"Hel"}"#),
        delta(r#"{"content":"lo ü"}"#),
        finish("stop")
    )
}

#[tokio::test]
async fn answers() {
    check(&hello(), "'Hel' 'lo ü' Stop 7+2").await;
    check(&format!("{}{}", delta(r#"{"content":"a"}"#), finish("length")), "'a' Length 0+0").await;
    check(&format!("{}data: [DONE]\n\n", finish("content_filter")), "ContentFilter 0+0").await;
    check(&format!("{}{}\r\n", delta(r#"{"content":"a","tool_calls":null}"#), finish("eos")), "'a' Other 0+0").await;
}

#[tokio::test]
async fn an_answer_is_the_same_wherever_it_is_cut() {
    let body = hello();
    let bytes = body.as_bytes();
    // Building a client is most of a case's cost.
    let client = client();
    for cut in 1..bytes.len() {
        let acts = [HEAD.as_bytes(), &bytes[..cut], &bytes[cut..]].map(|part| Act::Send(part.to_vec()));
        let service = service(acts.into()).await;
        let stream = model_by(client.clone(), &service.url, patient()).start(LlmRequest::default());
        assert_eq!(words(&all(stream).await), "'Hel' 'lo ü' Stop 7+2", "cut at {cut}");
    }
}

#[tokio::test]
async fn tool_calls_come_whole() {
    let first = delta(
        r#"{"tool_calls":[{"index":0,"id":"c1","type":"function","function":{"name":"end_call","arguments":""}}]}"#,
    );
    let more = delta(r#"{"tool_calls":[{"index":0,"function":{"arguments":"{\"reason\":"}}]}"#);
    let rest = delta(r#"{"tool_calls":[{"index":0,"function":{"arguments":"\"done\"}"}}]}"#);
    let second = delta(r#"{"tool_calls":[{"index":1,"id":"c2","function":{"name":"other","arguments":"{}"}}]}"#);
    let bye = delta(r#"{"content":"Bye."}"#);
    let body = format!("{bye}{first}{more}{rest}{second}{}data: [DONE]\n\n", finish("tool_calls"));
    check(&body, r#"'Bye.' end_call#c1({"reason":"done"}) other#c2({}) ToolCalls 0+0"#).await;
    // Without an index, and ended as if nothing had been called: as some servers do.
    let bare = delta(r#"{"tool_calls":[{"id":"c","function":{"name":"end_call","arguments":"{}"}}]}"#);
    check(&format!("{bare}{}data: [DONE]\n\n", finish("stop")), "end_call#c({}) ToolCalls 0+0").await;
}

#[tokio::test]
async fn what_breaks_off_fails() {
    let token = delta(r#"{"content":"a"}"#);
    check("", "failed: openai broke its protocol: an answer that breaks off").await;
    check(&token, "'a' failed: openai broke its protocol: an answer that breaks off").await;
    check(&format!("{token}data: [DONE]\n\n"), "'a' failed: openai broke its protocol: an answer that breaks off")
        .await;
    check("data: <html>\n\n", "failed: openai broke its protocol: an event that is no completion").await;
    let many = delta(r#"{"tool_calls":[{"index":4000000000,"function":{"name":"x"}}]}"#);
    check(&many, "failed: openai broke its protocol: too many tool calls").await;
    check(&format!("{token}data: {{\"error\":{{\"message\":\"overloaded\"}}}}\n\n"), "'a' failed: openai answered 200")
        .await;
    check(&format!("data: {}\n\n", "x".repeat(300_000)), "failed: openai broke its protocol: an endless event").await;
    let broken = "HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n".to_owned() + &token;
    assert_eq!(run(vec![Act::Send(broken.into_bytes())], patient()).await, "'a' failed: no connection to openai");
}

#[tokio::test]
async fn error_answers_keep_their_status_and_the_first_of_their_words() {
    for (status, body) in [(401, "bad key".to_owned()), (500, "x".repeat(100_000)), (429, String::new())] {
        let answer =
            format!("HTTP/1.1 {status} Whatever\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}", body.len());
        let service = service(vec![Act::Send(answer.into_bytes())]).await;
        let events = all(model(&service.url, patient()).start(LlmRequest::default())).await;
        let [LlmEvent::Failed(ProviderError::Refused { status: got, detail, .. })] = &events[..] else {
            panic!("{events:?}")
        };
        assert_eq!(*got, status);
        assert!(detail.as_str().len() <= DETAIL_LIMIT && body.starts_with(detail.as_str()));
        assert_eq!(detail.as_str().is_empty(), body.is_empty());
    }
}

#[tokio::test]
async fn nobody_there_is_a_failed_connection() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url: Url = format!("http://{}/v1", listener.local_addr().unwrap()).parse().unwrap();
    drop(listener);
    let events = all(model(&url, patient()).start(LlmRequest::default())).await;
    assert_eq!(words(&events), "failed: no connection to openai");
}

#[tokio::test]
async fn deadlines() {
    let short = Duration::from_millis(30);
    let head = || Act::Send(HEAD.into());
    let token = || Act::Send(delta(r#"{"content":"a"}"#).into());
    let empty = || Act::Send(format!("{}: still here\n\n", delta(r#"{"content":""}"#)).into());
    let connect = LlmDeadlines { connect: short, ..patient() };
    assert_eq!(run(vec![Act::Hang], connect).await, "failed: openai passed its connect deadline");
    let first = LlmDeadlines { first_token: short, ..patient() };
    assert_eq!(run(vec![head(), Act::Hang], first).await, "failed: openai passed its first-result deadline");
    assert_eq!(run(vec![head(), empty(), Act::Hang], first).await, "failed: openai passed its first-result deadline");
    let between = LlmDeadlines { between_tokens: short, ..patient() };
    assert_eq!(
        run(vec![head(), token(), Act::Hang], between).await,
        "'a' failed: openai passed its between-results deadline"
    );
}

#[tokio::test]
async fn dropping_the_stream_closes_the_connection() {
    let service = service(vec![Act::Send(HEAD.into()), Act::Send(delta(r#"{"content":"a"}"#).into()), Act::Hang]).await;
    let mut stream = model(&service.url, patient()).start(LlmRequest::default());
    assert_eq!(stream.next().await, Some(LlmEvent::Token("a".into())));
    drop(stream);
    tokio::time::timeout(Duration::from_secs(30), service.closed).await.expect("closed in time").unwrap();
}

#[tokio::test]
async fn the_request_as_it_is_sent() {
    let service = service(vec![Act::Send(format!("{HEAD}{}", hello()).into())]).await;
    let call = ToolCall { id: "c1".into(), name: "end_call".into(), arguments_json: "{}".into() };
    let request = LlmRequest {
        messages: vec![
            Message::text(Role::System, "be kind"),
            Message::text(Role::User, "hi"),
            Message { tool_calls: vec![call], ..Message::text(Role::Assistant, "") },
            Message { tool_call_id: Some("c1".into()), ..Message::text(Role::Tool, "ok") },
        ],
        tools: vec![ToolSpec {
            name: "end_call".into(),
            description: "hang up".into(),
            parameters: json!({"type": "object"}),
        }],
        temperature: Some(0.5),
        max_tokens: Some(100),
    };
    let events = all(model(&service.url, patient()).start(request)).await;
    let done = LlmEvent::Done { usage: Usage { prompt_tokens: 7, completion_tokens: 2 }, reason: FinishReason::Stop };
    assert_eq!(events.last(), Some(&done));
    let seen = service.seen.lock().unwrap().clone();
    let (head, body) = seen.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("POST /v1/chat/completions HTTP/1.1"), "{head}");
    assert!(head.contains("authorization: Bearer sk-test"), "{head}");
    let body: Value = serde_json::from_str(body).unwrap();
    let expect = json!({
        "model": "m",
        "stream": true,
        "stream_options": { "include_usage": true },
        "messages": [
            { "role": "system", "content": "be kind" },
            { "role": "user", "content": "hi" },
            { "role": "assistant", "content": "",
              "tool_calls": [{ "id": "c1", "type": "function", "function": { "name": "end_call", "arguments": "{}" } }] },
            { "role": "tool", "content": "ok", "tool_call_id": "c1" },
        ],
        "tools": [{ "type": "function",
                    "function": { "name": "end_call", "description": "hang up", "parameters": { "type": "object" } } }],
        "temperature": 0.5,
        "max_tokens": 100,
    });
    assert_eq!(body, expect);
}

#[tokio::test]
async fn warming_asks_for_the_models() {
    let service = service(vec![Act::Send(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}".to_vec())]).await;
    model(&service.url, patient()).warm();
    tokio::time::timeout(Duration::from_secs(30), service.closed).await.expect("asked in time").unwrap();
    assert!(service.seen.lock().unwrap().starts_with("GET /v1/models HTTP/1.1"));
}
