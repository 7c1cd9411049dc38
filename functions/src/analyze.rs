//! `call-ended` → `post_call_analysis` → the push: a model's answer, what the script collected, or nothing and why.
//! It must never hold the push back: three tries or ten minutes, then `failed`, and on.

mod model;

use domain::analysis::{Plan, SkipReason, plan, with_defaults};
use domain::bot::Bot;
use domain::call::{AnalysisStatus, CallRow, NextStep, RecordingStatus};
use domain::outcome::EndReason;
use domain::ports::{CallEntry, Job, Owned, QueueName, StoreError};
use domain::result::{Record, Speaker};
use jiff::Timestamp;
use serde_json::{Map, Value};
use std::time::Duration;

use crate::platform::{LanguageModel, Platform};
use crate::result::{Analysis, Ended, record, write_json};
use crate::salvage::salvage;

/// Handles one message of `call-ended`. Said twice, it is done once; one that comes too early or too late is dropped.
///
/// # Errors
/// When a store does not answer: the message may come again.
pub async fn handle(platform: &Platform, job: &Job) -> Result<(), StoreError> {
    let Some(CallEntry::Call(row)) = platform.tables.calls.get(job.call_id).await? else {
        tracing::warn!(call.id = %job.call_id, "call-ended for a call that does not exist");
        return Ok(());
    };
    let Some(reason) = row.end_reason else { return Ok(()) };
    if let Err(cause) = crate::spend::settle(platform, &row).await {
        // A ceiling is no reason to hold a result back.
        tracing::warn!(call.id = %row.call_id, error = %cause, "what the call cost is not noted; sweep does it");
    }
    let Some(tries) = claim(platform, &row).await? else { return Ok(()) };
    domain::failpoint!("analyze.claimed");
    let bot = platform.tables.bots.version(&row.bot_id, row.bot_version).await?;
    match judge(platform, &row, reason, bot.as_ref(), tries).await? {
        Some(settled) => go_on(platform, &row, settled).await,
        None => Ok(()),
    }
}

/// Takes the step for one try and holds it for a lease; `None` when it is another worker's, or done.
/// The counter is the lock: of two that read the same count, one gets the next number.
async fn claim(platform: &Platform, row: &CallRow) -> Result<Option<u32>, StoreError> {
    let now = platform.outside.clock.now();
    let until = now + platform.settings.analysis.lease;
    let calls = &platform.tables.calls;
    let before = match row.next_step {
        Some(NextStep::Announce) => match calls
            .take_step(row.call_id, &[NextStep::Announce], Some(NextStep::Analyze), until)
            .await?
        {
            Owned::Written => 0,
            // The server that announced the call takes the same step, right after its message: look again.
            Owned::Lost => match calls.get(row.call_id).await? {
                Some(CallEntry::Call(moved)) if moved.next_step == Some(NextStep::Analyze) && moved.step_tries == 0 => {
                    0
                }
                _ => return Ok(None),
            },
        },
        Some(NextStep::Analyze) if row.step_tries > 0 && row.due_at.is_some_and(|due| due > now) => return Ok(None),
        Some(NextStep::Analyze) => row.step_tries,
        Some(NextStep::Push) | None => return Ok(None),
    };
    let tries = calls.defer_step(row.call_id, NextStep::Analyze, until).await?;
    Ok(tries.filter(|tries| *tries == before + 1))
}

/// What the analysis came to.
struct Settled {
    status: AnalysisStatus,
    analysis: Analysis,
    disposition: Option<String>,
}

/// `None`: not yet; `sweep` brings the call back when the lease is over.
async fn judge(
    platform: &Platform,
    row: &CallRow,
    reason: EndReason,
    bot: Option<&Bot>,
    tries: u32,
) -> Result<Option<Settled>, StoreError> {
    let now = platform.outside.clock.now();
    let limits = &platform.settings.analysis;
    let Some((record, row)) = record_or_wait(platform, row, now).await? else { return Ok(None) };
    let Some(bot) = bot else {
        tracing::warn!(call.id = %row.call_id, bot.id = %row.bot_id, "the bot's version is gone: no analysis");
        return Ok(Some(skipped("bot_gone", None)));
    };
    let spoke = record.transcript.iter().any(|entry| entry.speaker == Speaker::Customer);
    let settle = |status, analysis: Map<String, Value>, note: Option<&str>| {
        let filled = with_defaults(bot, reason, spoke, analysis.clone());
        let disposition = filled.get("disposition").and_then(Value::as_str).map(str::to_owned);
        Some(Settled { status, analysis: Analysis { analysis, note: note.map(str::to_owned) }, disposition })
    };
    let llm = language_model(platform, bot);
    let llm = match plan(bot, reason, spoke, &record.collected, llm.is_some()) {
        Plan::Skip(why) => return Ok(settle(AnalysisStatus::Skipped, Map::new(), Some(skip_word(why)))),
        Plan::Collected => return Ok(settle(AnalysisStatus::Done, record.collected.clone(), None)),
        Plan::Model => llm,
    };
    let collected = record.collected.clone();
    let Some(ended) = Ended::of(platform, &row, record, Map::new()) else { return Ok(None) };
    let late = since(row.ended_at, now) > limits.within || tries > limits.tries;
    let Some(llm) = llm.filter(|_| !late) else {
        return Ok(settle(AnalysisStatus::Failed, collected, Some("gave_up")));
    };
    match model::analyze(platform, &llm, bot, &ended).await {
        Ok(analysis) => Ok(settle(AnalysisStatus::Done, analysis, None)),
        Err(cause) => {
            tracing::warn!(call.id = %row.call_id, bot.id = %bot.bot_id, tries, error = %cause, "analysis failed");
            // What the script understood is worth more to the CRM than nothing.
            Ok(if tries >= limits.tries { settle(AnalysisStatus::Failed, collected, Some(cause.word())) } else { None })
        }
    }
}

/// The call's record, waiting for it while its server may still upload it; then what checkpoints hold.
async fn record_or_wait(
    platform: &Platform,
    row: &CallRow,
    now: Timestamp,
) -> Result<Option<(Record, CallRow)>, StoreError> {
    match record(platform, row).await {
        Ok(Some(found)) => return Ok(Some((found, row.clone()))),
        Ok(None) if since(row.ended_at, now) <= record_wait(platform, row, now).await? => return Ok(None),
        Ok(None) => {}
        Err(StoreError::Corrupt { cause, .. }) => {
            tracing::error!(call.id = %row.call_id, error = %cause, "the call's record is unreadable; the push goes on without it");
            return Ok(Some((Record::default(), row.clone())));
        }
        Err(other) => return Err(other),
    }
    let saved = salvage(platform, row).await?;
    let mut row = row.clone();
    if row.recording_status == RecordingStatus::Pending {
        platform.tables.calls.settle_recording(row.call_id, saved.recording).await?;
        row.recording_status = saved.recording;
    }
    tracing::warn!(call.id = %row.call_id, recording = ?saved.recording, "the record never came; salvaged from checkpoints");
    Ok(Some((record(platform, &row).await?.unwrap_or_default(), row)))
}

/// How long after the end a record may still be on its way: while its server lives and has it, as long as an analysis may
/// take; what checkpoints hold is the poorer part of it.
async fn record_wait(platform: &Platform, row: &CallRow, now: Timestamp) -> Result<Duration, StoreError> {
    let limits = &platform.settings.analysis;
    let server = platform.tables.servers.get(&row.owner.server_id).await?;
    let stale = platform.settings.reap.stale.as_secs_f64();
    let alive = server.is_some_and(|server| server.epoch == row.owner.epoch && server.age_seconds(now) <= stale);
    Ok(if alive { limits.within } else { limits.record_wait })
}

/// Writes down what the analysis came to and hands the call to the push. Crashed in between, the next try does it again.
async fn go_on(platform: &Platform, row: &CallRow, settled: Settled) -> Result<(), StoreError> {
    let key = domain::objects::CallObjects::of(row).analysis();
    write_json(platform, &key, &settled.analysis).await?;
    domain::failpoint!("analyze.written");
    let calls = &platform.tables.calls;
    calls.note_analysis(row.call_id, settled.status, settled.disposition.as_deref()).await?;
    domain::failpoint!("analyze.noted");
    let due = platform.outside.clock.now() + platform.settings.sweep.again_after;
    if calls.take_step(row.call_id, &[NextStep::Announce, NextStep::Analyze], Some(NextStep::Push), due).await?
        == Owned::Lost
    {
        return Ok(());
    }
    domain::failpoint!("analyze.stepped");
    tracing::info!(call.id = %row.call_id, bot.id = %row.bot_id, analysis = ?settled.status, "analysed");
    metrics::counter!("ringfleet_analyses_total", "status" => status_word(settled.status)).increment(1);
    let job = Job { call_id: row.call_id, channel: None };
    if let Err(cause) = platform.outside.queues.send(QueueName::Deliveries, &row.bot_id, &job, Duration::ZERO).await {
        tracing::warn!(call.id = %row.call_id, error = %cause, "push not queued; sweep will");
    }
    domain::failpoint!("analyze.queued");
    Ok(())
}

fn skipped(note: &str, disposition: Option<String>) -> Settled {
    Settled {
        status: AnalysisStatus::Skipped,
        analysis: Analysis { analysis: Map::new(), note: Some(note.to_owned()) },
        disposition,
    }
}

fn status_word(status: AnalysisStatus) -> &'static str {
    match status {
        AnalysisStatus::Pending => "pending",
        AnalysisStatus::Done => "done",
        AnalysisStatus::Skipped => "skipped",
        AnalysisStatus::Failed => "failed",
    }
}

fn skip_word(why: SkipReason) -> &'static str {
    match why {
        SkipReason::CustomerNeverSpoke => "customer_never_spoke",
        SkipReason::NotAnswered => "not_answered",
        SkipReason::Voicemail => "voicemail",
        SkipReason::Error => "error",
        SkipReason::NoPrompt => "no_prompt",
        SkipReason::NoModel => "no_model",
    }
}

fn since(ended: Option<Timestamp>, now: Timestamp) -> Duration {
    ended.and_then(|ended| Duration::try_from(now.duration_since(ended)).ok()).unwrap_or_default()
}

/// The bot's own chat endpoint, else the deployment's.
fn language_model(platform: &Platform, bot: &Bot) -> Option<LanguageModel> {
    let own = bot.llm.providers.iter().find_map(|provider| {
        let base_url = provider.base_url.clone()?;
        let api_key = match &provider.api_key {
            Some(sealed) => match platform.outside.seal.open(&domain::ports::bot_entity(&bot.bot_id), sealed) {
                Ok(key) => Some(key),
                Err(cause) => {
                    tracing::error!(bot.id = %bot.bot_id, error = %cause, "a model's key does not open");
                    return None;
                }
            },
            None => None,
        };
        let model = provider.model.clone().unwrap_or_default();
        Some(LanguageModel { base_url, api_key, model })
    });
    own.or_else(|| platform.settings.analysis_model.clone())
}

#[cfg(test)]
mod tests;
