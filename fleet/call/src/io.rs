//! What a call takes in and gives out: two closed enums between the core and whatever shell drives it.
//! It must never hold behaviour.

use std::time::Duration;

use domain::call::Direction;
use domain::ids::CallId;
use domain::outcome::EndReason;
use domain::phone::E164;
use domain::result::{TranscriptEntry, TurnTimings};
use domain::variables::Fields;
use serde_json::{Map, Value};

/// Everything that can happen to a call.
#[derive(Debug, Clone)]
pub enum Input {
    Leg(LegEvent),
    Ear(EarEvent),
    Brain(BrainEvent),
    Mouth(MouthEvent),
    Prefetch(PrefetchEvent),
    Control(Control),
}

/// From the leg: signalling and the state of its media.
#[derive(derive_more::Debug, Clone, PartialEq)]
pub enum LegEvent {
    /// The INVITE was sent.
    Dialing,
    Ringing,
    /// Media before the answer: for the classifier only, never the customer.
    EarlyMedia,
    Answered,
    /// Never answered; terminal.
    Failed(LegFailure),
    /// Ended after the answer; terminal. `by_remote`: BYE or closed by the far side.
    Ended {
        by_remote: bool,
        cause: LegEnd,
    },
    Dtmf(#[debug("(personal)")] char),
    /// The first audio from the far side.
    MediaStarted,
    /// No packet came for this long.
    MediaMissing(Duration),
    MediaResumed,
    /// Offer/answer put the call on hold, or took it off.
    Hold(bool),
    /// What whoever reads the call's result should know; nothing personal. Goes to the call's warnings.
    Remark(String),
    /// The answer to [`LegCommand::Transfer`]: the line can't do it, or the far side won't. The call goes on.
    TransferRefused,
}

#[derive(Debug, Clone, PartialEq)]
pub enum LegFailure {
    /// A final SIP status, with the Q.850 cause of its `Reason`, if any.
    Status {
        code: u16,
        q850: Option<u16>,
    },
    /// Timer B.
    Timeout,
    Unreachable,
    /// Our own CANCEL did it.
    Cancelled,
    /// 401 or 407 again with our credentials.
    AuthRejected,
    /// The answer's SDP has no codec of ours, or none at all.
    BadAnswer,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LegEnd {
    Normal,
    /// A WebSocket that broke.
    SocketLost,
    /// The far side stopped answering (BYE or 2xx retransmissions ran out).
    Unresponsive,
}

/// From speech detection and recognition. Times are positions in the far end's audio since the answer.
#[derive(derive_more::Debug, Clone, PartialEq)]
pub enum EarEvent {
    SpeechStarted {
        at: Duration,
    },
    SpeechEnded {
        at: Duration,
    },
    /// What the running segment sounds like so far.
    Partial {
        #[debug("(personal)")]
        text: String,
        at: Duration,
    },
    Final {
        #[debug("(personal)")]
        text: String,
        from: Duration,
        to: Duration,
        confidence: f32,
    },
    Tone {
        kind: Tone,
        at: Duration,
    },
    /// How alike the incoming sound is to what is being played, 0..=1; sent while both sides sound.
    Echo {
        likeness: f32,
    },
    /// No recogniser is left.
    Failed,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tone {
    Beep,
    RingBack,
    BusyTone,
}

/// From the language model, for the turn it was asked in.
#[derive(derive_more::Debug, Clone, PartialEq)]
pub enum BrainEvent {
    Token {
        turn: u32,
        #[debug("(personal)")]
        text: String,
    },
    ToolCall {
        turn: u32,
        name: String,
        #[debug("(personal)")]
        arguments: Map<String, Value>,
    },
    Done {
        turn: u32,
    },
    /// Every provider failed for this turn.
    Failed {
        turn: u32,
    },
}

/// From speech synthesis and playout.
#[derive(derive_more::Debug, Clone, PartialEq)]
pub enum MouthEvent {
    /// The first audio of an utterance is there.
    FirstAudio { utterance: u32 },
    /// The first packet of it left.
    Started { utterance: u32 },
    /// This much more of its text has been played whole.
    Played {
        utterance: u32,
        #[debug("(personal)")]
        text: String,
    },
    /// Everything said with `last` has been played.
    Finished { utterance: u32 },
    /// Playout stopped as told; `heard` = the part of the running piece that was still played.
    Cut {
        utterance: u32,
        #[debug("(personal)")]
        heard: String,
    },
    /// Every voice failed for it.
    Failed { utterance: u32 },
}

#[derive(Debug, Clone)]
pub enum PrefetchEvent {
    /// Pre-fetched fields for `crm.*`.
    Fetched(Fields),
    /// It failed, and the bot says how that counts.
    Failed,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Control {
    /// An operator or the API hangs up.
    HangUp,
    /// The drain limit is reached.
    Drain,
    /// The shell itself failed in a way the call can't survive.
    Fault,
}

/// Everything a call can want.
#[derive(Debug, Clone)]
pub enum Effect {
    Leg(LegCommand),
    Ear(EarCommand),
    Brain(BrainCommand),
    Mouth(MouthCommand),
    /// A stage reached; to be persisted. In order: ringing, answered.
    Progress(Progress),
    /// A new entry, or the last one of that speaker grown or cut: for live display and checkpoints.
    Transcript {
        index: usize,
        entry: TranscriptEntry,
    },
    Turn(TurnTimings),
    /// Goes to the call's warnings.
    Warn(String),
    /// Exactly one, and nothing after it.
    Ended(Box<Outcome>),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LegCommand {
    /// Of a call that came in: it may be answered now, where the answer is the leg's to give.
    Answer,
    /// CANCEL or BYE, whichever fits. The leg answers with `Failed` or `Ended`.
    HangUp,
    /// Gives the customer to somebody else, in the way of the leg's protocol. The leg answers with `Ended`, whoever
    /// closes it, once the customer is theirs, or with `TransferRefused`, at once where its protocol has no transfer.
    Transfer { to: E164 },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EarCommand {
    /// From now on speech is the customer's.
    Listen,
    /// Decode what has been said so far now, without waiting for silence.
    Flush,
}

#[derive(Debug, Clone, PartialEq)]
pub enum BrainCommand {
    /// Ask the model; its events carry `turn`.
    Think { turn: u32, messages: Vec<Message> },
    /// Forget that turn: no event of it is wanted any more.
    Cancel { turn: u32 },
}

/// One message of the conversation, OpenAI's roles.
#[derive(derive_more::Debug, Clone, PartialEq, Eq)]
pub struct Message {
    pub role: Role,
    #[debug("(personal)")]
    pub text: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    System,
    User,
    Assistant,
}

#[derive(derive_more::Debug, Clone, PartialEq, Eq)]
pub enum MouthCommand {
    /// Say this piece as part of `utterance`; with `last`, nothing more of it comes (text may then be empty).
    Say {
        utterance: u32,
        #[debug("(personal)")]
        text: String,
        last: bool,
    },
    /// Drop everything queued and being said, at once; answered by `Cut` for what was sounding.
    Stop,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    Dialing,
    Ringing,
    Answered,
}

/// How it ended and what it leaves.
#[derive(derive_more::Debug, Clone)]
pub struct Outcome {
    pub call_id: CallId,
    pub direction: Direction,
    pub end_reason: EndReason,
    pub sip_code: Option<u16>,
    /// Answer to end; zero if never answered.
    pub talked: Duration,
    pub answered: bool,
    pub transcript: Vec<TranscriptEntry>,
    /// `crm.*` as the call knew it in the end.
    pub crm: Fields,
    #[debug("(personal)")]
    pub collected: Map<String, Value>,
    pub latency: Vec<TurnTimings>,
}
