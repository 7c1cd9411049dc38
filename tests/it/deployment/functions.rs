//! Each function: its binary, settings, log, and when it runs; what it is given is in `limits`.

use std::collections::{BTreeMap, BTreeSet};

use infra::config::{Periods, PricesConfig, Shards};
use serde_json::{Value, json};

use super::api::http_functions;
use super::check;
use super::data::{names, same};
use super::document::{STACK, Template, loose, many, root, text};

/// Set for whoever serves HTTP, and read by `lambda_http` itself.
const IGNORE_STAGE: &str = "AWS_LAMBDA_HTTP_IGNORE_STAGE_IN_PATH";

/// The variables that each binary reads, as `functions/settings.tsv` has them from the code.
fn read_by_each() -> BTreeMap<String, BTreeSet<String>> {
    let list = std::fs::read_to_string(root().join("functions/settings.tsv")).unwrap();
    let mut all = BTreeMap::<String, BTreeSet<String>>::new();
    for line in list.lines().filter(|line| !line.starts_with('#')) {
        let (binary, variable) = line.split_once('\t').unwrap();
        all.entry(binary.to_owned()).or_default().insert(variable.to_owned());
    }
    all
}

/// The binary that a function is built from.
pub(super) fn binary_of(template: &Template, id: &str) -> String {
    text(&template.document["Resources"][id]["Metadata"]["BuildProperties"]["Binary"]).to_owned()
}

fn builds(template: &Template) -> Vec<String> {
    let mut faults = Vec::new();
    let mut bins: BTreeSet<String> = std::fs::read_dir(root().join("functions/src/bin"))
        .unwrap()
        .filter_map(|entry| entry.unwrap().file_name().into_string().unwrap().strip_suffix(".rs").map(str::to_owned))
        .collect();
    let globals = &template.document["Globals"]["Function"];
    let shared = [("Runtime", "provided.al2023"), ("CodeUri", "functions"), ("Tracing", "Active")];
    for (member, wanted) in shared {
        same(&mut faults, member, &globals[member], &json!(wanted));
    }
    same(&mut faults, "Architectures", &template.resolve(&globals["Architectures"]), &json!(["arm64"]));
    for (id, function) in template.of("AWS::Serverless::Function") {
        let metadata = &template.document["Resources"][id]["Metadata"];
        same(&mut faults, &format!("{id}'s BuildMethod"), &metadata["BuildMethod"], &json!("rust-cargolambda"));
        let binary = binary_of(template, id);
        let name = json!(format!("{STACK}-{}", binary.replace('_', "-")));
        same(&mut faults, &format!("{id}'s FunctionName"), &function["FunctionName"], &name);
        if !bins.remove(&binary) {
            faults.push(format!("{id} is built from {binary}, which is no binary, or is taken"));
        }
        if ["Runtime", "CodeUri", "Architectures", "Tracing"].iter().any(|shared| function.get(*shared).is_some()) {
            faults.push(format!("{id} goes its own way"));
        }
    }
    faults.extend(bins.into_iter().map(|binary| format!("{binary} is deployed nowhere")));
    faults
}

#[test]
fn every_binary_is_one_function() {
    check(
        builds,
        &[
            ("/Resources/PushFunction/Metadata/BuildProperties/Binary", json!("analyze"), "push is deployed nowhere"),
            ("/Resources/PushFunction/Metadata/BuildMethod", json!("makefile"), "BuildMethod"),
            ("/Resources/RetainFunction", Value::Null, "retain is deployed nowhere"),
            ("/Resources/PushFunction/Properties/FunctionName", json!("push"), "FunctionName"),
            ("/Globals/Function/Tracing", json!("PassThrough"), "Tracing"),
            ("/Parameters/Architecture/Default", json!("x86_64"), "Architectures"),
        ],
    );
}

fn variables(template: &Template) -> Vec<String> {
    let mut faults = Vec::new();
    let read = read_by_each();
    let http = http_functions(template);
    for (id, function) in template.of("AWS::Serverless::Function") {
        let binary = binary_of(template, id);
        let set = function["Environment"]["Variables"].as_object().cloned().unwrap_or_default();
        let mut wanted = read.get(&binary).cloned().unwrap_or_default();
        if http.contains(id) {
            wanted.insert(IGNORE_STAGE.to_owned());
            same(&mut faults, &format!("{IGNORE_STAGE} of {binary}"), &set[IGNORE_STAGE], &json!("true"));
        }
        let set: BTreeSet<String> = set.keys().cloned().collect();
        faults.extend(wanted.difference(&set).map(|name| format!("{binary} reads {name}, which is not set")));
        faults
            .extend(set.difference(&wanted).map(|name| format!("{name} is set for {binary}, which does not read it")));
    }
    if read.len() != template.of("AWS::Serverless::Function").len() {
        faults.push(format!("settings are known of {:?} only", read.keys()));
    }
    faults
}

#[test]
fn every_variable_that_is_read_is_set_and_every_one_set_is_read() {
    let push = "/Resources/PushFunction/Properties/Environment/Variables";
    check(
        variables,
        &[
            (&format!("{push}/RINGFLEET_SECRETS_ID"), Value::Null, "push reads RINGFLEET_SECRETS_ID, which is not set"),
            (&format!("{push}/RINGFLEET_PRICES_CALLS"), json!("x"), "RINGFLEET_PRICES_CALLS is set for push"),
            (&format!("{push}/{IGNORE_STAGE}"), json!("true"), "is set for push"),
            (
                "/Resources/DocsFunction/Properties/Environment/Variables/AWS_LAMBDA_HTTP_IGNORE_STAGE_IN_PATH",
                json!("no"),
                "docs",
            ),
        ],
    );
}

/// What settings come to without a parameter, and where they lead.
fn values(template: &Template) -> Vec<String> {
    let mut faults = Vec::new();
    let (periods, shards) = (Periods::default(), Shards::default());
    let retries: Vec<String> = periods.retry.iter().map(ToString::to_string).collect();
    let wanted = [
        ("RINGFLEET_NAMES_PREFIX", format!("{STACK}-")),
        ("RINGFLEET_NAMES_BUCKET", "<CallsBucket>".to_owned()),
        ("RINGFLEET_NAMES_SHARDS_CALLS", shards.calls.to_string()),
        ("RINGFLEET_NAMES_SHARDS_DELIVERIES", shards.deliveries.to_string()),
        ("RINGFLEET_NAMES_SHARDS_SERVERS", shards.servers.to_string()),
        ("RINGFLEET_SECRETS_ID", "<DeploymentSecret>".to_owned()),
        ("RINGFLEET_KMS_KEY_ID", "<DataKey.Arn>".to_owned()),
        ("RINGFLEET_TELEMETRY_LEVEL", "info".to_owned()),
        ("RINGFLEET_TELEMETRY_FORMAT", "json".to_owned()),
        ("RINGFLEET_PRICES_RESERVE", PricesConfig::default().reserve.to_string()),
        ("RINGFLEET_PERIODS_RETRY", retries.join(",")),
        ("RINGFLEET_PERIODS_RETRY_JITTER_PERCENT", periods.retry_jitter_percent.to_string()),
        ("RINGFLEET_PERIODS_BREAKER_AFTER", periods.breaker_after.to_string()),
        ("RINGFLEET_PERIODS_BREAKER_PAUSE", periods.breaker_pause.to_string()),
        ("RINGFLEET_PERIODS_BREAKER_LONGEST", periods.breaker_longest.to_string()),
        ("RINGFLEET_PERIODS_REAP", periods.reap.to_string()),
        ("RINGFLEET_PERIODS_REAP_STALE", periods.reap_stale.to_string()),
        ("RINGFLEET_EGRESS_ALLOW_HTTP", "false".to_owned()),
        ("RINGFLEET_EGRESS_ALLOW_CIDRS", String::new()),
        ("RINGFLEET_EGRESS_DENY_CIDRS", String::new()),
        ("RINGFLEET_TRUSTED_PROXIES", String::new()),
        ("RINGFLEET_WS_PUBLIC_URL", String::new()),
        ("RINGFLEET_LLM_BASE_URL", String::new()),
        ("RINGFLEET_LLM_MODEL", String::new()),
        ("RINGFLEET_PRICES_CALLS", String::new()),
        (IGNORE_STAGE, "true".to_owned()),
    ];
    let wanted = BTreeMap::from(wanted);
    for (id, function) in template.of("AWS::Serverless::Function") {
        for (name, value) in function["Environment"]["Variables"].as_object().into_iter().flatten() {
            let value = loose(value);
            match wanted.get(name.as_str()) {
                Some(wanted) if *wanted != value => faults.push(format!("{name} of {id} is {value}, not {wanted}")),
                Some(_) => {}
                // Made of the API's address: seen with it.
                None if ["RINGFLEET_PUBLIC_URL", "RINGFLEET_EGRESS_DENY_HOSTS"].contains(&name.as_str()) => {}
                None => faults.push(format!("nobody knows what {name} of {id} should be")),
            }
        }
    }
    if names().bucket().is_empty() || template.properties("CallsBucket")["BucketName"].is_null() {
        faults.push("the bucket has no name".to_owned());
    }
    faults
}

#[test]
fn without_a_parameter_every_setting_is_what_the_programs_take_without_it() {
    check(
        values,
        &[
            ("/Parameters/RetryDelays/Default", json!("5s"), "RINGFLEET_PERIODS_RETRY"),
            ("/Parameters/CallShards/Default", json!(16), "RINGFLEET_NAMES_SHARDS_CALLS"),
            ("/Parameters/EgressAllowHttp/Default", json!("true"), "RINGFLEET_EGRESS_ALLOW_HTTP"),
            ("/Resources/PushFunction/Properties/Environment/Variables/RINGFLEET_NAMES_PREFIX", json!("x-"), "PREFIX"),
            ("/Resources/PushFunction/Properties/Environment/Variables/RINGFLEET_X", json!("x"), "nobody knows"),
        ],
    );
}

fn logs(template: &Template) -> Vec<String> {
    let mut faults = Vec::new();
    let groups: BTreeMap<&str, Value> = template.of("AWS::Logs::LogGroup").into_iter().collect();
    for (id, group) in &groups {
        if group["RetentionInDays"].as_u64().is_none_or(|days| days == 0) {
            faults.push(format!("{id} is kept for ever"));
        }
    }
    for (id, function) in template.of("AWS::Serverless::Function") {
        let group = text(&function["LoggingConfig"]["LogGroup"]).trim_matches(['<', '>']);
        let name = format!("/aws/lambda/{}", text(&function["FunctionName"]));
        if groups.get(group).is_none_or(|group| group["LogGroupName"] != name) {
            faults.push(format!("{id} does not log to {name}"));
        }
    }
    faults
}

#[test]
fn every_function_has_a_log_of_its_own_that_is_not_kept_for_ever() {
    check(
        logs,
        &[
            ("/Resources/PushLogs/Properties/RetentionInDays", Value::Null, "PushLogs is kept for ever"),
            ("/Resources/ApiAccessLogs/Properties/RetentionInDays", Value::Null, "ApiAccessLogs is kept for ever"),
            ("/Resources/PushFunction/Properties/LoggingConfig/LogGroup", json!("<AuthLogs>"), "PushFunction"),
            ("/Resources/PushLogs/Properties/LogGroupName", json!("x"), "PushFunction"),
        ],
    );
}

fn schedules(template: &Template) -> Vec<String> {
    let mut faults = Vec::new();
    let wanted = [("reap", "rate(1 minute)", 60), ("sweep", "rate(1 minute)", 60), ("retain", "rate(1 hour)", 3600)];
    let rules = template.of("AWS::Events::Rule");
    for (binary, rate, every) in wanted {
        let functions = template.of("AWS::Serverless::Function");
        let Some((id, _)) = functions.iter().find(|(id, _)| binary_of(template, id) == binary) else { continue };
        let target = json!(format!("<{id}.Arn>"));
        let found = rules.iter().find(|(_, rule)| many(&rule["Targets"]).iter().any(|to| to["Arn"] == target));
        let Some((rule_id, rule)) = found else {
            faults.push(format!("{binary} never runs"));
            continue;
        };
        same(&mut faults, &format!("{binary}'s schedule"), &rule["ScheduleExpression"], &json!(rate));
        same(&mut faults, &format!("{binary}'s schedule is"), &rule["State"], &json!("ENABLED"));
        let may = json!({
            "FunctionName": format!("<{id}>"), "Action": "lambda:InvokeFunction",
            "Principal": "events.amazonaws.com", "SourceArn": format!("<{rule_id}.Arn>"),
        });
        if !template.of("AWS::Lambda::Permission").iter().any(|(_, permission)| *permission == may) {
            faults.push(format!("{rule_id} may not run {binary}"));
        }
        // One that comes late, or again, would only meet the next.
        let invocations = json!({
            "FunctionName": format!("<{id}>"), "Qualifier": "$LATEST",
            "MaximumRetryAttempts": 0, "MaximumEventAgeInSeconds": every,
        });
        if !template.of("AWS::Lambda::EventInvokeConfig").iter().any(|(_, config)| *config == invocations) {
            faults.push(format!("{binary} is run again when it fails"));
        }
    }
    faults
}

#[test]
fn reap_and_sweep_run_every_minute_and_retain_every_hour() {
    check(
        schedules,
        &[
            ("/Resources/ReapSchedule/Properties/ScheduleExpression", json!("rate(5 minutes)"), "reap's schedule"),
            ("/Resources/ReapSchedule/Properties/State", json!("DISABLED"), "reap's schedule is"),
            ("/Resources/SweepSchedule", Value::Null, "sweep never runs"),
            ("/Resources/SweepScheduleMay", Value::Null, "may not run sweep"),
            ("/Resources/RetainInvocations", Value::Null, "retain is run again"),
        ],
    );
}

/// Lambda stops what it takes for a loop, unless it is told that the loop is meant; nobody else is told so.
fn loops(template: &Template) -> Vec<String> {
    let mut faults = Vec::new();
    let sources = template.of("AWS::Lambda::EventSourceMapping");
    for (id, function) in template.of("AWS::Serverless::Function") {
        let name = json!(format!("<{id}>"));
        let taken = sources.iter().filter(|(_, source)| source["FunctionName"] == name);
        let taken: Vec<&Value> = taken.map(|(_, source)| &source["EventSourceArn"]).collect();
        let role = template.properties(text(&function["Role"]).trim_start_matches('<').trim_end_matches(".Arn>"));
        let sends_to_itself = many(&role["Policies"]).iter().any(|policy| {
            many(&policy["PolicyDocument"]["Statement"]).iter().any(|statement| {
                many(&statement["Action"]).contains(&json!("sqs:SendMessage"))
                    && many(&statement["Resource"]).iter().any(|queue| taken.contains(&queue))
            })
        });
        let wanted = if sends_to_itself { json!("Allow") } else { Value::Null };
        same(&mut faults, &format!("the loop of {id}"), &function["RecursiveLoop"], &wanted);
    }
    faults
}

#[test]
fn only_who_sends_to_its_own_queue_may_be_called_by_its_own_messages() {
    let sweep = "/Resources/SweepFunction/Properties/RecursiveLoop";
    check(
        loops,
        &[
            ("/Resources/PushFunction/Properties/RecursiveLoop", Value::Null, "the loop of PushFunction"),
            ("/Resources/PushFunction/Properties/RecursiveLoop", json!("Terminate"), "the loop of PushFunction"),
            (sweep, json!("Allow"), "the loop of SweepFunction"),
        ],
    );
}
