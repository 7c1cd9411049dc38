//! Requests inside a dialog (RFC 3261 §12.2, §14, §15), ours and theirs.

use std::time::Instant;

use bytes::Bytes;

use super::call::{Call, HangUp, Reinvite, State, Unacknowledged};
use super::wire::{Owner, TxId};
use super::{CommandError, Endpoint};
use crate::dialog::Dialog;
use crate::message::{
    HeaderName, Message, Method, SdpBody, StartLine, dtmf_body, dtmf_relay, parse, reason, reason_value, sdp_body,
    via_of_ours,
};
use crate::reply::{ALLOW, Request};
use crate::transaction::T1;
use crate::{CallHandle, EndedBy, Event, Limits, Reason};

/// A request of ours in a dialog.
struct Outgoing<'a> {
    method: &'a str,
    reason: Option<String>,
    body: Option<(&'a str, &'a [u8])>,
    owner: Owner,
}

impl Endpoint {
    /// Ends the call: a 480 or a CANCEL before the answer (the CANCEL waits for a provisional response), a BYE after.
    /// A call that is already being ended stays so.
    ///
    /// # Errors
    /// [`CommandError::UnknownCall`].
    pub fn hang_up(&mut self, now: Instant, call: CallHandle, reason: Option<Reason>) -> Result<(), CommandError> {
        let ending = self.live(call)?;
        match ending.state {
            State::Inviting => {
                if ending.hang_up.is_none() {
                    ending.hang_up = Some(HangUp { reason });
                    self.send_cancel(now, call);
                }
            }
            State::Ringing => {
                let header = reason.as_ref().and_then(reason_value);
                let headers: Vec<_> = header.map(|value| ("Reason".to_owned(), value)).into_iter().collect();
                self.refuse(now, call, 480, &headers)?;
            }
            State::Established if ending.unacknowledged.as_ref().is_some_and(|waiting| !waiting.reinvite) => {
                // The callee must not send BYE before the ACK (§15).
                ending.hang_up.get_or_insert(HangUp { reason });
            }
            State::Established => self.send_bye(now, call, reason),
            State::Ending | State::Over => {}
        }
        self.count();
        Ok(())
    }

    /// Answers a re-INVITE with a 200; the SDP is the answer, or the offer where the re-INVITE had none.
    ///
    /// # Errors
    /// [`CommandError::InvalidState`] also when the peer has withdrawn it.
    pub fn answer_reinvite(&mut self, now: Instant, call: CallHandle, sdp: Bytes) -> Result<(), CommandError> {
        let user_agent = self.config.user_agent.clone();
        let session = self.live(call)?;
        let reinvite = session.reinvite.take().ok_or(CommandError::InvalidState)?;
        let mut writer = reinvite.request.reply(200, "");
        writer.header("Contact", &session.contact).header("Allow", ALLOW).header("Server", user_agent);
        let transmit = reinvite.request.transmit(writer.finish_sdp(Some(&sdp)));
        if let Some(dialog) = &mut session.dialog {
            dialog.refresh(&reinvite.request.message);
        }
        session.unacknowledged = Some(Unacknowledged {
            transmit: transmit.clone(),
            cseq: reinvite.request.essentials.cseq,
            interval: T1,
            reinvite: true,
            offerless: reinvite.offerless,
        });
        self.wire.respond(now, reinvite.tx, 200, transmit);
        self.await_ack(now, call);
        Ok(())
    }

    /// Refuses a re-INVITE, usually by 488; the session stays as it was.
    ///
    /// # Errors
    /// [`CommandError`].
    pub fn reject_reinvite(&mut self, now: Instant, call: CallHandle, code: u16) -> Result<(), CommandError> {
        if !(400..700).contains(&code) {
            return Err(CommandError::Code);
        }
        let session = self.live(call)?;
        let reinvite = session.reinvite.take().ok_or(CommandError::InvalidState)?;
        let bytes = reinvite.request.reply(code, "").finish();
        self.wire.respond(now, reinvite.tx, code, reinvite.request.transmit(bytes));
        Ok(())
    }

    /// Sends a digit by SIP INFO (`application/dtmf-relay`).
    ///
    /// # Errors
    /// [`CommandError`].
    pub fn info_dtmf(
        &mut self,
        now: Instant,
        call: CallHandle,
        digit: char,
        duration_ms: u32,
    ) -> Result<(), CommandError> {
        let body = dtmf_relay(digit, duration_ms).ok_or(CommandError::Digit)?;
        let session = self.live(call)?;
        if session.state != State::Established {
            return Err(CommandError::InvalidState);
        }
        session.auth.begin();
        let request = Outgoing {
            method: "INFO",
            reason: None,
            body: Some(("application/dtmf-relay", body.as_bytes())),
            owner: Owner::Info(call),
        };
        self.send_in_dialog(now, call, &request);
        self.count();
        Ok(())
    }

    pub(super) fn send_bye(&mut self, now: Instant, handle: CallHandle, reason: Option<Reason>) {
        if let Some(call) = self.calls.get_mut(&handle) {
            call.state = State::Ending;
            call.auth.begin();
        }
        let request = Outgoing {
            method: "BYE",
            reason: reason.as_ref().and_then(reason_value),
            body: None,
            owner: Owner::Bye(handle),
        };
        self.send_in_dialog(now, handle, &request);
    }

    fn send_in_dialog(&mut self, now: Instant, handle: CallHandle, request: &Outgoing<'_>) {
        let Some(mut dialog) = self.calls.get_mut(&handle).and_then(|call| call.dialog.take()) else {
            return;
        };
        self.send_by(now, handle, &mut dialog, request);
        if let Some(call) = self.calls.get_mut(&handle) {
            call.dialog = Some(dialog);
        }
    }

    /// Ends a dialog that is no longer, or never was, the call's own.
    pub(super) fn end_dialog(&mut self, now: Instant, handle: CallHandle, mut dialog: Dialog, reason: Option<&Reason>) {
        let request =
            Outgoing { method: "BYE", reason: reason.and_then(reason_value), body: None, owner: Owner::Nobody };
        self.send_by(now, handle, &mut dialog, &request);
    }

    fn send_by(&mut self, now: Instant, handle: CallHandle, dialog: &mut Dialog, request: &Outgoing<'_>) {
        let branch = self.tokens.branch();
        let via = via_of_ours(dialog.transport().via_name(), self.advertised(), &branch);
        let cseq = dialog.next_seq();
        let routing = dialog.routing();
        let mut writer = dialog.request(request.method, cseq, &via, &routing);
        if let Some(call) = self.calls.get_mut(&handle) {
            let body = request.body.map(|(_, body)| body).unwrap_or_default();
            for (name, value) in call.auth.headers(request.method, &routing.request_uri, body) {
                writer.header(name, value);
            }
        }
        if let Some(reason) = &request.reason {
            writer.header("Reason", reason);
        }
        writer.header("User-Agent", &self.config.user_agent);
        let bytes = match request.body {
            Some((content_type, body)) => writer.finish_with(content_type, body),
            None => writer.finish(),
        };
        let transmit = dialog.transmit(&routing, bytes);
        self.wire.request(now, request.method, &branch, transmit, request.owner);
    }

    /// The response to a BYE or an INFO of ours.
    pub(super) fn on_in_dialog_response(
        &mut self,
        now: Instant,
        handle: CallHandle,
        id: TxId,
        owner: Owner,
        message: &Message,
    ) {
        let StartLine::Response { code: code @ 200.., .. } = message.start else {
            return;
        };
        if matches!(code, 401 | 407) && self.answer_challenge(now, handle, id, owner, message) {
            return;
        }
        match owner {
            Owner::Bye(call) => {
                let (by, reason) = (EndedBy::Local, None);
                self.finish(now, call, Event::Ended { call, by, reason });
            }
            // The peer knows nothing of the dialog: it is over (§12.2.1.2).
            Owner::Info(call) if code == 481 => {
                let (by, reason) = (EndedBy::Remote, reason(&message.headers));
                self.finish(now, call, Event::Ended { call, by, reason });
            }
            Owner::Info(_) | Owner::Invite(_) | Owner::Incoming(_) | Owner::Reinvite(_) | Owner::Nobody => {}
        }
    }

    /// Sends a challenged request again; false if the challenge can't be answered.
    fn answer_challenge(
        &mut self,
        now: Instant,
        handle: CallHandle,
        id: TxId,
        owner: Owner,
        response: &Message,
    ) -> bool {
        let unlimited = Limits { max_header: usize::MAX, ..Limits::default() };
        let Some(sent) = self.wire.latest(id).and_then(|sent| parse(&sent.bytes, &unlimited).ok()) else {
            return false;
        };
        let Some(call) = self.calls.get_mut(&handle).filter(|call| call.state != State::Over) else {
            return false;
        };
        if !call.auth.take_up(response, &mut self.tokens) {
            return false;
        }
        let content_type = sent.header(&HeaderName::ContentType);
        let request = Outgoing {
            method: sent.method().map_or("BYE", Method::as_str),
            reason: sent.header(&HeaderName::Reason).map(|reason| reason.to_string()),
            body: content_type.map(|kind| (kind.as_str(), &sent.body[..])),
            owner,
        };
        self.send_in_dialog(now, handle, &request);
        true
    }

    /// A request of the peer in a dialog that we know.
    pub(super) fn on_in_dialog(&mut self, now: Instant, handle: CallHandle, request: Request) {
        let Some(call) = self.calls.get_mut(&handle) else {
            return;
        };
        let remote_tag = request.essentials.from_tag.as_deref();
        let own = call.dialog.as_ref().is_some_and(|dialog| dialog.remote_tag.as_deref() == remote_tag);
        if own
            && let Some(dialog) = &mut call.dialog
            && !dialog.take_seq(request.essentials.cseq)
        {
            return self.refuse_statelessly(&request, 500, &[]);
        }
        let early = call.state == State::Inviting;
        let method = request.essentials.method.clone();
        match method {
            Method::Invite if own && call.state == State::Established => self.on_reinvite(now, handle, request),
            Method::Bye if own => self.on_bye(now, handle, &request),
            // The end of a fork that we were ending ourselves.
            Method::Bye if !early => self.respond_in_dialog(now, &request, 200, &[]),
            Method::Info if own => self.on_info(now, handle, &request),
            Method::Options => {
                let headers = [("Allow", ALLOW.to_owned()), ("Accept", "application/sdp".to_owned())];
                self.respond_in_dialog(now, &request, 200, &headers);
            }
            Method::Invite | Method::Bye | Method::Info => self.respond_in_dialog(now, &request, 481, &[]),
            Method::Other(_) => self.respond_in_dialog(now, &request, 501, &[]),
            _ => self.respond_in_dialog(now, &request, 405, &[("Allow", ALLOW.to_owned())]),
        }
    }

    fn on_bye(&mut self, now: Instant, handle: CallHandle, request: &Request) {
        self.respond_in_dialog(now, request, 200, &[]);
        let Some(call) = self.calls.get(&handle) else {
            return;
        };
        let reason = reason(&request.message.headers);
        match call.state {
            // A caller may end an early dialog by BYE (§15).
            State::Ringing => self.on_cancelled(now, handle),
            State::Established => {
                let (call, by) = (handle, EndedBy::Remote);
                self.finish(now, handle, Event::Ended { call, by, reason });
            }
            State::Ending => {
                // The BYEs crossed.
                let (call, by) = (handle, EndedBy::Local);
                self.finish(now, handle, Event::Ended { call, by, reason });
            }
            State::Inviting | State::Over => {}
        }
    }

    fn on_info(&mut self, now: Instant, handle: CallHandle, request: &Request) {
        self.respond_in_dialog(now, request, 200, &[]);
        let talking =
            self.calls.get(&handle).is_some_and(|call| matches!(call.state, State::Established | State::Ringing));
        if talking && let Some((digit, duration_ms)) = dtmf_body(&request.message) {
            self.events.push_back(Event::Dtmf { call: handle, digit, duration_ms });
        }
    }

    fn on_reinvite(&mut self, now: Instant, handle: CallHandle, request: Request) {
        let busy = |call: &Call| call.reinvite.is_some() || call.unacknowledged.is_some();
        if self.calls.get(&handle).is_none_or(busy) {
            // One offer at a time (§14.2).
            let wait = self.tokens.retry_after().to_string();
            return self.respond_in_dialog(now, &request, 500, &[("Retry-After", wait)]);
        }
        let sdp = match sdp_body(&request.message) {
            SdpBody::Sdp(sdp) => Some(sdp),
            SdpBody::None => None,
            SdpBody::Other => {
                return self.respond_in_dialog(now, &request, 415, &[("Accept", "application/sdp".to_owned())]);
            }
        };
        if !self.wire.has_room() {
            self.wire.stats.refused += 1;
            return self.refuse_statelessly(&request, 503, &[]);
        }
        let tx = self.wire.serve(&request, Owner::Reinvite(handle));
        let trying = request.transmit(request.reply(100, "").finish());
        self.wire.respond(now, tx, 100, trying);
        if let Some(call) = self.calls.get_mut(&handle) {
            call.reinvite = Some(Reinvite { request, tx, offerless: sdp.is_none() });
            self.events.push_back(Event::Reinvite { call: handle, sdp });
        }
    }

    /// The peer withdrew its re-INVITE.
    pub(super) fn on_reinvite_cancelled(&mut self, now: Instant, handle: CallHandle) {
        if let Some(reinvite) = self.calls.get_mut(&handle).and_then(|call| call.reinvite.take()) {
            let bytes = reinvite.request.reply(487, "").finish();
            self.wire.respond(now, reinvite.tx, 487, reinvite.request.transmit(bytes));
        }
    }

    /// Answers in a transaction of its own, so that a repeated request is not taken for a new one.
    fn respond_in_dialog(&mut self, now: Instant, request: &Request, code: u16, headers: &[(&str, String)]) {
        if !self.wire.has_room() {
            self.wire.stats.refused += 1;
            return self.refuse_statelessly(request, code, headers);
        }
        let tx = self.wire.serve(request, Owner::Nobody);
        let bytes = self.simple_reply(request, code, headers);
        self.wire.respond(now, tx, code, request.transmit(bytes));
    }
}
