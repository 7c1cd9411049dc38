//! The phone is called by our own user agent over loopback, with speech that is played by the book: no models needed.

use std::time::Duration;

use media::{Clip, Remote};
use server::provider::stt::{Stt, SttInput};
use server::provider::tts::{Tts, TtsInput, UtteranceId};
use server::provider::{Engine, ProviderError, SttEvent, SttSession, TtsEvent, TtsSession};
use server::signalling::Act;
use sip::sdp::{self, Codec};
use sip::{CallHandle, Credentials, EndedBy, Event, Failure, InviteRequest};

use super::*;

/// Longest wait for anything; it is never measured.
const PATIENCE: Duration = Duration::from_secs(60);

/// Hears `question` in every stretch of sound, however it sounds.
struct FakeStt(&'static str);

struct FakeEar {
    question: &'static str,
    events: mpsc::Sender<SttEvent>,
    heard_ms: u64,
    loud: bool,
}

impl Stt for FakeStt {
    fn open(&self, _: u32, _: &str) -> Result<SttSession, ProviderError> {
        let (sender, events) = mpsc::channel(64);
        Ok(SttSession {
            input: Box::new(FakeEar { question: self.0, events: sender, heard_ms: 0, loud: false }),
            events,
        })
    }
    fn vendor(&self) -> &'static str {
        "fake"
    }
}

impl SttInput for FakeEar {
    fn push(&mut self, samples: &[i16]) {
        self.heard_ms += samples.len() as u64 / 8;
        let at_ms = self.heard_ms;
        let loud = samples.iter().any(|sample| sample.unsigned_abs() > 1000);
        if loud == self.loud {
            return;
        }
        self.loud = loud;
        let events = if loud {
            vec![SttEvent::SpeechStarted { at_ms }]
        } else {
            let text = self.question.to_owned();
            let words = SttEvent::Final { text, from_ms: 0, to_ms: at_ms, confidence: 1.0 };
            vec![SttEvent::SpeechEnded { at_ms }, words]
        };
        for event in events {
            self.events.try_send(event).unwrap();
        }
    }
    fn endpoint(&mut self) {}
}

/// Says everything in 100 ms of a loud square wave.
struct FakeTts;

struct FakeMouth(mpsc::Sender<TtsEvent>);

impl Tts for FakeTts {
    fn open(&self, _: &VoiceSpec) -> Result<TtsSession, ProviderError> {
        let (sender, events) = mpsc::channel(64);
        Ok(TtsSession { input: Arc::new(FakeMouth(sender)), events })
    }
}

impl TtsInput for FakeMouth {
    fn say(&self, utterance: UtteranceId, text: &str, _: bool) -> Result<(), ProviderError> {
        let samples: Vec<i16> = (0..800).map(|n| if n / 8 % 2 == 0 { 8000 } else { -8000 }).collect();
        self.0.try_send(TtsEvent::Audio { utterance, samples: samples.into(), text: text.to_owned() }).unwrap();
        self.0.try_send(TtsEvent::Done { utterance }).unwrap();
        Ok(())
    }
    fn cancel(&self, _: UtteranceId) {}
}

/// A phone that hears `question`, and a caller.
struct World {
    phone: Phone,
    told: mpsc::Receiver<PhoneEvent>,
    caller: Signalling,
    rtp: AudioEngine,
}

impl World {
    fn start(persona: &str, question: &'static str, edit: impl FnOnce(&mut PhoneConfig)) -> Self {
        let voice = VoiceSpec::new(Engine::Flite, "slt");
        let speech = Arc::new(Speech::of(Arc::new(FakeStt(question)), Arc::new(FakeTts), voice));
        let mut config = PhoneConfig::new(Persona::parse(persona).unwrap(), Vec::new());
        config.ring = Duration::ZERO;
        edit(&mut config);
        let (phone, told) = Phone::start(config, speech).unwrap();
        let (incoming, _) = mpsc::channel(1);
        let caller = Signalling::start("127.0.0.1:0".parse().unwrap(), None, 4, 1, incoming, None).unwrap();
        let rtp = AudioEngine::start(caller.local.ip(), &(50_000..=55_000), 1, &Recordings::start().unwrap()).unwrap();
        Self { phone, told, caller, rtp }
    }

    async fn invite(&self, local: SocketAddr, password: Option<&str>) -> (CallHandle, mpsc::Receiver<Event>) {
        let credentials = password.map(|password| Credentials {
            username: "rahul".to_owned(),
            password: password.to_owned(),
            realm: None,
        });
        let uri = |user: &str| format!("sip:{user}@{}", self.phone.address);
        let request = InviteRequest {
            target: uri("+919876543210"),
            remote: self.phone.address,
            from_uri: uri("bank"),
            from_display: None,
            to_uri: uri("+919876543210"),
            call_id: None,
            headers: Vec::new(),
            sdp: sdp::offer(local, 1, 1, &[Codec::Pcmu]),
            credentials,
        };
        self.caller.invite(request).await.unwrap()
    }

    async fn told(&mut self) -> Happening {
        next(&mut self.told).await.what
    }
}

async fn next<T>(channel: &mut mpsc::Receiver<T>) -> T {
    tokio::time::timeout(PATIENCE, channel.recv()).await.expect("something in time").expect("an open channel")
}

const QUIET: &str = "name = 'x'\n[[lines]]\nsays = 'Yes.'";

fn with_account(config: &mut PhoneConfig) {
    let text = str::to_owned;
    config.account = Some(Account { username: text("rahul"), password: text("right"), realm: text("phone") });
}

/// Calls with a password and tells the phone's view and how the INVITE ended.
async fn check_digest(password: Option<&str>, expect: &[Happening], answered: bool) {
    let mut world = World::start(QUIET, "", with_account);
    let (call, mut events) = world.invite("127.0.0.1:9".parse().unwrap(), password).await;
    loop {
        match next(&mut events).await {
            Event::Answered { .. } => {
                assert!(answered, "{password:?} was answered");
                world.caller.act(call, Act::HangUp { reason: None }).await.unwrap();
            }
            Event::Failed { cause, .. } => {
                assert!(!answered, "{password:?}: {cause:?}");
                let fits = matches!(cause, Failure::AuthRejected | Failure::Status { code: 403 | 401, .. });
                assert!(fits, "{password:?}: {cause:?}");
                break;
            }
            Event::Ended { by, .. } => {
                assert_eq!(by, EndedBy::Local);
                break;
            }
            _ => {}
        }
    }
    for happening in expect {
        assert_eq!(world.told().await, *happening, "{password:?}");
    }
}

#[tokio::test]
async fn callers_prove_who_they_are() {
    let rings = Happening::Ringing { from: "bank".to_owned() };
    check_digest(Some("right"), &[Happening::Challenged, rings, Happening::Answered], true).await;
    check_digest(Some("wrong"), &[Happening::Challenged, Happening::WrongPassword], false).await;
    check_digest(None, &[Happening::Challenged], false).await;
}

/// What the caller hears and the phone tells, of a call in which the caller makes a sound after each of the customer's.
async fn check_talk(persona: &str, question: &'static str, sounds: u32, expect: &[&str], ending: Ending) {
    let mut world = World::start(persona, question, |_| {});
    let (media, mut audio, local) = world.rtp.reserve_rtp().unwrap();
    let (call, mut events) = world.invite(local, None).await;
    let answer = loop {
        if let Event::Answered { sdp, .. } = next(&mut events).await {
            break sdp.unwrap();
        }
    };
    let params = sdp::parse_answer(&[Codec::Pcmu], &answer).unwrap();
    media.open(Remote::new(params.remote, media::Codec::Pcmu), &[], None);
    // Nobody reads what the caller hears: full queues only count.
    audio.far.close();
    let beep: Vec<i16> = (0..1600).map(|n| if n / 10 % 2 == 0 { 8000 } else { -8000 }).collect();
    let mut left = sounds;
    let mut story = Vec::new();
    media.play(Clip::new(beep.clone()));
    let ended = loop {
        match world.told().await {
            Happening::Heard(heard) => story.push(format!("hears {}", heard.text)),
            Happening::Says { text } => {
                story.push(format!("says {text}"));
                left -= 1;
                if left > 0 {
                    media.play(Clip::new(beep.clone()));
                } else {
                    // Not an error if the customer was quicker.
                    let _ = world.caller.act(call, Act::HangUp { reason: None }).await;
                }
            }
            Happening::Ended(ending) => break ending,
            _ => {}
        }
    };
    assert_eq!(story, expect);
    assert_eq!(ended, ending);
    media.close().await;
}

#[tokio::test]
async fn the_customer_answers_what_it_hears() {
    let persona = "name = 'x'\n[[lines]]\nhears = ['who is it']\nsays = 'It is me.'";
    let talk = ["hears Who is it?", "says It is me.", "hears Who is it?", "says It is me."];
    check_talk(persona, "Who is it?", 2, &talk, Ending::Caller).await;
}

#[tokio::test]
async fn the_customer_hangs_up_when_its_line_says_so() {
    let persona = "name = 'x'\n[[lines]]\nhears = ['wrong number']\nsays = 'Bye.'\nhang_up = true";
    check_talk(persona, "Wrong number!", 9, &["hears Wrong number!", "says Bye."], Ending::Customer).await;
}

#[tokio::test]
async fn a_caller_who_gives_up_while_it_rings_ends_the_call() {
    let mut world = World::start(QUIET, "", |config| config.ring = Duration::from_secs(3600));
    let (call, mut events) = world.invite("127.0.0.1:9".parse().unwrap(), None).await;
    while !matches!(next(&mut events).await, Event::Provisional { code: 180, .. }) {}
    world.caller.act(call, Act::HangUp { reason: None }).await.unwrap();
    assert_eq!(world.told().await, Happening::Ringing { from: "bank".to_owned() });
    assert_eq!(world.told().await, Happening::Ended(Ending::Cancelled));
}

#[tokio::test]
async fn an_offer_without_a_common_codec_is_refused() {
    let mut world = World::start(QUIET, "", |_| {});
    let request = InviteRequest {
        target: format!("sip:x@{}", world.phone.address),
        remote: world.phone.address,
        from_uri: "sip:a@b".to_owned(),
        from_display: None,
        to_uri: "sip:x@b".to_owned(),
        call_id: None,
        headers: Vec::new(),
        sdp: "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio 9 RTP/AVP 96\r\na=rtpmap:96 opus/48000/2\r\n".into(),
        credentials: None,
    };
    let (_, mut events) = world.caller.invite(request).await.unwrap();
    let failed = next(&mut events).await;
    assert!(matches!(failed, Event::Failed { cause: Failure::Status { code: 488, .. }, .. }), "{failed:?}");
    assert_eq!(world.told().await, Happening::Refused { code: 488 });
}
