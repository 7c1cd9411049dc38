//! The platform's HTTP API as the command line uses it.
//! It must never print a key, nor retry what may have had an effect.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::Args;
use http::{Method, StatusCode, header};
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;

/// A dialout may take 8 s.
const TIMEOUT: Duration = Duration::from_secs(15);

/// Which platform, and as whom.
#[derive(Debug, Clone, Args)]
pub(crate) struct Place {
    /// A running platform's API
    #[arg(long, value_name = "URL", env = "RINGFLEET_URL", default_value = "http://127.0.0.1:8080")]
    url: String,
    /// An API key; better in the environment or in a file than on the command line
    #[arg(long, value_name = "KEY", env = "RINGFLEET_ADMIN_KEY", hide_env_values = true)]
    key: Option<SecretString>,
    /// A file that holds the API key, before the environment's; - is standard input
    #[arg(long, value_name = "FILE")]
    key_file: Option<PathBuf>,
}

/// No key was given, in none of the ways.
#[derive(Debug, thiserror::Error)]
#[error("an API key is needed: set RINGFLEET_ADMIN_KEY, or name a file that holds one with --key-file")]
pub(crate) struct KeyNeeded;

impl Place {
    pub(crate) fn client(&self) -> Result<Api> {
        let key = match (&self.key_file, &self.key) {
            (Some(file), _) => read_secret(file)?,
            (None, Some(key)) => key.clone(),
            (None, None) => return Err(KeyNeeded.into()),
        };
        Api::new(&self.url, key)
    }
}

/// A client of one platform.
#[derive(Debug, Clone)]
pub(crate) struct Api {
    http: reqwest::Client,
    url: String,
    key: SecretString,
}

/// What the platform answered, if it was no refusal.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    pub(crate) body: Value,
    pub(crate) etag: Option<String>,
}

impl Api {
    pub(crate) fn new(url: &str, key: SecretString) -> Result<Self> {
        let http = reqwest::Client::builder().no_proxy().timeout(TIMEOUT).build()?;
        Ok(Self { http, url: url.trim_end_matches('/').to_owned(), key })
    }

    /// # Errors
    /// The platform can't be reached, or refuses: then with its own words.
    pub(crate) async fn get(&self, path: &str) -> Result<Answer> {
        self.send(Method::GET, path, None, None).await?.with_context(|| format!("there is no {path} at {}", self.url))
    }

    /// As [`Api::get`], with those of the query's parameters that have a value.
    pub(crate) async fn get_with(&self, path: &str, query: &[(&str, Option<String>)]) -> Result<Answer> {
        let given = query.iter().filter_map(|(name, value)| Some((*name, value.as_deref()?)));
        let url = reqwest::Url::parse_with_params(&format!("{}{path}", self.url), given);
        let url = url.with_context(|| format!("{} is no URL: write e.g. http://127.0.0.1:8080", self.url))?;
        let query = url.query().filter(|query| !query.is_empty()).map(|query| format!("?{query}"));
        self.get(&format!("{path}{}", query.unwrap_or_default())).await
    }

    /// `None` where there is none.
    pub(crate) async fn find(&self, path: &str) -> Result<Option<Answer>> {
        self.send(Method::GET, path, None, None).await
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Result<Answer> {
        let answer = self.send(Method::POST, path, Some(body), None).await?;
        answer.with_context(|| format!("POST {path} at {}: not found", self.url))
    }

    /// Creates an entity, or replaces the one that is there.
    pub(crate) async fn put(&self, collection: &str, id: &str, body: &Value) -> Result<Answer> {
        let path = format!("{collection}/{id}");
        match self.find(&path).await? {
            None => self.post(collection, body).await,
            Some(old) => {
                let replaced = self.send(Method::PUT, &path, Some(body), old.etag.as_deref()).await?;
                replaced.with_context(|| format!("{path} was deleted meanwhile"))
            }
        }
    }

    /// Replaces an entity that was read with this tag.
    pub(crate) async fn replace(&self, path: &str, body: &Value, etag: Option<&str>) -> Result<Answer> {
        let answer = self.send(Method::PUT, path, Some(body), etag).await?;
        answer.with_context(|| format!("there is no {path} at {}", self.url))
    }

    /// Deletes an entity that must be there.
    pub(crate) async fn remove(&self, path: &str) -> Result<()> {
        let answer = self.send(Method::DELETE, path, None, None).await?;
        answer.map(|_| ()).with_context(|| format!("there is no {path} at {}", self.url))
    }

    /// Deletes an entity; one that is not there is as good.
    pub(crate) async fn delete(&self, path: &str) -> Result<()> {
        self.send(Method::DELETE, path, None, None).await.map(|_| ())
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
        etag: Option<&str>,
    ) -> Result<Option<Answer>> {
        let mut request =
            self.http.request(method, format!("{}{path}", self.url)).header("x-api-key", self.key.expose_secret());
        if let Some(body) = body {
            request = request.json(body);
        }
        if let Some(etag) = etag {
            request = request.header(header::IF_MATCH, etag);
        }
        let unreachable = || {
            format!("no platform answers at {}: start one with `ringfleet up`, or name another with --url", self.url)
        };
        let response = request.send().await.with_context(unreachable)?;
        let status = response.status();
        let etag = response.headers().get(header::ETAG).and_then(|tag| tag.to_str().ok()).map(str::to_owned);
        let bytes = response.bytes().await.with_context(unreachable)?;
        let body: Value =
            if bytes.is_empty() { Value::Null } else { serde_json::from_slice(&bytes).unwrap_or(Value::Null) };
        match status {
            status if status.is_success() => Ok(Some(Answer { body, etag })),
            StatusCode::NOT_FOUND => Ok(None),
            status => Err(Refused { status, words: refusal(status, &body) }.into()),
        }
    }
}

/// The platform refused, in its own words.
#[derive(Debug, thiserror::Error)]
#[error("{words}")]
pub(crate) struct Refused {
    pub(crate) status: StatusCode,
    words: String,
}

/// A problem (RFC 9457) in one line.
fn refusal(status: StatusCode, body: &Value) -> String {
    let detail = body["detail"].as_str().or(body["title"].as_str()).unwrap_or("no reason given");
    let code = body["code"].as_str().unwrap_or("?");
    let faults = body["errors"].as_array().into_iter().flatten().map(|fault| {
        let place: Vec<&str> =
            fault["loc"].as_array().into_iter().flatten().skip(1).filter_map(Value::as_str).collect();
        format!("{}: {}", place.join("."), fault["msg"].as_str().unwrap_or("?"))
    });
    let faults: Vec<String> = faults.collect();
    let more = if faults.is_empty() { String::new() } else { format!(": {}", faults.join("; ")) };
    format!("the platform refused ({} {code}): {detail}{more}", status.as_u16())
}

/// The text of a file, and what to call it; `-` is standard input.
fn read(file: &Path) -> Result<(String, String)> {
    let name = if file == Path::new("-") { "standard input".to_owned() } else { file.display().to_string() };
    let text =
        if file == Path::new("-") { std::io::read_to_string(std::io::stdin()) } else { std::fs::read_to_string(file) };
    let text = text.with_context(|| format!("cannot read {name}"))?;
    Ok((text, name))
}

/// Reads a secret, without the line's end; `-` is standard input.
pub(crate) fn read_secret(file: &Path) -> Result<SecretString> {
    let (text, name) = read(file)?;
    match text.trim() {
        "" => bail!("{name} holds no key"),
        secret => Ok(SecretString::from(secret)),
    }
}

/// Reads a JSON object; `-` is standard input.
pub(crate) fn read_object(file: &Path) -> Result<Value> {
    let (text, name) = read(file)?;
    let value: Value = serde_json::from_str(&text).with_context(|| format!("{name} is no JSON"))?;
    if value.is_object() { Ok(value) } else { bail!("{name} holds no JSON object") }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn refusals_say_what_is_wrong_where() {
        let check = |status: u16, body: Value, expect: &str| {
            assert_eq!(refusal(StatusCode::from_u16(status).unwrap(), &body), expect);
        };
        check(
            503,
            json!({"detail":"no server can take the call now","code":"no_capacity"}),
            "the platform refused (503 no_capacity): no server can take the call now",
        );
        check(
            422,
            json!({"detail":"1 field(s) are not valid","code":"invalid","errors":[{"loc":["body","push","url"],"msg":"only https"}]}),
            "the platform refused (422 invalid): 1 field(s) are not valid: push.url: only https",
        );
        check(500, Value::Null, "the platform refused (500 ?): no reason given");
    }

    #[test]
    fn files_hold_secrets() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        std::fs::write(&path, " rf_secret\n").unwrap();
        assert_eq!(read_secret(&path).unwrap().expose_secret(), "rf_secret");
        std::fs::write(&path, "\n").unwrap();
        assert!(read_secret(&path).unwrap_err().to_string().contains("holds no key"));
    }

    #[test]
    fn files_hold_objects() {
        let folder = tempfile::tempdir().unwrap();
        let check = |text: &str, expect: Option<&str>| {
            let path = folder.path().join("bot.json");
            std::fs::write(&path, text).unwrap();
            match (read_object(&path), expect) {
                (Ok(_), None) => {}
                (Err(error), Some(part)) => assert!(error.to_string().contains(part), "{error}"),
                (got, _) => panic!("{text}: {got:?}"),
            }
        };
        check("{}", None);
        check("[]", Some("no JSON object"));
        check("nonsense", Some("is no JSON"));
        assert!(read_object(Path::new("/nonexistent")).unwrap_err().to_string().contains("cannot read /nonexistent"));
    }
}
