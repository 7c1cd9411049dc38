//! `Idempotency-Key`: one key with one body places one call, however often and however concurrently it is sent.
//! It must never free a key while the fate of its call is unknown, and never touch its table without the header.

use std::time::Duration;

use domain::api_key::Caller;
use domain::field_error::FieldError;
use domain::idempotency::{BodyHash, Entry, LetGo, ScopedKey, Verdict};
use domain::ids::CallId;
use domain::ports::{CallEntry, KeyClaim, mint_call_id};
use http::HeaderMap;
use jiff::Timestamp;
use tokio::time::{Instant, timeout_at};

use super::Desk;
use super::placing::{self, Placed};
use super::{Answer, Dialout};
use crate::problem::Refusal;

const HEADER: &str = "idempotency-key";
/// Between two looks at a request that is at it: the first and the longest wait. Each is shortened by up to a half, so
/// that a crowd does not look at once.
const FIRST_LOOK: Duration = Duration::from_millis(40);
const LONGEST_LOOK: Duration = Duration::from_millis(500);
/// What was read ahead is gone by for as long as it took to claim the key, and no longer than this: who waits for another
/// request may wait for seconds.
const AHEAD_GOOD: Duration = Duration::from_secs(2);
/// A client is told to wait no longer than this: most requests have ended by then.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(5);

/// The request's key, if it has one.
pub(super) fn key(caller: &Caller, headers: &HeaderMap) -> Result<Option<ScopedKey>, Refusal> {
    let given = headers.get_all(HEADER).iter().map(http::HeaderValue::as_bytes);
    ScopedKey::read(&caller.key_id, given)
        .map_err(|fault| Refusal::Invalid(vec![FieldError::header(HEADER, fault.word(), fault.to_string())]))
}

/// Places the call under its key, or tells what another request with that key has come to.
pub(super) async fn place(mut dialout: Dialout, key: ScopedKey, body: BodyHash) -> Result<Answer, Refusal> {
    let desk = dialout.desk.clone();
    let entrance = Entrance { desk: &desk, key, body, give_up: dialout.started + desk.placing.total };
    let began = Instant::now();
    let entering = async { (entrance.enter().await, began.elapsed()) };
    let ((entered, waited), ()) = tokio::join!(entering, dialout.read_ahead());
    if waited > AHEAD_GOOD {
        dialout.read_anew();
    }
    match entered? {
        Entered::Placed(call_id) => Ok(Answer { call_id, replayed: true }),
        Entered::Holder(held) => {
            let call_id = held.call_id;
            let placed = settle(&desk, &held, dialout.place_as(call_id).await).await;
            let_go(&desk, &held, &placed, entrance.give_up).await;
            placed.map(|()| Answer { call_id, replayed: false })
        }
    }
}

enum Entered {
    /// The key's call is under way or has been; this request has nothing to do.
    Placed(CallId),
    /// This request holds the key and places the call under the entry's id.
    Holder(Entry),
}

/// A request on its way to its key.
struct Entrance<'a> {
    desk: &'a Desk,
    key: ScopedKey,
    body: BodyHash,
    /// When a client has waited as long as for any dialout.
    give_up: Instant,
}

impl Entrance<'_> {
    /// Claims the key, or waits for who holds it.
    async fn enter(&self) -> Result<Entered, Refusal> {
        let mut found: Option<Entry> = None;
        let mut look = FIRST_LOOK;
        loop {
            let now = self.now();
            let Some(entry) = found.take() else {
                match self.claim(self.begin(), None).await? {
                    Ok(held) => return Ok(Entered::Holder(held)),
                    Err(other) => found = Some(other),
                }
                continue;
            };
            let wanted = match entry.verdict(&self.body, now) {
                Verdict::Mismatch => return Err(Refusal::IdempotencyMismatch),
                Verdict::Replay => return Ok(Entered::Placed(entry.call_id)),
                Verdict::Wait { until } => {
                    self.wait(look, until).await?;
                    look = (look * 2).min(LONGEST_LOOK);
                    found = self.desk.idempotency.get(&self.key).await?;
                    continue;
                }
                Verdict::Begin => self.begin(),
                Verdict::Resume => entry.resumed(now),
            };
            match self.claim(wanted, Some(&entry)).await? {
                Ok(held) if held.attempt == 1 => return Ok(Entered::Holder(held)),
                Ok(held) => match self.take_over(held).await? {
                    Ok(entered) => return Ok(entered),
                    Err(other) => found = Some(other),
                },
                Err(other) => found = Some(other),
            }
        }
    }

    fn now(&self) -> Timestamp {
        self.desk.clock.now()
    }

    /// An entry with a call id of its own.
    fn begin(&self) -> Entry {
        let desk = self.desk;
        let call_id = mint_call_id(&*desk.clock, &*desk.entropy);
        Entry::begin(self.key.clone(), self.body.clone(), call_id, self.now())
    }

    /// The entry if it is this request's now, else what lies there.
    async fn claim(&self, wanted: Entry, over: Option<&Entry>) -> Result<Result<Entry, Entry>, Refusal> {
        Ok(match self.desk.idempotency.claim(&wanted, over).await? {
            KeyClaim::Claimed => Ok(wanted),
            KeyClaim::Exists(other) => Err(other),
        })
    }

    async fn wait(&self, look: Duration, lease_until: Timestamp) -> Result<(), Refusal> {
        let left = self.give_up.saturating_duration_since(Instant::now());
        if left.is_zero() {
            let lease = Duration::try_from(lease_until.duration_since(self.now())).unwrap_or_default();
            return Err(Refusal::IdempotencyInFlight { retry_after: lease.min(RETRY_AFTER_MAX) });
        }
        tokio::time::sleep(self.jittered(look).min(left)).await;
        Ok(())
    }

    fn jittered(&self, wait: Duration) -> Duration {
        let off = f64::from(self.desk.entropy.dice()) / f64::from(u32::MAX) / 2.0;
        wait.mul_f64(1.0 - off)
    }

    /// Finds out what became of the call of the request that died on the way. While nobody has taken it somebody may,
    /// until this request has placed or fenced it; a call that was fenced will never be, and makes room for another.
    async fn take_over(&self, held: Entry) -> Result<Result<Entered, Entry>, Refusal> {
        match self.desk.calls.get(held.call_id).await {
            Ok(Some(CallEntry::Call(_))) => {
                tracing::info!(call.id = %held.call_id, "a dialout that was not answered had placed its call");
                let_go(self.desk, &held, &Ok(()), self.give_up).await;
                Ok(Ok(Entered::Placed(held.call_id)))
            }
            Ok(Some(CallEntry::Fenced(_))) => Ok(self.claim(self.begin(), Some(&held)).await?.map(Entered::Holder)),
            Ok(None) => Ok(Ok(Entered::Holder(held))),
            Err(cause) => {
                let refusal = Err(Refusal::from(cause));
                let_go(self.desk, &held, &refusal, self.give_up).await;
                refusal.map(|()| Ok(Entered::Holder(held)))
            }
        }
    }
}

/// A refusal by a request that took over counts only once nobody can take the call any more.
async fn settle(desk: &Desk, held: &Entry, placed: Result<(), Refusal>) -> Result<(), Refusal> {
    match placed {
        Err(refusal) if held.attempt > 1 && is_final(&refusal) => match placing::fence(desk, held.call_id).await? {
            Placed::Accepted => Ok(()),
            Placed::NoCapacity | Placed::TrunkLimit => Err(refusal),
        },
        other => other,
    }
}

/// Whether a refusal means that no call was placed; after any other, one may have been.
fn is_final(refusal: &Refusal) -> bool {
    !matches!(refusal, Refusal::Store(_) | Refusal::Internal)
}

/// The answer stands whether or not this is written: who finds the entry in flight finds the call by its id.
async fn let_go(desk: &Desk, held: &Entry, placed: &Result<(), Refusal>, give_up: Instant) {
    let how = match placed {
        Ok(()) => LetGo::Done,
        Err(refusal) if is_final(refusal) => LetGo::Release,
        Err(_) => LetGo::GiveBack { at: desk.clock.now() },
    };
    let written = timeout_at(placing::last_word(give_up), desk.idempotency.let_go(held, how)).await;
    if let Err(cause) = written.unwrap_or_else(|_| Err(placing::silent())) {
        tracing::warn!(error = %cause, call.id = %held.call_id, ?how, "an idempotency key stays held until its lease ends");
    }
}

#[cfg(test)]
mod model_tests;
#[cfg(test)]
mod tests;
