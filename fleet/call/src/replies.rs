//! The bot's side of the conversation: what the brain brings is spoken, and what playout reports is written down.
//! It must never write down as said what was not heard.

use std::time::Instant;

use crate::call::Call;
use crate::io::{BrainEvent, Effect, MouthEvent};
use crate::model::{ModelBrain, ReplyEnd};
use crate::mouth::{News, Purpose, Utterance};
use crate::outcome::Ending;
use crate::state::Stage;

/// Said when a model ends the call without a word.
const GOODBYE: &str = "Thank you. Goodbye.";
/// Said when a model transfers the call without a word.
const PUTTING_THROUGH: &str = "One moment, I am putting you through.";
/// Said when a model has nothing to say.
const SAY_AGAIN: &str = "Sorry, could you say that again?";

impl Call {
    pub(crate) fn say(&mut self, now: Instant, purpose: Purpose, text: &str) -> u32 {
        let (id, command) = self.mouth.say(now, purpose, text, true);
        self.push(Effect::Mouth(command));
        id
    }

    /// Answers the customer's turn with a whole text.
    pub(crate) fn reply(&mut self, now: Instant, text: &str) {
        let id = self.say(now, Purpose::Reply, text);
        self.timings.answered_by(id);
    }

    pub(crate) fn on_brain(&mut self, now: Instant, event: BrainEvent) {
        let Some(model) = self.brain.model_mut() else { return };
        match event {
            BrainEvent::Token { turn, text } => model.token(now, turn, &text),
            BrainEvent::ToolCall { turn, name, arguments } => {
                if let Some(warning) = model.tool(now, turn, &name, &arguments) {
                    self.phrasing.warn(warning);
                }
            }
            BrainEvent::Done { turn } => model.done(now, turn),
            BrainEvent::Failed { turn } => {
                if model.thinking().is_some_and(|thinking| thinking.turn == turn) {
                    self.brain_failed(now);
                }
                return;
            }
        }
        if self.stage == Stage::Talking {
            self.speak_ready(now);
        }
    }

    /// Speaks what a certain turn has ready, unless the bot was just stopped in it.
    pub(crate) fn speak_ready(&mut self, now: Instant) {
        if self.mouth.cut().is_some() {
            return;
        }
        let Some(model) = self.brain.model_mut() else { return };
        if let Some(first_token) =
            model.thinking().filter(|_| model.is_answering()).and_then(|thinking| thinking.first_token)
        {
            self.timings.first_token(first_token);
        }
        while let Some(piece) = self.brain.model_mut().and_then(ModelBrain::next_piece) {
            self.speak_piece(now, &piece);
        }
        if let Some((utterance, end)) = self.brain.model_mut().and_then(ModelBrain::take_finished) {
            self.finish_reply(now, utterance, end);
        }
    }

    fn speak_piece(&mut self, now: Instant, piece: &str) {
        let running = self.brain.model().and_then(ModelBrain::thinking).and_then(|thinking| thinking.utterance);
        if let Some(command) = running.and_then(|id| self.mouth.append(now, id, piece, false)) {
            self.push(Effect::Mouth(command));
            return;
        }
        let (id, command) = self.mouth.say(now, Purpose::Reply, piece, false);
        self.push(Effect::Mouth(command));
        self.timings.answered_by(id);
        if let Some(thinking) = self.brain.model_mut().and_then(ModelBrain::thinking_mut) {
            thinking.utterance = Some(id);
        }
    }

    fn finish_reply(&mut self, now: Instant, utterance: Option<u32>, end: ReplyEnd) {
        let (message, unspoken, ending) = match (end, utterance) {
            (ReplyEnd::Over, Some(id)) => {
                let last = self.mouth.append(now, id, "", true);
                self.push_mouth(last);
                return;
            }
            (ReplyEnd::Over, None) => {
                self.reply(now, SAY_AGAIN);
                return;
            }
            (ReplyEnd::HangUp(message), _) => (message, GOODBYE, Ending::BotDone),
            (ReplyEnd::Transfer { target, message }, _) => (message, PUTTING_THROUGH, Ending::Transferred { target }),
        };
        let Some(id) = utterance else {
            let message = if message.is_empty() { unspoken } else { &message };
            self.goodbye(now, message, ending);
            return;
        };
        let last = self.mouth.append(now, id, &message, true);
        if last.is_none() {
            self.goodbye(now, &message, ending);
            return;
        }
        self.push_mouth(last);
        self.mouth.make_goodbye(id);
        self.close_with(now, ending);
    }

    /// The model failed or fell silent for the running turn.
    pub(crate) fn brain_failed(&mut self, now: Instant) {
        let Some(model) = self.brain.model_mut() else { return };
        let certain = model.is_answering();
        let begun = model.thinking().and_then(|thinking| thinking.utterance);
        let turn = model.thinking().map(|thinking| thinking.turn);
        match (certain, begun, turn) {
            // Half an answer is better than an apology for it.
            (true, Some(_), Some(turn)) => {
                model.done(now, turn);
                self.phrasing.warn("the model failed in the middle of a reply".to_owned());
                self.speak_ready(now);
            }
            (true, None, _) => {
                self.cancel_thinking();
                self.apologise(now);
            }
            // Only a guess: the turn asks again once it is certain.
            _ => self.cancel_thinking(),
        }
    }

    /// Bridges the wait for a late reply.
    pub(crate) fn fill(&mut self, now: Instant) {
        if let Some(model) = self.brain.model_mut() {
            let text = model.filler();
            self.say(now, Purpose::Filler, text);
        }
    }

    pub(crate) fn on_mouth(&mut self, now: Instant, event: &MouthEvent) {
        match self.mouth.take_event(now, event) {
            News::Nothing => {}
            News::FirstAudio(id) => self.timings.first_audio(id, now),
            News::Started(id) => self.utterance_started(now, id),
            News::Heard(id) => self.write_down(now, id),
            News::CutReported(id) => {
                self.write_down(now, id);
                if let Stage::HangingUp { ending, leg_over: true, .. } = &self.stage {
                    self.finish(now, ending.clone());
                }
            }
            News::Finished(utterance) => self.utterance_finished(now, &utterance),
            News::Failed(utterance) => self.utterance_failed(now, &utterance),
        }
    }

    fn utterance_started(&mut self, now: Instant, id: u32) {
        let purpose = self.mouth.get(id).map(|utterance| utterance.purpose);
        if purpose != Some(Purpose::Filler) {
            self.brain.undo = None;
        }
        if let Some(timings) = self.timings.first_packet(id, now) {
            self.push(Effect::Turn(timings));
        }
        if purpose == Some(Purpose::Goodbye) {
            self.goodbye_started(now);
        }
    }

    fn utterance_finished(&mut self, now: Instant, utterance: &Utterance) {
        self.write(now, utterance);
        match self.stage.clone() {
            Stage::Closing { ending, .. } if utterance.purpose == Purpose::Goodbye => {
                self.line.goodbye_whole = !matches!(ending, Ending::Transferred { .. });
                self.part(now, ending);
            }
            Stage::Talking if !self.mouth.is_busy() && !self.brain.is_answering() => self.bot_done(now),
            _ => {}
        }
    }

    fn utterance_failed(&mut self, now: Instant, utterance: &Utterance) {
        self.write(now, utterance);
        self.phrasing.warn("no voice could say what the bot wanted to".to_owned());
        match self.stage.clone() {
            Stage::Closing { ending, .. } => self.part(now, ending),
            _ => self.hang_up(now, Ending::ProviderFailed),
        }
    }

    /// Playout fell silent in the middle of an utterance.
    pub(crate) fn mouth_stalled(&mut self, now: Instant) {
        let Some(utterance) = self.mouth.give_up() else { return };
        if utterance.started.is_some() && utterance.unheard_text().is_empty() {
            self.utterance_finished(now, &utterance);
        } else {
            self.utterance_failed(now, &utterance);
        }
    }

    fn write_down(&mut self, now: Instant, id: u32) {
        if let Some(utterance) = self.mouth.get(id).cloned()
            && let Some(entry) = self.write(now, &utterance)
        {
            self.mouth.set_entry(id, entry);
        }
    }

    fn write(&mut self, now: Instant, utterance: &Utterance) -> Option<usize> {
        let heard = utterance.heard_text();
        if heard.is_empty() || utterance.entry.is_some() && utterance.written == utterance.heard {
            return None;
        }
        let from = self.line.position(utterance.started.unwrap_or(now));
        let change = self.transcript.bot(utterance.entry, &heard, from);
        let index = change.0;
        self.show(change);
        Some(index)
    }
}
