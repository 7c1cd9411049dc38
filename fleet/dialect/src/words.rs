//! Words for who calls whom where the protocol leaves them to its users. It must never hold a word of a single dialler.

use crate::json::Object;

/// What users call the customer's number.
const CALLER: &[&str] =
    &["caller_id", "callerId", "callerID", "caller", "from", "ani", "CALLERID(num)", "CALLERID_NUM"];
/// What users call the number that was called.
const DID: &[&str] = &["did", "to", "dnis", "called", "DNID"];
/// What users call their own name for the call.
const CALL: &[&str] = &["uuid", "call_uuid", "call_id", "callId", "conversation_uuid"];

/// Who calls whom, as far as free fields say.
#[derive(Debug, Default)]
pub(crate) struct Parties {
    pub(crate) caller: Option<String>,
    pub(crate) did: Option<String>,
    pub(crate) call: Option<String>,
}

impl Parties {
    /// Looks through free fields.
    pub(crate) fn among(fields: &Object<'_>) -> Self {
        Self { caller: fields.first_text(CALLER), did: fields.first_text(DID), call: fields.first_text(CALL) }
    }
}
