//! Lambda's Runtime API for one function: hands events out one by one and takes what became of each.
//! It must never let a function outlive whoever started it.

use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{Path as Place, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::net::TcpListener;
use tokio::process::{Child, Command};
use tokio::sync::{Mutex, mpsc, watch};
use tokio::time::timeout;

/// For whatever a function does; nothing is measured by it.
const DEADLINE: Duration = Duration::from_secs(120);

/// What a function makes of an event: its answer, or the error that it reports.
pub(crate) type Outcome = Result<Value, Value>;

#[derive(Debug)]
struct Shared {
    events: Mutex<mpsc::Receiver<String>>,
    outcomes: mpsc::Sender<Outcome>,
    /// How often the function has asked for an event.
    asked: watch::Sender<u64>,
}

/// A function's process, and the Runtime API that it works for.
#[derive(Debug)]
pub(crate) struct Function {
    pub(crate) child: Child,
    events: mpsc::Sender<String>,
    outcomes: mpsc::Receiver<Outcome>,
    asked: watch::Receiver<u64>,
    stdout: watch::Receiver<Vec<String>>,
}

impl Function {
    /// Starts the program with this environment, and nothing of the caller's.
    pub(crate) async fn start(program: &Path, environment: &[(String, String)]) -> Self {
        let (events, taken) = mpsc::channel(1);
        let (outcomes, answered) = mpsc::channel(1);
        let (asked, asks) = watch::channel(0);
        let shared = Arc::new(Shared { events: Mutex::new(taken), outcomes, asked });
        let api = Router::new()
            .route("/2018-06-01/runtime/invocation/next", get(next))
            .route("/2018-06-01/runtime/invocation/{id}/response", post(response))
            .route("/2018-06-01/runtime/invocation/{id}/error", post(error))
            .route("/2018-06-01/runtime/init/error", post(error_of_the_start))
            .with_state(shared);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move { axum::serve(listener, api).await.unwrap() });
        let mut child = Command::new(program)
            .env_clear()
            .env("AWS_LAMBDA_RUNTIME_API", address.to_string())
            .env("AWS_LAMBDA_FUNCTION_NAME", "test")
            .env("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST")
            .env("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "256")
            .envs(environment.iter().map(|(name, value)| (name, value)))
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let stdout = lines(child.stdout.take().unwrap());
        Self { child, events, outcomes: answered, asked: asks, stdout }
    }

    /// Waits until the function asks for its `times`th event: it is started, or done with the one before.
    pub(crate) async fn asks(&mut self, times: u64) {
        let asked = self.asked.wait_for(|asked| *asked >= times);
        tokio::select! {
            asked = timeout(DEADLINE, asked) => drop(asked.expect("the function never asks for an event").unwrap()),
            status = self.child.wait() => panic!("the function has ended: {status:?}"),
        }
    }

    /// What it makes of an event.
    pub(crate) async fn invoke(&mut self, event: &Value) -> Outcome {
        self.events.send(event.to_string()).await.unwrap();
        tokio::select! {
            outcome = timeout(DEADLINE, self.outcomes.recv()) => outcome.expect("the function never answers").unwrap(),
            status = self.child.wait() => panic!("the function has ended: {status:?}"),
        }
    }

    /// Waits for a line of standard output that is JSON and `fits`.
    pub(crate) async fn says(&mut self, fits: impl Fn(&Value) -> bool) -> Value {
        let find = |lines: &Vec<String>| {
            lines.iter().filter_map(|line| serde_json::from_str::<Value>(line).ok()).find(|line| fits(line))
        };
        let lines = timeout(DEADLINE, self.stdout.wait_for(|lines| find(lines).is_some()));
        let found = find(&lines.await.expect("no such line comes").unwrap());
        found.unwrap()
    }
}

fn lines(stream: impl AsyncRead + Unpin + Send + 'static) -> watch::Receiver<Vec<String>> {
    let (told, heard) = watch::channel(Vec::new());
    tokio::spawn(async move {
        let mut lines = BufReader::new(stream).lines();
        while let Ok(Some(line)) = lines.next_line().await {
            told.send_modify(|lines| lines.push(line));
        }
    });
    heard
}

async fn next(State(shared): State<Arc<Shared>>) -> Response {
    shared.asked.send_modify(|asked| *asked += 1);
    let Some(event) = shared.events.lock().await.recv().await else { return StatusCode::GONE.into_response() };
    let text = |text: &'static str| HeaderValue::from_static(text);
    let mut headers = HeaderMap::new();
    headers.insert("lambda-runtime-aws-request-id", text("8476a536-e9f4-11e8-9739-2dfe598c3fcd"));
    headers.insert("lambda-runtime-deadline-ms", text("4102444800000"));
    headers.insert("lambda-runtime-invoked-function-arn", text("arn:aws:lambda:eu-west-1:123456789012:function:test"));
    headers.insert("lambda-runtime-trace-id", text("Root=1-5bef4de7-ad49b0e87f6ef6c87fc2e700;Sampled=0"));
    (headers, event).into_response()
}

async fn response(State(shared): State<Arc<Shared>>, _: Place<String>, body: Bytes) -> (StatusCode, Json<Value>) {
    let answer = serde_json::from_slice(&body).unwrap_or(Value::Null);
    shared.outcomes.send(Ok(answer)).await.unwrap();
    (StatusCode::ACCEPTED, Json(json!({"status": "OK"})))
}

async fn error(State(shared): State<Arc<Shared>>, _: Place<String>, body: Bytes) -> (StatusCode, Json<Value>) {
    failed(&shared, &body).await
}

async fn error_of_the_start(State(shared): State<Arc<Shared>>, body: Bytes) -> (StatusCode, Json<Value>) {
    failed(&shared, &body).await
}

async fn failed(shared: &Shared, body: &Bytes) -> (StatusCode, Json<Value>) {
    let error = serde_json::from_slice(body).unwrap_or(Value::Null);
    shared.outcomes.send(Err(error)).await.unwrap();
    (StatusCode::ACCEPTED, Json(json!({"status": "OK"})))
}
