//! How a call ended, and who ended it: the one table behind `disconnected_by`.
//! It must never guess from free text: an end is an [`EndReason`], set where it happened.

use serde::{Deserialize, Serialize};
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{ObjectBuilder, Schema, Type};
use utoipa::{PartialSchema, ToSchema};

/// The integration guide's word for who ended the call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
pub enum DisconnectedBy {
    #[serde(rename = "bot")]
    Bot,
    #[serde(rename = "customer")]
    Customer,
    #[serde(rename = "voicemail")]
    Voicemail,
    #[serde(rename = "RNR")]
    Rnr,
    #[serde(rename = "timeout")]
    Timeout,
    #[serde(rename = "error")]
    Error,
}

impl DisconnectedBy {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Bot => "bot",
            Self::Customer => "customer",
            Self::Voicemail => "voicemail",
            Self::Rnr => "RNR",
            Self::Timeout => "timeout",
            Self::Error => "error",
        }
    }
}

macro_rules! end_reasons {
    ($($(#[$doc:meta])* $name:ident = $word:literal => $by:ident,)*) => {
        /// The exact reason a call ended, one word each; [`EndReason::disconnected_by`] is the table.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
        pub enum EndReason { $($(#[$doc])* #[serde(rename = $word)] $name,)* }

        impl EndReason {
            /// Every reason, for table tests.
            pub const ALL: &[Self] = &[$(Self::$name),*];

            pub fn as_str(self) -> &'static str {
                match self { $(Self::$name => $word,)* }
            }

            /// Who ended a call that ended for this reason (`api.md` §5).
            pub fn disconnected_by(self) -> DisconnectedBy {
                match self { $(Self::$name => DisconnectedBy::$by,)* }
            }
        }
    };
}

impl PartialSchema for EndReason {
    fn schema() -> RefOr<Schema> {
        let words = Self::ALL.iter().map(|reason| reason.as_str());
        ObjectBuilder::new().schema_type(Type::String).enum_values(Some(words)).into()
    }
}

impl ToSchema for EndReason {}

end_reasons! {
    /// The bot's tool or script hung up.
    BotHangup = "bot_hangup" => Bot,
    /// An operator or the API hung up.
    ApiHangup = "api_hangup" => Bot,
    Transferred = "transferred" => Bot,
    /// BYE from the far side, or a dialler's `hangup-call`.
    CustomerHangup = "customer_hangup" => Customer,
    SocketLost = "socket_lost" => Customer,
    /// 486, 600, or Q.850 cause 17.
    Busy = "busy" => Customer,
    /// 603, 607, or Q.850 cause 21.
    Declined = "declined" => Customer,
    Voicemail = "voicemail" => Voicemail,
    /// No answer within the ring timeout, 408, 480, or Q.850 causes 18, 19, 20.
    NoAnswer = "no_answer" => Rnr,
    /// Answered, and never a sound from the customer.
    NoSpeech = "no_speech" => Rnr,
    MaxDuration = "max_duration" => Timeout,
    IdleSilence = "idle_silence" => Timeout,
    /// 404, 410, 484, 604, or Q.850 causes 1, 22, 28.
    InvalidNumber = "invalid_number" => Error,
    /// 403 and other refusals of the carrier, 3xx.
    Rejected = "rejected" => Error,
    /// 401 or 407 that our credentials don't satisfy.
    AuthFailed = "auth_failed" => Error,
    /// 5xx, Timer B, or transport failure.
    TrunkUnreachable = "trunk_unreachable" => Error,
    /// 488, 415, 606 or an answer without a codec we speak.
    MediaNegotiation = "media_negotiation" => Error,
    /// Answered, and no RTP came.
    NoMedia = "no_media" => Error,
    ServerLost = "server_lost" => Error,
    Drained = "drained" => Error,
    PrefetchFailed = "prefetch_failed" => Error,
    ProviderFailed = "provider_failed" => Error,
    /// A fault of ours that no other word names.
    Internal = "internal" => Error,
}

/// The reason for a final SIP failure of an outbound INVITE; a Q.850 cause (RFC 3326) goes before the status code.
pub fn of_sip_failure(status: u16, q850: Option<u16>) -> EndReason {
    if let Some(reason) = q850.and_then(of_q850) {
        return reason;
    }
    match status {
        486 | 600 => EndReason::Busy,
        603 | 607 | 608 => EndReason::Declined,
        408 | 480 | 487 => EndReason::NoAnswer,
        404 | 410 | 484 | 485 | 604 => EndReason::InvalidNumber,
        401 | 407 => EndReason::AuthFailed,
        415 | 488 | 606 => EndReason::MediaNegotiation,
        500..=599 => EndReason::TrunkUnreachable,
        _ => EndReason::Rejected,
    }
}

fn of_q850(cause: u16) -> Option<EndReason> {
    Some(match cause {
        1 | 22 | 28 => EndReason::InvalidNumber,
        17 => EndReason::Busy,
        18..=20 => EndReason::NoAnswer,
        21 => EndReason::Declined,
        27 | 34 | 38 | 41 | 42 | 44 | 47 => EndReason::TrunkUnreachable,
        65 | 79 | 88 => EndReason::MediaNegotiation,
        _ => return None,
    })
}

/// The word under which `outcome_map` looks up a disposition for a call without analysis,
/// and the disposition used where the map has none.
pub fn outcome_word(reason: EndReason, customer_spoke: bool) -> (&'static str, &'static str) {
    match (reason, reason.disconnected_by()) {
        (EndReason::Busy, _) => ("busy", "BUSY"),
        (EndReason::Declined, _) => ("declined", "DECLINED"),
        (_, DisconnectedBy::Rnr) => ("RNR", "NO_ANSWER"),
        (_, DisconnectedBy::Voicemail) => ("voicemail", "VOICEMAIL"),
        (_, DisconnectedBy::Timeout) if customer_spoke => ("timeout", "TIMEOUT"),
        (_, DisconnectedBy::Error) => ("error", "ERROR"),
        (_, DisconnectedBy::Timeout | DisconnectedBy::Bot | DisconnectedBy::Customer) if !customer_spoke => {
            ("no_customer_message", "NO_CUSTOMER_MESSAGE")
        }
        (_, DisconnectedBy::Timeout | DisconnectedBy::Bot | DisconnectedBy::Customer) => ("completed", "COMPLETED"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sip_failures_map_as_the_table_says() {
        let check = |status, q850, expect: EndReason, by: DisconnectedBy| {
            let reason = of_sip_failure(status, q850);
            assert_eq!((reason, reason.disconnected_by()), (expect, by), "{status} {q850:?}");
        };
        use DisconnectedBy as By;
        check(486, None, EndReason::Busy, By::Customer);
        check(600, None, EndReason::Busy, By::Customer);
        check(603, None, EndReason::Declined, By::Customer);
        check(607, None, EndReason::Declined, By::Customer);
        check(408, None, EndReason::NoAnswer, By::Rnr);
        check(480, None, EndReason::NoAnswer, By::Rnr);
        check(404, None, EndReason::InvalidNumber, By::Error);
        check(484, None, EndReason::InvalidNumber, By::Error);
        check(604, None, EndReason::InvalidNumber, By::Error);
        check(302, None, EndReason::Rejected, By::Error);
        check(403, None, EndReason::Rejected, By::Error);
        check(503, None, EndReason::TrunkUnreachable, By::Error);
        check(488, None, EndReason::MediaNegotiation, By::Error);
        check(480, Some(17), EndReason::Busy, By::Customer);
        check(503, Some(1), EndReason::InvalidNumber, By::Error);
        check(486, Some(127), EndReason::Busy, By::Customer);
    }

    #[test]
    fn words_are_unique_and_read_back() {
        for reason in EndReason::ALL {
            let text = serde_json::to_string(reason).unwrap();
            assert_eq!(text, format!("\"{}\"", reason.as_str()));
            assert_eq!(serde_json::from_str::<EndReason>(&text).unwrap(), *reason);
        }
    }

    #[test]
    fn every_end_has_its_word_and_disposition() {
        use EndReason as R;
        // (silent, spoke), each a word of `outcome_map` and the disposition without one.
        let check = |reason: R, silent: (&str, &str), spoke: (&str, &str)| {
            assert_eq!((outcome_word(reason, false), outcome_word(reason, true)), (silent, spoke), "{reason:?}");
        };
        let nothing = ("no_customer_message", "NO_CUSTOMER_MESSAGE");
        for reason in R::ALL {
            match reason {
                R::BotHangup | R::ApiHangup | R::Transferred | R::CustomerHangup | R::SocketLost => {
                    check(*reason, nothing, ("completed", "COMPLETED"));
                }
                R::Busy => check(*reason, ("busy", "BUSY"), ("busy", "BUSY")),
                R::Declined => check(*reason, ("declined", "DECLINED"), ("declined", "DECLINED")),
                R::Voicemail => check(*reason, ("voicemail", "VOICEMAIL"), ("voicemail", "VOICEMAIL")),
                R::NoAnswer | R::NoSpeech => check(*reason, ("RNR", "NO_ANSWER"), ("RNR", "NO_ANSWER")),
                R::MaxDuration | R::IdleSilence => check(*reason, nothing, ("timeout", "TIMEOUT")),
                R::InvalidNumber
                | R::Rejected
                | R::AuthFailed
                | R::TrunkUnreachable
                | R::MediaNegotiation
                | R::NoMedia
                | R::ServerLost
                | R::Drained
                | R::PrefetchFailed
                | R::ProviderFailed
                | R::Internal => check(*reason, ("error", "ERROR"), ("error", "ERROR")),
            }
        }
    }

    #[test]
    fn outcome_words_follow_the_end() {
        assert_eq!(outcome_word(EndReason::NoSpeech, false).0, "RNR");
        assert_eq!(outcome_word(EndReason::CustomerHangup, false).0, "no_customer_message");
        assert_eq!(outcome_word(EndReason::BotHangup, true).0, "completed");
        assert_eq!(outcome_word(EndReason::IdleSilence, true).0, "timeout");
        assert_eq!(outcome_word(EndReason::ServerLost, true).0, "error");
    }
}
