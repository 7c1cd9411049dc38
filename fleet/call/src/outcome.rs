//! Every way in which a call can end, and the one reason each is written down as.
//! It must never look at what was said: only at what happened.

use domain::outcome::{EndReason, of_sip_failure};

use crate::io::{LegEnd, LegFailure};

/// What ended the call, where it happened.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Ending {
    /// The far side was never reached.
    Unanswered(LegFailure),
    /// The leg closed on its own, after the answer.
    LegClosed {
        by_remote: bool,
        cause: LegEnd,
    },
    /// Script or tool: the bot was done.
    BotDone,
    /// Given to the one of the bot's transfer targets that has this name.
    Transferred {
        target: String,
    },
    Operator,
    Drain,
    Fault,
    RingTimeout,
    MaxDuration,
    Silence,
    /// The far side plays a busy tone into an answered call.
    BusyTone,
    NoMedia,
    Voicemail,
    PrefetchFailed,
    /// No voice, recogniser or model was left.
    ProviderFailed,
}

impl Ending {
    /// The leg's far side was gone before it closed.
    pub(crate) fn is_unresponsive(&self) -> bool {
        matches!(self, Self::LegClosed { cause: LegEnd::Unresponsive, .. })
    }
}

/// What else the reason depends on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Facts {
    /// The customer was heard: a word, a key, or a second of speech.
    pub(crate) customer_heard: bool,
    /// Nobody could have heard the customer speak: no recogniser was there.
    pub(crate) deaf: bool,
    /// The bot's goodbye was played whole.
    pub(crate) goodbye_whole: bool,
    /// The customer called.
    pub(crate) inbound: bool,
}

/// The reason to write down.
///
/// A far-side BYE that comes after the bot's goodbye was heard whole counts as the bot's: the customer only
/// put the receiver down first. One that comes within the goodbye is the customer's.
pub(crate) fn reason(ending: &Ending, facts: Facts) -> EndReason {
    match ending {
        // The caller gave up before the answer.
        Ending::Unanswered(LegFailure::Cancelled) if facts.inbound => EndReason::CustomerHangup,
        Ending::Unanswered(failure) => of_failure(failure),
        Ending::LegClosed { cause: LegEnd::SocketLost, .. } => EndReason::SocketLost,
        Ending::LegClosed { cause: LegEnd::Unresponsive, .. } => EndReason::TrunkUnreachable,
        Ending::LegClosed { by_remote: true, cause: LegEnd::Normal } if facts.goodbye_whole => EndReason::BotHangup,
        Ending::LegClosed { by_remote: true, cause: LegEnd::Normal } => EndReason::CustomerHangup,
        Ending::LegClosed { by_remote: false, cause: LegEnd::Normal } => EndReason::Internal,
        // Whoever could not listen can't say that the customer never spoke.
        Ending::BotDone | Ending::Silence | Ending::MaxDuration if !facts.customer_heard && facts.deaf => {
            EndReason::ProviderFailed
        }
        Ending::BotDone | Ending::Silence | Ending::MaxDuration if !facts.customer_heard => EndReason::NoSpeech,
        Ending::BotDone => EndReason::BotHangup,
        Ending::Transferred { .. } => EndReason::Transferred,
        Ending::Silence => EndReason::IdleSilence,
        Ending::MaxDuration => EndReason::MaxDuration,
        // A gateway plays it to us once its caller has put the receiver down.
        Ending::BusyTone if !facts.customer_heard && !facts.inbound => EndReason::Busy,
        Ending::BusyTone => EndReason::CustomerHangup,
        Ending::Operator => EndReason::ApiHangup,
        Ending::Drain => EndReason::Drained,
        Ending::Fault => EndReason::Internal,
        Ending::RingTimeout => EndReason::NoAnswer,
        Ending::NoMedia => EndReason::NoMedia,
        Ending::Voicemail => EndReason::Voicemail,
        Ending::PrefetchFailed => EndReason::PrefetchFailed,
        Ending::ProviderFailed => EndReason::ProviderFailed,
    }
}

fn of_failure(failure: &LegFailure) -> EndReason {
    match failure {
        LegFailure::Status { code, q850 } => of_sip_failure(*code, *q850),
        LegFailure::Timeout | LegFailure::Unreachable => EndReason::TrunkUnreachable,
        LegFailure::Cancelled => EndReason::NoAnswer,
        LegFailure::AuthRejected => EndReason::AuthFailed,
        LegFailure::BadAnswer => EndReason::MediaNegotiation,
    }
}

/// Which of two ends counts when the leg closed after we had asked it to.
///
/// Ours, for that is why it closed; except that a final answer which crossed our CANCEL at the ring timeout is the
/// truth about the number.
pub(crate) fn settle(asked: Ending, leg: Ending) -> Ending {
    match (&asked, &leg) {
        (Ending::RingTimeout, Ending::Unanswered(LegFailure::Status { code, .. })) if *code != 487 => leg,
        _ => asked,
    }
}

/// The SIP status that belongs to an end.
pub(crate) fn sip_code(leg: Option<&LegFailure>) -> Option<u16> {
    match leg? {
        LegFailure::Status { code, .. } => Some(*code),
        LegFailure::Cancelled => Some(487),
        LegFailure::Timeout | LegFailure::Unreachable | LegFailure::AuthRejected | LegFailure::BadAnswer => None,
    }
}

#[cfg(test)]
mod tests {
    use domain::outcome::DisconnectedBy as By;

    use super::*;

    const HEARD: Facts = Facts { customer_heard: true, deaf: false, goodbye_whole: false, inbound: false };
    const MUTE: Facts = Facts { customer_heard: false, deaf: false, goodbye_whole: false, inbound: false };
    const DEAF: Facts = Facts { customer_heard: false, deaf: true, goodbye_whole: false, inbound: false };
    const BYE: Facts = Facts { customer_heard: true, deaf: false, goodbye_whole: true, inbound: false };
    const CALLER: Facts = Facts { customer_heard: false, deaf: false, goodbye_whole: false, inbound: true };

    fn check(ending: Ending, facts: Facts, expect: EndReason, by: By) {
        let reason = reason(&ending, facts);
        assert_eq!((reason, reason.disconnected_by()), (expect, by), "{ending:?} {facts:?}");
    }

    fn status(code: u16, q850: Option<u16>) -> Ending {
        Ending::Unanswered(LegFailure::Status { code, q850 })
    }

    fn closed(by_remote: bool, cause: LegEnd) -> Ending {
        Ending::LegClosed { by_remote, cause }
    }

    #[test]
    fn never_answered() {
        check(status(486, None), MUTE, EndReason::Busy, By::Customer);
        check(status(603, None), MUTE, EndReason::Declined, By::Customer);
        check(status(480, None), MUTE, EndReason::NoAnswer, By::Rnr);
        check(status(480, Some(17)), MUTE, EndReason::Busy, By::Customer);
        check(status(404, None), MUTE, EndReason::InvalidNumber, By::Error);
        check(status(503, None), MUTE, EndReason::TrunkUnreachable, By::Error);
        check(Ending::Unanswered(LegFailure::Timeout), MUTE, EndReason::TrunkUnreachable, By::Error);
        check(Ending::Unanswered(LegFailure::Unreachable), MUTE, EndReason::TrunkUnreachable, By::Error);
        check(Ending::Unanswered(LegFailure::Cancelled), MUTE, EndReason::NoAnswer, By::Rnr);
        check(Ending::Unanswered(LegFailure::AuthRejected), MUTE, EndReason::AuthFailed, By::Error);
        check(Ending::Unanswered(LegFailure::BadAnswer), MUTE, EndReason::MediaNegotiation, By::Error);
        check(Ending::RingTimeout, MUTE, EndReason::NoAnswer, By::Rnr);
        check(Ending::Unanswered(LegFailure::Cancelled), CALLER, EndReason::CustomerHangup, By::Customer);
        check(Ending::Unanswered(LegFailure::BadAnswer), CALLER, EndReason::MediaNegotiation, By::Error);
        check(closed(true, LegEnd::SocketLost), CALLER, EndReason::SocketLost, By::Customer);
        check(Ending::RingTimeout, CALLER, EndReason::NoAnswer, By::Rnr);
        check(Ending::Operator, MUTE, EndReason::ApiHangup, By::Bot);
        check(Ending::PrefetchFailed, MUTE, EndReason::PrefetchFailed, By::Error);
    }

    #[test]
    fn answered() {
        check(closed(true, LegEnd::Normal), HEARD, EndReason::CustomerHangup, By::Customer);
        check(closed(true, LegEnd::Normal), MUTE, EndReason::CustomerHangup, By::Customer);
        check(closed(true, LegEnd::Normal), BYE, EndReason::BotHangup, By::Bot);
        check(closed(true, LegEnd::SocketLost), HEARD, EndReason::SocketLost, By::Customer);
        check(closed(true, LegEnd::Unresponsive), HEARD, EndReason::TrunkUnreachable, By::Error);
        check(closed(false, LegEnd::Unresponsive), HEARD, EndReason::TrunkUnreachable, By::Error);
        check(closed(false, LegEnd::Normal), HEARD, EndReason::Internal, By::Error);
        check(Ending::BotDone, BYE, EndReason::BotHangup, By::Bot);
        check(Ending::BotDone, MUTE, EndReason::NoSpeech, By::Rnr);
        check(Ending::Transferred { target: "desk".to_owned() }, MUTE, EndReason::Transferred, By::Bot);
        check(Ending::Transferred { target: "desk".to_owned() }, HEARD, EndReason::Transferred, By::Bot);
        check(Ending::Silence, HEARD, EndReason::IdleSilence, By::Timeout);
        check(Ending::Silence, MUTE, EndReason::NoSpeech, By::Rnr);
        check(Ending::MaxDuration, HEARD, EndReason::MaxDuration, By::Timeout);
        check(Ending::MaxDuration, MUTE, EndReason::NoSpeech, By::Rnr);
        check(Ending::Silence, DEAF, EndReason::ProviderFailed, By::Error);
        check(Ending::BotDone, DEAF, EndReason::ProviderFailed, By::Error);
        check(Ending::Silence, Facts { customer_heard: true, ..DEAF }, EndReason::IdleSilence, By::Timeout);
        check(Ending::BusyTone, MUTE, EndReason::Busy, By::Customer);
        check(Ending::BusyTone, CALLER, EndReason::CustomerHangup, By::Customer);
        check(Ending::BusyTone, HEARD, EndReason::CustomerHangup, By::Customer);
        check(Ending::Drain, HEARD, EndReason::Drained, By::Error);
        check(Ending::Fault, HEARD, EndReason::Internal, By::Error);
        check(Ending::NoMedia, MUTE, EndReason::NoMedia, By::Error);
        check(Ending::Voicemail, HEARD, EndReason::Voicemail, By::Voicemail);
        check(Ending::ProviderFailed, MUTE, EndReason::ProviderFailed, By::Error);
    }

    #[test]
    fn our_own_end_counts_before_the_legs_answer_to_it() {
        let check = |asked: Ending, leg: Ending, expect: Ending| assert_eq!(settle(asked, leg), expect);
        check(Ending::RingTimeout, Ending::Unanswered(LegFailure::Cancelled), Ending::RingTimeout);
        check(Ending::RingTimeout, status(487, None), Ending::RingTimeout);
        check(Ending::RingTimeout, status(486, None), status(486, None));
        check(Ending::Operator, status(486, None), Ending::Operator);
        check(Ending::BotDone, closed(true, LegEnd::Normal), Ending::BotDone);
        check(Ending::MaxDuration, closed(false, LegEnd::Unresponsive), Ending::MaxDuration);
    }
}
