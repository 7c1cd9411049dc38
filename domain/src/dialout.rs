//! The dialout request: from bytes to a checked request, and from its numbers to numbers that may be dialled.
//! It must never look anything up: bot and trunk are given, and the order of checks is its caller's.

use serde_json::value::RawValue;

pub use crate::field_error::FieldError;

use crate::bot::Bot;
use crate::ids::BotId;
use crate::phone::{self, Dialled, E164, NumberRule, PhoneError};
use crate::strict_json;
use crate::trunk::Trunk;
use crate::variables::{Fields, Variables};

/// Largest body, bytes; above it the answer is 413, before this module is asked.
pub const MAX_BODY: usize = 256 * 1024;
/// Most names of unknown fields that are kept.
const MAX_UNKNOWN: usize = 20;

/// The body of `POST /api/v1/dialout`, well-formed; its numbers are judged when the trunk is known.
#[derive(derive_more::Debug, Clone, PartialEq)]
pub struct DialoutRequest {
    pub bot_id: BotId,
    #[debug("(personal)")]
    pub to_number: String,
    /// `None` when omitted, null or empty: the trunk's default.
    #[debug("(personal)")]
    pub from_number: Option<String>,
    pub variables: Option<Variables>,
    /// Names of fields that mean nothing here, at most 20, cut to 64 characters.
    pub unknown: Vec<String>,
}

impl DialoutRequest {
    /// The unknown fields as errors, for `Prefer: handling=strict`.
    pub fn unknown_as_errors(&self) -> Vec<FieldError> {
        let refuse = |name: &String| FieldError::at(&[name], "extra_forbidden", "Unknown field");
        self.unknown.iter().map(refuse).collect()
    }
}

/// Reads a body.
///
/// # Errors
/// Everything that is wrong with it, at once; what is not JSON is one error.
pub fn parse(bytes: &[u8]) -> Result<DialoutRequest, Vec<FieldError>> {
    let text = strict_json::check(bytes)
        .map_err(|e| vec![FieldError::body("", "json_invalid", format!("Invalid JSON: {e}"))])?;
    let body = Fields::of_object(text)
        .ok_or_else(|| vec![FieldError::body("", "dict_type", "The body must be a JSON object")])?;
    let mut errors = Vec::new();
    let bot_id = required_text(&body, "bot_id", &mut errors).and_then(|id| {
        BotId::parse(id).map_err(|e| errors.push(FieldError::body("bot_id", "bot_id_malformed", e.to_string()))).ok()
    });
    let to_number = required_text(&body, "to_number", &mut errors);
    let from_number = optional_text(&body, "from_number", &mut errors);
    let variables = body.get("variables").map_or(Ok(None), Variables::parse).unwrap_or_else(|e| {
        let kind = if e == crate::variables::VariablesError::NotObject { "dict_type" } else { "too_long" };
        errors.push(FieldError::body("variables", kind, e.to_string()));
        None
    });
    match (bot_id, to_number) {
        (Some(bot_id), Some(to_number)) if errors.is_empty() => {
            Ok(DialoutRequest { bot_id, to_number, from_number, variables, unknown: unknown(&body) })
        }
        _ => Err(errors),
    }
}

fn text_of(raw: &RawValue, name: &str, errors: &mut Vec<FieldError>) -> Option<String> {
    let text = serde_json::from_str(raw.get()).ok();
    if text.is_none() {
        errors.push(FieldError::body(name, "string_type", "Must be a string"));
    }
    text
}

fn required_text(body: &Fields, name: &str, errors: &mut Vec<FieldError>) -> Option<String> {
    let Some(raw) = body.get(name) else {
        errors.push(FieldError::body(name, "missing", "Field required"));
        return None;
    };
    let text = text_of(raw, name, errors)?;
    if text.is_empty() {
        errors.push(FieldError::body(name, "string_too_short", "Must not be empty"));
        return None;
    }
    Some(text)
}

fn optional_text(body: &Fields, name: &str, errors: &mut Vec<FieldError>) -> Option<String> {
    let raw = body.get(name).filter(|raw| raw.get() != "null")?;
    text_of(raw, name, errors).filter(|text| !text.is_empty())
}

fn unknown(body: &Fields) -> Vec<String> {
    const KNOWN: [&str; 4] = ["bot_id", "to_number", "from_number", "variables"];
    let strange = body.iter().map(|(name, _)| name).filter(|name| !KNOWN.contains(name));
    strange.take(MAX_UNKNOWN).map(|name| name.chars().take(64).collect()).collect()
}

/// The number a call shows to the customer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CallerNumber {
    E164(E164),
    /// A trunk's default that is no E.164 number (an extension, a user name); sent as it is.
    Raw(String),
}

impl CallerNumber {
    pub fn as_str(&self) -> &str {
        match self {
            Self::E164(number) => number.as_str(),
            Self::Raw(text) => text,
        }
    }

    /// A trunk's default number.
    pub fn default_of(trunk: &Trunk) -> Self {
        E164::parse(&trunk.default_number).map_or_else(|_| Self::Raw(trunk.default_number.clone()), Self::E164)
    }
}

/// Numbers that a trunk may dial.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlacedNumbers {
    pub to: E164,
    pub from: CallerNumber,
}

/// Reads the called number as [`place`] will, so that its owner can be looked up first.
///
/// # Errors
/// Says why it is no number to be called.
pub fn dialled(request: &DialoutRequest, trunk: &Trunk) -> Result<Dialled, PhoneError> {
    phone::parse_dialled(&request.to_number, &trunk.default_country)
}

/// Judges the numbers of a request on the trunk that would carry it.
/// `platform_dids` says whether an E.164 number is one of the platform's own.
///
/// # Errors
/// Everything that is wrong with them, at once.
pub fn place(
    request: &DialoutRequest,
    bot: &Bot,
    trunk: &Trunk,
    platform_dids: impl Fn(&str) -> bool,
) -> Result<PlacedNumbers, Vec<FieldError>> {
    let is_ours =
        |number: &E164| platform_dids(number.as_str()) || bot.numbers.iter().any(|did| did == number.as_str());
    let to = dialled(request, trunk)
        .map_err(|e| FieldError::body("to_number", e.word(), e.to_string()))
        .and_then(|dialled| allowed_to(dialled, trunk, is_ours));
    let from = allowed_from(request.from_number.as_deref(), trunk);
    match (to, from) {
        (Ok(to), Ok(from)) => Ok(PlacedNumbers { to, from }),
        (to, from) => Err(to.err().into_iter().chain(from.err()).collect()),
    }
}

fn allowed_to(dialled: Dialled, trunk: &Trunk, is_ours: impl Fn(&E164) -> bool) -> Result<E164, FieldError> {
    let refuse = |word: &str, msg: String| Err(FieldError::body("to_number", word, msg));
    let allowed = |country: &String| trunk.allowed_countries.iter().any(|code| code.eq_ignore_ascii_case(country));
    if !trunk.allowed_countries.is_empty() && !dialled.country.as_ref().is_some_and(allowed) {
        let country = dialled.country.as_deref().unwrap_or("no country");
        let calls = trunk.allowed_countries.join(", ");
        return refuse("country_not_allowed", format!("The number is of {country}; the trunk calls {calls} only"));
    }
    let begins = |prefixes: &[String]| prefixes.iter().any(|prefix| dialled.e164.as_str().starts_with(prefix));
    if begins(&trunk.denied_prefixes) {
        return refuse("number_denied", "The trunk's denied_prefixes rule that number out".to_owned());
    }
    if !trunk.allowed_prefixes.is_empty() && !begins(&trunk.allowed_prefixes) {
        let calls = trunk.allowed_prefixes.join(", ");
        return refuse("number_not_allowed", format!("The trunk calls numbers that begin with {calls} only"));
    }
    if dialled.premium && !trunk.allow_premium {
        let msg = "A premium-rate number; the trunk calls those only with allow_premium";
        return refuse("premium_number", msg.to_owned());
    }
    if is_ours(&dialled.e164) {
        return refuse("own_number", "The platform does not call its own numbers".to_owned());
    }
    Ok(dialled.e164)
}

fn allowed_from(from: Option<&str>, trunk: &Trunk) -> Result<CallerNumber, FieldError> {
    let default = CallerNumber::default_of(trunk);
    let Some(typed) = from.filter(|typed| *typed != default.as_str()) else {
        return Ok(default);
    };
    let number = phone::parse_dialled(typed, &trunk.default_country)
        .map_err(|e| FieldError::body("from_number", e.word(), e.to_string()))?
        .e164;
    let carried =
        trunk.numbers.iter().filter_map(|rule| NumberRule::parse(rule).ok()).any(|rule| rule.matches(&number));
    if trunk.numbers.is_empty() || carried || number.as_str() == default.as_str() {
        return Ok(CallerNumber::E164(number));
    }
    Err(FieldError::body("from_number", "from_number_not_allowed", "The trunk does not own that number"))
}

#[cfg(test)]
mod tests;
