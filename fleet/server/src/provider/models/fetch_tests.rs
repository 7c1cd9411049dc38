//! A made-up package whose wheel is a small zip made here.

use std::io::Write;

use sha2::{Digest, Sha256};
use zip::ZipWriter;
use zip::write::SimpleFileOptions;

use super::*;
use crate::provider::models::catalog::{Member, Wheel};

const MEMBERS: &[Member] =
    &[Member { path: "pkg.libs/lib*", file: "lib.so" }, Member { path: "pkg/model", file: "model" }];

fn zip_of(entries: &[(&str, &[u8])]) -> Vec<u8> {
    let mut out = ZipWriter::new(io::Cursor::new(Vec::new()));
    for (name, bytes) in entries {
        out.start_file(*name, SimpleFileOptions::default()).unwrap();
        out.write_all(bytes).unwrap();
    }
    out.finish().unwrap().into_inner()
}

fn good_zip() -> Vec<u8> {
    zip_of(&[
        ("pkg/model", &[7; 100_000]),
        ("pkg/model.json", b"{}"),
        ("../evil", b"no"),
        ("pkg.libs/lib-1a2b.so", b"elf"),
    ])
}

fn package(sum_of: &[u8]) -> &'static Package {
    let sha256: String = Sha256::digest(sum_of).iter().map(|byte| format!("{byte:02x}")).collect();
    let wheels = vec![Wheel { arch: "x86_64", sha256: sha256.leak(), bytes: None }].leak();
    Box::leak(Box::new(Package { what: "test", name: "pkg", version: "1", wheels, folder: "pkg-1", members: MEMBERS }))
}

/// Fetches `package` for `arch` when the index gives `bytes`; returns the outcome and the stages seen.
fn run(
    dir: &Path,
    package: &'static Package,
    arch: &'static str,
    bytes: &[u8],
) -> (Result<(), FetchError>, Vec<Stage>) {
    let mut stages = Vec::new();
    let mut download = |_: &'static Package, staging: &Path, seen: &mut dyn FnMut(u64)| {
        let path = staging.join("pkg.whl");
        fs::write(&path, bytes).unwrap();
        seen(bytes_below(staging));
        Ok(path)
    };
    let outcome = fetch_package(dir, package, arch, &mut download, &mut |p| stages.push(p.stage));
    (outcome, stages)
}

fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(dir).unwrap().map(|e| e.unwrap().file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

#[test]
fn unpacks_only_what_is_wanted_and_leaves_no_trace() {
    let dir = tempfile::tempdir().unwrap();
    let zip = good_zip();
    let (outcome, stages) = run(dir.path(), package(&zip), "x86_64", &zip);
    outcome.unwrap();
    assert_eq!(stages, [Stage::Downloading, Stage::Downloading, Stage::Checking, Stage::Unpacking, Stage::Ready]);
    assert_eq!(names(dir.path()), ["pkg-1"]);
    assert_eq!(names(&dir.path().join("pkg-1")), ["lib.so", "model"]);
    assert_eq!(fs::read(dir.path().join("pkg-1/model")).unwrap(), [7; 100_000]);
}

#[test]
fn what_is_there_is_not_fetched_again() {
    let dir = tempfile::tempdir().unwrap();
    let zip = good_zip();
    run(dir.path(), package(&zip), "x86_64", &zip).0.unwrap();
    let (outcome, stages) = run(dir.path(), package(&zip), "x86_64", b"never asked for");
    outcome.unwrap();
    assert_eq!(stages, [Stage::Ready]);
}

#[test]
fn an_incomplete_folder_is_replaced() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("pkg-1")).unwrap();
    fs::write(dir.path().join("pkg-1/model"), b"half").unwrap();
    let zip = good_zip();
    run(dir.path(), package(&zip), "x86_64", &zip).0.unwrap();
    assert_eq!(fs::read(dir.path().join("pkg-1/lib.so")).unwrap(), b"elf");
}

/// The fetch fails with `expect` in its words, and nothing is left in the folder.
fn check_refused(package: &'static Package, arch: &'static str, bytes: &[u8], expect: &str) {
    let dir = tempfile::tempdir().unwrap();
    let error = run(dir.path(), package, arch, bytes).0.unwrap_err();
    assert!(error.to_string().contains(expect), "{error}");
    assert!(names(dir.path()).is_empty(), "{:?}", names(dir.path()));
}

#[test]
fn refusals() {
    let zip = good_zip();
    check_refused(package(b"other"), "x86_64", &zip, "is not the pinned file: its SHA-256 is");
    check_refused(package(&zip), "riscv64", &zip, "no build for this machine's riscv64");
    check_refused(package(b"not a zip"), "x86_64", b"not a zip", "pkg.whl is not a readable wheel");
    let empty = zip_of(&[("pkg/model", b"m")]);
    check_refused(package(&empty), "x86_64", &empty, "exactly one pkg.libs/lib*");
    let double = zip_of(&[("pkg/model", b"m"), ("pkg.libs/lib-a", b""), ("pkg.libs/lib-b", b"")]);
    check_refused(package(&double), "x86_64", &double, "exactly one pkg.libs/lib*");
}

#[test]
fn what_pip_says_in_one_line() {
    for (words, expect) in [
        ("", "no reason given"),
        ("/usr/bin/python3: No module named pip\n", "/usr/bin/python3: No module named pip"),
        (
            "WARNING: x\nERROR: No version (from versions: none)\nERROR: No match\n\n",
            "No version (from versions: none); No match",
        ),
    ] {
        assert_eq!(gist(words), expect);
    }
    assert_eq!(gist(&"é".repeat(1_000)).len(), DETAIL_LIMIT);
}

#[test]
fn a_failed_download_says_which_package_and_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let mut download = |package: &'static Package, staging: &Path, seen: &mut dyn FnMut(u64)| {
        let mut command = Command::new("sh");
        command.args(["-c", "echo half > half.whl; echo 'ERROR: no such thing' >&2; exit 1"]).current_dir(staging);
        await_pip(command.stderr(Stdio::piped()).spawn().unwrap(), package, staging, seen)
    };
    let outcome = fetch_package(dir.path(), package(b""), "x86_64", &mut download, &mut |_| ());
    assert_eq!(outcome.unwrap_err().to_string(), "pip could not download pkg: no such thing");
    assert!(names(dir.path()).is_empty());
}
