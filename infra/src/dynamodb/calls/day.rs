//! Where the calls of one shard of a bot's day stand, read from the index that holds keys only.
//! It must never leave out a call between two that it answers, however many began in one millisecond.

use aws_sdk_dynamodb::Client;
use domain::call_list::CallPosition;
use domain::ports::StoreError;

use super::super::item::{Item, number, number_in, text};
use super::{BOT_DAY, WHAT, call_id};
use crate::errors::store_error;
use crate::schema::BY_BOT_DAY;

/// One shard of a bot's day, read from its newest call on.
pub(super) struct DayShard {
    pub(super) bot_day: String,
    /// Only what stands before this.
    pub(super) before: CallPosition,
    pub(super) limit: usize,
}

impl DayShard {
    /// The newest positions before `before`, at most `limit`.
    pub(super) async fn read(&self, client: &Client, table: &str) -> Result<Vec<CallPosition>, StoreError> {
        let mut found: Vec<CallPosition> = Vec::new();
        let mut next = None;
        loop {
            let query = client
                .query()
                .table_name(table)
                .index_name(BY_BOT_DAY)
                .key_condition_expression("#bot_day = :bot_day AND #started_at <= :before")
                .expression_attribute_names("#bot_day", BOT_DAY)
                .expression_attribute_names("#started_at", "started_at")
                .expression_attribute_values(":bot_day", text(&*self.bot_day))
                .expression_attribute_values(":before", number(self.before.started_ms))
                .scan_index_forward(false)
                .limit(i32::try_from(self.limit + 1).unwrap_or(i32::MAX))
                .set_exclusive_start_key(next.take());
            let page = query.send().await.map_err(|e| store_error(WHAT, e))?;
            for item in page.items.unwrap_or_default() {
                let position = position(&item)?;
                if position < self.before {
                    found.push(position);
                }
            }
            next = page.last_evaluated_key;
            if next.is_none() || self.is_full(&found) {
                break;
            }
        }
        found.sort_unstable_by(|a, b| b.cmp(a));
        found.truncate(self.limit);
        Ok(found)
    }

    /// Whether `found`, newest first, holds all that can be among the first `limit`: calls of one millisecond come in
    /// no order, so the last of them must be behind us.
    fn is_full(&self, found: &[CallPosition]) -> bool {
        match (found.get(self.limit.wrapping_sub(1)), found.last()) {
            (Some(nth), Some(last)) => last.started_ms < nth.started_ms,
            _ => self.limit == 0,
        }
    }
}

fn position(item: &Item) -> Result<CallPosition, StoreError> {
    Ok(CallPosition { started_ms: number_in(WHAT, item, "started_at")?, call_id: call_id(item)? })
}
