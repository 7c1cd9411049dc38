//! The loop of one call: waits for whatever happens next, tells the core, does what it wants.
//! It must never wait for anything but the next thing to happen.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use call::Call;
use call::io::{
    BrainCommand, Control, EarCommand, Effect, Input, LegEnd, LegEvent, LegFailure, MouthEvent, Outcome, PrefetchEvent,
    Progress as Stage,
};
use domain::bot::Bot;
use domain::call::{Advance, CallRow};
use domain::objects::CallObjects;
use domain::ports::trunk_entity;
use domain::result::{Record, TranscriptEntry};
use domain::template::Context;
use domain::trunk::Trunk;
use domain::variables::Fields;
use media::StreamEvent;
use serde_json::value::RawValue;
use tokio::sync::{mpsc, watch};

use super::brain::Brain;
use super::ear::Ear;
use super::mouth::Mouth;
use super::progress::{Progress, Whose};
use super::{Reach, STAGES_LIMIT, plan, rehearse};
use crate::legs::sip::Outbound;
use crate::legs::{Leg, Taken};
use crate::node::Node;
use crate::prefetch::{self, Fetched};
use crate::recording::{Checkpoints, RecordingId};

/// What is known of a call when its task starts.
pub(super) struct Facts<'a> {
    pub row: &'a CallRow,
    pub bot: &'a Arc<Bot>,
    pub variables: Option<&'a RawValue>,
    pub custom: &'a Fields,
    pub recording: Option<(RecordingId, PathBuf)>,
}

/// Holds the call until it is over; answers its outcome and warnings.
pub(super) async fn talk(
    node: &Arc<Node>,
    facts: Facts<'_>,
    reach: Reach,
    control: mpsc::Receiver<Control>,
) -> (Outcome, Vec<String>) {
    let recogniser = plan::recogniser(node, facts.bot);
    let hears = recogniser.is_some();
    let plan = plan::of(node, &facts, hears);
    let fetching = fetch(node, &facts, &plan);
    let leg = match reach {
        Reach::Dial(trunk) => dial(node, &facts, &trunk),
        Reach::Here(leg) => take(leg, &facts),
    };
    if fetching.is_none() {
        rehearse::opening(node, facts.bot, &plan.context);
    }
    let (rehearsal, layers) = (plan.context.clone(), Layers::of(&plan));
    let core = Call::new(Instant::now(), plan);
    let media = leg.audio.media.clone();
    let brought = Record::at_start(facts.variables.map(ToOwned::to_owned), facts.custom.clone());
    let (record, seen) = watch::channel(brought);
    let whose = Whose { call: facts.row.call_id, owner: facts.row.owner.clone(), live: node.live.clone() };
    let progress = Progress::start(node.ports.calls.clone(), whose);
    let source = crate::recording::Source {
        objects: node.ports.objects.clone(),
        keys: CallObjects::of(facts.row),
        recordings: node.recordings.clone(),
        recording: facts.recording.clone(),
        record: seen,
        noted: progress.sender(),
    };
    let mut talk = Talk {
        node: node.clone(),
        bot: facts.bot.clone(),
        context: rehearsal,
        layers,
        core,
        ear: Ear::new(recogniser),
        mouth: Mouth::new(plan::voice(node, facts.bot), media.clone()),
        brain: Brain::new(plan::llm(node, facts.bot), facts.bot),
        leg,
        leg_over: false,
        fetching,
        control,
        progress,
        checkpoints: None,
        source: Some(source),
        record,
        warnings: Vec::new(),
        outcome: None,
    };
    if !hears {
        talk.warnings
            .push("no speech recognition for this bot's language on the server: only keys were heard".to_owned());
    }
    let outcome = talk.run().await;
    // A leg whose call is over hangs up by itself when its commands end.
    let Talk { leg, progress, checkpoints, source, warnings, .. } = talk;
    drop((leg.commands, checkpoints, source));
    media.close().await;
    progress.close(STAGES_LIMIT).await;
    (outcome, warnings)
}

/// What `crm.*` is made of beside the pre-fetched fields.
struct Layers {
    variables: Fields,
    custom: Fields,
}

impl Layers {
    fn of(plan: &call::Plan) -> Self {
        Self { variables: plan.variables.clone(), custom: plan.custom.clone() }
    }

    /// Variables over pre-fetched over custom fields.
    fn crm(&self, prefetched: &Fields) -> Fields {
        self.variables.clone().over(prefetched).over(&self.custom)
    }
}

type Fetching = tokio::task::JoinHandle<Fetched>;

/// Asks the CRM beside everything else: neither the INVITE nor the answer waits for it.
fn fetch(node: &Arc<Node>, facts: &Facts<'_>, plan: &call::Plan) -> Option<Fetching> {
    let prefetch = facts.bot.prefetch.clone()?;
    let (outbound, seal) = (node.ports.outbound.clone(), node.ports.seal.clone());
    let (bot, context) = (facts.row.bot_id.clone(), plan.context.clone());
    Some(tokio::spawn(async move { prefetch::fetch(&outbound, &seal, &bot, &prefetch, &context).await }))
}

/// Tells a leg that came in that its call's row stands.
fn take(mut leg: Leg, facts: &Facts<'_>) -> Leg {
    let taken = Taken { call_id: facts.row.call_id, recording: facts.recording.as_ref().map(|(id, _)| *id) };
    if let Some(tell) = leg.taken.take() {
        // A leg whose caller is gone already says so in its last event.
        let _ = tell.send(taken);
    }
    leg
}

/// Starts the leg; one that can't be started reports its failure like any other.
fn dial(node: &Arc<Node>, facts: &Facts<'_>, trunk: &Trunk) -> Leg {
    let entity = trunk_entity(&trunk.trunk_id);
    let password = trunk.password.as_ref().map(|sealed| node.ports.seal.open(&entity, sealed)).transpose();
    let password = password.unwrap_or_else(|error| {
        tracing::error!(%error, "the trunk's password does not open");
        None
    });
    let mut id = [0; 8];
    node.ports.entropy.fill(&mut id);
    let outbound = Outbound {
        trunk,
        password,
        to: &facts.row.to_number.0,
        from: &facts.row.from_number.0,
        // RFC 8866 §5.2 wants a number that fits NTP's 64 bits; half of it is plenty and fits every parser.
        session_id: u64::from_le_bytes(id) >> 33,
        recording: facts.recording.as_ref().map(|(id, _)| *id),
    };
    node.legs.dial(outbound).unwrap_or_else(|error| {
        tracing::error!(%error, call.id = %facts.row.call_id, "no leg for this call");
        Leg::stillborn(LegFailure::Unreachable)
    })
}

struct Talk {
    node: Arc<Node>,
    bot: Arc<Bot>,
    /// As at the start, for the rehearsal once the pre-fetched fields are there.
    context: Context,
    layers: Layers,
    core: Call,
    leg: Leg,
    leg_over: bool,
    ear: Ear,
    mouth: Mouth,
    brain: Brain,
    fetching: Option<Fetching>,
    control: mpsc::Receiver<Control>,
    progress: Progress,
    checkpoints: Option<Checkpoints>,
    source: Option<crate::recording::Source>,
    record: watch::Sender<Record>,
    warnings: Vec<String>,
    outcome: Option<Outcome>,
}

impl Talk {
    async fn run(&mut self) -> Outcome {
        loop {
            self.obey();
            if let Some(outcome) = self.outcome.take() {
                return outcome;
            }
            let wake = self.core.poll_timeout();
            tokio::select! {
                event = self.leg.events.recv(), if !self.leg_over => self.on_leg(event),
                Some(far) = self.leg.audio.far.recv() => {
                    let mut heard = Vec::new();
                    self.ear.on_frame(&far, &mut heard);
                    self.tell_all(heard.into_iter().map(Input::Ear));
                }
                Some(event) = self.leg.audio.events.recv() => self.on_stream(event),
                event = self.ear.next() => {
                    let mut heard = Vec::new();
                    self.ear.on_recogniser(event, &mut heard);
                    self.tell_all(heard.into_iter().map(Input::Ear));
                }
                event = self.mouth.next() => {
                    let mut said = Vec::new();
                    match event {
                        Some(event) => self.mouth.on_voice(event, &mut said),
                        None => self.mouth.lost(&mut said),
                    }
                    self.tell_all(said.into_iter().map(Input::Mouth));
                }
                event = self.brain.next() => self.tell(Input::Brain(event)),
                fetched = fetched(&mut self.fetching) => self.on_fetched(fetched),
                Some(control) = self.control.recv() => self.tell(Input::Control(control)),
                () = sleep_until(wake) => self.core.handle_timeout(Instant::now()),
            }
        }
    }

    fn tell(&mut self, input: Input) {
        self.core.handle(Instant::now(), input);
        self.obey();
    }

    fn tell_all(&mut self, inputs: impl Iterator<Item = Input>) {
        for input in inputs {
            self.tell(input);
        }
    }

    fn on_leg(&mut self, event: Option<LegEvent>) {
        let event = event.unwrap_or({
            // The leg's task is gone without a last word.
            LegEvent::Ended { by_remote: false, cause: LegEnd::Unresponsive }
        });
        match &event {
            LegEvent::Failed(_) | LegEvent::Ended { .. } => self.leg_over = true,
            LegEvent::Answered => self.ear.answered(),
            _ => {}
        }
        self.tell(Input::Leg(event));
    }

    fn on_stream(&mut self, event: StreamEvent) {
        let mut said: Vec<MouthEvent> = Vec::new();
        match event {
            StreamEvent::MarkPlayed { id, at_sample } => self.mouth.on_mark(id, at_sample, &mut said),
            StreamEvent::MarkCleared { id, at_sample } => self.mouth.on_cleared(id, at_sample, &mut said),
            StreamEvent::Dtmf { digit, .. } => self.tell(Input::Leg(LegEvent::Dtmf(digit.as_char()))),
            StreamEvent::FirstPacket => self.tell(Input::Leg(LegEvent::MediaStarted)),
            StreamEvent::NoMedia { since } => self.tell(Input::Leg(LegEvent::MediaMissing(since.elapsed()))),
            StreamEvent::MediaResumed => self.tell(Input::Leg(LegEvent::MediaResumed)),
            StreamEvent::SourceLatched { .. } => tracing::debug!("media comes from another address than announced"),
        }
        self.tell_all(said.into_iter().map(Input::Mouth));
    }

    fn on_fetched(&mut self, fetched: Fetched) {
        self.fetching = None;
        self.warnings.extend(fetched.warnings);
        let event = match fetched.fields {
            Ok(fields) => {
                let crm = self.layers.crm(&fields);
                self.record.send_modify(|record| record.crm = crm.clone());
                let context = self.context.clone().with_crm(crm);
                rehearse::opening(&self.node, &self.bot, &context);
                PrefetchEvent::Fetched(fields)
            }
            Err(error) => {
                self.warnings.push(error.to_string());
                PrefetchEvent::Failed
            }
        };
        self.tell(Input::Prefetch(event));
    }

    /// Does everything that the core wants now.
    fn obey(&mut self) {
        while let Some(effect) = self.core.poll_effect() {
            match effect {
                Effect::Leg(command) => {
                    // A full queue already holds a hang-up.
                    let _ = self.leg.commands.try_send(command);
                }
                Effect::Ear(EarCommand::Listen) => self.ear.listen(),
                Effect::Ear(EarCommand::Flush) => self.ear.flush(),
                Effect::Brain(BrainCommand::Think { turn, messages }) => {
                    if let Some(failed) = self.brain.think(turn, messages) {
                        self.core.handle(Instant::now(), Input::Brain(failed));
                    }
                }
                Effect::Brain(BrainCommand::Cancel { turn }) => self.brain.cancel(turn),
                Effect::Mouth(command) => {
                    let mut said = Vec::new();
                    self.mouth.obey(command, &mut said);
                    for event in said {
                        self.core.handle(Instant::now(), Input::Mouth(event));
                    }
                }
                Effect::Progress(stage) => self.on_stage(stage),
                Effect::Transcript { index, entry } => self.note(index, entry),
                Effect::Turn(turn) => self.record.send_modify(|record| record.latency.push(turn)),
                Effect::Warn(warning) => self.warnings.push(warning),
                Effect::Ended(outcome) => self.outcome = Some(*outcome),
            }
        }
    }

    fn on_stage(&mut self, stage: Stage) {
        let at = self.node.ports.clock.now();
        match stage {
            Stage::Dialing => self.progress.note(Advance::Dialing),
            Stage::Ringing => self.progress.note(Advance::Ringing { at }),
            Stage::Answered => {
                self.progress.note(Advance::Answered { at });
                if let Some(source) = self.source.take() {
                    self.checkpoints = Some(Checkpoints::start(source, self.node.checkpoint_every));
                }
            }
        }
    }

    fn note(&mut self, index: usize, entry: TranscriptEntry) {
        self.record.send_modify(|record| {
            if let Some(known) = record.transcript.get_mut(index) {
                *known = entry;
            } else {
                record.transcript.push(entry);
            }
        });
    }
}

async fn fetched(fetching: &mut Option<Fetching>) -> Fetched {
    match fetching {
        Some(running) => running.await.unwrap_or_else(|_| Fetched::broke_off()),
        None => std::future::pending().await,
    }
}

async fn sleep_until(wake: Option<Instant>) {
    match wake {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}
