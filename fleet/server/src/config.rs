//! The fleet server's own settings, and what they mean once they are checked. It must never read a file or the
//! environment: `main.rs` and `infra/local` do.

use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use domain::ids::{IdError, ServerId};
use serde::Deserialize;
use thiserror::Error;

use crate::bench::BenchConfig;
use crate::provider::LlmConfig;

/// As they stand in flags, environment and the config file (section `fleet`).
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ServerSettings {
    /// Lasts over restarts; the host's name if empty.
    pub server_id: String,
    /// Private HTTP port for the control plane and `/metrics`.
    pub http: SocketAddr,
    /// `host:port` under which the control plane reaches it, where it differs.
    pub http_advertised: Option<String>,
    /// SIP over UDP; RTP uses the same address.
    pub sip: SocketAddr,
    /// What Via and Contact say, where it differs.
    pub sip_advertised: Option<SocketAddr>,
    /// What SDP says, where it differs.
    pub media_advertised: Option<IpAddr>,
    /// `A-B`: even ports carry RTP, the odd ones above them RTCP.
    pub rtp_ports: String,
    /// 0 = one a core.
    pub media_threads: usize,
    pub max_calls: u32,
    /// Trunks with a `server_group` are served by servers of that group only.
    pub group: Option<String>,
    /// Where what a call leaves is kept until the control plane has it.
    pub spool: PathBuf,
    /// A WAV (8 kHz, mono) that calls to the user `bench` are played, for load tests.
    pub bench_wav: Option<PathBuf>,
    /// Where the bench's recordings go.
    pub bench_folder: Option<PathBuf>,
}

impl Default for ServerSettings {
    fn default() -> Self {
        Self {
            server_id: String::new(),
            http: SocketAddr::from(([127, 0, 0, 1], 8090)),
            http_advertised: None,
            sip: SocketAddr::from(([127, 0, 0, 1], 5060)),
            sip_advertised: None,
            media_advertised: None,
            rtp_ports: "20000-29999".to_owned(),
            media_threads: 0,
            max_calls: 100,
            group: None,
            spool: PathBuf::from("spool"),
            bench_wav: None,
            bench_folder: None,
        }
    }
}

/// Periods and limits that other parts of the platform share.
#[derive(Debug, Clone, Copy)]
pub struct Timing {
    pub heartbeat: Duration,
    pub checkpoint: Duration,
    pub announce_by: Duration,
    pub drain: Duration,
}

/// Why settings can't be used; says which key and what would be right.
#[derive(Debug, Error)]
pub enum SettingsError {
    #[error("fleet.server_id `{0}`: {1}")]
    ServerId(String, IdError),
    #[error("fleet.rtp_ports `{0}`: write a range such as 20000-29999")]
    RtpPorts(String),
    #[error("fleet.sip {0}: SDP needs a real address; set fleet.media_advertised and fleet.sip_advertised beside it")]
    Unspecified(SocketAddr),
    #[error("fleet.bench_wav {path}: {cause}")]
    BenchWav { path: PathBuf, cause: String },
    #[error("fleet.bench_folder: the folder for the bench's recordings is missing beside fleet.bench_wav")]
    BenchFolder,
}

/// Checked settings.
#[derive(Debug, Clone)]
pub struct ServerConfig {
    pub server_id: ServerId,
    pub http: SocketAddr,
    pub http_advertised: Option<String>,
    pub sip: SocketAddr,
    pub sip_advertised: Option<SocketAddr>,
    pub media_advertised: Option<IpAddr>,
    pub rtp_ports: RangeInclusive<u16>,
    pub media_threads: usize,
    pub max_calls: u32,
    pub group: Option<String>,
    pub spool: PathBuf,
    pub bench: Option<BenchConfig>,
    pub heartbeat: Duration,
    pub checkpoint_every: Duration,
    pub announce_by: Duration,
    pub drain_limit: Duration,
    pub llm: Option<LlmConfig>,
}

impl ServerSettings {
    /// Checks the settings; `host_name` names a server that has no id of its own.
    ///
    /// # Errors
    /// Names the key that is wrong.
    pub fn check(self, host_name: &str, timing: Timing, llm: Option<LlmConfig>) -> Result<ServerConfig, SettingsError> {
        let name = if self.server_id.is_empty() { host_name.to_owned() } else { self.server_id };
        let server_id = ServerId::parse(name.as_str()).map_err(|error| SettingsError::ServerId(name, error))?;
        if self.sip.ip().is_unspecified() && (self.media_advertised.is_none() || self.sip_advertised.is_none()) {
            return Err(SettingsError::Unspecified(self.sip));
        }
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Ok(ServerConfig {
            server_id,
            http: self.http,
            http_advertised: self.http_advertised,
            sip: self.sip,
            sip_advertised: self.sip_advertised,
            media_advertised: self.media_advertised,
            rtp_ports: range(&self.rtp_ports)?,
            media_threads: if self.media_threads == 0 { cores } else { self.media_threads },
            max_calls: self.max_calls,
            group: self.group,
            spool: self.spool,
            bench: bench(self.bench_wav, self.bench_folder)?,
            heartbeat: timing.heartbeat,
            checkpoint_every: timing.checkpoint,
            announce_by: timing.announce_by,
            drain_limit: timing.drain,
            llm,
        })
    }
}

fn range(text: &str) -> Result<RangeInclusive<u16>, SettingsError> {
    let read = || -> Option<RangeInclusive<u16>> {
        let (from, to) = text.split_once('-')?;
        let (from, to): (u16, u16) = (from.trim().parse().ok()?, to.trim().parse().ok()?);
        (from >= 1024 && from < to).then_some(from..=to)
    };
    read().ok_or_else(|| SettingsError::RtpPorts(text.to_owned()))
}

fn bench(wav: Option<PathBuf>, folder: Option<PathBuf>) -> Result<Option<BenchConfig>, SettingsError> {
    let Some(path) = wav else { return Ok(None) };
    let failed = |cause: String| SettingsError::BenchWav { path: path.clone(), cause };
    let bytes = std::fs::read(&path).map_err(|error| failed(error.to_string()))?;
    let wav = media::wav::Wav::read(&bytes).map_err(|error| failed(error.to_string()))?;
    if wav.sample_rate != media::SAMPLE_RATE {
        return Err(failed(format!("it has {} samples a second; 8000 are needed", wav.sample_rate)));
    }
    let clip = media::Clip::encoded(wav.channel(0), media::Codec::Pcmu);
    Ok(Some(BenchConfig { clip, folder: folder.ok_or(SettingsError::BenchFolder)? }))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMING: Timing = Timing {
        heartbeat: Duration::from_secs(2),
        checkpoint: Duration::from_secs(30),
        announce_by: Duration::from_secs(60),
        drain: Duration::from_secs(900),
    };

    #[test]
    fn settings_are_checked_with_a_word_on_what_is_wrong() {
        let check = |edit: fn(&mut ServerSettings), expect: Result<&str, &str>| {
            let mut settings = ServerSettings::default();
            edit(&mut settings);
            let got = settings
                .check("host-1", TIMING, None)
                .map(|config| config.server_id.to_string())
                .map_err(|error| error.to_string());
            match expect {
                Ok(id) => assert_eq!(got, Ok(id.to_owned())),
                Err(part) => assert!(got.as_ref().is_err_and(|error| error.contains(part)), "{got:?} lacks {part}"),
            }
        };
        check(|_| {}, Ok("host-1"));
        check(|s| s.server_id = "a".into(), Ok("a"));
        check(|s| s.server_id = "a b".into(), Err("fleet.server_id `a b`"));
        check(|s| s.rtp_ports = "20000".into(), Err("fleet.rtp_ports `20000`"));
        check(|s| s.rtp_ports = "9-8".into(), Err("write a range"));
        check(|s| s.rtp_ports = "80-90".into(), Err("write a range"));
        check(|s| s.sip = "0.0.0.0:5060".parse().unwrap(), Err("fleet.media_advertised"));
        check(|s| s.bench_wav = Some("/nonexistent.wav".into()), Err("fleet.bench_wav /nonexistent.wav"));
    }
}
