//! What calls cost, and how much of it a bot or a trunk may spend in a day. Amounts are in whatever currency the prices are.
//! It must never guess a price that no rule names.

use std::time::Duration;

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::active_hours::zone;
use crate::bot::Bot;
use crate::ids::CallId;
use crate::money::{Money, MoneyError};
use crate::phone::E164;
use crate::trunk::Trunk;

/// Why a text is no price.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum PriceError {
    #[error(transparent)]
    Amount(#[from] MoneyError),
    #[error(
        "a price is a number's prefix, a price a minute and maybe a price a call, e.g. `+91 0.60` or `+1 0.02 0.005`"
    )]
    Rule,
}

/// What a call costs that is answered; one that is not costs nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Price {
    /// Each begun minute.
    pub per_minute: Money,
    pub per_call: Money,
}

impl Price {
    /// The cost of a call that lasted this long from its answer; at least one minute.
    pub fn of(&self, talked: Duration) -> Money {
        let minutes = u64::try_from(talked.as_millis().div_ceil(60_000)).unwrap_or(u64::MAX).max(1);
        self.per_minute.times(minutes).plus(self.per_call)
    }
}

/// One line of the price table: `+91 0.60 0.01`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PriceRule {
    /// `+` and leading digits; `+` alone is every number.
    prefix: String,
    price: Price,
}

impl PriceRule {
    /// Reads a prefix, a price a minute, and maybe a price a call.
    ///
    /// # Errors
    /// [`PriceError`] says what it should look like.
    pub fn parse(text: &str) -> Result<Self, PriceError> {
        let parts: Vec<&str> = text.split_whitespace().collect();
        let (prefix, per_minute, per_call) = match parts[..] {
            [prefix, per_minute] => (prefix, per_minute, "0"),
            [prefix, per_minute, per_call] => (prefix, per_minute, per_call),
            _ => return Err(PriceError::Rule),
        };
        if !is_prefix(prefix) {
            return Err(PriceError::Rule);
        }
        let price = Price { per_minute: Money::parse(per_minute)?, per_call: Money::parse(per_call)? };
        Ok(Self { prefix: prefix.to_owned(), price })
    }
}

/// `+` and at most 15 digits.
fn is_prefix(text: &str) -> bool {
    let digits = text.strip_prefix('+');
    digits.is_some_and(|digits| digits.len() <= 15 && digits.bytes().all(|byte| byte.is_ascii_digit()))
}

impl TryFrom<String> for PriceRule {
    type Error = PriceError;
    fn try_from(text: String) -> Result<Self, PriceError> {
        Self::parse(&text)
    }
}

impl From<PriceRule> for String {
    fn from(rule: PriceRule) -> Self {
        format!("{} {} {}", rule.prefix, rule.price.per_minute, rule.price.per_call)
    }
}

/// The deployment's prices.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prices {
    rules: Vec<PriceRule>,
    /// How long a call is reckoned with before it has ended; at least one minute is.
    reserve: Duration,
}

impl Default for Prices {
    fn default() -> Self {
        Self { rules: Vec::new(), reserve: Duration::from_secs(60) }
    }
}

impl Prices {
    pub fn new(rules: Vec<PriceRule>, reserve: Duration) -> Self {
        Self { rules, reserve }
    }

    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// The price of the longest prefix of a number; of equal ones, the last.
    pub fn of(&self, number: &E164) -> Option<Price> {
        let fitting = self.rules.iter().filter(|rule| number.as_str().starts_with(&rule.prefix));
        fitting.max_by_key(|rule| rule.prefix.len()).map(|rule| rule.price)
    }

    /// What is set aside for a call when it is placed.
    pub fn reservation(&self, price: Price) -> Money {
        price.of(self.reserve)
    }
}

/// Whose ceiling.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Spender {
    Bot,
    Trunk,
}

impl Spender {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Bot => "bot",
            Self::Trunk => "trunk",
        }
    }
}

/// What one bot or trunk may spend on one day.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    pub spender: Spender,
    pub id: String,
    /// The calendar day: of the bot's zone, or of UTC for a trunk.
    pub day: Date,
    pub ceiling: Money,
    /// When the day ends.
    pub resets_at: Timestamp,
}

impl Account {
    pub fn of_bot(bot: &Bot, now: Timestamp) -> Option<Self> {
        let zone = zone(&bot.hours.timezone).unwrap_or(TimeZone::UTC);
        Self::on_day(Spender::Bot, bot.bot_id.as_str(), bot.max_spend_per_day?, &zone, now)
    }

    pub fn of_trunk(trunk: &Trunk, now: Timestamp) -> Option<Self> {
        Self::on_day(Spender::Trunk, trunk.trunk_id.as_str(), trunk.max_spend_per_day?, &TimeZone::UTC, now)
    }

    fn on_day(spender: Spender, id: &str, ceiling: Money, zone: &TimeZone, now: Timestamp) -> Option<Self> {
        let day = now.to_zoned(zone.clone()).date();
        let resets_at = day.checked_add(1.day()).ok()?.to_zoned(zone.clone()).ok()?.timestamp();
        Some(Self { spender, id: id.to_owned(), day, ceiling, resets_at })
    }

    /// The name of its counter.
    pub fn key(&self) -> String {
        format!("{}/{}#{}", self.spender.as_str(), self.id, self.day)
    }
}

/// What is set aside for one call, until its end tells what it cost.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hold {
    pub call_id: CallId,
    /// One or two, never of the same spender.
    pub accounts: Vec<Account>,
    pub reserved: Money,
    pub price: Price,
    /// By now the call must have ended, if there ever was one.
    pub due_at: Timestamp,
}

impl Hold {
    /// What the call cost in the end.
    pub fn cost(&self, answered: bool, duration_ms: u64) -> Money {
        if answered { self.price.of(Duration::from_millis(duration_ms)) } else { Money::ZERO }
    }
}

/// What a reservation came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reserved {
    /// Set aside, now or by an earlier try for the same call.
    Held,
    /// It would go over this account's ceiling; nothing was set aside.
    Over(Account),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_prefix_has_the_price() {
        let rules = ["+ 1", "+91 0.5 0.1", "+9198 0.7"].map(|rule| PriceRule::parse(rule).unwrap());
        let prices = Prices::new(rules.into(), Duration::from_secs(60));
        let check = |number: &str, talked_ms: u64, expect: &str| {
            let price = prices.of(&E164::parse(number).unwrap()).unwrap();
            assert_eq!(price.of(Duration::from_millis(talked_ms)).to_string(), expect, "{number} {talked_ms}");
        };
        check("+919876543210", 1, "0.7");
        check("+919876543210", 60_000, "0.7");
        check("+919876543210", 60_001, "1.4");
        check("+911140000000", 0, "0.6");
        check("+911140000000", 180_000, "1.6");
        check("+442079460958", 59_000, "1");
        assert_eq!(Prices::default().of(&E164::parse("+919876543210").unwrap()), None);
        for wrong in ["", "+91", "91 1", "+91 x", "+91 1 2 3", "+9a 1", "+91 -1"] {
            assert!(PriceRule::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_day_is_the_spenders_own() {
        let check = |zone: &str, now: &str, day: &str, resets_at: &str| {
            let bot: Bot = serde_json::from_value(serde_json::json!({
                "bot_id": "b", "name": "B", "timezone": zone, "max_spend_per_day": "5"
            }))
            .unwrap();
            let account = Account::of_bot(&bot, now.parse().unwrap()).unwrap();
            assert_eq!(account.key(), format!("bot/b#{day}"));
            assert_eq!(account.resets_at, resets_at.parse().unwrap(), "{zone} {now}");
        };
        check("Asia/Kolkata", "2026-01-05T18:29:59Z", "2026-01-05", "2026-01-05T18:30:00Z");
        check("Asia/Kolkata", "2026-01-05T18:30:00Z", "2026-01-06", "2026-01-06T18:30:00Z");
        check("UTC", "2026-01-05T00:00:00Z", "2026-01-05", "2026-01-06T00:00:00Z");
        // The day on which the clocks go forward has 23 hours.
        check("America/New_York", "2026-03-08T06:00:00Z", "2026-03-08", "2026-03-09T04:00:00Z");
    }
}
