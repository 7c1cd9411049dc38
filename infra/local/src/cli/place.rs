//! Which deployment on AWS a command is about, and where its secrets lie: as flags. What a stack of the deployment
//! template is called says what everything in it is called.
//! It must never guess between two that are both named.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Result, bail};
use clap::Args;
use infra::aws::{Clients, connect};
use infra::config::{AwsConfig, NamesConfig};
use infra::seal::{KeyWrap, wrap_of};
use infra::secrets::place::Place;

/// A stack of the deployment template.
#[derive(Debug, Clone, Default, Args)]
pub(super) struct StackFlags {
    /// The stack of the control plane: names of tables, queues, secret and KMS key follow from it
    #[arg(long, value_name = "NAME")]
    pub(super) stack: Option<String>,
    /// The region [default: AWS_REGION, else us-east-1]
    #[arg(long, value_name = "REGION")]
    pub(super) region: Option<String>,
}

impl StackFlags {
    /// Clients with the credentials of whoever runs this; AWS_ENDPOINT_URL leads them elsewhere.
    pub(super) async fn clients(&self) -> Clients {
        connect(&AwsConfig { region: self.region.clone(), ..AwsConfig::default() }).await
    }

    /// What its tables and queues are called.
    pub(super) fn names(&self, prefix: Option<&str>) -> NamesConfig {
        let of_stack = self.stack.as_deref().map(|stack| format!("{stack}-"));
        let prefix = of_stack.or_else(|| prefix.map(str::to_owned));
        prefix.map_or_else(NamesConfig::default, |prefix| NamesConfig { prefix, ..NamesConfig::default() })
    }
}

/// The name of a stack's secret.
pub(super) fn secret_of(stack: &str) -> String {
    format!("{stack}/deployment")
}

/// The alias of a stack's KMS key.
pub(super) fn kms_key_of(stack: &str) -> String {
    format!("alias/{stack}")
}

/// Where the secrets are, and what wraps the data keys among them.
#[derive(Debug, Clone, Args)]
pub(super) struct SecretsFlags {
    #[command(flatten)]
    stack: StackFlags,
    /// The secrets in Secrets Manager, by name or ARN [default with --stack: NAME/deployment]
    #[arg(long, value_name = "ID", env = "RINGFLEET_FLEET_SECRET_ID")]
    fleet_secret_id: Option<String>,
    /// The file of the deployment's secrets; `ringfleet up` makes secrets/fleet.json below its --data
    #[arg(long, value_name = "FILE", env = "RINGFLEET_FLEET_SECRET_FILE")]
    fleet_secret_file: Option<PathBuf>,
    /// The KMS key that wraps the data keys [default with --stack: alias/NAME]
    #[arg(long, value_name = "KEY", env = "RINGFLEET_KMS_KEY_ID")]
    kms_key_id: Option<String>,
    /// The file whose key wraps the data keys [default: beside the secrets' file, with the ending .key]
    #[arg(long, value_name = "FILE", env = "RINGFLEET_WRAP_KEY_FILE")]
    wrap_key_file: Option<PathBuf>,
}

/// Secrets that can be read and changed.
pub(super) struct Secrets {
    pub(super) place: Place,
    clients: Clients,
    kms_key_id: Option<String>,
    wrap_key_file: Option<PathBuf>,
}

impl SecretsFlags {
    /// # Errors
    /// It is not said where they are, or said twice.
    pub(super) async fn find(&self) -> Result<Secrets> {
        let of_stack = self.stack.stack.as_deref();
        let clients = self.stack.clients().await;
        let id = self.fleet_secret_id.clone().or_else(|| of_stack.map(secret_of));
        let place = match (id, &self.fleet_secret_file) {
            (Some(id), None) => Place::SecretsManager { client: clients.secrets.clone(), id },
            (None, Some(path)) => Place::File(path.clone()),
            (Some(_), Some(_)) => bail!(
                "the secrets lie in one place: leave out --fleet-secret-file (RINGFLEET_FLEET_SECRET_FILE), or --stack and --fleet-secret-id"
            ),
            (None, None) => bail!(
                "where are the deployment's secrets? Name --stack NAME, --fleet-secret-id ID or --fleet-secret-file FILE"
            ),
        };
        let key = self.kms_key_id.clone();
        let kms_key_id = key.or_else(|| of_stack.filter(|_| self.wrap_key_file.is_none()).map(kms_key_of));
        Ok(Secrets { place, clients, kms_key_id, wrap_key_file: self.wrap_key_file.clone() })
    }
}

impl Secrets {
    /// What wraps the data keys.
    ///
    /// # Errors
    /// Nothing is named, or two things are.
    pub(super) fn wrap(&self) -> Result<Arc<dyn KeyWrap>> {
        let (key, file) = (self.kms_key_id.as_deref(), self.wrap_key_file.as_deref());
        Ok(wrap_of(&self.clients.kms, key, file, &self.place.reader())?)
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        secrets: SecretsFlags,
    }

    #[tokio::test]
    async fn the_place_is_named_once() {
        let check = async |arguments: &[&str], expect: Result<&str, &str>| {
            let line = Line::try_parse_from(std::iter::once(&"test").chain(arguments)).unwrap();
            match (line.secrets.find().await, expect) {
                (Ok(found), Ok(part)) => {
                    assert!(format!("{:?} {:?}", found.place, found.kms_key_id).contains(part), "{arguments:?}")
                }
                (Err(error), Err(part)) => assert!(error.to_string().contains(part), "{error}"),
                (found, _) => panic!("{arguments:?}: {}", found.is_ok()),
            }
        };
        check(&["--stack", "rf"], Ok("rf/deployment")).await;
        check(&["--stack", "rf"], Ok("alias/rf")).await;
        check(&["--stack", "rf", "--fleet-secret-id", "other"], Ok("other")).await;
        check(&["--stack", "rf", "--wrap-key-file", "k"], Ok("None")).await;
        check(&["--fleet-secret-file", "f.json"], Ok("f.json")).await;
        check(&["--stack", "rf", "--fleet-secret-file", "f.json"], Err("lie in one place")).await;
        check(&[], Err("--stack NAME")).await;
    }
}
