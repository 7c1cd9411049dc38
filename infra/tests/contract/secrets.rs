//! The deployment's secrets and what wraps the data keys among them: a file and its key file where the services are the
//! embedded ones, which are no Secrets Manager and no KMS; those two everywhere else.

use std::sync::Arc;

use domain::ports::{Entropy, Secrets as _, StoreError};
use domain::secret::ExposeSecret;
use domain::signing::FleetSecrets;
use infra::clock::OsEntropy;
use infra::seal::{AesSeal, DataKey, KeyWrap, KmsKey, LocalKeyFile};
use infra::secrets::document::Document;
use infra::secrets::place::Place;

use crate::gaps::part;
use crate::world::{World, at, run};

/// Where secrets lie, empty, and what wraps; the folder lives as long as they do.
struct Kept {
    place: Place,
    wrap: Arc<dyn KeyWrap>,
    _folder: tempfile::TempDir,
}

impl Kept {
    async fn new(world: &World) -> Self {
        let folder = tempfile::tempdir().unwrap();
        if world.is_embedded() {
            let path = folder.path().join("secrets.json");
            infra::secrets::create_if_absent(&path, &OsEntropy).unwrap();
            let wrap = Arc::new(LocalKeyFile::beside(&path));
            std::fs::write(&path, "").unwrap();
            return Self { place: Place::File(path), wrap, _folder: folder };
        }
        let id = format!("rf-{:08x}/deployment", OsEntropy.dice());
        world.clients.secrets.create_secret().name(&id).send().await.unwrap();
        let place = Place::SecretsManager { client: world.clients.secrets.clone(), id };
        Self { place, wrap: Arc::new(kms_key(world).await), _folder: folder }
    }
}

async fn kms_key(world: &World) -> KmsKey {
    let made = world.clients.kms.create_key().send().await.unwrap();
    KmsKey::new(world.clients.kms.clone(), made.key_metadata.unwrap().key_id)
}

fn data_key() -> DataKey {
    let mut bytes = Box::new([0; 32]);
    OsEntropy.fill(&mut bytes[..]);
    DataKey::new(bytes)
}

#[test]
fn a_wrapped_key_opens_under_its_own_id_only() {
    run(async |world| {
        let kept = Kept::new(world).await;
        let key = data_key();
        let wrapped = kept.wrap.wrap("k1", &key).await.unwrap();
        assert_eq!(kept.wrap.unwrap("k1", &wrapped).await.unwrap().expose_secret(), key.expose_secret());
        assert_ne!(
            kept.wrap.wrap("k1", &key).await.unwrap(),
            wrapped,
            "a text that is always the same tells of its key"
        );
        let refused = |opened: Result<DataKey, StoreError>| matches!(opened, Err(StoreError::Refused { .. }));
        assert!(refused(kept.wrap.unwrap("none", "nonsense").await), "no word in front");
        part("a wrapped key does not open under another id", async {
            assert!(refused(kept.wrap.unwrap("k2", &wrapped).await));
        })
        .await;
        part("a wrapped key does not open by another key", async {
            let other = Kept::new(world).await;
            assert!(refused(other.wrap.unwrap("k1", &wrapped).await));
        })
        .await;
    });
}

#[test]
fn secrets_are_filled_read_and_changed() {
    run(async |world| {
        let Kept { place, wrap, _folder } = Kept::new(world).await;
        let mut open = place.open().await.unwrap();
        assert!(open.document.is_empty());
        open.document = Document::fresh(&*wrap, &OsEntropy).await.unwrap();
        open.store(&OsEntropy).await.unwrap();
        AesSeal::load(&place.reader(), &*wrap).await.unwrap();

        let mut open = place.open().await.unwrap();
        assert_eq!(open.document.data_keys().len(), 1);
        let second = open.document.add(&*wrap, &OsEntropy, at(1)).await.unwrap();
        open.document.add_signing(&OsEntropy, at(1));
        open.store(&OsEntropy).await.unwrap();
        part("a secret that was changed reads as it is now", async {
            let read = place.open().await.unwrap().document;
            assert_eq!(read.data_keys().last().unwrap().id, second);
            AesSeal::load(&place.reader(), &*wrap).await.unwrap();
            let FleetSecrets { previous, .. } = place.reader().fleet().await.unwrap();
            assert!(previous.is_some(), "two signing secrets are known");
        })
        .await;
    });
}

/// A file is locked instead: the second one waits. See `infra::secrets::place`.
#[test]
fn whoever_comes_second_changes_nothing() {
    run(async |world| {
        if world.is_embedded() {
            return;
        }
        let Kept { place, wrap, _folder } = Kept::new(world).await;
        let too_late = |stored: Result<(), StoreError>| match stored {
            Err(StoreError::Refused { cause, .. }) => cause.contains("run this again"),
            _ => false,
        };
        let (mut first, mut second) = (place.open().await.unwrap(), place.open().await.unwrap());
        first.document = Document::fresh(&*wrap, &OsEntropy).await.unwrap();
        second.document = Document::fresh(&*wrap, &OsEntropy).await.unwrap();
        first.store(&OsEntropy).await.unwrap();
        part("of two who fill a secret the second is refused", async {
            assert!(too_late(second.store(&OsEntropy).await));
        })
        .await;
        let (mut first, mut second) = (place.open().await.unwrap(), place.open().await.unwrap());
        let kept = first.document.add(&*wrap, &OsEntropy, at(1)).await.unwrap();
        second.document.add_signing(&OsEntropy, at(2));
        first.store(&OsEntropy).await.unwrap();
        part("of two who change a secret the second is refused", async {
            assert!(too_late(second.store(&OsEntropy).await));
            let read = place.open().await.unwrap().document;
            assert_eq!(read.data_keys().last().unwrap().id, kept);
        })
        .await;
    });
}
