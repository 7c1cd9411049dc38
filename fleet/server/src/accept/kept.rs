//! What a call was begun with, kept in the bucket before its row: from the row on the call has a result, and it is this
//! that ties it to somebody's records. It must never hold up the beginning for long, nor stay of a call that never was.

use std::time::Duration;

use bytes::Bytes;
use domain::call::CallRow;
use domain::objects::CallObjects;
use domain::variables::Fields;
use serde_json::value::RawValue;

use crate::node::Node;

/// How long a slow bucket may hold up the beginning of a call.
const LIMIT: Duration = Duration::from_millis(700);

/// Keeps what the dialout brought, so that a server lost before its first checkpoint does not take it along.
pub(super) async fn variables(node: &Node, row: &CallRow, variables: Option<&RawValue>) {
    let Some(variables) = variables else { return };
    let body = Bytes::copy_from_slice(variables.get().as_bytes());
    keep(node, row, CallObjects::of(row).variables(), body).await;
    domain::failpoint!("accept.variables");
}

/// Keeps the custom `call.*` fields that the caller's side sent.
pub(super) async fn custom(node: &Node, row: &CallRow, custom: &Fields) {
    if custom.is_empty() {
        return;
    }
    match serde_json::to_vec(custom) {
        Ok(json) => keep(node, row, CallObjects::of(row).custom(), json.into()).await,
        Err(_) => tracing::error!(call.id = %row.call_id, "the fields of a call can't be written as JSON"),
    }
    domain::failpoint!("arrive.custom");
}

async fn keep(node: &Node, row: &CallRow, key: String, body: Bytes) {
    let put = node.ports.objects.put(&key, "application/json", body);
    if !matches!(tokio::time::timeout(LIMIT, put).await, Ok(Ok(()))) {
        tracing::warn!(call.id = %row.call_id, "what the call was begun with is not in the bucket before the first checkpoint");
    }
}

/// Of a call that never was, nothing personal stays. (Another server's row has the same variables under the same key.)
pub(super) async fn forget_variables(node: &Node, row: &CallRow) {
    let key = CallObjects::of(row).variables();
    let gone = tokio::time::timeout(LIMIT, node.ports.objects.delete(&key)).await;
    if !matches!(gone, Ok(Ok(()))) {
        tracing::warn!(call.id = %row.call_id, "the variables of a call that was refused are still in the bucket");
    }
}
