//! Transactions at work: finds them, runs their machines, keeps what they repeat and queues what they send.
//!
//! It must never know what a call is; users are named by an [`Owner`] that it only hands back.

mod derived;
mod keys;

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use crate::message::{Essentials, HeaderName, Message, Method};
use crate::reply::Request;
use crate::timers::Timers;
use crate::transaction::{Class, InviteClient, InviteServer, NonInviteClient, NonInviteServer, Output, Outputs, Timer};
use crate::{CallHandle, Limits, Stats, Transmit};

use derived::derived;
use keys::{client_key, merge_key, server_key};

/// Names a transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct TxId(u64);

/// Who uses a transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Owner {
    /// Our INVITE that starts a call.
    Invite(CallHandle),
    Bye(CallHandle),
    Info(CallHandle),
    /// Their INVITE that starts a call.
    Incoming(CallHandle),
    Reinvite(CallHandle),
    /// The outcome interests nobody.
    Nobody,
}

/// A timer that belongs to a call and not to a transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum CallTimer {
    /// Our 2xx is repeated until its ACK (RFC 3261 §13.3.1.4).
    Repeat2xx,
    /// No ACK came.
    NoAck,
    /// A cancelled INVITE was never finally answered (§9.1).
    CancelLimit,
    /// A provisional response is repeated so that proxies keep waiting (§13.3.1.1).
    KeepRinging,
}

impl CallTimer {
    const ALL: [CallTimer; 4] =
        [CallTimer::Repeat2xx, CallTimer::NoAck, CallTimer::CancelLimit, CallTimer::KeepRinging];
}

/// What a deadline is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Wake {
    Transaction(TxId, Timer),
    Call(CallHandle, CallTimer),
}

/// What is left to do for the owner after a machine has run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Effects {
    /// The message that came is for the owner.
    pub(super) pass: bool,
    pub(super) timed_out: bool,
    /// The transaction is forgotten.
    pub(super) gone: bool,
}

#[derive(Debug)]
enum Machine {
    InviteClient(InviteClient),
    InviteServer(InviteServer),
    NonInviteClient(NonInviteClient),
    NonInviteServer(NonInviteServer),
}

impl Machine {
    const fn timers(&self) -> &'static [Timer] {
        match self {
            Machine::InviteClient(_) => &[Timer::A, Timer::B, Timer::D, Timer::M],
            Machine::InviteServer(_) => &[Timer::G, Timer::H, Timer::I, Timer::L],
            Machine::NonInviteClient(_) => &[Timer::E, Timer::F, Timer::K],
            Machine::NonInviteServer(_) => &[Timer::J],
        }
    }
}

#[derive(Debug)]
struct Transaction {
    machine: Machine,
    key: String,
    merge_key: Option<String>,
    owner: Owner,
    /// The request of a client, the latest response of a server.
    latest: Option<Transmit>,
    /// The ACK for a failure response.
    ack: Option<Transmit>,
}

/// All transactions of an endpoint, their timers and the queue to the socket.
#[derive(Debug)]
pub(super) struct Wire {
    limits: Limits,
    pub(super) stats: Stats,
    pub(super) transmits: VecDeque<Transmit>,
    timers: Timers<Wake>,
    transactions: HashMap<TxId, Transaction>,
    by_key: HashMap<String, TxId>,
    merged: HashMap<String, TxId>,
    next: u64,
}

impl Wire {
    pub(super) fn new(limits: Limits) -> Self {
        Wire {
            limits,
            stats: Stats::default(),
            transmits: VecDeque::new(),
            timers: Timers::new(),
            transactions: HashMap::new(),
            by_key: HashMap::new(),
            merged: HashMap::new(),
            next: 0,
        }
    }

    pub(super) fn limits(&self) -> &Limits {
        &self.limits
    }

    pub(super) fn send(&mut self, transmit: Transmit) {
        self.transmits.push_back(transmit);
    }

    pub(super) fn resend(&mut self, transmit: Transmit) {
        self.stats.retransmissions += 1;
        self.send(transmit);
    }

    /// Whether there is room for one more transaction.
    pub(super) fn has_room(&self) -> bool {
        self.transactions.len() < self.limits.max_transactions
    }

    pub(super) fn live(&self) -> usize {
        self.transactions.len()
    }

    // Timers ---------------------------------------------------------------------------------------------------------

    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.timers.next_deadline()
    }

    pub(super) fn pop_timer(&mut self, now: Instant) -> Option<Wake> {
        self.timers.pop(now)
    }

    pub(super) fn arm_call(&mut self, call: CallHandle, timer: CallTimer, at: Instant) {
        self.timers.arm(Wake::Call(call, timer), at);
    }

    pub(super) fn disarm_call(&mut self, call: CallHandle, timer: CallTimer) {
        self.timers.disarm(Wake::Call(call, timer));
    }

    pub(super) fn disarm_all_of(&mut self, call: CallHandle) {
        for timer in CallTimer::ALL {
            self.disarm_call(call, timer);
        }
    }

    // Clients --------------------------------------------------------------------------------------------------------

    /// Sends a request in a transaction of its own.
    pub(super) fn request(
        &mut self,
        now: Instant,
        method: &str,
        branch: &str,
        transmit: Transmit,
        owner: Owner,
    ) -> TxId {
        let reliable = transmit.transport.reliable();
        let (machine, outputs) = if method == "INVITE" {
            let (machine, outputs) = InviteClient::start(reliable);
            (Machine::InviteClient(machine), outputs)
        } else {
            let (machine, outputs) = NonInviteClient::start(reliable);
            (Machine::NonInviteClient(machine), outputs)
        };
        let id = self.insert(Transaction {
            machine,
            key: client_key(branch, method),
            merge_key: None,
            owner,
            latest: Some(transmit),
            ack: None,
        });
        self.run(now, id, outputs, None);
        id
    }

    /// The transaction a response belongs to.
    pub(super) fn client_of(&self, essentials: &Essentials) -> Option<(TxId, Owner)> {
        let branch = essentials.branch.as_deref()?;
        let id = self.by_key.get(&client_key(branch, essentials.method.as_str()))?;
        Some((*id, self.transactions.get(id)?.owner))
    }

    pub(super) fn on_response(&mut self, now: Instant, id: TxId, code: u16, message: &Message) -> Effects {
        let class = Class::of(code);
        let outputs = match self.transactions.get_mut(&id).map(|tx| &mut tx.machine) {
            Some(Machine::InviteClient(machine)) => machine.on_response(class),
            Some(Machine::NonInviteClient(machine)) => machine.on_response(class),
            Some(Machine::InviteServer(_) | Machine::NonInviteServer(_)) | None => {
                return Effects::default();
            }
        };
        self.run(now, id, outputs, Some(message))
    }

    /// Cancels an INVITE of ours that has had a provisional response (RFC 3261 §9.1).
    pub(super) fn cancel(&mut self, now: Instant, invite: TxId, reason: Option<&str>) {
        let Some(sent) = self.transactions.get(&invite).and_then(|tx| tx.latest.clone()) else {
            return;
        };
        if let Some((bytes, branch)) = derived("CANCEL", &sent.bytes, None, reason, &self.limits) {
            let transmit = Transmit { bytes, ..sent };
            self.request(now, "CANCEL", &branch, transmit, Owner::Nobody);
        }
    }

    /// What a transaction sent last.
    pub(super) fn latest(&self, id: TxId) -> Option<&Transmit> {
        self.transactions.get(&id)?.latest.as_ref()
    }

    // Servers --------------------------------------------------------------------------------------------------------

    /// Starts a server transaction for a request that belongs to none.
    pub(super) fn serve(&mut self, request: &Request, owner: Owner) -> TxId {
        let reliable = request.source.transport.reliable();
        let machine = if request.essentials.method == Method::Invite {
            Machine::InviteServer(InviteServer::start(reliable))
        } else {
            Machine::NonInviteServer(NonInviteServer::start(reliable))
        };
        let merge_key = merge_key(&request.essentials);
        let id = self.insert(Transaction {
            machine,
            key: server_key(request, &request.essentials.method),
            merge_key: merge_key.clone(),
            owner,
            latest: None,
            ack: None,
        });
        if let Some(key) = merge_key {
            self.merged.insert(key, id);
        }
        id
    }

    /// The transaction that a request repeats, or that an ACK or a CANCEL (`method`: INVITE) is for.
    pub(super) fn server_of(&self, request: &Request, method: &Method) -> Option<(TxId, Owner)> {
        let id = self.by_key.get(&server_key(request, method))?;
        Some((*id, self.transactions.get(id)?.owner))
    }

    /// Whether the same request came by another way already (§8.2.2.2).
    pub(super) fn is_merged(&self, essentials: &Essentials) -> bool {
        merge_key(essentials).is_some_and(|key| self.merged.contains_key(&key))
    }

    pub(super) fn on_repeated(&mut self, now: Instant, id: TxId) {
        let outputs = match self.transactions.get_mut(&id).map(|tx| &mut tx.machine) {
            Some(Machine::InviteServer(machine)) => machine.on_request(),
            Some(Machine::NonInviteServer(machine)) => machine.on_request(),
            Some(Machine::InviteClient(_) | Machine::NonInviteClient(_)) | None => return,
        };
        self.run(now, id, outputs, None);
    }

    pub(super) fn on_ack(&mut self, now: Instant, id: TxId) -> Effects {
        let outputs = match self.transactions.get_mut(&id).map(|tx| &mut tx.machine) {
            Some(Machine::InviteServer(machine)) => machine.on_ack(),
            _ => return Effects::default(),
        };
        self.run(now, id, outputs, None)
    }

    pub(super) fn respond(&mut self, now: Instant, id: TxId, code: u16, transmit: Transmit) {
        let class = Class::of(code);
        let Some(transaction) = self.transactions.get_mut(&id) else {
            return;
        };
        let outputs = match &mut transaction.machine {
            Machine::InviteServer(machine) => machine.respond(class),
            Machine::NonInviteServer(machine) => machine.respond(class),
            Machine::InviteClient(_) | Machine::NonInviteClient(_) => return,
        };
        if !outputs.is_empty() {
            transaction.latest = Some(transmit);
        }
        self.run(now, id, outputs, None);
    }

    /// Sends the latest response of a server transaction once more.
    pub(super) fn repeat(&mut self, id: TxId) {
        if let Some(transmit) = self.latest(id).cloned() {
            self.resend(transmit);
        }
    }

    // Both -----------------------------------------------------------------------------------------------------------

    pub(super) fn on_timer(&mut self, now: Instant, id: TxId, timer: Timer) -> (Effects, Owner) {
        let Some(transaction) = self.transactions.get_mut(&id) else {
            return (Effects::default(), Owner::Nobody);
        };
        let owner = transaction.owner;
        let outputs = match &mut transaction.machine {
            Machine::InviteClient(machine) => machine.on_timer(timer),
            Machine::InviteServer(machine) => machine.on_timer(timer),
            Machine::NonInviteClient(machine) => machine.on_timer(timer),
            Machine::NonInviteServer(machine) => machine.on_timer(timer),
        };
        (self.run(now, id, outputs, None), owner)
    }

    /// Forgets a transaction and its timers.
    pub(super) fn remove(&mut self, id: TxId) {
        let Some(transaction) = self.transactions.remove(&id) else {
            return;
        };
        for timer in transaction.machine.timers() {
            self.timers.disarm(Wake::Transaction(id, *timer));
        }
        if self.by_key.get(&transaction.key) == Some(&id) {
            self.by_key.remove(&transaction.key);
        }
        if let Some(key) = transaction.merge_key
            && self.merged.get(&key) == Some(&id)
        {
            self.merged.remove(&key);
        }
    }

    fn insert(&mut self, transaction: Transaction) -> TxId {
        self.next += 1;
        let id = TxId(self.next);
        self.by_key.insert(transaction.key.clone(), id);
        self.transactions.insert(id, transaction);
        id
    }

    fn run(&mut self, now: Instant, id: TxId, outputs: Outputs, message: Option<&Message>) -> Effects {
        let mut effects = Effects::default();
        for output in outputs {
            match output {
                Output::Send => {
                    if let Some(transmit) = self.latest(id).cloned() {
                        self.send(transmit);
                    }
                }
                Output::Resend => self.repeat(id),
                Output::Ack => self.send_ack(id, message),
                Output::Pass => effects.pass = true,
                Output::Arm(timer, after) => self.arm(id, timer, now, after),
                Output::Disarm(timer) => self.timers.disarm(Wake::Transaction(id, timer)),
                Output::TimedOut => effects.timed_out = true,
                Output::Terminate => {
                    effects.gone = true;
                    self.remove(id);
                }
            }
        }
        effects
    }

    fn arm(&mut self, id: TxId, timer: Timer, now: Instant, after: Duration) {
        self.timers.arm(Wake::Transaction(id, timer), now + after);
    }

    fn send_ack(&mut self, id: TxId, response: Option<&Message>) {
        let Some(transaction) = self.transactions.get_mut(&id) else {
            return;
        };
        if transaction.ack.is_none()
            && let Some(sent) = &transaction.latest
            && let Some(to) = response.and_then(|message| message.header(&HeaderName::To))
        {
            transaction.ack = derived("ACK", &sent.bytes, Some(to), None, &self.limits)
                .map(|(bytes, _)| Transmit { bytes, ..sent.clone() });
        }
        if let Some(ack) = transaction.ack.clone() {
            self.send(ack);
        }
    }
}

#[cfg(test)]
mod tests;
