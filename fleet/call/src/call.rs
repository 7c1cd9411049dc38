//! The machine: one call from its start to its one outcome, whoever carries it.
//! It must never give out an effect after `Ended`, nor live on without a clock that ends it.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use domain::bot::{InboundAnswer, OnFailure, Script};
use domain::call::Direction;
use domain::result::Speaker;
use serde_json::Value;

use crate::brain::{Brain, Thinker};
use crate::hearing::Hearing;
use crate::io::{
    BrainCommand, Control, EarCommand, Effect, Input, LegCommand, LegEvent, MouthCommand, Outcome, PrefetchEvent,
    Progress,
};
use crate::limits::PREFETCH_WAIT;
use crate::line::Line;
use crate::model::ModelBrain;
use crate::mouth::Mouth;
use crate::outcome::{Ending, Facts, reason, settle, sip_code};
use crate::phrasing::Phrasing;
use crate::plan::{BrainChoice, Plan, ring_limit};
use crate::script::ScriptBrain;
use crate::silence::Quiet;
use crate::state::Stage;
use crate::timings::Timings;
use crate::transcript::{Change, Transcript};
use crate::voicemail::Detector;

/// Longest wait for the leg to end after it was told to.
const HANG_UP_WAIT: Duration = Duration::from_secs(5);
/// Longest wait, after the leg's end, for the mouth to say how much was heard.
const CUT_WAIT: Duration = Duration::from_millis(200);
/// Speech of this length proves that somebody was there, even if no word of it was understood.
const SOUND_OF_SOMEBODY: Duration = Duration::from_secs(1);

/// One call. Feed it every input with its time, drain [`Self::poll_effect`] after each, and call
/// [`Self::handle_timeout`] at [`Self::poll_timeout`].
#[derive(derive_more::Debug)]
#[debug("Call({}, {stage:?})", plan.call_id)]
pub struct Call {
    pub(crate) plan: Plan,
    pub(crate) started: Instant,
    pub(crate) stage: Stage,
    pub(crate) line: Line,
    pub(crate) hearing: Hearing,
    pub(crate) mouth: Mouth,
    pub(crate) brain: Brain,
    pub(crate) quiet: Quiet,
    pub(crate) detector: Detector,
    pub(crate) transcript: Transcript,
    pub(crate) timings: Timings,
    pub(crate) phrasing: Phrasing,
    effects: VecDeque<Effect>,
}

impl Call {
    /// A call whose leg is being started by the shell, or has come in.
    pub fn new(now: Instant, plan: Plan) -> Self {
        let mut phrasing =
            Phrasing::new(plan.context.clone(), plan.variables.clone(), plan.custom.clone(), plan.await_prefetch);
        let thinker = match (plan.brain, &plan.bot.script) {
            (BrainChoice::Model, _) => Thinker::Model(Box::default()),
            (BrainChoice::Script, Some(script)) => Thinker::Script(Box::new(ScriptBrain::new(script.clone()))),
            (BrainChoice::Script, None) => {
                phrasing
                    .warn("the bot has no script: it says its opening message and ends after the answer".to_owned());
                let closing = "Thank you. Goodbye.".to_owned();
                Thinker::Script(Box::new(ScriptBrain::new(Script {
                    steps: Vec::new(),
                    closing,
                    result: Default::default(),
                })))
            }
        };
        let inbound = plan.direction == Direction::Inbound;
        let answer_at = match plan.bot.inbound.answer {
            _ if !inbound => None,
            InboundAnswer::Immediate => Some(now),
            InboundAnswer::Ring => Some(now + PREFETCH_WAIT),
        };
        let mut call = Self {
            started: now,
            stage: Stage::Dialing { give_up: now + ring_limit(plan.direction, &plan.bot), answer_at },
            line: Line::default(),
            hearing: Hearing::default(),
            mouth: Mouth::default(),
            brain: Brain::new(thinker),
            quiet: Quiet::default(),
            // Machines answer; they don't call.
            detector: Detector::new(plan.bot.voicemail.detect && !inbound),
            transcript: Transcript::default(),
            timings: Timings::default(),
            phrasing,
            effects: VecDeque::new(),
            plan,
        };
        if inbound && call.plan.bot.inbound.answer == InboundAnswer::Immediate {
            call.answer_caller();
        }
        call.flush_warnings();
        call
    }

    /// Takes what happened at `now`.
    pub fn handle(&mut self, now: Instant, input: Input) {
        if self.is_over() {
            return;
        }
        match input {
            Input::Leg(event) => self.on_leg(now, event),
            Input::Ear(event) => self.on_ear(now, event),
            Input::Brain(event) => self.on_brain(now, event),
            Input::Mouth(event) => self.on_mouth(now, &event),
            Input::Prefetch(event) => self.on_prefetch(now, event),
            Input::Control(control) => self.on_control(now, control),
        }
        self.flush_warnings();
    }

    /// Lets every clock that is due by `now` ring.
    pub fn handle_timeout(&mut self, now: Instant) {
        // Each clock that rings is rearmed later than now or not at all; the bound only guards against a mistake in that.
        for _ in 0..64 {
            match self.next_timer() {
                Some((at, timer)) if at <= now && !self.is_over() => self.ring(now, timer),
                _ => break,
            }
        }
        self.flush_warnings();
    }

    /// The next thing to do; `None` when there is nothing more for now.
    pub fn poll_effect(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    /// When to call [`Self::handle_timeout`] at the latest.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.next_timer().map(|(at, _)| at)
    }

    /// Whether the outcome was given out.
    pub fn is_over(&self) -> bool {
        self.stage == Stage::Over
    }

    fn on_leg(&mut self, now: Instant, event: LegEvent) {
        match event {
            LegEvent::Dialing => self.dialing(now),
            LegEvent::Ringing if !self.line.ringing && self.is_dialing() => {
                self.line.ringing = true;
                self.push(Effect::Progress(Progress::Ringing));
            }
            // Early media is for a classifier in the shell; it is never the customer.
            LegEvent::Ringing | LegEvent::EarlyMedia => {}
            LegEvent::Answered => self.answered(now),
            LegEvent::Failed(failure) => {
                self.line.failure = Some(failure.clone());
                self.leg_over(now, Ending::Unanswered(failure));
            }
            LegEvent::Ended { by_remote, cause } => self.leg_over(now, Ending::LegClosed { by_remote, cause }),
            LegEvent::Dtmf(key) => self.on_key(now, key),
            LegEvent::Remark(remark) => self.push(Effect::Warn(remark)),
            LegEvent::MediaStarted | LegEvent::MediaResumed => self.line.audible(),
            LegEvent::MediaMissing(missing) => self.line.missing(now, missing),
            LegEvent::Hold(held) => {
                self.line.hold(now, held);
                // Nobody was silent meanwhile.
                if !held && self.is_idle() {
                    self.quiet.begin(now);
                }
            }
            LegEvent::TransferRefused => self.transfer_refused(now, "the line refused it"),
        }
    }

    fn dialing(&mut self, now: Instant) {
        if self.line.dialing || !self.is_dialing() {
            return;
        }
        self.line.dialing = true;
        if let Stage::Dialing { give_up, .. } = &mut self.stage {
            *give_up = now + ring_limit(self.plan.direction, &self.plan.bot);
        }
        self.push(Effect::Progress(Progress::Dialing));
    }

    fn answered(&mut self, now: Instant) {
        match self.stage {
            Stage::Dialing { .. } => {
                self.line.answered = Some(now);
                self.stage = Stage::Greeting { since: now, ringing: None };
                self.push(Effect::Progress(Progress::Answered));
                self.push(Effect::Ear(EarCommand::Listen));
            }
            // The answer crossed our CANCEL: it has to be hung up after all.
            Stage::HangingUp { leg_over: false, .. } if self.line.answered.is_none() => {
                self.push(Effect::Leg(LegCommand::HangUp))
            }
            _ => {}
        }
    }

    /// Lets the leg answer a call that came in, once.
    pub(crate) fn answer_caller(&mut self) {
        if let Stage::Dialing { answer_at, .. } = &mut self.stage
            && answer_at.take().is_some()
        {
            self.push(Effect::Leg(LegCommand::Answer));
        }
    }

    fn on_prefetch(&mut self, now: Instant, event: PrefetchEvent) {
        let awaited = self.phrasing.stop_awaiting();
        match event {
            // Late fields still help what is said later.
            PrefetchEvent::Fetched(fields) => self.phrasing.add_prefetched(fields),
            PrefetchEvent::Failed => self.prefetch_failed(now, awaited, "prefetch failed"),
        }
        self.answer_caller();
    }

    pub(crate) fn prefetch_failed(&mut self, now: Instant, counts: Option<OnFailure>, what: &str) {
        match counts {
            Some(OnFailure::Abort) => self.hang_up(now, Ending::PrefetchFailed),
            Some(OnFailure::Proceed) => self.phrasing.warn(format!("{what}; the call went on without")),
            None => {}
        }
    }

    fn on_control(&mut self, now: Instant, control: Control) {
        let ending = match control {
            Control::HangUp => Ending::Operator,
            Control::Drain => Ending::Drain,
            Control::Fault => Ending::Fault,
        };
        self.hang_up(now, ending);
    }

    /// Ends the leg; the call is over once that has happened, or after a bounded wait.
    pub(crate) fn hang_up(&mut self, now: Instant, ending: Ending) {
        if matches!(self.stage, Stage::HangingUp { .. } | Stage::Over) {
            return;
        }
        self.stop_talking();
        self.push(Effect::Leg(LegCommand::HangUp));
        self.stage = Stage::HangingUp { ending, until: now + HANG_UP_WAIT, leg_over: false };
    }

    fn leg_over(&mut self, now: Instant, leg: Ending) {
        let ending = match &self.stage {
            Stage::HangingUp { leg_over: true, .. } => return,
            Stage::HangingUp { ending, .. } => settle(ending.clone(), leg),
            Stage::Closing { ending: ending @ (Ending::Voicemail | Ending::ProviderFailed), .. } => ending.clone(),
            Stage::Machine { .. } => Ending::Voicemail,
            // Some let go of the line as soon as they have the customer, and not all of them with a word.
            Stage::Transferring { target, .. } if !leg.is_unresponsive() => {
                Ending::Transferred { target: target.clone() }
            }
            _ => leg,
        };
        self.line.ended = Some(now);
        if self.is_goodbye_heard() {
            self.line.goodbye_whole = true;
        }
        self.stop_talking();
        if self.mouth.awaits_cut() {
            self.stage = Stage::HangingUp { ending, until: now + CUT_WAIT, leg_over: true };
        } else {
            self.finish(now, ending);
        }
    }

    /// Silences mouth and brain for good.
    pub(crate) fn stop_talking(&mut self) {
        if let Some(stop) = self.mouth.stop() {
            self.push(Effect::Mouth(stop));
        }
        self.cancel_thinking();
    }

    /// Gives out the outcome.
    pub(crate) fn finish(&mut self, now: Instant, ending: Ending) {
        let turn = self.hearing.take();
        if !turn.unsure.is_empty() {
            let from = self.hearing.last_segment().map_or_else(|| self.line.position(now), |segment| segment.at);
            let change = self.transcript.customer(&turn.unsure, from);
            self.show(change);
        }
        if let Some(timings) = self.timings.close() {
            self.push(Effect::Turn(timings));
        }
        self.flush_warnings();
        let transcript = self.transcript.sorted();
        let spoke = transcript.iter().any(|entry| entry.speaker == Speaker::Customer);
        let facts = Facts {
            customer_heard: spoke || self.line.keyed || self.hearing.voiced() >= SOUND_OF_SOMEBODY,
            deaf: !self.plan.hears,
            goodbye_whole: self.line.goodbye_whole,
            inbound: self.is_inbound(),
        };
        let mut collected = self.brain.collected().clone();
        if let Ending::Transferred { target } = &ending {
            collected.insert("transferred_to".to_owned(), Value::String(target.clone()));
        }
        let outcome = Outcome {
            call_id: self.plan.call_id,
            direction: self.plan.direction,
            end_reason: reason(&ending, facts),
            sip_code: sip_code(self.line.failure.as_ref()),
            talked: self.line.talked(now),
            answered: self.line.answered.is_some(),
            transcript,
            crm: self.phrasing.crm(),
            collected,
            latency: self.timings.all(),
        };
        self.push(Effect::Ended(Box::new(outcome)));
        self.stage = Stage::Over;
    }

    /// Whether the customer called.
    pub(crate) fn is_inbound(&self) -> bool {
        self.plan.direction == Direction::Inbound
    }

    pub(crate) fn is_dialing(&self) -> bool {
        matches!(self.stage, Stage::Dialing { .. })
    }

    pub(crate) fn push(&mut self, effect: Effect) {
        if !self.is_over() {
            self.effects.push_back(effect);
        }
    }

    pub(crate) fn push_mouth(&mut self, command: Option<MouthCommand>) {
        if let Some(command) = command {
            self.push(Effect::Mouth(command));
        }
    }

    pub(crate) fn push_brain(&mut self, command: Option<BrainCommand>) {
        if let Some(command) = command {
            self.push(Effect::Brain(command));
        }
    }

    pub(crate) fn show(&mut self, (index, entry): Change) {
        self.push(Effect::Transcript { index, entry });
    }

    pub(crate) fn cancel_thinking(&mut self) {
        let cancel = self.brain.model_mut().and_then(ModelBrain::cancel);
        self.push_brain(cancel);
    }

    fn flush_warnings(&mut self) {
        for warning in self.phrasing.take_warnings() {
            self.push(Effect::Warn(warning));
        }
    }
}
