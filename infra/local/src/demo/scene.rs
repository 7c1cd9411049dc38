//! Everything the demo needs, started and told of each other: platform, test phone, CRM; a key, a trunk and a bot.
//! It must never use a fixed port or anything of the user's: a demo runs beside whatever else runs.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use secrecy::SecretString;
use serde_json::{Value, json};
use server::provider::{Engine, Speech, VoiceSpec};
use tokio::sync::mpsc;

use super::script;
use super::sink::Sink;
use crate::cli::api::Api;
use crate::phone::{Account, Persona, Phone, PhoneConfig, PhoneEvent};
use crate::platform::Platform;
use crate::settings::Settings;

/// The user part of the trunk's credentials.
const USER: &str = "ringfleet";
/// Long enough to be seen, too short to be waited for.
const RING: Duration = Duration::from_millis(1500);

pub(super) struct Scene {
    pub(super) platform: Platform,
    pub(super) phone: Phone,
    pub(super) events: mpsc::Receiver<PhoneEvent>,
    pub(super) sink: Sink,
    /// Worth knowing only where the platform's data is kept.
    pub(super) admin_key: SecretString,
    /// With a client's key for the demo's bot.
    pub(super) client: Api,
    pub(super) persona: Persona,
    pub(super) variables: Value,
}

impl Scene {
    pub(super) async fn set(settings: Settings, data: &Path, speech: Arc<Speech>) -> Result<Self> {
        let persona = Persona::rahul();
        let password = random_text();
        let (phone, events) = Phone::start(phone_config(&persona, &password), speech.clone())?;

        let (token, secret) = (format!("Bearer {}", random_text()), webhook_secret());
        let sink = Sink::start(&token, &secret).await?;

        let admin_key = SecretString::from(format!("demo-{}", random_text()));
        let mut settings = settings.aside(data);
        settings.admin_key = Some(admin_key.clone());
        let platform = Platform::start_with(settings, speech).await?;

        let admin = Api::new(&platform.ready().http, admin_key.clone())?;
        let (host, port) = (phone.address.ip().to_string(), phone.address.port());
        admin.put("/api/v1/admin/trunks", script::TRUNK, &script::trunk(&host, port, USER, &password)).await?;
        admin.put("/api/v1/admin/bots", script::BOT, &script::bot(&sink.url(), &token, &secret)).await?;
        let key = json!({"name": "demo client", "role": "client", "bots": [script::BOT]});
        let key = admin.post("/api/v1/admin/keys", &key).await?.body;
        let key = key["key"].as_str().context("the platform minted no key")?;
        let client = Api::new(&platform.ready().http, SecretString::from(key))?;
        let variables = script::variables(&persona.name, today(Timestamp::now()));
        Ok(Self { platform, phone, events, sink, admin_key, client, persona, variables })
    }
}

fn phone_config(persona: &Persona, password: &str) -> PhoneConfig {
    // The bot's voice, higher, so that one hears who speaks: of all that is there the recogniser knows it best.
    let voices = vec![VoiceSpec { pitch_permille: 1120, ..VoiceSpec::new(Engine::Piper, "joe") }];
    let mut config = PhoneConfig::new(persona.clone(), voices);
    config.ring = RING;
    config.account =
        Some(Account { username: USER.to_owned(), password: password.to_owned(), realm: "test-phone".to_owned() });
    config
}

/// The date at the bot's place.
pub(super) fn today(now: Timestamp) -> Date {
    now.to_zoned(TimeZone::get(script::ZONE).unwrap_or(TimeZone::UTC)).date()
}

fn random_text() -> String {
    hex::encode(rand::random::<[u8; 12]>())
}

fn webhook_secret() -> String {
    format!("whsec_{}", STANDARD.encode(rand::random::<[u8; 24]>()))
}
