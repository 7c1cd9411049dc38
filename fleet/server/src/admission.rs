//! Permits: the truth about how many calls this server holds. It must never wait: a call is let in at once or refused.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use domain::fleet::Refusal;
use domain::ids::TrunkId;
use tokio::sync::watch;

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
    /// False until the first heartbeat was written, and again when none got through for too long.
    ready: bool,
}

/// Lets calls in.
#[derive(Debug, Clone)]
pub struct Admission {
    state: Arc<Mutex<State>>,
    changes: watch::Sender<Load>,
}

impl Admission {
    pub fn new(max: u32) -> Self {
        let load = Load { calls: 0, max, draining: false, trunk_calls: BTreeMap::new() };
        let (changes, _) = watch::channel(load.clone());
        Self { state: Arc::new(Mutex::new(State { load, ready: false })), changes }
    }

    /// Takes a slot for a call over `trunk`, whose share on this server is `trunk_limit`.
    ///
    /// # Errors
    /// Why there is none.
    pub fn take(&self, trunk: Option<&TrunkId>, trunk_limit: Option<u32>) -> Result<Permit, Refusal> {
        let load = {
            let mut state = self.lock();
            if state.load.draining {
                return Err(Refusal::Draining);
            }
            if !state.ready {
                return Err(Refusal::NotReady);
            }
            if state.load.calls >= state.load.max {
                return Err(Refusal::Full);
            }
            if let Some(trunk) = trunk {
                let held = state.load.trunk_calls.get(trunk).copied().unwrap_or(0);
                if trunk_limit.is_some_and(|limit| held >= limit) {
                    return Err(Refusal::TrunkLimit);
                }
                state.load.trunk_calls.insert(trunk.clone(), held + 1);
            }
            state.load.calls += 1;
            state.load.clone()
        };
        self.changes.send_replace(load);
        Ok(Permit { admission: self.clone(), trunk: trunk.cloned() })
    }

    /// Whether heartbeats get through; while they don't, nobody is let in.
    pub fn set_ready(&self, ready: bool) {
        self.lock().ready = ready;
    }

    /// Refuses every call from now on.
    pub fn drain(&self) {
        let load = {
            let mut state = self.lock();
            state.load.draining = true;
            state.load.clone()
        };
        self.changes.send_replace(load);
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
mod tests {
    use super::*;

    fn open(max: u32) -> Admission {
        let admission = Admission::new(max);
        admission.set_ready(true);
        admission
    }

    #[test]
    fn nobody_is_let_in_before_the_first_heartbeat_nor_while_draining() {
        let admission = Admission::new(1);
        assert_eq!(admission.take(None, None).err(), Some(Refusal::NotReady));
        admission.set_ready(true);
        assert!(admission.take(None, None).is_ok());
        admission.drain();
        assert_eq!(admission.take(None, None).err(), Some(Refusal::Draining));
        assert_eq!(admission.load().free(), 0);
    }

    #[test]
    fn slots_are_exact_and_come_back() {
        let admission = open(2);
        let first = admission.take(None, None).unwrap();
        let second = admission.take(None, None).unwrap();
        assert_eq!(admission.take(None, None).err(), Some(Refusal::Full));
        drop(first);
        assert_eq!(admission.load().free(), 1);
        drop(second);
        assert_eq!(admission.load().free(), 2);
    }

    #[test]
    fn a_trunk_has_a_limit_of_its_own() {
        let admission = open(10);
        let trunk = TrunkId::parse("t").unwrap();
        let held = admission.take(Some(&trunk), Some(1)).unwrap();
        assert_eq!(admission.take(Some(&trunk), Some(1)).err(), Some(Refusal::TrunkLimit));
        assert!(admission.take(None, None).is_ok());
        drop(held);
        assert!(admission.take(Some(&trunk), Some(1)).is_ok());
        assert!(admission.load().trunk_calls.is_empty());
    }

    #[test]
    fn concurrent_takers_never_get_more_than_there_is() {
        let admission = open(37);
        let taken = std::thread::scope(|scope| {
            let takers: Vec<_> = (0..100).map(|_| scope.spawn(|| admission.take(None, None).ok())).collect();
            takers.into_iter().filter_map(|t| t.join().unwrap()).collect::<Vec<_>>()
        });
        assert_eq!(taken.len(), 37);
    }
}
