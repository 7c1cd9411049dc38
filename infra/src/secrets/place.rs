//! Where the deployment's secrets lie, for who changes them: a file, or AWS Secrets Manager. Of two who change them at
//! once, the second waits (file) or is told that it came too late (Secrets Manager).
//! It must never leave a document that is half written, nor write over a change that it has not read.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

use aws_sdk_secretsmanager::Client;
use aws_sdk_secretsmanager::config::http::HttpResponse;
use aws_sdk_secretsmanager::error::{ProvideErrorMetadata, SdkError};
use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use domain::ports::{Entropy, StoreError};
use domain::secret::{ExposeSecret, SecretString};

use super::document::Document;
use super::{DeploymentSecrets, WHAT, write_new};
use crate::errors::{refused, store_error};

/// The version that counts.
pub(super) const CURRENT: &str = "AWSCURRENT";
/// A version is put under this label first: it counts only once [`CURRENT`] is moved to it, and that asks from where.
const DRAFT: &str = "ringfleet-draft";
/// The id of a secret's first version: of two who fill it at once, the second finds it taken.
const FIRST_VERSION: &str = "ringfleet-first-version-of-the-secrets";
const TOO_LATE: &str = "somebody else has changed them since they were read; nothing was written: run this again";

/// Where the secrets lie.
#[derive(Debug, Clone)]
pub enum Place {
    File(PathBuf),
    SecretsManager { client: Client, id: String },
}

impl Place {
    /// Reads the secrets to change them. A file is held against others who would, until what this answers is dropped.
    ///
    /// # Errors
    /// They can't be read or locked, or are something else.
    pub async fn open(&self) -> Result<Open, StoreError> {
        match self {
            Self::File(path) => {
                let path = path.clone();
                let opened = tokio::task::spawn_blocking(move || open_file(&path)).await;
                opened.map_err(|cause| refused(WHAT, cause))?
            }
            Self::SecretsManager { client, id } => open_secret(client, id).await,
        }
    }

    /// The same for who only reads them.
    pub fn reader(&self) -> DeploymentSecrets {
        match self {
            Self::File(path) => DeploymentSecrets::file(path),
            Self::SecretsManager { client, id } => DeploymentSecrets::secrets_manager(client.clone(), id.clone()),
        }
    }
}

/// The secrets as they were read, to be changed and stored.
#[derive(Debug)]
pub struct Open {
    pub document: Document,
    at: At,
}

#[derive(Debug)]
enum At {
    File { path: PathBuf, _lock: File },
    Version { client: Client, id: String, version: Option<String> },
}

impl Open {
    /// Stores the document: it appears whole or not at all.
    ///
    /// # Errors
    /// It can't be written, or somebody has changed it since it was read: then nothing is written.
    pub async fn store(self, entropy: &dyn Entropy) -> Result<(), StoreError> {
        let text = self.document.text();
        match self.at {
            At::File { path, _lock } => replace_file(&path, &text, entropy),
            At::Version { client, id, version } => put_version(&client, &id, version, text).await,
        }
    }
}

fn open_file(path: &Path) -> Result<Open, StoreError> {
    let at = |cause: io::Error| refused(WHAT, format!("{}: {cause}", path.display()));
    // Not the file itself: that is replaced.
    let lock = OpenOptions::new().create(true).truncate(false).write(true).open(path.with_extension("lock"));
    let lock = lock.map_err(at)?;
    lock.lock().map_err(at)?;
    let text = SecretString::from(fs::read_to_string(path).map_err(at)?);
    let document = Document::read(text.expose_secret(), &path.display().to_string())?;
    Ok(Open { document, at: At::File { path: path.to_owned(), _lock: lock } })
}

/// The file appears whole or stays as it was, also when the machine goes down.
fn replace_file(path: &Path, text: &SecretString, entropy: &dyn Entropy) -> Result<(), StoreError> {
    let mut random = [0; 6];
    entropy.fill(&mut random);
    let draft = format!("{}.draft", STANDARD_NO_PAD.encode(random).replace('/', "-"));
    let draft = path.with_extension(draft);
    let written = write_new(&draft, text.expose_secret())
        .and_then(|()| fs::rename(&draft, path))
        .and_then(|()| File::open(path.parent().unwrap_or(Path::new(".")))?.sync_all());
    written.map_err(|cause| {
        let _ = fs::remove_file(&draft);
        refused(WHAT, format!("{} can't be written: {cause}", path.display()))
    })
}

async fn open_secret(client: &Client, id: &str) -> Result<Open, StoreError> {
    let (text, version) = match client.get_secret_value().secret_id(id).version_stage(CURRENT).send().await {
        Ok(found) => (SecretString::from(found.secret_string.unwrap_or_default()), found.version_id),
        Err(error) if error.as_service_error().is_some_and(|e| e.is_resource_not_found_exception()) => {
            // A secret without any version is one that was never filled; then this answers.
            client.describe_secret().secret_id(id).send().await.map_err(|e| said(id, e))?;
            (SecretString::default(), None)
        }
        Err(error) => return Err(said(id, error)),
    };
    let document = Document::read(text.expose_secret(), id)?;
    Ok(Open { document, at: At::Version { client: client.clone(), id: id.to_owned(), version } })
}

/// Secrets Manager knows no conditional write, but refuses to move a label from a version that does not have it.
async fn put_version(client: &Client, id: &str, was: Option<String>, text: SecretString) -> Result<(), StoreError> {
    let put = client.put_secret_value().secret_id(id).secret_string(text.expose_secret());
    let Some(was) = was else {
        return match put.client_request_token(FIRST_VERSION).send().await {
            Ok(_) => Ok(()),
            Err(error) if error.as_service_error().is_some_and(|e| e.is_resource_exists_exception()) => {
                Err(refused(WHAT, TOO_LATE))
            }
            Err(error) => Err(said(id, error)),
        };
    };
    let made = put.version_stages(DRAFT).send().await.map_err(|e| said(id, e))?;
    let made = made.version_id.ok_or_else(|| refused(WHAT, "Secrets Manager does not name the version it made"))?;
    let to_move = client.update_secret_version_stage().secret_id(id).version_stage(CURRENT);
    match to_move.move_to_version_id(&made).remove_from_version_id(was).send().await {
        Ok(_) => Ok(()),
        // The SDK asks again when an answer is lost: then the label is no longer where it was, and where it should be.
        Err(error) if error.as_service_error().is_some_and(|e| e.is_invalid_parameter_exception()) => {
            if counts(client, id).await?.as_deref() == Some(&*made) { Ok(()) } else { Err(refused(WHAT, TOO_LATE)) }
        }
        Err(error) => Err(said(id, error)),
    }
}

/// The version that counts now.
async fn counts(client: &Client, id: &str) -> Result<Option<String>, StoreError> {
    let found = client.get_secret_value().secret_id(id).version_stage(CURRENT).send().await;
    Ok(found.map_err(|e| said(id, e))?.version_id)
}

/// What to do about it, where that is known.
pub(super) fn said<E>(id: &str, error: SdkError<E, HttpResponse>) -> StoreError
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
{
    match error.as_service_error().and_then(E::code) {
        Some("ResourceNotFoundException") => refused(
            WHAT,
            format!(
                "Secrets Manager has no secret {id}, or nothing in it: check the name and the region, and fill it with `ringfleet deployment init`"
            ),
        ),
        Some("AccessDeniedException") => refused(
            WHAT,
            format!(
                "Secrets Manager does not let these credentials use {id}: allow them secretsmanager:GetSecretValue, and to change it also DescribeSecret, PutSecretValue and UpdateSecretVersionStage; a KMS key of its own must let them use it too"
            ),
        ),
        Some("InvalidRequestException") => {
            refused(WHAT, format!("the secret {id} is marked for deletion: restore it in Secrets Manager"))
        }
        Some("DecryptionFailure" | "EncryptionFailure") => refused(
            WHAT,
            format!("the KMS key of the secret {id} can't be used: enable it, and allow these credentials to use it"),
        ),
        _ => store_error(WHAT, error),
    }
}

#[cfg(test)]
mod tests;
