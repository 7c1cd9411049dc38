//! What a call was begun with, kept before its row is put: from the row on the call has a result, and it is this that ties
//! it to somebody's records. It lies in the bucket, or in the row itself where the bucket does not take it in time.
//! It must never hold up the beginning for long, nor stay of a call that never was.

use std::time::Duration;

use bytes::Bytes;
use domain::call::{Brought, CallRow};
use domain::objects::CallObjects;
use domain::secret::Personal;
use domain::variables::Fields;
use serde_json::value::RawValue;

use crate::node::Node;

/// How long a slow bucket may hold up the beginning of a call.
const LIMIT: Duration = Duration::from_millis(700);

/// Keeps what the dialout brought, so that a server lost before its first checkpoint does not take it along.
pub(super) async fn variables(node: &Node, row: &mut CallRow, variables: Option<&RawValue>) {
    let Some(variables) = variables else { return };
    if let Some(text) = keep(node, row, CallObjects::of(row).variables(), variables.get()).await {
        row.brought.get_or_insert_default().variables = Some(text);
    }
    domain::failpoint!("accept.variables");
}

/// Keeps the custom `call.*` fields that the caller's side sent.
pub(super) async fn custom(node: &Node, row: &mut CallRow, custom: &Fields) {
    if custom.is_empty() {
        return;
    }
    match serde_json::to_string(custom) {
        Ok(json) => {
            if let Some(text) = keep(node, row, CallObjects::of(row).custom(), &json).await {
                row.brought.get_or_insert_default().custom = Some(text);
            }
        }
        Err(_) => tracing::error!(call.id = %row.call_id, "the fields of a call can't be written as JSON"),
    }
    domain::failpoint!("arrive.custom");
}

/// Puts it into the bucket; what that did not take is given back for the row.
async fn keep(node: &Node, row: &CallRow, key: String, json: &str) -> Option<Personal<String>> {
    let put = node.ports.objects.put(&key, "application/json", Bytes::copy_from_slice(json.as_bytes()));
    if matches!(tokio::time::timeout(LIMIT, put).await, Ok(Ok(()))) {
        return None;
    }
    if json.len() > Brought::MAX_TEXT {
        tracing::error!(call.id = %row.call_id, "what the call was begun with is kept nowhere before the first checkpoint");
        return None;
    }
    tracing::warn!(call.id = %row.call_id, "the bucket is slow: what the call was begun with is kept in its row");
    Some(Personal(json.to_owned()))
}

/// Of a call that never was, nothing personal stays. (Another server's row has the same variables under the same key.)
pub(super) async fn forget_variables(node: &Node, row: &CallRow) {
    let key = CallObjects::of(row).variables();
    let gone = tokio::time::timeout(LIMIT, node.ports.objects.delete(&key)).await;
    if !matches!(gone, Ok(Ok(()))) {
        tracing::warn!(call.id = %row.call_id, "the variables of a call that was refused are still in the bucket");
    }
}
