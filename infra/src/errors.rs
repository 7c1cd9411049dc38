//! The one place that reads SDK errors.
//! It must never turn a condition that did not hold into an error, nor put a row's content into a message.

use aws_sdk_dynamodb::config::http::HttpResponse;
use aws_sdk_dynamodb::error::{DisplayErrorContext, ProvideErrorMetadata, SdkError};
use domain::ports::StoreError;

/// Codes that mean "later", whatever their status.
const LATER: &[&str] = &[
    "InternalServerError",
    "ItemCollectionSizeLimitExceededException",
    "KmsThrottled",
    "LimitExceededException",
    "OverLimit",
    "ProvisionedThroughputExceededException",
    "RequestLimitExceeded",
    "RequestThrottled",
    "RequestTimeout",
    "ServiceUnavailable",
    "SlowDown",
    "ThrottlingException",
    "TransactionConflictException",
    "TransactionInProgressException",
];

/// Codes whose message names a table, a queue or who asked, and never what was asked with: others quote keys and values.
const TELLING: &[&str] = &[
    "AccessDenied",
    "AccessDeniedException",
    "ExpiredToken",
    "ExpiredTokenException",
    "IncompleteSignature",
    "InvalidAccessKeyId",
    "InvalidClientTokenId",
    "NoSuchBucket",
    "PermanentRedirect",
    "QueueDoesNotExist",
    "ResourceNotFoundException",
    "SignatureDoesNotMatch",
    "UnrecognizedClientException",
];

/// What a failed request means for who asked; `what` names the table, queue or bucket's role.
pub(crate) fn store_error<E>(what: &'static str, error: SdkError<E, HttpResponse>) -> StoreError
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
{
    if let SdkError::ServiceError(service) = &error {
        let code = service.err().code().unwrap_or("unknown error");
        let cause = match service.err().message() {
            Some(message) if TELLING.contains(&code) => format!("{code}: {message}"),
            _ => code.to_owned(),
        };
        let status = service.raw().status().as_u16();
        return if status >= 500 || LATER.contains(&code) { unavailable(what, cause) } else { refused(what, cause) };
    }
    let ours = match &error {
        SdkError::ConstructionFailure(_) => true,
        SdkError::DispatchFailure(failure) => failure.is_user(),
        _ => false,
    };
    let cause = DisplayErrorContext(&error).to_string();
    // The context repeats its own debug form after the readable chain.
    let cause = cause.split(" (").next().unwrap_or_default().to_owned();
    if ours { refused(what, cause) } else { unavailable(what, cause) }
}

pub(crate) fn unavailable(what: &'static str, cause: impl ToString) -> StoreError {
    StoreError::Unavailable { what, cause: cause.to_string() }
}

pub(crate) fn refused(what: &'static str, cause: impl ToString) -> StoreError {
    StoreError::Refused { what, cause: cause.to_string() }
}

pub(crate) fn corrupt(what: &'static str, cause: impl ToString) -> StoreError {
    StoreError::Corrupt { what, cause: cause.to_string() }
}
