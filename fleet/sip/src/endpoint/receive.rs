//! What comes in, sorted: keep-alives, responses, ACK, CANCEL, requests in and out of dialogs (RFC 3261 §8.2).

use std::time::Instant;

use bytes::Bytes;

use super::Endpoint;
use super::wire::Owner;
use crate::message::{Essentials, HeaderName, Message, Method, ParseError, Scheme, StartLine, Uri, option_tags, parse};
use crate::reply::{ALLOW, Request, to_faulty};
use crate::{CallHandle, Failure, Source, Transmit};

impl Endpoint {
    /// `stranger`: whoever sent it is told nothing that he does not know already.
    pub(super) fn receive(&mut self, now: Instant, source: Source, bytes: &[u8], stranger: bool) {
        if bytes.len() > self.wire.limits().max_message {
            return self.drop_faulty(ParseError::TooLong);
        }
        match parse(&Bytes::copy_from_slice(bytes), self.wire.limits()) {
            // A keep-alive (RFC 5626 §3.5.1) needs no answer over UDP.
            Err(ParseError::Empty) => {}
            Err(fault) => self.drop_faulty(fault),
            Ok(message) => match Essentials::of(&message) {
                Ok(essentials) if message.method().is_some() => {
                    let request = Request { message, essentials, source };
                    if stranger && !self.belongs(&request) {
                        self.wire.stats.ignored += 1;
                        self.wire.stats.dropped += 1;
                        return;
                    }
                    self.on_request(now, request);
                }
                Ok(essentials) => self.on_response(now, &message, &essentials),
                Err(fault) if stranger => self.drop_faulty(fault),
                Err(fault) => self.on_faulty(&message, &source, fault),
            },
        }
    }

    /// Whether a request goes on with something that exists: a transaction, or a call. (An ACK is never answered.)
    fn belongs(&self, request: &Request) -> bool {
        let method = match &request.essentials.method {
            Method::Ack => return true,
            Method::Cancel => &Method::Invite,
            method => method,
        };
        self.wire.server_of(request, method).is_some() || self.call_of(request).is_some()
    }

    fn drop_faulty(&mut self, fault: ParseError) {
        *self.wire.stats.parse_errors.entry(fault).or_default() += 1;
        self.wire.stats.dropped += 1;
    }

    fn on_faulty(&mut self, message: &Message, source: &Source, fault: ParseError) {
        let (code, phrase) = fault.status();
        let answer = match message.method() {
            // Responses and ACKs are never answered.
            None | Some(Method::Ack) => None,
            Some(_) => to_faulty(message, source, code, &phrase, &self.stateless_tag),
        };
        match answer {
            Some(transmit) => {
                *self.wire.stats.parse_errors.entry(fault).or_default() += 1;
                self.wire.send(transmit);
            }
            None => self.drop_faulty(fault),
        }
    }

    fn on_response(&mut self, now: Instant, message: &Message, essentials: &Essentials) {
        let StartLine::Response { code, .. } = message.start else {
            return;
        };
        let Some((id, owner)) = self.wire.client_of(essentials) else {
            self.wire.stats.strays += 1;
            return;
        };
        let effects = self.wire.on_response(now, id, code, message);
        if effects.pass {
            match owner {
                Owner::Invite(call) => self.on_invite_response(now, call, id, message, essentials),
                Owner::Bye(call) | Owner::Info(call) => self.on_in_dialog_response(now, call, id, owner, message),
                Owner::Incoming(_) | Owner::Reinvite(_) | Owner::Nobody => {}
            }
        }
        self.after(now, id, owner, effects);
    }

    fn on_request(&mut self, now: Instant, request: Request) {
        let method = request.essentials.method.clone();
        if method == Method::Ack {
            return self.on_ack(now, &request);
        }
        if let Some((id, _)) = self.wire.server_of(&request, &method) {
            return self.wire.on_repeated(now, id);
        }
        if method == Method::Cancel {
            return self.on_cancel(now, &request);
        }
        // Escaped headers have no place in a Request-URI (§19.1.1).
        if Uri::parse(request.uri()).is_ok_and(|uri| uri.headers.is_none()) {
            self.on_new_request(now, request, &method);
        } else {
            self.refuse_statelessly(&request, 400, &[]);
        }
    }

    fn on_new_request(&mut self, now: Instant, request: Request, method: &Method) {
        if request.essentials.to_tag.is_none() {
            return self.on_out_of_dialog(now, request);
        }
        match self.call_of(&request) {
            Some(_) if self.requires_extension(&request) => {}
            Some(call) => self.on_in_dialog(now, call, request),
            None => match method {
                Method::Other(_) => self.refuse_statelessly(&request, 501, &[]),
                _ => self.refuse_statelessly(&request, 481, &[]),
            },
        }
    }

    /// The call of a request by our own tag, if the rest fits as well.
    fn call_of(&self, request: &Request) -> Option<CallHandle> {
        let essentials = &request.essentials;
        let handle = *self.by_tag.get(essentials.to_tag.as_ref()?)?;
        self.calls.get(&handle)?.knows(&essentials.call_id, essentials.from_tag.as_deref()).then_some(handle)
    }

    fn on_ack(&mut self, now: Instant, request: &Request) {
        if let Some((id, owner)) = self.wire.server_of(request, &Method::Invite) {
            let effects = self.wire.on_ack(now, id);
            self.after(now, id, owner, effects);
            if !effects.pass {
                return;
            }
        }
        let known = match self.call_of(request) {
            Some(call) => self.on_ack_of_2xx(now, call, &request.message, &request.essentials),
            None => false,
        };
        if !known {
            self.wire.stats.strays += 1;
        }
    }

    fn on_cancel(&mut self, now: Instant, request: &Request) {
        let Some((_, owner)) = self.wire.server_of(request, &Method::Invite) else {
            return self.refuse_statelessly(request, 481, &[]);
        };
        // The 200 says only that the CANCEL was understood; after our own final answer it changes nothing (§9.2).
        let tag = match owner {
            Owner::Incoming(call) => self.calls.get(&call).map(|call| call.local_tag.clone()),
            _ => None,
        };
        let tag = tag.unwrap_or_else(|| self.stateless_tag.clone());
        let bytes = request.reply(200, &tag).header("Server", &self.config.user_agent).finish();
        self.wire.send(request.transmit(bytes));
        match owner {
            Owner::Incoming(call) => self.on_cancelled(now, call),
            Owner::Reinvite(call) => self.on_reinvite_cancelled(now, call),
            Owner::Invite(_) | Owner::Bye(_) | Owner::Info(_) | Owner::Nobody => {}
        }
    }

    fn on_out_of_dialog(&mut self, now: Instant, request: Request) {
        match request.essentials.method {
            Method::Invite | Method::Options => {}
            Method::Other(_) => return self.refuse_statelessly(&request, 501, &[]),
            // These exist only inside a dialog.
            Method::Bye | Method::Info | Method::Update | Method::Prack => {
                return self.refuse_statelessly(&request, 481, &[]);
            }
            _ => return self.refuse_statelessly(&request, 405, &[("Allow", ALLOW.to_owned())]),
        }
        let scheme = Uri::parse(request.uri()).map(|uri| uri.scheme);
        if !scheme.is_ok_and(|scheme| scheme.is_sip() || scheme == Scheme::Tel) {
            return self.refuse_statelessly(&request, 416, &[]);
        }
        if self.requires_extension(&request) {
            return;
        }
        if request.essentials.method == Method::Options {
            let headers = [("Allow", ALLOW.to_owned()), ("Accept", "application/sdp".to_owned())];
            return self.refuse_statelessly(&request, 200, &headers);
        }
        self.on_incoming(now, request);
    }

    /// Refuses a request that needs an extension; we have none (§8.2.2.3).
    fn requires_extension(&mut self, request: &Request) -> bool {
        let tags: Vec<&str> = option_tags(&request.message.headers, &HeaderName::Require).collect();
        if tags.is_empty() {
            return false;
        }
        let unsupported = tags.join(", ");
        self.refuse_statelessly(request, 420, &[("Unsupported", unsupported)]);
        true
    }

    /// Answers without keeping anything; a repeated request is answered alike (§8.2.7).
    pub(super) fn refuse_statelessly(&mut self, request: &Request, code: u16, headers: &[(&str, String)]) {
        let bytes = self.simple_reply(request, code, headers);
        self.wire.send(request.transmit(bytes));
    }

    /// A response without a body.
    pub(super) fn simple_reply(&self, request: &Request, code: u16, headers: &[(&str, String)]) -> Bytes {
        let mut writer = request.reply(code, &self.stateless_tag);
        for (name, value) in headers {
            writer.header(name, value);
        }
        writer.header("Server", &self.config.user_agent).finish()
    }

    pub(super) fn on_send_error(&mut self, now: Instant, transmit: &Transmit) {
        let Ok(message) = parse(&transmit.bytes, self.wire.limits()) else {
            return;
        };
        let Ok(essentials) = Essentials::of(&message) else {
            return;
        };
        if essentials.method == Method::Invite
            && message.method().is_some()
            && let Some((id, Owner::Invite(call))) = self.wire.client_of(&essentials)
        {
            self.on_invite_failed(now, call, id, Failure::Unreachable);
            self.wire.remove(id);
        }
    }
}
