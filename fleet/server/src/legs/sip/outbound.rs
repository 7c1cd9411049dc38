//! An outbound SIP leg: from the INVITE to the last event of the call.
//! It must never leave a call alive that nobody listens to any more.

use std::net::SocketAddr;

use call::io::{LegEvent, LegFailure};
use domain::secret::{ExposeSecret, SecretString};
use domain::trunk::Trunk;
use sip::sdp;
use sip::{CallHandle, Credentials, Event, Failure, InviteRequest};
use tokio::sync::mpsc;

use super::address::{self, Addressing};
use super::talk::{Talk, drain};
use super::{SipLegs, negotiated};
use crate::audio::PortError;
use crate::legs::{Leg, line};
use crate::recording::RecordingId;
use crate::signalling::SignallingError;

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
        let (media, audio, local) = self.rtp.reserve_rtp()?;
        let (leg, line) = line(audio);
        let trunk = plan.trunk;
        let talk = Talk::new(self, trunk, line, (media, local), plan.session_id);
        let task = Task { talk, recording: plan.recording, stage: Stage::Calling };
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
}

struct Task {
    talk: Talk,
    recording: Option<RecordingId>,
    stage: Stage,
}

impl Task {
    async fn run(mut self, addressing: Addressing, hop: (String, u16), credentials: Option<Credentials>) {
        let last = match self.invite(addressing, hop, credentials).await {
            Ok((call, events)) => {
                self.talk.line.tell(LegEvent::Dialing);
                self.follow(call, events).await
            }
            Err(failure) => LegEvent::Failed(failure),
        };
        self.talk.close(last).await;
    }

    async fn invite(
        &mut self,
        to: Addressing,
        hop: (String, u16),
        credentials: Option<Credentials>,
    ) -> Result<(CallHandle, mpsc::Receiver<Event>), LegFailure> {
        let remote = resolve(&hop, self.talk.signalling.local).await.ok_or_else(|| {
            tracing::warn!(host = hop.0, "the trunk's host does not resolve");
            LegFailure::Unreachable
        })?;
        let talk = &self.talk;
        let request = InviteRequest {
            target: to.target,
            remote,
            from_uri: to.from_uri,
            from_display: to.from_display,
            to_uri: to.to_uri,
            call_id: None,
            headers: to.headers,
            sdp: sdp::offer(talk.address, talk.session.id, talk.session.version, &talk.codecs),
            credentials,
        };
        talk.signalling.invite(request).await.map_err(|error| {
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
                command = self.talk.line.commands.recv() => {
                    if !self.talk.obey(call, command).await {
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
            Event::Failed { cause, .. } => return Some(LegEvent::Failed(failure(cause))),
            event => return self.talk.on_event(call, event).await,
        }
        None
    }

    fn on_provisional(&mut self, code: u16, sdp: Option<&[u8]>) {
        if self.stage == Stage::Calling && code >= 180 {
            self.stage = Stage::Ringing;
            self.talk.line.tell(LegEvent::Ringing);
        }
        // The same description comes again with each retransmission and with the 200: open once.
        if self.stage == Stage::Ringing
            && let Some(Ok(params)) = sdp.map(|sdp| sdp::parse_answer(&self.talk.codecs, sdp))
        {
            self.stage = Stage::EarlyMedia;
            self.talk.media.open(negotiated(&params), &self.talk.trunk_media, None);
            self.talk.line.tell(LegEvent::EarlyMedia);
        }
    }

    async fn on_answer(&mut self, call: CallHandle, sdp: Option<&[u8]>) {
        self.stage = Stage::Answered;
        match sdp.map(|sdp| sdp::parse_answer(&self.talk.codecs, sdp)) {
            Some(Ok(params)) => self.talk.answered(&params, self.recording),
            unusable => self.talk.unusable(call, unusable.and_then(Result::err)).await,
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
