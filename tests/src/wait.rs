//! Waiting for something to become true, with a deadline and a reason.
//! It must never let a test hang, nor fail it because a busy machine was slow: deadlines are generous.

use std::fmt::Display;
use std::future::Future;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tokio::time::{Instant, MissedTickBehavior};

/// Between two looks.
const LOOK: Duration = Duration::from_millis(50);

/// Looks until there is something; `what` is what was waited for.
///
/// # Errors
/// The deadline passed, or a look failed.
pub async fn until<T, F, Fut>(what: impl Display, within: Duration, mut look: F) -> Result<T>
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Result<Option<T>>>,
{
    let end = Instant::now() + within;
    let mut looks = tokio::time::interval(LOOK);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        looks.tick().await;
        if let Some(found) = look().await.with_context(|| format!("while waiting for {what}"))? {
            return Ok(found);
        }
        if Instant::now() >= end {
            bail!("waited {within:?} in vain for {what}");
        }
    }
}

/// Gives a future as long and no longer.
///
/// # Errors
/// It took longer.
pub async fn within<T>(what: impl Display, limit: Duration, future: impl Future<Output = T>) -> Result<T> {
    tokio::time::timeout(limit, future).await.with_context(|| format!("{what} took longer than {limit:?}"))
}
