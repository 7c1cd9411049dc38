//! One call to the phone, as SIP sees it: digest, ringing, the answer, and the end.
//! It must never answer a call that has not proved who it is, where the phone has an account.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use sip::sdp::{self, Codec};
use sip::{AuthOutcome, CallHandle, EndedBy, Event};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::talk::{Next, Talk};
use super::{Ending, Happening, PhoneLine};
use server::audio::{AudioPort, MediaHandle};
use server::signalling::{Act, Incoming};

/// G.711, as every carrier has it.
const CODECS: [Codec; 2] = [Codec::Pcmu, Codec::Pcma];
/// After a farewell the caller hangs up; a customer who is left on the line does it himself.
const FAREWELL_PATIENCE: Duration = Duration::from_secs(8);
/// How long the end of a call that we hung up may take.
const BYE_PATIENCE: Duration = Duration::from_secs(35);

pub(super) async fn take(line: Arc<PhoneLine>, incoming: Incoming) {
    let mut call = Call { handle: incoming.call, number: 0, events: incoming.events, line };
    if !call.is_allowed().await {
        return call.drain().await;
    }
    call.number = call.line.next_call();
    let from = incoming.request.from.user().unwrap_or_default();
    match call.pick_up(from, incoming.request.sdp.as_deref()).await {
        Some((mut session, audio)) => {
            let ending = call.talk(&mut session, audio).await;
            session.media.close().await;
            tracing::debug!(call = call.number, ?ending, "the test phone's call is over");
        }
        None => call.drain().await,
    }
}

/// What was agreed about a call's audio.
struct Session {
    media: MediaHandle,
    local: SocketAddr,
    id: u64,
    /// Rises with each description that we send (RFC 3264 §8).
    version: u64,
}

struct Call {
    handle: CallHandle,
    number: u32,
    events: mpsc::Receiver<Event>,
    line: Arc<PhoneLine>,
}

impl Call {
    /// Challenges and judges the caller; false: it was answered already.
    async fn is_allowed(&self) -> bool {
        let Some(account) = &self.line.config.account else { return true };
        let judged = self.line.signalling.verify(self.handle, &account.username, &account.password).await;
        match judged {
            Ok(AuthOutcome::Accepted) => return true,
            Ok(AuthOutcome::Missing | AuthOutcome::Stale) => {
                self.act(Act::Challenge { realm: account.realm.clone() }).await;
                self.tell(Duration::ZERO, Happening::Challenged);
            }
            Ok(AuthOutcome::Rejected) => {
                self.act(Act::Reject { code: 403, headers: Vec::new() }).await;
                self.tell(Duration::ZERO, Happening::WrongPassword);
            }
            Err(error) => tracing::debug!(%error, "the test phone's caller is gone"),
        }
        false
    }

    /// Rings, then answers; `None`: it came to nothing.
    async fn pick_up(&mut self, from: String, offer: Option<&[u8]>) -> Option<(Session, AudioPort)> {
        let Some(offer) = offer else { return self.refuse(488).await };
        let (media, audio, local) = match self.line.rtp.reserve_rtp() {
            Ok(reserved) => reserved,
            Err(error) => {
                tracing::warn!(%error, "the test phone has no RTP port");
                return self.refuse(503).await;
            }
        };
        let id = u64::from(rand::random::<u32>());
        let (answer, params) = match sdp::answer(local, id, id, &CODECS, offer) {
            Ok(agreed) => agreed,
            Err(error) => {
                media.close().await;
                return self.refuse(error.status()).await;
            }
        };
        self.act(Act::Ring { code: 180, sdp: None }).await;
        self.tell(Duration::ZERO, Happening::Ringing { from });
        if self.rings_out().await {
            media.open(server::negotiated(&params), &[], None);
            self.act(Act::Accept { sdp: answer }).await;
            self.tell(Duration::ZERO, Happening::Answered);
            return Some((Session { media, local, id, version: id }, audio));
        }
        media.close().await;
        self.tell(Duration::ZERO, Happening::Ended(Ending::Cancelled));
        None
    }

    async fn refuse<T>(&self, code: u16) -> Option<T> {
        self.act(Act::Reject { code, headers: Vec::new() }).await;
        self.tell(Duration::ZERO, Happening::Refused { code });
        None
    }

    /// Waits until the customer picks up; false: the caller gave up first.
    async fn rings_out(&mut self) -> bool {
        let picks_up = Instant::now() + self.line.config.ring;
        loop {
            tokio::select! {
                event = self.events.recv() => match event {
                    Some(event) if !event.is_terminal() => {}
                    Some(_) | None => return false,
                },
                () = tokio::time::sleep_until(picks_up) => return true,
            }
        }
    }

    /// Talks until somebody hangs up.
    async fn talk(&mut self, session: &mut Session, audio: AudioPort) -> Ending {
        let mut talk = Talk::begin(self.line.clone(), self.number, audio);
        let mut hang_up_at: Option<Instant> = None;
        let mut hung_up = false;
        let ending = loop {
            tokio::select! {
                event = self.events.recv() => match event {
                    Some(Event::Reinvite { sdp, .. }) => self.act(session.renegotiate(sdp.as_deref())).await,
                    Some(Event::Confirmed { sdp: Some(answer), .. }) => session.late_answer(&answer),
                    Some(Event::Ended { by, .. }) => break ending_of(by),
                    Some(event) if event.is_terminal() => break Ending::Cancelled,
                    Some(_) => {}
                    None => break Ending::Lost,
                },
                next = talk.next() => match next {
                    Next::GoOn => {}
                    Next::Farewell => hang_up_at = Some(Instant::now() + FAREWELL_PATIENCE),
                    Next::HangUp => hang_up_at = Some(Instant::now()),
                },
                () = sleep_until(hang_up_at) => {
                    if std::mem::replace(&mut hung_up, true) {
                        break Ending::Lost;
                    }
                    self.act(Act::HangUp { reason: None }).await;
                    hang_up_at = Some(Instant::now() + BYE_PATIENCE);
                }
            }
        };
        let at = talk.at();
        talk.finish().await;
        self.tell(at, Happening::Ended(ending));
        ending
    }

    /// Waits for the last event of a call that is being refused.
    async fn drain(&mut self) {
        while let Some(event) = self.events.recv().await {
            if event.is_terminal() {
                return;
            }
        }
    }

    async fn act(&self, act: Act) {
        if let Err(error) = self.line.signalling.act(self.handle, act).await {
            tracing::debug!(%error, "the test phone's call is gone");
        }
    }

    fn tell(&self, at: Duration, what: Happening) {
        self.line.tell(self.number, at, what);
    }
}

impl Session {
    /// The caller changes the session; media follows at once. Without an offer it wants ours.
    fn renegotiate(&mut self, offer: Option<&[u8]>) -> Act {
        self.version += 1;
        let Some(offer) = offer else {
            return Act::AnswerReinvite { sdp: sdp::offer(self.local, self.id, self.version, &CODECS) };
        };
        match sdp::answer(self.local, self.id, self.version, &CODECS, offer) {
            Ok((answer, params)) => {
                self.media.update(server::negotiated(&params));
                Act::AnswerReinvite { sdp: answer }
            }
            Err(error) => Act::RejectReinvite { code: error.status() },
        }
    }

    /// The ACK brought the answer to an offer of ours.
    fn late_answer(&self, answer: &[u8]) {
        if let Ok(params) = sdp::parse_answer(&CODECS, answer) {
            self.media.update(server::negotiated(&params));
        }
    }
}

fn ending_of(by: EndedBy) -> Ending {
    match by {
        EndedBy::Remote => Ending::Caller,
        EndedBy::Local => Ending::Customer,
        EndedBy::Timeout => Ending::Lost,
    }
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}
