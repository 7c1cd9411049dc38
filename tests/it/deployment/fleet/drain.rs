//! A drain fits into what waits for it, whoever ends a server. Nothing here may be shorter than the longest call.

use serde_json::json;

use super::super::document::{Template, many, text};
use super::{
    LAST_WORDS, LONGEST_CALL, LONGEST_DEREGISTRATION, LONGEST_RING, LONGEST_TALK, check, parameter, read, sample,
    setting, unit, variables,
};

/// A hook is waited for at most so many times its heartbeat timeout.
const HOOK_TIMEOUTS: u64 = 100;

/// A drain fits into what waits for it: the longest call < the drain's limit < systemd's patience < the hook's.
fn drain(template: &Template) -> Vec<String> {
    let mut faults = Vec::new();
    let service = read("infra/fleet/systemd/ringfleet-fleet.service");
    let seconds = |key: &str| unit(&service, key)[0].parse::<u64>().unwrap();
    let most = parameter(template, "DrainLimitMinutes", "MaxValue") * 60;
    let usual = parameter(template, "DrainLimitMinutes", "Default") * 60;
    if usual < LONGEST_CALL {
        faults.push(format!("a drain of {usual} s cuts calls"));
    }
    if seconds("TimeoutStopSec") < most + LAST_WORDS {
        faults.push(format!("systemd kills a drain of {most} s"));
    }
    if setting(template, "RINGFLEET_PERIODS_DRAIN") != "${DrainLimitMinutes}m" {
        faults.push("the server does not know the limit of its drain".to_owned());
    }
    if setting(template, "RINGFLEET_PERIODS_LIFECYCLE_STAY") != "3m" {
        faults.push("who comes by a balancer that forgets slowly finds nobody".to_owned());
    }
    let hooks = many(&template.properties("Group")["LifecycleHookSpecificationList"]);
    let hook = |transition: &str| {
        let found = hooks.iter().find(|hook| hook["LifecycleTransition"] == transition).cloned();
        found.unwrap_or_default()
    };
    let ending = hook("autoscaling:EC2_INSTANCE_TERMINATING");
    if setting(template, "RINGFLEET_FLEET_LIFECYCLE_HOOK") != ending["LifecycleHookName"].as_str().unwrap_or("none") {
        faults.push("the server asks another hook for time".to_owned());
    }
    let group = template.properties("Group")["AutoScalingGroupName"].clone();
    if group != "ringfleet" || setting(template, "RINGFLEET_FLEET_LIFECYCLE_GROUP") != "${AWS::StackName}" {
        faults.push("the server is in another group".to_owned());
    }
    let least = parameter(template, "HookTimeoutSeconds", "MinValue");
    if least * HOOK_TIMEOUTS < most + LONGEST_DEREGISTRATION {
        faults.push(format!("a hook of {least} s takes the machine before its drain is over"));
    }
    // One plea may be lost, and the next be late.
    let plea = 60;
    if least < plea * 4 || !sample("lifecycle_hold = \"1m\"") {
        faults.push(format!("a hook of {least} s hears too few pleas"));
    }
    let launching = hook("autoscaling:EC2_INSTANCE_LAUNCHING");
    if launching["DefaultResult"] != "ABANDON" {
        faults.push("a server that does not start counts as launched".to_owned());
    }
    let boot = variables(template, "/etc/ringfleet/boot.env");
    if !boot.contains(&("LAUNCH_HOOK".to_owned(), text(&launching["LifecycleHookName"]).to_owned())) {
        faults.push("the launch is completed at another hook".to_owned());
    }
    faults
}

#[test]
fn whatever_ends_a_server_waits_for_the_longest_call() {
    let hooks = "/Resources/Group/Properties/LifecycleHookSpecificationList";
    check(
        drain,
        &[
            ("/Parameters/DrainLimitMinutes/Default", json!(60), "cuts calls"),
            ("/Parameters/DrainLimitMinutes/MaxValue", json!(600), "systemd kills"),
            ("/Parameters/HookTimeoutSeconds/MinValue", json!(30), "before its drain is over"),
            ("/Parameters/HookTimeoutSeconds/MinValue", json!(120), "too few pleas"),
            (&format!("{hooks}/0/DefaultResult"), json!("CONTINUE"), "counts as launched"),
            (&format!("{hooks}/1/LifecycleHookName"), json!("other"), "another hook"),
            ("/Resources/Group/Properties/AutoScalingGroupName", json!("other"), "another group"),
        ],
    );
    let limits = read("domain/src/validate/bot.rs");
    assert!(limits.contains(&format!("self.max_call_duration_seconds, 10, {LONGEST_TALK}")));
    assert!(limits.contains(&format!("self.ring_timeout_seconds, 5, {LONGEST_RING}")));
    let service = read("infra/fleet/systemd/ringfleet-fleet.service");
    for (key, value) in
        [("Type", "notify"), ("Restart", "always"), ("RestartPreventExitStatus", "0"), ("KillMode", "mixed")]
    {
        assert_eq!(unit(&service, key), [value], "{key}");
    }
}
