//! Whose messages are handed out next: the group with the fewest in flight goes first, and none has more in flight than
//! its share, so that a group whose messages are never done delays nobody else, whatever its backlog.
//! It must never change the order of one group's messages, nor lose a hidden one.

use std::collections::{HashMap, VecDeque};

use winterbaume_sqs::types::Message;

use super::messages::GROUP;

/// Most messages of one group in flight at once. A consumer that has room for several times as many always has some
/// left for others.
pub(super) const IN_FLIGHT_OF_GROUP: usize = 16;

/// Hidden for the time of one look.
const ASIDE: i64 = i64::MAX;

/// Hides all visible messages but the up to `max` that are to be handed out; [`back`] shows them again.
pub(super) fn set_aside(messages: &mut [Message], max: usize, now: i64) -> Vec<i64> {
    let mut chosen = vec![false; messages.len()];
    for index in choose(messages, max, now) {
        chosen[index] = true;
    }
    let mut hidden = Vec::new();
    for (message, chosen) in messages.iter_mut().zip(chosen) {
        if message.visible_at <= now && !chosen {
            hidden.push(std::mem::replace(&mut message.visible_at, ASIDE));
        }
    }
    hidden
}

/// Shows what [`set_aside`] hid; others may have left the queue since, but none changed places.
pub(super) fn back(messages: &mut [Message], hidden: Vec<i64>) {
    let aside = messages.iter_mut().filter(|message| message.visible_at == ASIDE);
    for (message, visible_at) in aside.zip(hidden) {
        message.visible_at = visible_at;
    }
}

/// One group's visible messages, and how many of its messages are in flight.
#[derive(Default)]
struct Lane {
    visible: VecDeque<usize>,
    in_flight: usize,
    /// Messages without a group are nobody's backlog.
    unbounded: bool,
}

fn choose(messages: &[Message], max: usize, now: i64) -> Vec<usize> {
    let mut lanes: HashMap<Option<&str>, Lane> = HashMap::new();
    for (index, message) in messages.iter().enumerate() {
        let group = message.message_attributes.get(GROUP).and_then(|group| group.string_value.as_deref());
        let lane = lanes.entry(group).or_default();
        lane.unbounded = group.is_none();
        if message.visible_at <= now {
            lane.visible.push_back(index);
        } else if message.approximate_receive_count > 0 {
            lane.in_flight += 1;
        }
    }
    let mut chosen = Vec::new();
    while chosen.len() < max {
        let open = lanes.values_mut().filter(|lane| lane.unbounded || lane.in_flight < IN_FLIGHT_OF_GROUP);
        let next = open.filter_map(|lane| Some(((lane.in_flight, *lane.visible.front()?), lane)));
        let Some((_, lane)) = next.min_by_key(|(order, _)| *order) else { break };
        lane.in_flight += 1;
        chosen.extend(lane.visible.pop_front());
    }
    chosen
}
