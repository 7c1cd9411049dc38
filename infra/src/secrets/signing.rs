//! Changing the fleet's signing secret while everything runs: the new one is added and verifies only, then it signs, then
//! the old one is dropped, and between two steps every process has read the secrets again.
//! It must never let a process sign with what another one does not verify yet, or verifies no longer.

use std::time::Duration;

use domain::ports::{Clock, Entropy, StoreError};
use jiff::Timestamp;

use super::WHAT;
use super::document::{Entry, Signing};
use super::place::Place;
use crate::errors::refused;

/// What became of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rotated {
    /// The secret that signs.
    pub signing: String,
    /// Whether it was added by this run; else a change that had begun before was finished.
    pub added: bool,
    /// Those that were dropped.
    pub dropped: Vec<String>,
}

/// Goes on with a change that was begun, or begins one, and finishes it. `settle` is how long any process may take to
/// notice a change and to have answered what was signed before; `with_tokens`: the connect tokens that the old one made end
/// with it, and hold on otherwise; `tell` hears what is done and waited for.
///
/// # Errors
/// The secrets can't be read or written, or somebody else changed them at the same moment. What was done stays valid:
/// run it again.
pub async fn rotate(
    place: &Place,
    clock: &dyn Clock,
    entropy: &dyn Entropy,
    settle: Duration,
    with_tokens: bool,
    tell: &(dyn Fn(&str) + Sync),
) -> Result<Rotated, StoreError> {
    let mut done = Rotated::default();
    let (mut waited, mut mine) = (None, None);
    loop {
        let mut open = place.open().await?;
        let now = clock.now();
        let signing = open.document.signing();
        if let Signing::Added { new } | Signing::InUse { new, .. } = &signing {
            // Ours from now on, whoever began it: when it is finished, there is nothing left to begin.
            mine = Some(new.id.clone());
            let left = left(new, settle, now, &mut waited);
            if !left.is_zero() {
                // Others must not wait for us as long as we wait for the processes.
                drop(open);
                tell(&format!("waiting {} s until every process has noticed", left.as_secs() + 1));
                tokio::time::sleep(left).await;
                continue;
            }
        }
        match signing {
            // Somebody else has dropped the old one meanwhile.
            Signing::Single(only) if mine.as_ref() == Some(&only.id) => {
                return Ok(Rotated { signing: only.id, ..done });
            }
            Signing::Single(_) if mine.is_some() => {
                return Err(refused(WHAT, "the new signing secret is gone: somebody put older secrets back"));
            }
            Signing::Single(_) => {
                let id = open.document.add_signing(entropy, now);
                open.store(entropy).await?;
                done.added = true;
                tell(&format!("{id} was added: it verifies, and will sign once every process knows it"));
            }
            Signing::Added { new } => {
                open.document.use_signing(now);
                open.store(entropy).await?;
                tell(&format!("{} signs from now on", new.id));
            }
            Signing::InUse { new, old } => {
                open.document.drop_signing(now, with_tokens);
                open.store(entropy).await?;
                return Ok(Rotated { signing: new.id, dropped: vec![old], ..done });
            }
        }
    }
}

/// How long is to be waited yet. What does not say since when it is where it is, is waited for once, in full.
fn left(new: &Entry, settle: Duration, now: Timestamp, waited: &mut Option<String>) -> Duration {
    let Some(since) = new.since else {
        let known = waited.as_ref() == Some(&new.id);
        *waited = Some(new.id.clone());
        return if known { Duration::ZERO } else { settle };
    };
    settle.saturating_sub(Duration::try_from(now.duration_since(since)).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;
    use std::sync::Arc;

    use domain::ports::Secrets;
    use domain::signing::{MAX_SKEW_SECONDS, SignatureError, sign, verify};
    use tokio::time::{Instant, sleep};

    use super::*;
    use crate::clock::OsEntropy;
    use crate::seal::KNOWN_EVERYWHERE;
    use crate::secrets::{DeploymentSecrets, create_if_absent};

    /// Tells the time of the paused runtime.
    #[derive(Clone)]
    struct Paused(Instant);

    impl Clock for Paused {
        fn now(&self) -> Timestamp {
            Timestamp::from_second(1_800_000_000).unwrap() + self.0.elapsed()
        }
    }

    /// Processes that sign, and verify each other's requests: fresh ones, and those that were long under way.
    struct Fleet {
        clock: Paused,
        processes: Vec<DeploymentSecrets>,
        under_way: Vec<(i64, String)>,
        refused: Vec<SignatureError>,
    }

    impl Fleet {
        async fn second(&mut self) {
            let now = self.clock.now();
            // Each has read the secrets at another moment of the minute.
            let running =
                self.processes.iter().enumerate().filter(|(i, _)| self.clock.0.elapsed().as_secs() >= 11 * *i as u64);
            let mut secrets = Vec::new();
            for (_, process) in running {
                secrets.push(process.fleet().await.unwrap());
            }
            for known in &secrets {
                self.under_way.push((now.as_second(), sign(known, "POST", "/calls", now, b"x")));
            }
            self.under_way.retain(|(at, _)| now.as_second() - at <= MAX_SKEW_SECONDS);
            for (at, header) in &self.under_way {
                if [0, 1, MAX_SKEW_SECONDS].contains(&(now.as_second() - at)) {
                    let judged = secrets.iter().map(|known| verify(known, header, "POST", "/calls", b"x", now));
                    self.refused.extend(judged.filter_map(Result::err));
                }
            }
            sleep(Duration::from_secs(1)).await;
        }
    }

    /// Changes the secret under a fleet that works; what was refused meanwhile, and what it says in the end.
    async fn under_load(path: &Path, settle: Duration) -> (Vec<SignatureError>, Rotated) {
        create_if_absent(path, &OsEntropy).unwrap();
        let clock = Paused(Instant::now());
        let processes = (0..6).map(|_| DeploymentSecrets::file(path)).collect();
        let mut fleet = Fleet { clock: clock.clone(), processes, under_way: Vec::new(), refused: Vec::new() };
        for _ in 0..90 {
            fleet.second().await;
        }
        let place = Place::File(path.to_owned());
        let rotation =
            tokio::spawn(async move { rotate(&place, &clock, &OsEntropy, settle, false, &|_| {}).await.unwrap() });
        let mut after = 0;
        while after < 120 {
            fleet.second().await;
            after += u32::from(rotation.is_finished());
        }
        (fleet.refused, rotation.await.unwrap())
    }

    #[tokio::test(start_paused = true)]
    async fn while_the_signing_secret_changes_no_request_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("fleet.json");
        let (refused, done) = under_load(&path, KNOWN_EVERYWHERE).await;
        assert_eq!(refused, []);
        assert_eq!(done, Rotated { signing: "s2".into(), added: true, dropped: vec!["s1".into()] });
        let fleet = DeploymentSecrets::file(&path).fleet().await.unwrap();
        assert_eq!((fleet.current.kid.as_str(), fleet.previous.is_none()), ("s2", true));
        assert_eq!(fleet.retired.len(), 1, "connect tokens that s1 made still hold");

        // Who does not wait long enough is found out.
        let (refused, _) = under_load(&folder.path().join("hasty.json"), Duration::from_secs(20)).await;
        assert!(refused.contains(&SignatureError::UnknownKid));
    }

    #[tokio::test(start_paused = true)]
    async fn wherever_it_stopped_it_goes_on() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("fleet.json");
        let place = Place::File(path.clone());
        let clock = Paused(Instant::now());
        let settle = Duration::from_secs(100);
        for stopped_after in [0, 1, 50, 99, 150, 199, 250] {
            let _ = fs::remove_file(&path);
            create_if_absent(&path, &OsEntropy).unwrap();
            let first = rotate(&place, &clock, &OsEntropy, settle, false, &|_| {});
            let _ = tokio::time::timeout(Duration::from_secs(stopped_after), first).await;
            let began = place.open().await.unwrap().document.signing()
                != Signing::Single(Entry { id: "s1".into(), since: None });
            let again = rotate(&place, &clock, &OsEntropy, settle, false, &|_| {}).await.unwrap();
            let finished = stopped_after > 200;
            assert_eq!(again.added, !began || finished, "{stopped_after}");
            assert_eq!(again.signing, if finished { "s3" } else { "s2" }, "{stopped_after}");
        }
        // Two at once: one change.
        fs::remove_file(&path).unwrap();
        create_if_absent(&path, &OsEntropy).unwrap();
        let place = Arc::new(place);
        let both = [0, 1].map(|_| {
            let (place, clock) = (place.clone(), clock.clone());
            tokio::spawn(async move { rotate(&place, &clock, &OsEntropy, settle, false, &|_| {}).await.unwrap() })
        });
        for one in both {
            assert_eq!(one.await.unwrap().signing, "s2");
        }
        // Somebody puts the secrets of before back.
        let before = fs::read(&path).unwrap();
        let undone = tokio::spawn(async move { rotate(&place, &clock, &OsEntropy, settle, false, &|_| {}).await });
        sleep(Duration::from_secs(50)).await;
        fs::write(&path, before).unwrap();
        assert!(undone.await.unwrap().unwrap_err().to_string().contains("put older secrets back"));
    }
}
