//! `GET /api/v1/calls`: the calls of a reader's bots, newest first, a page at a time.
//! It must never list a call out of the reader's scope, whatever the cursor says, nor work without a bound for a page:
//! a page may be short or empty, and the list ends where `next_cursor` is null.

use std::collections::HashMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::{Query, State};
use domain::api_key::{BotScope, Caller};
use domain::call::{AnalysisStatus, CallRow, CallState, Direction, RecordingStatus};
use domain::call_list::{CLIENT_PARAMETERS, CallPosition, CallQuery};
use domain::ids::{BotId, CallId};
use domain::outcome::{DisconnectedBy, EndReason};
use domain::ports::{Bots, Calls, Clock, StoreError};
use domain::secret::Personal;
use futures_util::future::try_join_all;
use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use serde::Serialize;
use utoipa::ToSchema;

use crate::auth::Authenticated;
use crate::problem::Refusal;
use crate::result::recording_url;

/// Days of bots that one page looks at; one day of all of the reader's bots, if that is more.
const BOT_DAYS: usize = 128;
/// Days of bots that are looked at side by side.
const SIDE_BY_SIDE: usize = 16;
/// Rows that one page reads when most of them are filtered out.
const ROWS: usize = 500;
/// Rows that are read at once when the query filters.
const BATCH: usize = 100;

/// What it takes to list calls.
#[derive(Clone, derive_more::Debug)]
#[debug("list::Desk")]
pub struct Desk {
    pub clock: Arc<dyn Clock>,
    pub bots: Arc<dyn Bots>,
    pub calls: Arc<dyn Calls>,
    /// As [`Archive`](crate::result::Archive) has it.
    pub public_url: Arc<str>,
}

/// One page as it is answered.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = CallPage)]
pub(crate) struct Listed<T> {
    items: Vec<T>,
    /// `null` at the end of the list.
    next_cursor: Option<String>,
}

/// A call in a list: its result without transcript, variables and analysis.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = CallSummary)]
pub(crate) struct Summary {
    session_id: CallId,
    state: CallState,
    bot_id: BotId,
    direction: Direction,
    #[schema(value_type = String)]
    caller_id: Personal<String>,
    #[schema(value_type = String)]
    to_number: Personal<String>,
    #[schema(value_type = String)]
    from_number: Personal<String>,
    started_at: Timestamp,
    answered_at: Option<Timestamp>,
    ended_at: Option<Timestamp>,
    call_duration_seconds: f64,
    disconnected_by: Option<DisconnectedBy>,
    end_reason: Option<EndReason>,
    sip_code: Option<u16>,
    disposition: Option<String>,
    recording_status: RecordingStatus,
    recording_url: String,
    analysis_status: AnalysisStatus,
}

impl Summary {
    pub(crate) fn of(public_url: &str, row: &CallRow) -> Self {
        Self {
            session_id: row.call_id,
            state: row.state,
            bot_id: row.bot_id.clone(),
            direction: row.direction,
            caller_id: Personal(row.customer_number().to_owned()),
            to_number: row.to_number.clone(),
            from_number: row.from_number.clone(),
            started_at: row.started_at,
            answered_at: row.answered_at,
            ended_at: row.ended_at,
            call_duration_seconds: row.duration_ms as f64 / 1000.0,
            disconnected_by: row.end_reason.map(EndReason::disconnected_by),
            end_reason: row.end_reason,
            sip_code: row.sip_code,
            disposition: row.disposition.clone(),
            recording_status: row.recording_status,
            recording_url: recording_url(public_url, row),
            analysis_status: row.analysis_status,
        }
    }
}

pub(super) async fn list(
    State(desk): State<Desk>,
    Authenticated(caller): Authenticated,
    Query(pairs): Query<Vec<(String, String)>>,
) -> Result<Json<Listed<Summary>>, Refusal> {
    answer(&desk, &caller, &pairs, CLIENT_PARAMETERS, |row| Summary::of(&desk.public_url, row)).await
}

/// A page of what `caller` may see, each call as `show` tells it. `known` are the parameters that the query may have.
pub(crate) async fn answer<T>(
    desk: &Desk,
    caller: &Caller,
    pairs: &[(String, String)],
    known: &[&str],
    show: impl Fn(&CallRow) -> T,
) -> Result<Json<Listed<T>>, Refusal> {
    let now = desk.clock.now();
    let query = CallQuery::parse(pairs, known, &caller.key_id, now).map_err(Refusal::Invalid)?;
    let bots = listed_bots(desk, caller, query.bot_id.as_ref()).await?;
    let page = Walk::new(desk, &bots, &query).page().await?;
    Ok(Json(Listed {
        items: page.rows.iter().map(show).collect(),
        next_cursor: page.next.map(|position| query.cursor(&position)),
    }))
}

/// The bots whose calls are listed. A bot that was deleted is in the scope of who names it.
async fn listed_bots(desk: &Desk, caller: &Caller, named: Option<&BotId>) -> Result<Vec<BotId>, Refusal> {
    if let Some(bot) = named {
        return if caller.may_use(bot) { Ok(vec![bot.clone()]) } else { Err(Refusal::NotFound("bot")) };
    }
    let mut bots = match &caller.bots {
        BotScope::Only(bots) => bots.clone(),
        BotScope::All => desk.bots.list().await?.into_iter().map(|bot| bot.bot_id).collect(),
    };
    bots.sort();
    bots.dedup();
    Ok(bots)
}

struct Page {
    rows: Vec<CallRow>,
    /// Where the next page begins; `None` at the end.
    next: Option<CallPosition>,
}

/// The way backwards through the days, from the query's upper end to its lower.
struct Walk<'a> {
    desk: &'a Desk,
    bots: &'a [BotId],
    query: &'a CallQuery,
    before: CallPosition,
    oldest_day: Date,
    rows: Vec<CallRow>,
    bot_days: usize,
    rows_read: usize,
}

/// A stretch of days: where its calls stand, newest first, and whether these are all of it.
struct Stretch {
    positions: Vec<CallPosition>,
    oldest_day: Date,
    is_whole: bool,
}

impl<'a> Walk<'a> {
    fn new(desk: &'a Desk, bots: &'a [BotId], query: &'a CallQuery) -> Self {
        Self {
            desk,
            bots,
            query,
            before: query.before,
            oldest_day: query.from.to_zoned(TimeZone::UTC).date(),
            rows: Vec::new(),
            bot_days: 0,
            rows_read: 0,
        }
    }

    async fn page(mut self) -> Result<Page, StoreError> {
        let mut days = 1;
        loop {
            if self.bots.is_empty() || self.before.newest_day() < self.oldest_day {
                return Ok(self.ended());
            }
            let stretch = self.stretch(days).await?;
            if self.take(&stretch).await? {
                return Ok(self.full(&stretch));
            }
            if stretch.is_whole {
                self.before = CallPosition::start_of_day(stretch.oldest_day);
                days *= 2;
            }
            let spent = self.bot_days + self.bots.len() > BOT_DAYS || self.rows_read >= ROWS;
            if spent && self.before.newest_day() >= self.oldest_day {
                return Ok(Page { next: Some(self.before), rows: self.rows });
            }
            days = days.min((BOT_DAYS.saturating_sub(self.bot_days) / self.bots.len()).max(1));
        }
    }

    fn ended(self) -> Page {
        Page { rows: self.rows, next: None }
    }

    /// The page is full; the list ends with it if nothing can come after.
    fn full(self, stretch: &Stretch) -> Page {
        let is_last = stretch.is_whole
            && stretch.oldest_day <= self.oldest_day
            && stretch.positions.last().is_none_or(|last| *last >= self.before);
        Page { next: (!is_last).then_some(self.before), rows: self.rows }
    }

    /// Looks at the next `days` days.
    async fn stretch(&mut self, days: usize) -> Result<Stretch, StoreError> {
        let newest = self.before.newest_day();
        let dates: Vec<Date> = std::iter::successors(Some(newest), |date| date.yesterday().ok())
            .take_while(|date| *date >= self.oldest_day)
            .take(days)
            .collect();
        let wanted = if self.query.filter.is_open() { self.query.limit - self.rows.len() } else { BATCH };
        let mut positions = self.positions(&dates, wanted).await?;
        self.bot_days += dates.len() * self.bots.len();
        positions.sort_unstable_by(|a, b| b.cmp(a));
        // Of each bot's day the first `wanted` came: beyond that many, one may be missing in between.
        let is_cut = positions.len() >= wanted;
        positions.truncate(wanted);
        let from = self.query.from.as_millisecond();
        let wholly_newer = positions.partition_point(|position| position.started_ms >= from);
        let reaches_from = wholly_newer < positions.len();
        positions.truncate(wholly_newer);
        let oldest_day = if reaches_from { self.oldest_day } else { dates.last().copied().unwrap_or(newest) };
        Ok(Stretch { positions, oldest_day, is_whole: reaches_from || !is_cut })
    }

    /// Of each bot and day the newest `wanted` calls, in no order.
    async fn positions(&self, dates: &[Date], wanted: usize) -> Result<Vec<CallPosition>, StoreError> {
        let mut asked = Vec::with_capacity(dates.len() * self.bots.len());
        for date in dates {
            for bot in self.bots {
                asked.push((bot, *date));
            }
        }
        let limit = u32::try_from(wanted).unwrap_or(u32::MAX);
        let mut positions = Vec::new();
        for part in asked.chunks(SIDE_BY_SIDE) {
            let mut answers = Vec::with_capacity(part.len());
            for (bot, date) in part {
                answers.push(self.desk.calls.of_day(bot, *date, &self.before, limit));
            }
            positions.extend(try_join_all(answers).await?.into_iter().flatten());
        }
        Ok(positions)
    }

    /// Takes what the query admits, in order; `true` once the page is full.
    async fn take(&mut self, stretch: &Stretch) -> Result<bool, StoreError> {
        let ids: Vec<CallId> = stretch.positions.iter().map(|position| position.call_id).collect();
        if ids.is_empty() {
            return Ok(false);
        }
        self.rows_read += ids.len();
        let rows = self.desk.calls.of_ids(&ids).await?;
        let mut rows: HashMap<CallId, CallRow> = rows.into_iter().map(|row| (row.call_id, row)).collect();
        for position in &stretch.positions {
            self.before = *position;
            if let Some(row) = rows.remove(&position.call_id).filter(|row| self.query.filter.admits(row)) {
                self.rows.push(row);
                if self.rows.len() == self.query.limit {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }
}

#[cfg(test)]
mod tests;
