//! One timer for all the moments a socket waits for. It must never be set anew for a moment that is no earlier: with
//! fifty frames a second and call, that would be most of what the timers of a server do.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::time::{Instant, Sleep, sleep_until};

#[derive(Debug)]
pub(super) struct Alarm {
    sleep: Pin<Box<Sleep>>,
    /// When it rings; none after it rang.
    set: Option<Instant>,
}

impl Alarm {
    pub(super) fn new() -> Self {
        Self { sleep: Box::pin(sleep_until(Instant::now())), set: None }
    }

    /// Ready at `at` or before: whoever waits looks at the clock and asks again.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>, at: Instant) -> Poll<()> {
        if self.set.is_none_or(|set| at < set) {
            self.sleep.as_mut().reset(at);
            self.set = Some(at);
        }
        let rang = self.sleep.as_mut().poll(cx);
        if rang.is_ready() {
            self.set = None;
        }
        rang
    }
}
