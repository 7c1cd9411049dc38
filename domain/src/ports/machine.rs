//! The port to whoever runs the machine. It must never decide what a fate means: the fleet server does.

use async_trait::async_trait;

use super::StoreError;
use crate::machine::Fate;

/// Whoever runs the machine that this process is on, and ends it only when the process agrees.
#[async_trait]
pub trait Machine: Send + Sync {
    /// What is to become of the machine.
    async fn fate(&self) -> Result<Fate, StoreError>;
    /// Asks for more time before the machine goes; `false` when nobody waits for this process, yet or any longer.
    async fn hold(&self) -> Result<bool, StoreError>;
    /// Says that the machine may go; `false` as above.
    async fn release(&self) -> Result<bool, StoreError>;
}
