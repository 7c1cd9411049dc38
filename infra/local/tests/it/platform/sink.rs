//! A CRM that keeps what it is sent and answers as it is told.

use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use serde_json::Value;
use tokio::sync::{Mutex, mpsc};

use super::process::within;

pub(super) struct Sink {
    pub(super) url: String,
    status: Arc<AtomicU16>,
    pushed: Mutex<mpsc::Receiver<Pushed>>,
}

/// One request.
pub(super) struct Pushed {
    pub(super) headers: HeaderMap,
    pub(super) bytes: Bytes,
}

impl Pushed {
    pub(super) fn json(&self) -> Value {
        serde_json::from_slice(&self.bytes).unwrap()
    }
}

#[derive(Clone)]
struct Shared {
    status: Arc<AtomicU16>,
    pushed: mpsc::Sender<Pushed>,
}

impl Sink {
    pub(super) async fn start() -> Self {
        let (sender, pushed) = mpsc::channel(64);
        let status = Arc::new(AtomicU16::new(200));
        let router = Router::new().fallback(take).with_state(Shared { status: status.clone(), pushed: sender });
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/crm", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { url, status, pushed: Mutex::new(pushed) }
    }

    pub(super) fn answer(&self, status: u16) {
        self.status.store(status, Ordering::SeqCst);
    }

    pub(super) async fn next(&self) -> Pushed {
        within(self.pushed.lock().await.recv()).await.unwrap()
    }
}

async fn take(State(shared): State<Shared>, headers: HeaderMap, bytes: Bytes) -> StatusCode {
    shared.pushed.send(Pushed { headers, bytes }).await.unwrap();
    StatusCode::from_u16(shared.status.load(Ordering::SeqCst)).unwrap()
}
