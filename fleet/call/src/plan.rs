//! What a call is started with: the bot as it was at that moment and what is known of the customer.
//! It must never change once the call runs; what the call learns is kept by the call.

use std::time::Duration;

use domain::bot::{Bot, OnFailure};
use domain::call::Direction;
use domain::ids::CallId;
use domain::template::Context;
use domain::variables::Fields;

/// Longest wait of a call that came in for its answer: the far side's where it decides (a WebSocket dialler's), else ours.
const INBOUND_RING_LIMIT: Duration = Duration::from_secs(60);

/// How long a call may take until its answer.
pub fn ring_limit(direction: Direction, bot: &Bot) -> Duration {
    match direction {
        Direction::Outbound => Duration::from_secs(u64::from(bot.ring_timeout_seconds)),
        Direction::Inbound => INBOUND_RING_LIMIT,
    }
}

/// Everything a call needs to know before it starts.
#[derive(Debug, Clone)]
pub struct Plan {
    pub call_id: CallId,
    pub direction: Direction,
    pub bot: Bot,
    /// `call.*` so far and `system.*`; its `crm.*` is set by the call from the three layers below.
    pub context: Context,
    /// The dialout's variables: they win over everything in `crm.*`.
    pub variables: Fields,
    /// Custom fields that the far side of a call sent along: the weakest layer of `crm.*`.
    pub custom: Fields,
    pub brain: BrainChoice,
    /// Whether a recogniser listens; without one the customer is heard by keys only, and silence says nothing of them.
    pub hears: bool,
    /// Set while a pre-fetch is under way: how its failure counts.
    pub await_prefetch: Option<OnFailure>,
}

/// Who thinks of what the bot says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BrainChoice {
    /// The bot's own script; no model is asked.
    Script,
    /// A language model, through [`crate::io::BrainCommand`].
    Model,
}
