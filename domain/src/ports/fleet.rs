//! The private port of fleet servers, as the control plane asks it. It must never say that a server did nothing when that is
//! not known.

use std::time::Duration;

use async_trait::async_trait;
use thiserror::Error;

use crate::fleet::{Alive, DialAnswer, DialCommand, DrainAnswer, ServerRow};
use crate::ids::CallId;

/// Why a fleet server gave no usable answer.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum FleetError {
    /// Nothing was sent: refused or unreachable.
    #[error("server not reachable: {0}")]
    Unreachable(String),
    /// Something was sent, no answer came: whether it acted is unknown.
    #[error("server gave no answer: {0}")]
    NoAnswer(String),
    #[error("server answered {0}")]
    Unexpected(u16),
}

/// The private port of fleet servers, signed with the fleet's secret.
#[async_trait]
pub trait Fleet: Send + Sync {
    async fn dial(
        &self,
        server: &ServerRow,
        command: &DialCommand,
        timeout: Duration,
    ) -> Result<DialAnswer, FleetError>;
    /// Ends a call; `false` when the server does not have it.
    async fn hang_up(&self, server: &ServerRow, call: CallId, timeout: Duration) -> Result<bool, FleetError>;
    async fn alive(&self, server: &ServerRow, timeout: Duration) -> Result<Alive, FleetError>;
    /// Lets no further call in, or (`drain` false) lets calls in again; live calls go on. Asking twice is as good as once.
    async fn drain(&self, server: &ServerRow, drain: bool, timeout: Duration) -> Result<DrainAnswer, FleetError>;
}
