//! What a socket needs of its server to become a call. It must never start one without its slot.

use std::sync::Arc;

use dialect::Opening;
use domain::bot::Bot;
use domain::call::Direction;
use domain::fleet::Refusal;
use domain::ids::{BotId, CallId, KeyId};

use super::Stream;
use crate::accept::inbound::{Arrival, arrive};
use crate::admission::Permit;
use crate::audio::{AudioPort, MediaHandle, SocketLine};
use crate::bench::Bench;
use crate::legs::websocket::Reception;
use crate::legs::{Leg, Taken};
use crate::node::Node;

/// The server, to one socket.
#[derive(Debug)]
pub(super) struct Desk {
    pub node: Arc<Node>,
    pub bot: Arc<Bot>,
    pub key_id: Option<KeyId>,
    pub permit: Permit,
}

impl Reception for Desk {
    fn audio(&self) -> (MediaHandle, AudioPort, SocketLine) {
        self.node.legs.rtp().reserve_socket()
    }

    async fn claim(&self, stream: &str) -> Stream {
        self.node.sockets.streams.claim(&self.bot.bot_id, stream).await
    }

    async fn take(self, opening: &Opening, leg: Leg) -> Result<CallId, Refusal> {
        let (caller, did) = (opening.caller.clone().unwrap_or_default(), opening.did.clone().unwrap_or_default());
        let (from, to) = match opening.direction {
            Direction::Inbound => (caller, did),
            // The dialler called the customer: `caller` is the customer's number all the same.
            Direction::Outbound => (did, caller),
        };
        let arrival = Arrival {
            bot: self.bot,
            trunk: None,
            direction: opening.direction,
            from,
            to,
            fields: opening.fields.clone(),
            key_id: self.key_id,
            permit: self.permit,
        };
        arrive(&self.node, arrival, leg).await
    }
}

/// The bench, to one socket.
#[derive(Debug)]
pub(super) struct BenchDesk {
    pub node: Arc<Node>,
    pub bench: Bench,
}

impl Reception for BenchDesk {
    fn audio(&self) -> (MediaHandle, AudioPort, SocketLine) {
        self.node.legs.rtp().reserve_socket()
    }

    async fn claim(&self, stream: &str) -> Stream {
        let bench = BotId::parse("bench").expect("it has letters only");
        self.node.sockets.streams.claim(&bench, stream).await
    }

    async fn take(self, _opening: &Opening, mut leg: Leg) -> Result<CallId, Refusal> {
        if let Some(taken) = leg.taken.take() {
            // The bench records from its own opening on.
            let _ = taken.send(Taken { call_id: CallId::NIL, recording: None });
        }
        tokio::spawn(async move { self.bench.hold_socket(leg).await });
        Ok(CallId::NIL)
    }
}
