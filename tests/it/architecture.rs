//! The rules of the layout, held against the code itself.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn metadata() -> Value {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--format-version", "1", "--offline"])
        .current_dir(root())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Every Rust file of the repository.
fn sources() -> Vec<PathBuf> {
    fn walk(folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            if path.is_dir() {
                if name != "target" && !name.starts_with('.') {
                    walk(&path, found);
                }
            } else if name.ends_with(".rs") {
                found.push(path);
            }
        }
    }
    let mut found = Vec::new();
    walk(&root(), &mut found);
    found.sort();
    assert!(found.len() > 100, "the walk found {} files only", found.len());
    found
}

fn relative(path: &Path) -> String {
    path.strip_prefix(root()).unwrap().to_string_lossy().into_owned()
}

/// The lines of a file up to its inline tests.
fn without_tests(text: &str) -> &str {
    match text.find("\n#[cfg(test)]\nmod tests {") {
        Some(at) => &text[..at],
        None => text,
    }
}

fn is_test_file(path: &str) -> bool {
    path.starts_with("tests/")
        || path.contains("/tests/")
        || path.contains("/testing/")
        || path.ends_with("tests.rs")
        || path.ends_with("test_support.rs")
}

#[test]
fn crates_import_only_what_they_may() {
    let allowed: BTreeMap<&str, &[&str]> = BTreeMap::from([
        ("ringfleet-domain", &[][..]),
        ("ringfleet-sip", &[]),
        ("ringfleet-media", &[]),
        ("ringfleet-call", &["ringfleet-domain"]),
        ("ringfleet-dialect", &["ringfleet-domain"]),
        ("ringfleet-infra", &["ringfleet-domain"]),
        ("ringfleet-functions", &["ringfleet-domain", "ringfleet-infra"]),
        (
            "ringfleet-server",
            &[
                "ringfleet-call",
                "ringfleet-dialect",
                "ringfleet-domain",
                "ringfleet-infra",
                "ringfleet-media",
                "ringfleet-sip",
            ],
        ),
        (
            "ringfleet-local",
            &[
                "ringfleet-domain",
                "ringfleet-functions",
                "ringfleet-infra",
                "ringfleet-media",
                "ringfleet-server",
                "ringfleet-sip",
            ],
        ),
        ("ringfleet-tests", &["ringfleet-local"]),
    ]);
    let metadata = metadata();
    let packages = metadata["packages"].as_array().unwrap();
    let names: BTreeSet<&str> = packages.iter().map(|package| package["name"].as_str().unwrap()).collect();
    assert_eq!(names, allowed.keys().copied().collect(), "the crates of the design");
    for package in packages {
        let name = package["name"].as_str().unwrap();
        for dependency in package["dependencies"].as_array().unwrap() {
            let on = dependency["name"].as_str().unwrap();
            // Tests of an adapter may start the embedded services.
            let is_dev = dependency["kind"] == "dev";
            if on.starts_with("ringfleet-") && !is_dev {
                assert!(allowed[name].contains(&on), "{name} must not depend on {on}");
            }
        }
    }
}

#[test]
fn cores_have_no_runtime_no_clock_and_no_random_source() {
    let metadata = metadata();
    for package in metadata["packages"].as_array().unwrap() {
        let name = package["name"].as_str().unwrap();
        let cores = ["ringfleet-domain", "ringfleet-sip", "ringfleet-media", "ringfleet-call", "ringfleet-dialect"];
        if !cores.contains(&name) {
            continue;
        }
        for dependency in package["dependencies"].as_array().unwrap() {
            let on = dependency["name"].as_str().unwrap();
            let banned = ["tokio", "reqwest", "hyper", "axum", "mio", "socket2", "getrandom", "aws-config"];
            assert!(dependency["kind"] == "dev" || !banned.contains(&on), "{name} must stay free of {on}");
        }
        let folder = Path::new(package["manifest_path"].as_str().unwrap()).parent().unwrap();
        let bans = fs::read_to_string(folder.join("clippy.toml")).unwrap_or_default();
        assert!(bans.contains("std::time::Instant::now"), "{name} lacks a clippy.toml that bans the clock");
    }
}

#[test]
fn infra_is_named_only_where_adapters_are_picked() {
    for path in sources() {
        let name = relative(&path);
        let guarded = name.starts_with("functions/src/") || name.starts_with("fleet/server/src/");
        let picks = name.starts_with("functions/src/bin/") || name == "fleet/server/src/main.rs";
        if guarded && !picks {
            let text = fs::read_to_string(&path).unwrap();
            assert!(!text.contains("infra::"), "{name} names infra; it may see domain::ports only");
        }
    }
}

#[test]
fn every_crate_takes_the_workspace_lints() {
    for package in metadata()["packages"].as_array().unwrap() {
        let manifest = fs::read_to_string(package["manifest_path"].as_str().unwrap()).unwrap();
        assert!(manifest.contains("[lints]\nworkspace = true"), "{} lacks the workspace's lints", package["name"]);
    }
}

#[test]
fn files_stay_readable() {
    for path in sources() {
        let name = relative(&path);
        let text = fs::read_to_string(&path).unwrap();
        let lines = without_tests(&text).lines().count();
        assert!(is_test_file(&name) || lines <= 800, "{name} has {lines} lines without its tests; split it by concept");
        let says_what_for = text.starts_with("//!") || is_test_file(&name);
        assert!(says_what_for, "{name} must open with a line that says what it is for");
    }
}

#[test]
fn local_mode_is_a_choice_of_endpoints() {
    for path in sources() {
        let name = relative(&path);
        if is_test_file(&name) {
            continue;
        }
        let text = fs::read_to_string(&path).unwrap();
        for forbidden in ["if local", "if is_local_mode", "cfg!(local"] {
            assert!(!text.contains(forbidden), "{name} holds `{forbidden}`: local is a choice of endpoints");
        }
    }
}

#[test]
fn nothing_is_left_for_later() {
    let marks =
        [["TO", "DO"].concat(), ["FIX", "ME"].concat(), ["todo", "!("].concat(), ["unimple", "mented!("].concat()];
    for path in sources() {
        let text = fs::read_to_string(&path).unwrap();
        for mark in &marks {
            assert!(!text.contains(mark.as_str()), "{} holds {mark}", relative(&path));
        }
    }
}
