//! The four transaction machines of RFC 3261 §17 with the Accepted states of RFC 6026.
//!
//! A machine is states and timers only: it must never hold a message, an address or a time.

mod invite_client;
mod invite_server;
mod non_invite_client;
mod non_invite_server;
#[cfg(test)]
mod tests;

use std::time::Duration;

pub(crate) use invite_client::InviteClient;
pub(crate) use invite_server::InviteServer;
pub(crate) use non_invite_client::NonInviteClient;
pub(crate) use non_invite_server::NonInviteServer;

/// Round-trip time estimate.
pub(crate) const T1: Duration = Duration::from_millis(500);
/// Longest interval between retransmissions.
pub(crate) const T2: Duration = Duration::from_secs(4);
/// How long a message can stay in the network.
pub(crate) const T4: Duration = Duration::from_secs(5);
/// How long a side waits for an answer that does not come: Timers B, F, H, J, L and M.
pub(crate) const T1_TIMES_64: Duration = Duration::from_secs(32);

/// The timers of RFC 3261 (appendix A) and RFC 6026 that a machine arms. C belongs to proxies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Timer {
    /// INVITE retransmission.
    A,
    /// INVITE timeout.
    B,
    /// Wait for repeated responses to an INVITE.
    D,
    /// Non-INVITE retransmission.
    E,
    /// Non-INVITE timeout.
    F,
    /// INVITE response retransmission.
    G,
    /// Wait for the ACK.
    H,
    /// Wait for repeated ACKs.
    I,
    /// Wait for repeated non-INVITE requests.
    J,
    /// Wait for repeated non-INVITE responses.
    K,
    /// Wait for repeated INVITEs after a 2xx.
    L,
    /// Wait for further 2xx.
    M,
}

/// A response as a machine sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Class {
    Provisional,
    Success,
    Failure,
}

impl Class {
    pub(crate) const fn of(code: u16) -> Self {
        match code {
            0..=199 => Class::Provisional,
            200..=299 => Class::Success,
            _ => Class::Failure,
        }
    }
}

/// What a machine wants done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Output {
    /// Send the request (client) or the latest response (server) for the first time.
    Send,
    /// Send it once more.
    Resend,
    /// Send the ACK for a failure response, making it first if need be.
    Ack,
    /// Give the message to the transaction's user.
    Pass,
    Arm(Timer, Duration),
    Disarm(Timer),
    /// Tell the user that nobody answered.
    TimedOut,
    /// Forget the transaction and its timers.
    Terminate,
}

/// A few outputs; no machine ever has more at once.
pub(crate) type Outputs = Vec<Output>;
