//! What is wrong with one field of a request or an entity, in the shape that 422 answers carry.
//! It must never hold the offending value: it may be personal or secret.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// One fault, at one place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FieldError {
    /// From the outside in, e.g. `["body", "to_number"]`; array indices as decimal text.
    pub loc: Vec<String>,
    pub msg: String,
    /// A machine word, e.g. `missing`.
    #[serde(rename = "type")]
    pub kind: String,
}

impl FieldError {
    /// A fault of the body's field at `path` (dots separate members; empty = the body itself).
    pub fn body(path: &str, kind: &str, msg: impl Into<String>) -> Self {
        let mut loc = vec!["body".to_owned()];
        loc.extend(path.split('.').filter(|part| !part.is_empty()).map(str::to_owned));
        Self { loc, msg: msg.into(), kind: kind.to_owned() }
    }

    /// As [`FieldError::body`], for members whose names may hold dots.
    pub fn at(path: &[&str], kind: &str, msg: impl Into<String>) -> Self {
        let loc = std::iter::once("body").chain(path.iter().copied()).map(str::to_owned).collect();
        Self { loc, msg: msg.into(), kind: kind.to_owned() }
    }
    /// A fault of a parameter of the query.
    pub fn query(name: &str, kind: &str, msg: impl Into<String>) -> Self {
        Self { loc: vec!["query".to_owned(), name.to_owned()], msg: msg.into(), kind: kind.to_owned() }
    }

    /// A fault of a header, by its name in lower case.
    pub fn header(name: &str, kind: &str, msg: impl Into<String>) -> Self {
        Self { loc: vec!["header".to_owned(), name.to_owned()], msg: msg.into(), kind: kind.to_owned() }
    }
}
