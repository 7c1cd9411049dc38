//! The product's binaries, as built beside the tests. It must never test an old one: what is older than its sources is
//! built again first.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::SystemTime;

/// `ringfleet`.
///
/// # Panics
/// It can't be built.
pub fn ringfleet() -> PathBuf {
    folder().join("ringfleet")
}

/// `ringfleet-fleet`.
///
/// # Panics
/// It can't be built.
pub fn ringfleet_fleet() -> PathBuf {
    folder().join("ringfleet-fleet")
}

/// `RINGFLEET_TEST_BINARIES`, or where cargo puts what it builds with this profile.
fn folder() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        if let Some(folder) = std::env::var_os("RINGFLEET_TEST_BINARIES") {
            return PathBuf::from(folder);
        }
        let this = std::env::current_exe().expect("a test knows where it is");
        let folder = this.ancestors().nth(2).expect("tests lie in <profile>/deps").to_owned();
        if ["ringfleet", "ringfleet-fleet"].iter().any(|name| !is_fresh(&folder, name)) {
            build(&folder);
        }
        folder
    })
}

/// Whether a binary is there and younger than every source that cargo noted for it.
fn is_fresh(folder: &Path, name: &str) -> bool {
    let Some(built) = changed(&folder.join(name)) else { return false };
    let noted = fs::read_to_string(folder.join(format!("{name}.d"))).unwrap_or_default();
    let Some((_, sources)) = noted.split_once(": ") else { return false };
    sources.split_whitespace().all(|source| changed(Path::new(source)).is_some_and(|at| at <= built))
}

fn changed(path: &Path) -> Option<SystemTime> {
    fs::metadata(path).and_then(|found| found.modified()).ok()
}

fn build(folder: &Path) {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
    cargo.args(["build", "-p", "ringfleet-local", "-p", "ringfleet-server", "--bins"]);
    match folder.file_name().and_then(|name| name.to_str()) {
        Some("debug") | None => {}
        Some(profile) => {
            cargo.args(["--profile", profile]);
        }
    }
    let status = cargo.status().expect("cargo runs");
    assert!(status.success(), "the binaries can't be built");
}
