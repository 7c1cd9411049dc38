//! SIPp as the callee or the caller: one scenario, one call, and the trace of what went over the wire.
//! It must never be told what the product does: a scenario says what the far side does and must get.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;
use tokio::process::Command;

use crate::ports;
use crate::process::Process;
use crate::wait::until;

const SCENARIOS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/peers/sipp");
const MEDIA_PORTS: u16 = 4;
/// After the call, SIPp ends by itself.
const END: Duration = Duration::from_secs(60);
/// It gives up alone, whatever becomes of its test.
const LIFETIME_SECONDS: &str = "170";
/// One that takes every call ends with its test, and else by itself.
const CROWD_LIFETIME_SECONDS: &str = "3600";

/// A running SIPp.
#[derive(Debug)]
pub struct Sipp {
    process: Process,
    folder: TempDir,
    pub port: u16,
}

/// One message of a trace.
#[derive(Debug, Clone)]
pub struct Message {
    /// It came from the product.
    pub received: bool,
    pub text: String,
}

impl Message {
    /// The first line.
    pub fn start_line(&self) -> &str {
        self.text.lines().next().unwrap_or_default()
    }

    /// The value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        let head = self.text.lines().skip(1).take_while(|line| !line.trim().is_empty());
        let mut pairs = head.filter_map(|line| line.split_once(':'));
        pairs.find(|(key, _)| key.trim().eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
    }
}

/// Requests of a method that came from the product. A retransmission is none: on a machine that stood still for half a second
/// there is one of each (RFC 3261 §17.1), with the same bytes.
pub fn requests<'a>(trace: &'a [Message], method: &str) -> Vec<&'a Message> {
    let start = format!("{method} ");
    let came = trace.iter().filter(|message| message.received && message.start_line().starts_with(&start));
    let mut first: Vec<&Message> = Vec::new();
    for message in came {
        if first.iter().all(|known| known.text.trim_end() != message.text.trim_end()) {
            first.push(message);
        }
    }
    first
}

impl Sipp {
    /// Starts `scenario` of `peers/sipp`, with `@NAME@` replaced by values.
    ///
    /// # Errors
    /// It can't be started.
    pub fn start(scenario: &str, values: &[(&str, &str)]) -> Result<Self> {
        Self::launch(scenario, values, &["-m", "1", "-timeout", LIFETIME_SECONDS, "-timeout_error"])
    }

    /// Starts `scenario`, which calls `server` (`host:port`).
    ///
    /// # Errors
    /// It can't be started.
    pub fn caller(scenario: &str, server: &str, values: &[(&str, &str)]) -> Result<Self> {
        Self::launch(scenario, values, &["-m", "1", "-timeout", LIFETIME_SECONDS, "-timeout_error", server])
    }

    /// One that takes every call that comes, all in the same way, until it is killed.
    ///
    /// # Errors
    /// It can't be started.
    pub fn crowd(scenario: &str, values: &[(&str, &str)]) -> Result<Self> {
        Self::launch(scenario, values, &["-timeout", CROWD_LIFETIME_SECONDS])
    }

    /// Starts `calls` calls of `scenario` to `server` at once.
    ///
    /// # Errors
    /// It can't be started.
    pub fn burst(scenario: &str, server: &str, calls: u32, values: &[(&str, &str)]) -> Result<Self> {
        let calls = calls.to_string();
        let rate = ["-m", &calls, "-l", &calls, "-r", &calls];
        let lifetime = ["-timeout", LIFETIME_SECONDS, "-timeout_error", server];
        Self::launch(scenario, values, &[&rate[..], &lifetime].concat())
    }

    /// Waits until a message came whose first line begins so.
    ///
    /// # Errors
    /// It does not come.
    pub async fn got(&self, start: &str, within: Duration) -> Result<Message> {
        until(format!("sipp gets {start}"), within, || async {
            let wanted = |message: &Message| message.received && message.start_line().starts_with(start);
            Ok(self.seen()?.into_iter().find(wanted))
        })
        .await
    }

    /// The trace so far.
    ///
    /// # Errors
    /// It can't be read.
    pub fn seen(&self) -> Result<Vec<Message>> {
        let trace = fs::read(self.path("messages.log")).unwrap_or_default();
        Ok(messages(&String::from_utf8_lossy(&trace)))
    }

    fn launch(scenario: &str, values: &[(&str, &str)], lifetime: &[&str]) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let source = Path::new(SCENARIOS).join(format!("{scenario}.xml"));
        let mut text = fs::read_to_string(&source).with_context(|| source.display().to_string())?;
        for (name, value) in values {
            text = text.replace(&format!("@{name}@"), value);
        }
        ensure!(!text.contains('@') || !has_placeholder(&text), "{scenario} has a value that nobody gave");
        let path = folder.path().join("scenario.xml");
        fs::write(&path, &text)?;
        let port = ports::one()?;
        let media = ports::block(MEDIA_PORTS)?;
        let mut command = Command::new("sipp");
        command.current_dir(folder.path()).arg("-sf").arg(&path);
        command.args(["-i", "127.0.0.1", "-mi", "127.0.0.1", "-p", &port.to_string(), "-t", "u1", "-nostdin"]);
        command.args(wanted_arguments(&text));
        // What it streams comes from a port that it finds by itself; this one it only holds.
        command.args(["-mp", &media.to_string()]);
        command.args(["-trace_msg", "-message_file", "messages.log", "-trace_err", "-error_file", "errors.log"]);
        command.args(lifetime);
        let process = Process::start(&format!("sipp {scenario}"), command)?;
        Ok(Self { process, folder, port })
    }

    /// Waits for SIPp's own verdict: everything that the scenario wants was said, in order.
    ///
    /// # Errors
    /// It was not; with what SIPp noted.
    pub async fn finish(mut self) -> Result<Vec<Message>> {
        let status = self.process.wait(END).await;
        let noted = fs::read_to_string(self.path("errors.log")).unwrap_or_default();
        let errors = format!("{noted}\n{}", self.process.log());
        let trace = fs::read_to_string(self.path("messages.log")).unwrap_or_default();
        let status = status.with_context(|| format!("{errors}\n{trace}"))?;
        ensure!(status.success(), "sipp ended with {status}: {errors}\n{trace}");
        Ok(messages(&trace))
    }

    /// Its end does not matter any more.
    ///
    /// # Errors
    /// It survives.
    pub async fn kill(mut self) -> Result<()> {
        self.process.kill().await
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

/// A scenario can ask for flags of SIPp: `<!-- arguments: -nr (why) -->`.
fn wanted_arguments(scenario: &str) -> Option<&str> {
    let (_, rest) = scenario.split_once("<!-- arguments: ")?;
    rest.split_whitespace().next()
}

fn has_placeholder(text: &str) -> bool {
    let mut parts = text.split('@').skip(1).step_by(2);
    parts.any(|part| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_uppercase()))
}

/// Reads the trace: blocks that begin with a ruler, a time, and a line that tells the direction.
fn messages(trace: &str) -> Vec<Message> {
    let blocks = trace.split("-----------------------------------------------").skip(1);
    let read = |block: &str| {
        let (head, text) = block.split_once(":\n").or_else(|| block.split_once(":\r\n"))?;
        Some(Message { received: head.contains("received"), text: text.trim_start().to_owned() })
    };
    blocks.filter_map(read).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn traces_are_read() {
        let ruler = "-----------------------------------------------";
        let trace = format!(
            "{ruler} 2026-01-01\t10:00:00.000001\nUDP message received [9] bytes :\n\nACK sip:a@b SIP/2.0\r\nCSeq: 1 ACK\r\n\r\n\
             {ruler} 2026-01-01\t10:00:00.000002\nUDP message sent (9 bytes):\n\nSIP/2.0 200 OK\r\n\r\n"
        );
        let found = messages(&trace);
        assert_eq!(
            found.iter().map(|m| (m.received, m.start_line())).collect::<Vec<_>>(),
            [(true, "ACK sip:a@b SIP/2.0"), (false, "SIP/2.0 200 OK")]
        );
        assert_eq!(found[0].header("cseq"), Some("1 ACK"));
    }

    #[test]
    fn retransmissions_are_no_requests() {
        let message = |received: bool, text: &str| Message { received, text: text.to_owned() };
        let trace = [
            message(true, "BYE sip:a@b SIP/2.0\r\nCSeq: 1 BYE\r\n\r\n"),
            message(true, "BYE sip:a@b SIP/2.0\r\nCSeq: 1 BYE\r\n\r\n\n"),
            message(false, "BYE sip:a@b SIP/2.0\r\nCSeq: 7 BYE\r\n\r\n"),
            message(true, "BYE sip:a@b SIP/2.0\r\nCSeq: 2 BYE\r\n\r\n"),
        ];
        let found: Vec<_> = requests(&trace, "BYE").iter().map(|m| m.header("cseq")).collect();
        assert_eq!(found, [Some("1 BYE"), Some("2 BYE")]);
        assert!(requests(&trace, "CANCEL").is_empty());
    }

    #[test]
    fn forgotten_values_are_found() {
        assert!(has_placeholder("a @CODE@ b"));
        assert!(!has_placeholder("sip:a@b and c@d"));
    }
}
