//! A CRM's other side on loopback: it is asked for customers, plays a language model, and can repeat all that it was sent,
//! as badly written services do in their errors. It must never lose a request: tests look at them.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Result;
use axum::Router;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, StatusCode};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

const BODY_LIMIT: usize = 16 * 1024 * 1024;

/// How a path is answered.
#[derive(Debug, Clone)]
pub enum Reply {
    /// 200 with this JSON.
    Json(String),
    /// The same, later.
    Late(Duration, String),
    Status(u16),
    /// This status, and everything of the request in the body.
    Echo(u16),
}

/// One request.
#[derive(Debug, Clone)]
pub struct Asked {
    pub method: String,
    /// Path and query.
    pub target: String,
    pub headers: HeaderMap,
    pub body: String,
}

#[derive(Debug, Default)]
struct Seen {
    replies: HashMap<String, Reply>,
    asked: Vec<Asked>,
}

/// The desk; a path that it was told nothing about is answered 404.
#[derive(Debug)]
pub struct Desk {
    url: String,
    seen: Arc<Mutex<Seen>>,
    serving: JoinHandle<()>,
}

impl Desk {
    /// # Errors
    /// No port can be had.
    pub async fn start() -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://{}", listener.local_addr()?);
        let seen: Arc<Mutex<Seen>> = Arc::default();
        let router = Router::new().fallback(answer).with_state(seen.clone());
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

    /// How requests to `path` are answered from now on.
    pub fn replies(&self, path: &str, reply: Reply) {
        lock(&self.seen).replies.insert(path.to_owned(), reply);
    }

    /// What came to `path`.
    pub fn asked(&self, path: &str) -> Vec<Asked> {
        let of_path = |asked: &&Asked| asked.target.split('?').next() == Some(path);
        lock(&self.seen).asked.iter().filter(of_path).cloned().collect()
    }
}

impl Drop for Desk {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

fn lock(seen: &Mutex<Seen>) -> MutexGuard<'_, Seen> {
    seen.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn answer(State(seen): State<Arc<Mutex<Seen>>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let body = axum::body::to_bytes(body, BODY_LIMIT).await.unwrap_or_default();
    let asked = Asked {
        method: parts.method.to_string(),
        target: parts.uri.to_string(),
        headers: parts.headers,
        body: String::from_utf8_lossy(&body).into_owned(),
    };
    let reply = {
        let mut seen = lock(&seen);
        seen.asked.push(asked.clone());
        seen.replies.get(parts.uri.path()).cloned()
    };
    let json = |text: String| ([("content-type", "application/json")], text).into_response();
    match reply {
        None => StatusCode::NOT_FOUND.into_response(),
        Some(Reply::Json(text)) => json(text),
        Some(Reply::Late(wait, text)) => {
            tokio::time::sleep(wait).await;
            json(text)
        }
        Some(Reply::Status(code)) => status(code).into_response(),
        Some(Reply::Echo(code)) => (status(code), echo(&asked)).into_response(),
    }
}

fn status(code: u16) -> StatusCode {
    StatusCode::from_u16(code).unwrap_or(StatusCode::IM_A_TEAPOT)
}

fn echo(asked: &Asked) -> String {
    let mut text = format!("cannot take {} {}\n", asked.method, asked.target);
    for (name, value) in &asked.headers {
        let _ = writeln!(text, "{name}: {}", String::from_utf8_lossy(value.as_bytes()));
    }
    text + &asked.body
}
