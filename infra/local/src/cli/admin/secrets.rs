//! `ringfleet secrets rotate`: a new data key takes the place of the old one, step by step. The file says how far it is,
//! so whoever was interrupted runs it again.
//! It must never go on to a step before every process has taken up the one before, nor drop a key that is still needed.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use clap::{Args, Subcommand};
use domain::ports::Clock;
use infra::clock::{OsEntropy, SystemClock};
use infra::seal::{KNOWN_EVERYWHERE, LocalKeyFile};
use infra::secrets::data_keys::{DataKeysFile, Entry};
use serde::Serialize;
use serde_json::{Value, json};

use super::{Api, Asking, note, say};

const RESEAL: &str = "/api/v1/admin/secrets/reseal";
/// Passes over all rows until one finds nothing more; each new one is due to somebody who wrote meanwhile.
const PASSES: u32 = 10;

#[derive(Debug, Clone, Subcommand)]
pub(in crate::cli) enum SecretsCommand {
    /// Let a new data key take the place of the old one; interrupted, run it again
    Rotate(RotateArgs),
}

#[derive(Debug, Clone, Args)]
pub(in crate::cli) struct RotateArgs {
    /// The file of the deployment's secrets; `ringfleet up` makes secrets/fleet.json below its --data
    #[arg(long, value_name = "FILE", env = "RINGFLEET_FLEET_SECRET_FILE")]
    fleet_secret_file: PathBuf,
    /// The key that wraps the data keys [default: beside the secrets' file, with the ending .key]
    #[arg(long, value_name = "FILE", env = "RINGFLEET_WRAP_KEY_FILE")]
    wrap_key_file: Option<PathBuf>,
    /// Drop the old keys, once nothing is sealed with them any more
    #[arg(long)]
    drop_old: bool,
    /// How long every process may take to notice a change of the file; 0 if all were restarted since [default: 120]
    #[arg(long, value_name = "SECONDS")]
    settle: Option<u64>,
    #[command(flatten)]
    asking: Asking,
}

/// What was done, and how things stand.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
struct Done {
    sealing: String,
    added: bool,
    promoted: bool,
    looked_at: u64,
    resealed: u64,
    unopenable: u64,
    /// How many secrets each key seals.
    sealed_with: BTreeMap<String, u64>,
    /// Keys that nothing is sealed with any more.
    unused: Vec<String>,
    dropped: Vec<String>,
}

/// How far the file is.
#[derive(Debug, PartialEq, Eq)]
enum Stage {
    /// One key, which seals.
    Single(Entry),
    /// A new one opens, and does not seal yet.
    Added(Entry),
    /// The new one seals; the others still open.
    Sealing(Entry, Vec<String>),
}

impl Stage {
    fn of(file: &DataKeysFile) -> Result<Self> {
        let (entries, newest) = (file.entries(), file.newest().context("the file has no data key")?);
        Ok(match entries.first() {
            Some(first) if first.id != newest.id => Self::Added(newest),
            _ if entries.len() == 1 => Self::Single(newest),
            _ => Self::Sealing(newest, entries.into_iter().skip(1).map(|entry| entry.id).collect()),
        })
    }
}

/// Fails while secrets are sealed with a key that is to go.
pub(in crate::cli) async fn run(command: SecretsCommand) -> Result<ExitCode> {
    let SecretsCommand::Rotate(args) = command;
    let rotation = Rotation { api: args.asking.api()?, args: &args };
    let done = rotation.run().await?;
    say(&if args.asking.json { json!(done).to_string() } else { done.to_text() });
    Ok(if done.unopenable > 0 { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

struct Rotation<'a> {
    api: Api,
    args: &'a RotateArgs,
}

impl Rotation<'_> {
    fn file(&self) -> Result<DataKeysFile> {
        Ok(DataKeysFile::open(&self.args.fleet_secret_file)?)
    }

    async fn run(&self) -> Result<Done> {
        let mut done = Done::default();
        loop {
            let mut file = self.file()?;
            match Stage::of(&file)? {
                Stage::Single(only) if self.args.drop_old => {
                    bail!("{} is the only data key: without --drop-old, a new one takes its place", only.id);
                }
                Stage::Added(new) if self.args.drop_old => {
                    bail!("{} does not seal yet: run `ringfleet secrets rotate` without --drop-old first", new.id);
                }
                Stage::Single(_) => {
                    let wrap = self.args.wrap_key_file.clone().map(LocalKeyFile::new);
                    let wrap = wrap.unwrap_or_else(|| LocalKeyFile::beside(&self.args.fleet_secret_file));
                    let id = file.add(&wrap, &OsEntropy, SystemClock.now())?;
                    self.tell(&format!("{id} was added: it opens, and will seal once every process knows it"));
                    done.added = true;
                }
                Stage::Added(new) => {
                    // Others must not wait for us as long as we wait for the processes.
                    drop(file);
                    self.settle(&new).await;
                    let keys = self.keys().await?;
                    ensure!(keys.contains(&new.id), unknown(&new.id, "know"));
                    self.file()?.promote(&new.id, &OsEntropy, SystemClock.now())?;
                    self.tell(&format!("{} seals from now on", new.id));
                    done.promoted = true;
                }
                Stage::Sealing(newest, old) => {
                    drop(file);
                    self.settle(&newest).await;
                    ensure!(self.keys().await?.first() == Some(&newest.id), unknown(&newest.id, "seal with"));
                    done.sealing = newest.id;
                    self.reseal(&mut done).await?;
                    done.unused = old.into_iter().filter(|key| !done.sealed_with.contains_key(key)).collect();
                    if self.args.drop_old {
                        self.drop_old(&mut done)?;
                    }
                    return Ok(done);
                }
            }
        }
    }

    /// Waits until every process has read the file since the key is where it is.
    async fn settle(&self, key: &Entry) {
        let settle = self.args.settle.map_or(KNOWN_EVERYWHERE, Duration::from_secs);
        let Some(since) = key.since else { return };
        let waited = Duration::try_from(SystemClock.now().duration_since(since)).unwrap_or_default();
        let left = settle.saturating_sub(waited);
        if !left.is_zero() {
            self.tell(&format!("waiting {} s until every process has noticed", left.as_secs() + 1));
            tokio::time::sleep(left).await;
        }
    }

    /// The keys that the platform knows, the one that seals first.
    async fn keys(&self) -> Result<Vec<String>> {
        // A page of nothing: only the keys are of interest.
        let answer = self.api.post(RESEAL, &json!({"dry_run": true, "cursor": "trunks"})).await?.body;
        let keys = answer["keys"].as_array().context("this platform can't reseal: it does not name its data keys")?;
        Ok(keys.iter().filter_map(Value::as_str).map(str::to_owned).collect())
    }

    async fn reseal(&self, done: &mut Done) -> Result<()> {
        for _ in 0..PASSES {
            let (mut looked_at, mut resealed, mut changed) = (0, 0, 0);
            (done.unopenable, done.sealed_with) = (0, BTreeMap::new());
            let mut cursor = Value::Null;
            loop {
                let answer = self.api.post(RESEAL, &json!({"cursor": cursor})).await?.body;
                let count = |name: &str| answer[name].as_u64().unwrap_or_default();
                looked_at += count("looked_at");
                resealed += count("resealed");
                changed += count("changed");
                done.unopenable += count("unopenable");
                for (key, count) in answer["sealed_with"].as_object().into_iter().flatten() {
                    *done.sealed_with.entry(key.clone()).or_default() += count.as_u64().unwrap_or_default();
                }
                if answer["done"].as_bool().context("the platform does not say whether it is done")? {
                    break;
                }
                cursor = answer["cursor"].clone();
                self.tell(&format!("{looked_at} bots, versions and trunks looked at"));
            }
            done.looked_at = looked_at;
            done.resealed += resealed;
            // What is written during a pass may be missed by it: only one that finds nothing proves anything.
            if resealed == 0 && changed == 0 {
                return Ok(());
            }
        }
        bail!("bots and trunks are being replaced all the time: run it again")
    }

    fn drop_old(&self, done: &mut Done) -> Result<()> {
        let mut file = self.file()?;
        let Stage::Sealing(newest, old) = Stage::of(&file)? else { bail!("somebody else has dropped the old keys") };
        ensure!(newest.id == done.sealing, "somebody else is putting {} in its place", newest.id);
        for key in &old {
            let needed = done.sealed_with.get(key).copied().unwrap_or_default();
            ensure!(
                needed == 0,
                "{needed} secrets are sealed with {key} and do not open: put those bots and trunks again"
            );
        }
        done.dropped = file.drop_others(&OsEntropy)?;
        done.unused.clear();
        Ok(())
    }

    fn tell(&self, progress: &str) {
        if !self.args.asking.json {
            note(progress);
        }
    }
}

fn unknown(key: &str, what: &str) -> String {
    format!(
        "the platform does not {what} {key} yet: run this again in two minutes, or once all its processes were restarted"
    )
}

impl Done {
    fn to_text(&self) -> String {
        let mut text = format!("{} seals; {} secrets sealed anew", self.sealing, self.resealed);
        if self.unopenable > 0 {
            text += &format!("; {} do not open with any key, and stay as they are", self.unopenable);
        }
        if !self.unused.is_empty() {
            let unused = self.unused.join(", ");
            text += &format!(
                "; nothing is sealed with {unused} any more: --drop-old drops it (backups of the tables still need it)"
            );
        }
        if !self.dropped.is_empty() {
            text += &format!("; {} dropped", self.dropped.join(", "));
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_says_how_far_it_is() {
        let check = |keys: Value, expect: &str| {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("fleet.json");
            std::fs::write(&path, json!({ "data_keys": keys }).to_string()).unwrap();
            let stage = DataKeysFile::open(&path).map_err(anyhow::Error::from).and_then(|file| Stage::of(&file));
            let stage = match stage {
                Ok(Stage::Single(key)) => format!("single {}", key.id),
                Ok(Stage::Added(key)) => format!("added {}", key.id),
                Ok(Stage::Sealing(key, old)) => format!("sealing {} {}", key.id, old.join(" ")),
                Err(error) => error.to_string(),
            };
            assert_eq!(stage, expect, "{keys}");
        };
        let key = |id: &str, since: Option<&str>| json!({"id": id, "wrapped": "local:x", "since": since});
        let (monday, tuesday) = (Some("2026-01-05T00:00:00Z"), Some("2026-01-06T00:00:00Z"));
        check(json!([]), "the file has no data key");
        check(json!([key("k1", None)]), "single k1");
        check(json!([key("k2", monday)]), "single k2");
        check(json!([key("k1", None), key("k2", monday)]), "added k2");
        check(json!([key("k2", monday), key("k1", None)]), "sealing k2 k1");
        check(json!([key("k2", monday), key("k3", tuesday)]), "added k3");
        check(json!([key("k3", tuesday), key("k2", monday), key("k1", None)]), "sealing k3 k2 k1");
        // Two that were written by hand.
        check(json!([key("new", None), key("old", None)]), "sealing new old");
    }

    #[test]
    fn what_was_done_is_one_line() {
        let done = Done { sealing: "k2".into(), resealed: 3, unused: vec!["k1".into()], ..Done::default() };
        assert_eq!(
            done.to_text(),
            "k2 seals; 3 secrets sealed anew; nothing is sealed with k1 any more: --drop-old drops it (backups of the tables still need it)"
        );
        let dropped = Done { unused: vec![], unopenable: 1, dropped: vec!["k1".into()], resealed: 0, ..done };
        assert_eq!(
            dropped.to_text(),
            "k2 seals; 0 secrets sealed anew; 1 do not open with any key, and stay as they are; k1 dropped"
        );
    }
}
