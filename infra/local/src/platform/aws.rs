//! The AWS that the platform works against: the embedded services with a key of their own, or an endpoint from outside.
//! It must never leave its key readable to other users of the machine, nor tell anybody which of the two it is.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use domain::ports::Entropy;
use infra::aws::{Clients, connect};
use infra::clock::OsEntropy;
use infra::config::AwsConfig;
use secrecy::{ExposeSecret, SecretString};

use crate::embedded::{self, Embedded, EmbeddedConfig};
use crate::settings::Settings;

/// Clients, and what others need to reach the same services.
#[derive(Debug)]
pub(super) struct Aws {
    pub(super) clients: Clients,
    pub(super) endpoint: String,
    /// `AWS_SHARED_CREDENTIALS_FILE` for fleet servers and AWS tools; none where the credentials are not ours.
    pub(super) credentials_file: Option<PathBuf>,
    /// None with services from outside.
    pub(super) embedded: Option<Embedded>,
}

/// Starts the embedded services, unless the settings name an endpoint.
pub(super) async fn start(settings: &Settings, data: &Path) -> Result<Aws> {
    if let Some(endpoint) = settings.aws.endpoint.clone() {
        let clients = connect(&settings.aws).await;
        return Ok(Aws { clients, endpoint, credentials_file: None, embedded: None });
    }
    let (key, credentials_file) = credentials(settings, data)?;
    let embedded = embedded::start(EmbeddedConfig {
        data: data.to_owned(),
        listen: settings.aws_listen,
        access_key: key.id.clone(),
        secret_key: key.secret.expose_secret().to_owned(),
    })
    .await?;
    let config = AwsConfig {
        endpoint: Some(embedded.endpoint.clone()),
        access_key_id: Some(key.id),
        secret_access_key: Some(key.secret),
        ..settings.aws.clone()
    };
    let clients = connect(&config).await;
    Ok(Aws { clients, endpoint: embedded.endpoint.clone(), credentials_file, embedded: Some(embedded) })
}

#[derive(Debug)]
struct AccessKey {
    id: String,
    secret: SecretString,
}

/// The settings' credentials, or those that this data folder has had since its first start.
fn credentials(settings: &Settings, data: &Path) -> Result<(AccessKey, Option<PathBuf>)> {
    match (&settings.aws.access_key_id, &settings.aws.secret_access_key) {
        (Some(id), Some(secret)) => return Ok((AccessKey { id: id.clone(), secret: secret.clone() }, None)),
        (None, None) => {}
        _ => bail!("aws.access_key_id and aws.secret_access_key go together: set both or none"),
    }
    let path = data.join("secrets").join("aws-credentials");
    let cannot = || format!("cannot use {}: fix its permissions or choose another folder with --data", path.display());
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => write_credentials(&path).with_context(cannot)?,
        Err(error) => return Err(error).with_context(cannot),
    };
    let key = read_credentials(&text)
        .with_context(|| format!("{} holds no credentials: remove it to make new ones", path.display()))?;
    Ok((key, Some(path)))
}

/// Makes a key in the form of AWS's shared credentials file.
fn write_credentials(path: &Path) -> io::Result<String> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    let random = |length: usize| {
        let mut bytes = vec![0; length];
        OsEntropy.fill(&mut bytes);
        hex::encode(bytes)
    };
    let text = format!(
        "# The embedded AWS of this data folder: AWS_SHARED_CREDENTIALS_FILE for fleet servers and AWS tools.\n\
         [default]\naws_access_key_id = RINGFLEET{}\naws_secret_access_key = {}\n",
        random(6).to_uppercase(),
        random(20)
    );
    // Moved into place whole: a start that was cut short leaves nothing half written.
    let draft = path.with_extension("draft");
    let _ = fs::remove_file(&draft);
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&draft, path)?;
    Ok(text)
}

fn read_credentials(text: &str) -> Option<AccessKey> {
    let value = |name: &str| {
        let mut lines = text.lines().filter_map(|line| line.split_once('='));
        lines.find(|(key, _)| key.trim() == name).map(|(_, value)| value.trim().to_owned()).filter(|v| !v.is_empty())
    };
    Some(AccessKey { id: value("aws_access_key_id")?, secret: value("aws_secret_access_key")?.into() })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_data_folder_keeps_its_key_and_keeps_it_private() {
        let folder = tempfile::tempdir().unwrap();
        let settings = Settings::defaults();
        let (first, file) = credentials(&settings, folder.path()).unwrap();
        let file = file.unwrap();
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        let (second, _) = credentials(&settings, folder.path()).unwrap();
        assert_eq!((&first.id, first.secret.expose_secret()), (&second.id, second.secret.expose_secret()));
        assert!(first.id.starts_with("RINGFLEET") && first.secret.expose_secret().len() == 40);
        let other = tempfile::tempdir().unwrap();
        assert_ne!(credentials(&settings, other.path()).unwrap().0.id, first.id);
        fs::write(&file, "[default]\n").unwrap();
        assert!(credentials(&settings, folder.path()).unwrap_err().to_string().contains("remove it"));
    }

    #[test]
    fn configured_credentials_go_first_and_come_in_pairs() {
        let folder = tempfile::tempdir().unwrap();
        let mut settings = Settings::defaults();
        settings.aws.access_key_id = Some("me".into());
        assert!(credentials(&settings, folder.path()).unwrap_err().to_string().contains("go together"));
        settings.aws.secret_access_key = Some("mine".into());
        let (key, file) = credentials(&settings, folder.path()).unwrap();
        assert_eq!((key.id.as_str(), file), ("me", None));
    }
}
