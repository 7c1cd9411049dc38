//! A dialler, a call and a server around one socket, all played by the test, on paused time.

use std::time::Duration;

use call::io::{LegCommand, LegEvent};
use dialect::{Opening, Settings};
use domain::fleet::Refusal;
use domain::ids::{BotId, CallId};
use futures_util::{SinkExt, StreamExt};
use media::StreamEvent;
use serde_json::Value;
use tokio::io::DuplexStream;
use tokio::sync::{Mutex, mpsc};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::Role;
use tokio_util::sync::CancellationToken;

use super::super::{Greeting, Limits, Reception, hold};
use crate::audio::{AudioPort, Heard, MediaHandle, Said, SocketLine};
use crate::legs::{Leg, Taken};
use crate::ws::{Stream, Streams};

/// Longer than anything here takes: on paused time it costs nothing.
const PATIENCE: Duration = Duration::from_secs(300);
/// What a socket holds that nobody reads.
const PIPE: usize = 16 * 1024;

/// What a leg and the media thread exchange, from the media thread's side.
pub(super) struct Audio {
    pub heard: mpsc::Receiver<Heard>,
    pub said: mpsc::Sender<Said>,
    pub events: mpsc::Receiver<StreamEvent>,
}

/// Gives the test both ends of what a call needs.
struct TestReception {
    line: Mutex<Option<(AudioPort, SocketLine)>>,
    legs: mpsc::Sender<(Opening, Leg)>,
    refuse: Option<Refusal>,
    streams: Streams,
}

impl Reception for TestReception {
    fn audio(&self) -> (MediaHandle, AudioPort, SocketLine) {
        let (port, line) = self.line.try_lock().unwrap().take().unwrap();
        (port.media.clone(), port, line)
    }

    async fn claim(&self, stream: &str) -> Stream {
        self.streams.claim(&BotId::parse("b").unwrap(), stream).await
    }

    async fn take(self, opening: &Opening, leg: Leg) -> Result<CallId, Refusal> {
        if let Some(refusal) = self.refuse {
            return Err(refusal);
        }
        self.legs.send((opening.clone(), leg)).await.map_err(|_| Refusal::Unsettled)?;
        Ok(CallId::NIL)
    }
}

/// How a socket is set up.
#[derive(Clone)]
pub(super) struct Setup {
    pub limits: Limits,
    pub settings: Settings,
    pub refuse: Option<Refusal>,
    pub streams: Streams,
}

impl Default for Setup {
    fn default() -> Self {
        Self { limits: Limits::new(500), settings: Settings::default(), refuse: None, streams: Streams::default() }
    }
}

/// One socket.
pub(super) struct Stage {
    pub dialler: WebSocketStream<DuplexStream>,
    pub audio: Audio,
    legs: mpsc::Receiver<(Opening, Leg)>,
    pub going: CancellationToken,
    pub task: JoinHandle<()>,
}

/// The call's side of a leg.
pub(super) struct Call {
    pub opening: Opening,
    pub leg: Leg,
}

impl Stage {
    pub(super) async fn new(setup: &Setup) -> Self {
        let (near, far) = tokio::io::duplex(PIPE);
        let (heard, heard_in) = mpsc::channel(256);
        let (said, said_in) = mpsc::channel(64);
        let (events, events_in) = mpsc::channel(256);
        let (legs, legs_in) = mpsc::channel(1);
        let line = (AudioPort::closed(), SocketLine { heard, said: said_in, events });
        let reception =
            TestReception { line: Mutex::new(Some(line)), legs, refuse: setup.refuse, streams: setup.streams.clone() };
        let going = CancellationToken::new();
        let greeting = Greeting {
            settings: setup.settings.clone(),
            wall: "2026-04-24T14:30:00Z".parse().unwrap(),
            limits: setup.limits,
            going: going.clone(),
        };
        let task = tokio::spawn(hold(near, greeting, reception));
        let dialler = WebSocketStream::from_raw_socket(far, Role::Client, None).await;
        Self { dialler, audio: Audio { heard: heard_in, said, events: events_in }, legs: legs_in, going, task }
    }

    /// A native call that has been answered.
    pub(super) async fn talking(setup: &Setup) -> (Self, Call) {
        let mut stage = Self::new(setup).await;
        stage.send(r#"{"event":"connected","callerId":"+919876543210","did":"+911140001234","streamId":"s-1"}"#).await;
        let mut call = stage.call().await;
        call.take();
        stage.send(r#"{"event":"answer"}"#).await;
        assert_eq!(call.events(2).await, [LegEvent::Answered, LegEvent::MediaStarted]);
        assert_eq!(stage.words().await, "mark connected-received");
        assert_eq!(stage.words().await, "mark answer-received");
        (stage, call)
    }

    pub(super) async fn send(&mut self, text: &str) {
        self.give(Message::text(text)).await;
    }

    pub(super) async fn give(&mut self, message: Message) {
        self.dialler.send(message).await.unwrap();
    }

    /// The call that the socket has become.
    pub(super) async fn call(&mut self) -> Call {
        let (opening, leg) = timeout(PATIENCE, self.legs.recv()).await.unwrap().expect("the socket is no call");
        Call { opening, leg }
    }

    /// That it became none.
    pub(super) fn no_call(&mut self) {
        assert!(self.legs.try_recv().is_err());
    }

    /// The next message to the dialler but for pings.
    pub(super) async fn message(&mut self) -> Option<Message> {
        loop {
            match timeout(PATIENCE, self.dialler.next()).await.expect("nothing comes") {
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                Some(Ok(message)) => return Some(message),
                Some(Err(_)) | None => return None,
            }
        }
    }

    /// The next message in short: its event, and what distinguishes it.
    pub(super) async fn words(&mut self) -> String {
        match self.message().await {
            Some(Message::Text(text)) => {
                let message: Value = serde_json::from_str(&text).unwrap();
                let event = message["event"].as_str().unwrap();
                match message["mark"]["name"].as_str() {
                    Some(name) => format!("{event} {name}"),
                    None => event.to_owned(),
                }
            }
            Some(Message::Binary(bytes)) => format!("binary {}", bytes.len()),
            Some(Message::Close(Some(close))) => format!("close {} {}", u16::from(close.code), close.reason),
            Some(other) => format!("{other:?}"),
            None => "end".to_owned(),
        }
    }

    /// All that still comes, up to the end.
    pub(super) async fn rest(&mut self) -> Vec<String> {
        let mut all = Vec::new();
        loop {
            let words = self.words().await;
            if words == "end" {
                return all;
            }
            all.push(words);
        }
    }

    pub(super) async fn say(&self, said: Said) {
        self.audio.said.send(said).await.unwrap();
    }

    pub(super) async fn reported(&mut self) -> StreamEvent {
        timeout(PATIENCE, self.audio.events.recv()).await.unwrap().unwrap()
    }

    pub(super) async fn ended(self) {
        timeout(PATIENCE, self.task).await.expect("the socket's task goes on").unwrap();
    }
}

impl Call {
    /// Its row stands.
    pub(super) fn take(&mut self) {
        self.leg.taken.take().unwrap().send(Taken { call_id: CallId::NIL, recording: None }).unwrap();
    }

    pub(super) async fn event(&mut self) -> LegEvent {
        timeout(PATIENCE, self.leg.events.recv()).await.expect("no event comes").expect("the leg is gone")
    }

    pub(super) async fn events(&mut self, count: usize) -> Vec<LegEvent> {
        let mut events = Vec::new();
        for _ in 0..count {
            events.push(self.event().await);
        }
        events
    }

    pub(super) async fn command(&self, command: LegCommand) {
        self.leg.commands.send(command).await.unwrap();
    }
}

/// Lets everything that can happen now happen.
pub(super) async fn settle() {
    for _ in 0..50 {
        tokio::task::yield_now().await;
    }
}

/// A setup for a dialler of this dialect.
pub(super) fn speaking(dialect: &str) -> Setup {
    let settings = Settings { dialect: Some(dialect.parse().unwrap()), ..Settings::default() };
    Setup { settings, ..Setup::default() }
}
