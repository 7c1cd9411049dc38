//! The calls that live here, by id. It must never hold a call's state: only the way to reach its task.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use call::io::Control;
use domain::fleet::DialAnswer;
use domain::ids::{CallId, TrunkId};
use tokio::sync::{OnceCell, mpsc};

/// Controls that wait for a call task; one is enough to end a call.
const CONTROL_QUEUE: usize = 8;
/// Answers of finished offers that are remembered, so that a repeated `POST /calls` gets the same one.
const REMEMBERED: usize = 4096;

type Offer = Arc<OnceCell<DialAnswer>>;

#[derive(Debug, Default)]
struct State {
    controls: HashMap<CallId, mpsc::Sender<Control>>,
    offers: HashMap<(CallId, TrunkId), Offer>,
    order: std::collections::VecDeque<(CallId, TrunkId)>,
}

#[derive(Debug, Clone, Default)]
pub(crate) struct Live {
    state: Arc<Mutex<State>>,
}

impl Live {
    /// The one cell in which an offer of this call over this trunk is decided: whoever comes second waits for the first
    /// one's answer. A call that was refused for its trunk's sake may be offered over another.
    pub(crate) fn offer(&self, call: CallId, trunk: &TrunkId) -> Offer {
        let offer = (call, trunk.clone());
        let mut state = self.lock();
        if let Some(known) = state.offers.get(&offer) {
            return known.clone();
        }
        if state.order.len() >= REMEMBERED
            && let Some(oldest) = state.order.pop_front()
        {
            state.offers.remove(&oldest);
        }
        let fresh = Offer::default();
        state.offers.insert(offer.clone(), fresh.clone());
        state.order.push_back(offer);
        fresh
    }

    /// Lists a call as living here; it leaves the list when the guard is dropped.
    pub(crate) fn enter(&self, call: CallId) -> (LiveGuard, mpsc::Receiver<Control>) {
        let (control, inbox) = mpsc::channel(CONTROL_QUEUE);
        self.lock().controls.insert(call, control);
        (LiveGuard { live: self.clone(), call }, inbox)
    }

    /// Passes a control on; false when the call does not live here. A full queue already ends the call.
    pub(crate) fn control(&self, call: CallId, control: Control) -> bool {
        match self.lock().controls.get(&call) {
            Some(sender) => {
                let _ = sender.try_send(control);
                true
            }
            None => false,
        }
    }

    pub(crate) fn control_all(&self, control: Control) {
        for sender in self.lock().controls.values() {
            let _ = sender.try_send(control);
        }
    }

    pub(crate) fn ids(&self) -> Vec<CallId> {
        self.lock().controls.keys().copied().collect()
    }

    pub(crate) fn contains(&self, call: CallId) -> bool {
        self.lock().controls.contains_key(&call)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Takes its call off the list when dropped.
#[derive(Debug)]
pub(crate) struct LiveGuard {
    live: Live,
    call: CallId,
}

impl Drop for LiveGuard {
    fn drop(&mut self) {
        self.live.lock().controls.remove(&self.call);
    }
}
