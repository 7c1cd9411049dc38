//! What a standard queue may do to messages: deliver them twice, and in another order.
//! It must never lose one for good: what it holds back comes with a later answer, or is shown again by the queue itself.

use std::collections::HashMap;

use anyhow::Result;
use serde_json::{Value, json};

use crate::dice::Dice;

/// Messages kept for later, by queue.
#[derive(Debug, Default)]
pub(super) struct Shuffler {
    kept: HashMap<String, Vec<Value>>,
}

impl Shuffler {
    pub(super) fn is_empty(&self) -> bool {
        self.kept.values().all(Vec::is_empty)
    }

    /// The answer to one `ReceiveMessage`, shuffled; `twice` and `held` are chances in a thousand.
    pub(super) fn shuffle(
        &mut self,
        request: &[u8],
        answer: &[u8],
        twice: u16,
        held: u16,
        dice: &mut Dice,
    ) -> Result<Vec<u8>> {
        let request: Value = serde_json::from_slice(request)?;
        let answer: Value = serde_json::from_slice(answer)?;
        let room = usize::try_from(request["MaxNumberOfMessages"].as_u64().unwrap_or(1)).unwrap_or(1);
        let kept = self.kept.entry(request["QueueUrl"].as_str().unwrap_or_default().to_owned()).or_default();
        let mut given: Vec<Value> = Vec::new();
        let earlier = std::mem::take(kept);
        for message in answer["Messages"].as_array().into_iter().flatten() {
            if dice.chance(twice) {
                kept.push(message.clone());
            }
            if dice.chance(held) { kept.push(message.clone()) } else { given.push(message.clone()) }
        }
        for message in earlier {
            if given.len() < room { given.push(message) } else { kept.push(message) }
        }
        for at in (1..given.len()).rev() {
            given.swap(at, usize::try_from(dice.below(at as u64 + 1))?);
        }
        Ok(serde_json::to_vec(&json!({ "Messages": given }))?)
    }
}
