//! How much a dialler may send: audio comes as fast as it is spoken, and everything else is small and rare.
//! It must never cut off a dialler that only makes up for a stall of its network.

use std::time::Duration;

use dialect::Violation;
use tokio::time::Instant;

use super::codes;

/// A stall of this length may be made up for at once.
const BURST: Duration = Duration::from_secs(8);
/// Four times what 16-bit audio at 48 kHz takes in base64 and its JSON.
const BYTES_PER_SECOND: u32 = 640 * 1024;
/// Audio that comes this much faster than it can have been spoken is no call.
const AUDIO_SPEED: u32 = 4;
/// Seconds of audio that may come at once.
const AUDIO_BURST: Duration = Duration::from_secs(30);

/// A bucket that fills at a rate and is emptied by what comes.
#[derive(Debug)]
struct Bucket {
    per_second: f64,
    most: f64,
    level: f64,
    at: Instant,
}

impl Bucket {
    fn new(now: Instant, per_second: f64, most: f64) -> Self {
        Self { per_second, most, level: most, at: now }
    }

    /// Takes `amount`; false when there is not so much.
    fn take(&mut self, now: Instant, amount: f64) -> bool {
        let passed = now.saturating_duration_since(self.at).as_secs_f64();
        self.at = now;
        self.level = (self.level + passed * self.per_second).min(self.most) - amount;
        self.level >= 0.0
    }
}

/// Judges one dialler.
#[derive(Debug)]
pub(super) struct Flood {
    messages: Bucket,
    bytes: Bucket,
    rate: u32,
}

impl Flood {
    /// For at most so many messages a second, over a few seconds.
    pub(super) fn new(now: Instant, messages_per_second: u32) -> Self {
        let bucket = |rate: u32| Bucket::new(now, f64::from(rate), f64::from(rate) * BURST.as_secs_f64());
        Self { messages: bucket(messages_per_second), bytes: bucket(BYTES_PER_SECOND), rate: messages_per_second }
    }

    /// Takes in what came.
    ///
    /// # Errors
    /// 1008 when it is too much.
    pub(super) fn note(&mut self, now: Instant, messages: u32, bytes: usize) -> Result<(), Violation> {
        if messages == 0 && bytes == 0 {
            return Ok(());
        }
        if !self.messages.take(now, f64::from(messages)) {
            let reason =
                format!("more than {} messages a second: send audio as it is spoken, 20 ms a message", self.rate);
            return Err(codes::violation(codes::POLICY, reason));
        }
        if !self.bytes.take(now, bytes as f64) {
            let reason = format!("more than {BYTES_PER_SECOND} bytes a second: send audio as fast as it is spoken");
            return Err(codes::violation(codes::POLICY, reason));
        }
        Ok(())
    }
}

/// Judges how fast audio comes.
#[derive(Debug)]
pub(super) struct Tempo {
    seconds: Bucket,
}

impl Tempo {
    pub(super) fn new(now: Instant) -> Self {
        Self { seconds: Bucket::new(now, f64::from(AUDIO_SPEED), AUDIO_BURST.as_secs_f64()) }
    }

    /// Takes in so many samples of 8 kHz.
    ///
    /// # Errors
    /// 1008 when nobody can have spoken so fast.
    pub(super) fn note(&mut self, now: Instant, samples: usize) -> Result<(), Violation> {
        if self.seconds.take(now, samples as f64 / 8000.0) {
            return Ok(());
        }
        Err(codes::violation(codes::POLICY, "audio comes more than 4 times faster than it can have been spoken"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_talks_is_heard_and_whoever_floods_is_cut_off() {
        // (messages and bytes a second, whether a minute of it passes)
        let check = |messages: u32, bytes: usize, passes: bool| {
            let start = Instant::now();
            let mut flood = Flood::new(start, 500);
            let steps = (1..=6000u32).map(|n| start + Duration::from_millis(10) * n);
            let judged: Result<(), Violation> = steps.enumerate().try_for_each(|(n, now)| {
                let share = |rate: usize| rate * (n + 1) / 100 - rate * n / 100;
                flood.note(now, u32::try_from(share(messages as usize)).unwrap(), share(bytes))
            });
            assert_eq!(
                judged.as_ref().err().map(|violation| violation.code),
                (!passes).then_some(1008),
                "{messages} {bytes}"
            );
        };
        check(50, 50 * 500, true);
        check(100, 200_000, true);
        check(500, 100_000, true);
        check(1000, 10_000, false);
        check(50, 2_000_000, false);
        // A message that never ends.
        check(0, 2_000_000, false);
    }

    #[test]
    fn a_stall_is_made_up_for() {
        let start = Instant::now();
        let mut flood = Flood::new(start, 500);
        for _ in 0..400 {
            flood.note(start + Duration::from_secs(8), 1, 600).unwrap();
        }
        let mut tempo = Tempo::new(start);
        assert!((0..1400).all(|_| tempo.note(start, 160).is_ok()));
        assert!((0..200).any(|_| tempo.note(start, 160).is_err()));
    }
}
