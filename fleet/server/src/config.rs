//! The fleet server's own settings, and what they mean once they are checked. It must never read a file or the
//! environment: `main.rs` and `infra/local` do.

use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use domain::ids::{IdError, ServerId};
use domain::machine::Place;
use ipnet::IpNet;
use serde::Deserialize;
use thiserror::Error;

use crate::bench::BenchConfig;
use crate::provider::LlmConfig;
use crate::sip_door::{SipOverflow, SipUnknown};

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
    /// Where diallers connect by WebSocket: with TLS if there is a certificate, else plain.
    pub ws: SocketAddr,
    /// The URL under which diallers reach that, without a path, where it differs: `wss://HOST[:PORT]`.
    pub ws_advertised: Option<String>,
    /// PEM file: the certificate of `ws`, and after it those that lead to its root.
    pub tls_certificate: Option<PathBuf>,
    /// PEM file: the certificate's private key.
    pub tls_key: Option<PathBuf>,
    /// Proxies and balancers in front of `ws` whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<IpNet>,
    /// WebSockets that one client address may have open at once; 0 = as many as it likes.
    pub ws_per_address: u32,
    /// Messages that one WebSocket may send in a second, on average over a few seconds.
    pub ws_max_rate: u32,
    /// SIP over UDP; RTP uses the same address.
    pub sip: SocketAddr,
    /// What Via and Contact say, where it differs.
    pub sip_advertised: Option<SocketAddr>,
    /// What becomes of calls from addresses of no trunk.
    pub sip_unknown: SipUnknown,
    /// What becomes of calls that find no room here.
    pub sip_overflow: SipOverflow,
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
    /// Whence the addresses come that no setting names.
    pub addresses: Addresses,
    /// Whoever ends the machine, and must wait for this server's calls.
    pub lifecycle: LifecycleSettings,
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
            ws: SocketAddr::from(([127, 0, 0, 1], 8091)),
            ws_advertised: None,
            tls_certificate: None,
            tls_key: None,
            trusted_proxies: Vec::new(),
            ws_per_address: 2000,
            ws_max_rate: 500,
            sip: SocketAddr::from(([127, 0, 0, 1], 5060)),
            sip_advertised: None,
            sip_unknown: SipUnknown::default(),
            sip_overflow: SipOverflow::default(),
            media_advertised: None,
            rtp_ports: "20000-29999".to_owned(),
            media_threads: 0,
            max_calls: 100,
            group: None,
            spool: PathBuf::from("spool"),
            addresses: Addresses::default(),
            lifecycle: LifecycleSettings::default(),
            bench_wav: None,
            bench_folder: None,
        }
    }
}

/// Whence a server has its id and the addresses under which others reach it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Addresses {
    /// Those that it is bound to.
    #[default]
    Own,
    /// The machine's: the private one for the control plane, the public one for SIP and RTP.
    Imds,
    /// The machine's private one for all: carriers are in the same network.
    ImdsPrivate,
}

/// The hook of an Auto Scaling group that makes it wait for a server whose machine it ends. Without one, nobody is asked
/// what is to become of the machine.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LifecycleSettings {
    pub group: Option<String>,
    pub hook: Option<String>,
}

/// An Auto Scaling group and its hook for machines that end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hook {
    pub group: String,
    pub hook: String,
}

impl LifecycleSettings {
    /// The hook, if one is set.
    ///
    /// # Errors
    /// Only one of its two parts is set.
    pub fn hook(&self) -> Result<Option<Hook>, SettingsError> {
        match (self.group.clone(), self.hook.clone()) {
            (Some(group), Some(hook)) => Ok(Some(Hook { group, hook })),
            (None, None) => Ok(None),
            _ => Err(SettingsError::Lifecycle),
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
    #[error("fleet.ws_advertised `{0}`: write the URL without a path, such as wss://calls.example.com")]
    WsAdvertised(String),
    #[error("fleet.tls_certificate and fleet.tls_key go together: set both, or none to serve WebSockets without TLS")]
    Tls,
    #[error(
        "fleet.lifecycle.group and fleet.lifecycle.hook go together: set both, or none if nobody ends this machine"
    )]
    Lifecycle,
    #[error(
        "fleet.addresses `imds`: this machine has no public IPv4 address; give it one (an Elastic IP), or write `imds_private` if carriers reach its private one"
    )]
    NoPublicAddress,
    #[error("fleet.ws_max_rate 0: a WebSocket sends some 50 messages a second, and nothing could be heard")]
    WsMaxRate,
    #[error("fleet.sip {0}: SDP needs a real address; set fleet.media_advertised and fleet.sip_advertised beside it")]
    Unspecified(SocketAddr),
    #[error("fleet.bench_wav {path}: {cause}")]
    BenchWav { path: PathBuf, cause: String },
    #[error("fleet.bench_folder: the folder for the bench's recordings is missing beside fleet.bench_wav")]
    BenchFolder,
}

/// The WebSocket port's part of the settings.
#[derive(Debug, Clone)]
pub struct WsConfig {
    pub listen: SocketAddr,
    /// `ws://…` or `wss://…`, without a path and without a slash at its end.
    pub advertised: Option<String>,
    /// None: plain.
    pub tls: Option<TlsFiles>,
    pub trusted_proxies: Vec<IpNet>,
    /// 0 = unlimited.
    pub per_address: u32,
    /// Messages a second.
    pub max_rate: u32,
}

/// Where a certificate chain and its private key lie, as PEM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    pub certificate: PathBuf,
    pub key: PathBuf,
}

/// Checked settings.
#[derive(Debug, Clone)]
pub struct ServerConfig {
    pub server_id: ServerId,
    pub http: SocketAddr,
    pub http_advertised: Option<String>,
    pub ws: WsConfig,
    pub sip: SocketAddr,
    pub sip_advertised: Option<SocketAddr>,
    pub sip_unknown: SipUnknown,
    pub sip_overflow: SipOverflow,
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
    /// Takes from the machine what [`Addresses`] says and no setting names: the id, and what is advertised.
    ///
    /// # Errors
    /// The machine lacks an address.
    pub fn located(mut self, place: &Place) -> Result<Self, SettingsError> {
        let outside = match self.addresses {
            Addresses::Own => return Ok(self),
            Addresses::Imds => place.public.ok_or(SettingsError::NoPublicAddress)?,
            Addresses::ImdsPrivate => place.private,
        };
        if self.server_id.is_empty() {
            self.server_id.clone_from(&place.id);
        }
        let private = SocketAddr::new(place.private, self.http.port());
        self.http_advertised.get_or_insert_with(|| private.to_string());
        self.sip_advertised.get_or_insert(SocketAddr::new(outside, self.sip.port()));
        self.media_advertised.get_or_insert(outside);
        Ok(self)
    }

    /// Checks the settings; `host_name` names a server that has no id of its own.
    ///
    /// # Errors
    /// Names the key that is wrong.
    pub fn check(self, host_name: &str, timing: Timing, llm: Option<LlmConfig>) -> Result<ServerConfig, SettingsError> {
        let ws = self.ws_config()?;
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
            ws,
            sip: self.sip,
            sip_advertised: self.sip_advertised,
            sip_unknown: self.sip_unknown,
            sip_overflow: self.sip_overflow,
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

    fn ws_config(&self) -> Result<WsConfig, SettingsError> {
        let tls = match (self.tls_certificate.clone(), self.tls_key.clone()) {
            (Some(certificate), Some(key)) => Some(TlsFiles { certificate, key }),
            (None, None) => None,
            _ => return Err(SettingsError::Tls),
        };
        let advertised = self.ws_advertised.as_deref().map(ws_base).transpose()?;
        if self.ws_max_rate == 0 {
            return Err(SettingsError::WsMaxRate);
        }
        Ok(WsConfig {
            listen: self.ws,
            advertised,
            tls,
            trusted_proxies: self.trusted_proxies.clone(),
            per_address: self.ws_per_address,
            max_rate: self.ws_max_rate,
        })
    }
}

fn ws_base(text: &str) -> Result<String, SettingsError> {
    domain::websocket::base_url(text).ok_or_else(|| SettingsError::WsAdvertised(text.to_owned()))
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
        check(|s| s.ws_advertised = Some("wss://calls.example.com/".into()), Ok("host-1"));
        for bad in
            ["calls.example.com:8091", "https://calls.example.com", "wss://calls.example.com/ws", "wss://u:p@h", ""]
        {
            let settings = ServerSettings { ws_advertised: Some(bad.into()), ..ServerSettings::default() };
            let said = settings.check("host-1", TIMING, None).unwrap_err().to_string();
            assert!(said.contains("fleet.ws_advertised") && said.contains("wss://"), "{bad}: {said}");
        }
        check(|s| s.tls_certificate = Some("c.pem".into()), Err("go together"));
        check(|s| s.tls_key = Some("k.pem".into()), Err("go together"));
        check(|s| s.ws_max_rate = 0, Err("fleet.ws_max_rate"));
        check(|s| s.sip = "0.0.0.0:5060".parse().unwrap(), Err("fleet.media_advertised"));
        check(|s| s.lifecycle.hook = Some("drain".into()), Ok("host-1"));
        check(|s| s.bench_wav = Some("/nonexistent.wav".into()), Err("fleet.bench_wav /nonexistent.wav"));
    }

    #[test]
    fn a_hook_has_a_group_and_a_name() {
        let hook = |group: Option<&str>, hook: Option<&str>| {
            LifecycleSettings { group: group.map(str::to_owned), hook: hook.map(str::to_owned) }.hook()
        };
        assert!(matches!(hook(None, None), Ok(None)));
        assert_eq!(hook(Some("g"), Some("h")).unwrap(), Some(Hook { group: "g".into(), hook: "h".into() }));
        for (group, name) in [(Some("g"), None), (None, Some("h"))] {
            assert!(hook(group, name).unwrap_err().to_string().contains("fleet.lifecycle.hook go together"));
        }
    }

    #[test]
    fn what_no_setting_names_is_the_machine_s() {
        let place = |public: Option<&str>| Place {
            id: "i-1".into(),
            private: "10.0.0.7".parse().unwrap(),
            public: public.map(|address| address.parse().unwrap()),
        };
        let check = |edit: fn(&mut ServerSettings), place: Place, expect: [&str; 4]| {
            let mut settings = ServerSettings { sip: "0.0.0.0:5060".parse().unwrap(), ..ServerSettings::default() };
            edit(&mut settings);
            let made = settings.located(&place).unwrap();
            let words = [
                made.server_id.clone(),
                made.http_advertised.clone().unwrap_or_default(),
                made.sip_advertised.map(|address| address.to_string()).unwrap_or_default(),
                made.media_advertised.map(|address| address.to_string()).unwrap_or_default(),
            ];
            assert_eq!(words, expect.map(str::to_owned));
            // With addresses of its own it may be bound to all.
            assert!(expect[2].is_empty() || made.check("host-1", TIMING, None).is_ok());
        };
        check(|_| {}, place(Some("203.0.113.7")), ["", "", "", ""]);
        check(
            |s| s.addresses = Addresses::Imds,
            place(Some("203.0.113.7")),
            ["i-1", "10.0.0.7:8090", "203.0.113.7:5060", "203.0.113.7"],
        );
        check(
            |s| s.addresses = Addresses::ImdsPrivate,
            place(None),
            ["i-1", "10.0.0.7:8090", "10.0.0.7:5060", "10.0.0.7"],
        );
        check(
            |s| {
                s.addresses = Addresses::Imds;
                s.server_id = "own".into();
                s.media_advertised = Some("198.51.100.1".parse().unwrap());
                s.http.set_port(9000);
            },
            place(Some("203.0.113.7")),
            ["own", "10.0.0.7:9000", "203.0.113.7:5060", "198.51.100.1"],
        );
        let lost = ServerSettings { addresses: Addresses::Imds, ..ServerSettings::default() }.located(&place(None));
        assert!(lost.unwrap_err().to_string().contains("imds_private"));
    }
}
