//! Which socket has a dialler's stream: there is one at a time, and who comes again has lost the one before.
//! It must never let two of them be calls at once for longer than the older one takes to end.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use domain::ids::BotId;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

/// How long an older socket may take to end its call.
const END_LIMIT: Duration = Duration::from_secs(6);

type Key = (BotId, String);

/// The open streams by bot and the dialler's name for them; as many as there are calls.
#[derive(Debug, Clone, Default)]
pub(crate) struct Streams {
    open: Arc<Mutex<HashMap<Key, Entry>>>,
    number: Arc<AtomicU64>,
}

#[derive(Debug, Clone)]
struct Entry {
    number: u64,
    replaced: CancellationToken,
    gone: CancellationToken,
}

impl Streams {
    /// Takes a stream over: whoever has it is told to end, and waited for.
    pub(crate) async fn claim(&self, bot: &BotId, stream: &str) -> Stream {
        let key = (bot.clone(), stream.to_owned());
        let until = Instant::now() + END_LIMIT;
        loop {
            let older = match self.enter(&key, Instant::now() >= until) {
                Ok(stream) => return stream,
                Err(older) => older,
            };
            older.replaced.cancel();
            let _ = timeout_at(until, older.gone.cancelled()).await;
        }
    }

    /// Takes the place, if it is free or `at_any_rate`; answers who has it.
    fn enter(&self, key: &Key, at_any_rate: bool) -> Result<Stream, Entry> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(older) = open.get(key)
            && !at_any_rate
        {
            return Err(older.clone());
        }
        let number = self.number.fetch_add(1, Ordering::Relaxed);
        let entry = Entry { number, replaced: CancellationToken::new(), gone: CancellationToken::new() };
        open.insert(key.clone(), entry.clone());
        Ok(Stream { streams: self.clone(), key: key.clone(), entry })
    }
}

/// The stream of one socket, until it is dropped.
#[derive(derive_more::Debug)]
#[debug("Stream({})", entry.number)]
pub(crate) struct Stream {
    streams: Streams,
    key: Key,
    entry: Entry,
}

impl Stream {
    /// Returns when another socket wants the stream.
    pub(crate) async fn replaced(&self) {
        self.entry.replaced.cancelled().await;
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        let mut open = self.streams.open.lock().unwrap_or_else(PoisonError::into_inner);
        if open.get(&self.key).is_some_and(|entry| entry.number == self.entry.number) {
            open.remove(&self.key);
        }
        drop(open);
        self.entry.gone.cancel();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bot(id: &str) -> BotId {
        BotId::parse(id).unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn the_older_one_ends_first() {
        let streams = Streams::default();
        let first = streams.claim(&bot("a"), "s").await;
        // Others are not in the way.
        let other = streams.claim(&bot("b"), "s").await;
        let another = streams.claim(&bot("a"), "t").await;
        let claiming = tokio::spawn({
            let streams = streams.clone();
            async move { streams.claim(&bot("a"), "s").await }
        });
        first.replaced().await;
        tokio::task::yield_now().await;
        assert!(!claiming.is_finished());
        drop(first);
        let second = claiming.await.unwrap();
        assert!(!second.entry.replaced.is_cancelled());
        drop((second, other, another));
        assert!(streams.open.lock().unwrap().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_does_not_end_is_not_waited_for_forever() {
        let streams = Streams::default();
        let stuck = streams.claim(&bot("a"), "s").await;
        let begun = Instant::now();
        let second = streams.claim(&bot("a"), "s").await;
        assert_eq!(begun.elapsed(), END_LIMIT);
        // Its late end takes nothing from its successor.
        drop(stuck);
        assert_eq!(streams.open.lock().unwrap().len(), 1);
        drop(second);
    }

    #[tokio::test(start_paused = true)]
    async fn of_a_crowd_one_is_left() {
        let streams = Streams::default();
        let crowd: Vec<_> = (0..20)
            .map(|_| {
                let streams = streams.clone();
                tokio::spawn(async move {
                    let stream = streams.claim(&bot("a"), "s").await;
                    let replaced = tokio::time::timeout(Duration::from_secs(60), stream.replaced()).await.is_ok();
                    (!replaced).then_some(stream)
                })
            })
            .collect();
        let mut left = 0;
        for one in crowd {
            left += usize::from(one.await.unwrap().is_some());
        }
        assert_eq!(left, 1);
    }
}
