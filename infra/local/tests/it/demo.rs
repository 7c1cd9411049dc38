//! `ringfleet demo` without the speech models: it still places its call, says what is missing, and fails.

use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

/// Runs the demo with these models, nothing downloaded, its recording put into `folder`.
fn demo(models: &Path, folder: &Path) -> Output {
    Command::new(env!("CARGO_BIN_EXE_ringfleet"))
        .args(["demo", "--json", "--offline", "--wav", "call.wav", "--models"])
        .arg(models)
        .current_dir(folder)
        .output()
        .unwrap()
}

fn one_object(output: &Output) -> Value {
    let text = std::str::from_utf8(&output.stdout).unwrap();
    assert_eq!(text.lines().count(), 1, "{text}");
    let object: Value = serde_json::from_str(text).unwrap();
    let members: Vec<&String> = object.as_object().unwrap().keys().collect();
    assert_eq!(members, ["call_id", "result", "push", "wav", "timings"]);
    object
}

#[test]
fn without_the_models_a_call_is_placed_and_what_is_missing_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let output = demo(&folder.path().join("no-models"), folder.path());
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    for part in ["WARNING", "no speech recognition (Moonshine)", "ringfleet models fetch", "NOBODY LISTENS", "FAIL"] {
        assert!(stderr.contains(part), "{part:?} in {stderr}");
    }
    let demo = one_object(&output);
    assert_eq!(demo["result"]["state"], "ended", "{stderr}");
    assert_eq!(demo["result"]["disconnected_by"], "error", "{stderr}");
    // The CRM hears of calls that failed, too.
    assert_eq!(demo["push"]["status"], 200, "{stderr}");
    assert_eq!(demo["push"]["body"]["disposition"], "CALL_FAILED");
}
