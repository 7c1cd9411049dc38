//! Marks that the dialler was asked for and has not answered. It must never hold more than a call can have in the air.

use std::collections::VecDeque;

use crate::event::{Event, Out};

/// Marks in the air; the oldest beyond that counts as taken back.
const MAX_ASKED: usize = 256;

/// Our marks, by the names that the dialler knows them under.
#[derive(Debug, Default)]
pub(crate) struct Marks {
    asked: VecDeque<Asked>,
}

#[derive(Debug)]
struct Asked {
    id: u64,
    was_cleared: bool,
}

impl Marks {
    /// The name that goes to the dialler; it holds nothing that JSON would escape.
    pub(crate) fn ask(&mut self, id: u64, out: &mut Out) -> String {
        if self.asked.len() == MAX_ASKED
            && let Some(oldest) = self.asked.pop_front()
        {
            out.events.push_back(Event::MarkCleared(oldest.id));
        }
        self.asked.push_back(Asked { id, was_cleared: false });
        id.to_string()
    }

    /// The dialler was told to take back what it had not played: whichever marks come back after this were not heard.
    pub(crate) fn clear(&mut self) {
        for asked in &mut self.asked {
            asked.was_cleared = true;
        }
    }

    /// The dialler took back everything: all marks that were in the air when it was told so.
    pub(crate) fn all_cleared(&mut self, out: &mut Out) {
        self.asked.retain(|asked| {
            if asked.was_cleared {
                out.events.push_back(Event::MarkCleared(asked.id));
            }
            !asked.was_cleared
        });
    }

    /// The dialler gives a mark back; `false` when it was not asked for, or was given back before.
    pub(crate) fn back(&mut self, name: &str, out: &mut Out) -> bool {
        let Ok(id) = name.parse::<u64>() else { return false };
        let Some(asked) = self.asked.iter().position(|asked| asked.id == id).and_then(|at| self.asked.remove(at))
        else {
            return false;
        };
        out.events.push_back(if asked.was_cleared { Event::MarkCleared(id) } else { Event::MarkPlayed(id) });
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_comes_back_once_and_as_what_it_was() {
        let (mut marks, mut out) = (Marks::default(), Out::new());
        assert_eq!(marks.ask(1, &mut out), "1");
        marks.ask(2, &mut out);
        assert!(marks.back("1", &mut out));
        assert!(!marks.back("1", &mut out), "again");
        assert!(!marks.back("start", &mut out), "not ours");
        marks.clear();
        marks.ask(3, &mut out);
        assert!(marks.back("3", &mut out));
        assert!(marks.back("2", &mut out));
        assert_eq!(out.events, [Event::MarkPlayed(1), Event::MarkPlayed(3), Event::MarkCleared(2)]);
    }

    #[test]
    fn all_that_was_in_the_air_is_cleared_at_once() {
        let (mut marks, mut out) = (Marks::default(), Out::new());
        marks.ask(1, &mut out);
        marks.clear();
        marks.ask(2, &mut out);
        marks.all_cleared(&mut out);
        assert!(marks.back("2", &mut out));
        assert_eq!(out.events, [Event::MarkCleared(1), Event::MarkPlayed(2)]);
    }

    #[test]
    fn marks_that_never_come_back_are_let_go() {
        let (mut marks, mut out) = (Marks::default(), Out::new());
        for id in 0..300 {
            marks.ask(id, &mut out);
        }
        assert_eq!(marks.asked.len(), 256);
        assert_eq!(out.events.len(), 44);
        assert_eq!(out.events[0], Event::MarkCleared(0));
    }
}
