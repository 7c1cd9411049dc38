//! A socket and the protocol spoken over it: frames become events, commands become frames.
//! It must never decide what an event means for the call.

use std::time::Duration;

use dialect::{Abilities, Command, Dropped, Event, Frame, Moment, Out, Session, Settings, Unsupported, Violation};
use jiff::{SignedDuration, Timestamp};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;

use super::Limits;
use super::codes::Close;
use super::telemetry::Telemetry;
use super::wire::{Gone, Turn, Wire};

pub(super) struct Line<S> {
    pub(super) wire: Wire<S>,
    session: Session,
    out: Out,
    opened: Instant,
    wall: Timestamp,
    /// Of the session's own counts, what was passed on to the metrics.
    counted: Dropped,
    telemetry: Telemetry,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Line<S> {
    pub(super) async fn open(stream: S, settings: Settings, wall: Timestamp, limits: Limits) -> Self {
        let telemetry = Telemetry::new();
        Self {
            wire: Wire::new(stream, limits, telemetry.clone()).await,
            session: Session::new(settings),
            out: Out::new(),
            opened: Instant::now(),
            wall,
            counted: Dropped::default(),
            telemetry,
        }
    }

    /// What the dialler has done since this was asked last, one by one.
    pub(super) fn next_event(&mut self) -> Option<Event> {
        self.out.events.pop_front()
    }

    /// Returns when the dialler may have done something, or at `until`. May be dropped and called again at any time.
    ///
    /// # Errors
    /// The socket is gone, or the dialler broke a rule.
    pub(super) async fn turn(&mut self, until: Option<Instant>) -> Result<(), Gone> {
        let due = self.session.poll_timeout().map(|due| self.opened + due);
        let until = [until, due].into_iter().flatten().min();
        match self.wire.turn(until).await {
            Turn::Frame(frame) => self.receive(frame),
            Turn::Due if due.is_some_and(|due| due <= Instant::now()) => {
                let at = self.moment();
                let done = self.session.handle_timeout(at, &mut self.out);
                self.pass_on(None);
                done.map_err(Gone::Violation)
            }
            Turn::Due => Ok(()),
            Turn::Gone(gone) => Err(gone),
        }
    }

    fn receive(&mut self, frame: Frame) -> Result<(), Gone> {
        let at = self.moment();
        let done: Result<(), Violation> = self.session.receive(at, frame, &mut self.out);
        self.pass_on(None);
        self.count();
        done.map_err(Gone::Violation)
    }

    /// Asks something of the dialler. `due`: it is audio that should leave then.
    ///
    /// # Errors
    /// The protocol has no words for it.
    pub(super) fn command(&mut self, command: Command<'_>, due: Option<Instant>) -> Result<(), Unsupported> {
        let at = self.moment();
        let done = self.session.command(at, command, &mut self.out);
        self.pass_on(due);
        done
    }

    pub(super) fn can(&self) -> Abilities {
        self.session.can()
    }

    pub(super) fn dropped(&self, reason: &'static str, frames: u64) {
        self.telemetry.dropped(reason, frames);
    }

    /// Closes the socket; without a `close` there is nobody left to be told.
    pub(super) async fn close(self, close: Option<&Close>) {
        if let Some(close) = close {
            self.wire.close(close).await;
        }
    }

    fn moment(&self) -> Moment {
        let since_open = self.opened.elapsed();
        let passed = SignedDuration::try_from(since_open).unwrap_or_default();
        Moment { since_open, wall: self.wall.checked_add(passed).unwrap_or(self.wall) }
    }

    fn pass_on(&mut self, due: Option<Instant>) {
        while let Some(frame) = self.out.frames.pop_front() {
            self.wire.send(frame, due);
        }
    }

    fn count(&mut self) {
        let (now, before) = (self.out.dropped, self.counted);
        if now == before {
            return;
        }
        self.counted = now;
        for (reason, now, before) in [
            ("unknown", now.unknown, before.unknown),
            ("early", now.early, before.early),
            ("after_end", now.after_end, before.after_end),
            ("duplicate", now.duplicate, before.duplicate),
            ("late", now.late, before.late),
            ("foreign", now.foreign, before.foreign),
            ("complaint", now.complaint, before.complaint),
        ] {
            self.telemetry.dropped(reason, now - before);
        }
    }

    /// How long the socket has been open.
    pub(super) fn age(&self) -> Duration {
        self.opened.elapsed()
    }
}
