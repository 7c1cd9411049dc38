//! Programs of others that tests need, and saying so when one is missing.
//! It must never let a missing program pass for a passed test in CI: there, everything must be there.

use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// Says on the terminal, past the test harness, why something is not tested here.
pub fn note(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// Whether `program` is on the path.
pub fn has(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
}

/// Whether a test that needs `programs` can run; if not, says which is missing.
///
/// # Panics
/// Where `RINGFLEET_TESTS_NEED_ALL` is set (`tests/run` does): there a skipped test is a failed one.
pub fn can_run(test: &str, programs: &[&str]) -> bool {
    let missing: Vec<&str> = programs.iter().copied().filter(|program| !has(program)).collect();
    missing.is_empty() || skip(test, &format!("missing: {}; tests/run installs what is needed", missing.join(", ")))
}

/// Whether the speech models are there; if not, says so.
///
/// # Panics
/// As [`can_run`].
pub fn can_hear(test: &str) -> bool {
    models().is_some() || skip(test, "the speech models are missing; run `ringfleet models fetch`")
}

/// Notes that a test does not run here.
///
/// # Panics
/// As [`can_run`].
pub fn skip(test: &str, why: &str) -> bool {
    assert!(std::env::var_os("RINGFLEET_TESTS_NEED_ALL").is_none(), "{test} can't run: {why}");
    note(&format!("SKIPPED {test}: {why}"));
    false
}

/// The folder with the speech models, if they are there.
pub fn models() -> Option<PathBuf> {
    let set = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let cache = || set("XDG_CACHE_HOME").or_else(|| set("HOME").map(|home| home.join(".cache")));
    let folder = set("RINGFLEET_MODELS").or_else(|| cache().map(|cache| cache.join("ringfleet").join("models")))?;
    let has = |part: &str| {
        let folders = std::fs::read_dir(&folder).into_iter().flatten().flatten();
        folders.into_iter().any(|entry| entry.file_name().to_string_lossy().starts_with(part))
    };
    (has("moonshine") && has("piper")).then_some(folder)
}

/// Whether `python3` has a module; if not, says so.
///
/// # Panics
/// As [`can_run`].
pub fn has_python(test: &str, module: &str) -> bool {
    runs("python3", &["-c", &format!("import {module}")])
        || skip(test, &format!("python3 has no {module}; tests/run installs it"))
}

/// The folder of `NODE_PATH` that holds a package of npm, if there is one; if not, says so.
///
/// # Panics
/// As [`can_run`].
pub fn node_modules(test: &str, package: &str) -> Option<PathBuf> {
    let folders = std::env::var_os("NODE_PATH").unwrap_or_default();
    let found = std::env::split_paths(&folders).find(|folder| folder.join(package).is_dir());
    if found.is_none() {
        skip(test, &format!("no {package} below NODE_PATH; tests/run installs it"));
    }
    found
}

/// Runs a program to its end, silently; whether it liked it.
pub fn runs(program: &str, arguments: &[&str]) -> bool {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}
