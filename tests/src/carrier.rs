//! A carrier with callees of several kinds, each a SIPp that takes every call, and what it saw of each dialled number.
//! It must never forget an INVITE: whether somebody was called twice is decided here.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::sipp::Sipp;
use crate::subjects::trunk;

/// What a callee does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Callee {
    /// 486.
    Busy,
    /// Answers, and hangs up after a moment.
    Brief,
    /// Answers, and hangs up after some seconds: there are checkpoints by then.
    Talks,
    /// Answers, and stays.
    Stays,
    /// Rings for longer than anybody waits.
    Away,
}

impl Callee {
    pub const ALL: [Self; 5] = [Self::Busy, Self::Brief, Self::Talks, Self::Stays, Self::Away];

    /// The id of the trunk that leads to such callees, and of the bot that calls them.
    pub fn name(self) -> &'static str {
        match self {
            Self::Busy => "busy",
            Self::Brief => "brief",
            Self::Talks => "talks",
            Self::Stays => "stays",
            Self::Away => "away",
        }
    }
}

/// The running carrier.
#[derive(Debug)]
pub struct Carrier {
    peers: BTreeMap<Callee, Sipp>,
}

impl Carrier {
    /// # Errors
    /// SIPp can't be started.
    pub fn start() -> Result<Self> {
        let peer = |callee: Callee| {
            let sipp = match callee {
                Callee::Busy => Sipp::crowd("refuse", &[("CODE", "486")]),
                Callee::Brief => Sipp::crowd("answer-and-hang-up", &[("MS", "1200")]),
                Callee::Talks => Sipp::crowd("answer-and-hang-up", &[("MS", "5000")]),
                Callee::Stays => Sipp::crowd("answer-and-hang-up", &[("MS", "120000")]),
                Callee::Away => Sipp::crowd("ring-only", &[]),
            };
            sipp.map(|sipp| (callee, sipp))
        };
        Ok(Self { peers: Callee::ALL.into_iter().map(peer).collect::<Result<_>>()? })
    }

    /// The trunk to a kind of callee.
    ///
    /// # Errors
    /// There is no such peer.
    pub fn trunk(&self, callee: Callee) -> Result<Value> {
        let peer = self.peers.get(&callee).with_context(|| format!("no peer for {callee:?}"))?;
        let mut trunk = trunk(callee.name(), peer.port);
        trunk["to_format"] = json!("+e164");
        Ok(trunk)
    }

    /// The SIP calls that came for each number, by their Call-ID: a retransmission is no second call.
    ///
    /// # Errors
    /// A trace can't be read.
    pub fn invites(&self) -> Result<BTreeMap<String, BTreeSet<String>>> {
        let mut found: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for peer in self.peers.values() {
            for message in peer.seen()? {
                let Some(target) = message.start_line().strip_prefix("INVITE sip:").filter(|_| message.received) else {
                    continue;
                };
                let number = target.split(['@', ';']).next().unwrap_or_default().to_owned();
                let id =
                    message.header("call-id").or_else(|| message.header("i")).context("an INVITE without Call-ID")?;
                found.entry(number).or_default().insert(id.to_owned());
            }
        }
        Ok(found)
    }

    /// Requests of a method that came from the product, of all calls to a kind of callee.
    ///
    /// # Errors
    /// The trace can't be read.
    pub fn requests(&self, callee: Callee, method: &str) -> Result<usize> {
        let peer = self.peers.get(&callee).with_context(|| format!("no peer for {callee:?}"))?;
        let start = format!("{method} ");
        Ok(peer.seen()?.iter().filter(|message| message.received && message.start_line().starts_with(&start)).count())
    }

    /// Its end does not matter.
    ///
    /// # Errors
    /// A peer survives.
    pub async fn stop(self) -> Result<()> {
        for peer in self.peers.into_values() {
            peer.kill().await?;
        }
        Ok(())
    }
}
