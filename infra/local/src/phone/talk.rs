//! The customer's ear, mouth and mind on one call. It must never decide anything about SIP: it asks to hang up.

use std::sync::Arc;
use std::time::{Duration, Instant};

use media::{Clip, FRAME_SAMPLES, FarFrame, SAMPLE_RATE, StreamEvent};
use server::audio::{AudioPort, Far};
use server::provider::tts::UtteranceId;
use server::provider::{Speech, SttEvent, SttSession, TtsEvent, TtsSession, VoiceSpec};

use super::{Conversation, Happening, Listening, PhoneLine, Reply};

/// A customer takes a breath before the first word.
const GREETING_AFTER: Duration = Duration::from_millis(250);
/// How much longer the caller is waited for when its words call for no answer yet ("thank you", and a pause).
const HESITATION: Duration = Duration::from_millis(2500);
/// How long the words of the caller's last sentence are waited for, once the call is over.
const LAST_WORDS: Duration = Duration::from_secs(2);
/// Frames that were lost on the way here are made up for with silence up to this long.
const LONGEST_GAP: u64 = 5 * SAMPLE_RATE as u64;

/// What the call has to do now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    GoOn,
    /// The caller has said goodbye and will hang up.
    Farewell,
    /// The customer hangs up.
    HangUp,
}

/// One customer on one call.
pub(super) struct Talk {
    line: Arc<PhoneLine>,
    number: u32,
    answered: Instant,
    audio: AudioPort,
    /// Position after the last frame that the recogniser got.
    position: u64,
    ear: Option<SttSession>,
    mouth: Option<TtsSession>,
    listening: Listening,
    conversation: Conversation,
    greets_at: Option<Instant>,
    /// Counts what was said; the one being said is not finished.
    utterance: u64,
    saying: Option<Saying>,
}

/// What is being said.
struct Saying {
    id: u64,
    hang_up: bool,
    told: bool,
    text: String,
}

/// Whatever happens next.
#[expect(clippy::large_enum_variant, reason = "one at a time, on the stack, and nearly always the large one")]
enum Input {
    Far(Option<Far>),
    Stream(StreamEvent),
    Ear(Option<SttEvent>),
    Mouth(Option<TtsEvent>),
    Due,
}

impl Talk {
    pub(super) fn begin(line: Arc<PhoneLine>, number: u32, audio: AudioPort) -> Self {
        let now = Instant::now();
        let ear = line.speech.stt().open(SAMPLE_RATE, &line.config.language).ok();
        let mouth = open_voice(&line.speech, &line.config.voices);
        for (missing, what) in [(ear.is_none(), "speech recognition"), (mouth.is_none(), "a voice")] {
            if missing {
                line.tell(number, Duration::ZERO, Happening::Handicapped { what });
            }
        }
        let greets_at = (!line.persona.greeting.is_empty()).then(|| now + GREETING_AFTER);
        let listening = Listening::new(line.config.patience);
        let conversation = Conversation::new(line.persona.clone());
        Self {
            line,
            number,
            answered: now,
            audio,
            position: 0,
            ear,
            mouth,
            listening,
            conversation,
            greets_at,
            utterance: 0,
            saying: None,
        }
    }

    /// Time since the answer.
    pub(super) fn at(&self) -> Duration {
        self.answered.elapsed()
    }

    /// Waits for whatever happens next and does what it calls for. Safe to drop between calls: what was received was
    /// dealt with.
    pub(super) async fn next(&mut self) -> Next {
        let due = self.due();
        let input = tokio::select! {
            far = self.audio.far.recv() => Input::Far(far),
            Some(event) = self.audio.events.recv() => Input::Stream(event),
            event = heard(&mut self.ear) => Input::Ear(event),
            event = spoken(&mut self.mouth) => Input::Mouth(event),
            () = sleep_until(due) => Input::Due,
        };
        match input {
            Input::Far(Some(far)) => self.on_frame(&far),
            // The media threads are gone: the end of the call comes by SIP.
            Input::Far(None) => std::future::pending().await,
            Input::Stream(StreamEvent::MarkPlayed { id, .. }) => return self.on_said(id),
            Input::Stream(_) => {}
            Input::Ear(Some(event)) => self.listening.on_event(Instant::now(), event),
            Input::Ear(None) => self.ear = None,
            Input::Mouth(event) => return self.on_voice(event),
            Input::Due => return self.on_due(Instant::now()),
        }
        Next::GoOn
    }

    /// The call is over: what was heard last is told too.
    pub(super) async fn finish(&mut self) {
        if let Some(ear) = &mut self.ear {
            ear.endpoint();
            let limit = tokio::time::Instant::now() + LAST_WORDS;
            while self.listening.expects_words() {
                let Ok(Some(event)) = tokio::time::timeout_at(limit, ear.events.recv()).await else { break };
                self.listening.on_event(Instant::now(), event);
            }
        }
        if let Some(heard) = self.listening.take_all() {
            self.tell(Happening::Heard(heard));
        }
    }

    /// When the customer says something if nothing else happens; while it speaks, its own end is waited for.
    fn due(&self) -> Option<Instant> {
        if self.saying.is_some() {
            return None;
        }
        self.greets_at.or_else(|| self.listening.due())
    }

    fn on_frame(&mut self, far: &Far) {
        let Some(ear) = &mut self.ear else { return };
        let gap = far.position.saturating_sub(self.position).min(LONGEST_GAP);
        for _ in 0..gap / FRAME_SAMPLES as u64 {
            ear.push(&[0; FRAME_SAMPLES]);
        }
        ear.push(if far.kind == FarFrame::Nothing { &[0; FRAME_SAMPLES] } else { &far.samples });
        self.position = far.position + FRAME_SAMPLES as u64;
    }

    fn on_due(&mut self, now: Instant) -> Next {
        if self.greets_at.is_some_and(|at| at <= now) {
            self.greets_at = None;
            let greeting = self.line.persona.greeting.clone();
            return self.say(greeting, false);
        }
        if !self.conversation.knows_an_answer(&self.listening.text()) && self.listening.wait_longer(HESITATION) {
            return Next::GoOn;
        }
        let Some(heard) = self.listening.take(now) else { return Next::GoOn };
        let reply = self.conversation.reply(&heard.text);
        self.tell(Happening::Heard(heard));
        match reply {
            Reply::Say { text, hang_up } => self.say(text, hang_up),
            Reply::Silence => Next::GoOn,
            Reply::Farewell => Next::Farewell,
        }
    }

    fn say(&mut self, text: String, hang_up: bool) -> Next {
        self.utterance += 1;
        let id = self.utterance;
        let said = self.mouth.as_ref().map(|mouth| mouth.say(UtteranceId(id), &text, true));
        match said {
            Some(Ok(())) => {
                self.saying = Some(Saying { id, hang_up, told: false, text });
                Next::GoOn
            }
            // Without a voice it is as if it were said.
            Some(Err(_)) | None if hang_up => Next::HangUp,
            Some(Err(_)) | None => Next::GoOn,
        }
    }

    fn on_voice(&mut self, event: Option<TtsEvent>) -> Next {
        match event {
            Some(TtsEvent::Audio { samples, .. }) => {
                let begins = |saying: &mut Saying| !std::mem::replace(&mut saying.told, true);
                let text = self.saying.as_mut().and_then(|saying| begins(saying).then(|| saying.text.clone()));
                if let Some(text) = text {
                    self.tell(Happening::Says { text });
                }
                self.audio.media.play(Clip::new(samples));
            }
            Some(TtsEvent::Done { utterance }) => self.audio.media.mark(utterance.0),
            Some(TtsEvent::Failed { utterance, error }) => {
                tracing::warn!(%error, "the test phone's voice failed");
                return self.on_said(utterance.0);
            }
            None => {
                self.mouth = None;
                let id = self.utterance;
                return self.on_said(id);
            }
        }
        Next::GoOn
    }

    /// All of an utterance was sent.
    fn on_said(&mut self, id: u64) -> Next {
        match self.saying.take_if(|saying| saying.id <= id) {
            Some(saying) if saying.hang_up => Next::HangUp,
            Some(_) | None => Next::GoOn,
        }
    }

    fn tell(&self, what: Happening) {
        self.line.tell(self.number, self.at(), what);
    }
}

/// Speaks all of the persona's lines into the voice's cache, so that it answers as fast as a person does.
pub(super) fn rehearse(line: &PhoneLine) {
    let Some(mut mouth) = open_voice(&line.speech, &line.config.voices) else { return };
    let lines = line.persona.lines.iter().map(|line| &line.says);
    let texts: Vec<String> = std::iter::once(&line.persona.greeting).chain(lines).cloned().collect();
    tokio::spawn(async move {
        for (id, text) in (0..).map(UtteranceId).zip(texts.iter().filter(|text| !text.is_empty())) {
            if mouth.say(id, text, true).is_err() {
                return;
            }
            while let Some(TtsEvent::Audio { .. }) = mouth.events.recv().await {}
        }
    });
}

/// The first of the voices that is installed, else the server's own.
fn open_voice(speech: &Speech, voices: &[VoiceSpec]) -> Option<TtsSession> {
    let default = speech.default_voice();
    voices.iter().chain(std::iter::once(&default)).find_map(|voice| speech.tts().open(voice).ok())
}

async fn heard(ear: &mut Option<SttSession>) -> Option<SttEvent> {
    match ear {
        Some(ear) => ear.events.recv().await,
        None => std::future::pending().await,
    }
}

async fn spoken(mouth: &mut Option<TtsSession>) -> Option<TtsEvent> {
    match mouth {
        Some(mouth) => mouth.events.recv().await,
        None => std::future::pending().await,
    }
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}
