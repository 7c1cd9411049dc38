//! What a call is started with: its plan, its voice, its recogniser and its model, from the bot's settings.
//! It must never fail a call for a provider that is missing: the call itself says what it can't do.

use std::sync::Arc;

use call::{BrainChoice, Plan};
use domain::bot::{Bot, Provider};
use domain::ports::bot_entity;
use domain::template::{Context, LiveCall};
use domain::variables::Fields;

use super::task::Facts;
use crate::node::Node;
use crate::provider::llm::FallbackLlm;
use crate::provider::timing::Kind;
use crate::provider::{Llm, LlmConfig, ProviderConfig, ProviderSettings, SttSession, TtsSession, VoiceSpec};

/// The plan of a call; `hears`: whether it has a recogniser.
pub(super) fn of(node: &Node, facts: &Facts<'_>, hears: bool) -> Plan {
    let Facts { row, bot, variables, custom, .. } = *facts;
    let none = Fields::new();
    let live = LiveCall {
        call_id: row.call_id,
        bot_id: &row.bot_id,
        direction: row.direction,
        to_number: &row.to_number.0,
        from_number: &row.from_number.0,
        started_at: row.started_at,
        answered_at: None,
        variables,
        prefetched: &none,
        custom,
    };
    Plan {
        call_id: row.call_id,
        direction: row.direction,
        bot: Bot::clone(bot),
        context: Context::of_call(&live, &bot.hours.timezone, node.ports.clock.now()),
        variables: variables.and_then(|raw| Fields::of_object(raw.get())).unwrap_or_default(),
        custom: custom.clone(),
        brain: brain(bot),
        hears,
        await_prefetch: bot.prefetch.as_ref().map(|prefetch| prefetch.on_failure),
    }
}

/// The first provider named decides; without any, a script wins over the deployment's model.
fn brain(bot: &Bot) -> BrainChoice {
    let scripted = match bot.llm.providers.first() {
        Some(first) => first.vendor == "script",
        None => bot.script.is_some(),
    };
    if scripted && bot.script.is_some() { BrainChoice::Script } else { BrainChoice::Model }
}

/// The bot's models in their order, else the deployment's own.
pub(super) fn llm(node: &Node, bot: &Bot) -> Option<Arc<dyn Llm>> {
    let mut configs: Vec<LlmConfig> = bot
        .llm
        .providers
        .iter()
        .filter_map(|provider| match settings(node, bot, Kind::Llm, provider) {
            Some(ProviderConfig::OpenAi(config)) => Some(config),
            _ => None,
        })
        .collect();
    if configs.is_empty() {
        configs.extend(node.model.config());
    }
    (!configs.is_empty()).then(|| Arc::new(FallbackLlm::openai(node.ports.http.clone(), configs)) as Arc<dyn Llm>)
}

/// The first of the bot's voices that this server has, else the server's own.
pub(super) fn voice(node: &Node, bot: &Bot) -> Option<TtsSession> {
    let named = bot.tts.providers.iter().filter_map(|provider| match settings(node, bot, Kind::Tts, provider) {
        Some(ProviderConfig::Voice(spec)) => Some(spec),
        _ => None,
    });
    let specs: Vec<VoiceSpec> = named.chain(std::iter::once(node.speech.default_voice())).collect();
    specs.iter().find_map(|spec| match node.speech.tts().open(spec) {
        Ok(session) => Some(session),
        Err(error) => {
            tracing::warn!(%error, voice = spec.name, "voice not available");
            None
        }
    })
}

/// The recogniser for the bot's language.
pub(super) fn recogniser(node: &Node, bot: &Bot) -> Option<SttSession> {
    match node.speech.stt().open(media::SAMPLE_RATE, &bot.language) {
        Ok(session) => Some(session),
        Err(error) => {
            tracing::warn!(%error, language = bot.language, "nobody understands the customer on this call");
            None
        }
    }
}

fn settings(node: &Node, bot: &Bot, kind: Kind, provider: &Provider) -> Option<ProviderConfig> {
    let api_key = match provider
        .api_key
        .as_ref()
        .map(|sealed| node.ports.seal.open(&bot_entity(&bot.bot_id), sealed))
        .transpose()
    {
        Ok(key) => key,
        Err(error) => {
            tracing::error!(%error, vendor = provider.vendor, "a provider's key does not open");
            return None;
        }
    };
    let given = ProviderSettings {
        vendor: provider.vendor.clone(),
        model: provider.model.clone(),
        voice: provider.voice.clone(),
        base_url: provider.base_url.clone(),
        api_key,
    };
    ProviderConfig::parse(kind, given)
        .inspect_err(|error| tracing::warn!(%error, vendor = provider.vendor, "provider left out"))
        .ok()
}
