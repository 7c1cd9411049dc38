//! The fleet server: the shell around the sans-IO cores, with sockets, media threads, call tasks and providers.
//! It must never import `functions`, and never name an adapter of `infra`: the outside comes in as ports.

mod accept;
pub mod admission;
pub mod audio;
pub mod bench;
mod config;
mod door;
mod finish;
mod heartbeat;
mod http;
mod legs;
pub mod lifecycle;
mod live;
mod lookout;
mod model;
mod node;
mod passing;
mod peers;
mod prefetch;
pub mod provider;
pub mod recording;
mod recover;
pub mod signalling;
mod sip_door;
mod start;
mod talk;
mod tls;
mod ws;

pub use config::{
    Addresses, Hook, LifecycleSettings, ServerConfig, ServerSettings, SettingsError, Timing, TlsFiles, WsConfig,
};
pub use legs::sip::negotiated;
pub use node::Ports;
pub use sip_door::{SipOverflow, SipUnknown};
pub use start::{Server, StartError, start};
pub use tls::{ListenError, TlsError};
