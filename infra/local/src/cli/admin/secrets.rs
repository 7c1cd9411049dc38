//! `ringfleet secrets`: a new data key or signing secret takes the place of the old one, step by step, in a file or in
//! Secrets Manager. The secrets say how far it is, so whoever was interrupted runs it again.
//! It must never go on to a step before every process has taken up the one before, nor drop a key that is still needed.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use clap::{Args, Subcommand};
use domain::ports::Clock;
use infra::clock::{OsEntropy, SystemClock};
use infra::seal::KNOWN_EVERYWHERE;
use infra::secrets::document::{Document, Entry};
use infra::secrets::place::Open;
use infra::secrets::signing;
use serde::Serialize;
use serde_json::{Value, json};

use super::super::api::read_secret;
use super::super::place::{Secrets, SecretsFlags};
use super::{Api, Asking, note, say};

const RESEAL: &str = "/api/v1/admin/secrets/reseal";
/// Passes over all rows until one finds nothing more; each new one is due to somebody who wrote meanwhile.
const PASSES: u32 = 10;

#[derive(Debug, Clone, Subcommand)]
pub(in crate::cli) enum SecretsCommand {
    /// Let a new data key take the place of the old one; interrupted, run it again
    Rotate(RotateArgs),
    /// Let a new signing secret of the fleet take the place of the old one; interrupted, run it again
    RotateSigning(SigningArgs),
    /// Put the key of the deployment's language model among the secrets, or take it out
    LlmKey(LlmKeyArgs),
}

#[derive(Debug, Clone, Args)]
pub(in crate::cli) struct RotateArgs {
    #[command(flatten)]
    secrets: SecretsFlags,
    /// Drop the old keys, once nothing is sealed with them any more
    #[arg(long)]
    drop_old: bool,
    #[command(flatten)]
    settling: Settling,
    #[command(flatten)]
    asking: Asking,
}

#[derive(Debug, Clone, Args)]
pub(in crate::cli) struct SigningArgs {
    #[command(flatten)]
    secrets: SecretsFlags,
    #[command(flatten)]
    settling: Settling,
    /// End all connect tokens that old secrets made, too: for a secret that somebody may have who should not
    #[arg(long)]
    end_tokens: bool,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Args)]
pub(in crate::cli) struct LlmKeyArgs {
    /// A file that holds the key; - is standard input
    #[arg(value_name = "FILE", required_unless_present = "remove", conflicts_with = "remove")]
    file: Option<PathBuf>,
    /// Take it out
    #[arg(long)]
    remove: bool,
    #[command(flatten)]
    secrets: SecretsFlags,
}

#[derive(Debug, Clone, Args)]
struct Settling {
    /// How long every process may take to notice a change; 0 if all were restarted since [default: 120]
    #[arg(long, value_name = "SECONDS")]
    settle: Option<u64>,
}

impl Settling {
    fn time(&self) -> Duration {
        self.settle.map_or(KNOWN_EVERYWHERE, Duration::from_secs)
    }
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

/// How far the change of the data key is.
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
    fn of(secrets: &Document) -> Result<Self> {
        let (entries, newest) = (secrets.data_keys(), secrets.newest().context("the secrets have no data key")?);
        Ok(match entries.first() {
            Some(first) if first.id != newest.id => Self::Added(newest),
            _ if entries.len() == 1 => Self::Single(newest),
            _ => Self::Sealing(newest, entries.into_iter().skip(1).map(|entry| entry.id).collect()),
        })
    }
}

/// Fails while secrets are sealed with a key that is to go.
pub(in crate::cli) async fn run(command: SecretsCommand) -> Result<ExitCode> {
    match command {
        SecretsCommand::Rotate(args) => {
            let rotation = Rotation { api: args.asking.api()?, secrets: args.secrets.find().await?, args: &args };
            let done = rotation.run().await?;
            say(&if args.asking.json { json!(done).to_string() } else { done.to_text() });
            Ok(if done.unopenable > 0 { ExitCode::FAILURE } else { ExitCode::SUCCESS })
        }
        SecretsCommand::RotateSigning(args) => rotate_signing(&args).await,
        SecretsCommand::LlmKey(args) => llm_key(&args).await,
    }
}

async fn rotate_signing(args: &SigningArgs) -> Result<ExitCode> {
    let place = args.secrets.find().await?.place;
    let tell = |progress: &str| {
        if !args.json {
            note(progress);
        }
    };
    let (settle, end_tokens) = (args.settling.time(), args.end_tokens);
    let done = signing::rotate(&place, &SystemClock, &OsEntropy, settle, end_tokens, &tell).await?;
    let answer = json!({"signing": done.signing, "added": done.added, "dropped": done.dropped});
    let begun = if done.added { "" } else { ": a change that was begun before is finished" };
    let text = format!("{} signs; {} dropped{begun}", done.signing, done.dropped.join(", "));
    say(&if args.json { answer.to_string() } else { text });
    Ok(ExitCode::SUCCESS)
}

async fn llm_key(args: &LlmKeyArgs) -> Result<ExitCode> {
    let key = args.file.as_deref().map(read_secret).transpose()?;
    let mut open = args.secrets.find().await?.place.open().await?;
    ensure!(!open.document.is_empty(), "the secrets were never filled: run `ringfleet deployment init` first");
    open.document.set_llm_api_key(key.as_ref());
    open.store(&OsEntropy).await?;
    say(if key.is_some() { "The key is used within two minutes." } else { "The key is forgotten within two minutes." });
    Ok(ExitCode::SUCCESS)
}

struct Rotation<'a> {
    api: Api,
    secrets: Secrets,
    args: &'a RotateArgs,
}

impl Rotation<'_> {
    async fn open(&self) -> Result<Open> {
        Ok(self.secrets.place.open().await?)
    }

    async fn run(&self) -> Result<Done> {
        let mut done = Done::default();
        loop {
            let mut open = self.open().await?;
            match Stage::of(&open.document)? {
                Stage::Single(only) if self.args.drop_old => {
                    bail!("{} is the only data key: without --drop-old, a new one takes its place", only.id);
                }
                Stage::Added(new) if self.args.drop_old => {
                    bail!("{} does not seal yet: run `ringfleet secrets rotate` without --drop-old first", new.id);
                }
                Stage::Single(_) => {
                    let id = open.document.add(&*self.secrets.wrap()?, &OsEntropy, SystemClock.now()).await?;
                    open.store(&OsEntropy).await?;
                    self.tell(&format!("{id} was added: it opens, and will seal once every process knows it"));
                    done.added = true;
                }
                Stage::Added(new) => {
                    // Others must not wait for us as long as we wait for the processes.
                    drop(open);
                    self.settle(&new).await;
                    let keys = self.keys().await?;
                    ensure!(keys.contains(&new.id), unknown(&new.id, "know"));
                    let mut open = self.open().await?;
                    open.document.promote(&new.id, SystemClock.now());
                    open.store(&OsEntropy).await?;
                    self.tell(&format!("{} seals from now on", new.id));
                    done.promoted = true;
                }
                Stage::Sealing(newest, old) => {
                    drop(open);
                    self.settle(&newest).await;
                    ensure!(self.keys().await?.first() == Some(&newest.id), unknown(&newest.id, "seal with"));
                    done.sealing = newest.id;
                    self.reseal(&mut done).await?;
                    done.unused = old.into_iter().filter(|key| !done.sealed_with.contains_key(key)).collect();
                    if self.args.drop_old {
                        self.drop_old(&mut done).await?;
                    }
                    return Ok(done);
                }
            }
        }
    }

    /// Waits until every process has read the secrets since the key is where it is.
    async fn settle(&self, key: &Entry) {
        let settle = self.args.settling.time();
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

    async fn drop_old(&self, done: &mut Done) -> Result<()> {
        let mut open = self.open().await?;
        let Stage::Sealing(newest, old) = Stage::of(&open.document)? else {
            bail!("somebody else has dropped the old keys")
        };
        ensure!(newest.id == done.sealing, "somebody else is putting {} in its place", newest.id);
        for key in &old {
            let needed = done.sealed_with.get(key).copied().unwrap_or_default();
            ensure!(
                needed == 0,
                "{needed} secrets are sealed with {key} and do not open: put those bots and trunks again"
            );
        }
        done.dropped = open.document.drop_others();
        open.store(&OsEntropy).await?;
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
    fn the_secrets_say_how_far_they_are() {
        let check = |keys: Value, expect: &str| {
            let text = json!({ "current": {"kid": "s1", "secret": "x"}, "data_keys": keys }).to_string();
            let stage = match Stage::of(&Document::read(&text, "here").unwrap()) {
                Ok(Stage::Single(key)) => format!("single {}", key.id),
                Ok(Stage::Added(key)) => format!("added {}", key.id),
                Ok(Stage::Sealing(key, old)) => format!("sealing {} {}", key.id, old.join(" ")),
                Err(error) => error.to_string(),
            };
            assert_eq!(stage, expect, "{keys}");
        };
        let key = |id: &str, since: Option<&str>| json!({"id": id, "wrapped": "local:x", "since": since});
        let (monday, tuesday) = (Some("2026-01-05T00:00:00Z"), Some("2026-01-06T00:00:00Z"));
        check(json!([]), "the secrets have no data key");
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
