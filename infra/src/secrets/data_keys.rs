//! Changing the data keys in the secrets' file, one step at a time: a new one is added behind the others and only opens,
//! then it is put in front and seals, then the others are dropped. Between two steps every process must have taken up the
//! last one, so each key says since when it stands where it stands.
//! It must never leave a file that is half written, nor drop the key that seals.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use domain::ports::{Entropy, StoreError};
use domain::secret::{ExposeSecret, SecretString};
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::write_new;
use crate::errors::{corrupt, refused};
use crate::seal::{DataKey, LocalKeyFile};

const WHAT: &str = "the deployment's secrets";
/// Since when a key stands in its place.
const SINCE: &str = "since";

/// One data key, without the key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    pub id: String,
    /// Since when it is where it is; those made with the file don't say.
    pub since: Option<Timestamp>,
}

/// The file, held against others who would change it until this is dropped.
#[derive(Debug)]
pub struct DataKeysFile {
    path: PathBuf,
    document: Map<String, Value>,
    _lock: File,
}

impl DataKeysFile {
    /// Opens the file; whoever else changes it is waited for.
    ///
    /// # Errors
    /// It can't be read or locked, or holds something else.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let at = |cause: io::Error| refused(WHAT, format!("{}: {cause}", path.display()));
        // Not the file itself: that is replaced.
        let lock = OpenOptions::new().create(true).truncate(false).write(true).open(path.with_extension("lock"));
        let lock = lock.map_err(at)?;
        lock.lock().map_err(at)?;
        let text = SecretString::from(fs::read_to_string(path).map_err(at)?);
        // serde's own message would quote what it found.
        let wrong = |what: &str| corrupt(WHAT, format!("{} {what}", path.display()));
        match serde_json::from_str(text.expose_secret()) {
            Ok(Value::Object(document)) if document.get("data_keys").is_some_and(Value::is_array) => {
                Ok(Self { path: path.to_owned(), document, _lock: lock })
            }
            _ => Err(wrong("has no data_keys: it is not the file that `ringfleet up` makes")),
        }
    }

    /// The keys in their order; the first one seals.
    pub fn entries(&self) -> Vec<Entry> {
        let text = |key: &Value, name: &str| key[name].as_str().map(str::to_owned);
        let entry = |key: &Value| Entry {
            id: text(key, "id").unwrap_or_default(),
            since: text(key, SINCE).and_then(|since| since.parse().ok()),
        };
        self.keys().iter().map(entry).collect()
    }

    /// The key that is to seal, in the end: the one that came last.
    pub fn newest(&self) -> Option<Entry> {
        let entries = self.entries();
        // Of keys that don't say since when, the first one came last: that is how people add one by hand.
        entries.into_iter().rev().max_by_key(|entry| entry.since)
    }

    /// Adds a fresh key behind the others; answers its id.
    ///
    /// # Errors
    /// It can't be wrapped or written.
    pub fn add(&mut self, wrap: &LocalKeyFile, entropy: &dyn Entropy, now: Timestamp) -> Result<String, StoreError> {
        let mut bytes = Box::new([0; 32]);
        entropy.fill(&mut *bytes);
        let id = self.free_id();
        let key_file = fs::read_to_string(wrap.path()).map(SecretString::from);
        let key_file = key_file.map_err(|e| refused(WHAT, format!("the key file {}: {e}", wrap.path().display())))?;
        let wrapped = LocalKeyFile::wrap_with(key_file.expose_secret(), &id, &DataKey::new(bytes));
        let wrapped = wrapped.ok_or_else(|| {
            corrupt(WHAT, format!("the key file {} does not hold base64 of 32 bytes", wrap.path().display()))
        })?;
        self.keys_mut().push(json!({"id": id, "wrapped": wrapped, SINCE: now.to_string()}));
        self.write(entropy).map(|()| id)
    }

    /// Puts the key `id` in front: it seals from now on.
    ///
    /// # Errors
    /// The file can't be written.
    pub fn promote(&mut self, id: &str, entropy: &dyn Entropy, now: Timestamp) -> Result<(), StoreError> {
        let keys = self.keys_mut();
        if let Some(at) = keys.iter().position(|key| key["id"] == id) {
            let mut key = keys.remove(at);
            key[SINCE] = Value::String(now.to_string());
            keys.insert(0, key);
        }
        self.write(entropy)
    }

    /// Drops every key but the first; answers their ids.
    ///
    /// # Errors
    /// The file can't be written.
    pub fn drop_others(&mut self, entropy: &dyn Entropy) -> Result<Vec<String>, StoreError> {
        let dropped = self.entries().into_iter().skip(1).map(|entry| entry.id).collect();
        self.keys_mut().truncate(1);
        self.write(entropy).map(|()| dropped)
    }

    /// One more than the highest number there is.
    fn free_id(&self) -> String {
        let number = |entry: Entry| entry.id.strip_prefix('k').and_then(|number| number.parse::<u32>().ok());
        let highest = self.entries().into_iter().filter_map(number).max().unwrap_or_default();
        format!("k{}", highest.saturating_add(1))
    }

    fn keys(&self) -> &[Value] {
        self.document.get("data_keys").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
    }

    fn keys_mut(&mut self) -> &mut Vec<Value> {
        match self.document.get_mut("data_keys") {
            Some(Value::Array(keys)) => keys,
            _ => unreachable!("looked at when the file was opened"),
        }
    }

    /// The file appears whole or stays as it was, also when the machine goes down.
    fn write(&self, entropy: &dyn Entropy) -> Result<(), StoreError> {
        let mut random = [0; 6];
        entropy.fill(&mut random);
        let draft = format!("{}.draft", STANDARD_NO_PAD.encode(random).replace('/', "-"));
        let draft = self.path.with_extension(draft);
        let text = SecretString::from(Value::Object(self.document.clone()).to_string());
        let written = write_new(&draft, text.expose_secret())
            .and_then(|()| fs::rename(&draft, &self.path))
            .and_then(|()| File::open(self.path.parent().unwrap_or(Path::new(".")))?.sync_all());
        written.map_err(|cause| {
            let _ = fs::remove_file(&draft);
            refused(WHAT, format!("{} can't be written: {cause}", self.path.display()))
        })
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::time::Duration;

    use domain::ports::Seal;

    use super::*;
    use crate::clock::OsEntropy;
    use crate::seal::AesSeal;
    use crate::secrets::{DeploymentSecrets, create_if_absent};

    async fn seal(path: &Path) -> AesSeal {
        AesSeal::load(&DeploymentSecrets::file(path), &LocalKeyFile::beside(path)).await.unwrap()
    }

    #[tokio::test]
    async fn a_key_is_added_seals_and_is_all_there_is_step_by_step() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("fleet.json");
        create_if_absent(&path, &OsEntropy).unwrap();
        let wrap = LocalKeyFile::beside(&path);
        let secret = SecretString::from("s3cret");
        let old = seal(&path).await.seal("bot/b", &secret);
        let fleet: Value = serde_json::from_slice::<Value>(&fs::read(&path).unwrap()).unwrap()["current"].clone();
        let now: Timestamp = "2026-01-05T12:00:00Z".parse().unwrap();
        let check = async |ids: &[&str], newest: &str, opens_old: bool| {
            let seal = seal(&path).await;
            assert_eq!(seal.keys(), ids);
            assert_eq!(seal.open("bot/b", &old).is_ok(), opens_old);
            let fresh = seal.seal("bot/b", &secret);
            assert_eq!(seal.key_of(&fresh).as_deref(), Some(ids[0]));
            assert_eq!(DataKeysFile::open(&path).unwrap().newest().unwrap().id, newest);
            let whole: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
            assert_eq!(whole["current"], fleet, "the fleet's own secrets are not touched");
            assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        };
        check(&["k1"], "k1", true).await;
        assert_eq!(DataKeysFile::open(&path).unwrap().add(&wrap, &OsEntropy, now).unwrap(), "k2");
        check(&["k1", "k2"], "k2", true).await;
        let later = now + Duration::from_secs(120);
        DataKeysFile::open(&path).unwrap().promote("k2", &OsEntropy, later).unwrap();
        check(&["k2", "k1"], "k2", true).await;
        let since: Vec<_> = DataKeysFile::open(&path).unwrap().entries().into_iter().map(|entry| entry.since).collect();
        assert_eq!(since, [Some(later), None]);
        assert_eq!(DataKeysFile::open(&path).unwrap().drop_others(&OsEntropy).unwrap(), ["k1"]);
        check(&["k2"], "k2", false).await;
        assert_eq!(DataKeysFile::open(&path).unwrap().add(&wrap, &OsEntropy, later).unwrap(), "k3", "no id twice");
        let drafts = fs::read_dir(folder.path())
            .unwrap()
            .filter(|file| file.as_ref().unwrap().file_name().to_string_lossy().ends_with("draft"));
        assert_eq!(drafts.count(), 0);
    }

    #[tokio::test]
    async fn a_running_process_takes_up_what_changed_and_keeps_what_it_has_when_it_can_t() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("fleet.json");
        create_if_absent(&path, &OsEntropy).unwrap();
        let wrap = LocalKeyFile::beside(&path);
        let running = seal(&path).await;
        let now: Timestamp = "2026-01-05T12:00:00Z".parse().unwrap();
        let id = DataKeysFile::open(&path).unwrap().add(&wrap, &OsEntropy, now).unwrap();
        DataKeysFile::open(&path).unwrap().promote(&id, &OsEntropy, now).unwrap();
        let elsewhere = seal(&path).await.seal("bot/b", &SecretString::from("s3cret"));
        assert!(running.open("bot/b", &elsewhere).is_err(), "not known yet");
        let other = LocalKeyFile::new(folder.path().join("other.key"));
        other.create_if_absent(&OsEntropy).unwrap();
        assert!(running.refresh(&DeploymentSecrets::file(&path), &other).await.is_err());
        assert_eq!(running.keys(), ["k1"]);
        running.refresh(&DeploymentSecrets::file(&path), &wrap).await.unwrap();
        assert_eq!(running.keys(), ["k2", "k1"]);
        assert!(running.open("bot/b", &elsewhere).is_ok());
    }

    #[test]
    fn of_many_who_change_it_at_once_nobody_is_lost() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("fleet.json");
        create_if_absent(&path, &OsEntropy).unwrap();
        let (wrap, now) = (LocalKeyFile::beside(&path), Timestamp::UNIX_EPOCH);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| DataKeysFile::open(&path).unwrap().add(&wrap, &OsEntropy, now).unwrap());
            }
        });
        let ids: Vec<String> = DataKeysFile::open(&path).unwrap().entries().into_iter().map(|entry| entry.id).collect();
        assert_eq!(ids, (1..=9).map(|n| format!("k{n}")).collect::<Vec<_>>());
    }

    #[test]
    fn other_files_are_refused_and_not_quoted() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("fleet.json");
        assert!(matches!(DataKeysFile::open(&path), Err(StoreError::Refused { .. })), "there is none");
        for text in ["hunter2", "[]", r#"{"current":"hunter2"}"#, r#"{"data_keys":"hunter2"}"#] {
            fs::write(&path, text).unwrap();
            let error = DataKeysFile::open(&path).unwrap_err();
            assert!(matches!(error, StoreError::Corrupt { .. }) && !error.to_string().contains("hunter2"), "{error}");
        }
    }
}
