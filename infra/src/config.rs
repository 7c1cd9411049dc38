//! Settings: one typed struct a binary, filled from flags, environment, file and defaults, in this order.
//! It must never read a setting that the struct does not name, nor pass over a key in the file that it does not know.

use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use thiserror::Error;

mod assign;
pub mod functions;
mod layers;
mod prices;
mod shared;
mod variables;

pub use assign::assign;
pub use prices::PricesConfig;
pub use shared::{
    AwsConfig, EgressConfig, LlmConfig, LogFormat, NamesConfig, Period, PeriodError, Periods, Shards, TelemetryConfig,
};
pub use variables::variables;

/// Why the settings cannot be used; one line each, with what to do.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum ConfigError {
    #[error("cannot read the config file {}: {cause}", path.display())]
    Unreadable { path: PathBuf, cause: String },
    #[error("the config file {} is not TOML: {cause}", path.display())]
    Syntax { path: PathBuf, cause: String },
    #[error("unknown key `{key}` in {place}{}", hint(nearest))]
    UnknownKey { key: String, place: String, nearest: Option<String> },
    #[error("bad value for `{key}` from {place}: {cause}")]
    BadValue { key: String, place: String, cause: String },
    #[error("the settings cannot be used: {cause}")]
    Unusable { cause: String },
}

fn hint(nearest: &Option<String>) -> String {
    nearest.as_ref().map_or_else(
        || ": remove it, or look for its name in the sample file".to_owned(),
        |near| format!(": did you mean `{near}`?"),
    )
}

/// Reads the settings of a binary. A struct's field is looked for in `flags`, then as an environment variable (`env_prefix`
/// and the field's path, upper case, joined by `_`: `RINGFLEET_AWS_REGION`), then in `file`; its serde default comes last.
/// Variables hold text for texts, numbers and switches, and a comma-separated list or TOML for the rest.
///
/// # Errors
/// The file cannot be read, holds a key that no field has, or a value does not fit its field.
pub fn load<T: DeserializeOwned>(file: Option<&Path>, env_prefix: &str, flags: toml::Table) -> Result<T, ConfigError> {
    let environment =
        std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    load_from(file, env_prefix, environment.collect(), flags)
}

/// As [`load`], with the environment as an argument.
///
/// # Errors
/// As [`load`].
pub fn load_from<T: DeserializeOwned>(
    file: Option<&Path>,
    env_prefix: &str,
    environment: Vec<(String, String)>,
    flags: toml::Table,
) -> Result<T, ConfigError> {
    let table = file.map(read).transpose()?;
    let place = file.map_or_else(String::new, |path| path.display().to_string());
    layers::read(table.unwrap_or_default(), place, env_prefix, environment, flags)
}

/// As [`load_from`], for a binary whose defaults are not its structs': `defaults` lie under the file, key by key.
///
/// # Errors
/// As [`load`].
pub fn load_over<T: DeserializeOwned>(
    defaults: toml::Table,
    file: Option<&Path>,
    env_prefix: &str,
    environment: Vec<(String, String)>,
    flags: toml::Table,
) -> Result<T, ConfigError> {
    let table = file.map(read).transpose()?.unwrap_or_default();
    let place = file.map_or_else(String::new, |path| path.display().to_string());
    layers::read(under(table, defaults), place, env_prefix, environment, flags)
}

/// Adds to `table` what only `defaults` has.
fn under(mut table: toml::Table, defaults: toml::Table) -> toml::Table {
    for (key, default) in defaults {
        match (table.remove(&key), default) {
            (None, default) => table.insert(key, default),
            (Some(toml::Value::Table(own)), toml::Value::Table(default)) => {
                table.insert(key, toml::Value::Table(under(own, default)))
            }
            (Some(own), _) => table.insert(key, own),
        };
    }
    table
}

fn read(path: &Path) -> Result<toml::Table, ConfigError> {
    let text = std::fs::read_to_string(path)
        .map_err(|e| ConfigError::Unreadable { path: path.to_owned(), cause: e.to_string() })?;
    text.parse().map_err(|e: toml::de::Error| {
        let line = e.span().map_or(1, |span| text[..span.start.min(text.len())].matches('\n').count() + 1);
        ConfigError::Syntax { path: path.to_owned(), cause: format!("line {line}: {}", e.message()) }
    })
}

#[cfg(test)]
mod tests;
