//! Judges a demo by what it left: the conversation, the recording, the result and the push.
//! It must never take the platform's word for what the far end can tell.

use std::path::PathBuf;

use jiff::civil::Date;
use jiff::{Timestamp, ToSpan};
use media::wav::Wav;
use serde_json::Value;

use super::scene::today;
use super::script::{METHOD, PROMISED, TO};
use super::sink::Pushed;
use crate::phone::{Happening, PhoneEvent, error_rate, name_heard};

/// Turns each side has to take.
const TURNS: usize = 3;
/// Words that a recogniser may get wrong over a telephone line, of all that was said.
const WORD_ERRORS: f64 = 0.25;
/// A channel in which somebody speaks for this long has a voice on it, seconds.
const VOICE_SECONDS: f64 = 2.0;
/// Frames (20 ms) louder than this, on the average, count as voice: about -42 dBFS.
const LOUD: u64 = 260;
/// The recording and the call are this equally long, seconds.
const LENGTH_SLACK: f64 = 1.5;

/// All that a demo's call left behind.
#[derive(Debug, Clone)]
pub(super) struct Evidence {
    pub(super) call_id: String,
    /// The customer's name.
    pub(super) customer: String,
    /// The dialout's variables.
    pub(super) variables: Value,
    /// What the phone told.
    pub(super) story: Vec<PhoneEvent>,
    /// As `GET /api/v1/calls/{id}` shows it.
    pub(super) result: Value,
    pub(super) push: Option<Pushed>,
    /// Where the recording was put.
    pub(super) wav: Option<PathBuf>,
    /// Its bytes, or why there are none.
    pub(super) recording: Result<Vec<u8>, String>,
}

/// One thing that had to be true.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Check {
    pub(super) what: &'static str,
    /// Why it is not; none: it is.
    pub(super) fault: Option<String>,
}

impl Evidence {
    /// What the platform's recogniser made of the customer, or what was played of the bot, with its seconds.
    pub(super) fn transcript(&self, speaker: &str) -> Vec<(f64, &str)> {
        let entries = self.result["transcript"].as_array().into_iter().flatten();
        let of_speaker = entries.filter(|entry| entry["speaker"] == speaker);
        of_speaker.filter_map(|entry| Some((entry["timestamp"].as_f64()?, entry["text"].as_str()?))).collect()
    }

    fn said_by_phone(&self) -> Vec<&str> {
        let says = |event: &'_ PhoneEvent| matches!(event.what, Happening::Says { .. });
        let texts = self.story.iter().filter(|event| says(event)).map(|event| match &event.what {
            Happening::Says { text } => text.as_str(),
            _ => "",
        });
        texts.collect()
    }

    fn heard_by_phone(&self) -> Vec<&str> {
        let texts = self.story.iter().filter_map(|event| match &event.what {
            Happening::Heard(heard) => Some(heard.text.as_str()),
            _ => None,
        });
        texts.collect()
    }
}

/// All checks, in the order of the call.
pub(super) fn judge(evidence: &Evidence) -> Vec<Check> {
    let check = |what, done: Result<(), String>| Check { what, fault: done.err() };
    vec![
        check("the phone asked for a password and got the right one", digest(evidence)),
        check("at least three turns each way", turns(evidence)),
        check("the phone heard the customer's name in the opening", name(evidence)),
        check("the phone understood what the bot played", understood_bot(evidence)),
        check("the bot understood what the phone said", understood_customer(evidence)),
        check("the bot brought the talk to its end and hung up", end(evidence)),
        check("the recording is stereo, with a voice on each side", recording(evidence)),
        check("the CRM got a push whose signature verifies", push(evidence)),
        check("its body holds the values of crm, result and call", body(evidence)),
    ]
}

fn fits(right: bool, fault: impl FnOnce() -> String) -> Result<(), String> {
    if right { Ok(()) } else { Err(fault()) }
}

fn digest(evidence: &Evidence) -> Result<(), String> {
    let at = |what: &Happening| evidence.story.iter().position(|event| event.what == *what);
    let (challenged, answered) = (at(&Happening::Challenged), at(&Happening::Answered));
    fits(challenged.is_some(), || "no INVITE reached the phone".to_owned())?;
    fits(at(&Happening::WrongPassword).is_none(), || "the phone got a wrong password".to_owned())?;
    fits(answered > challenged, || format!("the phone was never answered: {}", evidence.result["end_reason"]))
}

fn turns(evidence: &Evidence) -> Result<(), String> {
    let (bot, customer) = (evidence.transcript("bot").len(), evidence.transcript("customer").len());
    fits(bot >= TURNS && customer >= TURNS, || format!("the bot took {bot}, the customer {customer}"))
}

fn name(evidence: &Evidence) -> Result<(), String> {
    let opening = evidence.heard_by_phone().first().copied().unwrap_or_default();
    fits(name_heard(opening, &evidence.customer), || match opening {
        "" => "it heard nothing".to_owned(),
        heard => format!("it heard {heard:?}"),
    })
}

fn understood_bot(evidence: &Evidence) -> Result<(), String> {
    let played: Vec<&str> = evidence.transcript("bot").into_iter().map(|(_, text)| text).collect();
    compare(&played.join(" "), &evidence.heard_by_phone().join(" "))
}

fn understood_customer(evidence: &Evidence) -> Result<(), String> {
    let understood: Vec<&str> = evidence.transcript("customer").into_iter().map(|(_, text)| text).collect();
    let said = evidence.said_by_phone();
    // A greeting before the opening is no turn, and may stand in the transcript or not.
    let greeting = usize::from(said.len() > understood.len());
    compare(&said[greeting..].join(" "), &understood.join(" "))
}

fn compare(said: &str, heard: &str) -> Result<(), String> {
    fits(!said.is_empty(), || "nothing was said".to_owned())?;
    fits(!heard.is_empty(), || format!("nothing was heard of {said:?}"))?;
    let rate = error_rate(said, heard);
    fits(rate <= WORD_ERRORS, || {
        format!("{:.0} % of the words were wrong: {heard:?} instead of {said:?}", rate * 100.0)
    })
}

fn end(evidence: &Evidence) -> Result<(), String> {
    let result = &evidence.result;
    fits(result["disconnected_by"] == "bot" && result["end_reason"] == "bot_hangup", || {
        format!("the call ended by {}, {}", result["disconnected_by"], result["end_reason"])
    })
}

fn recording(evidence: &Evidence) -> Result<(), String> {
    let bytes = evidence.recording.as_ref().map_err(Clone::clone)?;
    let wav = Wav::read(bytes).map_err(|error| error.to_string())?;
    fits(wav.channels == 2 && wav.sample_rate == 8000, || {
        format!("it has {} channels of {} Hz", wav.channels, wav.sample_rate)
    })?;
    for (index, side) in [(0, "the customer's"), (1, "the bot's")] {
        let voice = voice_seconds(&wav.channel(index));
        fits(voice >= VOICE_SECONDS, || format!("{side} side has {voice:.1} s of voice"))?;
    }
    let call = evidence.result["call_duration_seconds"].as_f64().unwrap_or_default();
    let length = seconds(&wav);
    fits((length - call).abs() <= LENGTH_SLACK, || format!("it is {length:.1} s long, the call {call:.1} s"))
}

/// Seconds of a recording.
pub(super) fn seconds(wav: &Wav) -> f64 {
    let frames = wav.samples.len() / usize::from(wav.channels.max(1));
    frames as f64 / f64::from(wav.sample_rate.max(1))
}

fn voice_seconds(samples: &[i16]) -> f64 {
    let level = |frame: &[i16]| frame.iter().map(|sample| u64::from(sample.unsigned_abs())).sum::<u64>() / 160;
    samples.chunks_exact(160).filter(|frame| level(frame) > LOUD).count() as f64 * 0.02
}

fn push(evidence: &Evidence) -> Result<(), String> {
    let push = evidence.push.as_ref().ok_or("no push came")?;
    match &push.fault {
        Some(fault) => Err(fault.clone()),
        None => fits(push.status == 200, || format!("it was answered {}", push.status)),
    }
}

fn body(evidence: &Evidence) -> Result<(), String> {
    let body = &evidence.push.as_ref().ok_or("no push came")?.body;
    let result = &evidence.result;
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let expected = [
        ("/customer/id", text(&evidence.variables["customer_id"])),
        ("/customer/name", text(&evidence.variables["customer_name"])),
        ("/customer/phone", TO.to_owned()),
        ("/loan", text(&evidence.variables["loan_number"])),
        ("/disposition", PROMISED.to_owned()),
        ("/payment_method", METHOD.to_owned()),
        ("/reminder", "yes".to_owned()),
        ("/call/id", evidence.call_id.clone()),
        ("/call/ended_by", text(&result["disconnected_by"])),
        ("/call/recording", text(&result["recording_url"])),
        ("/source", "ringfleet".to_owned()),
    ];
    for (pointer, expected) in expected {
        let found = body.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
        fits(found == expected, || format!("{pointer} is {found:?}, not {expected:?}"))?;
    }
    let seconds = body.pointer("/call/seconds").and_then(Value::as_str).and_then(|text| text.parse::<f64>().ok());
    fits(seconds.is_some_and(|seconds| seconds > 0.0), || "/call/seconds is no duration".to_owned())?;
    let promised: Option<Date> =
        body.pointer("/promise_date").and_then(Value::as_str).and_then(|text| text.parse().ok());
    fits(promised.is_some() && tomorrows(result).contains(&promised), || {
        format!("/promise_date is {}, not the day after the call", body["promise_date"])
    })
}

/// The day after the call; two of them, if it was over midnight.
fn tomorrows(result: &Value) -> [Option<Date>; 2] {
    ["answered_at", "ended_at"].map(|field| {
        let at: Timestamp = result[field].as_str()?.parse().ok()?;
        today(at).checked_add(1.day()).ok()
    })
}

#[cfg(test)]
#[path = "verdict_tests.rs"]
mod tests;
