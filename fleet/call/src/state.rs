//! The stages of a call and every clock that can run in them.
//! It must never hold behaviour: what a stage does with an input is said where that kind of input is handled.

use std::time::Instant;

use crate::outcome::Ending;

/// Where a call is in its life; it only ever moves down this list, but for a goodbye that the customer talks into
/// and a transfer that is refused.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Stage {
    /// Until the answer.
    Dialing {
        give_up: Instant,
        /// Of a call that came in and rings: when it is answered at the latest.
        answer_at: Option<Instant>,
    },
    /// Answered; the bot waits for the customer's "hello?" to end, or for a short silence.
    Greeting {
        since: Instant,
        ringing: Option<Ringing>,
    },
    Talking,
    /// An answering machine: waiting for its beep to leave the message.
    Machine {
        speak_by: Instant,
    },
    /// The goodbye is being said; nothing interrupts it.
    Closing {
        ending: Ending,
        until: Instant,
    },
    /// The leg was told to give the customer away, and has not answered yet.
    Transferring {
        target: String,
        until: Instant,
    },
    /// The leg was told to hang up, or has ended and the mouth still says how much was heard.
    HangingUp {
        ending: Ending,
        until: Instant,
        leg_over: bool,
    },
    /// The outcome was given out.
    Over,
}

/// A ring-back tone after the answer: nobody is there yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ringing {
    pub(crate) since: Instant,
    /// The bot opens then at the latest.
    pub(crate) until: Instant,
}

/// Every clock of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Timer {
    RingTimeout,
    /// A call that came in has rung for long enough.
    Answer,
    /// The bot may open.
    Open,
    MaxDuration,
    /// No packet ever came, or none for too long.
    NoMedia,
    /// A busy tone and nobody who speaks.
    BusyTone,
    /// The customer's turn is over.
    EndOfTurn,
    /// A final is late.
    FinalWait,
    /// Speech has no end.
    StuckSpeech,
    /// Speech over the bot has lasted long enough to be weighed.
    WeighSpeech,
    /// Keys pressed count as complete.
    Keys,
    /// Nobody speaks.
    Silence,
    Filler,
    BrainStall,
    MouthStall,
    /// The machine's beep does not come.
    MachineBeep,
    /// The goodbye takes too long.
    GoodbyeBound,
    /// Nobody has taken the customer over.
    TransferBound,
    HangUpBound,
}
