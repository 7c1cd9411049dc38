//! What becomes of the server when the machine under it is to go: it drains, asks for time while calls live, and says
//! when it is done. It must never end a call by itself: it only says that it is time, and `main.rs` drains the server.

mod course;

use std::sync::Arc;
use std::time::Instant;

use domain::ports::{Machine, StoreError};
use tokio::sync::watch;
use tokio::task::JoinHandle;

pub use course::Rhythm;

use course::{Course, Effect};

/// How far the end of the machine has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Sign {
    None,
    Drain,
    Force,
}

/// Watches over the machine, in a task of its own.
#[derive(Debug)]
pub struct Lifecycle {
    signs: watch::Receiver<Sign>,
    drained: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Lifecycle {
    /// Begins to watch.
    pub fn start(machine: Arc<dyn Machine>, rhythm: Rhythm) -> Self {
        let (tell, signs) = watch::channel(Sign::None);
        let (drained, done) = watch::channel(false);
        let task = tokio::spawn(watch_over(machine, rhythm, tell, done));
        Self { signs, drained, task }
    }

    /// Returns when the machine is to go: the server must drain.
    pub async fn goes(&self) {
        self.reaches(Sign::Drain).await;
    }

    /// Returns when the calls that are left must be ended, since the machine is about to vanish.
    pub async fn vanishes(&self) {
        self.reaches(Sign::Force).await;
    }

    async fn reaches(&self, sign: Sign) {
        if self.signs.clone().wait_for(|seen| *seen >= sign).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// The server is drained and its calls are told of. Returns when whoever takes the machine knows it, or waits no longer;
    /// at once if the machine stays.
    pub async fn drained(&mut self) {
        self.drained.send_replace(true);
        if let Err(error) = (&mut self.task).await {
            tracing::error!(panicked = error.is_panic(), "nobody was told that this machine may go");
        }
    }
}

async fn watch_over(
    machine: Arc<dyn Machine>,
    rhythm: Rhythm,
    signs: watch::Sender<Sign>,
    mut drained: watch::Receiver<bool>,
) {
    let mut course = Course::new(rhythm, now());
    let mut is_drained = false;
    let mut seen = Sight::default();
    loop {
        while let Some(effect) = course.poll_effect() {
            match effect {
                Effect::Drain => {
                    tracing::info!("the machine is to go: this server drains");
                    signs.send_replace(Sign::Drain);
                }
                Effect::Force => {
                    tracing::warn!("the machine is about to vanish: the calls that are left end now");
                    signs.send_replace(Sign::Force);
                }
                Effect::Look => {
                    let fate = seen.heard("fate", machine.fate().await);
                    course.handle_fate(now(), fate);
                }
                Effect::Hold => {
                    let held = seen.heard("hold", machine.hold().await);
                    count("ringfleet_lifecycle_holds_total", held);
                    course.handle_held(now(), held);
                }
                Effect::Release => {
                    let released = seen.heard("release", machine.release().await);
                    count("ringfleet_lifecycle_releases_total", released);
                    course.handle_released(now(), released);
                }
            }
        }
        if course.is_over() {
            return;
        }
        let wake = course.poll_timeout();
        tokio::select! {
            () = sleep_until(wake) => course.handle_timeout(now()),
            // A handle that was dropped asks for nothing any more.
            asked = drained.wait_for(|drained| *drained), if !is_drained => {
                if asked.is_err() {
                    return;
                }
                is_drained = true;
                course.handle_drained(now());
            }
        }
    }
}

/// Whether the machine's keeper answers: told once when that changes, and not with every look.
#[derive(Debug, Default)]
struct Sight {
    lost: bool,
}

impl Sight {
    fn heard<T>(&mut self, doing: &'static str, answer: Result<T, StoreError>) -> Option<T> {
        match answer {
            Ok(answer) => {
                if std::mem::take(&mut self.lost) {
                    tracing::info!(doing, "whoever runs this machine answers again");
                }
                Some(answer)
            }
            Err(error) => {
                metrics::counter!("ringfleet_lifecycle_failures_total", "doing" => doing).increment(1);
                if !std::mem::replace(&mut self.lost, true) {
                    tracing::warn!(doing, %error, "whoever runs this machine does not answer");
                }
                None
            }
        }
    }
}

fn count(name: &'static str, answer: Option<bool>) {
    let outcome = match answer {
        Some(true) => "taken",
        Some(false) => "nobody_waits",
        None => "no_answer",
    };
    metrics::counter!(name, "outcome" => outcome).increment(1);
}

fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

async fn sleep_until(wake: Option<Instant>) {
    match wake {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests;
