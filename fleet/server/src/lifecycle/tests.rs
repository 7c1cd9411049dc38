//! The watch over a machine, on paused time.

use std::sync::Mutex;
use std::time::Duration;

use async_trait::async_trait;
use domain::machine::Fate;

use super::*;

const RHYTHM: Rhythm = Rhythm { look: Duration::from_secs(2), hold: Duration::from_secs(60) };

/// A keeper that says the same fate until told otherwise, and notes what it was asked for.
struct Keeper {
    fate: Mutex<Option<Fate>>,
    /// Answers to `release`, the last one for good.
    waits: Mutex<Vec<bool>>,
    asked: Mutex<Vec<&'static str>>,
}

impl Keeper {
    fn new(fate: Option<Fate>, waits: &[bool]) -> Arc<Self> {
        Arc::new(Self { fate: Mutex::new(fate), waits: Mutex::new(waits.to_vec()), asked: Mutex::default() })
    }

    fn count(&self, what: &str) -> usize {
        self.asked.lock().unwrap().iter().filter(|asked| **asked == what).count()
    }
}

fn silent() -> StoreError {
    StoreError::Unavailable { what: "the keeper", cause: "silent".to_owned() }
}

#[async_trait]
impl Machine for Keeper {
    async fn fate(&self) -> Result<Fate, StoreError> {
        self.asked.lock().unwrap().push("fate");
        self.fate.lock().unwrap().ok_or_else(silent)
    }

    async fn hold(&self) -> Result<bool, StoreError> {
        self.asked.lock().unwrap().push("hold");
        Ok(true)
    }

    async fn release(&self) -> Result<bool, StoreError> {
        self.asked.lock().unwrap().push("release");
        let mut waits = self.waits.lock().unwrap();
        Ok(if waits.len() > 1 { waits.remove(0) } else { waits[0] })
    }
}

#[tokio::test(start_paused = true)]
async fn a_machine_that_goes_is_held_until_it_is_drained() {
    let keeper = Keeper::new(Some(Fate::Stays), &[false, true]);
    let mut lifecycle = Lifecycle::start(keeper.clone(), RHYTHM);
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!((keeper.count("hold"), keeper.count("release")), (0, 0));
    assert!((29..=32).contains(&keeper.count("fate")), "{}", keeper.count("fate"));

    *keeper.fate.lock().unwrap() = Some(Fate::Goes { within: None });
    lifecycle.goes().await;
    tokio::time::sleep(Duration::from_secs(5 * 60 + 1)).await;
    assert_eq!((keeper.count("hold"), keeper.count("release")), (6, 0));
    lifecycle.drained().await;
    assert_eq!((keeper.count("hold"), keeper.count("release")), (6, 2));
}

#[tokio::test(start_paused = true)]
async fn a_process_that_ends_by_itself_lets_nobody_take_the_machine() {
    let keeper = Keeper::new(Some(Fate::Stays), &[true]);
    let mut lifecycle = Lifecycle::start(keeper.clone(), RHYTHM);
    tokio::time::sleep(Duration::from_secs(1)).await;
    lifecycle.drained().await;
    assert_eq!(keeper.count("release"), 0);
}

#[tokio::test(start_paused = true)]
async fn a_keeper_that_is_silent_ends_nothing() {
    let keeper = Keeper::new(None, &[true]);
    let lifecycle = Lifecycle::start(keeper.clone(), RHYTHM);
    let waited = tokio::time::timeout(Duration::from_secs(3600), lifecycle.goes()).await;
    assert!(waited.is_err());
    assert!(keeper.count("fate") > 1000);
}

#[tokio::test(start_paused = true)]
async fn what_vanishes_says_so_in_time() {
    let keeper = Keeper::new(Some(Fate::Goes { within: Some(Duration::from_secs(120)) }), &[true]);
    let lifecycle = Lifecycle::start(keeper, RHYTHM);
    lifecycle.goes().await;
    let waited = tokio::time::Instant::now();
    lifecycle.vanishes().await;
    assert_eq!(waited.elapsed().as_secs(), 80);
}
