//! A certificate that changes while a socket is open, and clients that are slow, wrong or gone.

use axum::routing::get;
use futures_util::{SinkExt, StreamExt};
use rcgen::{CertificateParams, CertifiedIssuer, KeyPair};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::server::create_response_with_body;
use tokio_tungstenite::tungstenite::protocol::Role;
use tokio_tungstenite::{WebSocketStream, client_async};

use super::*;

const NAME: &str = "calls.example.com";

/// An authority of its own, and a folder with the files of its latest certificate.
struct Issuer {
    authority: CertifiedIssuer<'static, KeyPair>,
    folder: TempDir,
}

impl Issuer {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        Self { authority, folder: tempfile::tempdir().unwrap() }
    }

    fn files(&self) -> TlsFiles {
        TlsFiles { certificate: self.path("tls.crt"), key: self.path("tls.key") }
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.folder.path().join(name)
    }

    /// A certificate and its key as PEM, and the certificate as a client sees it.
    fn issue(&self) -> (String, String, Vec<u8>) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![NAME.to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &self.authority).unwrap();
        (certificate.pem(), key.serialize_pem(), certificate.der().to_vec())
    }

    /// Puts a new certificate into place; answers what clients see from then on.
    fn renew(&self) -> Vec<u8> {
        let (certificate, key, seen) = self.issue();
        std::fs::write(self.path("tls.crt"), certificate).unwrap();
        std::fs::write(self.path("tls.key"), key).unwrap();
        seen
    }

    async fn connect(&self, address: SocketAddr) -> TlsStream<TcpStream> {
        let mut roots = RootCertStore::empty();
        roots.add(self.authority.der().clone()).unwrap();
        let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let stream = TcpStream::connect(address).await.unwrap();
        TlsConnector::from(Arc::new(config)).connect(ServerName::try_from(NAME).unwrap(), stream).await.unwrap()
    }
}

fn shown(stream: &TlsStream<TcpStream>) -> Vec<u8> {
    stream.get_ref().1.peer_certificates().unwrap()[0].to_vec()
}

/// Says everything back.
async fn echo(mut request: Request<Body>) -> axum::response::Response {
    let response = create_response_with_body(&request, Body::empty).unwrap();
    let upgrade = hyper::upgrade::on(&mut request);
    tokio::spawn(async move {
        let stream = TokioIo::new(upgrade.await.unwrap());
        let mut socket = WebSocketStream::from_raw_socket(stream, Role::Server, None).await;
        while let Some(Ok(message)) = socket.next().await {
            if message.is_close() || socket.send(message).await.is_err() {
                return;
            }
        }
    });
    response
}

struct Port {
    address: SocketAddr,
    stop: CancellationToken,
    serving: JoinHandle<()>,
}

async fn serve(tls: Option<&TlsFiles>) -> Port {
    let listener = Listener::bind("127.0.0.1:0".parse().unwrap(), tls).await.unwrap();
    let (address, stop) = (listener.local(), CancellationToken::new());
    assert_eq!(listener.scheme(), if tls.is_some() { "wss" } else { "ws" });
    let router = Router::new().route("/ws", get(echo)).route("/health", get(|| async { "ok" }));
    Port { address, stop: stop.clone(), serving: tokio::spawn(listener.serve(router, stop)) }
}

async fn open<S: AsyncRead + AsyncWrite + Unpin>(stream: S, scheme: &str) -> WebSocketStream<S> {
    client_async(format!("{scheme}://{NAME}/ws"), stream).await.unwrap().0
}

async fn says_back<S: AsyncRead + AsyncWrite + Unpin>(socket: &mut WebSocketStream<S>, text: &str) {
    socket.send(Message::text(text)).await.unwrap();
    assert_eq!(socket.next().await.unwrap().unwrap(), Message::text(text));
}

/// What a client that speaks no TLS gets back for `request`.
async fn raw(address: SocketAddr, request: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn a_certificate_is_swapped_while_a_socket_is_open() {
    let issuer = Issuer::new();
    let old = issuer.renew();
    let mut certificate = Certificate::load(issuer.files()).unwrap();
    let tcp = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = tcp.local_addr().unwrap();
    let stop = CancellationToken::new();
    let (acceptor, stopped) = (certificate.acceptor(), stop.clone());
    let router = Router::new().route("/ws", get(echo));
    tokio::spawn(async move { accept_all(tcp, Some(acceptor), router, &stopped).await });

    let stream = issuer.connect(address).await;
    assert_eq!(shown(&stream), old);
    assert_eq!(stream.get_ref().1.alpn_protocol(), None, "a client that asks for nothing is given nothing");
    let mut open_before = open(stream, "wss").await;
    says_back(&mut open_before, "one").await;

    assert!(matches!(certificate.look().await, Look::Same));
    let new = issuer.renew();
    assert!(matches!(certificate.look().await, Look::Renewed));
    assert!(matches!(certificate.look().await, Look::Same));
    let stream = issuer.connect(address).await;
    assert_eq!(shown(&stream), new);
    says_back(&mut open(stream, "wss").await, "two").await;
    says_back(&mut open_before, "the older socket goes on").await;

    // Whatever is put there instead: the last good one goes on, and each is told once.
    let (other, _, _) = issuer.issue();
    let broken = [
        ("does not fit", Some(other.as_str())),
        ("no certificate in it", Some("")),
        ("no certificate in it", Some("-----BEGIN CERTIFICATE-----\n!\n")),
        ("can't be read", None),
    ];
    for (said, text) in broken {
        match text {
            Some(text) => std::fs::write(issuer.path("tls.crt"), text).unwrap(),
            None => std::fs::remove_file(issuer.path("tls.crt")).unwrap(),
        }
        match certificate.look().await {
            Look::Refused(error) => assert!(error.to_string().contains(said), "{error}"),
            other => panic!("{said}: {other:?}"),
        }
        assert!(matches!(certificate.look().await, Look::Same), "{said}");
        assert_eq!(shown(&issuer.connect(address).await), new, "{said}");
    }
    let newest = issuer.renew();
    assert!(matches!(certificate.look().await, Look::Renewed));
    assert_eq!(shown(&issuer.connect(address).await), newest);
    says_back(&mut open_before, "still").await;
}

#[tokio::test]
async fn files_that_can_not_be_used_are_named_at_the_start() {
    let issuer = Issuer::new();
    let check = async |said: &[&str]| {
        let error =
            Listener::bind("127.0.0.1:0".parse().unwrap(), Some(&issuer.files())).await.unwrap_err().to_string();
        assert!(said.iter().all(|part| error.contains(part)), "{error}");
        assert!(!error.contains("BEGIN"), "{error}");
    };
    check(&["fleet.tls_certificate", "tls.crt", "can't be read"]).await;
    issuer.renew();
    std::fs::remove_file(issuer.path("tls.key")).unwrap();
    check(&["fleet.tls_key", "tls.key", "can't be read"]).await;
    std::fs::write(issuer.path("tls.key"), "secret").unwrap();
    check(&["fleet.tls_key", "no private key"]).await;
    std::fs::write(issuer.path("tls.key"), issuer.issue().1).unwrap();
    check(&["fleet.tls_key", "does not fit fleet.tls_certificate"]).await;
}

#[tokio::test]
async fn slow_and_wrong_clients_hold_nobody_up() {
    let issuer = Issuer::new();
    issuer.renew();
    let port = serve(Some(&issuer.files())).await;
    let mut silent = Vec::new();
    for _ in 0..50 {
        silent.push(TcpStream::connect(port.address).await.unwrap());
    }
    let plain = raw(port.address, "GET /health HTTP/1.1\r\nHost: x\r\n\r\n").await;
    assert!(!plain.contains("200"), "no plain HTTP on a TLS port: {plain:?}");
    let mut socket = open(issuer.connect(port.address).await, "wss").await;
    says_back(&mut socket, "in between").await;
    port.stop.cancel();
    port.serving.await.unwrap();
    says_back(&mut socket, "an open socket outlives the port").await;
    assert!(TcpStream::connect(port.address).await.is_err(), "nobody comes in after the end");
}

#[tokio::test]
async fn a_plain_port_serves_one_request_a_connection() {
    let port = serve(None).await;
    let answer = raw(port.address, "GET /health HTTP/1.1\r\nHost: x\r\n\r\n").await.to_lowercase();
    assert!(
        answer.starts_with("http/1.1 200") && answer.contains("connection: close") && answer.ends_with("ok"),
        "{answer}"
    );
    let nonsense = raw(port.address, "\u{16}\u{3}\u{1} nonsense\r\n\r\n").await;
    assert!(nonsense.is_empty() || nonsense.starts_with("HTTP/1.1 400"), "{nonsense:?}");
    let huge = format!("GET /health HTTP/1.1\r\nHost: x\r\nX: {}\r\n\r\n", "y".repeat(4 * HEAD_MAX));
    assert!(!raw(port.address, &huge).await.contains(" 200 "));
    says_back(&mut open(TcpStream::connect(port.address).await.unwrap(), "ws").await, "plain").await;
    port.stop.cancel();
}

#[tokio::test]
async fn a_port_that_is_taken_says_so() {
    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = taken.local_addr().unwrap();
    let error = Listener::bind(address, None).await.unwrap_err().to_string();
    assert!(error.contains(&address.to_string()) && error.contains("choose another with --ws"), "{error}");
}
