//! The fleet server: the shell around the sans-IO cores, with sockets, media threads, call tasks and providers.
//! It must never import `functions`, and never name an adapter of `infra`: the outside comes in as ports.

mod accept;
pub mod admission;
pub mod bench;
mod config;
mod finish;
mod heartbeat;
mod http;
mod legs;
mod live;
mod node;
mod prefetch;
pub mod provider;
pub mod recording;
mod recover;
pub mod rtp;
pub mod signalling;
mod start;
mod talk;

pub use config::{ServerConfig, ServerSettings, SettingsError, Timing};
pub use legs::sip::negotiated;
pub use node::Ports;
pub use start::{Server, StartError, start};
