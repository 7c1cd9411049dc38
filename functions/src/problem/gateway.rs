//! What API Gateway answers itself, without asking a function: each kind of its answers as the refusal that it is. The
//! deployment template has these same bodies, and a test holds it to them.
//! It must never leave a kind to the gateway's own words: clients read problems, and know nothing of gateways.

use domain::ports::StoreError;

use super::Refusal;
use crate::body::BODY_MAX;

/// The refusal behind each of API Gateway's response types (`UNAUTHORIZED`, `THROTTLED`, …).
pub fn refusals() -> Vec<(&'static str, Refusal)> {
    let no_key = || Refusal::Unauthorized { retry_after: None };
    let no_path = || Refusal::NotFound("path");
    // The authorizer fails when it can't read the keys.
    let no_keys_table = || Refusal::Store(StoreError::Unavailable { what: "ApiKeys", cause: String::new() });
    vec![
        ("UNAUTHORIZED", no_key()),
        ("ACCESS_DENIED", no_key()),
        ("AUTHORIZER_FAILURE", no_keys_table()),
        ("AUTHORIZER_CONFIGURATION_ERROR", Refusal::Internal),
        // What the gateway says of a path that it does not know; with an Authorization header, it takes that for a
        // signature, and finds fault with it.
        ("MISSING_AUTHENTICATION_TOKEN", no_path()),
        ("RESOURCE_NOT_FOUND", no_path()),
        ("INVALID_SIGNATURE", no_path()),
        ("EXPIRED_TOKEN", no_path()),
        ("REQUEST_TOO_LARGE", Refusal::BodyTooLarge(BODY_MAX)),
        ("THROTTLED", Refusal::Throttled),
        ("QUOTA_EXCEEDED", Refusal::Throttled),
        // The firewall's one rule counts requests.
        ("WAF_FILTERED", Refusal::Throttled),
        ("INTEGRATION_FAILURE", Refusal::Unanswered),
        ("INTEGRATION_TIMEOUT", Refusal::Unanswered),
        ("API_CONFIGURATION_ERROR", Refusal::Internal),
        ("BAD_REQUEST_BODY", Refusal::Unreadable),
        ("BAD_REQUEST_PARAMETERS", Refusal::Unreadable),
        ("DEFAULT_4XX", Refusal::Unreadable),
        ("DEFAULT_5XX", Refusal::Internal),
    ]
}
