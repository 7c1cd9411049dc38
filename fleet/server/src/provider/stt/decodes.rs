//! Which decode becomes which event: partials, speculations that come true, finals in their order.
//!
//! Pure bookkeeping of one session. It must never emit two finals for a segment, a final out of
//! order, or a partial of a segment that has ended.

use std::collections::VecDeque;

use super::SttEvent;
use super::pool::Transcript;
use crate::provider::error::ProviderError;

/// What a decode is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    Partial,
    Speculation,
}

/// One decode that was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Decode {
    id: u64,
    segment: u64,
    purpose: Purpose,
    /// End of its audio, ms of the session.
    to_ms: u64,
}

impl Decode {
    /// Whether nobody waits for it.
    pub(super) fn is_partial(&self) -> bool {
        self.purpose == Purpose::Partial
    }
}

/// What came of a decode.
pub(super) type Outcome = Result<Transcript, ProviderError>;

/// The decodes of one session.
#[derive(Debug, Default)]
pub(super) struct Decodes {
    next: u64,
    segment: u64,
    partial_running: bool,
    /// The newest speculation of the running segment, and what came of it.
    speculation: Option<(u64, Option<Outcome>)>,
    /// Segments that have ended, oldest first.
    awaited: VecDeque<Awaited>,
}

#[derive(Debug)]
struct Awaited {
    id: u64,
    from_ms: u64,
    to_ms: u64,
    outcome: Option<Outcome>,
}

impl Decodes {
    /// Registers a decode; `None` if a partial of the session is still being worked on.
    pub(super) fn begin(&mut self, purpose: Purpose, to_ms: u64) -> Option<Decode> {
        if purpose == Purpose::Partial && std::mem::replace(&mut self.partial_running, true) {
            return None;
        }
        self.next += 1;
        if purpose == Purpose::Speculation {
            self.speculation = Some((self.next, None));
        }
        Some(Decode { id: self.next, segment: self.segment, purpose, to_ms })
    }

    /// Whether the outcome of `decode` can still matter.
    pub(super) fn is_wanted(&self, decode: &Decode) -> bool {
        match decode.purpose {
            Purpose::Partial => decode.segment == self.segment && decode.id == self.next,
            Purpose::Speculation => {
                self.speculation.as_ref().is_some_and(|(id, _)| *id == decode.id)
                    || self.awaited.iter().any(|a| a.id == decode.id)
            }
        }
    }

    /// The segment is over: the newest speculation is its final, now or when it comes.
    pub(super) fn conclude(&mut self, from_ms: u64, to_ms: u64, events: &mut Vec<SttEvent>) {
        self.segment += 1;
        if let Some((id, outcome)) = self.speculation.take() {
            self.awaited.push_back(Awaited { id, from_ms, to_ms, outcome });
        }
        self.release(events);
    }

    /// A decode was passed over because nobody wanted it any more.
    pub(super) fn skip(&mut self, decode: &Decode) {
        if decode.purpose == Purpose::Partial {
            self.partial_running = false;
        }
    }

    /// A decode is done, or was refused.
    pub(super) fn complete(&mut self, decode: &Decode, outcome: Outcome, events: &mut Vec<SttEvent>) {
        self.skip(decode);
        if let Some(awaited) = self.awaited.iter_mut().find(|a| a.id == decode.id) {
            awaited.outcome = Some(outcome);
            self.release(events);
            return;
        }
        if decode.segment != self.segment {
            return;
        }
        if let Ok(transcript) = &outcome
            && !transcript.text.is_empty()
        {
            events.push(SttEvent::Partial { text: transcript.text.clone(), at_ms: decode.to_ms });
        }
        if let Some((_, slot)) = self.speculation.as_mut().filter(|(id, _)| *id == decode.id) {
            *slot = Some(outcome);
        }
    }

    fn release(&mut self, events: &mut Vec<SttEvent>) {
        while let Some(Awaited { from_ms, to_ms, outcome: Some(outcome), .. }) = self.awaited.front_mut() {
            let (from_ms, to_ms) = (*from_ms, *to_ms);
            events.push(match outcome {
                Ok(Transcript { text, confidence }) => {
                    SttEvent::Final { text: std::mem::take(text), from_ms, to_ms, confidence: *confidence }
                }
                Err(error) => SttEvent::Failed { error: error.clone(), at_ms: to_ms },
            });
            self.awaited.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `p`/`s` begin a partial or speculation (numbered 1, 2, …), `1`–`9` complete it, `!` fails the
    /// next completion, `c` concludes.
    fn check(script: &str, expect: &str) {
        let mut decodes = Decodes::default();
        let mut begun = Vec::new();
        let mut events = Vec::new();
        let mut fail = false;
        for step in script.chars() {
            match step {
                'p' => begun.extend(decodes.begin(Purpose::Partial, 0)),
                's' => begun.extend(decodes.begin(Purpose::Speculation, 0)),
                'c' => decodes.conclude(0, 0, &mut events),
                '!' => fail = true,
                digit => {
                    let decode = begun[digit.to_digit(10).unwrap() as usize - 1];
                    let transcript = Transcript { text: digit.to_string(), confidence: 1.0 };
                    let outcome = if std::mem::take(&mut fail) {
                        Err(ProviderError::Overloaded { vendor: "x" })
                    } else {
                        Ok(transcript)
                    };
                    decodes.complete(&decode, outcome, &mut events);
                }
            }
        }
        let word = |event: &SttEvent| match event {
            SttEvent::Partial { text, .. } => format!("p{text}"),
            SttEvent::Final { text, .. } => format!("f{text}"),
            SttEvent::Failed { .. } => "failed".to_owned(),
            SttEvent::SpeechStarted { .. } | SttEvent::SpeechEnded { .. } => unreachable!(),
        };
        assert_eq!(events.iter().map(word).collect::<Vec<_>>().join(" "), expect, "{script}");
    }

    #[test]
    fn a_speculation_that_is_done_in_time_makes_the_final_at_once() {
        check("s1c", "p1 f1");
        check("sc1", "f1");
    }

    #[test]
    fn a_speculation_that_speech_outlived_is_a_partial() {
        check("s1s2c", "p1 p2 f2");
        check("ss1c2", "p1 f2");
        check("ssc12", "f2");
    }

    #[test]
    fn one_partial_at_a_time_and_none_after_the_end() {
        check("pp1", "p1");
        check("p1p2", "p1 p2");
        check("psc12", "f2");
    }

    #[test]
    fn finals_keep_their_order() {
        check("scsc21", "f1 f2");
        check("scs2c1", "p2 f1 f2");
    }

    #[test]
    fn failures_take_the_place_of_finals() {
        check("sc!1", "failed");
        check("s!1c", "failed");
        check("p!1sc2", "f2");
        check("scsc!21", "f1 failed");
    }

    #[test]
    fn only_what_can_still_matter_is_wanted() {
        let mut decodes = Decodes::default();
        let partial = decodes.begin(Purpose::Partial, 0).unwrap();
        assert!(decodes.is_wanted(&partial));
        let first = decodes.begin(Purpose::Speculation, 0).unwrap();
        assert!(!decodes.is_wanted(&partial), "a newer decode says more");
        let second = decodes.begin(Purpose::Speculation, 0).unwrap();
        assert!(!decodes.is_wanted(&first) && decodes.is_wanted(&second));
        decodes.conclude(0, 0, &mut Vec::new());
        assert!(decodes.is_wanted(&second));
        decodes.complete(&second, Err(ProviderError::Overloaded { vendor: "x" }), &mut Vec::new());
        assert!(!decodes.is_wanted(&second));
    }
}
