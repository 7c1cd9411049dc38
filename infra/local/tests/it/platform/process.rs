//! A program under test: started with nothing of the environment that could configure it, ended when it is dropped.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

/// Long enough for a machine that compiles at the same time: what is awaited comes, or the test fails.
pub(super) const PATIENCE: Duration = Duration::from_secs(120);

/// A folder for the data of one or several processes.
pub(super) struct World {
    pub(super) folder: TempDir,
}

impl World {
    pub(super) fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// `ringfleet` on free ports, without speech models.
    pub(super) fn command<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Command {
        let mut command = clean(Path::new(env!("CARGO_BIN_EXE_ringfleet")));
        command.env("RINGFLEET_MODELS", self.path("no-models")).args(arguments);
        command
    }

    /// `ringfleet up` until it is ready.
    pub(super) async fn up(&self, arguments: &[&str]) -> Running {
        let mut command = self.command(["up", "--json", "--http", "127.0.0.1:0", "--sip", "127.0.0.1:0"]);
        command.arg("--data").arg(self.path("data")).args(arguments);
        Running::start(command).await
    }
}

/// Nothing of the tester's environment may configure what is tested.
pub(super) fn clean(program: &Path) -> Command {
    let mut command = Command::new(program);
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("RINGFLEET_") || text.starts_with("AWS_") || text == "RUST_LOG" {
            command.env_remove(&name);
        }
    }
    // Of the ports with a fixed default, the one that most tests have no interest in.
    command.env("RINGFLEET_FLEET_WS", "127.0.0.1:0");
    command.env("RUST_BACKTRACE", "0").kill_on_drop(true);
    command
}

/// A process that said that it is ready.
pub(super) struct Running {
    child: Child,
    _stdout: Lines<BufReader<ChildStdout>>,
    pub(super) ready: Value,
}

impl Running {
    pub(super) async fn start(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::inherit()).spawn().unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap()).lines();
        let line = within(stdout.next_line()).await.unwrap().expect("it ended before it was ready");
        Self { child, _stdout: stdout, ready: serde_json::from_str(&line).unwrap() }
    }

    pub(super) fn text(&self, name: &str) -> String {
        self.ready[name].as_str().unwrap_or_else(|| panic!("no {name} in {}", self.ready)).to_owned()
    }

    /// The API as the holder of the key that this start minted.
    pub(super) fn admin(&self) -> Client {
        self.client(&self.text("admin_key"))
    }

    pub(super) fn client(&self, key: &str) -> Client {
        Client { url: self.text("http"), key: key.to_owned(), http: reqwest::Client::new() }
    }

    pub(super) fn signal(&self, name: &str) {
        let id = self.child.id().expect("it still runs").to_string();
        let sent = std::process::Command::new("kill").args([&format!("-{name}"), &id]).status().unwrap();
        assert!(sent.success());
    }

    pub(super) async fn ended(&mut self) -> ExitStatus {
        within(self.child.wait()).await.unwrap()
    }

    /// kill -9.
    pub(super) async fn kill(mut self) {
        self.child.start_kill().unwrap();
        self.ended().await;
    }

    pub(super) fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }
}

pub(super) async fn within<T>(awaited: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, awaited).await.expect("it takes too long")
}

/// What a program said and how it ended.
#[derive(Debug)]
pub(super) struct Said {
    pub(super) code: Option<i32>,
    pub(super) stdout: String,
    pub(super) stderr: String,
}

/// Runs a program to its end.
pub(super) async fn run(mut command: Command) -> Said {
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let (mut stdout, mut stderr) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
    let mut said = Said { code: None, stdout: String::new(), stderr: String::new() };
    let ended = within(async {
        tokio::join!(child.wait(), stdout.read_to_string(&mut said.stdout), stderr.read_to_string(&mut said.stderr)).0
    });
    said.code = ended.await.unwrap().code();
    said
}

/// One caller of the API.
#[derive(Clone)]
pub(super) struct Client {
    url: String,
    key: String,
    http: reqwest::Client,
}

impl Client {
    pub(super) async fn send(&self, method: &str, path: &str, body: Option<Value>) -> (u16, Value) {
        let mut request =
            self.http.request(method.parse().unwrap(), format!("{}{path}", self.url)).header("x-api-key", &self.key);
        if let Some(body) = body {
            request = request.json(&body);
        }
        let answer = within(request.send()).await.unwrap();
        let status = answer.status().as_u16();
        (status, serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap_or(Value::Null))
    }

    pub(super) async fn get(&self, path: &str) -> (u16, Value) {
        self.send("GET", path, None).await
    }

    /// Replaces an entity as it is now.
    pub(super) async fn replace(&self, path: &str, body: Value) -> (u16, Value) {
        let url = format!("{}{path}", self.url);
        let request = self.http.put(url).header("x-api-key", &self.key).header("if-match", "*").json(&body);
        let answer = within(request.send()).await.unwrap();
        let status = answer.status().as_u16();
        (status, serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap_or(Value::Null))
    }

    /// A bot `b` that calls over a trunk to this port of loopback; what is given goes over its defaults.
    pub(super) async fn create_bot(&self, port: u16, more: Value) -> Value {
        let trunk = json!({"trunk_id":"t","name":"T","host":"127.0.0.1","port":port,"default_number":"+911234567890"});
        assert_eq!(self.send("POST", "/api/v1/admin/trunks", Some(trunk)).await.0, 201);
        let script = json!({"steps":[{"id":"how","question":"","expect":"free_text"}],"closing":"Goodbye."});
        let mut bot = json!({
            "bot_id":"b","name":"B","trunk_ids":["t"],"opening_message":"Hello. How are you?","script":script,
            "voicemail":{"detect":false}
        });
        for (name, value) in more.as_object().unwrap() {
            bot[name] = value.clone();
        }
        let (status, created) = self.send("POST", "/api/v1/admin/bots", Some(bot)).await;
        assert_eq!(status, 201, "{created}");
        created
    }

    /// Places a call of bot `b`. A fleet whose heartbeats stood still with their machine has room again in a moment.
    pub(super) async fn dial(&self, variables: Value) -> String {
        let asked = json!({"bot_id":"b","to_number":"+919876543210","variables":variables});
        let placed = async {
            loop {
                let (status, body) = self.send("POST", "/api/v1/dialout", Some(asked.clone())).await;
                if body["code"] != "no_capacity" {
                    assert_eq!(status, 200, "{body}");
                    return body;
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        let body = within(placed).await;
        assert_eq!(body.as_object().unwrap().len(), 2);
        body["call_id"].as_str().unwrap().to_owned()
    }

    /// Polls a path until `wanted` holds.
    pub(super) async fn until(&self, path: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        within(async {
            loop {
                let (_, body) = self.get(path).await;
                if wanted(&body) {
                    return body;
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        })
        .await
    }
}
