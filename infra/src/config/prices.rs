//! What calls cost, as a deployment's settings say.
//! It must never hold a price in a binary fraction: those are texts.

use domain::spend::{PriceRule, Prices};
use serde::Deserialize;

use super::Period;

/// The price table; without one, no ceiling can be kept and calls of who has one are refused.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct PricesConfig {
    /// `PREFIX PRICE-A-MINUTE [PRICE-A-CALL]`; the longest prefix of the called number counts.
    pub calls: Vec<PriceRule>,
    /// How long a call is reckoned with while it goes on.
    pub reserve: Period,
}

impl Default for PricesConfig {
    fn default() -> Self {
        Self { calls: Vec::new(), reserve: Period::seconds(60) }
    }
}

impl From<PricesConfig> for Prices {
    fn from(config: PricesConfig) -> Self {
        Self::new(config.calls, config.reserve.0)
    }
}
