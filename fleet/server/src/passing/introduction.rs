//! What a server says of a client that it passes on: the verdict of its door. It must never hold a key or a token.

use std::net::IpAddr;

use axum::http::{HeaderMap, HeaderValue, Uri};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use domain::ids::{BotId, KeyId};
use domain::signing::{FleetSecrets, SIGNATURE_HEADER, SignatureError, verify};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Carries an [`Introduction`], and says by that: this was passed on, and goes no further.
pub(crate) const INTRODUCTION: &str = "x-ringfleet-guest";

/// A client that a server's door let in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Introduction {
    pub bot_id: BotId,
    /// Of the client itself, behind whatever proxies.
    pub address: IpAddr,
    pub key_id: Option<KeyId>,
}

/// Why an introduction is not believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub(crate) enum Unbelieved {
    #[error("the request is not signed")]
    Unsigned,
    #[error(transparent)]
    Signature(#[from] SignatureError),
    #[error("the request names no guest, or another bot's")]
    NoGuest,
}

impl Introduction {
    pub(super) fn to_header(&self) -> HeaderValue {
        let json = serde_json::to_vec(self).expect("ids and addresses are always JSON");
        HeaderValue::from_str(&URL_SAFE_NO_PAD.encode(json)).expect("base64 is visible ASCII")
    }

    /// Reads the introduction of a request for `bot_id` on the private port, whose path and query are `uri`.
    ///
    /// # Errors
    /// It was not written by a server of this fleet for this very request, just now.
    pub(crate) fn read(
        secrets: &FleetSecrets,
        bot_id: &str,
        uri: &Uri,
        headers: &HeaderMap,
        now: Timestamp,
    ) -> Result<Self, Unbelieved> {
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        let signature = text(SIGNATURE_HEADER).ok_or(Unbelieved::Unsigned)?;
        let introduction = text(INTRODUCTION).ok_or(Unbelieved::NoGuest)?;
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        verify(secrets, signature, "GET", path, introduction.as_bytes(), now)?;
        let json = URL_SAFE_NO_PAD.decode(introduction).map_err(|_| Unbelieved::NoGuest)?;
        let guest: Self = serde_json::from_slice(&json).map_err(|_| Unbelieved::NoGuest)?;
        if guest.bot_id.as_str() == bot_id { Ok(guest) } else { Err(Unbelieved::NoGuest) }
    }
}
