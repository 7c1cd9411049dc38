//! What of the schema is there and answers, for whoever deploys: each table, queue, dead-letter queue and the bucket.
//! It must never create or change anything.

use aws_sdk_dynamodb::types::{KeySchemaElement, KeyType, TableDescription, TableStatus};
use aws_sdk_sqs::types::QueueAttributeName;
use domain::ports::StoreError;

use super::{Key, Names, QUEUES, QueueSpec, TABLES, TableSpec};
use crate::aws::Clients;
use crate::errors::store_error;

/// One thing that the platform works with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// `table`, `queue`, `dead-letter queue` or `bucket`.
    pub kind: &'static str,
    pub name: String,
    /// Why it can't be worked with; none where it can.
    pub problem: Option<String>,
}

/// Looks at everything; what can't be asked is a problem of that thing, not the end of the look.
pub async fn inspect(clients: &Clients, names: &Names) -> Vec<Found> {
    let mut found = Vec::new();
    for spec in TABLES {
        let name = names.table(spec.table);
        let problem = table_problem(clients, spec, &name).await;
        found.push(Found { kind: "table", name, problem });
    }
    for spec in QUEUES {
        let (name, dead) = (names.queue(spec.queue), names.dead_letters(spec.queue));
        let dead_problem = queue_url(clients, &dead).await.err();
        let problem = queue_problem(clients, spec, &name, &dead).await.err();
        found.push(Found { kind: "queue", name, problem });
        found.push(Found { kind: "dead-letter queue", name: dead, problem: dead_problem });
    }
    found.push(Found {
        kind: "bucket",
        name: names.bucket().to_owned(),
        problem: bucket_problem(clients, names.bucket()).await,
    });
    found
}

/// The account that the tables are in, as their ARN says.
///
/// # Errors
/// They can't be asked for.
pub async fn account(clients: &Clients, names: &Names) -> Result<Option<String>, StoreError> {
    let name = names.table(super::Table::Calls);
    let described = clients.dynamodb.describe_table().table_name(name).send().await;
    let arn = described.map_err(|e| store_error("the table of calls", e))?.table.and_then(|table| table.table_arn);
    // arn:aws:dynamodb:REGION:ACCOUNT:table/NAME
    Ok(arn.and_then(|arn| arn.split(':').nth(4).map(str::to_owned)))
}

async fn table_problem(clients: &Clients, spec: &TableSpec, name: &str) -> Option<String> {
    let described = match clients.dynamodb.describe_table().table_name(name).send().await {
        Ok(described) => described.table?,
        Err(error) if error.as_service_error().is_some_and(|e| e.is_resource_not_found_exception()) => {
            return Some("there is none".to_owned());
        }
        Err(error) => return Some(store_error("it", error).to_string()),
    };
    if described.table_status != Some(TableStatus::Active) {
        return Some("it is not active: wait until it is".to_owned());
    }
    differs(spec, &described)
}

fn differs(spec: &TableSpec, described: &TableDescription) -> Option<String> {
    if !keyed(described.key_schema(), spec.hash, spec.range) {
        return Some(format!(
            "it has other keys than {} and what follows it: it belongs to something else",
            spec.hash.name
        ));
    }
    let missing = spec.indexes.iter().find(|index| {
        let same = |found: &&aws_sdk_dynamodb::types::GlobalSecondaryIndexDescription| {
            found.index_name() == Some(index.name) && keyed(found.key_schema(), index.hash, index.range)
        };
        described.global_secondary_indexes().iter().find(same).is_none()
    });
    missing.map(|index| {
        format!("it has no index {} as this version needs it: deploy the template of this version", index.name)
    })
}

fn keyed(schema: &[KeySchemaElement], hash: Key, range: Option<Key>) -> bool {
    let is = |kind: &KeyType, key: Key| {
        schema.iter().any(|element| element.key_type() == kind && element.attribute_name() == key.name)
    };
    is(&KeyType::Hash, hash)
        && range.is_none_or(|key| is(&KeyType::Range, key))
        && schema.len() == 1 + usize::from(range.is_some())
}

async fn queue_url(clients: &Clients, name: &str) -> Result<String, String> {
    match clients.sqs.get_queue_url().queue_name(name).send().await {
        Ok(found) => found.queue_url.ok_or_else(|| "it has no URL".to_owned()),
        Err(error) if error.as_service_error().is_some_and(|e| e.is_queue_does_not_exist()) => {
            Err("there is none".to_owned())
        }
        Err(error) => Err(store_error("it", error).to_string()),
    }
}

async fn queue_problem(clients: &Clients, spec: &QueueSpec, name: &str, dead: &str) -> Result<(), String> {
    let url = queue_url(clients, name).await?;
    let names = [QueueAttributeName::RedrivePolicy, QueueAttributeName::VisibilityTimeout];
    let request = clients.sqs.get_queue_attributes().queue_url(url).set_attribute_names(Some(names.to_vec()));
    let all = request.send().await.map_err(|e| store_error("it", e).to_string())?.attributes.unwrap_or_default();
    let policy = all.get(&QueueAttributeName::RedrivePolicy).map(String::as_str).unwrap_or_default();
    let target = serde_json::from_str::<serde_json::Value>(policy).unwrap_or_default();
    let target = target["deadLetterTargetArn"].as_str().unwrap_or_default().to_owned();
    if target.rsplit(':').next() != Some(dead) {
        return Err(format!("what is given up does not go to {dead}: set its redrive policy"));
    }
    let hidden = all.get(&QueueAttributeName::VisibilityTimeout).and_then(|text| text.parse::<u32>().ok());
    match hidden {
        Some(hidden) if hidden < spec.visibility_seconds() => Err(format!(
            "a message is hidden for {hidden} s while it is worked on, and {} s are needed",
            spec.visibility_seconds()
        )),
        _ => Ok(()),
    }
}

async fn bucket_problem(clients: &Clients, bucket: &str) -> Option<String> {
    let error = clients.s3.head_bucket().bucket(bucket).send().await.err()?;
    // HEAD has no body that could say why.
    Some(match error.raw_response().map(|raw| raw.status().as_u16()) {
        Some(404) => "there is none".to_owned(),
        Some(403) => "these credentials may not use it, or it is somebody else's".to_owned(),
        Some(301) => "it is in another region".to_owned(),
        _ => store_error("it", error).to_string(),
    })
}
