//! A CRM on loopback: it keeps every request it gets, and answers as it is told.
//! It must never lose a request: tests count them.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use axum::Router;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use serde_json::Value;
use standardwebhooks::Webhook;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::wait::until;

const BODY_LIMIT: usize = 16 * 1024 * 1024;

/// One answer of the CRM.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    Status(u16),
    /// 302 to a place that must never be asked.
    Redirect,
    /// Takes the request and never answers.
    Never,
}

/// One request that arrived.
#[derive(Debug, Clone)]
pub struct Push {
    pub path: String,
    pub method: String,
    pub headers: HeaderMap,
    pub body: Bytes,
    pub answered: Answer,
    /// When it came.
    pub at: Instant,
}

impl Push {
    /// The body as JSON.
    ///
    /// # Errors
    /// It is none.
    pub fn json(&self) -> Result<Value> {
        serde_json::from_slice(&self.body).with_context(|| format!("no JSON: {:?}", self.body))
    }

    /// A header, or nothing.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// Verifies the signature with the reference library of Standard Webhooks.
    ///
    /// # Errors
    /// It is not what it should be.
    pub fn verify(&self, secret: &str) -> Result<()> {
        // The library was built against another version of the same header types.
        Webhook::new(secret)?.verify(&self.body, &self.headers).with_context(|| format!("headers {:?}", self.headers))
    }
}

#[derive(Debug, Default)]
struct Seen {
    pushes: Vec<Push>,
    /// Answers to come, by path; then 200.
    script: HashMap<String, VecDeque<Answer>>,
    /// Answers everything, while set.
    always: Option<Answer>,
}

/// The CRM.
#[derive(Debug)]
pub struct Crm {
    url: String,
    seen: Arc<Mutex<Seen>>,
    serving: JoinHandle<()>,
}

impl Crm {
    /// # Errors
    /// No port can be had.
    pub async fn start() -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://{}", listener.local_addr()?);
        let seen: Arc<Mutex<Seen>> = Arc::default();
        let router = Router::new().fallback(take).with_state(seen.clone());
        let serving = tokio::spawn(async move {
            // It ends with the test.
            let _ = axum::serve(listener, router).await;
        });
        Ok(Self { url, seen, serving })
    }

    /// The URL of a path, e.g. `/lead`.
    pub fn url(&self, path: &str) -> String {
        format!("{}{path}", self.url)
    }

    /// What the next requests to `path` are answered; those after them get 200.
    pub fn script(&self, path: &str, answers: &[Answer]) {
        self.lock().script.entry(path.to_owned()).or_default().extend(answers);
    }

    /// Answers every request the same from now on; `None` goes back to the script.
    pub fn always(&self, answer: Option<Answer>) {
        self.lock().always = answer;
    }

    /// Everything that came to `path`, in order.
    pub fn pushes(&self, path: &str) -> Vec<Push> {
        self.lock().pushes.iter().filter(|push| push.path == path).cloned().collect()
    }

    /// Waits for a push to `path` that was answered with 200; it must be the only such one.
    ///
    /// # Errors
    /// It does not come, or more than one did.
    pub async fn delivered(&self, path: &str, within: Duration) -> Result<Push> {
        until(format!("a push to {path}"), within, || async { Ok(self.taken(path).into_iter().next()) }).await?;
        self.once(path)
    }

    /// The one push to `path` that was answered with 200.
    ///
    /// # Errors
    /// There is none, or there are more.
    pub fn once(&self, path: &str) -> Result<Push> {
        let mut taken = self.taken(path);
        ensure!(taken.len() == 1, "{} pushes were delivered to {path}", taken.len());
        taken.pop().context("one push")
    }

    fn taken(&self, path: &str) -> Vec<Push> {
        self.pushes(path).into_iter().filter(|push| push.answered == Answer::Status(200)).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Crm {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn take(State(seen): State<Arc<Mutex<Seen>>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let body = axum::body::to_bytes(body, BODY_LIMIT).await.unwrap_or_default();
    let path = parts.uri.path().to_owned();
    let at = Instant::now();
    let answer = {
        let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
        let scripted = seen.script.get_mut(&path).and_then(VecDeque::pop_front);
        let answered = seen.always.or(scripted).unwrap_or(Answer::Status(200));
        seen.pushes.push(Push { path, method: parts.method.to_string(), headers: parts.headers, body, answered, at });
        answered
    };
    match answer {
        Answer::Status(code) => StatusCode::from_u16(code).unwrap_or(StatusCode::IM_A_TEAPOT).into_response(),
        Answer::Redirect => (StatusCode::FOUND, [("location", "/redirected")]).into_response(),
        Answer::Never => std::future::pending().await,
    }
}
