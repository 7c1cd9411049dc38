//! Carries a call over the first of its bot's trunks that may and can: numbers, limits, ceilings, then a server.
//! It must never offer a call over another trunk while a server may still take it over the first.

use domain::api_key::Caller;
use domain::bot::Bot;
use domain::dialout::{DialoutRequest, PlacedNumbers, dialled, place};
use domain::field_error::FieldError;
use domain::ids::CallId;
use domain::ports::StoreError;
use domain::share::TrunkLimits;
use domain::spend::{Hold, Spender};
use domain::trunk::Trunk;
use tokio::time::{Instant, timeout_at};

use super::Desk;
use super::command;
use super::placing::{self, Offer, Placed};
use super::reads::Reads;
use crate::problem::Refusal;
use crate::spend;

/// A call that may be made now, if a trunk carries it.
pub(super) struct Wanted<'a> {
    pub(super) call_id: CallId,
    pub(super) bot: &'a Bot,
    pub(super) request: &'a DialoutRequest,
    pub(super) caller: &'a Caller,
    pub(super) reads: &'a Reads,
    /// When the request arrived.
    pub(super) started: Instant,
    /// When its client has waited long enough.
    pub(super) give_up: Instant,
}

impl Wanted<'_> {
    /// What a table answers while the client waits.
    async fn in_time<T>(&self, question: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
        timeout_at(self.give_up, question).await.unwrap_or_else(|_| Err(placing::silent()))
    }
}

/// Why a trunk does not carry the call, and what that means for the next.
enum Passed {
    /// The next may.
    On(Refusal),
    /// No other trunk changes it.
    Ends(Refusal),
}

impl From<StoreError> for Passed {
    fn from(cause: StoreError) -> Self {
        Self::Ends(cause.into())
    }
}

/// Tries the bot's trunks in their order. The numbers are judged by the first that exists: a fault there is the
/// client's to mend; a trunk at its limit or ceiling passes the call on.
///
/// # Errors
/// Why the first trunk that could have carried the call did not.
pub(super) async fn carry(desk: &Desk, wanted: &Wanted<'_>) -> Result<(), Refusal> {
    let mut refusal: Option<Refusal> = None;
    for id in &wanted.bot.trunk_ids {
        let Some(trunk) = wanted.in_time(wanted.reads.trunk(id)).await? else { continue };
        let numbers = match wanted.in_time(judged_numbers(wanted, &trunk)).await? {
            Ok(numbers) => numbers,
            Err(faults) if refusal.is_none() => return Err(refused_numbers(faults)),
            Err(_) => continue,
        };
        let hold = match spend::hold(&desk.spend, wanted.call_id, wanted.bot, &trunk, &numbers.to) {
            Ok(hold) => hold,
            Err(fault) if refusal.is_none() => return Err(refused_numbers(vec![fault])),
            Err(_) => continue,
        };
        match over(desk, wanted, &trunk, numbers, hold).await {
            Ok(()) => return Ok(()),
            Err(Passed::Ends(why)) => return Err(why),
            Err(Passed::On(why)) => {
                refusal.get_or_insert(why);
            }
        }
    }
    Err(refusal.unwrap_or(Refusal::NoTrunk))
}

async fn over(
    desk: &Desk,
    wanted: &Wanted<'_>,
    trunk: &Trunk,
    numbers: PlacedNumbers,
    hold: Option<Hold>,
) -> Result<(), Passed> {
    let limits = TrunkLimits::of(trunk);
    let seen = match limits.is_none() {
        true => None,
        false => Some(
            wanted.in_time(wanted.reads.limited(trunk, &limits)).await?.ok_or_else(|| Passed::On(limited(trunk)))?,
        ),
    };
    if let Some(hold) = &hold {
        // If it was set aside and only the answer is missing, the sweep gives it back.
        let Ok(set_aside) = timeout_at(wanted.give_up, spend::set_aside(&desk.spend, hold)).await else {
            return Err(placing::silent().into());
        };
        set_aside.map_err(|why| match &why {
            Refusal::SpendCeiling { over, .. } if over.spender == Spender::Trunk => Passed::On(why),
            _ => Passed::Ends(why),
        })?;
    }
    let offer = Offer { command: command(wanted, trunk, numbers), trunk, limits, seen };
    // A table that does not answer leaves it open whether a server has the call: then the hold stays until it is known.
    let placed = placing::place(desk, wanted.reads, &offer, wanted.started).await?;
    tracing::info!(call.id = %wanted.call_id, bot.id = %wanted.bot.bot_id, trunk.id = %trunk.trunk_id, outcome = placed.word(), "dialout");
    let given_back = match &hold {
        Some(hold) if placed != Placed::Accepted => {
            spend::give_back(&desk.spend, hold, placing::last_word(wanted.give_up)).await
        }
        _ => true,
    };
    match placed {
        Placed::Accepted => Ok(()),
        Placed::NoCapacity => Err(Passed::Ends(Refusal::NoCapacity)),
        // A call has one hold: over another trunk, the one that still stands would be taken for that trunk's.
        Placed::TrunkLimit if !given_back => Err(Passed::Ends(limited(trunk))),
        Placed::TrunkLimit => Err(Passed::On(limited(trunk))),
    }
}

fn limited(trunk: &Trunk) -> Refusal {
    metrics::counter!("ringfleet_trunk_limited_total", "trunk" => trunk.trunk_id.to_string()).increment(1);
    Refusal::TrunkLimit
}

async fn judged_numbers(
    wanted: &Wanted<'_>,
    trunk: &Trunk,
) -> Result<Result<PlacedNumbers, Vec<FieldError>>, StoreError> {
    let own = match dialled(wanted.request, trunk) {
        Ok(number) => wanted.reads.is_own_number(number.e164.as_str()).await?,
        Err(_) => false,
    };
    Ok(place(wanted.request, wanted.bot, trunk, |_| own))
}

/// Each refusal of a number is counted by its word.
fn refused_numbers(faults: Vec<FieldError>) -> Refusal {
    for fault in &faults {
        metrics::counter!("ringfleet_numbers_refused_total", "reason" => fault.kind.clone()).increment(1);
    }
    Refusal::Invalid(faults)
}
