//! Least privilege: what each role may do, as a table, and what no role may.
//!
//! The table is written from the adapters (`infra/src/dynamodb`, `s3.rs`, `sqs.rs`, `secrets`) and from the ports that each
//! function's handlers call. A transaction needs the actions of its parts; a missing object is told from a forbidden one
//! only by who may list the bucket.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::check;
use super::document::{Template, many, root, text};

/// Who, on what, which actions of the service. A table's index stands behind a slash.
const POWERS: &str = "
auth          api-keys              GetItem UpdateItem

dialout       api-keys              GetItem UpdateItem
dialout       bots                  GetItem
dialout       numbers               GetItem
dialout       trunks                GetItem
dialout       servers               GetItem Query
dialout       calls                 GetItem PutItem
dialout       idempotency           DeleteItem GetItem PutItem UpdateItem
dialout       spend                 DeleteItem PutItem UpdateItem
dialout       secret                Decrypt GetSecretValue

calls         api-keys              GetItem UpdateItem
calls         bots                  Scan
calls         calls                 BatchGetItem GetItem
calls         calls/by_bot_day      Query
calls         servers               GetItem
calls         objects               GetObject
calls         bucket                ListBucket
calls         secret                Decrypt GetSecretValue

admin         api-keys              ConditionCheckItem DeleteItem GetItem PutItem Scan UpdateItem
admin         bots                  DeleteItem GetItem PutItem Scan UpdateItem
admin         bot-versions          GetItem PutItem Query Scan UpdateItem
admin         numbers               DeleteItem GetItem PutItem
admin         trunks                DeleteItem GetItem PutItem Scan UpdateItem
admin         calls                 BatchGetItem GetItem Scan UpdateItem
admin         calls/by_bot_day      Query
admin         deliveries            DeleteItem GetItem UpdateItem
admin         attempts              DeleteItem Query
admin         endpoints             GetItem Query
admin         retention             PutItem
admin         servers               GetItem Query
admin         queue deliveries      GetQueueUrl SendMessage
admin         objects               DeleteObject GetObject
admin         bucket                ListBucket
admin         secret                Decrypt GetSecretValue
admin         data keys             Decrypt

fleet-health  api-keys              GetItem UpdateItem
fleet-health  servers               GetItem Query

analyze       bot-versions          GetItem
analyze       calls                 GetItem UpdateItem
analyze       servers               GetItem
analyze       spend                 DeleteItem GetItem UpdateItem
analyze       queue call-ended      DeleteMessage GetQueueAttributes ReceiveMessage
analyze       queue deliveries      GetQueueUrl SendMessage
analyze       objects               AbortMultipartUpload GetObject PutObject
analyze       bucket                ListBucket
analyze       secret                Decrypt GetSecretValue
analyze       data keys             Decrypt

push          bots                  GetItem
push          bot-versions          GetItem
push          calls                 GetItem UpdateItem
push          deliveries            GetItem PutItem UpdateItem
push          attempts              PutItem
push          endpoints             GetItem PutItem
push          queue deliveries      DeleteMessage GetQueueAttributes GetQueueUrl ReceiveMessage SendMessage
push          objects               AbortMultipartUpload GetObject PutObject
push          bucket                ListBucket
push          secret                Decrypt GetSecretValue
push          data keys             Decrypt

sweep         calls                 GetItem UpdateItem
sweep         calls/by_step         Query
sweep         deliveries            GetItem UpdateItem
sweep         deliveries/by_due     Query
sweep         endpoints             GetItem
sweep         spend                 DeleteItem GetItem UpdateItem
sweep         spend/by_due          Query
sweep         queue call-ended      GetQueueUrl SendMessage
sweep         queue deliveries      GetQueueUrl SendMessage

reap          bot-versions          GetItem
reap          calls                 BatchGetItem UpdateItem
reap          calls/by_open_on      Query Scan
reap          servers               DeleteItem Query
reap          queue call-ended      GetQueueUrl SendMessage
reap          objects               AbortMultipartUpload GetObject PutObject
reap          bucket                ListBucket
reap          secret                Decrypt GetSecretValue

retain        bots                  GetItem Scan
retain        bot-versions          GetItem
retain        calls                 DeleteItem GetItem UpdateItem
retain        calls/by_bot_day      Query
retain        deliveries            DeleteItem GetItem
retain        attempts              DeleteItem Query UpdateItem
retain        retention             GetItem PutItem Scan
retain        objects               DeleteObject GetObject PutObject
retain        bucket                ListBucket

FLEET         api-keys              GetItem UpdateItem
FLEET         bots                  GetItem
FLEET         bot-versions          GetItem
FLEET         numbers               GetItem
FLEET         trunks                GetItem Scan
FLEET         calls                 BatchGetItem GetItem PutItem UpdateItem
FLEET         calls/by_open_on      Query
FLEET         servers               DeleteItem GetItem PutItem Query
FLEET         epochs                UpdateItem
FLEET         queue call-ended      GetQueueUrl SendMessage
FLEET         objects               AbortMultipartUpload DeleteObject GetObject PutObject
FLEET         bucket                ListBucket
FLEET         secret                Decrypt GetSecretValue
FLEET         data keys             Decrypt
";

/// Statements that may name every resource, and why nothing narrower exists.
const ON_EVERYTHING: &[(&str, &[&str], &str)] = &[
    ("TracesPolicy", &["xray:PutTraceSegments", "xray:PutTelemetryRecords"], "X-Ray has no resources to name"),
    (
        "NetworkPolicy",
        &[
            "ec2:CreateNetworkInterface",
            "ec2:DescribeNetworkInterfaces",
            "ec2:DescribeSubnets",
            "ec2:DeleteNetworkInterface",
            "ec2:AssignPrivateIpAddresses",
            "ec2:UnassignPrivateIpAddresses",
        ],
        "Lambda asks for them on interfaces that have no name yet; the functions' own code is denied them",
    ),
];

/// What each of `infra::adapters` reaches.
const ADAPTERS: &[(&str, &[&str])] = &[
    ("api_keys", &["api-keys"]),
    ("bots", &["bots", "bot-versions", "numbers"]),
    ("trunks", &["trunks"]),
    ("calls", &["calls", "calls/by_bot_day", "calls/by_open_on", "calls/by_step"]),
    ("deliveries", &["deliveries", "deliveries/by_due", "attempts"]),
    ("endpoints", &["endpoints"]),
    ("housekeeping", &["retention", "calls", "calls/by_bot_day", "deliveries", "attempts"]),
    ("idempotency", &["idempotency"]),
    ("sealed_rows", &["bots", "bot-versions", "trunks"]),
    ("servers", &["servers"]),
    ("spend", &["spend", "spend/by_due"]),
    ("objects", &["objects", "bucket"]),
    ("queues", &["queue call-ended", "queue deliveries"]),
    ("secrets", &["secret"]),
    ("wrap", &["data keys"]),
];

type Powers = BTreeMap<(String, String), BTreeSet<String>>;

fn wanted() -> Powers {
    let mut powers = Powers::new();
    for line in POWERS.lines().filter(|line| !line.trim().is_empty()) {
        let (who, what, actions) = (line[..14].trim(), line[14..36].trim(), line[36..].trim());
        let actions = actions.split(' ').map(str::to_owned).collect();
        assert!(powers.insert((who.to_owned(), what.to_owned()), actions).is_none(), "{line} stands twice");
    }
    powers
}

/// What a resource of a statement is called in the table.
fn plain_name(template: &Template, resource: &str, condition: &Value) -> String {
    if resource == "<CallsBucket.Arn>/*" {
        return "objects".to_owned();
    }
    let (id, rest) = match resource.strip_prefix('<').and_then(|rest| rest.split_once('>')) {
        Some((id, rest)) => (id.split('.').next().unwrap_or(id), rest),
        None => return resource.to_owned(),
    };
    let properties = template.properties(id);
    let named = |member: &str| text(&properties[member]).trim_start_matches("ringfleet-").to_owned();
    let reads_secret = json!({"StringEquals": {"kms:ViaService": "secretsmanager.eu-west-1.amazonaws.com"}});
    let unwraps = json!({"ForAnyValue:StringEquals": {"kms:EncryptionContextKeys": "ringfleet:data-key"}});
    match text(&template.document["Resources"][id]["Type"]) {
        "AWS::DynamoDB::Table" => named("TableName") + &rest.replace("/index/", "/"),
        "AWS::SQS::Queue" => format!("queue {}", named("QueueName")),
        "AWS::S3::Bucket" => format!("bucket{rest}"),
        "AWS::SecretsManager::Secret" => "secret".to_owned(),
        "AWS::KMS::Key" if *condition == reads_secret => "secret".to_owned(),
        "AWS::KMS::Key" if *condition == unwraps => "data keys".to_owned(),
        "AWS::Logs::LogGroup" => format!("logs of {}", properties["LogGroupName"]),
        kind => format!("{kind} {id}{rest} {condition}"),
    }
}

fn collect(template: &Template, who: &str, policy: &Value, into: &mut Powers) {
    for statement in many(&policy["Statement"]).iter().filter(|statement| statement["Effect"] == "Allow") {
        for resource in many(&statement["Resource"]) {
            let what = plain_name(template, text(&resource), &statement["Condition"]);
            let actions = many(&statement["Action"]);
            let actions =
                actions.iter().map(|action| text(action).split_once(':').map_or("*", |(_, verb)| verb).to_owned());
            into.entry((who.to_owned(), what)).or_default().extend(actions);
        }
    }
}

fn powers(template: &Template) -> Vec<String> {
    let mut faults = Vec::new();
    let mut found = Powers::new();
    let mut roles = BTreeSet::new();
    for (id, function) in template.of("AWS::Serverless::Function") {
        let who = text(&function["FunctionName"]).trim_start_matches("ringfleet-").to_owned();
        let role = text(&function["Role"]).trim_matches(['<', '>']).trim_end_matches(".Arn").to_owned();
        let properties = template.properties(&role);
        let in_vpc = function.get("VpcConfig").is_some();
        let managed = if in_vpc { json!(["<TracesPolicy>", "<NetworkPolicy>"]) } else { json!(["<TracesPolicy>"]) };
        if properties["ManagedPolicyArns"] != managed {
            faults.push(format!("{role} has the policies {}", properties["ManagedPolicyArns"]));
        }
        let trusted = &properties["AssumeRolePolicyDocument"]["Statement"];
        if *trusted
            != json!([{"Effect": "Allow", "Principal": {"Service": "lambda.amazonaws.com"}, "Action": "sts:AssumeRole"}])
        {
            faults.push(format!("{role} is open to {trusted}"));
        }
        for policy in many(&properties["Policies"]) {
            collect(template, &who, &policy["PolicyDocument"], &mut found);
        }
        let logs = (who.clone(), format!("logs of \"/aws/lambda/ringfleet-{who}\""));
        if found.remove(&logs) != Some(["CreateLogStream", "PutLogEvents"].map(str::to_owned).into()) {
            faults.push(format!("{who} writes no log of its own"));
        }
        if !roles.insert(role.clone()) {
            faults.push(format!("{id} shares {role}"));
        }
    }
    collect(template, "FLEET", &template.properties("FleetPolicy")["PolicyDocument"], &mut found);
    let wanted = wanted();
    let all: BTreeSet<_> = wanted.keys().chain(found.keys()).collect();
    let none = BTreeSet::new();
    for place in all {
        let (may, needs) = (found.get(place).unwrap_or(&none), wanted.get(place).unwrap_or(&none));
        let (who, what) = place;
        faults.extend(needs.difference(may).map(|action| format!("{who} may not {action} on {what}, and must")));
        faults.extend(may.difference(needs).map(|action| format!("{who} may {action} on {what}, and need not")));
    }
    faults
}

#[test]
fn every_function_may_do_what_it_does_and_nothing_else() {
    let role = "/Resources/SweepRole/Properties";
    let policy = format!("{role}/Policies/0/PolicyDocument/Statement");
    check(
        powers,
        &[
            (&format!("{policy}/1/Action"), json!(["dynamodb:GetItem"]), "sweep may not UpdateItem on calls, and must"),
            (&format!("{policy}/1/Action"), json!("dynamodb:*"), "sweep may * on calls, and need not"),
            (&format!("{policy}/1/Resource"), json!("*"), "on *, and need not"),
            (&format!("{policy}/0"), json!({"Effect": "Deny"}), "sweep writes no log"),
            (&format!("{role}/ManagedPolicyArns"), json!(["arn:aws:iam::aws:policy/AdministratorAccess"]), "policies"),
            (&format!("{role}/AssumeRolePolicyDocument/Statement/0/Principal"), json!("*"), "open to"),
            ("/Resources/SweepFunction/Properties/Role", json!("<ReapRole.Arn>"), "shares ReapRole"),
            ("/Resources/PushRole/Properties/Policies/0/PolicyDocument/Statement/9/Condition", Value::Null, "push may"),
            (
                "/Resources/FleetPolicy/Properties/PolicyDocument/Statement/0",
                json!({"Effect": "Deny"}),
                "FLEET may not",
            ),
        ],
    );
}

/// The adapters that a function's main builds.
fn built_by(function: &str) -> BTreeSet<&'static str> {
    let folder = root().join("functions/src/bin");
    let mut main = std::fs::read_to_string(folder.join(function.replace('-', "_") + ".rs")).unwrap();
    if main.contains("wiring/sealed.rs") {
        main.push_str(&std::fs::read_to_string(folder.join("wiring/sealed.rs")).unwrap());
    }
    let built = ADAPTERS.iter().filter(|(name, _)| main.contains(&format!("adapters.{name}(")));
    built.map(|(name, _)| *name).collect()
}

#[test]
fn whoever_may_do_something_has_the_adapter_for_it_and_the_other_way_round() {
    // What takes messages for a function is Lambda, with the function's role.
    let taking = BTreeSet::from(["DeleteMessage", "GetQueueAttributes", "ReceiveMessage"].map(str::to_owned));
    let functions: BTreeSet<String> = wanted().into_keys().map(|(who, _)| who).filter(|who| who != "FLEET").collect();
    assert!(functions.len() > 8, "{functions:?}");
    for function in functions {
        let built = built_by(&function);
        let reached = |what: &str| ADAPTERS.iter().any(|(name, places)| built.contains(name) && places.contains(&what));
        let powers: Powers = wanted().into_iter().filter(|((who, _), _)| *who == function).collect();
        for ((_, what), actions) in &powers {
            let by_lambda = what.starts_with("queue ") && actions.is_subset(&taking);
            assert!(reached(what) || by_lambda, "{function} builds nothing that reaches {what}");
        }
        for name in &built {
            let places = ADAPTERS.iter().find(|(known, _)| known == name).unwrap().1;
            let may = powers.keys().any(|(_, what)| places.contains(&what.as_str()));
            assert!(may, "{function} builds {name}, and may do nothing there");
        }
    }
}

/// Every statement of every policy, with the resource that it is written in.
fn statements(template: &Template) -> Vec<(String, Value)> {
    fn walk(id: &str, value: &Value, found: &mut Vec<(String, Value)>) {
        match value {
            Value::Object(members) => {
                if members.contains_key("Effect") && members.contains_key("Action") {
                    found.push((id.to_owned(), value.clone()));
                }
                members.values().for_each(|inner| walk(id, inner, found));
            }
            Value::Array(items) => items.iter().for_each(|inner| walk(id, inner, found)),
            _ => {}
        }
    }
    let mut found = Vec::new();
    for (id, resource) in template.resources() {
        walk(id, &template.resolve(&resource["Properties"]), &mut found);
    }
    found
}

fn wildcards(template: &Template) -> Vec<String> {
    let mut faults = Vec::new();
    for (id, statement) in statements(template) {
        if statement["Effect"] == "Deny" {
            continue;
        }
        // In a key's own policy `*` is that key, and the account must keep every power over it.
        let key_policy = template.document["Resources"][&id]["Type"] == "AWS::KMS::Key";
        let actions = many(&statement["Action"]);
        if !key_policy
            && (actions.iter().any(|action| text(action).contains('*')) || statement.get("NotAction").is_some())
        {
            faults.push(format!("{id} allows {}", statement["Action"]));
        }
        let broad = |resource: &Value| text(resource).contains('*') && text(resource) != "<CallsBucket.Arn>/*";
        let everything = many(&statement["Resource"]).iter().any(broad) || statement.get("NotResource").is_some();
        let allowed = ON_EVERYTHING
            .iter()
            .any(|(known, some, _)| *known == id && actions.iter().all(|action| some.contains(&text(action))));
        if everything && !key_policy && !allowed {
            faults.push(format!("{id} allows {} on {}", statement["Action"], statement["Resource"]));
        }
    }
    let denies = statements(template).iter().any(|(id, statement)| {
        id == "NetworkPolicy"
            && statement["Effect"] == "Deny"
            && ON_EVERYTHING[1].1.iter().all(|action| many(&statement["Action"]).contains(&json!(action)))
            && statement["Condition"]["ArnLike"]["lambda:SourceFunctionArn"].is_string()
    });
    if !denies {
        faults.push("functions' own code may make network interfaces".to_owned());
    }
    faults
}

#[test]
fn no_policy_has_a_wildcard_that_is_not_explained() {
    let network = "/Resources/NetworkPolicy/Properties/PolicyDocument/Statement";
    let sweep = "/Resources/SweepRole/Properties/Policies/0/PolicyDocument/Statement/1";
    check(
        wildcards,
        &[
            (&format!("{sweep}/Action"), json!("dynamodb:*"), "SweepRole allows"),
            (&format!("{sweep}/Action"), json!(["dynamodb:Get*"]), "SweepRole allows"),
            (&format!("{sweep}/Resource"), json!("*"), "SweepRole allows"),
            (&format!("{sweep}/Resource"), json!("arn:aws:dynamodb:*:*:table/*"), "SweepRole allows"),
            (&format!("{network}/0/Action"), json!(["ec2:TerminateInstances"]), "NetworkPolicy allows"),
            (&format!("{network}/1"), json!({}), "network interfaces"),
            (
                "/Resources/FleetPolicy/Properties/PolicyDocument/Statement/0/Resource",
                json!(["<ApiKeysTable.Arn>", "*"]),
                "FleetPolicy allows",
            ),
        ],
    );
    assert!(ON_EVERYTHING.iter().all(|(_, _, why)| !why.is_empty()));
}
