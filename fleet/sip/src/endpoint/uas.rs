//! Their INVITEs (RFC 3261 §13.3): ringing, answer, refusal, challenge, the 2xx until its ACK.

use std::time::{Duration, Instant};

use bytes::Bytes;

use super::call::{Auth, Call, State, Uas, Unacknowledged};
use super::wire::{CallTimer, Owner};
use super::{CommandError, Endpoint, may_set};
use crate::dialog::Dialog;
use crate::digest::{Algorithm, Claim, claimed_username};
use crate::message::{Essentials, HeaderName, Message, NameAddr, SdpBody, accepts_sdp, sdp_body};
use crate::reply::{ALLOW, Request};
use crate::transaction::{T1, T1_TIMES_64, T2};
use crate::{AuthOutcome, CallHandle, EndedBy, Event, IncomingInvite, Party};

/// Proxies give up three minutes after the last provisional response (Timer C); RFC 3261 §13.3.1.1 repeats it each minute.
const KEEP_RINGING: Duration = Duration::from_secs(60);

impl Endpoint {
    /// Sends a 180 or 183 to an incoming call; SDP in it starts early media.
    ///
    /// # Errors
    /// [`CommandError`].
    pub fn ring(&mut self, now: Instant, call: CallHandle, code: u16, sdp: Option<Bytes>) -> Result<(), CommandError> {
        if !(180..=183).contains(&code) {
            return Err(CommandError::Code);
        }
        let user_agent = self.config.user_agent.clone();
        let ringing = self.live(call)?;
        let uas = ringing.uas.as_ref().ok_or(CommandError::InvalidState)?;
        let mut writer = uas.request.reply(code, &ringing.local_tag);
        writer.header("Contact", &ringing.contact).header("Server", user_agent);
        let transmit = uas.request.transmit(writer.finish_sdp(sdp.as_ref()));
        let tx = uas.tx;
        self.wire.respond(now, tx, code, transmit);
        self.wire.arm_call(call, CallTimer::KeepRinging, now + KEEP_RINGING);
        Ok(())
    }

    /// Answers an incoming call with a 200; the SDP is the answer, or the offer where the INVITE had none.
    ///
    /// # Errors
    /// [`CommandError`].
    pub fn accept(&mut self, now: Instant, call: CallHandle, sdp: Bytes) -> Result<(), CommandError> {
        let user_agent = self.config.user_agent.clone();
        let ringing = self.live(call)?;
        let uas = ringing.uas.take().ok_or(CommandError::InvalidState)?;
        ringing.state = State::Established;
        let mut writer = uas.request.reply(200, &ringing.local_tag);
        writer.header("Contact", &ringing.contact).header("Allow", ALLOW).header("Server", user_agent);
        let transmit = uas.request.transmit(writer.finish_sdp(Some(&sdp)));
        ringing.unacknowledged = Some(Unacknowledged {
            transmit: transmit.clone(),
            cseq: uas.request.essentials.cseq,
            interval: T1,
            reinvite: false,
            offerless: uas.offerless,
        });
        self.wire.disarm_call(call, CallTimer::KeepRinging);
        self.wire.respond(now, uas.tx, 200, transmit);
        self.await_ack(now, call);
        Ok(())
    }

    /// Refuses an incoming call; `Ended { by: Local }` follows.
    ///
    /// # Errors
    /// [`CommandError`].
    pub fn reject(
        &mut self,
        now: Instant,
        call: CallHandle,
        code: u16,
        headers: Vec<(String, String)>,
    ) -> Result<(), CommandError> {
        if !(300..700).contains(&code) {
            return Err(CommandError::Code);
        }
        let settable = |(name, value): &(String, String)| {
            // A 3xx says where else to try.
            may_set(name, value) || (code < 400 && HeaderName::parse(name) == HeaderName::Contact)
        };
        if !headers.iter().all(settable) {
            return Err(CommandError::Header);
        }
        self.refuse(now, call, code, &headers)
    }

    /// Challenges an incoming call with a 401 and ends its handle (`Ended { by: Local }`): the caller's next INVITE is
    /// a new call. Of several `algorithms` it is offered a challenge each, in this order (RFC 8760 §2.3: of preference).
    ///
    /// # Errors
    /// [`CommandError`].
    pub fn challenge(
        &mut self,
        now: Instant,
        call: CallHandle,
        realm: &str,
        algorithms: &[Algorithm],
    ) -> Result<(), CommandError> {
        let ringing = self.live(call)?;
        let uas = ringing.uas.as_ref().ok_or(CommandError::InvalidState)?;
        // Whoever comes with credentials that need only a fresh nonce is told so.
        let stale = uas.stale;
        self.nonces.expire(now);
        let challenges: Vec<(String, String)> = algorithms
            .iter()
            .map(|algorithm| ("WWW-Authenticate".to_owned(), self.nonces.challenge(now, realm, *algorithm, stale)))
            .collect();
        self.refuse(now, call, 401, &challenges)
    }

    /// Checks the credentials of an incoming call; it changes the endpoint because each nonce count is good only once.
    ///
    /// # Errors
    /// [`CommandError`].
    pub fn verify(
        &mut self,
        now: Instant,
        call: CallHandle,
        username: &str,
        password: &str,
    ) -> Result<AuthOutcome, CommandError> {
        let ringing =
            self.calls.get_mut(&call).filter(|call| call.state != State::Over).ok_or(CommandError::UnknownCall)?;
        let uas = ringing.uas.as_mut().ok_or(CommandError::InvalidState)?;
        let message = &uas.request.message;
        let mut outcome = AuthOutcome::Missing;
        for authorization in message.headers.all(&HeaderName::Authorization) {
            outcome = self
                .nonces
                .check(now, &Claim { authorization, method: "INVITE", body: &message.body, username, password });
            if outcome != AuthOutcome::Missing {
                break;
            }
        }
        uas.stale = outcome == AuthOutcome::Stale;
        Ok(outcome)
    }

    /// An INVITE that starts a call.
    pub(super) fn on_incoming(&mut self, now: Instant, request: Request) {
        let message = &request.message;
        if self.wire.is_merged(&request.essentials) {
            return self.refuse_statelessly(&request, 482, &[]);
        }
        if !accepts_sdp(&message.headers) {
            return self.refuse_statelessly(&request, 406, &[]);
        }
        let sdp = match sdp_body(message) {
            SdpBody::Sdp(sdp) => Some(sdp),
            SdpBody::None => None,
            SdpBody::Other if is_optional(message) => None,
            SdpBody::Other => {
                return self.refuse_statelessly(&request, 415, &[("Accept", "application/sdp".to_owned())]);
            }
        };
        let local_tag = self.tokens.tag();
        let Some(dialog) = Dialog::uas(&request, &local_tag) else {
            return self.refuse_statelessly(&request, 400, &[]);
        };
        if !self.has_room() {
            self.wire.stats.refused += 1;
            return self.refuse_statelessly(&request, 503, &[("Retry-After", "5".to_owned())]);
        }
        let incoming = incoming(&request, sdp);
        let call = self.add_call(Call {
            state: State::Ringing,
            call_id: request.essentials.call_id.clone(),
            local_tag,
            contact: self.contact_for(request.uri()),
            dialog: Some(dialog),
            uac: None,
            uas: None,
            unacknowledged: None,
            reinvite: None,
            auth: Auth::default(),
            hang_up: None,
        });
        let tx = self.wire.serve(&request, Owner::Incoming(call));
        let trying = request.transmit(request.reply(100, "").finish());
        self.wire.respond(now, tx, 100, trying);
        if let Some(ringing) = self.calls.get_mut(&call) {
            ringing.uas = Some(Uas { offerless: incoming.sdp.is_none(), request, tx, stale: false });
        }
        let request = Box::new(incoming);
        self.events.push_back(Event::Incoming { call, request });
    }

    /// Answers an incoming call with a failure and ends it.
    pub(super) fn refuse(
        &mut self,
        now: Instant,
        handle: CallHandle,
        code: u16,
        headers: &[(String, String)],
    ) -> Result<(), CommandError> {
        self.terminate_invite(now, handle, code, headers)?;
        let (call, by, reason) = (handle, EndedBy::Local, None);
        self.finish(now, handle, Event::Ended { call, by, reason });
        self.count();
        Ok(())
    }

    /// The caller gave up: its INVITE gets a 487.
    pub(super) fn on_cancelled(&mut self, now: Instant, handle: CallHandle) {
        if self.terminate_invite(now, handle, 487, &[]).is_ok() {
            self.finish(now, handle, Event::Cancelled { call: handle });
        }
    }

    fn terminate_invite(
        &mut self,
        now: Instant,
        handle: CallHandle,
        code: u16,
        headers: &[(String, String)],
    ) -> Result<(), CommandError> {
        let user_agent = self.config.user_agent.clone();
        let call = self.live(handle)?;
        let uas = call.uas.take().ok_or(CommandError::InvalidState)?;
        let mut writer = uas.request.reply(code, &call.local_tag);
        writer.header("Server", user_agent);
        for (name, value) in headers {
            writer.header(name, value);
        }
        let transmit = uas.request.transmit(writer.finish());
        self.wire.respond(now, uas.tx, code, transmit);
        Ok(())
    }

    /// Arms the timers of a 2xx that was just sent.
    pub(super) fn await_ack(&mut self, now: Instant, handle: CallHandle) {
        self.wire.arm_call(handle, CallTimer::Repeat2xx, now + T1);
        self.wire.arm_call(handle, CallTimer::NoAck, now + T1_TIMES_64);
        self.count();
    }

    pub(super) fn repeat_2xx(&mut self, now: Instant, handle: CallHandle) {
        let Some(waiting) = self.calls.get_mut(&handle).and_then(|call| call.unacknowledged.as_mut()) else {
            return;
        };
        waiting.interval = (waiting.interval * 2).min(T2);
        let next = now + waiting.interval;
        let transmit = waiting.transmit.clone();
        self.wire.resend(transmit);
        self.wire.arm_call(handle, CallTimer::Repeat2xx, next);
    }

    /// The ACK of our 2xx.
    pub(super) fn on_ack_of_2xx(
        &mut self,
        now: Instant,
        handle: CallHandle,
        message: &Message,
        essentials: &Essentials,
    ) -> bool {
        let Some(call) = self.calls.get_mut(&handle) else {
            return false;
        };
        if !call.knows(&essentials.call_id, essentials.from_tag.as_deref()) {
            return false;
        }
        let Some(waiting) = call.unacknowledged.take_if(|waiting| waiting.cseq == essentials.cseq) else {
            // The ACK of a repeated 2xx.
            return call.uac.is_none() || call.state == State::Established;
        };
        let hang_up = call.hang_up.take();
        self.wire.disarm_call(handle, CallTimer::Repeat2xx);
        self.wire.disarm_call(handle, CallTimer::NoAck);
        let sdp = match sdp_body(message) {
            SdpBody::Sdp(sdp) if waiting.offerless => Some(sdp),
            SdpBody::Sdp(_) | SdpBody::None | SdpBody::Other => None,
        };
        if let Some(hang_up) = hang_up {
            self.send_bye(now, handle, hang_up.reason);
        } else if !waiting.reinvite || sdp.is_some() {
            self.events.push_back(Event::Confirmed { call: handle, sdp });
        }
        true
    }

    /// Nobody acknowledged our 2xx: the session is ended (§13.3.1.4).
    pub(super) fn on_no_ack(&mut self, now: Instant, handle: CallHandle) {
        let Some(call) = self.calls.get_mut(&handle) else {
            return;
        };
        if call.unacknowledged.take().is_none() {
            return;
        }
        if let Some(dialog) = call.dialog.take() {
            self.end_dialog(now, handle, dialog, None);
        }
        let (call, by, reason) = (handle, EndedBy::Timeout, None);
        self.finish(now, handle, Event::Ended { call, by, reason });
    }

    pub(super) fn keep_ringing(&mut self, now: Instant, handle: CallHandle) {
        if let Some(uas) = self.calls.get(&handle).and_then(|call| call.uas.as_ref()) {
            let tx = uas.tx;
            self.wire.repeat(tx);
            self.wire.arm_call(handle, CallTimer::KeepRinging, now + KEEP_RINGING);
        }
    }
}

/// A body that its sender lets us ignore (RFC 3261 §20.11).
fn is_optional(message: &Message) -> bool {
    message
        .header(&HeaderName::ContentDisposition)
        .and_then(|value| crate::message::param(value, "handling"))
        .is_some_and(|handling| handling.eq_ignore_ascii_case("optional"))
}

fn incoming(request: &Request, sdp: Option<Bytes>) -> IncomingInvite {
    let message = &request.message;
    IncomingInvite {
        source: request.source,
        request_uri: request.uri().to_owned(),
        from: party(message, &HeaderName::From),
        to: party(message, &HeaderName::To),
        call_id: request.essentials.call_id.to_string(),
        claims: message.header(&HeaderName::Authorization).and_then(|value| claimed_username(value)),
        headers: message.headers.for_owner(),
        sdp,
    }
}

fn party(message: &Message, name: &HeaderName) -> Party {
    let text = message.header(name).map(|text| text.as_str()).unwrap_or_default();
    match NameAddr::parse(text) {
        Ok(address) => Party { uri: address.uri.text.to_owned(), display: address.display_name() },
        Err(_) => Party { uri: text.to_owned(), display: None },
    }
}
