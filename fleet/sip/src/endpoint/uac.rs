//! Our INVITEs (RFC 3261 §13.2): provisional responses, forks, challenges, CANCEL and its glare.

use std::time::Instant;

use super::call::{Auth, Call, Fork, HangUp, Progress, State, Uac};
use super::wire::{CallTimer, Owner, TxId};
use super::{Endpoint, InviteError, may_set};
use crate::dialog::{Dialog, Outgoing, Path};
use crate::message::{
    Essentials, HeaderName, Message, MessageWriter, Scheme, SdpBody, StartLine, Text, Uri, quote, reason, reason_value,
    retry_after, sdp_body, via_of_ours,
};
use crate::transaction::T1_TIMES_64;
use crate::{AnswerFault, CallHandle, Event, Failure, InviteRequest, Transmit, Transport};

impl Endpoint {
    /// Starts a call.
    ///
    /// # Errors
    /// [`InviteError`]; no handle exists then and no event follows.
    pub fn invite(&mut self, now: Instant, request: InviteRequest) -> Result<CallHandle, InviteError> {
        check(&request)?;
        if !self.has_room() {
            return Err(InviteError::TooManyCalls);
        }
        let local_tag = self.tokens.tag();
        let display = match request.from_display.as_deref() {
            Some(name) => format!("{} ", quote(name)),
            None => String::new(),
        };
        let call = Call {
            state: State::Inviting,
            call_id: request.call_id.map_or_else(|| self.tokens.call_id(), Text::from),
            contact: self.contact_for(&request.from_uri),
            dialog: None,
            uac: Some(Uac {
                target: request.target,
                from: format!("{display}<{}>;tag={local_tag}", request.from_uri),
                to: format!("<{}>", request.to_uri),
                headers: request.headers,
                sdp: request.sdp,
                cseq: 0,
                path: Path { transport: Transport::Udp, local: self.config.local, next_hop: request.remote },
                tx: None,
                progress: Progress::Silent,
                early_sdp: None,
                sent_auth: Vec::new(),
                forks: Vec::new(),
            }),
            uas: None,
            unacknowledged: None,
            reinvite: None,
            auth: Auth { credentials: request.credentials, ..Auth::default() },
            hang_up: None,
            local_tag,
        };
        let handle = self.add_call(call);
        self.send_invite(now, handle);
        self.count();
        Ok(handle)
    }

    fn send_invite(&mut self, now: Instant, handle: CallHandle) {
        let branch = self.tokens.branch();
        let advertised = self.advertised();
        let Some(call) = self.calls.get_mut(&handle) else {
            return;
        };
        let Some(uac) = &mut call.uac else {
            return;
        };
        uac.cseq += 1;
        uac.progress = Progress::Silent;
        uac.sent_auth = call.auth.headers("INVITE", &uac.target, &uac.sdp);
        let via = via_of_ours(uac.path.transport.via_name(), advertised, &branch);
        let mut writer = MessageWriter::request("INVITE", &uac.target);
        writer
            .header("Via", via)
            .header("Max-Forwards", 70)
            .header("From", &uac.from)
            .header("To", &uac.to)
            .header("Call-ID", &call.call_id)
            .header("CSeq", format_args!("{} INVITE", uac.cseq))
            .header("Contact", &call.contact);
        for (name, value) in &uac.sent_auth {
            writer.header(name, value);
        }
        writer
            .header("Allow", crate::reply::ALLOW)
            .header("Accept", "application/sdp")
            .header("User-Agent", &self.config.user_agent);
        for (name, value) in &uac.headers {
            writer.header(name, value);
        }
        let bytes = writer.finish_with("application/sdp", &uac.sdp);
        let transmit =
            Transmit { transport: uac.path.transport, local: uac.path.local, remote: uac.path.next_hop, bytes };
        uac.tx = Some(self.wire.request(now, "INVITE", &branch, transmit, Owner::Invite(handle)));
    }

    /// A response that the transaction of our INVITE let through.
    pub(super) fn on_invite_response(
        &mut self,
        now: Instant,
        handle: CallHandle,
        id: TxId,
        message: &Message,
        essentials: &Essentials,
    ) {
        let StartLine::Response { code, phrase } = &message.start else {
            return;
        };
        let Some(call) = self.calls.get(&handle) else {
            return;
        };
        // What an INVITE before a challenge still says is of no interest.
        if call.uac.as_ref().and_then(|uac| uac.tx) != Some(id) {
            return;
        }
        match code {
            100..200 => self.on_progress(now, handle, *code, message),
            200..300 => self.on_success(now, handle, message, essentials),
            401 | 407 => self.on_challenge(now, handle, id, message),
            _ => {
                let cause = match code {
                    487 if call.hang_up.is_some() => Failure::Cancelled,
                    _ => Failure::Status {
                        code: *code,
                        phrase: phrase.to_string(),
                        reason: reason(&message.headers),
                        retry_after: retry_after(&message.headers),
                    },
                };
                self.on_invite_failed(now, handle, id, cause);
            }
        }
    }

    fn on_progress(&mut self, now: Instant, handle: CallHandle, code: u16, message: &Message) {
        let Some(call) = self.calls.get_mut(&handle).filter(|call| call.state == State::Inviting) else {
            return;
        };
        let Some(uac) = &mut call.uac else {
            return;
        };
        if uac.progress == Progress::Silent {
            uac.progress = Progress::Provisional;
        }
        if call.hang_up.is_some() {
            self.send_cancel(now, handle);
            return;
        }
        let sdp = match sdp_body(message) {
            SdpBody::Sdp(sdp) => Some(sdp),
            SdpBody::None | SdpBody::Other => None,
        };
        if code > 100 {
            uac.early_sdp = sdp.clone().or(uac.early_sdp.take());
            let call = handle;
            self.events.push_back(Event::Provisional { call, code, sdp });
        }
    }

    fn on_success(&mut self, now: Instant, handle: CallHandle, message: &Message, essentials: &Essentials) {
        let remote_tag = essentials.to_tag.clone();
        let Some(call) = self.calls.get(&handle) else {
            return;
        };
        let Some(uac) = &call.uac else {
            return;
        };
        if let Some(fork) = uac.forks.iter().find(|fork| fork.remote_tag == remote_tag) {
            // The 2xx came again: so did our ACK not (§13.2.2.4).
            let ack = fork.ack.clone();
            self.wire.resend(ack);
            return;
        }
        let outgoing =
            Outgoing { call_id: &call.call_id, local: &uac.from, target: &uac.target, cseq: uac.cseq, path: uac.path };
        let mut dialog = Dialog::uac(&outgoing, message, remote_tag.clone());
        let fault = match &dialog {
            None => Some(AnswerFault::NoDialog),
            Some(_) => answer_fault(message, uac.early_sdp.is_some()),
        };
        if dialog.is_none() {
            // Without a usable Contact the target of the INVITE is the best guess for ACK and BYE.
            let mut plain = message.clone();
            plain.headers.remove(&HeaderName::Contact);
            dialog = Dialog::uac(&outgoing, &plain, remote_tag.clone());
        }
        let Some(dialog) = dialog else {
            return;
        };
        self.acknowledge(handle, &dialog, remote_tag);
        self.on_acknowledged(now, handle, dialog, message, fault);
    }

    /// Sends the ACK of a 2xx and keeps it for repetitions.
    fn acknowledge(&mut self, handle: CallHandle, dialog: &Dialog, remote_tag: Option<Text>) {
        let branch = self.tokens.branch();
        let via = via_of_ours(dialog.transport().via_name(), self.advertised(), &branch);
        let Some(uac) = self.calls.get_mut(&handle).and_then(|call| call.uac.as_mut()) else {
            return;
        };
        let routing = dialog.routing();
        let mut writer = dialog.request("ACK", uac.cseq, &via, &routing);
        for (name, value) in &uac.sent_auth {
            writer.header(name, value);
        }
        let ack = dialog.transmit(&routing, writer.header("User-Agent", &self.config.user_agent).finish());
        self.wire.send(ack.clone());
        uac.forks.push(Fork { remote_tag, ack });
    }

    fn on_acknowledged(
        &mut self,
        now: Instant,
        handle: CallHandle,
        dialog: Dialog,
        message: &Message,
        fault: Option<AnswerFault>,
    ) {
        let Some(call) = self.calls.get_mut(&handle) else {
            return;
        };
        if call.state != State::Inviting {
            // Another fork answered before: this one is acknowledged and ended (§13.2.2.4).
            self.end_dialog(now, handle, dialog, None);
            return;
        }
        if let Some(HangUp { reason }) = call.hang_up.take() {
            // The answer crossed our CANCEL, or came before we could send one.
            self.end_dialog(now, handle, dialog, reason.as_ref());
            let cause = Failure::Cancelled;
            self.finish(now, handle, Event::Failed { call: handle, cause });
            return;
        }
        if let Some(fault) = fault {
            self.end_dialog(now, handle, dialog, None);
            let cause = Failure::BadAnswer(fault);
            self.finish(now, handle, Event::Failed { call: handle, cause });
            return;
        }
        call.state = State::Established;
        call.dialog = Some(dialog);
        call.auth.begin();
        let early = call.uac.as_mut().and_then(|uac| uac.early_sdp.take());
        let sdp = match sdp_body(message) {
            SdpBody::Sdp(sdp) => Some(sdp),
            SdpBody::None | SdpBody::Other => early,
        };
        self.events.push_back(Event::Answered { call: handle, sdp, headers: message.headers.for_owner() });
    }

    fn on_challenge(&mut self, now: Instant, handle: CallHandle, id: TxId, message: &Message) {
        let Some(call) = self.calls.get_mut(&handle) else {
            return;
        };
        if call.hang_up.is_some() {
            self.on_invite_failed(now, handle, id, Failure::Cancelled);
        } else if call.auth.take_up(message, &mut self.tokens) && self.wire.has_room() {
            self.send_invite(now, handle);
        } else {
            self.on_invite_failed(now, handle, id, Failure::AuthRejected);
        }
    }

    /// Our INVITE came to nothing.
    pub(super) fn on_invite_failed(&mut self, now: Instant, handle: CallHandle, id: TxId, cause: Failure) {
        let current = self
            .calls
            .get(&handle)
            .is_some_and(|call| call.state == State::Inviting && call.uac.as_ref().and_then(|uac| uac.tx) == Some(id));
        if current {
            self.finish(now, handle, Event::Failed { call: handle, cause });
        }
    }

    /// Cancels the INVITE now if it may be, else as soon as it may be.
    pub(super) fn send_cancel(&mut self, now: Instant, handle: CallHandle) {
        let Some(call) = self.calls.get_mut(&handle) else {
            return;
        };
        let Some(uac) = &mut call.uac else {
            return;
        };
        let (Progress::Provisional, Some(tx)) = (uac.progress, uac.tx) else {
            return;
        };
        uac.progress = Progress::Cancelled;
        let reason = call.hang_up.as_ref().and_then(|wanted| wanted.reason.as_ref()).and_then(reason_value);
        self.wire.cancel(now, tx, reason.as_deref());
        self.wire.arm_call(handle, CallTimer::CancelLimit, now + T1_TIMES_64);
    }

    pub(super) fn on_cancel_limit(&mut self, now: Instant, handle: CallHandle) {
        if let Some(tx) = self.calls.get_mut(&handle).and_then(|call| call.uac.as_mut()?.tx.take()) {
            self.wire.remove(tx);
        }
        let cause = Failure::Cancelled;
        self.finish(now, handle, Event::Failed { call: handle, cause });
    }
}

fn answer_fault(message: &Message, had_early_sdp: bool) -> Option<AnswerFault> {
    match sdp_body(message) {
        SdpBody::Sdp(_) => None,
        SdpBody::Other => Some(AnswerFault::ContentType),
        SdpBody::None => (!had_early_sdp).then_some(AnswerFault::NoSdp),
    }
}

fn check(request: &InviteRequest) -> Result<(), InviteError> {
    let target = Uri::parse(&request.target).map_err(|_| InviteError::Target)?;
    // A SIPS URI must travel over TLS on every hop (§26.2.2).
    if target.scheme != Scheme::Sip || target.headers.is_some() {
        return Err(InviteError::Target);
    }
    Uri::parse(&request.from_uri).map_err(|_| InviteError::From)?;
    Uri::parse(&request.to_uri).map_err(|_| InviteError::To)?;
    if let Some(id) = &request.call_id
        && (id.is_empty() || id.len() > 255 || !id.bytes().all(|byte| byte.is_ascii_graphic() && byte != b','))
    {
        return Err(InviteError::CallId);
    }
    match request.headers.iter().find(|(name, value)| !may_set(name, value)) {
        Some((name, _)) => Err(InviteError::Header(name.clone())),
        None => Ok(()),
    }
}
