//! A carrier as simple as can be: every INVITE rings until all are told to end, and each call is counted once by its
//! Call-ID (RFC 3261 §8.1.1.4). It shares no code with ours, and has no sound.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::UdpSocket;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::process::within;
use super::uas::response;

pub(super) struct Switchboard {
    port: u16,
    socket: Arc<UdpSocket>,
    /// The first INVITE of each call.
    calls: watch::Receiver<BTreeMap<String, (String, SocketAddr)>>,
    ringing: JoinHandle<()>,
}

impl Switchboard {
    pub(super) async fn start() -> Self {
        let socket = Arc::new(UdpSocket::bind("127.0.0.1:0").await.unwrap());
        let port = socket.local_addr().unwrap().port();
        let (noted, calls) = watch::channel(BTreeMap::new());
        let ringing = tokio::spawn(ring(socket.clone(), port, noted));
        Self { port, socket, calls, ringing }
    }

    pub(super) fn port(&self) -> u16 {
        self.port
    }

    /// Calls so far.
    pub(super) fn calls(&self) -> usize {
        self.calls.borrow().len()
    }

    /// Waits until there were so many.
    pub(super) async fn reached(&self, calls: usize) {
        let mut seen = self.calls.clone();
        within(seen.wait_for(|all| all.len() >= calls)).await.unwrap();
    }

    /// Ends all of them with this status.
    pub(super) async fn end_all(&self, status: &str) {
        let calls: Vec<_> = self.calls.borrow().values().cloned().collect();
        for (invite, from) in calls {
            self.socket.send_to(response(&invite, self.port, status).as_bytes(), from).await.unwrap();
        }
    }
}

impl Drop for Switchboard {
    fn drop(&mut self) {
        self.ringing.abort();
    }
}

async fn ring(socket: Arc<UdpSocket>, port: u16, noted: watch::Sender<BTreeMap<String, (String, SocketAddr)>>) {
    let mut buffer = vec![0; 8192];
    loop {
        let Ok((length, from)) = socket.recv_from(&mut buffer).await else { return };
        let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
        if text.starts_with("INVITE ") {
            let call = super::uas::header(&text, "Call-ID").to_owned();
            socket.send_to(response(&text, port, "180 Ringing").as_bytes(), from).await.unwrap();
            noted.send_modify(|calls| {
                calls.entry(call).or_insert((text, from));
            });
        }
    }
}
