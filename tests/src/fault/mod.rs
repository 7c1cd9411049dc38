//! A proxy on loopback that does to requests what networks and overloaded services do: late, refused, cut off before or
//! after they acted, cut off altogether; messages of queues twice and out of order.
//! It must never change a request on its way: its signature covers it.

mod message;
mod queue;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tokio::io::AsyncWriteExt;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::dice::Dice;
use crate::history::History;
use message::{Message, Reader};
use queue::Shuffler;

/// While nothing gets through, a request hangs for this long, then its connection breaks.
const HANGS: Duration = Duration::from_secs(4);

/// What a request meets with, in a thousand.
#[derive(Debug, Clone, Copy, Default)]
pub struct Weather {
    /// Delayed by up to [`Weather::longest`] each way.
    pub late: u16,
    pub longest: Duration,
    /// Answered by an error without acting: 5xx, or what a throttled service says.
    pub refused: u16,
    /// The connection breaks before the request gets through.
    pub cut_before: u16,
    /// The connection breaks after it acted: the acknowledgement is lost.
    pub cut_after: u16,
    /// A message of a queue is delivered again.
    pub twice: u16,
    /// A message of a queue is held back, and comes after later ones.
    pub held: u16,
    /// Nothing gets through at all.
    pub cut_off: bool,
    /// Only requests of this kind meet with it: see [`Proxy::counts`].
    pub only: Option<&'static str>,
}

/// What is done to one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    None,
    Refused,
    CutBefore,
    CutAfter,
    CutOff,
}

struct Shared {
    name: String,
    upstream: SocketAddr,
    weather: Mutex<Weather>,
    dice: Mutex<Dice>,
    counts: Mutex<BTreeMap<String, u64>>,
    faults: Mutex<Vec<(Instant, String)>>,
    unheard: Mutex<Vec<(Instant, String)>>,
    shuffler: Mutex<Shuffler>,
    history: History,
}

/// A running proxy.
pub struct Proxy {
    pub address: SocketAddr,
    shared: Arc<Shared>,
    serving: JoinHandle<()>,
}

impl std::fmt::Debug for Proxy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Proxy").field("name", &self.shared.name).field("address", &self.address).finish_non_exhaustive()
    }
}

impl Proxy {
    /// A proxy in fine weather.
    ///
    /// # Errors
    /// No port can be had.
    pub async fn start(name: &str, upstream: SocketAddr, dice: Dice, history: &History) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            name: name.to_owned(),
            upstream,
            weather: Mutex::default(),
            dice: Mutex::new(dice),
            counts: Mutex::default(),
            faults: Mutex::default(),
            unheard: Mutex::default(),
            shuffler: Mutex::default(),
            history: history.clone(),
        });
        let serving = tokio::spawn(serve(listener, shared.clone()));
        Ok(Self { address, shared, serving })
    }

    /// Changes the weather.
    pub fn set(&self, weather: Weather) {
        *lock(&self.shared.weather) = weather;
    }

    /// Lets nothing through, or lets everything through again.
    pub fn cut_off(&self, cut_off: bool) {
        lock(&self.shared.weather).cut_off = cut_off;
    }

    /// Requests that came, by kind and what became of them: `DynamoDB PutItem`, `SQS SendMessage`, `S3 PUT`, `POST /calls`.
    pub fn counts(&self) -> BTreeMap<String, u64> {
        lock(&self.shared.counts).clone()
    }

    /// When something was done to requests of a kind.
    pub fn faults(&self, kind: &str) -> Vec<Instant> {
        lock(&self.shared.faults).iter().filter(|(_, met)| met == kind).map(|(at, _)| *at).collect()
    }

    /// When acknowledgements of this `webhook-id` were lost.
    pub fn unheard(&self, id: &str) -> Vec<Instant> {
        lock(&self.shared.unheard).iter().filter(|(_, met)| met == id).map(|(at, _)| *at).collect()
    }

    /// How many requests of a kind got through.
    pub fn passed(&self, kind: &str) -> u64 {
        self.counts().get(&format!("{kind}: None")).copied().unwrap_or(0)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn serve(listener: TcpListener, shared: Arc<Shared>) {
    while let Ok((stream, _)) = listener.accept().await {
        let shared = shared.clone();
        // A connection ends with its client or its server, or is broken on purpose.
        tokio::spawn(async move {
            let _ = connection(stream, &shared).await;
        });
    }
}

/// The server's side of one client connection.
struct Upstream {
    reader: Reader<OwnedReadHalf>,
    writer: OwnedWriteHalf,
}

impl Upstream {
    async fn connect(address: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let (reader, writer) = stream.into_split();
        Ok(Self { reader: Reader::new(reader), writer })
    }

    /// Sends a request on as it is, and reads the answer.
    async fn ask(&mut self, request: &Message) -> Result<Message> {
        self.writer.write_all(&request.head).await?;
        self.writer.write_all(&request.body).await?;
        loop {
            let answer = self.reader.answer(request.method()).await?.context("no answer")?;
            if answer.status() >= 200 {
                return Ok(answer);
            }
        }
    }
}

async fn connection(client: TcpStream, shared: &Shared) -> Result<()> {
    client.set_nodelay(true)?;
    let (reader, mut writer) = client.into_split();
    let mut reader = Reader::new(reader);
    let mut upstream = None;
    while let Some(request) = reader.request(&mut writer).await? {
        let kind = request.kind();
        let (fault, before, after) = shared.throw(&kind);
        tokio::time::sleep(before).await;
        shared.count(&kind, fault);
        match fault {
            Fault::CutOff => {
                tokio::time::sleep(HANGS).await;
                bail!("cut off");
            }
            Fault::CutBefore => bail!("cut before"),
            Fault::Refused => {
                writer.write_all(&refusal(&kind)).await?;
                continue;
            }
            Fault::None | Fault::CutAfter => {}
        }
        let server = match &mut upstream {
            Some(server) => server,
            none => none.insert(Upstream::connect(shared.upstream).await?),
        };
        let mut answer = server.ask(&request).await?;
        if fault == Fault::CutAfter {
            lock(&shared.unheard).extend(request.header("webhook-id").map(|id| (Instant::now(), id.to_owned())));
            bail!("cut after");
        }
        if kind == "SQS ReceiveMessage" && answer.status() == 200 {
            shared.shuffle(&request, &mut answer)?;
        }
        tokio::time::sleep(after).await;
        writer.write_all(&answer.head).await?;
        writer.write_all(&answer.body).await?;
    }
    Ok(())
}

impl Shared {
    /// What a request meets with, and its delays.
    fn throw(&self, kind: &str) -> (Fault, Duration, Duration) {
        let weather = *lock(&self.weather);
        if weather.only.is_some_and(|only| !kind.starts_with(only)) {
            return (Fault::None, Duration::ZERO, Duration::ZERO);
        }
        let mut dice = lock(&self.dice);
        let longest = u64::try_from(weather.longest.as_millis()).unwrap_or(0);
        let mut delay = || match dice.chance(weather.late) {
            true => Duration::from_millis(dice.below(longest)),
            false => Duration::ZERO,
        };
        let (before, after) = (delay(), delay());
        let fault = if weather.cut_off {
            Fault::CutOff
        } else if dice.chance(weather.refused) {
            Fault::Refused
        } else if dice.chance(weather.cut_before) {
            Fault::CutBefore
        } else if dice.chance(weather.cut_after) {
            Fault::CutAfter
        } else {
            Fault::None
        };
        (fault, before, after)
    }

    fn count(&self, kind: &str, fault: Fault) {
        *lock(&self.counts).entry(format!("{kind}: {fault:?}")).or_default() += 1;
        if fault != Fault::None {
            lock(&self.faults).push((Instant::now(), kind.to_owned()));
            self.history.note(format_args!("{} {kind}: {fault:?}", self.name));
        }
    }

    fn shuffle(&self, request: &Message, answer: &mut Message) -> Result<()> {
        let weather = *lock(&self.weather);
        if weather.twice == 0 && weather.held == 0 && lock(&self.shuffler).is_empty() {
            return Ok(());
        }
        let mut dice = lock(&self.dice);
        let body = lock(&self.shuffler).shuffle(&request.body, &answer.body, weather.twice, weather.held, &mut dice)?;
        answer.replace_body(body);
        Ok(())
    }
}

/// An error of the service that the request is for.
fn refusal(kind: &str) -> Vec<u8> {
    let (status, content, body) = if kind.starts_with("DynamoDB") {
        let code = "com.amazonaws.dynamodb.v20120810#ProvisionedThroughputExceededException";
        ("400 Bad Request", "application/x-amz-json-1.0", format!(r#"{{"__type":"{code}","message":"slow down"}}"#))
    } else if kind.starts_with("SQS") {
        let body = r#"{"__type":"com.amazonaws.sqs#RequestThrottled","message":"slow down"}"#;
        ("503 Service Unavailable", "application/x-amz-json-1.0", body.to_owned())
    } else if kind.starts_with("S3") {
        let body = "<?xml version=\"1.0\"?><Error><Code>SlowDown</Code><Message>slow down</Message></Error>";
        ("503 Slow Down", "application/xml", body.to_owned())
    } else {
        ("500 Internal Server Error", "text/plain", "broken".to_owned())
    };
    let head = format!("HTTP/1.1 {status}\r\ncontent-type: {content}\r\ncontent-length: {}\r\n\r\n", body.len());
    [head.into_bytes(), body.into_bytes()].concat()
}

#[cfg(test)]
mod tests;
