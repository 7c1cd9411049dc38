//! A phone as simple as can be: text in, text out, one call at a time (RFC 3261 §8.2). It shares no code with ours, and has no sound.

use std::net::SocketAddr;

use tokio::net::UdpSocket;

use super::process::within;

/// Rings and refuses.
pub(super) struct Uas {
    socket: UdpSocket,
}

/// A call that rings.
pub(super) struct Ringing {
    invite: String,
    from: SocketAddr,
}

impl Uas {
    pub(super) async fn bind() -> Self {
        Self { socket: UdpSocket::bind("127.0.0.1:0").await.unwrap() }
    }

    pub(super) fn port(&self) -> u16 {
        self.socket.local_addr().unwrap().port()
    }

    /// Waits for a request of this method; everything else is passed over.
    async fn request(&self, method: &str) -> (String, SocketAddr) {
        let mut buffer = vec![0; 8192];
        loop {
            let (length, from) = within(self.socket.recv_from(&mut buffer)).await.unwrap();
            let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
            if text.starts_with(&format!("{method} ")) {
                return (text, from);
            }
        }
    }

    /// Waits for an INVITE and refuses it.
    pub(super) async fn refuse(&self, status: &str) {
        let (invite, from) = self.request("INVITE").await;
        self.respond(&invite, from, status).await;
        self.request("ACK").await;
    }

    /// Waits for an INVITE and rings.
    pub(super) async fn ring(&self) -> Ringing {
        let (invite, from) = self.request("INVITE").await;
        self.respond(&invite, from, "180 Ringing").await;
        Ringing { invite, from }
    }

    /// Ends the ringing with a refusal.
    pub(super) async fn decline(&self, call: &Ringing) {
        self.respond(&call.invite, call.from, "603 Decline").await;
        self.request("ACK").await;
    }

    /// Waits until the caller gives up (RFC 3261 §9.2).
    pub(super) async fn cancelled(&self, call: &Ringing) {
        let (cancel, from) = self.request("CANCEL").await;
        self.respond(&cancel, from, "200 OK").await;
        self.respond(&call.invite, call.from, "487 Request Terminated").await;
        self.request("ACK").await;
    }

    async fn respond(&self, request: &str, to: SocketAddr, status: &str) {
        self.socket.send_to(response(request, self.port(), status).as_bytes(), to).await.unwrap();
    }
}

/// What a phone at this port says to a request.
pub(super) fn response(request: &str, port: u16, status: &str) -> String {
    format!(
        "SIP/2.0 {status}\r\nVia: {}\r\nFrom: {}\r\nTo: {};tag=uas\r\nCall-ID: {}\r\nCSeq: {}\r\n\
         Contact: <sip:127.0.0.1:{port}>\r\nContent-Length: 0\r\n\r\n",
        header(request, "Via"),
        header(request, "From"),
        header(request, "To"),
        header(request, "Call-ID"),
        header(request, "CSeq"),
    )
}

pub(super) fn header<'a>(message: &'a str, name: &str) -> &'a str {
    let found = message.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    found.unwrap_or_else(|| panic!("no {name} in\n{message}")).trim()
}
