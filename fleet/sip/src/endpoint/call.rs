//! What is known of one INVITE session; it must never send anything itself.

use std::time::Duration;

use bytes::Bytes;

use super::wire::TxId;
use crate::dialog::{Dialog, Path};
use crate::digest::Session;
use crate::message::Text;
use crate::reply::Request;
use crate::{Credentials, Reason, Transmit};

/// How far a call has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// Our INVITE is not finally answered.
    Inviting,
    /// We have not finally answered theirs.
    Ringing,
    /// A 2xx was sent or received.
    Established,
    /// Our BYE is on its way.
    Ending,
    /// The terminal event is out; only repeated 2xx are still looked after.
    Over,
}

/// One call.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) state: State,
    pub(super) call_id: Text,
    pub(super) local_tag: Text,
    /// The value of our Contact.
    pub(super) contact: String,
    pub(super) dialog: Option<Dialog>,
    pub(super) uac: Option<Uac>,
    pub(super) uas: Option<Uas>,
    pub(super) unacknowledged: Option<Unacknowledged>,
    pub(super) reinvite: Option<Reinvite>,
    pub(super) auth: Auth,
    /// A hang-up that must wait: for a provisional response, or for the ACK.
    pub(super) hang_up: Option<HangUp>,
}

/// A wanted hang-up.
#[derive(Debug, Clone)]
pub(super) struct HangUp {
    pub(super) reason: Option<Reason>,
}

/// Our INVITE.
#[derive(Debug)]
pub(super) struct Uac {
    pub(super) target: String,
    /// The value of our From, tag included.
    pub(super) from: String,
    pub(super) to: String,
    pub(super) headers: Vec<(String, String)>,
    pub(super) sdp: Bytes,
    pub(super) cseq: u32,
    pub(super) path: Path,
    /// The transaction of the INVITE sent last; `None` when it is gone.
    pub(super) tx: Option<TxId>,
    pub(super) progress: Progress,
    /// The SDP of the latest provisional response that had some.
    pub(super) early_sdp: Option<Bytes>,
    /// The credentials of the INVITE sent last; its ACK repeats them (§22.1).
    pub(super) sent_auth: Vec<(&'static str, String)>,
    /// One for each 2xx of another tag.
    pub(super) forks: Vec<Fork>,
}

/// What has been heard of our INVITE.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Progress {
    /// Nothing: it must not be cancelled yet.
    Silent,
    Provisional,
    /// The CANCEL is out.
    Cancelled,
}

/// A 2xx that was acknowledged.
#[derive(Debug)]
pub(super) struct Fork {
    pub(super) remote_tag: Option<Text>,
    pub(super) ack: Transmit,
}

/// Their INVITE, until it is finally answered.
#[derive(Debug)]
pub(super) struct Uas {
    pub(super) request: Request,
    pub(super) tx: TxId,
    /// The INVITE had no SDP: our 2xx carries the offer.
    pub(super) offerless: bool,
    /// Its credentials were right, but their nonce was not fresh.
    pub(super) stale: bool,
}

/// Our 2xx until its ACK.
#[derive(Debug)]
pub(super) struct Unacknowledged {
    pub(super) transmit: Transmit,
    pub(super) cseq: u32,
    pub(super) interval: Duration,
    /// It answers a re-INVITE.
    pub(super) reinvite: bool,
    pub(super) offerless: bool,
}

/// A re-INVITE that the owner has not answered.
#[derive(Debug)]
pub(super) struct Reinvite {
    pub(super) request: Request,
    pub(super) tx: TxId,
    pub(super) offerless: bool,
}

/// Digest authentication of our requests.
#[derive(Debug, Default)]
pub(super) struct Auth {
    pub(super) credentials: Option<Credentials>,
    /// By the header that carries the answer.
    pub(super) sessions: Vec<(&'static str, Session)>,
    /// What has been answered for the request under way: asked again, the credentials are wrong.
    pub(super) answered: Vec<(&'static str, String)>,
    pub(super) tries: u8,
}

impl Call {
    /// Whether the peer's tag fits: any while our INVITE is open, since forks may answer.
    pub(super) fn knows(&self, call_id: &str, remote_tag: Option<&str>) -> bool {
        if *self.call_id != *call_id {
            return false;
        }
        match &self.dialog {
            Some(dialog) if dialog.remote_tag.as_deref() == remote_tag => true,
            Some(_) | None => self.state == State::Inviting || self.is_fork(remote_tag),
        }
    }

    /// Whether the tag is that of a 2xx that we ended at once.
    pub(super) fn is_fork(&self, remote_tag: Option<&str>) -> bool {
        self.uac.as_ref().is_some_and(|uac| uac.forks.iter().any(|fork| fork.remote_tag.as_deref() == remote_tag))
    }
}
