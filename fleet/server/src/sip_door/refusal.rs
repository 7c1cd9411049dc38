//! The final answers to callers who are not let in, as SIP has them.
//! It must never say more than the caller has to know.

use domain::fleet::Refusal;
use domain::ports::StoreError;

/// Where a user agent finds what a caller of a full server may try, seconds from now.
const FULL: u64 = 10;
/// When tables that do not answer may do so again, seconds from now.
const AWAY: u64 = 5;

/// Why a call is not taken.
#[derive(derive_more::Debug, Clone, PartialEq, Eq)]
pub(super) enum Refused {
    /// Credentials are asked for.
    Challenge,
    /// Nobody we know, or with the wrong credentials: which of them is not said.
    Stranger,
    /// No bot has that number.
    NoSuchNumber,
    /// The bot is off, or outside its hours; seconds until it opens, where that is known.
    Closed { opens_in: Option<u64> },
    /// No room here; others may have some, as values of Contact.
    Full {
        #[debug("{} servers", elsewhere.len())]
        elsewhere: Vec<String>,
    },
    /// The trunk has as many calls as it may have.
    TrunkLimit,
    /// What the offer brings can't be answered; with the status that says why.
    Media(u16),
    /// The tables do not answer.
    Tables,
}

impl Refused {
    /// The final answer; `None`: a challenge.
    pub(super) fn answer(&self) -> Option<(u16, Vec<(String, String)>)> {
        let retry = |seconds: u64| vec![("Retry-After".to_owned(), seconds.to_string())];
        Some(match self {
            Self::Challenge => return None,
            Self::Stranger => (403, Vec::new()),
            Self::NoSuchNumber => (404, Vec::new()),
            Self::Closed { opens_in } => (480, opens_in.map(retry).unwrap_or_default()),
            Self::Full { elsewhere } if elsewhere.is_empty() => (503, retry(FULL)),
            Self::Full { elsewhere } => {
                (302, elsewhere.iter().map(|contact| ("Contact".to_owned(), contact.clone())).collect())
            }
            Self::TrunkLimit => (503, retry(FULL)),
            Self::Media(code) => (*code, Vec::new()),
            Self::Tables => (503, retry(AWAY)),
        })
    }

    /// One word for the metric.
    pub(super) fn word(&self) -> &'static str {
        match self {
            Self::Challenge => "challenged",
            Self::Stranger => "stranger",
            Self::NoSuchNumber => "no_such_number",
            Self::Closed { .. } => "closed",
            Self::Full { elsewhere } if elsewhere.is_empty() => "full",
            Self::Full { .. } => "redirected",
            Self::TrunkLimit => "trunk_limit",
            Self::Media(_) => "media",
            Self::Tables => "tables",
        }
    }

    /// What admission's refusal means to a caller; `elsewhere` is asked for only where another server may have room.
    pub(super) fn by(refusal: Refusal, elsewhere: impl FnOnce() -> Vec<String>) -> Self {
        match refusal {
            Refusal::Full | Refusal::Draining | Refusal::NotReady => Self::Full { elsewhere: elsewhere() },
            Refusal::TrunkLimit => match elsewhere() {
                others if others.is_empty() => Self::TrunkLimit,
                // Each server has a share of the trunk's limit: another's may not be used up.
                others => Self::Full { elsewhere: others },
            },
            Refusal::WrongServer | Refusal::Fenced | Refusal::TooLate | Refusal::Unreadable | Refusal::Unsettled => {
                Self::Tables
            }
        }
    }
}

impl From<StoreError> for Refused {
    fn from(error: StoreError) -> Self {
        tracing::warn!(%error, "a call that came in is refused");
        Self::Tables
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_refusal_has_its_answer() {
        let check = |refused: Refused, expect: &str| {
            let text = refused.answer().map_or("challenge".to_owned(), |(code, headers)| {
                let headers: Vec<String> = headers.iter().map(|(name, value)| format!("{name}: {value}")).collect();
                format!("{code} {}", headers.join(", "))
            });
            assert_eq!(text.trim_end(), expect, "{refused:?}");
        };
        check(Refused::Challenge, "challenge");
        check(Refused::Stranger, "403");
        check(Refused::NoSuchNumber, "404");
        check(Refused::Closed { opens_in: Some(3600) }, "480 Retry-After: 3600");
        check(Refused::Closed { opens_in: None }, "480");
        check(Refused::Media(488), "488");
        check(Refused::Tables, "503 Retry-After: 5");
        let full = |refusal: Refusal, others: &[&str]| {
            Refused::by(refusal, || others.iter().map(|&other| other.to_owned()).collect())
        };
        check(full(Refusal::Full, &[]), "503 Retry-After: 10");
        check(full(Refusal::Draining, &["<sip:1@b>"]), "302 Contact: <sip:1@b>");
        check(full(Refusal::NotReady, &["<sip:1@b>", "<sip:1@c>"]), "302 Contact: <sip:1@b>, Contact: <sip:1@c>");
        check(full(Refusal::TrunkLimit, &[]), "503 Retry-After: 10");
        check(full(Refusal::TrunkLimit, &["<sip:1@b>"]), "302 Contact: <sip:1@b>");
        check(full(Refusal::Unsettled, &["<sip:1@b>"]), "503 Retry-After: 5");
    }
}
