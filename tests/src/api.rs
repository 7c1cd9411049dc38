//! The platform's HTTP API as a client sees it. [`Api::ask`] must never retry: a test counts what happens. Whoever wants
//! something done does as the API's description says: an answer 503 is asked for again.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use reqwest::{Certificate, Method, StatusCode};
use serde_json::{Value, json};

use crate::tools::note;
use crate::wait::until;
use crate::wav::Wav;

const TIMEOUT: Duration = Duration::from_secs(30);
/// A call's end is its result's start: reading it takes no longer than a busy machine takes to write it.
const SETTLED: Duration = Duration::from_secs(60);
/// Stores that stand still with their machine, or a fleet that was not heard of for a moment: after so long it is no moment.
const AGAIN: Duration = Duration::from_secs(60);

/// The number that all tests dial.
pub const DIALLED: &str = "+919876543210";

/// A client with a key.
#[derive(Debug, Clone)]
pub struct Api {
    http: reqwest::Client,
    url: String,
    key: String,
}

impl Api {
    /// # Errors
    /// No HTTP client can be had.
    pub fn new(url: &str, key: &str) -> Result<Self> {
        let http = reqwest::Client::builder().no_proxy().timeout(TIMEOUT).build()?;
        Ok(Self { http, url: url.trim_end_matches('/').to_owned(), key: key.to_owned() })
    }

    /// One whose host is at `address`, whatever its name is, and whose certificate one of `trusted` signed.
    ///
    /// # Errors
    /// It is no URL, or no HTTP client can be had.
    pub fn reached_at(url: &str, key: &str, address: SocketAddr, trusted: Vec<Certificate>) -> Result<Self> {
        let host = reqwest::Url::parse(url)?.host_str().context("a URL without a host")?.to_owned();
        let builder = reqwest::Client::builder().no_proxy().timeout(TIMEOUT).resolve(&host, address);
        let http = builder.tls_certs_only(trusted).build()?;
        Ok(Self { http, url: url.trim_end_matches('/').to_owned(), key: key.to_owned() })
    }

    /// The same platform with another key.
    #[must_use]
    pub fn with_key(&self, key: &str) -> Self {
        Self { key: key.to_owned(), ..self.clone() }
    }

    /// The same platform without any.
    #[must_use]
    pub fn without_key(&self) -> Self {
        Self { key: String::new(), ..self.clone() }
    }

    /// Status and body of any request.
    ///
    /// # Errors
    /// There was no answer, or it was no JSON.
    pub async fn ask(&self, method: Method, path: &str, body: Option<&Value>) -> Result<(StatusCode, Value)> {
        let mut request = self.http.request(method, format!("{}{path}", self.url));
        if !self.key.is_empty() {
            request = request.header("x-api-key", &self.key);
        }
        if let Some(body) = body {
            request = request.json(body);
        }
        let response = request.send().await.with_context(|| format!("no answer to {path}"))?;
        let status = response.status();
        let bytes = response.bytes().await?;
        let value = if bytes.is_empty() { Value::Null } else { serde_json::from_slice(&bytes)? };
        Ok((status, value))
    }

    /// The body of a successful GET.
    ///
    /// # Errors
    /// It was refused.
    pub async fn get(&self, path: &str) -> Result<Value> {
        self.good(Method::GET, path, None).await
    }

    /// The body of a successful POST.
    ///
    /// # Errors
    /// It was refused.
    pub async fn post(&self, path: &str, body: &Value) -> Result<Value> {
        self.good(Method::POST, path, Some(body)).await
    }

    /// Reads an entity, changes it and puts it back as its next version.
    ///
    /// # Errors
    /// It was refused.
    pub async fn replace(&self, path: &str, change: impl FnOnce(&mut Value)) -> Result<Value> {
        let mut entity = self.get(path).await?;
        let tag = format!("\"{}\"", entity["version"]);
        change(&mut entity);
        let request = self.http.put(format!("{}{path}", self.url)).header("x-api-key", &self.key);
        let response = request.header("if-match", tag).json(&entity).send().await?;
        let (status, value) = (response.status(), response.json::<Value>().await?);
        ensure!(status.is_success(), "{path} answered {status}: {value}");
        Ok(value)
    }

    async fn good(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Value> {
        let (status, value) = self.settled(method, path, body).await?;
        ensure!(status.is_success(), "{path} answered {status}: {value}");
        Ok(value)
    }

    /// As [`Api::ask`], and again while the answer is that a store does not answer.
    ///
    /// # Errors
    /// As [`Api::ask`], or that is all that is ever answered.
    pub async fn settled(&self, method: Method, path: &str, body: Option<&Value>) -> Result<(StatusCode, Value)> {
        until(format!("an answer to {method} {path}"), AGAIN, || async {
            let (status, value) = self.ask(method.clone(), path, body).await?;
            let away = status == StatusCode::SERVICE_UNAVAILABLE && value["code"] == "unavailable";
            if away {
                note(&format!("{method} {path} was answered {status}, and is asked again: {value}"));
            }
            Ok((!away).then_some((status, value)))
        })
        .await
    }

    /// Creates a trunk and a bot that uses it; answers the bot as stored, with the secret that was minted for its push.
    ///
    /// # Errors
    /// One is refused.
    pub async fn create(&self, trunk: &Value, bot: &Value) -> Result<Value> {
        self.made("/api/v1/admin/trunks", &trunk["trunk_id"], trunk).await?;
        self.made("/api/v1/admin/bots", &bot["bot_id"], bot).await
    }

    /// A store that did not answer may have done what it was asked: then the thing is made anew, since only the answer to its
    /// making has its secret.
    async fn made(&self, list: &str, id: &Value, body: &Value) -> Result<Value> {
        let path = format!("{list}/{}", id.as_str().context("it has no id")?);
        until(format!("{path} is made"), AGAIN, || async {
            let (status, value) = self.ask(Method::POST, list, Some(body)).await?;
            let again = match value["code"].as_str() {
                Some("unavailable") => true,
                Some("exists") => self.settled(Method::DELETE, &path, None).await.map(|_| true)?,
                _ => false,
            };
            if again {
                note(&format!("{path} was answered {status}, and is made again: {value}"));
                return Ok(None);
            }
            ensure!(status.is_success(), "{list} answered {status}: {value}");
            Ok(Some(value))
        })
        .await
    }

    /// Places a call; its id. `variables` is JSON text: numbers must arrive as they were written. A fleet whose heartbeats
    /// stood still with their machine has room again in a moment.
    ///
    /// # Errors
    /// It is refused for good, or the answer is not exactly the promised one.
    pub async fn dialout(&self, bot: &str, variables: &str) -> Result<String> {
        let body = format!(r#"{{"bot_id":"{bot}","to_number":"{DIALLED}","variables":{variables}}}"#);
        until("a dialout that is taken", AGAIN, || async {
            let request = self.http.post(format!("{}/api/v1/dialout", self.url)).header("x-api-key", &self.key);
            let response = request.header("content-type", "application/json").body(body.clone()).send().await?;
            let status = response.status();
            let answer: Value = response.json().await?;
            if status == StatusCode::SERVICE_UNAVAILABLE && answer["code"] == "no_capacity" {
                note(&format!("a dialout of {bot} found no room, and is asked for again: {answer}"));
                return Ok(None);
            }
            ensure!(status == StatusCode::OK, "the dialout was answered {status}: {answer}");
            let id = answer["call_id"].as_str().context("no call_id")?.to_owned();
            ensure!(answer == json!({"status": "ok", "call_id": id}), "the answer to a dialout is {answer}");
            Ok(Some(id))
        })
        .await
    }

    /// A call as it is now.
    ///
    /// # Errors
    /// There is none.
    pub async fn call(&self, id: &str) -> Result<Value> {
        self.get(&format!("/api/v1/calls/{id}")).await
    }

    /// Waits until a live call has so many checkpoints more than it has now: the last of them was begun after this one was
    /// asked for, if there are two.
    ///
    /// # Errors
    /// They do not come.
    pub async fn checkpointed(&self, id: &str, more: u64, within: Duration) -> Result<()> {
        let path = format!("/api/v1/admin/calls/{id}");
        let count =
            async || Ok::<_, anyhow::Error>(self.get(&path).await?["call"]["checkpoints"].as_u64().unwrap_or(0));
        let before = count().await?;
        until(format!("{more} checkpoints of call {id} after {before}"), within, || async {
            Ok((count().await? >= before + more).then_some(()))
        })
        .await
    }

    /// Waits until a call is in a state, or beyond it.
    ///
    /// # Errors
    /// It does not come to that.
    pub async fn reached(&self, id: &str, state: &str, within: Duration) -> Result<Value> {
        let order = ["accepted", "dialing", "ringing", "answered", "ended"];
        let rank = |word: &str| order.iter().position(|known| *known == word);
        let wanted = rank(state).with_context(|| format!("{state} is no state"))?;
        until(format!("call {id} {state}"), within, || async {
            let call = self.call(id).await?;
            let is = call["state"].as_str().and_then(rank).with_context(|| format!("no state in {call}"))?;
            Ok((is >= wanted).then_some(call))
        })
        .await
    }

    /// Waits for a call's end, and until its recording is settled; its result.
    ///
    /// # Errors
    /// It does not end.
    pub async fn result(&self, id: &str, within: Duration) -> Result<Value> {
        self.reached(id, "ended", within).await?;
        until(format!("the recording of call {id}"), SETTLED, || async {
            let call = self.call(id).await?;
            Ok((call["recording_status"] != "pending").then_some(call))
        })
        .await
    }

    /// Follows a result's `recording_url`.
    ///
    /// # Errors
    /// There is no recording behind it.
    pub async fn recording(&self, result: &Value) -> Result<Wav> {
        let url = result["recording_url"].as_str().filter(|url| !url.is_empty());
        let url = url.with_context(|| format!("no recording_url in {result}"))?;
        Wav::read(&self.fetch(url).await?)
    }

    /// The bytes behind a URL, redirects followed, no key sent.
    ///
    /// # Errors
    /// There is nothing.
    pub async fn fetch(&self, url: &str) -> Result<Bytes> {
        let response = self.http.get(url).send().await?;
        let status = response.status();
        let bytes = response.bytes().await?;
        if !status.is_success() {
            bail!("{url} answered {status}: {}", String::from_utf8_lossy(&bytes));
        }
        Ok(bytes)
    }
}
