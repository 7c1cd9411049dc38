//! Finds the one server that takes a call: ranks, asks, asks again, and fences an id whose fate it cannot learn.
//! It must never let a client hear "no" for a call that a server may still dial: then the fence decides.

use std::time::Duration;

use domain::call::FenceRow;
use domain::fleet::{DialAnswer, Refusal as ServerRefusal, ServerRow, rank};
use domain::ids::{BotId, CallId, Epoch, KeyId, ServerId, TrunkId};
use domain::ports::{CallEntry, Claim, FleetError, StoreError};
use domain::secret::Personal;
use domain::share::TrunkLimits;
use domain::trunk::Trunk;
use serde_json::value::RawValue;
use tokio::time::{Instant, timeout, timeout_at};

use super::Desk;
use super::reads::{Reads, Seen};

/// A call to be placed, but for the server.
#[derive(Debug)]
pub(super) struct Draft {
    pub(super) call_id: CallId,
    pub(super) bot_id: BotId,
    pub(super) bot_version: u64,
    pub(super) trunk_id: TrunkId,
    pub(super) to: Personal<String>,
    pub(super) from: Personal<String>,
    pub(super) variables: Option<Box<RawValue>>,
    pub(super) key_id: KeyId,
    pub(super) warnings: Vec<String>,
}

/// What is offered to servers, and to which of them.
#[derive(Debug)]
pub(super) struct Offer<'a> {
    pub(super) command: Draft,
    pub(super) trunk: &'a Trunk,
    /// The trunk's limits over the fleet.
    pub(super) limits: TrunkLimits,
    /// Where it has any: the servers that may have a share of them.
    pub(super) seen: Option<Seen>,
}

impl Offer<'_> {
    /// Only servers of this group, where the trunk asks for one.
    fn group(&self) -> Option<&str> {
        self.trunk.server_group.as_deref()
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Placed {
    Accepted,
    NoCapacity,
    TrunkLimit,
}

impl Placed {
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::NoCapacity => "no_capacity",
            Self::TrunkLimit => "trunk_limit",
        }
    }
}

/// What one server's answer leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    Accepted,
    /// It has not taken the call and will not.
    AskAnother(Option<ServerRefusal>),
    /// Whether it has taken it is not known: only the fence can tell.
    Fence,
    /// The id is fenced already: nobody will take it.
    Refused,
}

/// Offers the call until a server takes it, three can't (beside those whose share of the trunk is used up), or the time
/// is up.
///
/// # Errors
/// When the tables don't answer; no server has taken the call then, or none that could have written its row.
pub(super) async fn place(
    desk: &Desk,
    reads: &Reads,
    offer: &Offer<'_>,
    started: Instant,
) -> Result<Placed, StoreError> {
    let budget = &desk.placing;
    let give_up = started + budget.total.saturating_sub(budget.fence);
    let mut ranking = Ranking::new(desk, reads, offer);
    let mut refusals = Vec::new();
    let mut unsure = false;
    let (mut asked, mut limited) = (0, 0);
    while asked < budget.servers && limited <= budget.trunk_refusals && Instant::now() < give_up {
        let Ok(next) = timeout_at(give_up, ranking.next()).await else {
            return if unsure { fence(desk, offer.command.call_id).await } else { Err(silent()) };
        };
        let Some(server) = next? else { break };
        domain::failpoint!("dialout.ranked");
        match ask(desk, offer, &server, give_up, &mut unsure).await {
            Next::Accepted => return Ok(Placed::Accepted),
            Next::AskAnother(why) => {
                // The id may be another server's already, or this one's with a write whose answer was lost.
                unsure |= matches!(why, Some(ServerRefusal::WrongServer | ServerRefusal::NotReady));
                // Another server may have a share left: this one does not count among those that can't take a call.
                let at_limit = why == Some(ServerRefusal::TrunkLimit);
                (asked, limited) = (asked + usize::from(!at_limit), limited + usize::from(at_limit));
                refusals.push(why);
                ranking.doubt();
            }
            Next::Fence => return fence(desk, offer.command.call_id).await,
            Next::Refused => return Ok(Placed::NoCapacity),
        }
    }
    if unsure {
        return fence(desk, offer.command.call_id).await;
    }
    let only_trunk = !refusals.is_empty() && refusals.iter().all(|why| *why == Some(ServerRefusal::TrunkLimit));
    Ok(if only_trunk { Placed::TrunkLimit } else { Placed::NoCapacity })
}

/// Asks one server, twice when it gives no answer. `unsure` is set, and stays set, once a question went unanswered.
async fn ask(desk: &Desk, offer: &Offer<'_>, server: &ServerRow, give_up: Instant, unsure: &mut bool) -> Next {
    let first = dial(desk, offer, server, give_up).await;
    domain::failpoint!("dialout.asked");
    let Some(next) = judge(&first) else {
        *unsure = true;
        tracing::warn!(call.id = %offer.command.call_id, server.id = %server.server_id, "no answer from a server; asking it once more");
        domain::failpoint!("dialout.unanswered");
        let second = dial(desk, offer, server, give_up).await;
        return match judge(&second) {
            // Not reachable any more says nothing about the first question.
            Some(Next::AskAnother(None)) | None => Next::Fence,
            Some(next) => next,
        };
    };
    next
}

async fn dial(desk: &Desk, offer: &Offer<'_>, server: &ServerRow, give_up: Instant) -> Result<DialAnswer, FleetError> {
    let budget = &desk.placing;
    let left = give_up.saturating_duration_since(Instant::now());
    let timeout = budget.per_server.min(left).max(Duration::from_millis(1));
    // A server that reads the question later than this refuses it.
    let deadline = desk.clock.now() + left + budget.fence;
    desk.fleet.dial(server, &offer.command.for_server(server, deadline), timeout).await
}

/// What an answer means; `None` when the server may or may not have acted.
fn judge(answer: &Result<DialAnswer, FleetError>) -> Option<Next> {
    use ServerRefusal as R;
    Some(match answer {
        Ok(DialAnswer::Accepted) => Next::Accepted,
        Ok(DialAnswer::Refused(R::Fenced)) => Next::Refused,
        Ok(DialAnswer::Refused(
            why @ (R::Full | R::Draining | R::NotReady | R::TrunkLimit | R::WrongServer | R::TooLate | R::Unreadable),
        )) => Next::AskAnother(Some(*why)),
        Err(FleetError::Unreachable(_)) => Next::AskAnother(None),
        // 4xx: it did not understand or trust the request, so it has not acted.
        Err(FleetError::Unexpected(400..=499)) => Next::AskAnother(Some(R::NotReady)),
        Ok(DialAnswer::Refused(R::Unsettled)) | Err(FleetError::Unexpected(_) | FleetError::NoAnswer(_)) => {
            return None;
        }
    })
}

/// A client that has waited for as long as it may waits this much longer for what is written down after its answer is known.
const LAST_WORD: Duration = Duration::from_secs(1);

/// Until when a client whose wait ends at `give_up` waits for that.
pub(super) fn last_word(give_up: Instant) -> Instant {
    give_up.max(Instant::now() + LAST_WORD)
}

/// Tables that answered nothing while a client could wait.
pub(super) fn silent() -> StoreError {
    StoreError::Unavailable { what: "tables", cause: "no answer in time".to_owned() }
}

/// Puts the fence within its budget. Without an answer the call's fate stays unknown, and the error says so.
pub(super) async fn fence(desk: &Desk, call_id: CallId) -> Result<Placed, StoreError> {
    timeout(desk.placing.fence, put_fence(desk, call_id)).await.unwrap_or_else(|_| Err(silent()))
}

/// Puts the fence: if it stands, no server dials this id any more; if a row was there, the call is under way.
async fn put_fence(desk: &Desk, call_id: CallId) -> Result<Placed, StoreError> {
    let row = FenceRow { call_id, refused: true, fenced_at: desk.clock.now() };
    domain::failpoint!("dialout.fencing");
    let claim = match desk.calls.fence(&row).await {
        // A second write of the same fence finds the first: that is the same outcome.
        Err(StoreError::Unavailable { .. }) => desk.calls.fence(&row).await?,
        other => other?,
    };
    domain::failpoint!("dialout.fenced");
    Ok(match claim {
        Claim::Exists(CallEntry::Call(_)) => Placed::Accepted,
        Claim::Claimed | Claim::Exists(CallEntry::Fenced(_)) => Placed::NoCapacity,
    })
}

/// Servers in the order in which they are asked: those of two shards first, then others. Over a trunk with limits: those
/// that have a share of it, those first that have not used it up.
struct Ranking<'a> {
    desk: &'a Desk,
    reads: &'a Reads,
    offer: &'a Offer<'a>,
    seed: u32,
    stage: Stage,
    queue: std::collections::VecDeque<ServerRow>,
    /// Each incarnation once: one that has gone since it was read says nothing for the next.
    asked: Vec<(ServerId, Epoch)>,
}

#[derive(Clone, Copy)]
enum Stage {
    Sample,
    Rest,
    Done,
}

impl<'a> Ranking<'a> {
    fn new(desk: &'a Desk, reads: &'a Reads, offer: &'a Offer<'a>) -> Self {
        let seed = desk.entropy.dice();
        let mut ranking = Self {
            desk,
            reads,
            offer,
            seed,
            stage: Stage::Sample,
            queue: std::collections::VecDeque::new(),
            asked: Vec::new(),
        };
        if let Some(seen) = &offer.seen {
            ranking.stage = Stage::Rest;
            ranking.rank(seen.rows.clone());
        }
        ranking
    }

    async fn next(&mut self) -> Result<Option<ServerRow>, StoreError> {
        loop {
            if let Some(server) = self.queue.pop_front() {
                self.asked.push((server.server_id.clone(), server.epoch));
                return Ok(Some(server));
            }
            let servers = match self.stage {
                Stage::Sample => self.reads.sample(self.offer.trunk).await?,
                Stage::Rest => self.reads.rest(self.offer.trunk).await?,
                Stage::Done => return Ok(None),
            };
            self.stage = match self.stage {
                Stage::Sample => Stage::Rest,
                Stage::Rest | Stage::Done => Stage::Done,
            };
            self.rank(servers);
        }
    }

    /// One that was remembered to have room has not taken the call: the others may be as they were remembered no more, and
    /// are looked at as they are now before the next one is asked.
    fn doubt(&mut self) {
        if matches!(self.stage, Stage::Rest) && self.reads.went_by_memory() {
            self.queue.clear();
        }
    }

    fn rank(&mut self, servers: Vec<ServerRow>) {
        let now = self.desk.clock.now();
        let mut fit = super::candidates(servers, now);
        fit.retain(|server| !self.asked.iter().any(|(id, epoch)| *id == server.server_id && *epoch == server.epoch));
        let (seed, group) = (self.seed, self.offer.group());
        let mut ranked = rank(&fit, now, group, |id| dice(seed, id));
        if let Some(seen) = &self.offer.seen {
            let (trunk, limits) = (&self.offer.command.trunk_id, &self.offer.limits);
            let has_share = |server: &ServerRow| seen.has_share(server, limits, group);
            // Where nobody who answers has a share, one that says so is asked: then it is the trunk's limit.
            if ranked.iter().any(has_share) {
                ranked.retain(has_share);
            }
            ranked.sort_by_cached_key(|server| !seen.has_room(server, trunk, limits, group));
        }
        self.queue = ranked.into();
    }
}

/// One number a server, the same for the whole sort (FNV-1a over the seed and the id).
fn dice(seed: u32, id: &ServerId) -> u32 {
    let bytes = seed.to_le_bytes().into_iter().chain(id.as_str().bytes());
    bytes.fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}
