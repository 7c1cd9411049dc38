//! Judges a bot. It must never judge a secret: those arrive sealed.

use std::collections::BTreeSet;

use super::{Findings, MAX_TEXT, is_one_line, is_token, transfer};
use crate::active_hours::HoursError;
use crate::bot::{Bot, Expect, Prefetch, PrefetchMethod, Providers, Script, ScriptStep, VoicemailAction};
use crate::field_error::FieldError;
use crate::lint::{self, Names};
use crate::outcome::{EndReason, outcome_word};
use crate::phone::E164;
use crate::push;
use crate::retention::MAX_DAYS;
use crate::websocket::Access;

/// Vendor words that the platform has an adapter for.
const VENDORS: [(&str, &[&str]); 3] =
    [("stt", &["moonshine", "openai"]), ("llm", &["openai", "script"]), ("tts", &["piper", "flite", "openai"])];

/// Networks that a bot's allowlist may hold.
const MAX_CIDRS: usize = 200;

impl Bot {
    /// Everything that is wrong with the bot, at once.
    pub fn validate(&self) -> Vec<FieldError> {
        let mut found = Findings::default();
        found.length("name", &self.name, 1, 200);
        found.unless(is_language(&self.language), "language", "language", "a BCP 47 tag, e.g. en-IN");
        self.check_hours(&mut found);
        self.check_conversation(&mut found);
        self.check_numbers(&mut found);
        self.check_websocket(&mut found);
        transfer::check_targets(&mut found, &self.transfer_targets);
        for (path, providers) in self.provider_lists() {
            check_providers(&mut found, path, providers);
        }
        if let Some(script) = &self.script {
            check_script(&mut found, script);
            transfer::check_script(&mut found, script, &self.transfer_targets);
        }
        if let Some(prefetch) = &self.prefetch {
            check_prefetch(&mut found, prefetch);
        }
        if let Some(push) = &self.push {
            found.url("push.url", &push.url);
            found.0.extend(push::validate(&push.key_mapper));
        }
        if let Some(webhook) = &self.webhook {
            found.url("webhook.url", &webhook.url);
        }
        self.check_analysis(&mut found);
        found.between("recording.channels", self.recording.channels, 1, 2);
        self.check_retention(&mut found);
        found.0
    }

    /// What is allowed and probably wrong: templates of names that don't exist, vendors without an adapter,
    /// a bot with nothing to say.
    pub fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        let names = Names::of_bot(self);
        for (place, text) in self.live_templates() {
            warnings.extend(lint::live_text(text, &names).iter().map(|finding| format!("{place}: {finding}")));
        }
        let prompt = lint::ended_text(&self.post_call_analysis_prompt, &names);
        warnings.extend(prompt.iter().map(|finding| format!("post_call_analysis_prompt: {finding}")));
        // A finding with a pointer begins with it.
        let at = |place: &str, finding: &lint::Finding| {
            format!("{place}{}{finding}", if finding.pointer.is_empty() { ": " } else { "" })
        };
        let mapper = self.push.iter().flat_map(|push| lint::key_mapper(&push.key_mapper, &names, None));
        warnings.extend(mapper.map(|finding| at("push.key_mapper", &finding)));
        let body = self.prefetch.iter().filter_map(|prefetch| prefetch.body.as_ref());
        let body = body.flat_map(|body| lint::live_body(body, &names));
        warnings.extend(body.map(|finding| at("prefetch.body", &finding)));
        for ((path, providers), (_, vendors)) in self.provider_lists().into_iter().zip(VENDORS) {
            let strange = providers.providers.iter().filter(|provider| !vendors.contains(&provider.vendor.as_str()));
            warnings.extend(strange.map(|provider| format!("{path}: no adapter for vendor {:?}", provider.vendor)));
        }
        warnings.extend(self.retention.outlived().map(|kind| {
            format!(
                "retention: the {} never gets as old as its own period: the whole call is deleted before",
                kind.as_str()
            )
        }));
        if self.websocket.access != Access::Allowlist && !self.websocket.cidrs.is_empty() {
            let access = self.websocket.access.as_str();
            warnings.push(format!("websocket.cidrs: they count with access allowlist only, and access is {access}"));
        }
        if self.script.is_none() && self.system_prompt.is_empty() {
            warnings.push("neither a script nor a system_prompt: the bot knows nothing to say".to_owned());
        }
        warnings
    }

    fn check_hours(&self, found: &mut Findings) {
        match self.hours.validate() {
            Ok(()) => {}
            Err(e @ HoursError::Zone(_)) => found.add("timezone", "timezone", e.to_string()),
            Err(e) => found.add("active_hours", "active_hours", e.to_string()),
        }
    }

    fn check_conversation(&self, found: &mut Findings) {
        found.length("system_prompt", &self.system_prompt, 0, MAX_TEXT);
        found.length("opening_message", &self.opening_message, 0, 4096);
        found.between("max_call_duration_seconds", self.max_call_duration_seconds, 10, 7200);
        found.between("ring_timeout_seconds", self.ring_timeout_seconds, 5, 120);
        found.between("interruption.min_words", self.interruption.min_words, 0, 50);
        found.between("interruption.min_speech_ms", self.interruption.min_speech_ms, 0, 10_000);
        found.between("silence.prompt_after_seconds", self.silence.prompt_after_seconds, 1.0, 600.0);
        found.between("silence.hangup_after_seconds", self.silence.hangup_after_seconds, 1.0, 600.0);
        found.between("silence.prompts", self.silence.prompts.len(), 0, 10);
        let leaves = self.voicemail.action == VoicemailAction::LeaveMessage;
        found.unless(
            !leaves || !self.voicemail.message.trim().is_empty(),
            "voicemail.message",
            "missing",
            "leave_message needs a message",
        );
    }

    fn check_numbers(&self, found: &mut Findings) {
        found.between("trunk_ids", self.trunk_ids.len(), 0, 10);
        let trunks: BTreeSet<_> = self.trunk_ids.iter().collect();
        found.unless(trunks.len() == self.trunk_ids.len(), "trunk_ids", "duplicate", "a trunk stands in the list once");
        let mut seen = BTreeSet::new();
        for (index, number) in self.numbers.iter().enumerate() {
            let path = format!("numbers.{index}");
            found.unless(
                E164::parse(number).is_ok(),
                &path,
                "phone_number_parsing",
                "a DID is written in E.164, e.g. +911234567890",
            );
            found.unless(seen.insert(number), &path, "duplicate", "a DID stands in the list once");
        }
    }

    fn check_websocket(&self, found: &mut Findings) {
        let socket = &self.websocket;
        found.between("websocket.chunk_ms", socket.chunk_ms, 20, 100);
        found.between("websocket.cidrs", socket.cidrs.len(), 0, MAX_CIDRS);
        found.unless(
            socket.access != Access::Allowlist || !socket.cidrs.is_empty(),
            "websocket.cidrs",
            "missing",
            "with access allowlist these are the networks that may connect, e.g. [\"203.0.113.0/24\"]: without one nobody could",
        );
    }

    fn check_retention(&self, found: &mut Findings) {
        for (path, days) in [
            ("retention.recordings_days", self.retention.recordings_days),
            ("retention.transcripts_days", self.retention.transcripts_days),
            ("retention.variables_days", self.retention.variables_days),
            ("retention.calls_days", self.retention.calls_days),
        ] {
            found.between(path, days, 0, MAX_DAYS);
        }
    }

    fn check_analysis(&self, found: &mut Findings) {
        found.length("post_call_analysis_prompt", &self.post_call_analysis_prompt, 0, MAX_TEXT);
        let schema_fits = self.analysis_schema.as_ref().is_none_or(serde_json::Value::is_object);
        found.unless(schema_fits, "analysis_schema", "dict_type", "a JSON Schema is an object here");
        for word in self.outcome_map.keys() {
            if !outcome_words().contains(word.as_str()) {
                let known = outcome_words().into_iter().collect::<Vec<_>>().join(", ");
                found.0.push(FieldError::at(
                    &["outcome_map", word],
                    "unknown_outcome",
                    format!("known outcomes: {known}"),
                ));
            }
        }
    }

    fn provider_lists(&self) -> [(&'static str, &Providers); 3] {
        [("stt.providers", &self.stt), ("llm.providers", &self.llm), ("tts.providers", &self.tts)]
    }

    /// Every template that is rendered while a call lives, with its place.
    fn live_templates(&self) -> Vec<(&'static str, &str)> {
        let mut all = vec![
            ("system_prompt", self.system_prompt.as_str()),
            ("opening_message", &self.opening_message),
            ("voicemail.message", &self.voicemail.message),
        ];
        all.extend(self.silence.prompts.iter().map(|text| ("silence.prompts", text.as_str())));
        if let Some(prefetch) = &self.prefetch {
            all.push(("prefetch.url", &prefetch.url));
            all.extend(prefetch.headers.values().map(|text| ("prefetch.headers", text.as_str())));
        }
        if let Some(script) = &self.script {
            all.push(("script.closing", &script.closing));
            for step in &script.steps {
                all.extend([("script.steps", step.question.as_str()), ("script.steps", &step.reprompt)]);
                all.extend(step.branches.values().map(|branch| ("script.steps", branch.say.as_str())));
            }
        }
        all
    }
}

fn outcome_words() -> BTreeSet<&'static str> {
    EndReason::ALL.iter().flat_map(|&reason| [outcome_word(reason, true).0, outcome_word(reason, false).0]).collect()
}

fn is_language(tag: &str) -> bool {
    let mut parts = tag.split('-');
    let letters = |part: &str| (2..=8).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_alphabetic());
    parts.next().is_some_and(letters)
        && parts.all(|part| (1..=8).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_alphanumeric()))
}

fn check_providers(found: &mut Findings, path: &str, providers: &Providers) {
    found.between(path, providers.providers.len(), 0, 5);
    for (index, provider) in providers.providers.iter().enumerate() {
        found.length(&format!("{path}.{index}.vendor"), &provider.vendor, 1, 64);
        if let Some(url) = &provider.base_url {
            found.url(&format!("{path}.{index}.base_url"), url);
        }
    }
}

fn check_prefetch(found: &mut Findings, prefetch: &Prefetch) {
    found.templated_url("prefetch.url", &prefetch.url);
    found.unless(
        prefetch.body.is_none() || prefetch.method == PrefetchMethod::Post,
        "prefetch.body",
        "unexpected",
        "only a POST carries a body",
    );
    found.between("prefetch.timeout_ms", prefetch.timeout_ms, 100, 30_000);
    found.between("prefetch.headers", prefetch.headers.len(), 0, 50);
    for (name, value) in &prefetch.headers {
        let ours = ["host", "content-length", "transfer-encoding", "connection", "authorization"];
        let fits = is_token(name) && is_one_line(value) && !ours.contains(&name.to_ascii_lowercase().as_str());
        if !fits {
            let msg = "not a header that a pre-fetch may set (Authorization is the token's)";
            found.0.push(FieldError::at(&["prefetch", "headers", name], "header", msg));
        }
    }
    let path_fits = prefetch.response_path.as_ref().is_none_or(|path| path.split('.').all(|part| !part.is_empty()));
    found.unless(path_fits, "prefetch.response_path", "path", "names separated by dots, e.g. data.customer");
}

fn check_script(found: &mut Findings, script: &Script) {
    found.between("script.steps", script.steps.len(), 1, 200);
    found.length("script.closing", &script.closing, 0, 4096);
    let mut seen = BTreeSet::new();
    for (index, step) in script.steps.iter().enumerate() {
        let path = format!("script.steps.{index}");
        found.length(&format!("{path}.id"), &step.id, 1, 64);
        found.unless(seen.insert(step.id.as_str()), &format!("{path}.id"), "duplicate", "another step has this id");
        // Only the opening message can ask the first step's question.
        found.unless(
            index == 0 || !step.question.is_empty(),
            &format!("{path}.question"),
            "missing",
            "only the first step may leave its question to the opening message",
        );
        found.between(&format!("{path}.max_reprompts"), step.max_reprompts, 0, 10);
        check_choices(found, &path, step);
    }
    for (index, step) in script.steps.iter().enumerate() {
        check_branches(found, &format!("script.steps.{index}"), step, &seen);
    }
}

fn check_choices(found: &mut Findings, path: &str, step: &ScriptStep) {
    let path = format!("{path}.choices");
    if step.expect != Expect::Choice {
        return found.unless(
            step.choices.is_empty(),
            &path,
            "unexpected",
            "only a step that expects a choice has choices",
        );
    }
    found.unless(!step.choices.is_empty(), &path, "missing", "a step that expects a choice has choices");
    let worded = step.choices.values().all(|words| words.iter().any(|word| !word.trim().is_empty()));
    found.unless(worded, &path, "missing", "every choice has words that select it");
}

fn check_branches(found: &mut Findings, path: &str, step: &ScriptStep, ids: &BTreeSet<&str>) {
    for (answer, branch) in &step.branches {
        let known = match (step.expect, answer.as_str()) {
            (_, "*" | "?") => true,
            (Expect::YesNo, word) => matches!(word, "yes" | "no"),
            (Expect::Choice, word) => step.choices.contains_key(word),
            (Expect::Number | Expect::Date | Expect::Amount | Expect::FreeText, _) => false,
        };
        let path = format!("{path}.branches");
        if !known {
            found.add(&path, "unknown_answer", format!("this step is never answered by {answer:?}"));
        }
        if let Some(goto) = branch.goto.as_ref().filter(|goto| !ids.contains(goto.as_str())) {
            found.add(&path, "unknown_step", format!("no step has the id {goto:?}"));
        }
        found.unless(
            !(branch.end && branch.goto.is_some()),
            &path,
            "contradiction",
            "a branch either ends the call or goes to a step",
        );
    }
}
