//! A session fed from files, with what it says as short lines.

use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use dialect::{Command, Event, Frame, HangUp, Moment, Name, Opening, Out, Session, Settings, Unsupported, Violation};

pub(crate) struct Talk {
    folder: &'static str,
    pub(crate) session: Session,
    now: Duration,
    pub(crate) out: Out,
}

impl Talk {
    /// A dialler that nobody announced.
    pub(crate) fn new(folder: &'static str) -> Self {
        Self::with(folder, Settings::default())
    }

    pub(crate) fn asked(name: Name) -> Self {
        Self::with(name.as_str(), Settings { dialect: Some(name), ..Settings::default() })
    }

    pub(crate) fn with(folder: &'static str, settings: Settings) -> Self {
        Self { folder, session: Session::new(settings), now: Duration::ZERO, out: Out::new() }
    }

    fn at(&self) -> Moment {
        Moment { since_open: self.now, wall: jiff::Timestamp::UNIX_EPOCH }
    }

    pub(crate) fn later(&mut self, ms: u64) {
        self.now += Duration::from_millis(ms);
    }

    /// A message in a file: `.bin` is binary, everything else text.
    pub(crate) fn file(&self, name: &str) -> Frame {
        let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(self.folder).join(name);
        let bytes = std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        if name.ends_with(".bin") {
            return Frame::Binary(bytes.into());
        }
        Frame::Text(String::from_utf8(bytes).unwrap())
    }

    pub(crate) fn receive(&mut self, frame: Frame) -> Result<(), Violation> {
        self.session.receive(self.at(), frame, &mut self.out)
    }

    pub(crate) fn command(&mut self, command: Command<'_>) -> Result<(), Unsupported> {
        self.session.command(self.at(), command, &mut self.out)
    }

    pub(crate) fn timeout(&mut self) {
        self.session.handle_timeout(self.at(), &mut self.out).unwrap();
    }

    /// Opens the call by these files, and gives who called; `after` is what else was told.
    #[track_caller]
    pub(crate) fn open(&mut self, files: &[&str], after: &[&str]) -> Opening {
        for file in files {
            self.receive(self.file(file)).unwrap();
        }
        let Some(Event::Opened(opening)) = self.out.events.pop_front() else { panic!("not opened: {:?}", self.out) };
        self.told(after);
        *opening
    }

    /// A message comes from a file, and this is told.
    #[track_caller]
    pub(crate) fn hears(&mut self, file: &str, expect: &[&str]) {
        self.receive(self.file(file)).unwrap();
        self.told(expect);
    }

    #[track_caller]
    pub(crate) fn hears_text(&mut self, text: &str, expect: &[&str]) {
        self.receive(Frame::Text(text.to_owned())).unwrap();
        self.told(expect);
    }

    /// The leg asks for something, and these files go out.
    #[track_caller]
    pub(crate) fn says(&mut self, command: Command<'_>, files: &[&str]) {
        self.command(command).unwrap();
        self.sent(files);
    }

    #[track_caller]
    pub(crate) fn told(&mut self, expect: &[&str]) {
        let told: Vec<String> = self.out.events.drain(..).map(|event| line(&event)).collect();
        assert_eq!(told, expect);
    }

    /// What went out is what the files hold; JSON as what it means.
    #[track_caller]
    pub(crate) fn sent(&mut self, files: &[&str]) {
        let sent: Vec<Frame> = self.out.frames.drain(..).collect();
        assert_eq!(sent.len(), files.len(), "{sent:?} against {files:?}");
        for (frame, file) in sent.into_iter().zip(files) {
            match (frame, self.file(file)) {
                (Frame::Text(text), Frame::Text(expect)) if file.ends_with(".json") => {
                    let read = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();
                    assert_eq!(read(&text), read(&expect), "{file}");
                }
                (frame, expect) => assert_eq!(frame, expect, "{file}"),
            }
        }
    }

    /// The binary messages that went out.
    #[track_caller]
    pub(crate) fn audio(&mut self) -> Vec<Bytes> {
        let bytes = |frame| if let Frame::Binary(bytes) = frame { bytes } else { panic!("{frame:?} is no audio") };
        self.out.frames.drain(..).map(bytes).collect()
    }
}

fn line(event: &Event) -> String {
    match event {
        Event::Opened(_) => "opened".to_owned(),
        Event::Answered => "answered".to_owned(),
        Event::Audio(bytes) => format!("audio {}", bytes.len()),
        Event::Dtmf(key) => format!("key {key}"),
        Event::MarkPlayed(id) => format!("played {id}"),
        Event::MarkCleared(id) => format!("cleared {id}"),
        Event::Flow(on) => format!("flow {on}"),
        Event::Hold(on) => format!("hold {on}"),
        Event::HungUp(HangUp::Customer) => "customer hung up".to_owned(),
        Event::HungUp(HangUp::Dialler { by }) => format!("{by} hung up"),
    }
}

/// A field as a prompt reads it.
pub(crate) fn field(opening: &Opening, name: &str) -> Option<String> {
    opening.fields.get(name).map(domain::variables::stringify)
}

/// So many samples that are none of the special values.
pub(crate) fn samples(count: usize) -> Vec<u8> {
    (0..count).flat_map(|n| (n as i16 % 1000 + 1).to_le_bytes()).collect()
}
