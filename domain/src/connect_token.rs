//! Connect tokens: what a dialler shows to be let in to one bot by WebSocket, until a certain moment.
//! A token is `rfc_`, its claims (JSON) and a MAC over both, in base64url, so that every server judges it without a table.
//! It must never be taken for another bot, and nothing in it may be believed before its MAC holds.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use jiff::Timestamp;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use sha2::Sha256;
use subtle::ConstantTimeEq;
use thiserror::Error;

use crate::bot::Bot;
use crate::ids::{BotId, KeyId};
use crate::ports::Entropy;
use crate::signing::{FleetSecret, FleetSecrets};

/// How every connect token begins; no API key that the platform mints does.
pub const PREFIX: &str = "rfc_";
/// Longest name of a token, characters.
pub const NAME_MAX: usize = 100;
/// No token is longer, bytes: names have up to 100 characters, which JSON may write with 12 bytes each.
const TOKEN_MAX: usize = 4096;
/// Fleet secrets sign requests too: a token's key is derived, so that no signature of the one is one of the other.
const PURPOSE: &[u8] = b"ringfleet connect token 1";

/// What a token says. The names are short: a token stands in URLs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claims {
    #[serde(rename = "b")]
    pub bot: BotId,
    /// Stands in for a key's id in what is kept of the calls that came with it.
    #[serde(rename = "t")]
    pub id: KeyId,
    #[serde(rename = "i", with = "millis")]
    pub made_at: Timestamp,
    #[serde(rename = "e", with = "millis")]
    pub expires_at: Timestamp,
    #[serde(rename = "n", default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

/// Why a token does not let its bearer in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum TokenError {
    #[error("this is no connect token")]
    Malformed,
    #[error("no secret that is known has made this token")]
    Unknown,
    #[error("the token is another bot's")]
    OtherBot,
    #[error("the token has expired")]
    Expired,
    #[error("the token was taken back by the bot's websocket.tokens_after")]
    TakenBack,
}

/// The id of a new token: `ct_` and 16 hex digits.
pub fn mint_id(entropy: &dyn Entropy) -> KeyId {
    let mut random = [0; 8];
    entropy.fill(&mut random);
    KeyId::parse(format!("ct_{}", hex::encode(random))).expect("letters, digits and an underscore are an id")
}

/// Makes the token of `claims` with the current secret.
pub fn mint(secrets: &FleetSecrets, claims: &Claims) -> SecretString {
    let json = serde_json::to_vec(claims).expect("texts and numbers are always JSON");
    let claims = URL_SAFE_NO_PAD.encode(json);
    let mac = URL_SAFE_NO_PAD.encode(mac(&secrets.current, &claims));
    SecretString::from(format!("{PREFIX}{claims}.{mac}"))
}

/// Judges a token that somebody shows for `bot`.
///
/// # Errors
/// Why it does not hold; the answer to the other side is 401 in every case.
pub fn verify(secrets: &FleetSecrets, token: &str, bot: &Bot, now: Timestamp) -> Result<Claims, TokenError> {
    let claims = read(secrets, token)?;
    if claims.bot != bot.bot_id {
        return Err(TokenError::OtherBot);
    }
    if now >= claims.expires_at {
        return Err(TokenError::Expired);
    }
    match bot.websocket.tokens_after {
        Some(after) if claims.made_at < after => Err(TokenError::TakenBack),
        _ => Ok(claims),
    }
}

fn read(secrets: &FleetSecrets, token: &str) -> Result<Claims, TokenError> {
    let inner = token.strip_prefix(PREFIX).filter(|inner| inner.len() <= TOKEN_MAX).ok_or(TokenError::Malformed)?;
    let (claims, given) = inner.split_once('.').ok_or(TokenError::Malformed)?;
    let given = URL_SAFE_NO_PAD.decode(given).map_err(|_| TokenError::Malformed)?;
    // A token lives for up to a year, and outlives the secret's time as the one that signs.
    let mut known = std::iter::once(&secrets.current).chain(&secrets.previous).chain(&secrets.retired);
    if !known.any(|secret| bool::from(mac(secret, claims).ct_eq(given.as_slice()))) {
        return Err(TokenError::Unknown);
    }
    let json = URL_SAFE_NO_PAD.decode(claims).map_err(|_| TokenError::Malformed)?;
    serde_json::from_slice(&json).map_err(|_| TokenError::Malformed)
}

fn mac(secret: &FleetSecret, claims: &str) -> Vec<u8> {
    let key = hmac(secret.secret.expose_secret().as_bytes(), PURPOSE);
    hmac(&key, claims.as_bytes())
}

fn hmac(key: &[u8], text: &[u8]) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
    mac.update(text);
    mac.finalize().into_bytes().to_vec()
}

/// Unix milliseconds.
mod millis {
    use jiff::Timestamp;
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(at: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_i64(at.as_millisecond())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Timestamp, D::Error> {
        Timestamp::from_millisecond(i64::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const MADE: i64 = 1_800_000_000_000;

    fn at(ms: i64) -> Timestamp {
        Timestamp::from_millisecond(MADE + ms).unwrap()
    }

    fn secrets(current: &str, previous: Option<&str>) -> FleetSecrets {
        let previous = previous.map(|secret| FleetSecret { kid: "old".into(), secret: secret.into() });
        FleetSecrets { previous, ..FleetSecrets::single("new", current.into()) }
    }

    fn bot(id: &str, tokens_after: Option<i64>) -> Bot {
        let mut bot: Bot = serde_json::from_value(json!({"bot_id": id, "name": id})).unwrap();
        bot.websocket.tokens_after = tokens_after.map(at);
        bot
    }

    fn claims() -> Claims {
        let (bot, id) = (BotId::parse("b").unwrap(), KeyId::parse("ct_1").unwrap());
        Claims { bot, id, made_at: at(0), expires_at: at(60_000), name: Some("Dialler \"one\"".into()) }
    }

    #[test]
    fn a_token_holds_for_its_bot_and_its_time() {
        let token = mint(&secrets("s", None), &claims());
        let token = token.expose_secret();
        let check = |bot: &Bot, now: i64, expect: Result<(), TokenError>| {
            let got = verify(&secrets("s", None), token, bot, at(now));
            assert_eq!(got.clone().map(|_| ()), expect, "{} {now}", bot.bot_id);
            assert!(got.is_err() || got == Ok(claims()));
        };
        check(&bot("b", None), 0, Ok(()));
        check(&bot("b", None), 59_999, Ok(()));
        check(&bot("b", None), 60_000, Err(TokenError::Expired));
        check(&bot("c", None), 0, Err(TokenError::OtherBot));
        check(&bot("b", Some(0)), 0, Ok(()));
        check(&bot("b", Some(1)), 0, Err(TokenError::TakenBack));
        assert!(
            token.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b)),
            "it needs no escaping in a URL"
        );
    }

    #[test]
    fn live_and_retired_secrets_judge_and_no_other() {
        let check = |made_by: &str, judges: FleetSecrets, expect: Result<(), TokenError>| {
            let token = mint(&secrets(made_by, None), &claims());
            let got = verify(&judges, token.expose_secret(), &bot("b", None), at(0)).map(|_| ());
            assert_eq!(got, expect, "{made_by}");
        };
        check("1", secrets("1", None), Ok(()));
        check("1", secrets("2", Some("1")), Ok(()));
        check("1", secrets("3", Some("2")), Err(TokenError::Unknown));
        let retired = vec![FleetSecret { kid: "older".into(), secret: "1".into() }];
        check("1", FleetSecrets { retired, ..secrets("3", Some("2")) }, Ok(()));
    }

    #[test]
    fn whatever_is_changed_it_does_not_hold() {
        let token = mint(&secrets("s", None), &claims());
        let token = token.expose_secret();
        let judge = |text: &str| verify(&secrets("s", None), text, &bot("b", None), at(0)).map(|_| ());
        for index in PREFIX.len()..token.len() {
            let mut changed = token.as_bytes().to_vec();
            changed[index] = if changed[index] == b'A' { b'B' } else { b'A' };
            assert!(judge(std::str::from_utf8(&changed).unwrap()).is_err(), "byte {index}");
        }
        let check = |text: &str, expect: TokenError| assert_eq!(judge(text), Err(expect), "{text}");
        check("", TokenError::Malformed);
        check("rfc_", TokenError::Malformed);
        check("rfc_.", TokenError::Unknown);
        check("rfc_e30.%", TokenError::Malformed);
        check(&token[..token.len() - 3], TokenError::Unknown);
        check(token.trim_start_matches("rfc_"), TokenError::Malformed);
        check(&format!("rfc_{}.e30", "A".repeat(5000)), TokenError::Malformed);
        // Signed by a request's key, not by a token's.
        let claims = token[PREFIX.len()..].split_once('.').unwrap().0;
        let direct = URL_SAFE_NO_PAD.encode(hmac(b"s", claims.as_bytes()));
        check(&format!("rfc_{claims}.{direct}"), TokenError::Unknown);
    }
}
