//! A SIP leg that came in: from the offer that can be answered to the last event of the call.
//! It must never ring or answer before its call was taken, and never leave an INVITE without a final answer.

use bytes::Bytes;
use call::io::{LegCommand, LegEvent, LegFailure};
use domain::bot::InboundAnswer;
use domain::trunk::Trunk;
use sip::sdp::{self, AudioParams};
use sip::{CallHandle, EndedBy, Event};
use tokio::sync::{mpsc, oneshot};

use super::SipLegs;
use super::talk::{Talk, drain};
use crate::legs::{Leg, Taken, arriving};
use crate::recording::RecordingId;
use crate::signalling::{Act, Incoming};

/// What the caller hears of a call that ends before its answer: it may be tried again.
const UNAVAILABLE: u16 = 480;
/// When a caller whose call could not be taken may try again, seconds.
const TRY_AGAIN: &str = "5";

/// What an inbound call needs.
#[derive(Debug)]
pub(crate) struct Inbound<'a> {
    pub incoming: Incoming,
    pub trunk: &'a Trunk,
    /// Whether the caller hears it ring.
    pub answer: InboundAnswer,
    /// Random: the `o=` line's session id.
    pub session_id: u64,
}

/// Why a call that came in can have no leg.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unfit {
    /// Its offer can't be answered; the SIP status that says why.
    Offer(u16),
    /// No RTP port is left.
    Ports,
}

impl SipLegs {
    /// Makes the leg of a call that came in; it waits until its call is taken, and refuses its caller if it is not.
    ///
    /// # Errors
    /// When there can be none; then the caller has no answer yet.
    pub(crate) fn take(&self, plan: Inbound<'_>) -> Result<Leg, Unfit> {
        let (media, audio, local) = self.rtp.reserve_rtp().map_err(|error| {
            tracing::error!(%error, "no port for a call that came in");
            Unfit::Ports
        })?;
        let (leg, line, taken) = arriving(audio);
        let talk = Talk::new(self, plan.trunk, line, (media, local), plan.session_id);
        let offered = match talk.offered(plan.incoming.request.sdp.as_deref()) {
            Ok(offered) => offered,
            Err(error) => {
                tokio::spawn(async move { talk.media.close().await });
                return Err(Unfit::Offer(error.status()));
            }
        };
        let Incoming { call, events, .. } = plan.incoming;
        let task = Task { talk, call, offered, answer: plan.answer, recording: None };
        tokio::spawn(task.run(events, taken));
        Ok(leg)
    }
}

/// What came of the caller's offer.
enum Offered {
    Agreed {
        answer: Bytes,
        params: AudioParams,
    },
    /// There was none: ours goes with the answer, and theirs comes with the ACK.
    Nothing,
}

impl Talk {
    fn offered(&self, offer: Option<&[u8]>) -> Result<Offered, sdp::SdpError> {
        let Some(offer) = offer else { return Ok(Offered::Nothing) };
        let (answer, params) = sdp::answer(self.address, self.session.id, self.session.version, &self.codecs, offer)?;
        Ok(Offered::Agreed { answer, params })
    }
}

struct Task {
    talk: Talk,
    call: CallHandle,
    offered: Offered,
    answer: InboundAnswer,
    recording: Option<RecordingId>,
}

/// How a stage of the leg ended.
enum Next {
    /// With the next stage.
    Go,
    /// With the call: its last event.
    Over(LegEvent),
}

impl Task {
    async fn run(mut self, mut events: mpsc::Receiver<Event>, taken: oneshot::Receiver<Taken>) {
        let last = match self.until_taken(&mut events, taken).await {
            Next::Over(last) => last,
            Next::Go => match self.until_answered(&mut events).await {
                Next::Over(last) => last,
                Next::Go => self.follow(events).await,
            },
        };
        self.talk.close(last).await;
    }

    /// Waits for the call's row. A caller that gives up meanwhile has a call that never was answered, if the row comes to
    /// stand all the same.
    async fn until_taken(&mut self, events: &mut mpsc::Receiver<Event>, taken: oneshot::Receiver<Taken>) -> Next {
        tokio::pin!(taken);
        loop {
            tokio::select! {
                told = &mut taken => return match told {
                    Ok(taken) => {
                        tracing::debug!(call.id = %taken.call_id, "an inbound leg was taken");
                        self.recording = taken.recording;
                        Next::Go
                    }
                    Err(_) => {
                        self.refuse(503, vec![("Retry-After".to_owned(), TRY_AGAIN.to_owned())]).await;
                        Next::Over(last_of(events).await)
                    }
                },
                event = events.recv() => {
                    if let Some(last) = self.before_the_answer(event) {
                        return Next::Over(last);
                    }
                }
            }
        }
    }

    /// Rings where the bot's settings say so, and answers when the call says so.
    async fn until_answered(&mut self, events: &mut mpsc::Receiver<Event>) -> Next {
        if self.answer == InboundAnswer::Ring
            && self.talk.signalling.act(self.call, Act::Ring { code: 180, sdp: None }).await.is_ok()
        {
            self.talk.line.tell(LegEvent::Ringing);
        }
        loop {
            tokio::select! {
                event = events.recv() => {
                    if let Some(last) = self.before_the_answer(event) {
                        return Next::Over(last);
                    }
                }
                command = self.talk.line.commands.recv() => match command {
                    Some(LegCommand::Answer) => {
                        if self.accept().await {
                            return Next::Go;
                        }
                    }
                    Some(LegCommand::HangUp) => self.refuse(UNAVAILABLE, Vec::new()).await,
                    Some(LegCommand::Transfer { .. }) => self.talk.line.tell(LegEvent::TransferRefused),
                    // A call task that is gone: its leg goes too.
                    None => {
                        self.refuse(UNAVAILABLE, Vec::new()).await;
                        return Next::Over(last_of(events).await);
                    }
                },
            }
        }
    }

    /// Answers; false when the caller was quicker to give up, which its last event tells.
    async fn accept(&mut self) -> bool {
        let sdp = match &self.offered {
            Offered::Agreed { answer, .. } => answer.clone(),
            Offered::Nothing => {
                let session = self.talk.session;
                sdp::offer(self.talk.address, session.id, session.version, &self.talk.codecs)
            }
        };
        if let Err(error) = self.talk.signalling.act(self.call, Act::Accept { sdp }).await {
            tracing::debug!(%error, "a call that came in could not be answered any more");
            return false;
        }
        if let Offered::Agreed { params, .. } = self.offered {
            self.talk.answered(&params, self.recording);
        }
        true
    }

    async fn refuse(&self, code: u16, headers: Vec<(String, String)>) {
        if let Err(error) = self.talk.signalling.act(self.call, Act::Reject { code, headers }).await {
            tracing::debug!(%error, "a call that came in is gone already");
        }
    }

    /// The last event, if it was that: before the answer there is no other.
    fn before_the_answer(&self, event: Option<Event>) -> Option<LegEvent> {
        match event {
            Some(Event::Cancelled { .. }) => Some(LegEvent::Failed(LegFailure::Cancelled)),
            // Our own refusal.
            Some(Event::Ended { by: EndedBy::Local, .. }) => {
                Some(LegEvent::Failed(LegFailure::Status { code: UNAVAILABLE, q850: None }))
            }
            Some(event) if event.is_terminal() => Some(LegEvent::Failed(LegFailure::Unreachable)),
            Some(_) => None,
            None => Some(LegEvent::Failed(LegFailure::Unreachable)),
        }
    }

    /// Passes events and commands until the call is over; answers the last event.
    async fn follow(&mut self, mut events: mpsc::Receiver<Event>) -> LegEvent {
        loop {
            tokio::select! {
                event = events.recv() => match event {
                    Some(Event::Confirmed { sdp, .. }) if matches!(self.offered, Offered::Nothing) => {
                        self.on_first_answer(sdp).await;
                    }
                    Some(event) => {
                        if let Some(last) = self.talk.on_event(self.call, event).await {
                            return last;
                        }
                    }
                    None => return LegEvent::Failed(LegFailure::Unreachable),
                },
                command = self.talk.line.commands.recv() => {
                    if !self.talk.obey(self.call, command).await {
                        return drain(events).await;
                    }
                }
            }
        }
    }

    /// The ACK of an INVITE without an offer: only now it is known where the caller takes its media.
    async fn on_first_answer(&mut self, answer: Option<Bytes>) {
        match answer.map(|answer| sdp::parse_answer(&self.talk.codecs, &answer).map(|params| (answer, params))) {
            Some(Ok((answer, params))) => {
                // From now on it is a call like any other; a later offer of ours is answered in the usual way.
                self.offered = Offered::Agreed { answer, params };
                self.talk.answered(&params, self.recording);
            }
            unusable => self.talk.unusable(self.call, unusable.and_then(Result::err)).await,
        }
    }
}

/// Waits for the end of a call that was refused.
async fn last_of(events: &mut mpsc::Receiver<Event>) -> LegEvent {
    while let Some(event) = events.recv().await {
        if event.is_terminal() {
            break;
        }
    }
    LegEvent::Failed(LegFailure::Cancelled)
}

#[cfg(test)]
#[path = "inbound_tests.rs"]
mod tests;
