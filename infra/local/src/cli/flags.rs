//! The flags that are settings. Each is the top layer over environment, file and defaults.
//! It must never hold a default: those are the settings' own.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::Result;
use clap::{Args, ValueEnum};
use infra::config::assign;
use toml::{Table, Value};

use crate::settings::Settings;

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Mode {
    Embedded,
    External,
}

/// Settings on the command line.
#[derive(Debug, Clone, Default, Args)]
pub(super) struct SettingsFlags {
    /// A file with settings; ringfleet.sample.toml explains every key
    #[arg(long, value_name = "FILE", env = "RINGFLEET_CONFIG")]
    config: Option<PathBuf>,
    /// Where everything durable lies [default: ringfleet in the user's data folder, ~/.local/share]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Where the API is served; port 0 takes a free one [default: 127.0.0.1:8080]
    #[arg(long, value_name = "ADDRESS")]
    http: Option<SocketAddr>,
    /// How clients reach the API, where that is not --http
    #[arg(long, value_name = "URL")]
    public_url: Option<String>,
    /// SIP over UDP; RTP uses the same address [default: 127.0.0.1:5060]
    #[arg(long, value_name = "ADDRESS")]
    sip: Option<SocketAddr>,
    /// Ports for RTP and RTCP, in pairs [default: 20000-29999]
    #[arg(long, value_name = "A-B")]
    rtp_ports: Option<String>,
    /// Whether a fleet server runs in this process, or ringfleet-fleet processes join [default: embedded]
    #[arg(long, value_name = "MODE")]
    fleet: Option<Mode>,
    /// The fleet server's private port, with /metrics [default: 127.0.0.1:0]
    #[arg(long, value_name = "ADDRESS")]
    fleet_http: Option<SocketAddr>,
    /// Where diallers connect by WebSocket [default: 127.0.0.1:8091]
    #[arg(long, value_name = "ADDRESS")]
    ws: Option<SocketAddr>,
    /// The fleet server's id [default: local]
    #[arg(long, value_name = "ID")]
    server_id: Option<String>,
    /// Calls that the fleet server takes at once [default: 100]
    #[arg(long, value_name = "N")]
    max_calls: Option<u32>,
    /// Where the fleet server keeps what ended calls leave until it is told [default: spool, below --data]
    #[arg(long, value_name = "DIR")]
    spool: Option<PathBuf>,
    /// The secrets shared with fleet servers [default: secrets/fleet.json, below --data]
    #[arg(long, value_name = "FILE")]
    fleet_secret_file: Option<PathBuf>,
    /// The folder of the speech models [default: ringfleet/models in the user's cache folder, ~/.cache]
    #[arg(long, value_name = "DIR")]
    models: Option<PathBuf>,
    /// What is logged on standard error, as in RUST_LOG [default: info]
    #[arg(long, value_name = "LEVEL")]
    log: Option<String>,
    /// Any other setting, e.g. --set periods.sweep=5s
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
}

impl SettingsFlags {
    /// Reads the settings with these flags on top.
    ///
    /// # Errors
    /// Names the key that is wrong and where it stands.
    pub(super) fn load(&self) -> Result<Settings> {
        Ok(Settings::load(self.config.as_deref(), self.layer()?)?)
    }

    /// Whether the SIP address was chosen, here or in a lower layer.
    pub(super) fn chooses_sip(&self, settings: &Settings) -> bool {
        settings.fleet.sip != Settings::defaults().fleet.sip
    }

    fn layer(&self) -> Result<Table> {
        let mut flags = Table::new();
        for assignment in &self.set {
            assign(&mut flags, assignment)?;
        }
        let path = |path: &Option<PathBuf>| path.as_deref().map(text);
        let address = |address: &Option<SocketAddr>| address.map(|address| Value::String(address.to_string()));
        let string = |string: &Option<String>| string.clone().map(Value::String);
        put(&mut flags, &["data"], path(&self.data));
        put(&mut flags, &["http"], address(&self.http));
        put(&mut flags, &["public_url"], string(&self.public_url));
        put(&mut flags, &["fleet", "sip"], address(&self.sip));
        put(&mut flags, &["fleet", "rtp_ports"], string(&self.rtp_ports));
        put(&mut flags, &["fleet_mode"], self.fleet.map(|mode| Value::String(word(mode).to_owned())));
        put(&mut flags, &["fleet", "http"], address(&self.fleet_http));
        put(&mut flags, &["fleet", "ws"], address(&self.ws));
        put(&mut flags, &["fleet", "server_id"], string(&self.server_id));
        put(&mut flags, &["fleet", "max_calls"], self.max_calls.map(|calls| Value::Integer(calls.into())));
        put(&mut flags, &["fleet", "spool"], path(&self.spool));
        put(&mut flags, &["fleet_secret_file"], path(&self.fleet_secret_file));
        put(&mut flags, &["models"], path(&self.models));
        put(&mut flags, &["telemetry", "level"], string(&self.log));
        Ok(flags)
    }
}

fn word(mode: Mode) -> &'static str {
    match mode {
        Mode::Embedded => "embedded",
        Mode::External => "external",
    }
}

fn text(path: &Path) -> Value {
    Value::String(path.to_string_lossy().into_owned())
}

/// Sets one key; a flag of its own goes before `--set`.
fn put(flags: &mut Table, key: &[&str], value: Option<Value>) {
    let (Some(value), Some((last, sections))) = (value, key.split_last()) else { return };
    let mut table = flags;
    for section in sections {
        let inner = table.entry(*section).or_insert_with(|| Value::Table(Table::new()));
        if !inner.is_table() {
            *inner = Value::Table(Table::new());
        }
        let Value::Table(inner) = inner else { return };
        table = inner;
    }
    table.insert((*last).to_owned(), value);
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        flags: SettingsFlags,
    }

    fn layer(arguments: &[&str]) -> String {
        let line = Line::try_parse_from(std::iter::once(&"test").chain(arguments)).unwrap();
        line.flags.layer().map_or_else(|error| error.to_string(), |table| Value::Table(table).to_string())
    }

    #[test]
    fn flags_are_keys() {
        let check = |arguments: &[&str], expect: &str| assert_eq!(layer(arguments), expect, "{arguments:?}");
        check(&[], "{}");
        check(&["--data", "d", "--http", "127.0.0.1:1"], r#"{ data = "d", http = "127.0.0.1:1" }"#);
        check(
            &["--sip", "[::1]:5060", "--rtp-ports", "1-2"],
            r#"{ fleet = { rtp_ports = "1-2", sip = "[::1]:5060" } }"#,
        );
        check(&["--fleet", "external"], r#"{ fleet_mode = "external" }"#);
        check(&["--set", "fleet.max_calls=3", "--max-calls", "5"], "{ fleet = { max_calls = 5 } }");
        check(
            &["--set", "periods.sweep=5s", "--log", "debug"],
            r#"{ periods = { sweep = "5s" }, telemetry = { level = "debug" } }"#,
        );
        assert!(layer(&["--set", "nonsense"]).contains("`nonsense` is no assignment"));
    }

    #[test]
    fn every_flag_is_a_known_key() {
        let all = [
            "--data=d",
            "--http=127.0.0.1:1",
            "--public-url=http://x",
            "--sip=127.0.0.1:2",
            "--rtp-ports=20000-20009",
            "--fleet=external",
            "--fleet-http=127.0.0.1:3",
            "--ws=127.0.0.1:4",
            "--server-id=s",
            "--max-calls=1",
            "--spool=s",
            "--fleet-secret-file=f",
            "--models=m",
            "--log=debug",
            "--set=periods.sweep=5s",
        ];
        let line = Line::try_parse_from(std::iter::once(&"test").chain(&all)).unwrap();
        let settings = Settings::load_from(None, Vec::new(), line.flags.layer().unwrap()).unwrap();
        assert_eq!((settings.fleet.max_calls, settings.fleet.sip.port(), settings.http.port()), (1, 2, 1));
    }
}
