//! A simulated world around one call: a leg, an ear, a mouth that plays 15 characters a second, a model with canned
//! replies, and a customer who follows a little text.
//!
//! One line, one act; seconds from the act before:
//! `dialing` `ringing` `answer` · `say 1.2 Words.` speak for so long (returns when it was recognised) ·
//! `begin 1.2 Words.` the same, but go on at once · `cough 0.4` sound without words · `wait 2` · `bot` until the bot has
//! finished speaking · `key 1` · `echo 0.9` · `tone beep` · `hold` `unhold` · `lost 12` no packet for so long · `bye` · `lets-go` ·
//! `cancel` `socket-lost` `unresponsive` `refuse` a transfer ·
//! `status 486` · `stt-fails` `voice-fails` `voice-mute` `slow-voice 1` `lazy-ear 5` `noise` `deaf-leg` · `fetched {json}` `fetch-fails` · `operator` `drain` `fault`.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::time::{Duration, Instant};

use domain::bot::{Bot, OnFailure};
use domain::call::Direction;
use domain::ids::CallId;
use domain::result::{Speaker, TurnTimings};
use domain::template::Context;
use domain::variables::Fields;
use serde_json::{Value, json};

use super::epoch;
use crate::io::*;
use crate::{BrainChoice, Call, Plan};

/// Characters a second of the fake voice.
const VOICE: f64 = 15.0;

pub(super) struct World {
    pub(super) call: Call,
    pub(super) now: Instant,
    seq: u64,
    queue: BinaryHeap<Reverse<(Instant, u64, Scheduled)>>,
    events: Vec<Option<Event>>,
    mouth: FakeMouth,
    /// `(contained in the customer's last words, reply)`.
    pub(super) replies: Vec<(&'static str, &'static str)>,
    pub(super) model_delay: Duration,
    /// On top of the 200 ms that a final takes.
    final_delay: Duration,
    pub(super) cancelled: Vec<u32>,
    pub(super) prompts: Vec<Vec<Message>>,
    answered: Option<Instant>,
    leg_dead: bool,
    pub(super) outcome: Option<Outcome>,
    pub(super) effects: Vec<(Duration, Effect)>,
}

type Scheduled = usize;

enum Event {
    Input(Input),
    Mouth(u32),
}

#[derive(Default)]
struct FakeMouth {
    pieces: VecDeque<(u32, String, bool)>,
    playing: Option<(u32, String, bool, Instant)>,
    started: u32,
    generation: u32,
    pub(super) broken: bool,
    mute: bool,
    /// On top of the 120 ms that any utterance takes to begin.
    delay: Duration,
}

pub(super) fn plan(bot: Value, brain: BrainChoice) -> Plan {
    let mut whole = json!({"bot_id": "bot", "name": "Test", "timezone": "Asia/Kolkata"});
    if let (Value::Object(whole), Value::Object(bot)) = (&mut whole, bot) {
        whole.extend(bot);
    }
    let bot: Bot = serde_json::from_value(whole).unwrap();
    Plan {
        call_id: CallId::from_parts(0, [0; 10]),
        direction: Direction::Outbound,
        bot,
        // A Wednesday.
        context: Context::new().with_system("Asia/Kolkata", "2026-04-15T06:00:00Z".parse().unwrap()),
        variables: Fields::of_object(r#"{"name":"Rahul","due":"15000"}"#).unwrap(),
        custom: Fields::new(),
        brain,
        hears: true,
        await_prefetch: None,
    }
}

/// A small collections bot.
pub(super) fn script_bot() -> Value {
    json!({
        "opening_message": "Hello, am I speaking with {{crm.name}}?",
        "script": {
            "steps": [
                {"id": "who", "expect": "yes_no", "reprompt": "Sorry, is this {{crm.name}}?",
                 "branches": {"no": {"say": "Sorry to trouble you. Goodbye.", "end": true, "result": {"disposition": "WRONG_NUMBER"}}}},
                {"id": "pay", "question": "Your payment of {{crm.due}} rupees is due. Can you pay it today?", "expect": "yes_no", "field": "will_pay",
                 "branches": {"yes": {"say": "Thank you. Goodbye.", "end": true, "result": {"disposition": "PTP"}}}},
                {"id": "when", "question": "When can you pay?", "expect": "date", "field": "date", "reprompt": "On which day, please?"},
            ],
            "closing": "Noted. Thank you, goodbye.",
            "result": {"disposition": "PTP"}
        }
    })
}

/// Merges settings into a bot.
pub(super) fn with(mut bot: Value, settings: Value) -> Value {
    if let (Value::Object(bot), Value::Object(settings)) = (&mut bot, settings) {
        bot.extend(settings);
    }
    bot
}

impl World {
    pub(super) fn new(plan: Plan) -> Self {
        Self {
            call: Call::new(epoch(), plan),
            now: epoch(),
            seq: 0,
            queue: BinaryHeap::new(),
            events: Vec::new(),
            mouth: FakeMouth::default(),
            replies: Vec::new(),
            model_delay: Duration::from_millis(300),
            final_delay: Duration::ZERO,
            cancelled: Vec::new(),
            prompts: Vec::new(),
            answered: None,
            leg_dead: false,
            outcome: None,
            effects: Vec::new(),
        }
    }

    pub(super) fn script(settings: Value) -> Self {
        Self::new(plan(with(script_bot(), settings), BrainChoice::Script))
    }

    /// A call that came in, from its first moment on.
    pub(super) fn inbound(settings: Value, awaiting: Option<OnFailure>) -> Self {
        let mut plan = plan(with(script_bot(), settings), BrainChoice::Script);
        plan.direction = Direction::Inbound;
        plan.variables = Fields::new();
        plan.custom = Fields::of_object(r#"{"name":"Rahul","due":"15000"}"#).unwrap();
        plan.await_prefetch = awaiting;
        let mut world = Self::new(plan);
        world.drain();
        world
    }

    pub(super) fn awaiting(mut plan: Plan, on_failure: OnFailure) -> Self {
        plan.await_prefetch = Some(on_failure);
        Self::new(plan)
    }

    /// Plays every line, then time until the call is over.
    pub(super) fn play(&mut self, acts: &str) -> &mut Self {
        for line in acts.lines().map(str::trim).filter(|line| !line.is_empty()) {
            self.act(line);
        }
        self
    }

    pub(super) fn finish(&mut self) -> &mut Self {
        self.run_until(self.now + Duration::from_secs(7200));
        assert!(self.outcome.is_some(), "the call never ended: {}", self.transcript());
        self
    }

    fn act(&mut self, line: &str) {
        let (verb, rest) = line.split_once(' ').unwrap_or((line, ""));
        let (first, text) = rest.split_once(' ').unwrap_or((rest, ""));
        let seconds = || Duration::from_secs_f64(first.parse().unwrap_or_else(|_| panic!("no seconds in {line:?}")));
        match verb {
            "dialing" => self.input(Input::Leg(LegEvent::Dialing)),
            "ringing" => self.input(Input::Leg(LegEvent::Ringing)),
            "answer" => {
                self.input(Input::Leg(LegEvent::Answered));
                self.answered = Some(self.now);
                self.input(Input::Leg(LegEvent::MediaStarted));
            }
            "answer-silent" => {
                self.input(Input::Leg(LegEvent::Answered));
                self.answered = Some(self.now);
            }
            "say" => {
                let end = self.speech(seconds(), text);
                self.run_until(end);
            }
            "begin" => {
                self.speech(seconds(), text);
            }
            "cough" => {
                let end = self.speech(seconds(), "");
                self.run_until(end);
            }
            "wait" => self.run_until(self.now + seconds()),
            "bot" => self.run_until_bot_is_done(),
            "key" => self.input(Input::Leg(LegEvent::Dtmf(first.chars().next().unwrap()))),
            "echo" => self.input(Input::Ear(EarEvent::Echo { likeness: first.parse().unwrap() })),
            "tone" => {
                let kind = match first {
                    "beep" => Tone::Beep,
                    "ringback" => Tone::RingBack,
                    _ => Tone::BusyTone,
                };
                self.input(Input::Ear(EarEvent::Tone { kind, at: self.position(self.now) }));
            }
            "hold" => self.input(Input::Leg(LegEvent::Hold(true))),
            "unhold" => self.input(Input::Leg(LegEvent::Hold(false))),
            "lost" => self.input(Input::Leg(LegEvent::MediaMissing(seconds()))),
            "bye" => self.leg_ends(LegEvent::Ended { by_remote: true, cause: LegEnd::Normal }),
            "cancel" => self.leg_ends(LegEvent::Failed(LegFailure::Cancelled)),
            "lets-go" => self.leg_ends(LegEvent::Ended { by_remote: false, cause: LegEnd::Normal }),
            "socket-lost" => self.leg_ends(LegEvent::Ended { by_remote: true, cause: LegEnd::SocketLost }),
            "unresponsive" => self.leg_ends(LegEvent::Ended { by_remote: false, cause: LegEnd::Unresponsive }),
            "refuse" => self.input(Input::Leg(LegEvent::TransferRefused)),
            "status" => {
                self.leg_ends(LegEvent::Failed(LegFailure::Status { code: first.parse().unwrap(), q850: None }))
            }
            "deaf-leg" => self.leg_dead = true,
            "stt-fails" => self.input(Input::Ear(EarEvent::Failed)),
            "voice-fails" => self.mouth.broken = true,
            "lazy-ear" => self.final_delay = seconds(),
            "noise" => {
                let at = self.position(self.now);
                self.input(Input::Ear(EarEvent::SpeechStarted { at }));
            }
            "slow-voice" => self.mouth.delay = seconds(),
            "voice-mute" => self.mouth.mute = true,
            "fetched" => self.input(Input::Prefetch(PrefetchEvent::Fetched(Fields::of_object(rest).unwrap()))),
            "fetch-fails" => self.input(Input::Prefetch(PrefetchEvent::Failed)),
            "operator" => self.input(Input::Control(Control::HangUp)),
            "drain" => self.input(Input::Control(Control::Drain)),
            "fault" => self.input(Input::Control(Control::Fault)),
            _ => panic!("no such act: {line:?}"),
        }
    }

    fn leg_ends(&mut self, event: LegEvent) {
        self.leg_dead = true;
        self.input(Input::Leg(event));
    }

    /// Schedules a stretch of speech; answers when all of it will have been recognised.
    fn speech(&mut self, lasts: Duration, text: &str) -> Instant {
        let ms = Duration::from_millis;
        let (start, end) = (self.now, self.now + lasts);
        let (from, to) = (self.position(start), self.position(end));
        self.ear(start + ms(60), EarEvent::SpeechStarted { at: from });
        let words: Vec<&str> = text.split_whitespace().collect();
        let mut at = start + ms(400);
        while at < end && !words.is_empty() {
            let share = (at - start).as_secs_f64() / lasts.as_secs_f64();
            let said = ((words.len() as f64 * share).floor() as usize).min(words.len());
            if said > 0 {
                self.ear(at + ms(80), EarEvent::Partial { text: words[..said].join(" "), at: self.position(at) });
            }
            at += ms(400);
        }
        self.ear(end + ms(60), EarEvent::SpeechEnded { at: to });
        let done = end + ms(200) + self.final_delay;
        self.ear(done, EarEvent::Final { text: text.to_owned(), from, to, confidence: 0.9 });
        done
    }

    fn ear(&mut self, at: Instant, event: EarEvent) {
        self.schedule(at, Event::Input(Input::Ear(event)));
    }

    fn position(&self, at: Instant) -> Duration {
        self.answered.map_or(Duration::ZERO, |answered| at.saturating_duration_since(answered))
    }

    fn schedule(&mut self, at: Instant, event: Event) {
        self.seq += 1;
        self.events.push(Some(event));
        self.queue.push(Reverse((at, self.seq, self.events.len() - 1)));
    }

    fn input(&mut self, input: Input) {
        self.call.handle(self.now, input);
        self.drain();
    }

    pub(super) fn run_until(&mut self, until: Instant) {
        while self.step(until) {}
        self.now = self.now.max(until);
    }

    fn run_until_bot_is_done(&mut self) {
        let limit = self.now + Duration::from_secs(120);
        // The bot may still be thinking.
        while !self.is_bot_talking() && self.step(self.now + Duration::from_secs(5)) {}
        while self.is_bot_talking() && self.step(limit) {}
    }

    fn is_bot_talking(&self) -> bool {
        self.mouth.playing.is_some() || !self.mouth.pieces.is_empty()
    }

    /// Goes to the next thing that happens, if it does by `until`.
    fn step(&mut self, until: Instant) -> bool {
        let event = self.queue.peek().map(|Reverse((at, ..))| *at);
        let timer = self.call.poll_timeout();
        let Some(next) = event.into_iter().chain(timer).min().filter(|next| *next <= until) else { return false };
        self.now = self.now.max(next);
        if timer.is_some_and(|timer| timer <= next) {
            self.call.handle_timeout(self.now);
            assert!(self.call.poll_timeout().is_none_or(|after| after > self.now), "a clock rings without end");
            self.drain();
        } else if let Some(Reverse((_, _, index))) = self.queue.pop() {
            match self.events[index].take() {
                Some(Event::Input(input)) => self.input(input),
                Some(Event::Mouth(generation)) => self.mouth_step(generation),
                None => {}
            }
        }
        true
    }

    fn drain(&mut self) {
        while let Some(effect) = self.call.poll_effect() {
            assert!(self.outcome.is_none(), "an effect after the end: {effect:?}");
            self.effects.push((self.now - epoch(), effect.clone()));
            match effect {
                Effect::Leg(LegCommand::HangUp) => self.hang_up(),
                Effect::Mouth(MouthCommand::Say { utterance, text, last }) => self.queue_piece(utterance, &text, last),
                Effect::Mouth(MouthCommand::Stop) => self.stop_mouth(),
                Effect::Brain(BrainCommand::Think { turn, messages }) => self.think(turn, messages),
                Effect::Brain(BrainCommand::Cancel { turn }) => self.cancelled.push(turn),
                Effect::Ended(outcome) => self.outcome = Some(*outcome),
                _ => {}
            }
        }
    }

    fn hang_up(&mut self) {
        if self.leg_dead {
            return;
        }
        let event = match self.answered {
            Some(_) => LegEvent::Ended { by_remote: false, cause: LegEnd::Normal },
            None => LegEvent::Failed(LegFailure::Cancelled),
        };
        self.schedule(self.now + Duration::from_millis(50), Event::Input(Input::Leg(event)));
    }

    fn queue_piece(&mut self, utterance: u32, text: &str, last: bool) {
        if self.mouth.mute {
            return;
        }
        if self.mouth.broken {
            self.schedule(
                self.now + Duration::from_millis(100),
                Event::Input(Input::Mouth(MouthEvent::Failed { utterance })),
            );
            return;
        }
        let sentences: Vec<&str> =
            text.split_inclusive(['.', '?', '!']).map(str::trim).filter(|sentence| !sentence.is_empty()).collect();
        for (index, sentence) in sentences.iter().enumerate() {
            self.mouth.pieces.push_back((utterance, (*sentence).to_owned(), last && index + 1 == sentences.len()));
        }
        if sentences.is_empty() {
            self.mouth.pieces.push_back((utterance, String::new(), last));
        }
        if self.mouth.playing.is_none() {
            self.play_next();
        }
    }

    fn play_next(&mut self) {
        let Some((utterance, text, last)) = self.mouth.pieces.pop_front() else { return };
        let mut start = self.now;
        if self.mouth.started != utterance {
            self.mouth.started = utterance;
            start += self.mouth.delay + Duration::from_millis(120);
            self.schedule(
                start - Duration::from_millis(20),
                Event::Input(Input::Mouth(MouthEvent::FirstAudio { utterance })),
            );
            self.schedule(start, Event::Input(Input::Mouth(MouthEvent::Started { utterance })));
        }
        let lasts = Duration::from_secs_f64(text.chars().count() as f64 / VOICE);
        self.mouth.playing = Some((utterance, text, last, start));
        let generation = self.mouth.generation;
        self.schedule(start + lasts, Event::Mouth(generation));
    }

    fn mouth_step(&mut self, generation: u32) {
        if generation != self.mouth.generation {
            return;
        }
        let Some((utterance, text, last, _)) = self.mouth.playing.take() else { return };
        self.play_next();
        if !text.is_empty() {
            self.input(Input::Mouth(MouthEvent::Played { utterance, text }));
        }
        if last {
            self.input(Input::Mouth(MouthEvent::Finished { utterance }));
        }
    }

    fn stop_mouth(&mut self) {
        self.mouth.pieces.clear();
        self.mouth.generation += 1;
        if let Some((utterance, text, _, start)) = self.mouth.playing.take() {
            let played = (self.now.saturating_duration_since(start).as_secs_f64() * VOICE) as usize;
            let heard = text.chars().take(played).collect();
            self.schedule(
                self.now + Duration::from_millis(20),
                Event::Input(Input::Mouth(MouthEvent::Cut { utterance, heard })),
            );
        }
    }

    fn think(&mut self, turn: u32, messages: Vec<Message>) {
        let last = messages
            .iter()
            .rev()
            .find(|message| message.role == Role::User)
            .map_or("", |message| message.text.as_str())
            .to_owned();
        self.prompts.push(messages);
        let reply =
            self.replies.iter().find(|(contained, _)| last.contains(contained)).map_or("I see.", |(_, reply)| *reply);
        let at = self.now + self.model_delay;
        let brain = |event| Event::Input(Input::Brain(event));
        match reply {
            "[hang]" => return,
            "[fail]" => return self.schedule(at, brain(BrainEvent::Failed { turn })),
            _ => {}
        }
        let (text, tool) = match (reply.split_once("[end]"), reply.split_once("[transfer ")) {
            (Some((text, message)), _) => (text, Some(("end_call", json!({"reason": "done", "message": message})))),
            (None, Some((text, tool))) => {
                let (target, message) = tool.split_once(']').expect("[transfer TARGET]");
                (text, Some(("transfer_call", json!({"target": target, "message": message}))))
            }
            (None, None) => (reply, None),
        };
        for word in text.split_inclusive(' ') {
            self.schedule(at, brain(BrainEvent::Token { turn, text: word.to_owned() }));
        }
        if let Some((name, Value::Object(arguments))) = tool {
            self.schedule(at, brain(BrainEvent::ToolCall { turn, name: name.to_owned(), arguments }));
        }
        self.schedule(at, brain(BrainEvent::Done { turn }));
    }

    /// The outcome as text: one line an entry, then `= end_reason`.
    pub(super) fn transcript(&self) -> String {
        let Some(outcome) = &self.outcome else { return format!("not over: {:?}", self.effects) };
        let mut lines: Vec<String> = outcome
            .transcript
            .iter()
            .map(|entry| match entry.speaker {
                Speaker::Bot => format!("bot: {}", entry.text.0),
                Speaker::Customer => format!("customer: {}", entry.text.0),
            })
            .collect();
        lines.push(format!("= {}", outcome.end_reason.as_str()));
        lines.join("\n")
    }

    pub(super) fn outcome(&self) -> &Outcome {
        self.outcome.as_ref().expect("the call is over")
    }

    pub(super) fn warnings(&self) -> Vec<&str> {
        self.effects
            .iter()
            .filter_map(|(_, effect)| if let Effect::Warn(warning) = effect { Some(warning.as_str()) } else { None })
            .collect()
    }

    pub(super) fn turns(&self) -> Vec<TurnTimings> {
        self.effects
            .iter()
            .filter_map(|(_, effect)| if let Effect::Turn(turn) = effect { Some(turn.clone()) } else { None })
            .collect()
    }

    /// Seconds at which the mouth was told this.
    pub(super) fn said_at(&self, contained: &str) -> Vec<f64> {
        let is_it = |effect: &Effect| matches!(effect, Effect::Mouth(MouthCommand::Say { text, .. }) if text.contains(contained));
        self.effects.iter().filter(|(_, effect)| is_it(effect)).map(|(at, _)| at.as_secs_f64()).collect()
    }

    pub(super) fn stops(&self) -> usize {
        self.effects.iter().filter(|(_, effect)| matches!(effect, Effect::Mouth(MouthCommand::Stop))).count()
    }
}

/// Plays a call to its end and compares transcript and end reason.
#[track_caller]
pub(super) fn check(world: &mut World, acts: &str, expect: &str) {
    world.play(acts).finish();
    let expect: Vec<&str> = expect.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    assert_eq!(world.transcript(), expect.join("\n"), "{acts}");
}
