//! What `ringfleet up` can be told: one typed struct, filled from flags, environment, file and defaults, in this order.
//! It must never act on a setting, and never have one that the sample file does not explain: a test compares the two.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use infra::config::{
    AwsConfig, ConfigError, EgressConfig, LlmConfig, NamesConfig, Periods, PricesConfig, TelemetryConfig, load_over,
};
use secrecy::SecretString;
use serde::Deserialize;
use server::ServerSettings;

/// Before the name of every environment variable that is a setting.
pub const PREFIX: &str = "RINGFLEET_";

/// Where the platform's defaults are not those of the structs it shares with AWS: pushes may reach this machine, and of
/// the ports only those that people type are fixed.
const DEFAULTS: &str = r#"
http = "127.0.0.1:8080"
aws_listen = "127.0.0.1:0"
[egress]
allow_cidrs = ["127.0.0.0/8", "::1/128"]
allow_http = true
[fleet]
server_id = "local"
http = "127.0.0.1:0"
"#;

/// Who serves calls.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FleetMode {
    /// A fleet server inside this process.
    #[default]
    Embedded,
    /// `ringfleet-fleet` processes that join through the tables.
    External,
}

/// Every setting of the platform in one process. `ringfleet-fleet` reads the same keys, as far as they concern it.
#[derive(Debug, Clone, Deserialize)]
pub struct Settings {
    /// Where everything durable lies; empty: [`default_data`].
    #[serde(default)]
    pub data: PathBuf,
    /// Where the API is served; port 0 takes any free port.
    pub http: SocketAddr,
    /// How clients reach the API, where that is not `http`.
    #[serde(default)]
    pub public_url: Option<String>,
    /// How diallers reach the fleet's WebSocket ports, where that is one name for all of them.
    #[serde(default)]
    pub ws_public_url: Option<String>,
    /// Proxies in front of `http` whose `X-Forwarded-For` is believed.
    #[serde(default)]
    pub trusted_proxies: Vec<ipnet::IpNet>,
    /// The admin key, instead of one minted at the first start.
    #[serde(default)]
    pub admin_key: Option<SecretString>,
    /// The folder of the speech models; the user's cache folder if none.
    #[serde(default)]
    pub models: Option<PathBuf>,
    #[serde(default)]
    pub fleet_mode: FleetMode,
    /// The secrets shared with fleet servers; below `data` if none, and made at the first start.
    #[serde(default)]
    pub fleet_secret_file: Option<PathBuf>,
    /// The same in Secrets Manager (name or ARN), instead of a file.
    #[serde(default)]
    pub fleet_secret_id: Option<String>,
    /// The key that the data keys among those secrets are wrapped with; beside the secrets' file if none.
    #[serde(default)]
    pub wrap_key_file: Option<PathBuf>,
    /// The KMS key that they are wrapped with, instead of a key file.
    #[serde(default)]
    pub kms_key_id: Option<String>,
    /// Where the embedded AWS listens; not used with an endpoint from outside.
    pub aws_listen: SocketAddr,
    #[serde(default)]
    pub aws: AwsConfig,
    #[serde(default)]
    pub names: NamesConfig,
    #[serde(default)]
    pub egress: EgressConfig,
    #[serde(default)]
    pub periods: Periods,
    #[serde(default)]
    pub llm: LlmConfig,
    #[serde(default)]
    pub prices: PricesConfig,
    #[serde(default)]
    pub telemetry: TelemetryConfig,
    #[serde(default)]
    pub fleet: ServerSettings,
}

impl Settings {
    /// Reads the settings of this process.
    ///
    /// # Errors
    /// Names the key that is wrong, where it stands, and what would be right.
    pub fn load(file: Option<&Path>, flags: toml::Table) -> Result<Self, ConfigError> {
        Self::load_from(file, std::env::vars_os().collect(), flags)
    }

    /// As [`Settings::load`], with the environment as an argument.
    ///
    /// # Errors
    /// As [`Settings::load`].
    pub fn load_from(
        file: Option<&Path>,
        environment: Vec<(OsString, OsString)>,
        flags: toml::Table,
    ) -> Result<Self, ConfigError> {
        let environment: Vec<(String, String)> = environment
            .into_iter()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect();
        let defaults = DEFAULTS.parse().expect("a constant that every test reads");
        let mut settings: Self = load_over(defaults, file, PREFIX, environment.clone(), flags)?;
        settings.adopt_sdk_variables(&environment);
        Ok(settings)
    }

    /// The defaults alone, whatever the environment says.
    pub fn defaults() -> Self {
        Self::load_from(None, Vec::new(), toml::Table::new()).expect("the defaults are settings")
    }

    /// The same on free ports and with a data folder of its own, beside whatever else runs on this machine.
    #[must_use]
    pub fn aside(mut self, data: &Path) -> Self {
        self.data = data.to_owned();
        self.http.set_port(0);
        self.aws_listen.set_port(0);
        self.aws.endpoint = None;
        self.public_url = None;
        self.ws_public_url = None;
        self.fleet_mode = FleetMode::Embedded;
        self.fleet_secret_file = None;
        self.fleet_secret_id = None;
        self.wrap_key_file = None;
        self.kms_key_id = None;
        self.fleet.sip.set_port(0);
        self.fleet.http.set_port(0);
        self.fleet.ws.set_port(0);
        self
    }

    /// The folder of everything durable.
    pub fn data_folder(&self) -> PathBuf {
        if self.data.as_os_str().is_empty() { default_data() } else { self.data.clone() }
    }

    /// The folder of the speech models.
    pub fn models_folder(&self) -> PathBuf {
        self.models.clone().unwrap_or_else(server::provider::ModelSet::default_dir)
    }

    /// `AWS_ENDPOINT_URL` chooses the services, as for every AWS tool; credentials in the environment, being in the hands
    /// of whoever starts fleet servers beside us, are also those of the embedded services.
    fn adopt_sdk_variables(&mut self, environment: &[(String, String)]) {
        let variable = |name: &str| {
            let found = environment.iter().find(|(known, value)| known == name && !value.is_empty());
            found.map(|(_, value)| value.clone())
        };
        self.aws.endpoint = self.aws.endpoint.take().or_else(|| variable("AWS_ENDPOINT_URL"));
        let region = || variable("AWS_REGION").or_else(|| variable("AWS_DEFAULT_REGION"));
        self.aws.region = self.aws.region.take().or_else(region);
        if self.aws.endpoint.is_none()
            && self.aws.access_key_id.is_none()
            && let (Some(id), Some(secret)) = (variable("AWS_ACCESS_KEY_ID"), variable("AWS_SECRET_ACCESS_KEY"))
        {
            self.aws.access_key_id = Some(id);
            self.aws.secret_access_key = Some(secret.into());
        }
    }
}

/// `ringfleet` in the user's data folder (`$XDG_DATA_HOME`, else `~/.local/share`); without a home, `./ringfleet-data`.
pub fn default_data() -> PathBuf {
    let set = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let home = set("XDG_DATA_HOME").or_else(|| set("HOME").map(|home| home.join(".local").join("share")));
    home.map_or_else(|| PathBuf::from("ringfleet-data"), |home| home.join("ringfleet"))
}

#[cfg(test)]
mod tests;
