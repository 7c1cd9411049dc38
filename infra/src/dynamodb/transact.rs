//! Transactions and how they end. The SDK sends each with a token, so that a repetition is known without a mark.
//! It must never take a cancellation that contention caused for a condition that did not hold.

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::error::SdkError;
use aws_sdk_dynamodb::operation::transact_write_items::TransactWriteItemsError;
use aws_sdk_dynamodb::types::{CancellationReason, TransactWriteItem};
use domain::ports::StoreError;

use crate::errors::{refused, store_error, unavailable};

/// Writes all of `parts`, or none.
pub(super) async fn transact(
    client: &Client,
    what: &'static str,
    parts: Vec<TransactWriteItem>,
) -> Result<Transacted, StoreError> {
    match client.transact_write_items().set_transact_items(Some(parts)).send().await {
        Ok(_) => Ok(Transacted::Done),
        Err(SdkError::ServiceError(service)) if service.err().is_transaction_canceled_exception() => {
            match service.into_err() {
                TransactWriteItemsError::TransactionCanceledException(canceled) => {
                    judge(what, canceled.cancellation_reasons())
                }
                _ => Err(refused(what, "a cancellation that is none")),
            }
        }
        Err(error) => Err(store_error(what, error)),
    }
}

/// How a transaction ended.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Transacted {
    Done,
    /// The condition of the part with this index did not hold.
    Failed(usize),
    /// Another transaction held one of the rows.
    Contended,
}

fn judge(what: &'static str, reasons: &[CancellationReason]) -> Result<Transacted, StoreError> {
    let code = |reason: &CancellationReason| reason.code().unwrap_or("None").to_owned();
    let codes: Vec<String> = reasons.iter().map(code).collect();
    if let Some(index) = codes.iter().position(|code| code == "ConditionalCheckFailed") {
        return Ok(Transacted::Failed(index));
    }
    if codes.iter().any(|code| code == "TransactionConflict") {
        return Ok(Transacted::Contended);
    }
    let later = codes.iter().any(|code| code == "ThrottlingError" || code == "ProvisionedThroughputExceeded");
    let cause = codes.into_iter().filter(|code| code != "None").collect::<Vec<_>>().join(", ");
    Err(if later { unavailable(what, cause) } else { refused(what, cause) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cancelled_transaction_says_why() {
        let check = |codes: &[&str], expect: Option<Transacted>| {
            let reasons: Vec<_> = codes.iter().map(|code| CancellationReason::builder().code(*code).build()).collect();
            assert_eq!(judge("t", &reasons).ok(), expect, "{codes:?}");
        };
        check(&["None", "None", "ConditionalCheckFailed"], Some(Transacted::Failed(2)));
        check(&["ConditionalCheckFailed", "None"], Some(Transacted::Failed(0)));
        check(&["TransactionConflict", "None"], Some(Transacted::Contended));
        check(&["None", "ValidationError"], None);
        check(&["ThrottlingError"], None);
    }
}
