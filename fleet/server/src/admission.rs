//! Permits: the truth about how many calls this server holds. It must never wait: a call is let in at once or refused.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use domain::fleet::{Refusal, ServerRow};
use domain::ids::{ServerId, TrunkId};
use domain::share::{Denied, Over, Rest, Shares};
use jiff::Timestamp;
use tokio::sync::watch;

/// Without a successful heartbeat for this long nobody is admitted: the control plane may think us dead.
const SILENCE_LIMIT: Duration = Duration::from_secs(10);

/// What the heartbeat tells about this server's load.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Load {
    pub calls: u32,
    pub max: u32,
    pub draining: bool,
    pub trunk_calls: BTreeMap<TrunkId, u32>,
}

impl Load {
    pub fn free(&self) -> u32 {
        if self.draining { 0 } else { self.max.saturating_sub(self.calls) }
    }
}

#[derive(Debug)]
struct State {
    load: Load,
    /// How much of each trunk's limits is this server's.
    shares: Shares,
    /// The process ends when its calls have: nobody opens it again.
    ending: bool,
    /// When a heartbeat got through last, if that is reason enough to let calls in. Judged at each call, and not by
    /// who writes heartbeats: a process that stood still must not take a call on the strength of what was true before.
    heard: Option<Instant>,
}

/// Lets calls in.
#[derive(Debug, Clone)]
pub struct Admission {
    state: Arc<Mutex<State>>,
    changes: watch::Sender<Load>,
}

impl Admission {
    /// For a server of this id and group, that holds at most `max` calls.
    pub fn new(max: u32, server: ServerId, group: Option<String>) -> Self {
        let load = Load { calls: 0, max, draining: false, trunk_calls: BTreeMap::new() };
        let (changes, _) = watch::channel(load.clone());
        let state = State { load, shares: Shares::new(server, group), ending: false, heard: None };
        Self { state: Arc::new(Mutex::new(state)), changes }
    }

    /// Takes a slot for a call, and of what this server may use of its trunk.
    ///
    /// # Errors
    /// Why there is none.
    pub fn take(&self, over: Option<&Over<'_>>) -> Result<Permit, Refusal> {
        self.take_at(Instant::now(), over)
    }

    fn take_at(&self, now: Instant, over: Option<&Over<'_>>) -> Result<Permit, Refusal> {
        let load = {
            let mut state = self.lock();
            if state.load.draining {
                return Err(Refusal::Draining);
            }
            if state.heard.is_none_or(|heard| now.saturating_duration_since(heard) > SILENCE_LIMIT) {
                return Err(Refusal::NotReady);
            }
            if state.load.calls >= state.load.max {
                return Err(Refusal::Full);
            }
            if let Some(over) = over {
                let held = state.load.trunk_calls.get(over.trunk).copied().unwrap_or(0);
                state.shares.check(now, over, held).map_err(|denied| limited(over.trunk, denied))?;
                state.shares.note(now, over);
                state.load.trunk_calls.insert(over.trunk.clone(), held + 1);
            }
            state.load.calls += 1;
            state.load.clone()
        };
        self.changes.send_replace(load);
        Ok(Permit { admission: self.clone(), trunk: over.map(|over| over.trunk.clone()) })
    }

    /// Takes in the fleet as it was read right after the heartbeat begun at `beat`.
    pub fn observe(&self, beat: Instant, servers: &[ServerRow], rest: &Rest, wall: Timestamp) {
        self.lock().shares.observe(beat, Instant::now(), servers, rest, wall);
    }

    /// Whether it knows of the fleet; until then trunks with limits are closed.
    pub fn sees_fleet(&self) -> bool {
        self.lock().shares.sees()
    }

    /// A heartbeat got through and calls can be taken: true for the next 10 s; or they can't.
    pub fn set_ready(&self, ready: bool) {
        self.set_ready_at(Instant::now(), ready);
    }

    fn set_ready_at(&self, now: Instant, ready: bool) {
        self.lock().heard = ready.then_some(now);
    }

    /// Refuses every call until [`Admission::resume`].
    pub fn drain(&self) {
        self.set_draining(true);
    }

    /// Lets calls in again; false when the process is ending.
    pub fn resume(&self) -> bool {
        self.set_draining(false)
    }

    /// Refuses every call from now on, for good.
    pub fn end(&self) {
        self.lock().ending = true;
        self.set_draining(true);
    }

    fn set_draining(&self, draining: bool) -> bool {
        let load = {
            let mut state = self.lock();
            if state.ending && !draining {
                return false;
            }
            if std::mem::replace(&mut state.load.draining, draining) && !draining {
                // The others have divided the trunks without it.
                state.shares.come_back();
            }
            state.load.clone()
        };
        self.changes.send_replace(load);
        true
    }

    pub fn load(&self) -> Load {
        self.lock().load.clone()
    }

    /// Sees each change of the load.
    pub fn watch(&self) -> watch::Receiver<Load> {
        self.changes.subscribe()
    }

    fn give_back(&self, trunk: Option<&TrunkId>) {
        let load = {
            let mut state = self.lock();
            state.load.calls = state.load.calls.saturating_sub(1);
            if let Some(trunk) = trunk
                && let Some(held) = state.load.trunk_calls.get_mut(trunk)
            {
                *held = held.saturating_sub(1);
                if *held == 0 {
                    state.load.trunk_calls.remove(trunk);
                }
            }
            state.load.clone()
        };
        self.changes.send_replace(load);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn limited(trunk: &TrunkId, denied: Denied) -> Refusal {
    let labels = [("trunk", trunk.to_string()), ("limit", denied.word().to_owned())];
    metrics::counter!("ringfleet_trunk_share_refusals_total", &labels).increment(1);
    Refusal::TrunkLimit
}

/// One call's slot; dropping it gives the slot back, whatever became of the call.
#[derive(Debug)]
pub struct Permit {
    admission: Admission,
    trunk: Option<TrunkId>,
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.admission.give_back(self.trunk.as_ref());
    }
}

#[cfg(test)]
mod tests;
