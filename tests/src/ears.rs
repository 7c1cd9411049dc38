//! What a caller could understand of what they heard, by a recogniser that is not the product's code.
//! It must never be asked about what the product recorded: only about what arrived at the far end.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::audio::Speech;
use crate::process::{Process, command};
use crate::tools;

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/peers/python/transcribe.py");
const LIMIT: Duration = Duration::from_secs(120);

/// Whether the recogniser is there; if not, says so.
///
/// # Panics
/// As [`tools::can_run`].
pub fn can_understand(test: &str) -> bool {
    tools::has_python(test, "moonshine_voice")
}

/// What is said in each piece of audio, 8 kHz: lower-case words without marks.
///
/// # Errors
/// The recogniser fails.
pub async fn understand(heard: &[(&str, &[i16])]) -> Result<BTreeMap<String, String>> {
    let folder = tempfile::tempdir()?;
    let mut files = Vec::new();
    for (name, samples) in heard {
        let speech = Speech { samples: samples.to_vec() };
        files.push(speech.write_wav(&folder.path().join(format!("{name}.wav")))?);
    }
    let texts = transcribe(&files).await?;
    Ok(heard.iter().zip(texts).map(|((name, _), text)| ((*name).to_owned(), text)).collect())
}

/// What is said in each of these files.
///
/// # Errors
/// The recogniser fails.
pub async fn transcribe(files: &[PathBuf]) -> Result<Vec<String>> {
    let mut command = command(Path::new("python3"));
    command.arg(SCRIPT).args(files);
    let ran = Process::start("transcribe.py", command)?.run(LIMIT).await?;
    ensure!(ran.status.success(), "transcribe.py: {}\n{}", ran.stderr, ran.stdout);
    let line = ran.stdout.lines().last().context("transcribe.py printed nothing")?;
    let found: BTreeMap<PathBuf, String> = serde_json::from_str(line)?;
    let text = |file: &PathBuf| found.get(file).map(|text| words(text)).context("a file was passed over");
    files.iter().map(text).collect()
}

/// Lower-case words: recognisers write marks and hyphens where they like.
pub fn words(text: &str) -> String {
    let kept = text.to_lowercase().replace('-', "");
    let kept: String = kept.chars().map(|c| if c.is_alphanumeric() || c == '\'' { c } else { ' ' }).collect();
    kept.split_whitespace().collect::<Vec<_>>().join(" ")
}
