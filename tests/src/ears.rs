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

/// Whether so many words of `said` are in `heard`, in their order, that a person would have understood it: a recogniser
/// takes one word for another that sounds the same ("loan", "lone"), and writes numbers as it likes.
pub fn got_across(said: &str, heard: &str) -> bool {
    let (said, heard) = (words(said), words(heard));
    let (said, heard): (Vec<_>, Vec<_>) = (said.split(' ').collect(), heard.split(' ').collect());
    5 * longest_common(&said, &heard) >= 3 * said.len()
}

/// How many words both have in the same order.
fn longest_common(a: &[&str], b: &[&str]) -> usize {
    let mut row = vec![0; b.len() + 1];
    for x in a {
        let mut diagonal = 0;
        for (j, y) in b.iter().enumerate() {
            let above = std::mem::replace(&mut diagonal, row[j + 1]);
            row[j + 1] = if x == y { above + 1 } else { row[j + 1].max(row[j]) };
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_gets_across() {
        let said = "Hello Rahul Sharma, this is about your loan LN123456.";
        for (heard, expect) in [
            ("hello rahul sharma this is about your lone ln 123 456 i will call again", true),
            ("hello rahul charmer this is about you loan", true),
            ("this is about your loan", false),
            ("loan your about is this sharma rahul hello", false),
            ("", false),
        ] {
            assert_eq!(got_across(said, heard), expect, "{heard}");
        }
        assert!(got_across("Have a nice day.", "and have a nice day") && !got_across("Have a nice day.", "day"));
    }
}
