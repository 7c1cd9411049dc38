//! Audio of what was said before, bounded by bytes: greetings and prompts cost the CPU once.
//! It must never hand out audio of another voice, or grow past its bound.

use std::sync::{Arc, Mutex, PoisonError};

use lru::LruCache;

use crate::provider::config::VoiceSpec;

/// Overhead of an entry that is counted besides its samples.
const ENTRY_BYTES: usize = 200;

/// The least recently spoken goes first.
#[derive(Debug)]
pub struct PromptCache {
    state: Mutex<State>,
    capacity: usize,
}

#[derive(Debug)]
struct State {
    entries: LruCache<(VoiceSpec, String), Arc<[i16]>>,
    bytes: usize,
}

impl PromptCache {
    /// A cache of at most `capacity` bytes; 0 keeps nothing.
    pub fn new(capacity: usize) -> Self {
        Self { state: Mutex::new(State { entries: LruCache::unbounded(), bytes: 0 }), capacity }
    }

    /// The audio of `text` by `voice`, if it was kept.
    pub fn get(&self, voice: &VoiceSpec, text: &str) -> Option<Arc<[i16]>> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.entries.get(&(voice.clone(), text.to_owned())).cloned()
    }

    /// Keeps the audio of `text` by `voice`, and drops what was not spoken for longest.
    pub fn put(&self, voice: &VoiceSpec, text: &str, samples: &Arc<[i16]>) {
        let size = bytes(text, samples);
        if size > self.capacity {
            return;
        }
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.bytes += size;
        if let Some((key, old)) = state.entries.push((voice.clone(), text.to_owned()), Arc::clone(samples)) {
            state.bytes -= bytes(&key.1, &old);
        }
        while state.bytes > self.capacity {
            let Some((key, old)) = state.entries.pop_lru() else { break };
            state.bytes -= bytes(&key.1, &old);
        }
    }
}

fn bytes(text: &str, samples: &[i16]) -> usize {
    std::mem::size_of_val(samples) + text.len() + ENTRY_BYTES
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provider::config::Engine;

    fn voice(name: &str) -> VoiceSpec {
        VoiceSpec::new(Engine::Piper, name)
    }

    fn audio(samples: usize) -> Arc<[i16]> {
        vec![1; samples].into()
    }

    #[test]
    fn keyed_by_voice_and_text() {
        let cache = PromptCache::new(100_000);
        cache.put(&voice("joe"), "hi", &audio(10));
        assert_eq!(cache.get(&voice("joe"), "hi").map(|a| a.len()), Some(10));
        assert!(cache.get(&voice("amy"), "hi").is_none());
        assert!(cache.get(&voice("joe"), "ho").is_none());
        let fast = VoiceSpec { speed_permille: 1200, ..voice("joe") };
        assert!(cache.get(&fast, "hi").is_none());
        cache.put(&voice("joe"), "hi", &audio(20));
        assert_eq!(cache.get(&voice("joe"), "hi").map(|a| a.len()), Some(20));
    }

    #[test]
    fn bounded_by_bytes_and_least_recent_goes_first() {
        let cache = PromptCache::new(3 * (2 * 1_000 + 1 + ENTRY_BYTES));
        for text in ["a", "b", "c"] {
            cache.put(&voice("joe"), text, &audio(1_000));
        }
        assert!(cache.get(&voice("joe"), "a").is_some());
        cache.put(&voice("joe"), "d", &audio(1_000));
        let kept: Vec<bool> =
            ["a", "b", "c", "d"].iter().map(|text| cache.get(&voice("joe"), text).is_some()).collect();
        assert_eq!(kept, [true, false, true, true]);
        cache.put(&voice("joe"), "huge", &audio(100_000));
        assert!(cache.get(&voice("joe"), "huge").is_none());
        assert!(cache.get(&voice("joe"), "d").is_some(), "what can't be kept drops nothing");
        let state = cache.state.lock().unwrap();
        assert!(state.bytes <= cache.capacity && state.bytes > 0);
    }

    #[test]
    fn replacing_does_not_count_twice() {
        let cache = PromptCache::new(10_000);
        for _ in 0..100 {
            cache.put(&voice("joe"), "a", &audio(1_000));
        }
        assert_eq!(cache.state.lock().unwrap().bytes, 2_000 + 1 + ENTRY_BYTES);
    }
}
