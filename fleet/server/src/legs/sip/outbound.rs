//! An outbound SIP leg: from the INVITE to the last event of the call.
//! It must never leave a call alive that nobody listens to any more.

use std::net::SocketAddr;

use bytes::Bytes;
use call::io::{LegCommand, LegEnd, LegEvent, LegFailure};
use domain::secret::{ExposeSecret, SecretString};
use domain::trunk::Trunk;
use sip::sdp::{self, Codec};
use sip::{CallHandle, Credentials, EndedBy, Event, Failure, InviteRequest, Reason};
use tokio::sync::mpsc;

use super::address::{self, Addressing};
use super::{Session, SipLegs, answer_offer, codecs, negotiated, on_hold};
use crate::legs::{Leg, LegLine, line};
use crate::recording::RecordingId;
use crate::rtp::{MediaHandle, PortError};
use crate::signalling::{Act, Signalling, SignallingError};

/// What an outbound call needs.
#[derive(Debug)]
pub(crate) struct Outbound<'a> {
    pub trunk: &'a Trunk,
    pub password: Option<SecretString>,
    /// The called number, E.164, or a plain SIP user.
    pub to: &'a str,
    pub from: &'a str,
    /// Random: the `o=` line's session id.
    pub session_id: u64,
    /// Where the talk is recorded, from the answer on.
    pub recording: Option<RecordingId>,
}

impl SipLegs {
    /// Places a call; its leg reports from `Dialing` on.
    ///
    /// # Errors
    /// When there is no RTP port left.
    pub(crate) fn dial(&self, plan: Outbound<'_>) -> Result<Leg, PortError> {
        let (media, audio, local) = self.rtp.reserve()?;
        let (leg, line) = line(audio);
        let trunk = plan.trunk;
        let task = Task {
            signalling: self.signalling.clone(),
            line,
            media,
            address: self.media_address(local),
            session: Session { id: plan.session_id, version: plan.session_id },
            codecs: codecs(trunk),
            trunk_media: trunk.media_cidrs.clone(),
            recording: plan.recording,
            stage: Stage::Calling,
        };
        let credentials = plan.password.map(|password| Credentials {
            username: trunk.auth_username.clone().unwrap_or_else(|| trunk.username.clone()),
            password: password.expose_secret().to_owned(),
            realm: trunk.realm.clone(),
        });
        let addressing = address::of(trunk, plan.to, plan.from);
        let hop = address::next_hop(trunk);
        tokio::spawn(task.run(addressing, hop, credentials));
        Ok(leg)
    }
}

/// How far the leg is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Calling,
    Ringing,
    EarlyMedia,
    Answered,
    /// Answered with SDP that we can't use; being ended.
    Unusable,
}

struct Task {
    signalling: Signalling,
    line: LegLine,
    media: MediaHandle,
    address: SocketAddr,
    session: Session,
    codecs: Vec<Codec>,
    trunk_media: Vec<ipnet::IpNet>,
    recording: Option<RecordingId>,
    stage: Stage,
}

impl Task {
    async fn run(mut self, addressing: Addressing, hop: (String, u16), credentials: Option<Credentials>) {
        let last = match self.invite(addressing, hop, credentials).await {
            Ok((call, events)) => {
                self.line.tell(LegEvent::Dialing);
                self.follow(call, events).await
            }
            Err(failure) => LegEvent::Failed(failure),
        };
        self.line.tell(last);
        // The call still asks its media how much of the last words was heard, and closes it itself.
        let media = self.media;
        self.line.close().await;
        media.close().await;
    }

    async fn invite(
        &mut self,
        to: Addressing,
        hop: (String, u16),
        credentials: Option<Credentials>,
    ) -> Result<(CallHandle, mpsc::Receiver<Event>), LegFailure> {
        let remote = resolve(&hop, self.signalling.local).await.ok_or_else(|| {
            tracing::warn!(host = hop.0, "the trunk's host does not resolve");
            LegFailure::Unreachable
        })?;
        let request = InviteRequest {
            target: to.target,
            remote,
            from_uri: to.from_uri,
            from_display: to.from_display,
            to_uri: to.to_uri,
            call_id: None,
            headers: to.headers,
            sdp: sdp::offer(self.address, self.session.id, self.session.version, &self.codecs),
            credentials,
        };
        self.signalling.invite(request).await.map_err(|error| {
            tracing::error!(%error, "INVITE refused by our own stack");
            LegFailure::Unreachable
        })
    }

    /// Passes events and commands until the call is over; answers the last event.
    async fn follow(&mut self, call: CallHandle, mut events: mpsc::Receiver<Event>) -> LegEvent {
        loop {
            tokio::select! {
                event = events.recv() => match event {
                    Some(event) => {
                        if let Some(last) = self.on_event(call, event).await {
                            return last;
                        }
                    }
                    None => return LegEvent::Failed(LegFailure::Unreachable),
                },
                command = self.line.commands.recv() => {
                    // A closed channel is a call task that is gone: its leg goes too.
                    let (None | Some(LegCommand::HangUp)) = command;
                    if let Err(error) = self.signalling.act(call, Act::HangUp { reason: None }).await {
                        tracing::debug!(%error, "hang-up of a call that is already gone");
                    }
                    if command.is_none() {
                        return drain(events).await;
                    }
                }
            }
        }
    }

    async fn on_event(&mut self, call: CallHandle, event: Event) -> Option<LegEvent> {
        match event {
            Event::Provisional { code, sdp, .. } => self.on_provisional(code, sdp.as_deref()),
            Event::Answered { sdp, .. } => self.on_answer(call, sdp.as_deref()).await,
            Event::Confirmed { sdp: Some(answer), .. } => self.on_late_answer(&answer),
            Event::Reinvite { sdp, .. } => self.on_reinvite(call, sdp).await,
            Event::Dtmf { digit, .. } => self.line.tell(LegEvent::Dtmf(digit)),
            Event::Failed { cause, .. } => return Some(LegEvent::Failed(failure(cause))),
            Event::Ended { by, reason, .. } => return Some(self.ended(by, reason.as_ref())),
            Event::Cancelled { .. } => return Some(LegEvent::Failed(LegFailure::Cancelled)),
            Event::Confirmed { sdp: None, .. } | Event::Incoming { .. } => {}
        }
        None
    }

    fn on_provisional(&mut self, code: u16, sdp: Option<&[u8]>) {
        if self.stage == Stage::Calling && code >= 180 {
            self.stage = Stage::Ringing;
            self.line.tell(LegEvent::Ringing);
        }
        // The same description comes again with each retransmission and with the 200: open once.
        if self.stage == Stage::Ringing
            && let Some(Ok(params)) = sdp.map(|sdp| sdp::parse_answer(&self.codecs, sdp))
        {
            self.stage = Stage::EarlyMedia;
            self.media.open(negotiated(&params), &self.trunk_media, None);
            self.line.tell(LegEvent::EarlyMedia);
        }
    }

    async fn on_answer(&mut self, call: CallHandle, sdp: Option<&[u8]>) {
        match sdp.map(|sdp| sdp::parse_answer(&self.codecs, sdp)) {
            Some(Ok(params)) => {
                self.stage = Stage::Answered;
                self.media.open(negotiated(&params), &self.trunk_media, self.recording);
                self.line.tell(LegEvent::Answered);
                if on_hold(params.direction) {
                    self.line.tell(LegEvent::Hold(true));
                }
            }
            unusable => {
                tracing::warn!(sdp_error = ?unusable.and_then(Result::err), "the call was answered with SDP that we can't use");
                self.stage = Stage::Unusable;
                let reason = Reason {
                    protocol: "SIP".to_owned(),
                    cause: Some(488),
                    text: Some("Not Acceptable Here".to_owned()),
                };
                let _ = self.signalling.act(call, Act::HangUp { reason: Some(reason) }).await;
            }
        }
    }

    async fn on_reinvite(&mut self, call: CallHandle, offer: Option<Bytes>) {
        let session = self.session.next();
        let act = match offer {
            Some(offer) => match answer_offer(&self.media, self.address, session, &self.codecs, &offer) {
                Ok((answer, params)) => {
                    self.line.tell(LegEvent::Hold(on_hold(params.direction)));
                    Act::AnswerReinvite { sdp: answer }
                }
                Err(error) => Act::RejectReinvite { code: error.status() },
            },
            None => Act::AnswerReinvite { sdp: sdp::offer(self.address, session.id, session.version, &self.codecs) },
        };
        if let Err(error) = self.signalling.act(call, act).await {
            tracing::warn!(%error, "re-INVITE not answered");
        }
    }

    /// The ACK brought the answer to an offer of ours.
    fn on_late_answer(&mut self, answer: &[u8]) {
        if let Ok(params) = sdp::parse_answer(&self.codecs, answer) {
            self.media.update(negotiated(&params));
            self.line.tell(LegEvent::Hold(on_hold(params.direction)));
        }
    }

    fn ended(&self, by: EndedBy, reason: Option<&Reason>) -> LegEvent {
        if self.stage == Stage::Unusable {
            return LegEvent::Failed(LegFailure::BadAnswer);
        }
        if let Some(reason) = reason {
            tracing::debug!(protocol = reason.protocol, cause = reason.cause, "reason of the end");
        }
        match by {
            EndedBy::Remote => LegEvent::Ended { by_remote: true, cause: LegEnd::Normal },
            EndedBy::Local => LegEvent::Ended { by_remote: false, cause: LegEnd::Normal },
            EndedBy::Timeout => LegEvent::Ended { by_remote: false, cause: LegEnd::Unresponsive },
        }
    }
}

fn failure(cause: Failure) -> LegFailure {
    match cause {
        Failure::Status { code, reason, .. } => {
            let q850 =
                reason.filter(|reason| reason.protocol.eq_ignore_ascii_case("Q.850")).and_then(|reason| reason.cause);
            LegFailure::Status { code, q850 }
        }
        Failure::Timeout => LegFailure::Timeout,
        Failure::Unreachable => LegFailure::Unreachable,
        Failure::AuthRejected => LegFailure::AuthRejected,
        Failure::Cancelled => LegFailure::Cancelled,
        Failure::BadAnswer(_) => LegFailure::BadAnswer,
    }
}

/// Waits for the end of a call that nobody listens to.
async fn drain(mut events: mpsc::Receiver<Event>) -> LegEvent {
    while let Some(event) = events.recv().await {
        if event.is_terminal() {
            break;
        }
    }
    LegEvent::Ended { by_remote: false, cause: LegEnd::Normal }
}

/// The first address of the next hop in the socket's own family.
async fn resolve(hop: &(String, u16), local: SocketAddr) -> Option<SocketAddr> {
    let host = hop.0.trim_start_matches('[').trim_end_matches(']');
    let found = tokio::net::lookup_host((host, hop.1)).await.ok()?;
    found.into_iter().find(|address| address.is_ipv4() == local.is_ipv4())
}

impl From<SignallingError> for LegFailure {
    fn from(_: SignallingError) -> Self {
        Self::Unreachable
    }
}
