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

/// The database; clones share it.
#[derive(Clone)]
pub(super) struct DynamoDb {
    database: Database,
}

impl DynamoDb {
    /// Opens or creates the database file.
    pub(super) fn open(path: &Path) -> Result<Self, DynoxideError> {
        Ok(Self {
            database: Database::new(&path.to_string_lossy())?,
        })
    }

    /// Runs one operation and returns the status and the JSON body to answer with.
    pub(super) async fn answer(&self, operation: String, body: Bytes) -> (StatusCode, String) {
        let database = self.database.clone();
        let ran = tokio::task::spawn_blocking(move || run(&database, &operation, &body)).await;
        match ran.unwrap_or_else(|error| {
            tracing::error!(%error, "the embedded DynamoDB failed");
            Err(DynoxideError::InternalServerError(error.to_string()))
        }) {
            Ok(body) => (StatusCode::OK, body),
            Err(error) => {
                let status = StatusCode::from_u16(error.status_code());
                (
                    status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR),
                    error.to_json(),
                )
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
            Err(error) => tracing::error!(%error, "the TTL sweep failed"),
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
        "UpdateTimeToLive" => call!(update_time_to_live),
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
        _ => Err(DynoxideError::ValidationException(format!(
            "the embedded DynamoDB has no operation {operation}"
        ))),
    }
}

/// Reads a request. `dynoxide` words its own complaints about values, behind a marker that names
/// their class and before the position that `serde_json` adds.
fn decode<T: DeserializeOwned>(body: &[u8]) -> Result<T, DynoxideError> {
    serde_json::from_slice(body).map_err(|error| {
        let text = error.to_string();
        let text = text
            .rfind(" at line ")
            .map_or(text.as_str(), |position| &text[..position]);
        let unmarked = |markers: &[&str]| {
            markers
                .iter()
                .find_map(|marker| text.strip_prefix(marker))
                .map(str::to_owned)
        };
        if let Some(message) = unmarked(&["SERIALIZATION_AS_READ:", "SERIALIZATION:"]) {
            DynoxideError::SerializationException(message)
        } else if let Some(message) =
            unmarked(&["VALIDATION_AS_READ:", "VALIDATION_REQUEST:", "VALIDATION:"])
        {
            DynoxideError::ValidationException(message)
        } else if error.is_data() {
            DynoxideError::ValidationException(text.to_owned())
        } else {
            DynoxideError::SerializationException(text.to_owned())
        }
    })
}

fn encode(answer: &impl Serialize) -> Result<String, DynoxideError> {
    serde_json::to_string(answer)
        .map_err(|error| DynoxideError::InternalServerError(error.to_string()))
}
