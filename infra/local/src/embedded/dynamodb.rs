//! DynamoDB: `dynoxide` on a SQLite file. This module only carries requests to it, on the blocking
//! pool, so that a disk that is slow never holds up a runtime thread; it holds no data of its own.
//!
//! We call the engine's methods, not its HTTP server: that one wants a listener of its own, open
//! to all who can reach it. Malformed requests are therefore worded more simply than AWS words them.
//!
//! What differs from AWS, and an adapter must not rely on:
//! - A table is `ACTIVE` when `CreateTable` returns; on AWS one waits for it.
//! - Every read is strongly consistent, also of a GSI; on AWS a GSI lags, and takes no `ConsistentRead`.
//! - Items past their TTL go within about a minute; on AWS within days. Filter on reading.
//! - Nothing is ever throttled, and no transaction is cancelled for `TransactionConflict`.

use std::path::Path;

use bytes::Bytes;
use dynoxide::Database;
use dynoxide::errors::DynoxideError;
use http::StatusCode;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// The database; clones share it.
#[derive(Clone)]
pub(super) struct DynamoDb {
    database: Database,
}

impl DynamoDb {
    /// Opens or creates the database file.
    pub(super) fn open(path: &Path) -> Result<Self, DynoxideError> {
        Ok(Self { database: Database::new(&path.to_string_lossy())? })
    }

    /// Runs one operation and returns the status and the JSON body to answer with.
    pub(super) async fn answer(&self, operation: String, body: Bytes) -> (StatusCode, String) {
        let database = self.database.clone();
        let ran = tokio::task::spawn_blocking(move || run(&database, &operation, &body)).await;
        match ran.unwrap_or_else(|error| {
            tracing::error!(panicked = error.is_panic(), "the embedded DynamoDB failed");
            Err(DynoxideError::InternalServerError("a request was not carried out".to_owned()))
        }) {
            Ok(body) => (StatusCode::OK, body),
            Err(error) => {
                let status = StatusCode::from_u16(error.status_code());
                (status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR), error.to_json())
            }
        }
    }

    /// Deletes the items whose TTL has passed.
    pub(super) async fn sweep_ttl(&self) {
        let database = self.database.clone();
        match tokio::task::spawn_blocking(move || database.sweep_ttl()).await {
            Ok(Ok(0)) => {}
            Ok(Ok(deleted)) => tracing::debug!(deleted, "expired items deleted"),
            Ok(Err(error)) => tracing::warn!(%error, "expired items could not be deleted"),
            Err(error) => tracing::error!(panicked = error.is_panic(), "the TTL sweep failed"),
        }
    }
}

fn run(database: &Database, operation: &str, body: &[u8]) -> Result<String, DynoxideError> {
    macro_rules! call {
        ($method:ident) => {
            encode(&database.$method(decode(body)?)?)
        };
    }
    match operation {
        "CreateTable" => call!(create_table),
        "DeleteTable" => call!(delete_table),
        "DescribeTable" => call!(describe_table),
        "UpdateTable" => call!(update_table),
        "ListTables" => call!(list_tables),
        "DescribeTimeToLive" => call!(describe_time_to_live),
        "UpdateTimeToLive" => {
            refuse_same_ttl(database, body)?;
            call!(update_time_to_live)
        }
        "TagResource" => call!(tag_resource),
        "UntagResource" => call!(untag_resource),
        "ListTagsOfResource" => call!(list_tags_of_resource),
        "GetItem" => call!(get_item),
        "PutItem" => call!(put_item),
        "UpdateItem" => call!(update_item),
        "DeleteItem" => call!(delete_item),
        "Query" => call!(query),
        "Scan" => call!(scan),
        "BatchGetItem" => call!(batch_get_item),
        "BatchWriteItem" => call!(batch_write_item),
        "TransactGetItems" => call!(transact_get_items),
        "TransactWriteItems" => call!(transact_write_items),
        _ => Err(DynoxideError::ValidationException(format!("the embedded DynamoDB has no operation {operation}"))),
    }
}

/// AWS refuses to switch TTL to what it is; a schema step must be ready for that here too.
fn refuse_same_ttl(database: &Database, body: &[u8]) -> Result<(), DynoxideError> {
    let described = encode(&database.describe_time_to_live(decode(body)?)?)?;
    let (described, asked): (Value, Value) = (decode(described.as_bytes())?, decode(body)?);
    let enabled = described["TimeToLiveDescription"]["TimeToLiveStatus"] == "ENABLED";
    match asked["TimeToLiveSpecification"]["Enabled"].as_bool() {
        Some(enable) if enable == enabled => {
            let state = if enabled { "enabled" } else { "disabled" };
            let message = format!("TimeToLive is already {state}");
            Err(DynoxideError::ValidationException(message))
        }
        _ => Ok(()),
    }
}

/// Reads a request. `dynoxide` words its own complaints about values, behind a marker that names
/// their class and before the position that `serde_json` adds.
fn decode<T: DeserializeOwned>(body: &[u8]) -> Result<T, DynoxideError> {
    serde_json::from_slice(body).map_err(|error| {
        let text = error.to_string();
        let text = text.rfind(" at line ").map_or(text.as_str(), |position| &text[..position]);
        let unmarked =
            |markers: &[&str]| markers.iter().find_map(|marker| text.strip_prefix(marker)).map(str::to_owned);
        if let Some(message) = unmarked(&["SERIALIZATION_AS_READ:", "SERIALIZATION:"]) {
            DynoxideError::SerializationException(message)
        } else if let Some(message) = unmarked(&["VALIDATION_AS_READ:", "VALIDATION_REQUEST:", "VALIDATION:"]) {
            DynoxideError::ValidationException(message)
        } else if error.is_data() {
            DynoxideError::ValidationException(text.to_owned())
        } else {
            DynoxideError::SerializationException(text.to_owned())
        }
    })
}

fn encode(answer: &impl Serialize) -> Result<String, DynoxideError> {
    serde_json::to_string(answer).map_err(|error| DynoxideError::InternalServerError(error.to_string()))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    async fn ask(dynamodb: &DynamoDb, operation: &str, body: Value) -> Value {
        let body = Bytes::from(body.to_string());
        let (status, answer) = dynamodb.answer(operation.to_owned(), body).await;
        assert_eq!(status, StatusCode::OK, "{operation}: {answer}");
        serde_json::from_str(&answer).unwrap()
    }

    #[tokio::test]
    async fn expired_rows_are_swept() {
        let folder = tempfile::tempdir().unwrap();
        let dynamodb = DynamoDb::open(&folder.path().join("db")).unwrap();
        let schema = json!({
            "TableName": "rows",
            "BillingMode": "PAY_PER_REQUEST",
            "AttributeDefinitions": [{"AttributeName": "pk", "AttributeType": "S"}],
            "KeySchema": [{"AttributeName": "pk", "KeyType": "HASH"}],
        });
        ask(&dynamodb, "CreateTable", schema).await;
        let ttl = json!({"Enabled": true, "AttributeName": "until"});
        let ttl = json!({"TableName": "rows", "TimeToLiveSpecification": ttl});
        ask(&dynamodb, "UpdateTimeToLive", ttl).await;
        let now = jiff::Timestamp::now().as_second();
        for (pk, until) in [("past", now - 10), ("future", now + 1_000)] {
            let item = json!({"pk": {"S": pk}, "until": {"N": until.to_string()}});
            ask(&dynamodb, "PutItem", json!({"TableName": "rows", "Item": item})).await;
        }
        dynamodb.sweep_ttl().await;
        let left = ask(&dynamodb, "Scan", json!({"TableName": "rows"})).await;
        assert_eq!(left["Count"], 1, "{left}");
        assert_eq!(left["Items"][0]["pk"]["S"], "future");
    }

    #[tokio::test]
    async fn operations_that_are_not_there_say_so() {
        let folder = tempfile::tempdir().unwrap();
        let dynamodb = DynamoDb::open(&folder.path().join("db")).unwrap();
        let check = async |operation: &str, body: &'static str, kind: &str| {
            let body = Bytes::from_static(body.as_bytes());
            let (status, answer) = dynamodb.answer(operation.to_owned(), body).await;
            assert_eq!(status, StatusCode::BAD_REQUEST, "{answer}");
            assert!(answer.contains(kind), "{answer}");
        };
        check("CreateBackup", "{}", "ValidationException").await;
        check("GetItem", "no JSON", "SerializationException").await;
        check("GetItem", "{}", "ValidationException").await;
    }
}
