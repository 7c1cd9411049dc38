//! The customer's side of the conversation: the opening, what is heard, whose turn it is, and who interrupts whom.
//! It must never let noise, an echo or a murmur move the conversation.

use std::time::{Duration, Instant};

use crate::barge_in::{GREETING_GRACE, Overlap, interrupts, is_backchannel, is_bots_own, is_greeting_only};
use crate::brain::{Thinker, Undo};
use crate::call::Call;
use crate::hearing::{End, Turn};
use crate::io::{EarEvent, Effect};
use crate::mouth::Purpose;
use crate::outcome::Ending;
use crate::script::Then;
use crate::state::Stage;
use crate::turn::Expectation;

/// Words said over the bot count as an answer if they ended this shortly before it did.
const OVERLAP_COUNTS_FOR: Duration = Duration::from_secs(2);
/// How far the ear's positions may run ahead of the clock.
const LARGEST_LEAD: Duration = Duration::from_secs(2);
/// Unheard rest this short does not keep an answer from being one. Bytes.
const NEARLY_SAID: usize = 20;

impl Call {
    /// The bot speaks first.
    pub(crate) fn open(&mut self, now: Instant) {
        if let Some(counts) = self.phrasing.stop_awaiting() {
            self.prefetch_failed(now, Some(counts), "prefetch was not done at the answer");
            if !matches!(self.stage, Stage::Greeting { .. }) {
                return;
            }
        }
        self.stage = Stage::Talking;
        let _greeting = self.hearing.take();
        self.transcript.close_customer();
        let opening = self.plan.bot.opening_message.clone();
        let text = match &mut self.brain.thinker {
            Thinker::Script(script) => script.open(&opening, &mut self.phrasing),
            Thinker::Model(model) => {
                model.set_system(&self.phrasing.write("system_prompt", &self.plan.bot.system_prompt));
                let text = self.phrasing.say("opening_message", &opening);
                model.set_said(&text);
                text
            }
        };
        if !text.is_empty() {
            self.say(now, Purpose::Opening, &text);
        } else if let Thinker::Model(model) = &mut self.brain.thinker {
            let think = model.think(now, &self.transcript, String::new(), true);
            self.push(Effect::Brain(think));
        } else {
            self.quiet.begin(now);
        }
    }

    pub(crate) fn on_ear(&mut self, now: Instant, event: EarEvent) {
        if self.line.answered.is_none() {
            // Early media is never the customer; that no recogniser is left is true all the same.
            if event == EarEvent::Failed {
                self.apologise(now);
            }
            return;
        }
        // Nothing was heard that is yet to sound; a position beyond that is an error of the ear's.
        let latest = self.line.position(now) + LARGEST_LEAD;
        match event {
            EarEvent::SpeechStarted { at } => self.on_speech_started(now, at.min(latest)),
            EarEvent::SpeechEnded { at } => self.on_speech_ended(now, at.min(latest)),
            EarEvent::Partial { text, at } => self.on_partial(now, clean(&text), at.min(latest)),
            EarEvent::Final { text, from, to, .. } => {
                self.on_final(now, clean(&text), from.min(latest), to.min(latest))
            }
            EarEvent::Tone { kind, at } => self.on_tone(now, kind, at.min(latest)),
            EarEvent::Echo { likeness } => self.hearing.echo(likeness),
            EarEvent::Failed => self.apologise(now),
        }
    }

    fn on_speech_started(&mut self, now: Instant, at: Duration) {
        self.line.audible();
        if self.hearing.speaking().is_some() {
            return;
        }
        let into_bot = match self.mouth.sounding() {
            Some(utterance) => utterance.started.map(|started| now.saturating_duration_since(started)),
            None if self.mouth.is_busy() => Some(Duration::ZERO),
            None => None,
        };
        self.hearing.start(now, at, into_bot);
        self.detector.speech_started(at);
    }

    pub(crate) fn on_speech_ended(&mut self, now: Instant, at: Duration) {
        if self.hearing.speaking().is_none() {
            return;
        }
        self.hearing.end(now, at, self.line.moment(now, at));
        if self.detector.speech_ended(at) && self.may_be_machine() {
            self.machine(now, false);
            return;
        }
        self.weigh_overlap(now);
        self.after_speech(now);
    }

    fn on_partial(&mut self, now: Instant, text: String, at: Duration) {
        if self.hearing.is_settled() {
            // A late guess about speech that was final already says nothing new.
            if text.is_empty() || self.hearing.ended().is_some_and(|end| at <= end.at) {
                return;
            }
            self.on_speech_started(now, at);
        }
        self.hearing.partial(now, &text);
        if self.detector.heard(&text, at) && self.may_be_machine() {
            self.machine(now, false);
            return;
        }
        self.drop_wrong_guess();
        self.weigh_overlap(now);
    }

    fn on_final(&mut self, now: Instant, text: String, from: Duration, to: Duration) {
        // A guess was taken for it and perhaps answered: saying it twice would be worse than the guess.
        if self.hearing.is_too_late(to) {
            return;
        }
        let over_bot = self.hearing.last_segment().is_some_and(|segment| segment.into_bot.is_some());
        let echo = over_bot && is_bots_own(&text, self.mouth.recent_text(), self.hearing.echo_likeness());
        let text = if echo { String::new() } else { text };
        self.hearing.finalise(now, &text, to);
        if !text.is_empty() {
            self.line.busy_since = None;
            if self.detector.heard(&text, to) && self.may_be_machine() {
                self.note_customer(&text, from);
                self.machine(now, false);
                return;
            }
            self.drop_wrong_guess();
            self.weigh_overlap(now);
            self.note_customer(&text, from);
        }
        self.after_speech(now);
    }

    fn note_customer(&mut self, text: &str, from: Duration) {
        let change = self.transcript.customer(text, from);
        self.show(change);
    }

    /// Speech is over, and what it was is known or given up on.
    pub(crate) fn after_speech(&mut self, now: Instant) {
        if self.stage != Stage::Talking || !self.hearing.is_settled() {
            return;
        }
        if !self.hearing.has_words() {
            // A cough: the bot goes on where it stopped.
            if self.mouth.cut().is_some() {
                self.resume(now);
            }
        } else {
            self.guess(now);
        }
    }

    /// Lets a model think about words that are probably all of the turn.
    fn guess(&mut self, now: Instant) {
        let words = self.hearing.sure_words();
        let murmur = self.mouth.cut().is_some() && is_backchannel(&words);
        if self.mouth.is_busy()
            || self.brain.is_answering()
            || murmur
            || words.is_empty()
            || words != self.hearing.words()
        {
            return;
        }
        let Some(model) = self.brain.model_mut() else { return };
        if model.is_guessing() && !model.guessed_wrong(&words) {
            return;
        }
        let cancel = model.cancel();
        let think = model.think(now, &self.transcript, words, false);
        self.push_brain(cancel);
        self.push(Effect::Brain(think));
    }

    fn drop_wrong_guess(&mut self) {
        let words = self.hearing.words();
        if self.brain.model().is_some_and(|model| model.guessed_wrong(&words)) {
            self.cancel_thinking();
        }
    }

    /// Decides what the customer's words mean for what the bot says or is about to say.
    pub(crate) fn weigh_overlap(&mut self, now: Instant) {
        let heard = self.hearing.segment_words();
        let Some(bot) = self.mouth.sounding().filter(|bot| bot.purpose != Purpose::Filler) else {
            if self.brain.undo.is_some() && !is_backchannel(&heard) {
                self.withdraw();
            }
            return;
        };
        let interruptible = self.stage == Stage::Talking && bot.purpose != Purpose::Goodbye;
        if interruptible && self.is_interruption(now, &heard) {
            self.interrupt();
        }
    }

    fn is_interruption(&self, now: Instant, heard: &str) -> bool {
        let (Some(segment), Some(bot)) = (self.hearing.last_segment(), self.mouth.sounding()) else { return false };
        // Speech that was over before the bot began is the last turn's.
        let over_before = self.hearing.speaking().is_none() && segment.into_bot.is_none();
        if over_before {
            return false;
        }
        let overlap = Overlap {
            heard,
            lasted: self.hearing.lasted(now),
            echo: self.hearing.echo_likeness(),
            bot: &bot.text,
            greeting: bot.purpose == Purpose::Opening && segment.into_bot.is_none_or(|into| into <= GREETING_GRACE),
        };
        interrupts(&self.plan.bot.interruption, overlap)
    }

    /// The customer took the floor. What was being said is kept until it is known to be more than a murmur.
    fn interrupt(&mut self) {
        let stop = self.mouth.stop();
        self.push_mouth(stop);
        if let Some(segment) = self.hearing.last_segment() {
            self.hearing.drop_before(segment.at);
        }
        self.transcript.close_customer();
        self.quiet.broken();
        self.give_up_timing();
    }

    /// The customer went on before the answer was heard: the turn is not over after all.
    fn withdraw(&mut self) {
        let may = matches!(
            self.stage,
            Stage::Talking | Stage::Closing { ending: Ending::BotDone | Ending::Transferred { .. }, .. }
        );
        let Some(undo) = self.brain.undo.take_if(|_| may) else { return };
        let stop = self.mouth.stop();
        self.push_mouth(stop);
        self.mouth.forget_cut();
        self.cancel_thinking();
        if let (Thinker::Script(script), Some(before)) = (&mut self.brain.thinker, undo.script) {
            *script = before;
            self.phrasing.set_collected(script.collected());
        }
        self.hearing.put_back(undo.text);
        self.transcript.reopen_customer();
        self.timings.withdraw();
        self.stage = Stage::Talking;
    }

    /// The customer has finished.
    pub(crate) fn turn_over(&mut self, now: Instant) {
        let words = self.hearing.words();
        if self.mouth.cut().is_some() && is_backchannel(&words) && !self.answers_early(&words) {
            self.drop_turn();
            self.resume(now);
            return;
        }
        let turn = self.hearing.take();
        if !turn.unsure.is_empty() {
            let from = self.hearing.last_segment().map_or(Duration::ZERO, |segment| segment.at);
            self.note_customer(&turn.unsure, from);
        }
        self.commit(now, turn);
    }

    /// Whether the question had been heard well enough when the customer said these few words over its end.
    fn answers_early(&self, words: &str) -> bool {
        let asked = self.mouth.cut().is_some_and(|cut| {
            let rest = cut.utterance.unheard_text();
            rest.len() <= NEARLY_SAID || cut.utterance.heard_text().trim_end().ends_with('?')
        });
        asked && self.brain.understands(words, &self.phrasing)
    }

    fn commit(&mut self, now: Instant, turn: Turn) {
        self.transcript.close_customer();
        self.quiet.broken();
        self.mouth.forget_cut();
        let ended = turn.ended.unwrap_or(End { at: self.line.position(now), when: now });
        self.give_up_timing();
        self.timings.begin(ended.when, ended.at, turn.final_at);
        self.detector.turn_taken(self.brain.understands(&turn.text, &self.phrasing));
        self.answer(now, turn.text);
    }

    fn answer(&mut self, now: Instant, text: String) {
        match &mut self.brain.thinker {
            Thinker::Script(script) => {
                let before = script.clone();
                let said = script.answer(&text, &mut self.phrasing);
                self.timings.first_token(now);
                self.brain.undo = Some(Undo { text, script: Some(before) });
                match said.then {
                    Then::End => self.goodbye(now, &said.text, Ending::BotDone),
                    Then::Transfer(target) => self.goodbye(now, &said.text, Ending::Transferred { target }),
                    Then::Listen if said.text.is_empty() => {
                        self.brain.undo = None;
                        self.quiet.begin(now);
                    }
                    Then::Listen => self.reply(now, &said.text),
                }
            }
            Thinker::Model(model) => {
                if !model.commit(now, &text) {
                    let cancel = model.cancel();
                    let think = model.think(now, &self.transcript, text.clone(), true);
                    self.push_brain(cancel);
                    self.push(Effect::Brain(think));
                }
                self.brain.undo = Some(Undo { text, script: None });
                self.speak_ready(now);
            }
        }
    }

    /// Forgets words that are no turn of their own.
    pub(crate) fn drop_turn(&mut self) {
        let _murmur = self.hearing.take();
        self.transcript.close_customer();
    }

    /// Goes on with what was stopped for nothing.
    fn resume(&mut self, now: Instant) {
        let resumed = self.mouth.resume(now);
        let id = resumed.as_ref().map(|(id, _)| *id);
        if let Some((_, command)) = resumed {
            self.push(Effect::Mouth(command));
        }
        if let Some(thinking) = self.brain.model_mut().and_then(|model| model.thinking_mut()) {
            thinking.utterance = id;
        }
        self.speak_ready(now);
        if !self.mouth.is_busy() && !self.brain.is_answering() {
            self.bot_done(now);
        }
    }

    /// The bot has said everything and was heard: the customer's turn.
    pub(crate) fn bot_done(&mut self, now: Instant) {
        self.quiet.begin(now);
        let from = self.line.position(now).saturating_sub(OVERLAP_COUNTS_FOR);
        self.hearing.drop_before(from);
        let words = self.hearing.words();
        let murmur =
            is_greeting_only(&words) || is_backchannel(&words) && !self.brain.understands(&words, &self.phrasing);
        if self.hearing.is_settled() && murmur {
            self.drop_turn();
        } else {
            self.guess(now);
        }
    }

    pub(crate) fn on_key(&mut self, now: Instant, key: char) {
        self.line.keyed = true;
        if self.stage != Stage::Talking {
            return;
        }
        if self.plan.bot.interruption.enabled && self.mouth.sounding().is_some() {
            let stop = self.mouth.stop();
            self.push_mouth(stop);
            self.mouth.forget_cut();
            self.cancel_thinking();
            self.give_up_timing();
        }
        if key != '#' {
            self.hearing.key(now, key);
        }
        if (key == '#' || self.brain.expectation() == Expectation::Short) && !self.mouth.is_busy() {
            self.keys_done(now);
        }
    }

    pub(crate) fn keys_done(&mut self, now: Instant) {
        let keys = self.hearing.take_keys();
        if keys.is_empty() {
            return;
        }
        let at = self.line.position(now);
        self.transcript.close_customer();
        self.note_customer(&format!("(keypad) {keys}"), at);
        let spoken = self.hearing.take();
        let keyed = self.brain.keyed(&keys);
        let text = if spoken.text.is_empty() { keyed } else { format!("{} {keyed}", spoken.text) };
        self.commit(now, Turn { text, unsure: String::new(), ended: Some(End { at, when: now }), final_at: None });
    }

    pub(crate) fn prompt(&mut self, now: Instant, index: usize) {
        let template = self.plan.bot.silence.prompts.get(index).cloned().unwrap_or_default();
        let text = self.phrasing.say("silence.prompts", &template);
        self.quiet.prompted();
        if text.is_empty() {
            self.quiet.begin(now);
        } else {
            self.say(now, Purpose::Prompt, &text);
        }
    }

    pub(crate) fn give_up_timing(&mut self) {
        if let Some(timings) = self.timings.close() {
            self.push(Effect::Turn(timings));
        }
    }
}

/// What was said, without marks for what was no speech: "[music]", "(coughs)".
fn clean(text: &str) -> String {
    let text = text.trim();
    let bracketed = |open, close| text.starts_with(open) && text.ends_with(close);
    let silent = bracketed('[', ']') || bracketed('(', ')') || !text.chars().any(char::is_alphanumeric);
    if silent { String::new() } else { text.split_whitespace().collect::<Vec<_>>().join(" ") }
}
