//! Alarms: that there is one for each thing that somebody must hear of, and that somebody hears of it.

use serde_json::{Value, json};

use super::check;
use super::data::same;
use super::document::{STACK, Template, many, text};

fn wired(template: &Template) -> Vec<String> {
    let mut faults = Vec::new();
    for (id, alarm) in template.of("AWS::CloudWatch::Alarm") {
        for actions in ["AlarmActions", "OKActions"] {
            same(&mut faults, &format!("{id}.{actions}"), &alarm[actions], &json!(["<AlarmTopic>"]));
        }
        if text(&alarm["AlarmDescription"]).len() < 30 {
            faults.push(format!("{id} says nothing"));
        }
        if alarm.get("TreatMissingData").is_none() {
            faults.push(format!("{id} does not say what no data means"));
        }
    }
    let topic = template.properties("AlarmTopic");
    same(&mut faults, "the topic's key", &topic["KmsMasterKeyId"], &json!("<DataKey>"));
    let publishes = |policy: &Value, action: &str| {
        many(&policy["Statement"]).iter().any(|statement| {
            statement["Effect"] == "Allow"
                && statement["Principal"] == json!({"Service": "cloudwatch.amazonaws.com"})
                && many(&statement["Action"]).contains(&json!(action))
        })
    };
    if !publishes(&template.properties("AlarmTopicTakesAlarms")["PolicyDocument"], "sns:Publish") {
        faults.push("the topic takes no alarms".to_owned());
    }
    // A topic under a key of ours: who publishes must be let to use it.
    for action in ["kms:Decrypt", "kms:GenerateDataKey"] {
        if !publishes(&template.properties("DataKey")["KeyPolicy"], action) {
            faults.push(format!("alarms get lost for want of {action}"));
        }
    }
    faults
}

#[test]
fn every_alarm_reaches_the_topic() {
    check(
        wired,
        &[
            ("/Resources/ReapAlarm/Properties/AlarmActions", Value::Null, "ReapAlarm.AlarmActions"),
            ("/Resources/ReapAlarm/Properties/OKActions", json!([]), "ReapAlarm.OKActions"),
            ("/Resources/ReapAlarm/Properties/TreatMissingData", Value::Null, "ReapAlarm does not say"),
            ("/Resources/ReapAlarm/Properties/AlarmDescription", json!("bad"), "ReapAlarm says nothing"),
            (
                "/Resources/AlarmTopicTakesAlarms/Properties/PolicyDocument/Statement/0/Effect",
                json!("Deny"),
                "no alarms",
            ),
            ("/Resources/DataKey/Properties/KeyPolicy/Statement/1/Action", json!("kms:Decrypt"), "kms:GenerateDataKey"),
        ],
    );
}

/// The metrics that an alarm looks at: namespace, name, dimensions.
fn metrics(alarm: &Value) -> Vec<(String, String, String)> {
    let plain = |metric: &Value| {
        let dimensions = many(&metric["Dimensions"]);
        let dimensions: Vec<String> = dimensions
            .iter()
            .map(|dimension| format!("{}={}", text(&dimension["Name"]), text(&dimension["Value"])))
            .collect();
        (text(&metric["Namespace"]).to_owned(), text(&metric["MetricName"]).to_owned(), dimensions.join(","))
    };
    let computed = many(&alarm["Metrics"]);
    let computed = computed.iter().filter(|each| each.get("MetricStat").is_some());
    let computed: Vec<_> = computed.map(|each| plain(&each["MetricStat"]["Metric"])).collect();
    if alarm.get("MetricName").is_some() { vec![plain(alarm)] } else { computed }
}

fn watched(template: &Template) -> Vec<String> {
    let mut faults = Vec::new();
    let alarms = template.of("AWS::CloudWatch::Alarm");
    let ours = format!("Deployment={STACK}");
    let mut wanted = vec![
        ("Ringfleet", "PushTries", ours.clone()),
        ("Ringfleet", "PushFailures", ours.clone()),
        ("Ringfleet", "HealthyServers", ours.clone()),
        ("Ringfleet", "ApiFaults", ours.clone()),
        ("AWS/ApiGateway", "5XXError", format!("ApiName={STACK},Stage=prod")),
    ];
    let queues: Vec<String> = template.of("AWS::SQS::Queue").into_iter().map(|(id, _)| id.to_owned()).collect();
    for queue in &queues {
        let metric =
            if queue.contains("Dead") { "ApproximateNumberOfMessagesVisible" } else { "ApproximateAgeOfOldestMessage" };
        wanted.push(("AWS/SQS", metric, format!("QueueName=<{queue}.QueueName>")));
    }
    for (id, _) in template.of("AWS::Serverless::Function") {
        if id != "AuthFunction" {
            wanted.push(("AWS/Lambda", "Errors", format!("FunctionName=<{id}>")));
        }
        if id != "DocsFunction" {
            wanted.push(("AWS/Lambda", "Throttles", format!("FunctionName=<{id}>")));
        }
    }
    for (namespace, name, dimensions) in wanted {
        let metric = (namespace.to_owned(), name.to_owned(), dimensions.clone());
        if !alarms.iter().any(|(_, alarm)| metrics(alarm).contains(&metric)) {
            faults.push(format!("nobody hears of {namespace} {name} {dimensions}"));
        }
    }
    let alarm = |id: &str| template.properties(id);
    for dead in ["CallEndedDeadAlarm", "DeliveriesDeadAlarm"] {
        let found = alarm(dead);
        let at_the_first = found["Threshold"] == 0 && found["ComparisonOperator"] == "GreaterThanThreshold";
        if !at_the_first || found["EvaluationPeriods"] != 1 {
            faults.push(format!("{dead} lets the first one pass"));
        }
    }
    let healthy = alarm("NoHealthyServerAlarm");
    same(&mut faults, "no word of servers", &healthy["TreatMissingData"], &json!("breaching"));
    same(&mut faults, "NoHealthyServerAlarm is on", &healthy["ActionsEnabled"], &json!("true"));
    if healthy["Threshold"] != 1 || healthy["ComparisonOperator"] != "LessThanThreshold" {
        faults.push("NoHealthyServerAlarm waits for less than none".to_owned());
    }
    // A pass's figures come minutes after the minute that they belong to: a zero that stands in for them is always the newest.
    for schedule in ["ReapAlarm", "SweepAlarm", "RetainAlarm"] {
        let metrics = many(&alarm(schedule)["Metrics"]);
        if metrics.iter().any(|metric| metric["Expression"].as_str().is_some_and(|math| math.contains("FILL"))) {
            faults.push(format!("{schedule} sees zeros where nothing is known yet"));
        }
    }
    // An authorizer answers 401 by an error of its own: whoever tries keys must not set off alarms. Its faults are the API's.
    let wrong_keys = ("AWS/Lambda".to_owned(), "Errors".to_owned(), "FunctionName=<AuthFunction>".to_owned());
    if let Some((id, _)) = alarms.iter().find(|(_, alarm)| metrics(alarm).contains(&wrong_keys)) {
        faults.push(format!("{id} goes off for wrong keys"));
    }
    let filter = template.properties("ApiFaults");
    let made = &filter["MetricTransformations"][0];
    let counted = json!([{"Key": "Deployment", "Value": "$.deployment"}]);
    if filter["LogGroupName"] != "<ApiAccessLogs>" || made["MetricName"] != "ApiFaults" || made["Dimensions"] != counted
    {
        faults.push("failed requests are not counted".to_owned());
    }
    let counted = [
        "$.status = 500",
        "$.status = 502",
        "$.status = 504",
        "$.error = \"INTEGRATION_*\"",
        "$.error = \"AUTHORIZER_*\"",
    ];
    for what in counted {
        if !text(&filter["FilterPattern"]).contains(what) {
            faults.push(format!("requests with {what} are not counted"));
        }
    }
    faults
}

#[test]
fn there_is_an_alarm_for_whatever_somebody_must_hear_of() {
    check(
        watched,
        &[
            ("/Resources/DeliveriesDeadAlarm/Properties/Threshold", json!(10), "lets the first one pass"),
            (
                "/Resources/DeliveriesDeadAlarm/Properties/MetricName",
                json!("NumberOfMessagesSent"),
                "DeliveriesDeadQueue",
            ),
            (
                "/Resources/NoHealthyServerAlarm/Properties/TreatMissingData",
                json!("notBreaching"),
                "no word of servers",
            ),
            ("/Resources/NoHealthyServerAlarm/Properties/Threshold", json!(0), "less than none"),
            ("/Resources/PushFailuresAlarm", Value::Null, "PushFailures"),
            ("/Resources/ReapAlarm", Value::Null, "nobody hears of AWS/Lambda Errors FunctionName=<ReapFunction>"),
            (
                "/Resources/SweepAlarm/Properties/Metrics/0/Expression",
                json!("FILL(errors, 0) + FILL(throttles, 0)"),
                "SweepAlarm sees zeros",
            ),
            (
                "/Resources/FunctionErrorsAlarm/Properties/Metrics/1/MetricStat/Metric/Dimensions/0/Value",
                json!({"Ref": "AuthFunction"}),
                "FunctionErrorsAlarm goes off for wrong keys",
            ),
            ("/Resources/ApiFaults/Properties/FilterPattern", json!("{ $.status = 500 }"), "$.status = 502"),
            ("/Resources/ApiFaults/Properties/LogGroupName", json!("x"), "not counted"),
        ],
    );
}

fn dashboard(template: &Template) -> Vec<String> {
    let mut faults = Vec::new();
    let body = template.properties("Dashboard")["DashboardBody"].clone();
    let Ok(body) = serde_json::from_str::<Value>(text(&body)) else {
        return vec!["the dashboard is no JSON".to_owned()];
    };
    let shown = body.to_string();
    let functions = template.of("AWS::Serverless::Function").into_iter().map(|(_, it)| it["FunctionName"].clone());
    let queues = template.of("AWS::SQS::Queue").into_iter().map(|(_, it)| it["QueueName"].clone());
    let metrics = ["HealthyServers", "FreeSlots", "BusyPercent", "PushTries", "PushFailures", "ApiFaults", "5XXError"];
    for name in functions.chain(queues).chain(metrics.map(|name| json!(name))) {
        if !shown.contains(&name.to_string()) {
            faults.push(format!("the dashboard does not show {name}"));
        }
    }
    // Quoted, a word of a SEARCH is a whole name; tables are asked for by what their names begin with.
    if !text(&template.properties("Dashboard")["DashboardBody"]).contains(&format!("ThrottledRequests\\\" {STACK}'")) {
        faults.push("the dashboard finds no table".to_owned());
    }
    faults
}

#[test]
fn the_dashboard_shows_every_function_queue_and_figure() {
    check(
        dashboard,
        &[
            ("/Resources/Dashboard/Properties/DashboardBody", json!("{"), "no JSON"),
            ("/Resources/PushFunction/Properties/FunctionName", json!("other"), "does not show \"other\""),
            (
                "/Resources/Dashboard/Properties/DashboardBody",
                json!(
                    r#"{"widgets": [{"expression": "SEARCH('MetricName=\"ThrottledRequests\" \"ringfleet-\"', 'Sum', 60)"}]}"#
                ),
                "finds no table",
            ),
        ],
    );
}
