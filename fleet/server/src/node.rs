//! What all parts of one fleet server share: its identity, its ports to the outside and its pools.
//! It must never hold the state of a call.

use std::sync::Arc;
use std::time::Duration;

use domain::ports::{ApiKeys, Bots, Calls, Clock, Entropy, Objects, Outbound, Queues, Seal, Secrets, Servers, Trunks};
use tokio_util::task::TaskTracker;

use crate::admission::Admission;
use crate::door::Door;
use crate::finish::Finishing;
use crate::heartbeat::Identity;
use crate::legs::SipLegs;
use crate::live::Live;
use crate::passing::Passing;
use crate::peers::Peers;
use crate::provider::Speech;
use crate::recording::Recordings;
use crate::sip_door::SipDoor;
use crate::ws::Sockets;

/// The outside world, as `infra` or a test gives it.
#[derive(Clone)]
pub struct Ports {
    pub clock: Arc<dyn Clock>,
    pub entropy: Arc<dyn Entropy>,
    pub api_keys: Arc<dyn ApiKeys>,
    pub bots: Arc<dyn Bots>,
    pub trunks: Arc<dyn Trunks>,
    pub calls: Arc<dyn Calls>,
    pub servers: Arc<dyn Servers>,
    pub objects: Arc<dyn Objects>,
    pub queues: Arc<dyn Queues>,
    pub outbound: Arc<dyn Outbound>,
    pub secrets: Arc<dyn Secrets>,
    pub seal: Arc<dyn Seal>,
    /// For language models: guarded like every URL that a user gives.
    pub http: reqwest::Client,
}

impl std::fmt::Debug for Ports {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Ports")
    }
}

/// One running fleet server.
#[derive(Debug)]
pub(crate) struct Node {
    pub identity: Identity,
    pub ports: Ports,
    pub admission: Admission,
    pub door: Door,
    /// WebSockets that peers have the calls of.
    pub passing: Passing,
    pub live: Live,
    pub finishing: Finishing,
    pub legs: SipLegs,
    pub sip_door: SipDoor,
    pub peers: Peers,
    pub recordings: Recordings,
    pub speech: Arc<Speech>,
    /// The model of bots that name none of their own.
    pub model: crate::model::DeploymentModel,
    /// Recordings are checkpointed to the bucket this often.
    pub checkpoint_every: Duration,
    /// Diallers that are connected by WebSocket.
    pub sockets: Sockets,
    /// The tasks of live calls.
    pub calls: TaskTracker,
}
