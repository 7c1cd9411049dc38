//! A socket that became a call: the dialler's events to the call, the call's commands and audio to the dialler.
//! It must never answer before the call's row stands, and never leave the call without a last event.

use std::time::Duration;

use call::io::{LegCommand, LegEvent};
use dialect::{Command, Ending, Event, Opening};
use domain::call::Direction;
use domain::fleet::Refusal;
use domain::ids::CallId;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::oneshot;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::ears::Ears;
use super::end::End;
use super::line::Line;
use super::voice::Voice;
use super::{Limits, Reception, telemetry};
use crate::audio::{MediaHandle, Said, SocketLine};
use crate::legs::{LegLine, Taken, arriving};
use crate::ws::Stream;

/// A dialler that does not say what it has played may have this much of the bot's last word in its own buffer.
const LAST_WORD: Duration = Duration::from_millis(200);
/// How long a dialler may take to carry out a transfer and close the socket.
const TRANSFER_WAIT: Duration = Duration::from_secs(10);
/// How long a call may take to let go of a leg that has ended.
const LET_GO_LIMIT: Duration = Duration::from_secs(15);

/// How far hanging up is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Leaving {
    No,
    /// The bot's last word still sounds.
    At(Instant),
    /// The dialler knows, and may close the socket itself until then.
    Told {
        until: Instant,
    },
    /// The customer is somebody else's once the dialler closes the socket; until then it may.
    HandedOver {
        until: Instant,
    },
}

struct Held<S> {
    line: Line<S>,
    call: LegLine,
    audio: SocketLine,
    media: MediaHandle,
    ears: Ears,
    voice: Voice,
    limits: Limits,
    /// The dialler called the customer.
    is_outbound: bool,
    taken: Option<Taken>,
    /// The dialler lets the bot speak.
    answered: bool,
    /// The call was told so: audio counts.
    talking: bool,
    /// The dialler wants no audio now: its queue is full, or its caller is on hold.
    full: bool,
    on_hold: bool,
    leaving: Leaving,
    /// The call has had its last event.
    told: bool,
}

/// Holds a call from its introduction to the end of its socket.
pub(super) async fn hold<S, R>(line: Line<S>, opening: Opening, reception: R, limits: Limits, going: &CancellationToken)
where
    S: AsyncRead + AsyncWrite + Unpin + Send,
    R: Reception,
{
    telemetry::opened(opening.dialect);
    let (ears, voice) = match (Ears::new(opening.hears), Voice::new(&opening, line.can())) {
        (Ok(ears), Ok(voice)) => (ears, voice),
        (Err(unsupported), _) | (_, Err(unsupported)) => {
            tracing::warn!(%unsupported, "a dialler's audio is not spoken here");
            let end = End::unspoken(unsupported);
            telemetry::ended(end.word);
            return line.close(end.close.as_ref()).await;
        }
    };
    let stream = match &opening.stream_id {
        Some(id) => Some(reception.claim(id).await),
        None => None,
    };
    let (media, port, audio) = reception.audio();
    let (leg, call, is_taken) = arriving(port);
    let mut held = Held {
        line,
        call,
        audio,
        media,
        ears,
        voice,
        limits,
        is_outbound: opening.direction == Direction::Outbound,
        taken: None,
        answered: false,
        talking: false,
        full: false,
        on_hold: false,
        leaving: Leaving::No,
        told: false,
    };
    let taking = reception.take(&opening, leg);
    let end = held.run(taking, is_taken, stream.as_ref(), going).await;
    held.finish(end, stream).await;
}

impl<S: AsyncRead + AsyncWrite + Unpin> Held<S> {
    async fn run(
        &mut self,
        taking: impl Future<Output = Result<CallId, Refusal>>,
        mut is_taken: oneshot::Receiver<Taken>,
        stream: Option<&Stream>,
        going: &CancellationToken,
    ) -> End {
        tokio::pin!(taking);
        let mut is_taking = true;
        loop {
            while let Some(event) = self.line.next_event() {
                if let Some(end) = self.on_event(event) {
                    return end;
                }
            }
            self.voice.report(&self.audio.events);
            let until = self.deadline();
            tokio::select! {
                biased;
                done = &mut taking, if is_taking => {
                    is_taking = false;
                    if let Err(refusal) = done {
                        return refused(refusal);
                    }
                }
                taken = &mut is_taken, if self.taken.is_none() => match taken {
                    Ok(taken) => self.on_taken(taken),
                    Err(_) => return End::fault("not_taken", "the call could not be started"),
                },
                command = self.call.commands.recv(), if !self.told => {
                    if let Some(end) = self.obey(command, going) {
                        return end;
                    }
                }
                Some(said) = self.audio.said.recv() => self.say(said),
                () = replaced(stream) => return End::replaced(),
                turn = self.line.turn(until) => {
                    if let Err(gone) = turn {
                        return End::of(gone);
                    }
                    if let Some(end) = self.on_time(going) {
                        return end;
                    }
                }
            }
        }
    }

    /// The next moment at which something is to be done without anybody doing something.
    fn deadline(&self) -> Option<Instant> {
        let leaving = match self.leaving {
            Leaving::No => None,
            Leaving::At(at) | Leaving::Told { until: at } | Leaving::HandedOver { until: at } => Some(at),
        };
        [leaving, self.voice.deadline()].into_iter().flatten().min()
    }

    fn on_event(&mut self, event: Event) -> Option<End> {
        match event {
            Event::Answered => {
                self.answered = true;
                self.begin();
            }
            Event::Audio(bytes) if self.talking => {
                if let Err(violation) = self.ears.hear(&bytes, &self.audio.heard, &self.line) {
                    return Some(End::of(super::wire::Gone::Violation(violation)));
                }
            }
            Event::Dtmf(key) => self.call.tell(LegEvent::Dtmf(key)),
            Event::MarkPlayed(id) => self.voice.confirmed(Instant::now(), id),
            Event::MarkCleared(id) => self.voice.dropped(id),
            Event::Flow(open) => {
                self.full = !open;
                self.pause();
            }
            Event::Hold(held) => {
                self.on_hold = held;
                self.call.tell(LegEvent::Hold(held));
                self.pause();
            }
            Event::HungUp(_) => return Some(End::hung_up()),
            // Before the bot may speak nobody listens yet.
            Event::Audio(_) | Event::Opened(_) => {}
        }
        None
    }

    fn pause(&self) {
        self.media.pause(self.full || self.on_hold);
    }

    fn on_taken(&mut self, taken: Taken) {
        tracing::info!(call.id = %taken.call_id, "a socket is a call");
        self.taken = Some(taken);
        if self.is_outbound {
            self.call.tell(LegEvent::Dialing);
        }
        self.begin();
    }

    /// The talk begins once the call's row stands and the dialler lets the bot speak.
    fn begin(&mut self) {
        let Some(taken) = self.taken.filter(|_| self.answered && !self.talking) else { return };
        self.talking = true;
        self.media.open_socket(taken.recording);
        self.pause();
        self.call.tell(LegEvent::Answered);
        // A dialler may send nothing while its caller is silent: whether it is there, pings tell.
        self.call.tell(LegEvent::MediaStarted);
    }

    fn obey(&mut self, command: Option<LegCommand>, going: &CancellationToken) -> Option<End> {
        match command {
            Some(LegCommand::HangUp) => {
                let now = Instant::now();
                let last_word = self.voice.last_word().map_or(now, |until| until + LAST_WORD);
                self.leaving = Leaving::At(last_word.max(now));
                self.on_time(going)
            }
            // The dialler answers.
            Some(LegCommand::Answer) => None,
            Some(LegCommand::Transfer { to }) => {
                self.hand_over(to.as_str());
                None
            }
            // The call is gone without a word: so goes its leg.
            None => {
                self.hang_up(Ending::Failed);
                Some(End::fault("call_gone", "the call ended by a fault"))
            }
        }
    }

    fn hand_over(&mut self, to: &str) {
        match self.line.command(Command::Transfer { to }, None) {
            Ok(()) => self.leaving = Leaving::HandedOver { until: Instant::now() + TRANSFER_WAIT },
            Err(unsupported) => {
                tracing::info!(%unsupported, "no transfer");
                self.call.tell(LegEvent::TransferRefused);
            }
        }
    }

    fn on_time(&mut self, going: &CancellationToken) -> Option<End> {
        let now = Instant::now();
        self.voice.on_time(now);
        match self.leaving {
            Leaving::At(at) if at <= now => {
                let in_band = self.line.can().in_band_hangup;
                self.hang_up(Ending::Completed);
                let end = End::ours(going.is_cancelled());
                if !in_band {
                    return Some(end);
                }
                self.call.tell(end.last);
                self.told = true;
                self.leaving = Leaving::Told { until: now + self.limits.hang_up_wait };
                None
            }
            Leaving::Told { until } | Leaving::HandedOver { until } if until <= now => {
                Some(End::ours(going.is_cancelled()))
            }
            Leaving::No | Leaving::At(_) | Leaving::Told { .. } | Leaving::HandedOver { .. } => None,
        }
    }

    fn hang_up(&mut self, reason: Ending) {
        if let Err(unsupported) = self.line.command(Command::HangUp { reason }, None) {
            tracing::debug!(%unsupported, "closing the socket is hanging up");
        }
    }

    fn say(&mut self, said: Said) {
        let now = Instant::now();
        match (&mut self.leaving, said) {
            // The dialler was told to hang up: what it hears is no matter any more.
            (Leaving::Told { .. }, said) => return self.voice.say_no_more(now, said),
            (Leaving::At(_) | Leaving::HandedOver { .. }, Said::Frame(_)) => return,
            // No last word is left to be waited for.
            (Leaving::At(at), Said::Cut { .. }) => *at = now,
            _ => {}
        }
        self.voice.say(now, said, &mut self.line);
    }

    /// Tells the call, lets it ask how much was heard, and closes the socket meanwhile.
    async fn finish(self, end: End, stream: Option<Stream>) {
        tracing::info!(reason = end.word, duration_ms = self.line.age().as_millis() as u64, "a socket ended");
        telemetry::ended(end.word);
        let Self { line, mut call, mut audio, media, mut voice, told, .. } = self;
        if !told {
            if let Some(remark) = end.remark {
                call.tell(LegEvent::Remark(remark));
            }
            call.tell(end.last);
        }
        let let_go = async {
            let let_go = let_go(&mut call, &mut audio, &mut voice);
            if tokio::time::timeout(LET_GO_LIMIT, let_go).await.is_err() {
                tracing::error!("a call does not let go of its leg");
            }
            // Whoever waits for the stream waits for the call, and not for a socket that may be dead.
            drop(stream);
        };
        let _ = tokio::join!(line.close(end.close.as_ref()), let_go);
        media.close().await;
    }
}

/// Delivers the last events, and says what was heard of the bot's last words, until the call is over.
async fn let_go(call: &mut LegLine, audio: &mut SocketLine, voice: &mut Voice) {
    call.deliver().await;
    loop {
        tokio::select! {
            biased;
            Some(said) = audio.said.recv() => {
                voice.say_no_more(Instant::now(), said);
                voice.report(&audio.events);
            }
            command = call.commands.recv() => if command.is_none() {
                return;
            },
        }
    }
}

fn refused(refusal: Refusal) -> End {
    tracing::error!(?refusal, "a call that came in was not taken");
    End::fault("not_taken", "the call could not be started; connect again")
}

async fn replaced(stream: Option<&Stream>) {
    match stream {
        Some(stream) => stream.replaced().await,
        None => std::future::pending().await,
    }
}
