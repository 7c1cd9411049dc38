//! What an INVITE session is to its leg whichever side called: its line, its media, and everything that happens to it
//! after the answer. It must never judge an offer or an answer that begins a call: the direction's own file does.

use std::net::SocketAddr;

use bytes::Bytes;
use call::io::{LegCommand, LegEnd, LegEvent, LegFailure};
use domain::trunk::Trunk;
use sip::sdp::{self, AudioParams, Codec};
use sip::{CallHandle, EndedBy, Event, Reason};
use tokio::sync::mpsc;

use super::{Session, SipLegs, answer_offer, codecs, negotiated, on_hold};
use crate::audio::MediaHandle;
use crate::legs::LegLine;
use crate::recording::RecordingId;
use crate::signalling::{Act, Signalling};

pub(super) struct Talk {
    pub signalling: Signalling,
    pub line: LegLine,
    pub media: MediaHandle,
    /// Where our side takes RTP, as SDP says it.
    pub address: SocketAddr,
    pub session: Session,
    pub codecs: Vec<Codec>,
    pub trunk_media: Vec<ipnet::IpNet>,
    /// Answered with SDP that we can't use; being ended.
    pub unusable: bool,
}

impl Talk {
    /// `local`: the reserved port; `session_id`: random.
    pub(super) fn new(
        legs: &SipLegs,
        trunk: &Trunk,
        line: LegLine,
        (media, local): (MediaHandle, SocketAddr),
        session_id: u64,
    ) -> Self {
        Self {
            signalling: legs.signalling.clone(),
            line,
            media,
            address: legs.media_address(local),
            session: Session { id: session_id, version: session_id },
            codecs: codecs(trunk),
            trunk_media: trunk.media_cidrs.clone(),
            unusable: false,
        }
    }

    /// The call is answered with these parameters: its media opens, and is recorded from here on where asked for.
    pub(super) fn answered(&mut self, params: &AudioParams, recording: Option<RecordingId>) {
        self.media.open(negotiated(params), &self.trunk_media, recording);
        self.line.tell(LegEvent::Answered);
        if on_hold(params.direction) {
            self.line.tell(LegEvent::Hold(true));
        }
    }

    /// The far side's answer is none that we can use: the call ends, and its last event says why.
    pub(super) async fn unusable(&mut self, call: CallHandle, fault: Option<sdp::SdpError>) {
        tracing::warn!(sdp_error = ?fault, "the call was answered with SDP that we can't use");
        self.unusable = true;
        let reason =
            Reason { protocol: "SIP".to_owned(), cause: Some(488), text: Some("Not Acceptable Here".to_owned()) };
        let _ = self.signalling.act(call, Act::HangUp { reason: Some(reason) }).await;
    }

    /// Does what the call wants; false when its task is gone: then the leg goes too.
    pub(super) async fn obey(&mut self, call: CallHandle, command: Option<LegCommand>) -> bool {
        match command {
            Some(LegCommand::HangUp) => self.hang_up(call).await,
            // Our SIP has no REFER.
            Some(LegCommand::Transfer { .. }) => self.line.tell(LegEvent::TransferRefused),
            // Outbound the answer is the far side's to give, and inbound it was given.
            Some(LegCommand::Answer) => {}
            None => {
                self.hang_up(call).await;
                return false;
            }
        }
        true
    }

    /// Ends the call by BYE or CANCEL, whichever fits.
    async fn hang_up(&self, call: CallHandle) {
        if let Err(error) = self.signalling.act(call, Act::HangUp { reason: None }).await {
            tracing::debug!(%error, "hang-up of a call that is already gone");
        }
    }

    /// What can happen to any call that was answered; the last event if it was that.
    pub(super) async fn on_event(&mut self, call: CallHandle, event: Event) -> Option<LegEvent> {
        match event {
            Event::Confirmed { sdp: Some(answer), .. } => self.on_late_answer(&answer),
            Event::Reinvite { sdp, .. } => self.on_reinvite(call, sdp).await,
            Event::Dtmf { digit, .. } => self.line.tell(LegEvent::Dtmf(digit)),
            Event::Ended { by, reason, .. } => return Some(self.ended(by, reason.as_ref())),
            Event::Cancelled { .. } => return Some(LegEvent::Failed(LegFailure::Cancelled)),
            Event::Confirmed { sdp: None, .. }
            | Event::Incoming { .. }
            | Event::Provisional { .. }
            | Event::Answered { .. }
            | Event::Failed { .. } => {}
        }
        None
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
        if self.unusable {
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

    /// Says the last word, and waits until the call has let go of its leg.
    pub(super) async fn close(mut self, last: LegEvent) {
        self.line.tell(last);
        // The call still asks its media how much of the last words was heard, and closes it itself.
        self.line.close().await;
        self.media.close().await;
    }
}

/// Waits for the end of a call that nobody listens to.
pub(super) async fn drain(mut events: mpsc::Receiver<Event>) -> LegEvent {
    while let Some(event) = events.recv().await {
        if event.is_terminal() {
            break;
        }
    }
    LegEvent::Ended { by_remote: false, cause: LegEnd::Normal }
}
