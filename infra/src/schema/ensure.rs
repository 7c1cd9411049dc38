//! Creates what is missing of the schema, for local mode and tests; on AWS the deployment template does.
//! It must never change or delete what exists: running it again is harmless.

use std::time::Duration;

use aws_sdk_dynamodb::operation::create_table::builders::CreateTableFluentBuilder;
use aws_sdk_dynamodb::types::{
    AttributeDefinition, BillingMode, GlobalSecondaryIndex, KeySchemaElement, KeyType, Projection as SdkProjection,
    ProjectionType, ScalarAttributeType, TableStatus, TimeToLiveSpecification, TimeToLiveStatus,
};
use aws_sdk_s3::types::{BucketLocationConstraint, CreateBucketConfiguration};
use aws_sdk_sqs::types::QueueAttributeName;
use domain::ports::StoreError;

use super::{IndexSpec, Key, KeyKind, Names, Projection, QUEUES, QueueSpec, RETENTION_SECONDS, TABLES, TTL, TableSpec};
use crate::aws::Clients;
use crate::errors::{refused, store_error, unavailable};

const TABLE: &str = "a table";
const QUEUE: &str = "a queue";
const BUCKET: &str = "the bucket";
/// Between two looks at a table that is being created.
const LOOK_EVERY: Duration = Duration::from_millis(100);
const LOOKS: u32 = 600;

/// Creates every missing table, queue and the bucket, and waits until all can be used.
///
/// # Errors
/// What the service said, or that a table did not become active within a minute.
pub async fn ensure(clients: &Clients, names: &Names) -> Result<(), StoreError> {
    for spec in TABLES {
        ensure_table(&clients.dynamodb, spec, names).await?;
    }
    for spec in QUEUES {
        ensure_queue(&clients.sqs, spec, names).await?;
    }
    ensure_bucket(&clients.s3, names.bucket(), &clients.region).await
}

async fn ensure_table(client: &aws_sdk_dynamodb::Client, spec: &TableSpec, names: &Names) -> Result<(), StoreError> {
    let name = names.table(spec.table);
    if status(client, &name).await?.is_none() {
        match creation(client, spec, &name)?.send().await {
            Ok(_) => tracing::info!(table = %name, "created a table"),
            Err(error) if error.as_service_error().is_some_and(|e| e.is_resource_in_use_exception()) => {}
            Err(error) => return Err(store_error(TABLE, error)),
        }
    }
    wait_till_active(client, &name).await?;
    if spec.ttl { ensure_ttl(client, &name).await } else { Ok(()) }
}

async fn status(client: &aws_sdk_dynamodb::Client, name: &str) -> Result<Option<TableStatus>, StoreError> {
    match client.describe_table().table_name(name).send().await {
        Ok(described) => Ok(described.table.and_then(|table| table.table_status)),
        Err(error) if error.as_service_error().is_some_and(|e| e.is_resource_not_found_exception()) => Ok(None),
        Err(error) => Err(store_error(TABLE, error)),
    }
}

async fn wait_till_active(client: &aws_sdk_dynamodb::Client, name: &str) -> Result<(), StoreError> {
    for _ in 0..LOOKS {
        if status(client, name).await? == Some(TableStatus::Active) {
            return Ok(());
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
    Err(unavailable(TABLE, format!("{name} did not become active")))
}

fn creation(
    client: &aws_sdk_dynamodb::Client,
    spec: &TableSpec,
    name: &str,
) -> Result<CreateTableFluentBuilder, StoreError> {
    let mut create = client.create_table().table_name(name).billing_mode(BillingMode::PayPerRequest);
    let mut defined: Vec<Key> = Vec::new();
    let index_keys = spec.indexes.iter().flat_map(|index| std::iter::once(index.hash).chain(index.range));
    for key in std::iter::once(spec.hash).chain(spec.range).chain(index_keys) {
        if !defined.contains(&key) {
            defined.push(key);
            create = create.attribute_definitions(definition(key)?);
        }
    }
    for element in key_schema(spec.hash, spec.range)? {
        create = create.key_schema(element);
    }
    for spec in spec.indexes {
        create = create.global_secondary_indexes(index(spec)?);
    }
    Ok(create)
}

fn definition(key: Key) -> Result<AttributeDefinition, StoreError> {
    let kind = match key.kind {
        KeyKind::Text => ScalarAttributeType::S,
        KeyKind::Number => ScalarAttributeType::N,
    };
    AttributeDefinition::builder().attribute_name(key.name).attribute_type(kind).build().map_err(|e| refused(TABLE, e))
}

fn key_schema(hash: Key, range: Option<Key>) -> Result<Vec<KeySchemaElement>, StoreError> {
    let element = |key: Key, kind| {
        KeySchemaElement::builder().attribute_name(key.name).key_type(kind).build().map_err(|e| refused(TABLE, e))
    };
    let mut schema = vec![element(hash, KeyType::Hash)?];
    if let Some(range) = range {
        schema.push(element(range, KeyType::Range)?);
    }
    Ok(schema)
}

fn index(spec: &IndexSpec) -> Result<GlobalSecondaryIndex, StoreError> {
    let projection = match spec.projection {
        Projection::KeysOnly => SdkProjection::builder().projection_type(ProjectionType::KeysOnly),
        Projection::Include(names) => {
            names.iter().fold(SdkProjection::builder().projection_type(ProjectionType::Include), |projection, name| {
                projection.non_key_attributes(*name)
            })
        }
    };
    GlobalSecondaryIndex::builder()
        .index_name(spec.name)
        .set_key_schema(Some(key_schema(spec.hash, spec.range)?))
        .projection(projection.build())
        .build()
        .map_err(|e| refused(TABLE, e))
}

async fn ensure_ttl(client: &aws_sdk_dynamodb::Client, name: &str) -> Result<(), StoreError> {
    let described = client.describe_time_to_live().table_name(name).send().await.map_err(|e| store_error(TABLE, e))?;
    let status = described.time_to_live_description.and_then(|ttl| ttl.time_to_live_status);
    if matches!(status, Some(TimeToLiveStatus::Enabled | TimeToLiveStatus::Enabling)) {
        return Ok(());
    }
    let ttl =
        TimeToLiveSpecification::builder().attribute_name(TTL).enabled(true).build().map_err(|e| refused(TABLE, e))?;
    client
        .update_time_to_live()
        .table_name(name)
        .time_to_live_specification(ttl)
        .send()
        .await
        .map_err(|e| store_error(TABLE, e))?;
    Ok(())
}

async fn ensure_queue(client: &aws_sdk_sqs::Client, spec: &QueueSpec, names: &Names) -> Result<(), StoreError> {
    let retention = RETENTION_SECONDS.to_string();
    let dead = queue_url(
        client,
        &names.dead_letters(spec.queue),
        &[(QueueAttributeName::MessageRetentionPeriod, retention.clone())],
    )
    .await?;
    let arn = queue_arn(client, &dead).await?;
    let redrive =
        serde_json::json!({"deadLetterTargetArn": arn, "maxReceiveCount": spec.max_receive_count}).to_string();
    let attributes = [
        (QueueAttributeName::MessageRetentionPeriod, retention),
        (QueueAttributeName::VisibilityTimeout, spec.visibility_seconds().to_string()),
        (QueueAttributeName::ReceiveMessageWaitTimeSeconds, "20".to_owned()),
        (QueueAttributeName::RedrivePolicy, redrive),
    ];
    queue_url(client, &names.queue(spec.queue), &attributes).await.map(|_| ())
}

/// The URL of a queue, which is created with `attributes` if there is none.
async fn queue_url(
    client: &aws_sdk_sqs::Client,
    name: &str,
    attributes: &[(QueueAttributeName, String)],
) -> Result<String, StoreError> {
    let url = match client.get_queue_url().queue_name(name).send().await {
        Ok(found) => found.queue_url,
        Err(error) if error.as_service_error().is_some_and(|e| e.is_queue_does_not_exist()) => {
            let create = attributes.iter().fold(client.create_queue().queue_name(name), |create, (key, value)| {
                create.attributes(key.clone(), value)
            });
            let created = create.send().await.map_err(|e| store_error(QUEUE, e))?;
            tracing::info!(queue = %name, "created a queue");
            created.queue_url
        }
        Err(error) => return Err(store_error(QUEUE, error)),
    };
    url.ok_or_else(|| unavailable(QUEUE, format!("{name} has no URL")))
}

async fn queue_arn(client: &aws_sdk_sqs::Client, url: &str) -> Result<String, StoreError> {
    let arn = QueueAttributeName::QueueArn;
    let answer = client
        .get_queue_attributes()
        .queue_url(url)
        .attribute_names(arn.clone())
        .send()
        .await
        .map_err(|e| store_error(QUEUE, e))?;
    answer
        .attributes
        .and_then(|mut all| all.remove(&arn))
        .ok_or_else(|| unavailable(QUEUE, format!("{url} has no ARN")))
}

async fn ensure_bucket(client: &aws_sdk_s3::Client, bucket: &str, region: &str) -> Result<(), StoreError> {
    match client.head_bucket().bucket(bucket).send().await {
        Ok(_) => return Ok(()),
        Err(error) if error.raw_response().is_some_and(|raw| raw.status().as_u16() == 404) => {}
        Err(error) => return Err(store_error(BUCKET, error)),
    }
    let mut create = client.create_bucket().bucket(bucket);
    // us-east-1 is the one region that must not be named.
    if region != "us-east-1" {
        let place = BucketLocationConstraint::from(region);
        create =
            create.create_bucket_configuration(CreateBucketConfiguration::builder().location_constraint(place).build());
    }
    match create.send().await {
        Ok(_) => {
            tracing::info!(%bucket, "created the bucket");
            Ok(())
        }
        Err(error) if error.as_service_error().is_some_and(|e| e.is_bucket_already_owned_by_you()) => Ok(()),
        Err(error) => Err(store_error(BUCKET, error)),
    }
}
