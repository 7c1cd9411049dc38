//! One dialler from its first frame to its last: finds out what it speaks, then speaks it. Whatever a codec does, at most
//! one `Opened` comes out, nothing before it and nothing after `HungUp`.

use std::time::Duration;

use crate::detect::{self, Detection};
use crate::dialect::{Abilities, Dialect, build};
use crate::event::{Command, Event, Loss, Out};
use crate::frame::Frame;
use crate::name::Name;
use crate::settings::{Moment, Settings};
use crate::violation::{Unsupported, Violation};

/// Sub-protocols that the upgrade should agree to, each as asked for.
pub const SUBPROTOCOLS: &[&str] = &["audio.jambonz.org", "audiostream.drachtio.org", "audio.drachtio.org", "media"];

/// A dialler that has not said by then who calls is cut off.
pub const OPENING_TIMEOUT: Duration = Duration::from_secs(10);

/// Longest message that is taken, bytes.
pub const MAX_MESSAGE: usize = 256 * 1024;

/// A dialler's socket, without the socket.
#[derive(derive_more::Debug)]
pub struct Session {
    #[debug(skip)]
    settings: Settings,
    stage: Stage,
    opened: bool,
    answered: bool,
    /// The bot has hung up: what the dialler says still counts, and nothing more is sent for the bot.
    left: bool,
    over: bool,
}

#[derive(derive_more::Debug)]
enum Stage {
    Detecting(Detection),
    #[debug("Speaking({name})")]
    Speaking {
        name: Name,
        dialect: Box<dyn Dialect>,
    },
}

impl Session {
    pub fn new(settings: Settings) -> Self {
        let settings = Settings { chunk_ms: settings.chunk_ms.clamp(20, 100), ..settings };
        let asked = settings.dialect.or_else(|| detect::by_subprotocol(settings.subprotocol.as_deref()));
        let stage = match asked {
            Some(name) => Stage::speaking(name, &settings),
            None => Stage::Detecting(Detection::default()),
        };
        Self { settings, stage, opened: false, answered: false, left: false, over: false }
    }

    /// What the dialler speaks, once that is known.
    pub fn dialect(&self) -> Option<Name> {
        match &self.stage {
            Stage::Detecting(_) => None,
            Stage::Speaking { name, .. } => Some(*name),
        }
    }

    /// Takes a message of the dialler.
    ///
    /// # Errors
    /// When the dialler is to be cut off; what was in `out` before still counts, and nothing more will come.
    pub fn receive(&mut self, at: Moment, frame: Frame, out: &mut Out) -> Result<(), Violation> {
        if self.over {
            out.lose(Loss::AfterEnd);
            return Ok(());
        }
        let taken = self.take(at, frame, out);
        self.over |= taken.is_err();
        taken
    }

    /// Asks something of the dialler; after a hang-up nothing more.
    ///
    /// # Errors
    /// When the dialect has no words for it, or nothing can be said yet.
    pub fn command(&mut self, at: Moment, command: Command<'_>, out: &mut Out) -> Result<(), Unsupported> {
        if self.over || self.left {
            return Ok(());
        }
        match &mut self.stage {
            Stage::Speaking { dialect, .. } if self.opened => {
                self.left = matches!(command, Command::HangUp { .. });
                let from = out.events.len();
                let done = dialect.command(at, command, out);
                self.watch(from, out);
                done
            }
            // Nobody was introduced: closing the socket says it all.
            _ if matches!(command, Command::HangUp { .. }) => Ok(()),
            _ => Err(Unsupported { command: command.word(), dialect: self.dialect().unwrap_or(Name::Native) }),
        }
    }

    /// When [`Self::handle_timeout`] wants to be called next, since the socket opened.
    pub fn poll_timeout(&self) -> Option<Duration> {
        if self.over {
            return None;
        }
        let opening = (!self.opened).then_some(OPENING_TIMEOUT);
        let dialect = match &self.stage {
            Stage::Speaking { dialect, .. } => dialect.poll_timeout(),
            Stage::Detecting(_) => None,
        };
        opening.into_iter().chain(dialect).min()
    }

    /// Goes on without a frame.
    ///
    /// # Errors
    /// When the dialler is to be cut off.
    pub fn handle_timeout(&mut self, at: Moment, out: &mut Out) -> Result<(), Violation> {
        if self.over {
            return Ok(());
        }
        if !self.opened && at.since_open >= OPENING_TIMEOUT {
            self.over = true;
            return Err(self.silent());
        }
        let Stage::Speaking { dialect, .. } = &mut self.stage else { return Ok(()) };
        let from = out.events.len();
        let done = dialect.handle_timeout(at, out);
        self.over |= done.is_err();
        self.watch(from, out);
        done
    }

    /// What can be asked of the dialler; nothing before it is known.
    pub fn can(&self) -> Abilities {
        match &self.stage {
            Stage::Speaking { dialect, .. } => dialect.can(),
            Stage::Detecting(_) => Abilities::default(),
        }
    }

    fn take(&mut self, at: Moment, frame: Frame, out: &mut Out) -> Result<(), Violation> {
        if frame.len() > MAX_MESSAGE {
            return Err(Violation::too_big("a message has at most 262144 bytes"));
        }
        let Stage::Detecting(detection) = &mut self.stage else { return self.feed(at, frame, out) };
        let Some(name) = detection.take(at, frame)? else { return Ok(()) };
        let held = detection.held();
        self.stage = Stage::speaking(name, &self.settings);
        for (at, frame) in held {
            self.feed(at, frame, out)?;
        }
        Ok(())
    }

    fn feed(&mut self, at: Moment, frame: Frame, out: &mut Out) -> Result<(), Violation> {
        let Stage::Speaking { name, dialect } = &mut self.stage else { return Ok(()) };
        let name = *name;
        if !self.opened
            && let Some(spoken) = detect::contradiction(name, &frame)
        {
            return Err(Violation::protocol(format!(
                "{name} was asked for (?dialect=, bot or sub-protocol), but this is how {spoken} begins"
            )));
        }
        let from = out.events.len();
        let done = dialect.receive(at, frame, out);
        self.watch(from, out);
        done
    }

    /// Holds what a codec said since `from` to the order of events.
    fn watch(&mut self, from: usize, out: &mut Out) {
        let mut at = from;
        while at < out.events.len() {
            let stands = match &out.events[at] {
                _ if self.over => false,
                Event::Opened(_) => !std::mem::replace(&mut self.opened, true),
                _ if !self.opened => false,
                Event::Answered => !std::mem::replace(&mut self.answered, true),
                Event::HungUp(_) => {
                    self.over = true;
                    true
                }
                _ => true,
            };
            if stands {
                at += 1;
            } else {
                out.events.remove(at);
            }
        }
    }

    fn silent(&self) -> Violation {
        Violation::protocol(match self.dialect() {
            None => "nothing in 10 s says which protocol this is; add ?dialect= to the address".to_owned(),
            Some(name) => format!("no {name} message in 10 s that starts a call"),
        })
    }
}

impl Stage {
    fn speaking(name: Name, settings: &Settings) -> Self {
        Self::Speaking { name, dialect: build(name, settings) }
    }
}
