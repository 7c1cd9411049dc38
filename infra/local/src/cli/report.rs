//! What was looked at, how it stands, and what to do about it: for `doctor` and `deployment`.
//! It must never be printed without saying what to do where something is wrong.

use std::borrow::Cow;

use serde::Serialize;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Status {
    Ok,
    /// Something is worse than it could be, but calls work.
    Warn,
    Fail,
}

#[derive(Debug, Clone, Serialize)]
pub(super) struct Check {
    pub(super) name: Cow<'static, str>,
    pub(super) status: Status,
    pub(super) detail: String,
    /// What to do; empty where nothing has to be done.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) fix: String,
}

#[derive(Debug, Serialize)]
pub(super) struct Report {
    pub(super) ok: bool,
    pub(super) checks: Vec<Check>,
}

pub(super) fn ok(name: impl Into<Cow<'static, str>>, detail: impl Into<String>) -> Check {
    Check { name: name.into(), status: Status::Ok, detail: detail.into(), fix: String::new() }
}

pub(super) fn not_ok(
    name: impl Into<Cow<'static, str>>,
    status: Status,
    detail: impl Into<String>,
    fix: impl Into<String>,
) -> Check {
    Check { name: name.into(), status, detail: detail.into(), fix: fix.into() }
}

impl Report {
    pub(super) fn of(checks: Vec<Check>) -> Self {
        Self { ok: checks.iter().all(|check| check.status != Status::Fail), checks }
    }

    /// One line a check, and below it what to do.
    pub(super) fn lines(&self) -> Vec<String> {
        let width = self.checks.iter().map(|check| check.name.len()).max().unwrap_or_default().max(13);
        let mut lines: Vec<String> = Vec::new();
        for check in &self.checks {
            let mark = match check.status {
                Status::Ok => "OK  ",
                Status::Warn => "WARN",
                Status::Fail => "FAIL",
            };
            lines.push(format!("{mark}  {:<width$} {}", check.name, check.detail));
            if !check.fix.is_empty() {
                lines.push(format!("      {:<width$} → {}", "", check.fix));
            }
        }
        lines
    }
}
