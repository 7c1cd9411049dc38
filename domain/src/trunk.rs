//! A SIP trunk: where calls are sent, as whom, and what it allows.
//! It must never resolve a host name or open its sealed password.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use utoipa::ToSchema;

use crate::ids::TrunkId;
use crate::money::Money;
use crate::secret::Sealed;

mod preset;

/// A trunk as stored; field names are wire names of the admin API.
#[derive(derive_more::Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Trunk {
    pub trunk_id: TrunkId,
    #[serde(default)]
    pub version: u64,
    pub name: String,
    /// The carrier whose ways stand where the admin gave none; see [`Trunk::complete`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preset: Option<Preset>,
    pub host: String,
    #[serde(default = "sip_port")]
    pub port: u16,
    #[serde(default)]
    pub transport: TrunkTransport,
    /// `host[:port]` that requests are sent to instead of `host`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outbound_proxy: Option<String>,
    #[serde(default)]
    pub username: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auth_username: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<Sealed>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub realm: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from_domain: Option<String>,
    #[serde(default)]
    pub from_user: FromUser,
    #[serde(default)]
    pub identity_header: IdentityHeader,
    #[serde(default)]
    pub privacy: bool,
    /// The user of every Request-URI in place of the called number: for a phone or PBX that is one destination.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to_user: Option<String>,
    #[serde(default)]
    pub to_format: NumberFormat,
    #[serde(default)]
    pub from_format: NumberFormat,
    /// Extra headers of each INVITE.
    #[serde(default)]
    #[debug("(secret)")]
    pub headers: BTreeMap<String, String>,
    /// DIDs, ranges (`+9112340000-+9112349999`) and prefixes (`+911234*`); empty leaves it to the carrier.
    #[serde(default)]
    pub numbers: Vec<String>,
    pub default_number: String,
    /// ISO 3166-1 alpha-2.
    #[serde(default = "india")]
    pub default_country: String,
    #[serde(default = "g711")]
    pub codecs: Vec<TrunkCodec>,
    #[serde(default)]
    pub dtmf: Dtmf,
    /// Calls at once, over the whole fleet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_calls: Option<u32>,
    /// Calls begun in any second, over the whole fleet; above one a fraction does not count, below one it is one call in
    /// a longer span.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_cps: Option<f64>,
    /// Calls begun in any 60 seconds, over the whole fleet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_cpm: Option<u32>,
    /// Of calls that begin on one day, UTC; decimals in the currency of the deployment's prices.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_spend_per_day: Option<Money>,
    /// ISO codes; empty = every country.
    #[serde(default)]
    pub allowed_countries: Vec<String>,
    /// `+` and leading digits; empty = every number.
    #[serde(default)]
    pub allowed_prefixes: Vec<String>,
    /// `+` and leading digits; these go before what is allowed.
    #[serde(default)]
    pub denied_prefixes: Vec<String>,
    /// Whether numbers at premium rates may be called.
    #[serde(default)]
    pub allow_premium: bool,
    /// Where the carrier's calls to us come from: of several trunks the smallest network counts. From anywhere else, who
    /// knows `username` and `password` is let in where the fleet's setting `sip_unknown` is `challenge`.
    #[serde(default)]
    #[schema(value_type = Vec<String>)]
    pub inbound_cidrs: Vec<ipnet::IpNet>,
    #[serde(default)]
    #[schema(value_type = Vec<String>)]
    pub media_cidrs: Vec<ipnet::IpNet>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server_group: Option<String>,
}

fn sip_port() -> u16 {
    5060
}
fn india() -> String {
    "IN".to_owned()
}
fn g711() -> Vec<TrunkCodec> {
    vec![TrunkCodec::Pcmu, TrunkCodec::Pcma]
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Preset {
    Exotel,
    Tata,
    Airtel,
    Twilio,
    Telnyx,
    Generic,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum TrunkTransport {
    #[default]
    Udp,
}

/// Whose name stands in From.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum FromUser {
    #[default]
    CallerId,
    Username,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum IdentityHeader {
    #[default]
    None,
    Pai,
    Ppi,
    Rpid,
}

/// How numbers are written towards the carrier.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub enum NumberFormat {
    #[default]
    #[serde(rename = "+e164")]
    PlusE164,
    #[serde(rename = "e164")]
    E164,
    #[serde(rename = "national")]
    National,
    #[serde(rename = "0national")]
    ZeroNational,
    #[serde(rename = "raw")]
    Raw,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum TrunkCodec {
    Pcmu,
    Pcma,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Dtmf {
    #[default]
    Auto,
    Rfc4733,
    Info,
    Inband,
}
