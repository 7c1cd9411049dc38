//! `call-ended` → `post_call_analysis` → the push: a model's answer, what the script collected, or nothing and why.
//! It must never hold the push back: three tries or ten minutes, then `failed`, and on.

mod model;

use domain::analysis::{Plan, SkipReason, plan, with_defaults};
use domain::bot::Bot;
use domain::call::{AnalysisStatus, CallRow, NextStep, RecordingStatus};
use domain::outcome::EndReason;
use domain::ports::{
    Bots, CallEntry, Calls, Clock, Job, Outbound, Owned, QueueName, Queues, Seal, Secrets, Servers, StoreError,
};
use domain::result::{Record, Speaker};
use jiff::Timestamp;
use serde_json::{Map, Value};
use std::sync::Arc;
use std::time::Duration;

use crate::platform::{AnalysisLimits, LanguageModel, ReapLimits, SweepLimits};
use crate::result::{Analysis, Archive, Ended, record, write_json};
use crate::salvage::{self, salvage};
use crate::spend;

/// What it takes to analyse a call.
#[derive(Clone, derive_more::Debug)]
#[debug("analyze::Desk")]
pub struct Desk {
    pub clock: Arc<dyn Clock>,
    pub bots: Arc<dyn Bots>,
    pub calls: Arc<dyn Calls>,
    pub servers: Arc<dyn Servers>,
    pub queues: Arc<dyn Queues>,
    pub outbound: Arc<dyn Outbound>,
    pub seal: Arc<dyn Seal>,
    pub secrets: Arc<dyn Secrets>,
    pub archive: Archive,
    pub salvage: salvage::Desk,
    pub spend: spend::Desk,
    /// The model of bots that name none.
    pub analysis_model: Option<LanguageModel>,
    pub analysis: AnalysisLimits,
    pub reap: ReapLimits,
    pub sweep: SweepLimits,
}

/// Handles one message of `call-ended`. Said twice, it is done once; one that comes too early or too late is dropped.
///
/// # Errors
/// When a store does not answer: the message may come again.
pub async fn handle(desk: &Desk, job: &Job) -> Result<(), StoreError> {
    let Some(CallEntry::Call(row)) = desk.calls.get(job.call_id).await? else {
        tracing::warn!(call.id = %job.call_id, "call-ended for a call that does not exist");
        return Ok(());
    };
    let Some(reason) = row.end_reason else { return Ok(()) };
    if let Err(cause) = spend::settle(&desk.spend, &row).await {
        // A ceiling is no reason to hold a result back.
        tracing::warn!(call.id = %row.call_id, error = %cause, "what the call cost is not noted; sweep does it");
    }
    let Some(tries) = claim(desk, &row).await? else { return Ok(()) };
    domain::failpoint!("analyze.claimed");
    let bot = desk.bots.version(&row.bot_id, row.bot_version).await?;
    match judge(desk, &row, reason, bot.as_ref(), tries).await? {
        Some(settled) => go_on(desk, &row, settled).await,
        None => Ok(()),
    }
}

/// Takes the step for one try and holds it for a lease; `None` when it is another worker's, or done.
/// The counter is the lock: of two that read the same count, one gets the next number.
async fn claim(desk: &Desk, row: &CallRow) -> Result<Option<u32>, StoreError> {
    let now = desk.clock.now();
    let until = now + desk.analysis.lease;
    let calls = &desk.calls;
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
    desk: &Desk,
    row: &CallRow,
    reason: EndReason,
    bot: Option<&Bot>,
    tries: u32,
) -> Result<Option<Settled>, StoreError> {
    let now = desk.clock.now();
    let limits = &desk.analysis;
    let Some((record, row)) = record_or_wait(desk, row, now).await? else { return Ok(None) };
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
    let llm = language_model(desk, bot).await?;
    let llm = match plan(bot, reason, spoke, &record.collected, llm.is_some()) {
        Plan::Skip(why) => return Ok(settle(AnalysisStatus::Skipped, Map::new(), Some(skip_word(why)))),
        Plan::Collected => return Ok(settle(AnalysisStatus::Done, record.collected.clone(), None)),
        Plan::Model => llm,
    };
    let collected = record.collected.clone();
    let Some(ended) = Ended::of(&desk.archive.public_url, &row, record, Map::new()) else { return Ok(None) };
    let late = since(row.ended_at, now) > limits.within || tries > limits.tries;
    let Some(llm) = llm.filter(|_| !late) else {
        return Ok(settle(AnalysisStatus::Failed, collected, Some("gave_up")));
    };
    match model::analyze(desk, &llm, bot, &ended).await {
        Ok(analysis) => Ok(settle(AnalysisStatus::Done, analysis, None)),
        Err(cause) => {
            tracing::warn!(call.id = %row.call_id, bot.id = %bot.bot_id, tries, error = %cause, "analysis failed");
            // What the script understood is worth more to the CRM than nothing.
            Ok(if tries >= limits.tries { settle(AnalysisStatus::Failed, collected, Some(cause.word())) } else { None })
        }
    }
}

/// The call's record, waiting for it while its server may still upload it; then what checkpoints hold.
async fn record_or_wait(desk: &Desk, row: &CallRow, now: Timestamp) -> Result<Option<(Record, CallRow)>, StoreError> {
    match record(&*desk.archive.objects, row).await {
        Ok(Some(found)) => return Ok(Some((found, row.clone()))),
        Ok(None) if since(row.ended_at, now) <= record_wait(desk, row, now).await? => return Ok(None),
        Ok(None) => {}
        Err(StoreError::Corrupt { cause, .. }) => {
            tracing::error!(call.id = %row.call_id, error = %cause, "the call's record is unreadable; the push goes on without it");
            return Ok(Some((Record::default(), row.clone())));
        }
        Err(other) => return Err(other),
    }
    let saved = salvage(&desk.salvage, row).await?;
    let mut row = row.clone();
    if row.recording_status == RecordingStatus::Pending {
        desk.calls.settle_recording(row.call_id, saved.recording).await?;
        row.recording_status = saved.recording;
    }
    tracing::warn!(call.id = %row.call_id, recording = ?saved.recording, "the record never came; salvaged from checkpoints");
    Ok(Some((record(&*desk.archive.objects, &row).await?.unwrap_or_default(), row)))
}

/// How long after the end a record may still be on its way: while its server lives and has it, as long as an analysis may
/// take; what checkpoints hold is the poorer part of it.
async fn record_wait(desk: &Desk, row: &CallRow, now: Timestamp) -> Result<Duration, StoreError> {
    let limits = &desk.analysis;
    let server = desk.servers.get(&row.owner.server_id).await?;
    let stale = desk.reap.stale.as_secs_f64();
    let alive = server.is_some_and(|server| server.epoch == row.owner.epoch && server.age_seconds(now) <= stale);
    Ok(if alive { limits.within } else { limits.record_wait })
}

/// Writes down what the analysis came to and hands the call to the push. Crashed in between, the next try does it again.
async fn go_on(desk: &Desk, row: &CallRow, settled: Settled) -> Result<(), StoreError> {
    let key = domain::objects::CallObjects::of(row).analysis();
    write_json(&*desk.archive.objects, &key, &settled.analysis).await?;
    domain::failpoint!("analyze.written");
    let calls = &desk.calls;
    calls.note_analysis(row.call_id, settled.status, settled.disposition.as_deref()).await?;
    domain::failpoint!("analyze.noted");
    let due = desk.clock.now() + desk.sweep.again_after;
    if calls.take_step(row.call_id, &[NextStep::Announce, NextStep::Analyze], Some(NextStep::Push), due).await?
        == Owned::Lost
    {
        return Ok(());
    }
    domain::failpoint!("analyze.stepped");
    tracing::info!(call.id = %row.call_id, bot.id = %row.bot_id, analysis = ?settled.status, "analysed");
    metrics::counter!("ringfleet_analyses_total", "status" => status_word(settled.status)).increment(1);
    let job = Job { call_id: row.call_id, channel: None };
    if let Err(cause) = desk.queues.send(QueueName::Deliveries, &row.bot_id, &job, Duration::ZERO).await {
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

/// The bot's own chat endpoint, else the deployment's, whose key may lie among the deployment's secrets.
async fn language_model(desk: &Desk, bot: &Bot) -> Result<Option<LanguageModel>, StoreError> {
    if let Some(own) = own_model(desk, bot) {
        return Ok(Some(own));
    }
    let Some(model) = desk.analysis_model.clone() else { return Ok(None) };
    let api_key = match model.api_key {
        Some(key) => Some(key),
        None => desk.secrets.llm_api_key().await?,
    };
    Ok(Some(LanguageModel { api_key, ..model }))
}

fn own_model(desk: &Desk, bot: &Bot) -> Option<LanguageModel> {
    bot.llm.providers.iter().find_map(|provider| {
        let base_url = provider.base_url.clone()?;
        let api_key = match &provider.api_key {
            Some(sealed) => match desk.seal.open(&domain::ports::bot_entity(&bot.bot_id), sealed) {
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
    })
}

#[cfg(test)]
mod tests;
