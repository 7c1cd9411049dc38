//! How many whole platforms run at once: two cores can't do everybody's real time at the same moment.
//! It must never be taken twice by one test: that would wait for itself.

use tokio::sync::{Semaphore, SemaphorePermit};

const PLACES: u32 = 2;
static GATE: Semaphore = Semaphore::const_new(PLACES as usize);

/// The right to load the machine; given back when dropped.
#[derive(Debug)]
pub struct Turn {
    _places: SemaphorePermit<'static>,
}

/// Waits for the whole machine: calls with audio run in real time.
pub async fn whole() -> Turn {
    take(PLACES).await
}

/// Waits for a part of it: processes that start and stop.
pub async fn part() -> Turn {
    take(1).await
}

async fn take(places: u32) -> Turn {
    Turn { _places: GATE.acquire_many(places).await.expect("nothing closes the gate") }
}
