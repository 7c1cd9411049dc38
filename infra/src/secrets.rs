//! The deployment's secrets: the fleet's signing secrets and, wrapped, the keys that seal what entities keep secret. One
//! JSON text, in a file of mode 0600 (local mode) or in Secrets Manager:
//! `{"current":{"kid":"…","secret":"…"},"previous":{…}?,"retired":[{…},…]?,"data_keys":[{"id":"…","wrapped":"…"},…],
//! "llm_api_key":"…"?}`; the first data key seals, the others still open what they sealed; `current` signs, `previous`
//! verifies too, and `retired` judge the connect tokens that they made.
//! It must never take a secret from the environment, and never print one.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use domain::ports::{Entropy, Secrets, StoreError};
use domain::signing::FleetSecrets;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use tokio::sync::Mutex;

use crate::age::Mark;
use crate::errors::{corrupt, refused, unavailable};
use crate::seal::{DataKey, LocalKeyFile};

pub mod document;
pub mod place;
pub mod signing;

use document::Document;

const WHAT: &str = "the deployment's secrets";
/// The id of the data key that is made with fresh secrets.
const FIRST_KEY: &str = "k1";
const LLM_API_KEY: &str = "llm_api_key";
/// A replaced secret is known everywhere after this; the old one stays valid meanwhile.
const KEEP: Duration = Duration::from_secs(60);
/// After a reading that failed they are read again this soon: whoever changes them counts on [`KEEP`].
const AGAIN: Duration = Duration::from_secs(5);
/// Whoever has some of late waits no longer than this for others: requests wait meanwhile.
const READ_WITHIN: Duration = Duration::from_secs(1);

/// The secrets as their readers want them.
#[derive(Debug, Clone, Deserialize)]
struct Known {
    #[serde(flatten)]
    fleet: FleetSecrets,
    data_keys: Vec<WrappedKey>,
    #[serde(default)]
    llm_api_key: Option<SecretString>,
}

/// A data key as it lies among the secrets.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct WrappedKey {
    /// Named in what it seals: no colons.
    pub(crate) id: String,
    pub(crate) wrapped: String,
}

#[derive(Debug, Clone)]
enum Source {
    File(PathBuf),
    SecretsManager { client: aws_sdk_secretsmanager::Client, id: String },
}

#[derive(Debug)]
struct Kept {
    known: Arc<Known>,
    since: Mark,
    /// How long they are gone by from `since` on.
    good: Duration,
}

/// Reads the secrets and keeps them for a minute; when they can't be read again, what was read last goes on being used.
#[derive(Debug)]
pub struct DeploymentSecrets {
    source: Source,
    keep: Duration,
    kept: Mutex<Option<Kept>>,
}

impl DeploymentSecrets {
    /// From the file at `path`.
    pub fn file(path: impl Into<PathBuf>) -> Self {
        Self::new(Source::File(path.into()))
    }

    /// From the secret `id` (name or ARN) in Secrets Manager.
    pub fn secrets_manager(client: aws_sdk_secretsmanager::Client, id: impl Into<String>) -> Self {
        Self::new(Source::SecretsManager { client, id: id.into() })
    }

    fn new(source: Source) -> Self {
        Self { source, keep: KEEP, kept: Mutex::new(None) }
    }

    async fn known(&self) -> Result<Arc<Known>, StoreError> {
        let mut kept = self.kept.lock().await;
        if let Some(kept) = kept.as_ref().filter(|kept| kept.since.elapsed() < kept.good) {
            return Ok(Arc::clone(&kept.known));
        }
        // What is read now may be older than its arrival.
        let since = Mark::now();
        let read = match kept.as_ref() {
            Some(old) if old.since.elapsed() < self.keep * 2 => {
                let read = tokio::time::timeout(READ_WITHIN, self.read()).await;
                read.unwrap_or_else(|_| Err(unavailable(WHAT, "no answer in time")))
            }
            // What a process has that stood still meanwhile may be of no use any more.
            Some(_) | None => self.read().await,
        };
        match (read, kept.as_mut()) {
            (Ok(known), _) => {
                let known = Arc::new(known);
                *kept = Some(Kept { known: Arc::clone(&known), since, good: self.keep });
                Ok(known)
            }
            (Err(error), Some(old)) => {
                tracing::error!(%error, "the secrets cannot be read again: the last ones stay in use");
                (old.since, old.good) = (Mark::now(), AGAIN.min(self.keep));
                Ok(Arc::clone(&old.known))
            }
            (Err(error), None) => Err(error),
        }
    }

    async fn read(&self) -> Result<Known, StoreError> {
        let text = match &self.source {
            Source::File(path) => read_file(path).await?,
            Source::SecretsManager { client, id } => {
                let read = client.get_secret_value().secret_id(id).version_stage(place::CURRENT);
                let found = read.send().await.map_err(|e| place::said(id, e))?;
                found.secret_string.map(SecretString::from).ok_or_else(|| corrupt(WHAT, "they are no text"))?
            }
        };
        // serde's own message would quote what it found.
        serde_json::from_str(text.expose_secret())
            .map_err(|e| corrupt(WHAT, format!("line {} column {}", e.line(), e.column())))
    }

    /// The keys that seal the secrets of entities, wrapped.
    ///
    /// # Errors
    /// The secrets cannot be read.
    pub(crate) async fn data_keys(&self) -> Result<Vec<WrappedKey>, StoreError> {
        Ok(self.known().await?.data_keys.clone())
    }

    /// The file they are in, if they are in one.
    pub(crate) fn path(&self) -> Option<&Path> {
        match &self.source {
            Source::File(path) => Some(path),
            Source::SecretsManager { .. } => None,
        }
    }
}

async fn read_file(path: &Path) -> Result<SecretString, StoreError> {
    let read = tokio::fs::read_to_string(path).await;
    read.map(SecretString::from).map_err(|e| refused(WHAT, format!("{}: {e}", path.display())))
}

#[async_trait]
impl Secrets for DeploymentSecrets {
    async fn fleet(&self) -> Result<FleetSecrets, StoreError> {
        Ok(self.known().await?.fleet.clone())
    }

    async fn llm_api_key(&self) -> Result<Option<SecretString>, StoreError> {
        Ok(self.known().await?.llm_api_key.clone())
    }
}

/// Writes fresh secrets to `path` and the key that wraps their data key beside it, both readable by their owner only,
/// unless there are some; `true` if they were written. Each file appears whole or not at all, also when two processes
/// start at once.
///
/// # Errors
/// What the file system said.
pub fn create_if_absent(path: &Path, entropy: &dyn Entropy) -> io::Result<bool> {
    if path.exists() {
        return Ok(false);
    }
    let key_file = LocalKeyFile::beside(path);
    key_file.create_if_absent(entropy)?;
    // Of two starters, both read the key file of the one who came first.
    let wrapping = SecretString::from(fs::read_to_string(key_file.path())?);
    let mut bytes = Box::new([0; 32]);
    entropy.fill(&mut *bytes);
    let wrapped = LocalKeyFile::wrap_with(wrapping.expose_secret(), FIRST_KEY, &DataKey::new(bytes));
    let unusable =
        || io::Error::new(io::ErrorKind::InvalidData, format!("{} is no key file", key_file.path().display()));
    let wrapped = wrapped.ok_or_else(unusable)?;
    let text = Document::with_first_key(&wrapped, entropy).text();
    publish(path, text.expose_secret(), entropy)
}

/// Writes `text` to a new file at `path` that its owner alone can read; `false` if there is one.
pub(crate) fn publish(path: &Path, text: &str, entropy: &dyn Entropy) -> io::Result<bool> {
    if path.exists() {
        return Ok(false);
    }
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    let draft = path.with_extension(format!("{:08x}.draft", entropy.dice()));
    let written = write_new(&draft, text).and_then(|()| match fs::hard_link(&draft, path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(error),
    });
    let tidied = fs::remove_file(&draft);
    let written = written?;
    tidied.map(|()| written)
}

fn write_new(path: &Path, text: &str) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use domain::ports::Seal;

    use super::*;
    use crate::clock::OsEntropy;
    use crate::seal::AesSeal;

    #[tokio::test]
    async fn fresh_secrets_are_private_complete_and_written_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secrets/fleet.json");
        assert!(create_if_absent(&path, &OsEntropy).unwrap());
        let first = fs::read(&path).unwrap();
        assert!(!create_if_absent(&path, &OsEntropy).unwrap());
        assert_eq!(fs::read(&path).unwrap(), first, "an existing file stays as it is");
        for file in [&path, &path.with_extension("key")] {
            assert_eq!(fs::metadata(file).unwrap().permissions().mode() & 0o777, 0o600);
        }
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 2, "no draft is left");

        let secrets = DeploymentSecrets::file(&path);
        let fleet = secrets.fleet().await.unwrap();
        assert_eq!(fleet.current.kid, "s1");
        assert!(fleet.previous.is_none());
        assert_eq!(secrets.data_keys().await.unwrap().len(), 1);
        let wrap = LocalKeyFile::of(None, &secrets).unwrap();
        let (seal, again) =
            (AesSeal::load(&secrets, &wrap).await.unwrap(), AesSeal::load(&secrets, &wrap).await.unwrap());
        let sealed = seal.seal("bot/b", &SecretString::from("s3cret"));
        assert_eq!(again.open("bot/b", &sealed).unwrap().expose_secret(), "s3cret");
        assert!(!format!("{secrets:?}").contains(fleet.current.secret.expose_secret()));
    }

    #[test]
    fn of_two_starters_one_writes_and_both_go_on() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("fleet.json");
        let wrote: Vec<bool> = std::thread::scope(|scope| {
            let starters: Vec<_> =
                (0..8).map(|_| scope.spawn(|| create_if_absent(&path, &OsEntropy).unwrap())).collect();
            starters.into_iter().map(|starter| starter.join().unwrap()).collect()
        });
        assert_eq!(wrote.iter().filter(|wrote| **wrote).count(), 1);
        let secrets = DeploymentSecrets::file(&path);
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let wrap = LocalKeyFile::beside(&path);
        runtime.block_on(AesSeal::load(&secrets, &wrap)).expect("the key file and the secrets belong together");
    }

    #[tokio::test]
    async fn two_live_secrets_are_read_and_mistakes_don_t_quote_them() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("fleet.json");
        fs::write(
            &path,
            r#"{"current":{"kid":"b","secret":"s2"},"previous":{"kid":"a","secret":"s1"},"data_keys":[{"id":"k2","wrapped":"local:x"},{"id":"k1","wrapped":"local:y"}]}"#,
        )
        .unwrap();
        let fleet = DeploymentSecrets::file(&path).fleet().await.unwrap();
        assert_eq!((fleet.current.kid.as_str(), fleet.previous.unwrap().kid.as_str()), ("b", "a"));
        let ids: Vec<String> =
            DeploymentSecrets::file(&path).data_keys().await.unwrap().into_iter().map(|key| key.id).collect();
        assert_eq!(ids, ["k2", "k1"], "the first one seals");

        fs::write(&path, r#"{"current":"hunter2"}"#).unwrap();
        let error = DeploymentSecrets::file(&path).fleet().await.unwrap_err();
        assert!(matches!(error, StoreError::Corrupt { .. }) && !error.to_string().contains("hunter2"), "{error}");
        fs::write(&path, r#"{"current":{"kid":"b","secret":"s"},"data_keys":"c2hvcnQ="}"#).unwrap();
        assert!(matches!(DeploymentSecrets::file(&path).data_keys().await, Err(StoreError::Corrupt { .. })));
        fs::remove_file(&path).unwrap();
        assert!(matches!(DeploymentSecrets::file(&path).fleet().await, Err(StoreError::Refused { .. })));
    }

    #[tokio::test]
    async fn secrets_manager_is_read_too() {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};

        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let asked = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut seen = Vec::new();
            while !String::from_utf8_lossy(&seen).contains("\"SecretId\"") {
                let mut chunk = [0; 4096];
                let read @ 1.. = stream.read(&mut chunk).await.unwrap() else { break };
                seen.extend_from_slice(&chunk[..read]);
            }
            let secret = serde_json::json!({"current": {"kid": "aws-1", "secret": "s"}, "data_keys": [{"id": "k1", "wrapped": "kms:x"}], "llm_api_key": "sk-1"});
            let body = serde_json::json!({"Name": "ringfleet", "SecretString": secret.to_string()}).to_string();
            let head = format!(
                "HTTP/1.1 200 OK\r\ncontent-type: application/x-amz-json-1.1\r\ncontent-length: {}\r\n\r\n",
                body.len()
            );
            stream.write_all((head + &body).as_bytes()).await.unwrap();
            String::from_utf8_lossy(&seen).into_owned()
        });
        let config = crate::config::AwsConfig {
            endpoint: Some(endpoint),
            region: Some("eu-central-1".into()),
            access_key_id: Some("test".into()),
            secret_access_key: Some(SecretString::from("test")),
        };
        let clients = crate::aws::connect(&config).await;
        let secrets = DeploymentSecrets::secrets_manager(clients.secrets, "ringfleet");
        assert_eq!(secrets.fleet().await.unwrap().current.kid, "aws-1");
        assert_eq!(secrets.data_keys().await.unwrap()[0].wrapped, "kms:x", "read once, kept");
        assert_eq!(secrets.llm_api_key().await.unwrap().unwrap().expose_secret(), "sk-1");
        assert!(LocalKeyFile::of(None, &secrets).unwrap_err().to_string().contains("wrap_key_file"));
        let asked = asked.await.unwrap();
        assert!(
            asked.contains("secretsmanager.GetSecretValue") && asked.contains(r#""SecretId":"ringfleet""#),
            "{asked}"
        );
    }

    #[tokio::test]
    async fn what_was_read_last_survives_an_outage_and_a_replacement_is_seen() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("fleet.json");
        create_if_absent(&path, &OsEntropy).unwrap();
        let secrets = DeploymentSecrets { keep: Duration::ZERO, ..DeploymentSecrets::file(&path) };
        let first = secrets.fleet().await.unwrap().current.secret;
        fs::remove_file(&path).unwrap();
        assert_eq!(secrets.fleet().await.unwrap().current.secret.expose_secret(), first.expose_secret());
        create_if_absent(&path, &OsEntropy).unwrap();
        assert_ne!(secrets.fleet().await.unwrap().current.secret.expose_secret(), first.expose_secret());
    }

    #[tokio::test(start_paused = true)]
    async fn after_an_outage_they_are_read_again_soon() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("fleet.json");
        create_if_absent(&path, &OsEntropy).unwrap();
        let secrets = DeploymentSecrets::file(&path);
        let signs = async || secrets.fleet().await.unwrap().current.secret.expose_secret().to_owned();
        let first = signs().await;
        fs::remove_file(&path).unwrap();
        tokio::time::advance(KEEP).await;
        assert_eq!(signs().await, first);
        create_if_absent(&path, &OsEntropy).unwrap();
        assert_eq!(signs().await, first, "not with each request");
        tokio::time::advance(AGAIN).await;
        assert_ne!(signs().await, first);
    }

    #[tokio::test(start_paused = true)]
    async fn who_has_some_does_not_wait_long_for_others() {
        let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let config = crate::config::AwsConfig {
            endpoint: Some(format!("http://{}", silent.local_addr().unwrap())),
            region: Some("eu-central-1".into()),
            access_key_id: Some("test".into()),
            secret_access_key: Some(SecretString::from("test")),
        };
        let client = crate::aws::connect(&config).await.secrets;
        let known = r#"{"current":{"kid":"s1","secret":"s"},"data_keys":[]}"#;
        let known: Arc<Known> = Arc::new(serde_json::from_str(known).unwrap());
        let kept = Mutex::new(Some(Kept { known, since: Mark::now(), good: Duration::ZERO }));
        let secrets = DeploymentSecrets { kept, ..DeploymentSecrets::secrets_manager(client, "ringfleet") };
        let began = tokio::time::Instant::now();
        assert_eq!(secrets.fleet().await.unwrap().current.kid, "s1");
        assert!(began.elapsed() < READ_WITHIN * 2, "{:?}", began.elapsed());
    }
}
