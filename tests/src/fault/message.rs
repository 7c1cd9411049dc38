//! HTTP/1.1 messages as bytes: where one ends, and what it is for. It must never rewrite what it reads.

use anyhow::{Context, Result, bail, ensure};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};

const HEAD_MAX: usize = 64 * 1024;
const BODY_MAX: usize = 64 * 1024 * 1024;

/// A request or an answer, as it came.
#[derive(Debug, Clone)]
pub(super) struct Message {
    /// Start line and headers with the empty line after them.
    pub(super) head: Vec<u8>,
    /// With its chunks' own lines, where it came in chunks.
    pub(super) body: Vec<u8>,
}

impl Message {
    fn lines(&self) -> impl Iterator<Item = &str> {
        std::str::from_utf8(&self.head).unwrap_or_default().split("\r\n")
    }

    fn word(&self, number: usize) -> &str {
        self.lines().next().unwrap_or_default().split(' ').nth(number).unwrap_or_default()
    }

    pub(super) fn method(&self) -> &str {
        self.word(0)
    }

    pub(super) fn status(&self) -> u16 {
        self.word(1).parse().unwrap_or(0)
    }

    pub(super) fn header(&self, name: &str) -> Option<&str> {
        let mut pairs = self.lines().skip(1).filter_map(|line| line.split_once(':'));
        pairs.find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
    }

    /// Service and operation for AWS; method and first part of the path for everybody else.
    pub(super) fn kind(&self) -> String {
        match self.header("x-amz-target").and_then(|target| target.split_once('.')) {
            Some((service, operation)) if service.starts_with("DynamoDB") => format!("DynamoDB {operation}"),
            Some((_, operation)) => format!("SQS {operation}"),
            None if self.header("authorization").is_some_and(|text| text.starts_with("AWS4")) => {
                format!("S3 {}", self.method())
            }
            None => {
                let path = self.word(1).trim_start_matches('/');
                format!("{} /{}", self.method(), path.split('/').next().unwrap_or_default())
            }
        }
    }

    /// Another body, with its length.
    pub(super) fn replace_body(&mut self, body: Vec<u8>) {
        let is_length = |line: &str| {
            let name = line.split(':').next().unwrap_or_default();
            name.eq_ignore_ascii_case("content-length") || name.eq_ignore_ascii_case("transfer-encoding")
        };
        let kept: Vec<&str> = self.lines().filter(|line| !line.is_empty() && !is_length(line)).collect();
        self.head = format!("{}\r\ncontent-length: {}\r\n\r\n", kept.join("\r\n"), body.len()).into_bytes();
        self.body = body;
    }
}

/// Reads messages from one direction of a connection.
pub(super) struct Reader<R>(BufReader<R>);

impl<R: AsyncRead + Unpin> Reader<R> {
    pub(super) fn new(stream: R) -> Self {
        Self(BufReader::new(stream))
    }

    /// The next request; none when the client is done. Whoever waits for leave to send a body gets it.
    pub(super) async fn request(&mut self, client: &mut (impl AsyncWrite + Unpin)) -> Result<Option<Message>> {
        let Some(mut message) = self.head().await? else { return Ok(None) };
        if message.header("expect").is_some() {
            client.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await?;
        }
        message.body = self.body(&message, false).await?;
        Ok(Some(message))
    }

    /// The next answer to a request of `method`.
    pub(super) async fn answer(&mut self, method: &str) -> Result<Option<Message>> {
        let Some(mut message) = self.head().await? else { return Ok(None) };
        let none = method == "HEAD" || matches!(message.status(), 100..=199 | 204 | 304);
        if !none {
            message.body = self.body(&message, true).await?;
        }
        Ok(Some(message))
    }

    async fn head(&mut self) -> Result<Option<Message>> {
        let mut head = Vec::new();
        loop {
            let begun = head.len();
            if self.0.read_until(b'\n', &mut head).await? == 0 {
                ensure!(head.is_empty(), "a connection broke within a head");
                return Ok(None);
            }
            ensure!(head.len() <= HEAD_MAX, "a head without end");
            if matches!(&head[begun..], b"\r\n" | b"\n") {
                return Ok(Some(Message { head, body: Vec::new() }));
            }
        }
    }

    async fn body(&mut self, message: &Message, is_answer: bool) -> Result<Vec<u8>> {
        let mut body = Vec::new();
        if message.header("transfer-encoding").is_some_and(|coding| coding.eq_ignore_ascii_case("chunked")) {
            self.chunks(&mut body).await?;
        } else if let Some(length) = message.header("content-length") {
            let length: usize = length.parse().context("a length that is none")?;
            ensure!(length <= BODY_MAX, "a body of {length} bytes");
            body.resize(length, 0);
            self.0.read_exact(&mut body).await?;
        } else if is_answer {
            self.0.read_to_end(&mut body).await?;
        }
        Ok(body)
    }

    async fn chunks(&mut self, body: &mut Vec<u8>) -> Result<()> {
        loop {
            let begun = body.len();
            self.0.read_until(b'\n', body).await?;
            let line = std::str::from_utf8(&body[begun..])?.trim_end();
            let size = usize::from_str_radix(line.split(';').next().unwrap_or_default().trim(), 16)?;
            if size == 0 {
                return self.trailers(body).await;
            }
            if body.len() + size > BODY_MAX {
                bail!("chunks without end");
            }
            let at = body.len();
            body.resize(at + size + 2, 0);
            self.0.read_exact(&mut body[at..]).await?;
        }
    }

    async fn trailers(&mut self, body: &mut Vec<u8>) -> Result<()> {
        loop {
            let begun = body.len();
            ensure!(self.0.read_until(b'\n', body).await? > 0, "a connection broke within its trailers");
            if matches!(&body[begun..], b"\r\n" | b"\n") {
                return Ok(());
            }
        }
    }
}
