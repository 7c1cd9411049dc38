//! How long the buffer should wait, judged by how early packets come before they are needed.
//!
//! Working on the slack itself (and not on a model of the network) makes the loop follow clock
//! drift and jitter alike. Slack is kept as if samples were played one by one, so that it moves with
//! the play position; since they are pulled in frames, a packet that starts some way into a frame
//! is needed that much earlier: the `phase`. Never reacts to a single outlier: of each [`PACKETS`] packets the
//! worst is left out.

/// Packets of one window: 1 s at 20 ms.
const PACKETS: u32 = 50;
const WINDOWS: usize = 6;
/// Least slack wanted: 5 ms.
const LOW: i64 = 40;
/// Least slack beyond which the delay is longer than needed: 25 ms.
const HIGH: i64 = 200;
/// The fastest packet is never made to wait longer: 200 ms.
const MAX_DELAY: i64 = 1600;
/// Pulls between two changes, so that the ear isn't worked on all the time.
const PAUSE: u32 = 5;

/// What to do with the delay now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Advice {
    Keep,
    Shrink,
    /// Urgent: packets already come too late.
    Lengthen {
        urgent: bool,
    },
}

#[derive(Debug, Clone, Default)]
pub(super) struct DelayControl {
    windows: [Window; WINDOWS],
    current: usize,
    filled: usize,
    pulls_since_change: u32,
}

#[derive(Debug, Clone, Copy)]
struct Window {
    lowest: i64,
    second: i64,
    highest: i64,
    packets: u32,
}

impl Default for Window {
    fn default() -> Self {
        Self { lowest: i64::MAX, second: i64::MAX, highest: i64::MIN, packets: 0 }
    }
}

impl DelayControl {
    /// Notes that a packet came this many samples before it is needed (negative: after).
    pub(super) fn observe(&mut self, slack: i64) {
        self.observe_long(slack, 1);
    }

    /// The same of one that holds as much as so many packets.
    pub(super) fn observe_long(&mut self, slack: i64, packets: u32) {
        let window = &mut self.windows[self.current];
        if slack < window.lowest {
            window.second = window.lowest;
            window.lowest = slack;
        } else if slack < window.second {
            window.second = slack;
        }
        window.highest = window.highest.max(slack);
        window.packets += packets;
        if window.packets >= PACKETS {
            self.current = (self.current + 1) % WINDOWS;
            self.filled = (self.filled + 1).min(WINDOWS - 1);
            self.windows[self.current] = Window::default();
        }
    }

    /// Called once for each pull. `phase`: how far into a frame packets start, in samples.
    pub(super) fn advice(&mut self, phase: i64) -> Advice {
        self.pulls_since_change = self.pulls_since_change.saturating_add(1);
        let (Some(floor), Some(highest)) = (self.floor(), self.highest()) else {
            return Advice::Keep;
        };
        let floor = floor - phase;
        let rested = self.pulls_since_change > PAUSE;
        if highest > MAX_DELAY {
            return if rested || highest > 2 * MAX_DELAY { Advice::Shrink } else { Advice::Keep };
        }
        // One change adds a frame at most; it must not lead beyond the limit and back.
        let room = highest + 160 <= MAX_DELAY;
        if floor < 0 && room {
            return Advice::Lengthen { urgent: true };
        }
        if floor < LOW && room && rested {
            return Advice::Lengthen { urgent: false };
        }
        if floor > HIGH && self.filled > 0 && rested {
            return Advice::Shrink;
        }
        Advice::Keep
    }

    /// The play position moved by this many samples: all slack shrinks by as much.
    pub(super) fn moved(&mut self, by: i64) {
        self.pulls_since_change = 0;
        for window in &mut self.windows {
            if window.packets > 0 {
                window.lowest = window.lowest.saturating_sub(by);
                if window.second != i64::MAX {
                    window.second = window.second.saturating_sub(by);
                }
                window.highest = window.highest.saturating_sub(by);
            }
        }
    }

    /// Greatest slack of the recent packets.
    pub(super) fn highest(&self) -> Option<i64> {
        self.windows.iter().filter(|w| w.packets > 0).map(|w| w.highest).max()
    }

    fn floor(&self) -> Option<i64> {
        let floor = self.windows.iter().map(|w| w.second).min()?;
        (floor != i64::MAX).then_some(floor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fed(slacks: impl IntoIterator<Item = i64>) -> DelayControl {
        let mut control = DelayControl::default();
        slacks.into_iter().for_each(|s| control.observe(s));
        control.pulls_since_change = PAUSE;
        control
    }

    #[test]
    fn advice() {
        let steady = |slack: i64| std::iter::repeat_n(slack, 120);
        for (name, mut control, expect) in [
            ("nothing known", fed([]), Advice::Keep),
            ("comfortable", fed(steady(120)), Advice::Keep),
            ("early", fed(steady(300)), Advice::Shrink),
            ("early, but too little seen", fed([300; 20]), Advice::Keep),
            ("tight", fed(steady(20)), Advice::Lengthen { urgent: false }),
            ("late", fed(steady(-100)), Advice::Lengthen { urgent: true }),
            ("one late packet", fed(steady(120).chain([-500])), Advice::Keep),
            ("two late packets", fed(steady(120).chain([-500, -400])), Advice::Lengthen { urgent: true }),
            ("wide jitter", fed((0..120).map(|n| if n % 2 == 0 { -300 } else { 1500 })), Advice::Keep),
            ("too long", fed((0..120).map(|n| if n % 2 == 0 { -300 } else { 1700 })), Advice::Shrink),
        ] {
            assert_eq!(control.advice(0), expect, "{name}");
        }
    }

    #[test]
    fn what_starts_late_in_a_frame_is_needed_earlier() {
        let mut control = fed([120; 120]);
        assert_eq!(control.advice(0), Advice::Keep);
        assert_eq!(control.advice(100), Advice::Lengthen { urgent: false });
        assert_eq!(control.advice(150), Advice::Lengthen { urgent: true });
    }

    #[test]
    fn a_change_shifts_what_is_known() {
        let mut control = fed([300; 120]);
        assert_eq!(control.advice(0), Advice::Shrink);
        control.moved(150);
        control.pulls_since_change = PAUSE;
        assert_eq!(control.advice(0), Advice::Keep);
        assert_eq!(control.highest(), Some(150));
    }
}
