//! Request bodies: read up to the platform's cap, whatever their Content-Type.
//! It must never decompress, and never read more than the cap into memory.

use axum::body::Body;
use axum::extract::{FromRequest, Request};
use bytes::{Bytes, BytesMut};
use domain::field_error::FieldError;
use domain::strict_json;
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH};
use http_body_util::BodyExt;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::problem::Refusal;

/// Most bytes of a request's body.
pub const BODY_MAX: usize = 256 * 1024;

/// Most bytes that are read only to be dropped.
const DROPPED_MAX: usize = 1024 * 1024;

/// A body of at most [`BODY_MAX`] bytes, as it came.
#[derive(Debug, Clone)]
pub struct CappedBody(pub Bytes);

impl<S: Send + Sync> FromRequest<S> for CappedBody {
    type Rejection = Refusal;

    async fn from_request(request: Request, _: &S) -> Result<Self, Refusal> {
        let headers = request.headers();
        let encoded =
            headers.get_all(CONTENT_ENCODING).iter().any(|value| !value.as_bytes().eq_ignore_ascii_case(b"identity"));
        if encoded {
            return Err(Refusal::ContentEncoding);
        }
        let announced =
            headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()).and_then(|text| text.parse::<u64>().ok());
        let is_too_large = announced.is_some_and(|length| length > BODY_MAX as u64);
        read(request.into_body(), is_too_large).await.map(Self)
    }
}

/// Reads up to the cap. Of a body beyond it some more is read and dropped: a client that sends all before it listens
/// would hear of a broken connection, and not why.
async fn read(mut body: Body, mut is_too_large: bool) -> Result<Bytes, Refusal> {
    let mut kept = BytesMut::new();
    let mut dropped = 0;
    while dropped < DROPPED_MAX
        && let Some(frame) = body.frame().await
    {
        let Ok(data) = frame.map_err(|_| Refusal::BodyBroken)?.into_data() else { continue };
        is_too_large |= kept.len() + data.len() > BODY_MAX;
        if is_too_large {
            dropped += data.len();
        } else {
            kept.extend_from_slice(&data);
        }
    }
    if is_too_large { Err(Refusal::BodyTooLarge(BODY_MAX)) } else { Ok(kept.freeze()) }
}

impl CappedBody {
    /// The body as one JSON object, strictly read (no BOM, no duplicate keys, no depth beyond 64).
    ///
    /// # Errors
    /// 422 that says where and why it is none.
    pub fn object(&self) -> Result<Value, Refusal> {
        let text = strict_json::check(&self.0)
            .map_err(|fault| Refusal::Invalid(vec![FieldError::body("", "json_invalid", fault.to_string())]))?;
        match serde_json::from_str(text) {
            Ok(value @ Value::Object(_)) => Ok(value),
            Ok(_) => Err(Refusal::Invalid(vec![FieldError::body("", "object_type", "the body is a JSON object")])),
            Err(_) => Err(Refusal::Invalid(vec![FieldError::body("", "json_invalid", "the body is not JSON")])),
        }
    }
}

/// Reads a checked value into a type; a fault names its place.
///
/// # Errors
/// 422 with the place of the first fault.
pub fn typed<T: DeserializeOwned>(value: Value) -> Result<T, Refusal> {
    serde_path_to_error::deserialize(value).map_err(|fault| {
        let path = fault.path().to_string();
        let inner = fault.into_inner().to_string();
        let kind = if inner.starts_with("missing field") { "missing" } else { "value_error" };
        Refusal::Invalid(vec![FieldError::at(&place(&path, &inner), kind, without_value(&inner))])
    })
}

/// serde quotes what it could not read: the answer says what was wanted instead, and repeats nothing.
fn without_value(inner: &str) -> String {
    for kind in ["invalid type: ", "invalid value: ", "unknown variant ", "invalid length "] {
        if let Some(rest) = inner.strip_prefix(kind) {
            let wanted = rest.rfind(", expected ").map_or("", |at| &rest[at + 2..]);
            let what = kind.trim_end_matches([' ', ':']);
            return if wanted.is_empty() { what.to_owned() } else { format!("{what}: {wanted}") };
        }
    }
    inner.to_owned()
}

/// `push.method`, `stt.providers[0].vendor` → its parts; a missing field's own name is appended.
fn place<'a>(path: &'a str, inner: &'a str) -> Vec<&'a str> {
    let mut parts: Vec<&str> = path.split(['.', '[', ']']).filter(|part| !part.is_empty()).collect();
    if let Some(field) = inner.strip_prefix("missing field `").and_then(|rest| rest.split('`').next()) {
        parts.push(field);
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_could_not_be_read_is_not_repeated() {
        let check = |inner: &str, expect: &str| assert_eq!(without_value(inner), expect);
        check(r#"invalid type: string "+919876543210", expected u32"#, "invalid type: expected u32");
        check(r#"invalid type: string "a, expected b", expected u32"#, "invalid type: expected u32");
        check("unknown variant `secret`, expected `GET` or `POST`", "unknown variant: expected `GET` or `POST`");
        check("unknown variant `secret`, there are no variants", "unknown variant");
        check("missing field `name`", "missing field `name`");
    }

    #[test]
    fn faults_name_their_place() {
        let check = |path: &str, inner: &str, expect: &[&str]| assert_eq!(place(path, inner), expect, "{path}");
        check("push.method", "unknown variant", &["push", "method"]);
        check("stt.providers[1]", "missing field `vendor`", &["stt", "providers", "1", "vendor"]);
        check(".", "missing field `name`", &["name"]);
    }
}
