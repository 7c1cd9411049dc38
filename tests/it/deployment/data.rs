//! Tables, queues, the bucket, the key and the secret.

use std::collections::{BTreeMap, BTreeSet};

use infra::config::NamesConfig;
use infra::schema::{Key, KeyKind, Names, Projection, QUEUES, RETENTION_SECONDS, TABLES, TTL, TableSpec};
use serde_json::{Value, json};

use super::check;
use super::document::{STACK, Template, many, text};

pub(super) fn names() -> Names {
    Names::new(&NamesConfig { prefix: format!("{STACK}-"), ..NamesConfig::default() })
}

/// Notes a fault unless the two are the same.
pub(super) fn same(faults: &mut Vec<String>, what: &str, found: &Value, wanted: &Value) {
    if found != wanted {
        faults.push(format!("{what} is {found}, not {wanted}"));
    }
}

fn key_schema(hash: Key, range: Option<Key>) -> Value {
    let range = range.map(|key| json!({"AttributeName": key.name, "KeyType": "RANGE"}));
    let hash = json!({"AttributeName": hash.name, "KeyType": "HASH"});
    std::iter::once(hash).chain(range).collect()
}

fn attributes(spec: &TableSpec) -> BTreeMap<String, String> {
    let indexed = spec.indexes.iter().flat_map(|index| std::iter::once(index.hash).chain(index.range));
    let keys = std::iter::once(spec.hash).chain(spec.range).chain(indexed);
    let kind = |key: Key| if key.kind == KeyKind::Text { "S" } else { "N" };
    keys.map(|key| (key.name.to_owned(), kind(key).to_owned())).collect()
}

fn indexes(spec: &TableSpec) -> Value {
    let index = |index: &infra::schema::IndexSpec| {
        let projection = match index.projection {
            Projection::KeysOnly => json!({"ProjectionType": "KEYS_ONLY"}),
            Projection::Include(names) => json!({"ProjectionType": "INCLUDE", "NonKeyAttributes": names}),
        };
        let keys = key_schema(index.hash, index.range);
        json!({"IndexName": index.name, "KeySchema": keys, "Projection": projection})
    };
    spec.indexes.iter().map(index).collect()
}

fn tables(template: &Template) -> Vec<String> {
    let mut faults = Vec::new();
    let found: BTreeMap<String, Value> = template
        .of("AWS::DynamoDB::Table")
        .into_iter()
        .map(|(_, table)| (text(&table["TableName"]).to_owned(), table))
        .collect();
    let wanted: BTreeSet<String> = TABLES.iter().map(|spec| names().table(spec.table)).collect();
    faults
        .extend(found.keys().filter(|name| !wanted.contains(*name)).map(|name| format!("{name} is no table of ours")));
    for spec in TABLES {
        let name = names().table(spec.table);
        let Some(table) = found.get(&name) else {
            faults.push(format!("there is no table {name}"));
            continue;
        };
        let mut property = |property: &str, wanted: Value| {
            same(&mut faults, &format!("{name}.{property}"), &table[property], &wanted);
        };
        property("KeySchema", key_schema(spec.hash, spec.range));
        property("GlobalSecondaryIndexes", if spec.indexes.is_empty() { Value::Null } else { indexes(spec) });
        let ttl = if spec.ttl { json!({"AttributeName": TTL, "Enabled": true}) } else { Value::Null };
        property("TimeToLiveSpecification", ttl);
        property("BillingMode", json!("PAY_PER_REQUEST"));
        property("PointInTimeRecoverySpecification", json!({"PointInTimeRecoveryEnabled": true}));
        property("SSESpecification", json!({"SSEEnabled": true}));
        let defined: BTreeMap<String, String> = many(&table["AttributeDefinitions"])
            .iter()
            .map(|each| (text(&each["AttributeName"]).to_owned(), text(&each["AttributeType"]).to_owned()))
            .collect();
        if defined != attributes(spec) {
            faults.push(format!("{name} defines {defined:?}, not {:?}", attributes(spec)));
        }
    }
    faults
}

#[test]
fn tables_are_those_of_the_schema() {
    let calls = "/Resources/CallsTable/Properties";
    check(
        tables,
        &[
            (&format!("{calls}/KeySchema/0/AttributeName"), json!("id"), "calls.KeySchema"),
            (&format!("{calls}/AttributeDefinitions/1/AttributeType"), json!("N"), "calls defines"),
            (&format!("{calls}/GlobalSecondaryIndexes/1/Projection/NonKeyAttributes"), json!(["state"]), "Indexes"),
            (&format!("{calls}/TimeToLiveSpecification"), Value::Null, "TimeToLive"),
            (&format!("{calls}/PointInTimeRecoverySpecification"), Value::Null, "PointInTime"),
            (&format!("{calls}/BillingMode"), json!("PROVISIONED"), "BillingMode"),
            (&format!("{calls}/SSESpecification"), Value::Null, "SSE"),
            ("/Resources/BotsTable/Properties/TableName", json!("bots"), "no table ringfleet-bots"),
            ("/Resources/BotsTable/Properties/TimeToLiveSpecification", json!({"Enabled": true}), "TimeToLive"),
            ("/Resources/EpochsTable", Value::Null, "no table ringfleet-epochs"),
        ],
    );
}

fn queues(template: &Template) -> Vec<String> {
    let mut faults = Vec::new();
    let found: Vec<(&str, Value)> = template.of("AWS::SQS::Queue");
    let named = |name: &str| found.iter().find(|(_, queue)| queue["QueueName"] == name);
    let sources = template.of("AWS::Lambda::EventSourceMapping");
    for spec in QUEUES {
        let (name, dead) = (names().queue(spec.queue), names().dead_letters(spec.queue));
        let (Some((id, queue)), Some((dead_id, dead_queue))) = (named(&name), named(&dead)) else {
            faults.push(format!("there is no queue {name} with its {dead}"));
            continue;
        };
        let redrive =
            json!({"deadLetterTargetArn": format!("<{dead_id}.Arn>"), "maxReceiveCount": spec.max_receive_count});
        let allowed = json!({
            "redrivePermission": "byQueue", "sourceQueueArns": [format!("arn:aws:sqs:eu-west-1:123456789012:{name}")],
        });
        let mut property = |queue: &Value, property: &str, wanted: Value| {
            let what = format!("{}.{property}", queue["QueueName"]);
            same(&mut faults, &what, &queue[property], &wanted);
        };
        property(queue, "RedrivePolicy", redrive);
        property(queue, "VisibilityTimeout", json!(spec.visibility_seconds()));
        property(queue, "ReceiveMessageWaitTimeSeconds", json!(20));
        property(queue, "FifoQueue", Value::Null);
        property(dead_queue, "RedriveAllowPolicy", allowed);
        for queue in [queue, dead_queue] {
            property(queue, "MessageRetentionPeriod", json!(RETENTION_SECONDS));
            property(queue, "SqsManagedSseEnabled", json!(true));
        }
        if spec.max_receive_count < 5 {
            faults.push(format!("{name} gives a message up after {} times", spec.max_receive_count));
        }
        let arn = json!(format!("<{id}.Arn>"));
        let taken: Vec<&Value> =
            sources.iter().map(|(_, source)| source).filter(|source| source["EventSourceArn"] == arn).collect();
        let [source] = taken[..] else {
            faults.push(format!("{name} is taken by {} functions", taken.len()));
            continue;
        };
        same(&mut faults, &name, &source["FunctionResponseTypes"], &json!(["ReportBatchItemFailures"]));
        if source["ScalingConfig"]["MaximumConcurrency"].as_u64().is_none_or(|most| !(2..=1000).contains(&most)) {
            faults.push(format!("{name} is taken by any number of copies"));
        }
        let function = text(&source["FunctionName"]).trim_matches(['<', '>']);
        let timeout = template.properties(function)["Timeout"].as_u64().unwrap_or(u64::MAX);
        if timeout != u64::from(spec.function_timeout_seconds) {
            faults.push(format!("{function} runs for {timeout} s, not {}", spec.function_timeout_seconds));
        }
        if queue["VisibilityTimeout"].as_u64().is_none_or(|hidden| hidden < 6 * timeout) {
            faults.push(format!("{name} hides a message for less than six times {timeout} s"));
        }
    }
    if found.len() != 2 * QUEUES.len() {
        faults.push(format!("there are {} queues", found.len()));
    }
    faults
}

#[test]
fn queues_are_those_of_the_schema_and_lose_nothing() {
    check(
        queues,
        &[
            ("/Resources/CallEndedQueue/Properties/VisibilityTimeout", json!(90), "six times"),
            ("/Resources/CallEndedQueue/Properties/RedrivePolicy/maxReceiveCount", json!(3), "RedrivePolicy"),
            ("/Resources/DeliveriesQueue/Properties/RedrivePolicy", Value::Null, "RedrivePolicy"),
            ("/Resources/DeliveriesDeadQueue/Properties/SqsManagedSseEnabled", json!(false), "Sse"),
            ("/Resources/DeliveriesDeadQueue/Properties/MessageRetentionPeriod", json!(60), "Retention"),
            ("/Resources/PushMessages/Properties/FunctionResponseTypes", Value::Null, "ReportBatchItemFailures"),
            ("/Resources/PushMessages/Properties/ScalingConfig", Value::Null, "any number"),
            ("/Resources/PushFunction/Properties/Timeout", json!(70), "PushFunction"),
            ("/Resources/PushMessages/Properties/EventSourceArn", json!("<CallEndedQueue.Arn>"), "taken by"),
        ],
    );
}

/// Whether a policy refuses every action on all of `resources` that is not asked for by TLS.
fn refuses_plain_text(policy: &Value, service: &str, resources: &[String]) -> bool {
    many(&policy["Statement"]).iter().any(|statement| {
        let on = many(&statement["Resource"]);
        statement["Effect"] == "Deny"
            && statement["Principal"] == "*"
            && statement["Action"] == format!("{service}:*")
            && statement["Condition"] == json!({"Bool": {"aws:SecureTransport": "false"}})
            && (on == [json!("*")] || resources.iter().all(|resource| on.contains(&json!(resource))))
    })
}

fn tls_only(template: &Template) -> Vec<String> {
    let mut faults = Vec::new();
    let policies = template.of("AWS::SQS::QueuePolicy");
    for (id, _) in template.of("AWS::SQS::Queue") {
        let covered = policies.iter().any(|(_, policy)| {
            many(&policy["Queues"]).contains(&json!(format!("<{id}>")))
                && refuses_plain_text(&policy["PolicyDocument"], "sqs", &[format!("<{id}.Arn>")])
        });
        if !covered {
            faults.push(format!("{id} takes requests without TLS"));
        }
    }
    let policies = template.of("AWS::S3::BucketPolicy");
    for (id, _) in template.of("AWS::S3::Bucket") {
        let resources = [format!("<{id}.Arn>"), format!("<{id}.Arn>/*")];
        let covered = policies.iter().any(|(_, policy)| {
            policy["Bucket"] == format!("<{id}>") && refuses_plain_text(&policy["PolicyDocument"], "s3", &resources)
        });
        if !covered {
            faults.push(format!("{id} takes requests without TLS"));
        }
    }
    faults
}

#[test]
fn queues_and_bucket_are_reached_by_tls_only() {
    let queues = "/Resources/QueuesTlsOnly/Properties";
    let bucket = "/Resources/CallsBucketTlsOnly/Properties/PolicyDocument/Statement/0";
    check(
        tls_only,
        &[
            (&format!("{queues}/Queues/3"), json!("<CallEndedQueue>"), "DeliveriesDeadQueue"),
            (&format!("{queues}/PolicyDocument/Statement/0/Effect"), json!("Allow"), "CallEndedQueue"),
            (&format!("{bucket}/Resource"), json!(["<CallsBucket.Arn>"]), "CallsBucket"),
            (&format!("{bucket}/Condition"), Value::Null, "CallsBucket"),
        ],
    );
}

fn bucket(template: &Template) -> Vec<String> {
    let mut faults = Vec::new();
    let buckets = template.of("AWS::S3::Bucket");
    let [(id, bucket)] = &buckets[..] else { return vec![format!("there are {} buckets", buckets.len())] };
    let mut property = |property: &str, wanted: Value| {
        same(&mut faults, &format!("{id}.{property}"), bucket.get(property).unwrap_or(&Value::Null), &wanted);
    };
    property("BucketName", json!(format!("{STACK}-calls-123456789012")));
    let shut = ["BlockPublicAcls", "BlockPublicPolicy", "IgnorePublicAcls", "RestrictPublicBuckets"];
    property("PublicAccessBlockConfiguration", shut.iter().map(|way| ((*way).to_owned(), json!(true))).collect());
    property("OwnershipControls", json!({"Rules": [{"ObjectOwnership": "BucketOwnerEnforced"}]}));
    let encrypted = json!([{"ServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"}}]);
    property("BucketEncryption", json!({"ServerSideEncryptionConfiguration": encrypted}));
    property("VersioningConfiguration", Value::Null);
    let tidied = many(&bucket["LifecycleConfiguration"]["Rules"]).iter().any(|rule| {
        rule["Status"] == "Enabled" && rule["AbortIncompleteMultipartUpload"]["DaysAfterInitiation"].is_u64()
    });
    if !tidied {
        faults.push(format!("{id} keeps what broken-off uploads left"));
    }
    faults
}

#[test]
fn the_bucket_is_private_encrypted_tidied_and_forgets() {
    let bucket_at = "/Resources/CallsBucket/Properties";
    check(
        bucket,
        &[
            (&format!("{bucket_at}/BucketEncryption"), Value::Null, "BucketEncryption"),
            (&format!("{bucket_at}/PublicAccessBlockConfiguration/BlockPublicAcls"), json!(false), "PublicAccess"),
            (&format!("{bucket_at}/VersioningConfiguration"), json!({"Status": "Enabled"}), "Versioning"),
            (&format!("{bucket_at}/LifecycleConfiguration/Rules/0/Status"), json!("Disabled"), "broken-off"),
            (&format!("{bucket_at}/BucketName"), Value::Null, "BucketName"),
        ],
    );
}

fn key_and_secret(template: &Template) -> Vec<String> {
    let mut faults = Vec::new();
    let key = template.properties("DataKey");
    same(&mut faults, "DataKey.EnableKeyRotation", &key["EnableKeyRotation"], &json!(true));
    for statement in many(&key["KeyPolicy"]["Statement"]) {
        let account = statement["Principal"] == json!({"AWS": "arn:aws:iam::123456789012:root"});
        if statement["Effect"] == "Allow"
            && !account
            && statement["Condition"]["StringEquals"]["aws:SourceAccount"].is_null()
        {
            faults.push(format!("DataKey is open to {}", statement["Principal"]));
        }
    }
    let alias = template.properties("DataKeyAlias");
    same(&mut faults, "the alias", &alias, &json!({"AliasName": format!("alias/{STACK}"), "TargetKeyId": "<DataKey>"}));
    let secret = template.properties("DeploymentSecret");
    same(&mut faults, "the secret's name", &secret["Name"], &json!(format!("{STACK}/deployment")));
    same(&mut faults, "the secret's key", &secret["KmsKeyId"], &json!("<DataKey.Arn>"));
    for member in ["SecretString", "GenerateSecretString"] {
        if secret.get(member).is_some() {
            faults.push(format!("the secret is filled by the template: {member}"));
        }
    }
    faults
}

#[test]
fn the_secret_is_made_empty_and_under_our_key() {
    check(
        key_and_secret,
        &[
            ("/Resources/DataKey/Properties/EnableKeyRotation", json!(false), "Rotation"),
            ("/Resources/DataKey/Properties/KeyPolicy/Statement/1/Condition", Value::Null, "open to"),
            ("/Resources/DataKeyAlias/Properties/AliasName", json!("alias/other"), "alias"),
            ("/Resources/DeploymentSecret/Properties/KmsKeyId", Value::Null, "key"),
            ("/Resources/DeploymentSecret/Properties/SecretString", json!("{}"), "filled"),
        ],
    );
}

fn kept(template: &Template) -> Vec<String> {
    let holds_data =
        ["AWS::DynamoDB::Table", "AWS::SQS::Queue", "AWS::S3::Bucket", "AWS::KMS::Key", "AWS::SecretsManager::Secret"];
    let mut faults = Vec::new();
    for (id, resource) in template.resources().filter(|(_, resource)| holds_data.contains(&text(&resource["Type"]))) {
        // A first deployment that fails must not leave names behind that the next would stumble over.
        for (policy, wanted) in [("DeletionPolicy", "RetainExceptOnCreate"), ("UpdateReplacePolicy", "Retain")] {
            same(&mut faults, &format!("{id}.{policy}"), &resource[policy], &json!(wanted));
        }
    }
    faults
}

#[test]
fn what_holds_data_outlives_the_stack() {
    check(
        kept,
        &[
            ("/Resources/CallsTable/DeletionPolicy", Value::Null, "CallsTable.DeletionPolicy"),
            ("/Resources/DataKey/UpdateReplacePolicy", json!("Delete"), "DataKey.UpdateReplacePolicy"),
        ],
    );
}
