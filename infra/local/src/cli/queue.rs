//! `ringfleet queue`: the dead letters of a deployment, and replaying them. Messages hold ids only, so they can be shown.
//! It must never delete a message that was not sent on.

use std::process::ExitCode;

use anyhow::Result;
use clap::{Args, Subcommand, ValueEnum};
use domain::ports::QueueName;
use infra::schema::{Names, queue};
use infra::sqs::{DeadLetter, DeadLetters, SqsQueues};
use serde::Serialize;
use serde_json::{Value, json};

use super::place::StackFlags;
use super::say;

#[derive(Debug, Clone, Subcommand)]
pub(super) enum QueueCommand {
    /// What was given up: dead letters of each queue, oldest first
    List(ListArgs),
    /// Send dead letters on to their queues; interrupted, run it again
    Replay(ReplayArgs),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Which {
    CallEnded,
    Deliveries,
}

#[derive(Debug, Clone, Args)]
struct Whose {
    #[command(flatten)]
    stack: StackFlags,
    /// Before the name of each queue, where there is no stack [default: ringfleet-]
    #[arg(long, value_name = "PREFIX", env = "RINGFLEET_NAMES_PREFIX")]
    prefix: Option<String>,
    /// One queue only
    #[arg(long, value_name = "QUEUE")]
    queue: Option<Which>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Args)]
pub(super) struct ListArgs {
    #[command(flatten)]
    whose: Whose,
    /// How many of each queue are shown
    #[arg(long, value_name = "N", default_value_t = 50)]
    limit: usize,
}

#[derive(Debug, Clone, Args)]
pub(super) struct ReplayArgs {
    #[command(flatten)]
    whose: Whose,
}

/// What one queue has given up.
#[derive(Debug, Clone, Serialize)]
struct Given {
    queue: &'static str,
    dead_letters: u64,
    letters: Vec<Value>,
}

#[derive(Debug, Clone, Serialize)]
struct Replayed {
    queue: &'static str,
    sent: u64,
    /// No jobs: they stay where they are.
    left: u64,
}

impl Whose {
    async fn dead_letters(&self) -> Vec<DeadLetters> {
        let names = Names::new(&self.stack.names(self.prefix.as_deref()));
        let queues = SqsQueues::new(self.stack.clients().await.sqs, &names);
        let wanted = match self.queue {
            Some(Which::CallEnded) => vec![QueueName::CallEnded],
            Some(Which::Deliveries) => vec![QueueName::Deliveries],
            None => vec![QueueName::CallEnded, QueueName::Deliveries],
        };
        wanted.into_iter().map(|name| queues.dead_letters(name)).collect()
    }
}

/// Fails where messages are left that are no jobs.
pub(super) async fn run(command: QueueCommand) -> Result<ExitCode> {
    match command {
        QueueCommand::List(args) => {
            let mut given = Vec::new();
            for dead in args.whose.dead_letters().await {
                let mut letters = dead.look(args.limit).await?;
                letters.sort_by_key(|letter| letter.sent_at);
                let count = dead.count().await?.max(letters.len() as u64);
                let letters = letters.iter().map(shown).collect();
                given.push(Given { queue: queue(dead.queue()).name, dead_letters: count, letters });
            }
            say(&if args.whose.json { json!({ "queues": given }).to_string() } else { listed(&given) });
            Ok(ExitCode::SUCCESS)
        }
        QueueCommand::Replay(args) => {
            let mut all = Vec::new();
            for dead in args.whose.dead_letters().await {
                let done = dead.replay().await?;
                all.push(Replayed { queue: queue(dead.queue()).name, sent: done.sent, left: done.left });
            }
            say(&if args.whose.json { json!({ "queues": all }).to_string() } else { replayed(&all) });
            Ok(if all.iter().any(|one| one.left > 0) { ExitCode::FAILURE } else { ExitCode::SUCCESS })
        }
    }
}

fn shown(letter: &DeadLetter) -> Value {
    json!({
        "message_id": letter.message_id,
        "sent_at": letter.sent_at,
        "call_id": letter.job.as_ref().map(|job| job.call_id),
        "channel": letter.job.as_ref().and_then(|job| job.channel),
    })
}

fn listed(given: &[Given]) -> String {
    let mut lines = Vec::new();
    for one in given {
        lines.push(format!("{}: {} dead letters", one.queue, one.dead_letters));
        for letter in &one.letters {
            let text = |name: &str| letter[name].as_str().unwrap_or("-").to_owned();
            let what =
                if letter["call_id"].is_null() { "no job".to_owned() } else { format!("call {}", text("call_id")) };
            lines.push(format!("  {}  {what}  {}", text("sent_at"), text("channel")));
        }
    }
    if given.iter().any(|one| one.dead_letters > 0) {
        lines.push("Find out why they failed (`ringfleet calls show CALL`), then: ringfleet queue replay".to_owned());
    }
    lines.join("\n")
}

fn replayed(all: &[Replayed]) -> String {
    let line = |one: &Replayed| {
        let left = match one.left {
            0 => String::new(),
            left => format!("; {left} are no jobs of Ringfleet and stay: look at them in SQS, and delete them there"),
        };
        format!("{}: {} sent on{left}", one.queue, one.sent)
    };
    all.iter().map(line).collect::<Vec<_>>().join("\n")
}
