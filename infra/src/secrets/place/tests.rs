//! Data keys step by step, in a file and in Secrets Manager; and nobody's change is lost.

use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use async_trait::async_trait;
use domain::ports::Seal;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::*;
use crate::clock::OsEntropy;
use crate::fake_service;
use crate::seal::{AesSeal, DataKey, KeyWrap, LocalKeyFile};
use crate::secrets::create_if_absent;

/// Wraps as nobody should.
struct Plain;

#[async_trait]
impl KeyWrap for Plain {
    async fn wrap(&self, id: &str, key: &DataKey) -> Result<String, StoreError> {
        Ok(format!("{id}:{}", STANDARD_NO_PAD.encode(key.expose_secret())))
    }

    async fn unwrap(&self, id: &str, wrapped: &str) -> Result<DataKey, StoreError> {
        let text = wrapped.strip_prefix(&format!("{id}:")).unwrap();
        Ok(DataKey::new(Box::new(STANDARD_NO_PAD.decode(text).unwrap().try_into().unwrap())))
    }
}

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

/// A new key is added, seals, and is all there is; the fleet's own secrets stay.
async fn steps(place: &Place, wrap: &dyn KeyWrap) {
    let secret = SecretString::from("s3cret");
    let seal = async || AesSeal::load(&place.reader(), wrap).await.unwrap();
    let old = seal().await.seal("bot/b", &secret);
    let signing = place.open().await.unwrap().document.signing();
    let check = async |ids: &[&str], newest: &str, opens_old: bool| {
        let seal = seal().await;
        assert_eq!(seal.keys(), ids);
        assert_eq!(seal.open("bot/b", &old).is_ok(), opens_old);
        assert_eq!(seal.key_of(&seal.seal("bot/b", &secret)).as_deref(), Some(ids[0]));
        let document = place.open().await.unwrap().document;
        assert_eq!((document.newest().unwrap().id.as_str(), document.signing()), (newest, signing.clone()));
    };
    check(&["k1"], "k1", true).await;
    let now = at("2026-01-05T12:00:00Z");
    let mut open = place.open().await.unwrap();
    assert_eq!(open.document.add(wrap, &OsEntropy, now).await.unwrap(), "k2");
    open.store(&OsEntropy).await.unwrap();
    check(&["k1", "k2"], "k2", true).await;
    let mut open = place.open().await.unwrap();
    open.document.promote("k2", now + Duration::from_secs(120));
    open.store(&OsEntropy).await.unwrap();
    check(&["k2", "k1"], "k2", true).await;
    let since: Vec<_> = place.open().await.unwrap().document.data_keys().into_iter().map(|key| key.since).collect();
    assert_eq!(since, [Some(now + Duration::from_secs(120)), None]);
    let mut open = place.open().await.unwrap();
    assert_eq!(open.document.drop_others(), ["k1"]);
    open.store(&OsEntropy).await.unwrap();
    check(&["k2"], "k2", false).await;
    let mut open = place.open().await.unwrap();
    assert_eq!(open.document.add(wrap, &OsEntropy, now).await.unwrap(), "k3", "no id twice");
}

#[tokio::test]
async fn a_key_is_added_seals_and_is_all_there_is_in_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("fleet.json");
    create_if_absent(&path, &OsEntropy).unwrap();
    steps(&Place::File(path.clone()), &LocalKeyFile::beside(&path)).await;
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let names = fs::read_dir(folder.path()).unwrap().map(|file| file.unwrap().file_name().into_string().unwrap());
    assert_eq!(names.filter(|name| name.ends_with("draft")).count(), 0);
}

#[tokio::test]
async fn a_running_process_takes_up_what_changed_and_keeps_what_it_has_when_it_can_t() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("fleet.json");
    create_if_absent(&path, &OsEntropy).unwrap();
    let (place, wrap) = (Place::File(path.clone()), LocalKeyFile::beside(&path));
    let running = AesSeal::load(&place.reader(), &wrap).await.unwrap();
    let mut open = place.open().await.unwrap();
    let id = open.document.add(&wrap, &OsEntropy, at("2026-01-05T12:00:00Z")).await.unwrap();
    open.document.promote(&id, at("2026-01-05T12:00:00Z"));
    open.store(&OsEntropy).await.unwrap();
    let elsewhere = AesSeal::load(&place.reader(), &wrap).await.unwrap().seal("bot/b", &SecretString::from("s3cret"));
    assert!(running.open("bot/b", &elsewhere).is_err(), "not known yet");
    let other = LocalKeyFile::new(folder.path().join("other.key"));
    other.create_if_absent(&OsEntropy).unwrap();
    assert!(running.refresh(&place.reader(), &other).await.is_err());
    assert_eq!(running.keys(), ["k1"]);
    running.refresh(&place.reader(), &wrap).await.unwrap();
    assert_eq!(running.keys(), ["k2", "k1"]);
    assert!(running.open("bot/b", &elsewhere).is_ok());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_many_who_change_a_file_at_once_nobody_is_lost() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("fleet.json");
    create_if_absent(&path, &OsEntropy).unwrap();
    let place = Place::File(path.clone());
    let adding: Vec<_> = (0..8)
        .map(|_| {
            let (place, wrap) = (place.clone(), LocalKeyFile::beside(&path));
            tokio::spawn(async move {
                let mut open = place.open().await.unwrap();
                open.document.add(&wrap, &OsEntropy, Timestamp::UNIX_EPOCH).await.unwrap();
                open.store(&OsEntropy).await.unwrap();
            })
        })
        .collect();
    for one in adding {
        one.await.unwrap();
    }
    let ids: Vec<String> = place.open().await.unwrap().document.data_keys().into_iter().map(|key| key.id).collect();
    assert_eq!(ids, (1..=9).map(|n| format!("k{n}")).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_file_that_is_not_there_or_something_else_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("fleet.json");
    assert!(matches!(Place::File(path.clone()).open().await, Err(StoreError::Refused { .. })), "there is none");
    fs::write(&path, "hunter2").unwrap();
    assert!(matches!(Place::File(path).open().await, Err(StoreError::Corrupt { .. })));
}

/// What Secrets Manager does with one secret, `ours`.
#[derive(Default)]
struct OneSecret {
    versions: Vec<(String, Value)>,
    current: Option<String>,
    /// So many answers to a moved label are lost, once it is moved.
    lost: u32,
}

impl OneSecret {
    fn answer(&mut self, operation: &str, body: &Value) -> (u16, Value) {
        let refuse = |code: &str| (400, json!({"__type": code, "message": "m"}));
        let text = |name: &str| body[name].as_str().map(str::to_owned);
        let id = text("SecretId").unwrap();
        if id != "ours" {
            return refuse(&id);
        }
        match operation {
            "DescribeSecret" => (200, json!({"Name": "ours"})),
            "GetSecretValue" => match self.versions.iter().find(|(id, _)| Some(id) == self.current.as_ref()) {
                Some((id, text)) => (200, json!({"VersionId": id, "SecretString": text})),
                None => refuse("ResourceNotFoundException"),
            },
            "PutSecretValue" => {
                // The SDK sends a token of its own where none is given.
                let id = text("ClientRequestToken").unwrap();
                if self.versions.iter().any(|(known, _)| *known == id) {
                    return refuse("ResourceExistsException");
                }
                self.versions.push((id.clone(), body["SecretString"].clone()));
                if body.get("VersionStages").is_none() {
                    self.current = Some(id.clone());
                }
                (200, json!({"VersionId": id}))
            }
            "UpdateSecretVersionStage" if text("RemoveFromVersionId") == self.current => {
                self.current = text("MoveToVersionId");
                if self.lost > 0 {
                    self.lost -= 1;
                    return (500, json!({"__type": "InternalServiceError", "message": "m"}));
                }
                (200, json!({"Name": "ours"}))
            }
            _ => refuse("InvalidParameterException"),
        }
    }
}

#[tokio::test]
async fn a_secret_is_filled_once_and_goes_the_same_steps() {
    let mut secret = OneSecret::default();
    let config = fake_service::serve(move |operation, body| secret.answer(operation, body)).await;
    let client = crate::aws::connect(&config).await.secrets;
    let place = Place::SecretsManager { client: client.clone(), id: "ours".into() };
    let late = async |open: Open| open.store(&OsEntropy).await.unwrap_err().to_string();

    let (mut first, mut second) = (place.open().await.unwrap(), place.open().await.unwrap());
    assert!(first.document.is_empty());
    first.document = Document::fresh(&Plain, &OsEntropy).await.unwrap();
    second.document = Document::fresh(&Plain, &OsEntropy).await.unwrap();
    let signing = first.document.text();
    first.store(&OsEntropy).await.unwrap();
    assert!(late(second).await.contains("run this again"));
    assert_eq!(place.open().await.unwrap().document.text().expose_secret(), signing.expose_secret());
    steps(&place, &Plain).await;

    // Two have read the same: the second to write is told, and the first one's change stays.
    let (mut first, mut second) = (place.open().await.unwrap(), place.open().await.unwrap());
    first.document.set_llm_api_key(Some(&SecretString::from("sk-1")));
    second.document.set_llm_api_key(Some(&SecretString::from("sk-2")));
    first.store(&OsEntropy).await.unwrap();
    assert!(late(second).await.contains("somebody else has changed them"));
    let key = domain::ports::Secrets::llm_api_key(&place.reader()).await.unwrap().unwrap();
    assert_eq!(key.expose_secret(), "sk-1");

    for (id, part) in [
        ("ResourceNotFoundException", "ringfleet deployment init"),
        ("AccessDeniedException", "secretsmanager:GetSecretValue"),
        ("InvalidRequestException", "marked for deletion"),
        ("DecryptionFailure", "KMS key"),
    ] {
        let error =
            Place::SecretsManager { client: client.clone(), id: id.into() }.open().await.unwrap_err().to_string();
        assert!(error.contains(part), "{error} lacks {part}");
    }
}

/// The SDK asks again, and finds that its own first request has moved the label.
#[tokio::test]
async fn a_change_whose_answer_was_lost_is_no_strangers() {
    let mut secret = OneSecret { lost: 1, ..OneSecret::default() };
    let config = fake_service::serve(move |operation, body| secret.answer(operation, body)).await;
    let client = crate::aws::connect(&config).await.secrets;
    let place = Place::SecretsManager { client, id: "ours".into() };
    let mut open = place.open().await.unwrap();
    open.document = Document::fresh(&Plain, &OsEntropy).await.unwrap();
    open.store(&OsEntropy).await.unwrap();
    let mut open = place.open().await.unwrap();
    open.document.set_llm_api_key(Some(&SecretString::from("sk-1")));
    open.store(&OsEntropy).await.unwrap();
    let key = domain::ports::Secrets::llm_api_key(&place.reader()).await.unwrap().unwrap();
    assert_eq!(key.expose_secret(), "sk-1");
}
