//! One WebSocket to the platform: opened with headers, refused with a status, closed with a code, cut off.
//! It must never answer for the product: pings are answered by the library, nothing else is sent unasked.

use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail, ensure};
use futures_util::{SinkExt, StreamExt};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::handshake::client::Response;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{WebSocketStream, client_async};

use crate::wait::within;

/// A busy machine upgrades a connection in this time.
const UPGRADE: Duration = Duration::from_secs(30);

/// A WebSocket over plain TCP.
pub type Socket = WebSocketStream<TcpStream>;

/// An answer that is no upgrade.
#[derive(Debug)]
pub struct Refusal {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: String,
}

/// What came of an attempt.
#[derive(Debug)]
pub enum Attempt<S> {
    Open(Box<WebSocketStream<S>>, Response),
    Refused(Refusal),
}

/// How a connection was closed, as far as its peer said so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Closing {
    /// 1006: it broke off without a word.
    pub code: u16,
    pub reason: String,
}

/// Opens a WebSocket at a `ws://` URL.
///
/// # Errors
/// It is refused, or nobody answers.
pub async fn open(url: &str, headers: &[(&str, &str)]) -> Result<Socket> {
    match attempt(url, headers).await? {
        Attempt::Open(socket, _) => Ok(*socket),
        Attempt::Refused(refusal) => bail!("{url} was refused: {refusal:?}"),
    }
}

/// Tries to open one that must be refused.
///
/// # Errors
/// It is not, or nobody answers.
pub async fn refused(url: &str, headers: &[(&str, &str)]) -> Result<Refusal> {
    match attempt(url, headers).await? {
        Attempt::Open(..) => bail!("{url} was not refused"),
        Attempt::Refused(refusal) => Ok(refusal),
    }
}

/// Tries to open one.
///
/// # Errors
/// Nobody answers.
pub async fn attempt(url: &str, headers: &[(&str, &str)]) -> Result<Attempt<TcpStream>> {
    let address = address(url)?;
    let stream = TcpStream::connect(&address).await.with_context(|| format!("nobody listens at {address}"))?;
    stream.set_nodelay(true)?;
    attempt_over(stream, url, headers).await
}

/// Tries to open one over a connection that is there.
///
/// # Errors
/// There is no answer.
pub async fn attempt_over<S: AsyncRead + AsyncWrite + Unpin>(
    stream: S,
    url: &str,
    headers: &[(&str, &str)],
) -> Result<Attempt<S>> {
    let mut request = url.into_client_request()?;
    for (name, value) in headers {
        request.headers_mut().insert(HeaderName::from_bytes(name.as_bytes())?, HeaderValue::from_str(value)?);
    }
    match within(format!("the upgrade at {url}"), UPGRADE, client_async(request, stream)).await? {
        Ok((socket, response)) => Ok(Attempt::Open(Box::new(socket), response)),
        Err(Error::Http(response)) => {
            let (parts, body) = response.into_parts();
            let body = String::from_utf8_lossy(&body.unwrap_or_default()).into_owned();
            Ok(Attempt::Refused(Refusal { status: parts.status, headers: parts.headers, body }))
        }
        Err(error) => Err(anyhow!(error).context(url.to_owned())),
    }
}

/// Host and port of a URL.
///
/// # Errors
/// It has none.
pub fn address(url: &str) -> Result<String> {
    let (_, rest) = url.split_once("://").with_context(|| format!("{url} is no URL"))?;
    Ok(rest.split(['/', '?']).next().unwrap_or_default().to_owned())
}

/// Sends a JSON message.
///
/// # Errors
/// The connection is gone.
pub async fn send<S: AsyncRead + AsyncWrite + Unpin>(socket: &mut WebSocketStream<S>, message: &Value) -> Result<()> {
    Ok(socket.send(Message::text(message.to_string())).await?)
}

/// The next text message that `wanted` takes; others are passed over.
///
/// # Errors
/// The connection is closed first, or the time is over.
pub async fn find<S: AsyncRead + AsyncWrite + Unpin, T>(
    socket: &mut WebSocketStream<S>,
    what: &str,
    limit: Duration,
    wanted: impl Fn(&Value) -> Option<T>,
) -> Result<T> {
    let look = async {
        while let Some(message) = socket.next().await {
            match message? {
                Message::Text(text) => {
                    let value: Value = serde_json::from_str(&text).with_context(|| text.to_string())?;
                    if let Some(found) = wanted(&value) {
                        return Ok(found);
                    }
                }
                Message::Close(frame) => bail!("closed before {what}: {frame:?}"),
                _ => {}
            }
        }
        bail!("the connection ended before {what}")
    };
    within(what, limit, look).await?
}

/// Reads until the platform closes the connection.
///
/// # Errors
/// It stays open.
pub async fn closing<S: AsyncRead + AsyncWrite + Unpin>(
    socket: &mut WebSocketStream<S>,
    limit: Duration,
) -> Result<Closing> {
    let look = async {
        let mut told = None;
        while let Some(message) = socket.next().await {
            match message {
                Ok(Message::Close(frame)) => {
                    told = Some(frame.map_or(Closing { code: 1005, reason: String::new() }, |frame| Closing {
                        code: frame.code.into(),
                        reason: frame.reason.to_string(),
                    }));
                }
                Ok(_) => {}
                Err(_) => break,
            }
        }
        told.unwrap_or(Closing { code: 1006, reason: String::new() })
    };
    within("the close of a WebSocket", limit, look).await
}

/// Ends the connection as a process does that crashes: with a reset, in the middle of whatever it was.
///
/// # Errors
/// The socket does not take the option.
pub fn cut_off(socket: Socket) -> Result<()> {
    socket2::SockRef::from(socket.get_ref()).set_linger(Some(Duration::ZERO))?;
    drop(socket);
    Ok(())
}

impl Closing {
    /// Checks the code, that there is a reason, and that it fits into a close frame.
    ///
    /// # Errors
    /// It is another.
    pub fn must_be(&self, code: u16) -> Result<()> {
        ensure!(self.code == code, "closed with {self:?}, not {code}");
        ensure!(!self.reason.is_empty() && self.reason.len() <= 123, "closed without a good reason: {self:?}");
        Ok(())
    }
}
