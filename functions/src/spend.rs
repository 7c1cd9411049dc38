//! What a call may cost is set aside when it is placed, and what it did cost put in its place when it has ended.
//! It must never touch a row for whoever has no ceiling, and never settle a call that may still go on.

use std::sync::Arc;
use std::time::Duration;

use domain::bot::Bot;
use domain::call::{CallRow, CallState};
use domain::field_error::FieldError;
use domain::ids::CallId;
use domain::money::Money;
use domain::phone::E164;
use domain::ports::{CallEntry, Calls, Clock, Owned, Spend, StoreError};
use domain::spend::{Account, Hold, Prices, Reserved};
use domain::trunk::Trunk;
use jiff::Timestamp;
use tokio::time::{Instant, timeout_at};

use crate::problem::Refusal;

/// Beyond ring time-out and longest duration: then `reap` has ended the call.
const DUE_MARGIN: Duration = Duration::from_secs(600);

/// What it takes to keep ceilings.
#[derive(Clone, derive_more::Debug)]
#[debug("spend::Desk")]
pub struct Desk {
    pub spend: Arc<dyn Spend>,
    pub clock: Arc<dyn Clock>,
    /// What calls cost; without prices nobody with a ceiling can call.
    pub prices: Prices,
}

/// What must be set aside before a call is placed: what it costs at least, in the accounts of the bot and the trunk
/// that have a ceiling; `None` when neither has.
///
/// # Errors
/// There is a ceiling, and no price for the number.
pub(crate) fn hold(
    desk: &Desk,
    call_id: CallId,
    bot: &Bot,
    trunk: &Trunk,
    to: &E164,
) -> Result<Option<Hold>, FieldError> {
    let now = desk.clock.now();
    let accounts: Vec<Account> = Account::of_bot(bot, now).into_iter().chain(Account::of_trunk(trunk, now)).collect();
    if accounts.is_empty() {
        return Ok(None);
    }
    let price = desk.prices.of(to).ok_or_else(|| {
        let msg = "There is a max_spend_per_day, and no price for that number in the deployment's prices.calls";
        FieldError::body("to_number", "number_without_price", msg)
    })?;
    let reserved = desk.prices.reservation(price);
    let longest = u64::from(bot.ring_timeout_seconds) + u64::from(bot.max_call_duration_seconds);
    let due_at = now + Duration::from_secs(longest) + DUE_MARGIN;
    Ok(Some(Hold { call_id, accounts, reserved, price, due_at }))
}

/// Sets it aside.
///
/// # Errors
/// An account would go over its ceiling; or the table does not answer: whether something was set aside is not known
/// then, and `pass` finds it.
pub(crate) async fn set_aside(desk: &Desk, hold: &Hold) -> Result<(), Refusal> {
    match desk.spend.reserve(hold).await? {
        Reserved::Held => Ok(()),
        Reserved::Over(over) => {
            metrics::counter!("ringfleet_spend_refused_total", "of" => over.spender.as_str()).increment(1);
            Err(Refusal::SpendCeiling { now: desk.clock.now(), over })
        }
    }
}

/// Gives back what was set aside for a call that nobody took, by then; `false` where that is not known to be done: `pass`
/// does it later.
pub(crate) async fn give_back(desk: &Desk, hold: &Hold, until: Instant) -> bool {
    let cause = match timeout_at(until, desk.spend.settle(hold, Money::ZERO)).await {
        Ok(Ok(_)) => return true,
        Ok(Err(cause)) => cause.to_string(),
        Err(_) => "no answer in time".to_owned(),
    };
    tracing::warn!(call.id = %hold.call_id, error = cause, "money set aside for no call; sweep gives it back");
    false
}

/// Puts in what an ended call cost; done again, nothing happens.
///
/// # Errors
/// When the table does not answer.
pub(crate) async fn settle(desk: &Desk, row: &CallRow) -> Result<(), StoreError> {
    // Without prices nothing was ever set aside.
    if desk.prices.is_empty() || row.state != CallState::Ended {
        return Ok(());
    }
    match desk.spend.held(row.call_id).await? {
        Some(hold) => settle_hold(desk, &hold, row).await,
        None => Ok(()),
    }
}

async fn settle_hold(desk: &Desk, hold: &Hold, row: &CallRow) -> Result<(), StoreError> {
    let cost = hold.cost(row.answered_at.is_some(), row.duration_ms);
    if desk.spend.settle(hold, cost).await? == Owned::Written {
        for account in &hold.accounts {
            metrics::counter!("ringfleet_spend_micros_total", "of" => account.spender.as_str())
                .increment(cost.as_micros());
        }
    }
    Ok(())
}

/// Ends holds that are due: of calls that never came to be, and of ended ones whose end was not settled.
///
/// # Errors
/// When the index does not answer; single failures are logged, and the next pass takes them up again.
pub(crate) async fn pass(desk: &Desk, calls: &dyn Calls, now: Timestamp, limit: u32) -> Result<u32, StoreError> {
    if desk.prices.is_empty() {
        return Ok(0);
    }
    let mut ended = 0;
    for call in desk.spend.due(now, limit).await? {
        match end_hold(desk, calls, call).await {
            Ok(done) => ended += u32::from(done),
            Err(cause) => tracing::warn!(call.id = %call, error = %cause, "a hold is not ended"),
        }
    }
    Ok(ended)
}

async fn end_hold(desk: &Desk, calls: &dyn Calls, call: CallId) -> Result<bool, StoreError> {
    let Some(hold) = desk.spend.held(call).await? else { return Ok(false) };
    match calls.get(call).await? {
        Some(CallEntry::Call(row)) if row.state != CallState::Ended => Ok(false),
        Some(CallEntry::Call(row)) => settle_hold(desk, &hold, &row).await.map(|()| true),
        Some(CallEntry::Fenced(_)) | None => {
            desk.spend.settle(&hold, Money::ZERO).await.map(|done| done == Owned::Written)
        }
    }
}

#[cfg(test)]
mod tests {
    use domain::phone::E164;
    use domain::spend::{PriceRule, Prices};
    use serde_json::json;

    use super::*;
    use crate::testing::World;

    fn world() -> World {
        let world = World::new();
        let rules = vec![PriceRule::parse("+91 0.5 0.1").unwrap()];
        world.set(|settings| settings.prices = Prices::new(rules, Duration::from_secs(60)));
        world
    }

    async fn held(world: &World, call: CallId, bot: &Bot) -> Hold {
        let trunk = world.trunk("trunk", json!({}));
        let to = E164::parse("+919876543210").unwrap();
        let desk = world.desk();
        let hold = hold(&desk, call, bot, &trunk, &to).unwrap().unwrap();
        set_aside(&desk, &hold).await.unwrap();
        hold
    }

    #[tokio::test]
    async fn what_a_call_cost_takes_the_place_of_what_was_set_aside_once() {
        let check = async |answered: bool, duration_ms: u64, expect: &str| {
            let world = world();
            let bot = world.bot("bot", json!({"max_spend_per_day": "100"}));
            let row = world.ended_call(|row| {
                row.answered_at = row.answered_at.filter(|_| answered);
                row.duration_ms = duration_ms;
            });
            let hold = held(&world, row.call_id, &bot).await;
            let platform = world.platform();
            let spent = async || platform.tables.spend.spent(&hold.accounts[0]).await.unwrap().to_string();
            assert_eq!(spent().await, "0.6");
            settle(&world.desk(), &row).await.unwrap();
            assert_eq!(spent().await, expect, "{answered} {duration_ms}");
            settle(&world.desk(), &row).await.unwrap();
            assert_eq!(spent().await, expect, "again");
        };
        check(true, 12_500, "0.6").await;
        check(true, 150_000, "1.6").await;
        check(false, 0, "0").await;
    }

    #[tokio::test]
    async fn holds_of_calls_that_never_were_are_given_back() {
        let world = world();
        let bot = world.bot("bot", json!({"max_spend_per_day": "100"}));
        let live = world.call(|_| ());
        let ended = world.ended_call(|row| row.duration_ms = 61_000);
        let never = CallId::from_parts(1, [9; 10]);
        let mut accounts = Vec::new();
        for call in [live.call_id, ended.call_id, never] {
            accounts = held(&world, call, &bot).await.accounts;
        }
        let platform = world.platform();
        let (desk, calls) = (Desk::from(&platform), platform.tables.calls.clone());
        let spent = async || platform.tables.spend.spent(&accounts[0]).await.unwrap().to_string();
        assert_eq!((pass(&desk, &*calls, world.now(), 10).await.unwrap(), spent().await), (0, "1.8".into()));
        world.advance(Duration::from_secs(600 + 45 + 600));
        assert_eq!(pass(&desk, &*calls, world.now(), 10).await.unwrap(), 2);
        assert_eq!(spent().await, "1.7", "one live with 0.6 set aside, one of two minutes");
    }
}
