//! Fetches the speech models if they are missing, then measures them on this machine:
//! `cargo run --release -p ringfleet-server --example speech_probe`.
//! It must never assert a time: it prints, and a person judges.

#![expect(clippy::print_stdout, reason = "it is there to print")]

use std::time::{Duration, Instant};

use server::provider::models::{Progress, fetch};
use server::provider::{ModelSet, Speech, SpeechConfig, SttEvent, TtsEvent, UtteranceId, VoiceSpec};

const TEXT: &str = "Hello Priya, this is Maya from the city bank. I am calling about your appointment on Monday morning. \
                    Would half past ten still suit you?";

fn main() -> anyhow::Result<()> {
    let dir = ModelSet::default_dir();
    let mut last = None;
    let models = fetch(&dir, |Progress { package, stage, bytes, total }| {
        if last != Some((package, stage)) {
            last = Some((package, stage));
            println!("{package}: {stage:?} {bytes} of {total:?}");
        }
    })?;
    let begun = Instant::now();
    let speech = Speech::load(&models, SpeechConfig::default());
    println!("loaded in {:.2} s\n{}", begun.elapsed().as_secs_f64(), speech.status());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    for voice in ["piper:joe", "piper:joe", "piper:joe?pitch=1.18", "flite:slt"] {
        runtime.block_on(probe(&speech, &voice.parse()?))?;
    }
    Ok(())
}

async fn probe(speech: &Speech, voice: &VoiceSpec) -> anyhow::Result<()> {
    println!("--- {voice:?}");
    let audio = synthesise(speech, voice).await?;
    recognise(speech, &audio).await
}

async fn synthesise(speech: &Speech, voice: &VoiceSpec) -> anyhow::Result<Vec<i16>> {
    let (begun, cpu) = (Instant::now(), cpu_time()?);
    let mut session = speech.tts().open(voice)?;
    session.say(UtteranceId(1), TEXT, true)?;
    let mut audio = Vec::new();
    while let Some(event) = session.events.recv().await {
        match event {
            TtsEvent::Audio { samples, text, .. } => {
                audio.extend_from_slice(&samples);
                println!("  {:4} ms: audio to {:.2} s: {text}", begun.elapsed().as_millis(), seconds(&audio));
            }
            TtsEvent::Done { .. } => break,
            TtsEvent::Failed { error, .. } => return Err(error.into()),
        }
    }
    let cpu = cpu_time()?.saturating_sub(cpu).as_secs_f64();
    println!("  synthesis: {:.3} CPU s for each second of audio", cpu / seconds(&audio));
    Ok(audio)
}

/// Plays the audio as fast as speech is, so that the times are those of a call.
async fn recognise(speech: &Speech, audio: &[i16]) -> anyhow::Result<()> {
    let cpu = cpu_time()?;
    let mut session = speech.stt().open(8_000, "en")?;
    let silence = vec![0; 8_000];
    let mut ticks = tokio::time::interval(Duration::from_millis(20));
    let begun = Instant::now();
    for frame in [audio, &silence].concat().chunks(160) {
        ticks.tick().await;
        session.push(frame);
        while let Ok(event) = session.events.try_recv() {
            report(begun, &event);
        }
    }
    session.endpoint();
    let mut events = session.events;
    drop(session.input);
    while let Some(event) = events.recv().await {
        report(begun, &event);
    }
    let cpu = cpu_time()?.saturating_sub(cpu).as_secs_f64();
    println!("  recognition: {:.3} CPU s for each second of audio, partials included", cpu / seconds(audio));
    Ok(())
}

fn report(begun: Instant, event: &SttEvent) {
    let now = begun.elapsed().as_millis();
    match event {
        SttEvent::Final { text, to_ms, confidence, .. } => {
            println!("  {now:5} ms: final of {to_ms} ({confidence:.2}): {text}")
        }
        SttEvent::Partial { text, at_ms } => println!("  {now:5} ms: partial of {at_ms}: {text}"),
        other => println!("  {now:5} ms: {other:?}"),
    }
}

fn seconds(audio: &[i16]) -> f64 {
    audio.len() as f64 / 8_000.0
}

/// CPU time of this process and its ended children, as the kernel counts it in hundredths of a second.
fn cpu_time() -> anyhow::Result<Duration> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    let after_name = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let ticks: u64 = after_name.split_whitespace().skip(11).take(4).filter_map(|field| field.parse::<u64>().ok()).sum();
    Ok(Duration::from_millis(ticks * 10))
}
