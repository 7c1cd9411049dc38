//! Bots as admins keep them: what the table asks, and what only this deployment can judge (URLs, schemas).
//! It must never let a version number be used twice, even after a deletion: calls refer to versions.

use async_trait::async_trait;
use domain::bot::{Bot, Providers};
use domain::field_error::FieldError;
use domain::ids::BotId;
use domain::ports::{Deletion, Put, StoreError};
use domain::secret::BOT_SECRETS;
use domain::template::Template;
use serde_json::Value;

use super::entity::Entity;
use super::{Desk, last_bot_version};

#[async_trait]
impl Entity for Bot {
    const NOUN: &'static str = "bot";
    const ID: &'static str = "bot_id";
    const SECRETS: &'static [&'static str] = BOT_SECRETS;
    const SIGNING: &'static [&'static str] = &["push", "webhook"];

    fn sealed_under(id: &str) -> String {
        format!("bot/{id}")
    }

    fn id(&self) -> &str {
        self.bot_id.as_str()
    }

    fn version(&self) -> u64 {
        self.version
    }

    fn set_version(&mut self, version: u64) {
        self.version = version;
    }

    fn complete(_: &mut Value) {}

    fn faults(&self, desk: &Desk) -> Vec<FieldError> {
        let mut faults = self.validate();
        faults.extend(url_faults(self, desk));
        if let Some(schema) = &self.analysis_schema
            && jsonschema::validator_for(schema).is_err()
        {
            faults.push(FieldError::body("analysis_schema", "json_schema", "this is no JSON Schema"));
        }
        faults
    }

    fn warnings(&self) -> Vec<String> {
        Bot::warnings(self)
    }

    async fn get(desk: &Desk, id: &str) -> Result<Option<Self>, StoreError> {
        let Ok(id) = BotId::parse(id) else { return Ok(None) };
        desk.bots.get(&id).await
    }

    async fn last_version(desk: &Desk, id: &str) -> Result<u64, StoreError> {
        let Ok(id) = BotId::parse(id) else { return Ok(0) };
        last_bot_version(&*desk.bots, &id).await
    }

    /// A new bot is noted before it can have calls: what they leave is deleted by its rule even if it is gone by then.
    async fn put(&self, desk: &Desk, replaces: Option<u64>) -> Result<Put, StoreError> {
        if replaces.is_none() {
            let today = desk.clock.now().to_zoned(jiff::tz::TimeZone::UTC).date();
            // Clocks differ: a fleet server's may still say yesterday.
            let since = today.yesterday().unwrap_or(today);
            desk.housekeeping.note_bot(&self.bot_id, since).await?;
        }
        let put = desk.bots.put(self, replaces).await;
        desk.memory.bots.forget(&self.bot_id);
        put
    }

    async fn delete(desk: &Desk, id: &str, version: Option<u64>) -> Result<Deletion, StoreError> {
        let Ok(id) = BotId::parse(id) else { return Ok(Deletion::Missing) };
        let deleted = desk.bots.delete(&id, version).await;
        desk.memory.bots.forget(&id);
        deleted
    }

    async fn list(desk: &Desk) -> Result<Vec<Self>, StoreError> {
        desk.bots.list().await
    }
}

/// URLs that the guarded client would refuse are refused when they are set, not when a customer waits for them.
fn url_faults(bot: &Bot, desk: &Desk) -> Vec<FieldError> {
    let mut faults = Vec::new();
    let mut check = |path: &str, url: &str| {
        if let Err(cause) = desk.egress.check(url) {
            faults.push(FieldError::body(path, "url_not_allowed", cause.to_string()));
        }
    };
    if let Some(push) = &bot.push {
        check("push.url", &push.url);
    }
    if let Some(webhook) = &bot.webhook {
        check("webhook.url", &webhook.url);
    }
    // A URL with templates is judged when it is rendered.
    if let Some(prefetch) = bot.prefetch.as_ref().filter(|prefetch| Template::parse(&prefetch.url).is_literal()) {
        check("prefetch.url", &prefetch.url);
    }
    let mut check_all = |kind: &str, providers: &Providers| {
        for (index, provider) in providers.providers.iter().enumerate() {
            if let Some(url) = &provider.base_url {
                check(&format!("{kind}.providers.{index}.base_url"), url);
            }
        }
    };
    check_all("stt", &bot.stt);
    check_all("llm", &bot.llm);
    check_all("tts", &bot.tts);
    faults
}
