//! A phone as simple as can be: text in, text out, one call at a time (RFC 3261 §8.2). It shares no code with ours.

use std::net::SocketAddr;

use tokio::net::UdpSocket;

use super::process::within;

/// Answers INVITEs with one final response.
pub(super) struct Uas {
    socket: UdpSocket,
}

/// An INVITE that was answered.
pub(super) struct Dialog {
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
    pub(super) async fn request(&self, method: &str) -> (String, SocketAddr) {
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
        self.respond(&invite, from, status, "").await;
        self.request("ACK").await;
    }

    /// Waits for an INVITE and answers it; sound never comes.
    pub(super) async fn answer(&self) -> Dialog {
        let (invite, from) = self.request("INVITE").await;
        self.respond(&invite, from, "180 Ringing", "").await;
        let sdp = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio 9 RTP/AVP 0\r\n";
        self.respond(&invite, from, "200 OK", sdp).await;
        self.request("ACK").await;
        Dialog { invite, from }
    }

    /// Hangs up (RFC 3261 §15.1.1) and waits for the answer.
    pub(super) async fn hang_up(&self, dialog: &Dialog) {
        let Dialog { invite, from } = dialog;
        let contact = header(invite, "Contact").trim_matches(['<', '>']);
        let bye = format!(
            "BYE {contact} SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1:{};branch=z9hG4bK-bye\r\nMax-Forwards: 70\r\n\
             From: {};tag=uas\r\nTo: {}\r\nCall-ID: {}\r\nCSeq: 1 BYE\r\nContent-Length: 0\r\n\r\n",
            self.port(),
            header(invite, "To"),
            header(invite, "From"),
            header(invite, "Call-ID"),
        );
        self.socket.send_to(bye.as_bytes(), from).await.unwrap();
        self.request("SIP/2.0 200").await;
    }

    async fn respond(&self, request: &str, to: SocketAddr, status: &str, sdp: &str) {
        let kind = if sdp.is_empty() { "" } else { "Content-Type: application/sdp\r\n" };
        let response = format!(
            "SIP/2.0 {status}\r\nVia: {}\r\nFrom: {}\r\nTo: {};tag=uas\r\nCall-ID: {}\r\nCSeq: {}\r\n\
             Contact: <sip:127.0.0.1:{}>\r\n{kind}Content-Length: {}\r\n\r\n{sdp}",
            header(request, "Via"),
            header(request, "From"),
            header(request, "To"),
            header(request, "Call-ID"),
            header(request, "CSeq"),
            self.port(),
            sdp.len(),
        );
        self.socket.send_to(response.as_bytes(), to).await.unwrap();
    }
}

fn header<'a>(message: &'a str, name: &str) -> &'a str {
    let found = message.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    found.unwrap_or_else(|| panic!("no {name} in\n{message}")).trim()
}
