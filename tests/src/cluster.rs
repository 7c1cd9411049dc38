//! A deployment of separate processes, as on AWS: one that is only the stores, one with the functions, fleet servers, a
//! carrier and a CRM; and the calls that were placed on it, with what must be true of them in the end.
//! It must never take a client's word for what happened: stores, carrier and CRM tell.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use http::StatusCode;
use reqwest::Method;
use serde_json::{Value, json};

use crate::api::Api;
use crate::carrier::{Callee, Carrier};
use crate::crm::{Answer, Crm, Push};
use crate::platform::{Platform, Setup};
use crate::ports;
use crate::sipp::Sipp;
use crate::subjects::{bot, called_bot, inbound_trunk};
use crate::wait::until;

/// What a crash may cost of a recording, seconds.
const MOST_LOST: f64 = 30.0;
/// The same for every call: what they bring must arrive.
const LEAD: &str = "123456789012345678901234";
/// The bot that is called, its trunk, and its number.
const CALLED: &str = "called";
const DID: &str = "+911140001234";

/// What the client heard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Heard {
    /// 200, with this id.
    Accepted(String),
    /// A refusal that promises that nobody is called.
    Refused,
    /// No answer, or an error that promises nothing.
    Nothing,
}

/// A call that somebody asked for.
#[derive(Debug, Clone)]
pub struct Placed {
    pub number: String,
    pub callee: Callee,
    pub heard: Heard,
}

/// The processes, but for fleet servers.
#[derive(Debug)]
pub struct Cluster {
    /// Tables, queues and bucket: the embedded ones, whose own control plane has tables of its own and nothing to do.
    pub stores: Platform,
    /// API and event sources.
    pub functions: Platform,
    pub carrier: Carrier,
    pub crm: Crm,
    /// Where the bots push to: the CRM, or something in front of it.
    crm_url: String,
    placed: AtomicU32,
}

/// Starts the stores alone, on a port that they keep.
///
/// # Errors
/// They do not become ready.
pub async fn stores() -> Result<Platform> {
    let listen = format!("aws_listen=127.0.0.1:{}", ports::one()?);
    let set = ["names.prefix=idle-", "periods.sweep=1h", "periods.reap=1h", &listen];
    Platform::start(Setup { external: true, deaf: true, ..Setup::default() }.with(&set)).await
}

impl Cluster {
    /// Starts functions on `stores`, reached at `endpoint` if it is not their own; `crm_url` is told to bots if it is not
    /// the CRM's own.
    ///
    /// # Errors
    /// Something does not become ready.
    pub async fn start(stores: Platform, endpoint: Option<&str>, crm: Crm, crm_url: Option<String>) -> Result<Self> {
        let setup = Setup { external: true, deaf: true, http: ports::one()?, ..stores.joined(endpoint)? };
        // Whoever stands still for long enough is taken for lost, and whatever comes of it must be right.
        let functions = Platform::start(setup.with(&["periods.reap_stale=3s"])).await?;
        let crm_url = crm_url.unwrap_or_else(|| crm.url(""));
        let cluster = Self { stores, functions, carrier: Carrier::start()?, crm, crm_url, placed: AtomicU32::new(0) };
        for callee in Callee::ALL {
            let mut bot = bot(callee.name(), callee.name(), &format!("{}/{}", cluster.crm_url, callee.name()));
            bot["ring_timeout_seconds"] = json!(5);
            cluster.functions.api.create(&cluster.carrier.trunk(callee)?, &bot).await?;
        }
        Ok(cluster)
    }

    /// Makes a bot that can be called: see [`Cluster::call_in`].
    ///
    /// # Errors
    /// It is refused.
    pub async fn can_be_called(&self) -> Result<()> {
        let bot = called_bot(CALLED, DID, &format!("{}/{CALLED}", self.crm_url));
        self.functions.api.create(&inbound_trunk(CALLED, "127.0.0.1/32"), &bot).await.map(|_| ())
    }

    /// Calls that bot over a server's SIP address from a number of its own.
    ///
    /// # Errors
    /// SIPp can't be started.
    pub fn call_in(&self, sip: &str) -> Result<(Placed, Sipp)> {
        let number = self.number();
        let target = format!("sip:{DID}@{sip}");
        let values = [("TARGET", target.as_str()), ("FROM", &number), ("CODE", "503"), ("CODECS", "0 101")];
        let sipp = Sipp::caller("caller-refused", sip, &values)?;
        Ok((Placed { number, callee: Callee::Brief, heard: Heard::Nothing }, sipp))
    }

    /// A number that was never dialled before.
    pub fn number(&self) -> String {
        format!("+9198765{:05}", self.placed.fetch_add(1, Ordering::SeqCst))
    }

    /// Asks for a call; what the client heard is kept, whatever it was.
    ///
    /// # Errors
    /// An answer that no client should ever see.
    pub async fn place(&self, callee: Callee) -> Result<Placed> {
        place(&self.functions.api, callee, self.number()).await
    }

    /// The answered pushes by call id.
    pub fn taken(&self) -> BTreeMap<String, Vec<Push>> {
        let mut taken: BTreeMap<String, Vec<Push>> = BTreeMap::new();
        for name in Callee::ALL.map(Callee::name).into_iter().chain([CALLED]) {
            for push in self.crm.pushes(&format!("/{name}")) {
                if push.answered == Answer::Status(200) {
                    let id = push.header("webhook-id").trim_end_matches("-push").to_owned();
                    taken.entry(id).or_default().push(push);
                }
            }
        }
        taken
    }

    /// Waits until every slot of every server that is up is free again.
    ///
    /// # Errors
    /// A slot has leaked.
    pub async fn all_slots_free(&self, servers: usize, within: Duration) -> Result<()> {
        until("every slot is free again", within, || async {
            let Ok(health) = self.functions.api.get("/health/fleet").await else { return Ok(None) };
            let fresh = health["workers"].as_array().map_or(0, Vec::len);
            let free = fresh >= servers && health["fleet_available"] == health["fleet_max"];
            Ok(free.then_some(()))
        })
        .await
    }

    /// Waits until everything that was asked for has come to its end, then holds it against what must be true.
    ///
    /// # Errors
    /// Says which call breaks which promise.
    pub async fn settle(&self, placed: &[Placed], within: Duration) -> Result<Verdict> {
        let accepted: BTreeSet<&str> = placed.iter().filter_map(|placed| placed.id()).collect();
        until("every accepted call is pushed", within, || async {
            let taken = self.taken();
            Ok(accepted.iter().all(|id| taken.contains_key(*id)).then_some(()))
        })
        .await
        .with_context(|| {
            let taken = self.taken();
            let lost: Vec<_> = placed.iter().filter(|p| p.id().is_some_and(|id| !taken.contains_key(id))).collect();
            format!("{} results did not reach the CRM: {lost:?}", lost.len())
        })?;
        let mut verdict = Verdict { placed: placed.len(), ..Verdict::default() };
        let invites = self.carrier.invites()?;
        self.pushed_by_number(within, placed, &invites).await?;
        for (id, pushes) in self.taken() {
            verdict.results += 1;
            self.check_result(&id, &pushes, placed, &mut verdict, within)
                .await
                .with_context(|| format!("call {id}"))?;
        }
        for placed in placed {
            let calls = invites.get(&placed.number).map_or(0, BTreeSet::len);
            verdict.invites += calls;
            let most = if placed.heard == Heard::Refused { 0 } else { 1 };
            ensure!(calls <= most, "{calls} INVITEs for {placed:?}: {:?}", invites.get(&placed.number));
        }
        // A call that the platform has taken has a result, whether the client heard of it or not.
        ensure!(verdict.invites <= verdict.results, "more INVITEs than calls: {verdict:?}");
        verdict.accepted = placed.iter().filter(|placed| placed.id().is_some()).count();
        Ok(verdict)
    }

    /// Whoever was called has a result, though the client may never have heard of the call's id.
    async fn pushed_by_number(
        &self,
        within: Duration,
        placed: &[Placed],
        invites: &BTreeMap<String, BTreeSet<String>>,
    ) -> Result<()> {
        let unheard = placed.iter().filter(|placed| placed.heard == Heard::Nothing);
        for placed in unheard.filter(|placed| invites.contains_key(&placed.number)) {
            until(format!("the push of a call that rang: {placed:?}"), within, || async {
                let told = |push: &Push| push.json().is_ok_and(|body| body["number"] == placed.number.as_str());
                Ok(self.taken().values().flatten().any(told).then_some(()))
            })
            .await?;
        }
        Ok(())
    }

    async fn check_result(
        &self,
        id: &str,
        pushes: &[Push],
        placed: &[Placed],
        verdict: &mut Verdict,
        within: Duration,
    ) -> Result<()> {
        let first = pushes.first().context("a push")?;
        let body = first.json()?;
        ensure!(pushes.iter().all(|push| push.body == first.body), "pushed {} times with other bytes", pushes.len());
        let placed = placed.iter().find(|placed| body["number"] == placed.number.as_str());
        let placed = placed.with_context(|| format!("a result of a call that nobody placed: {body}"))?;
        ensure!(body["session"] == id && body["lead"] == LEAD, "the CRM got {body}");
        match &placed.heard {
            Heard::Accepted(accepted) => ensure!(accepted == id, "{placed:?} has a second result, {body}"),
            Heard::Refused => bail!("{placed:?} was refused and has a result, {body}"),
            Heard::Nothing => {}
        }
        if pushes.len() > 1 {
            verdict.doubled.insert(id.to_owned());
        }
        let result = self.functions.api.result(id, within).await?;
        ensure!(result["end_reason"] == body["why"], "pushed {body}, stored {result}");
        *verdict.reasons.entry(result["end_reason"].as_str().unwrap_or_default().to_owned()).or_default() += 1;
        let status = result["recording_status"].as_str().unwrap_or_default().to_owned();
        *verdict.recordings.entry(status).or_default() += 1;
        check_recording(&self.functions.api, &result).await
    }

    /// Ends every process in good order.
    ///
    /// # Errors
    /// One does not end well.
    pub async fn stop(mut self) -> Result<()> {
        self.functions.stop().await?;
        self.stores.stop().await?;
        self.carrier.stop().await
    }
}

/// Asks for a call to a number.
///
/// # Errors
/// An answer that no client should ever see.
pub async fn place(api: &Api, callee: Callee, number: String) -> Result<Placed> {
    let body =
        json!({"bot_id": callee.name(), "to_number": number, "variables": {"lead_id": LEAD, "customer_name": "Asha"}});
    let heard = match api.ask(Method::POST, "/api/v1/dialout", Some(&body)).await {
        Ok((StatusCode::OK, answer)) => Heard::Accepted(answer["call_id"].as_str().context("no call_id")?.to_owned()),
        Ok((StatusCode::SERVICE_UNAVAILABLE, answer)) if answer["code"] == "no_capacity" => Heard::Refused,
        Ok((status, answer)) => {
            ensure!(status.is_server_error(), "a dialout was answered {status}: {answer}");
            Heard::Nothing
        }
        Err(_) => Heard::Nothing,
    };
    Ok(Placed { number, callee, heard })
}

impl Placed {
    /// The id that the client was given.
    pub fn id(&self) -> Option<&str> {
        match &self.heard {
            Heard::Accepted(id) => Some(id),
            Heard::Refused | Heard::Nothing => None,
        }
    }
}

/// A recording is there and as long as the call, or its absence is told.
async fn check_recording(api: &Api, result: &Value) -> Result<()> {
    let talked = result["call_duration_seconds"].as_f64().context("no duration")?;
    match result["recording_status"].as_str() {
        Some("complete") => {
            let length = api.recording(result).await?.seconds();
            ensure!((length - talked).abs() < 1.5, "{length} s are recorded of {talked} s: {result}");
        }
        Some("partial") => {
            let length = api.recording(result).await?.seconds();
            ensure!(length <= talked + 1.5, "{length} s are recorded of {talked} s: {result}");
            ensure!(talked - length <= MOST_LOST, "only {length} s are recorded of {talked} s: {result}");
        }
        Some("lost" | "none") => ensure!(result["recording_url"] == "", "no recording, and a URL: {result}"),
        other => bail!("the recording is {other:?}: {result}"),
    }
    Ok(())
}

/// What a run came to.
#[derive(Debug, Default)]
pub struct Verdict {
    pub placed: usize,
    pub accepted: usize,
    pub invites: usize,
    pub results: usize,
    /// Ids of calls whose push was taken more than once.
    pub doubled: BTreeSet<String>,
    pub reasons: BTreeMap<String, usize>,
    pub recordings: BTreeMap<String, usize>,
}

/// What is left in a spool.
pub fn left_in(spool: &std::path::Path) -> Vec<PathBuf> {
    std::fs::read_dir(spool).into_iter().flatten().flatten().map(|entry| entry.path()).collect()
}
