//! Secrets and personal data as types that don't print themselves.
//! It must never encrypt: sealing is a port, and what is stored here is already sealed.

use std::fmt;

pub use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

/// What an admin reads in place of a secret, and may send back to keep it.
pub const MASK: &str = "***";

/// A secret as it lies in a table: sealed text that only the `Seal` port can open.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(transparent)]
#[schema(as = Secret, description = "Written only: it reads as \"***\", which (or absence) keeps what is stored; null removes it.")]
pub struct Sealed(pub String);

impl fmt::Debug for Sealed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sealed(***)")
    }
}

/// Personal data (numbers, transcripts, variables, prompts): readable by code, silent in logs.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Personal<T>(pub T);

impl<T> fmt::Debug for Personal<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(personal)")
    }
}

/// JSON pointers of a bot's secrets; `*` stands for every index of an array.
pub const BOT_SECRETS: &[&str] = &[
    "/push/token",
    "/push/secret",
    "/webhook/secret",
    "/prefetch/token",
    "/stt/providers/*/api_key",
    "/llm/providers/*/api_key",
    "/tts/providers/*/api_key",
];

/// JSON pointers of a trunk's secrets.
pub const TRUNK_SECRETS: &[&str] = &["/password"];

/// Calls `visit` on every place in `value` that one of `pointers` names and that exists, with its concrete pointer.
pub fn for_each_secret(value: &mut Value, pointers: &[&str], visit: &mut dyn FnMut(&str, &mut Value)) {
    for pointer in pointers {
        let parts: Vec<&str> = pointer.split('/').skip(1).collect();
        walk(value, &parts, &mut String::new(), visit);
    }
}

fn walk(value: &mut Value, parts: &[&str], path: &mut String, visit: &mut dyn FnMut(&str, &mut Value)) {
    let Some((head, rest)) = parts.split_first() else {
        if !value.is_null() {
            visit(path, value);
        }
        return;
    };
    let length = path.len();
    match value {
        Value::Array(items) if *head == "*" => {
            for (index, item) in items.iter_mut().enumerate() {
                path.push_str(&format!("/{index}"));
                walk(item, rest, path, visit);
                path.truncate(length);
            }
        }
        Value::Object(members) => {
            if let Some(member) = members.get_mut(*head) {
                path.push('/');
                path.push_str(head);
                walk(member, rest, path, visit);
                path.truncate(length);
            }
        }
        _ => {}
    }
}

/// Replaces every secret by [`MASK`]: the form in which an admin reads an entity.
pub fn mask(value: &mut Value, pointers: &[&str]) {
    for_each_secret(value, pointers, &mut |_, secret| *secret = Value::String(MASK.to_owned()));
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_named_secret_is_masked_and_nothing_else() {
        let mut bot = json!({"push":{"url":"u","token":"t"},"llm":{"providers":[{"api_key":"a"},{"model":"m","api_key":"b"}]},"webhook":null});
        mask(&mut bot, BOT_SECRETS);
        assert_eq!(
            bot,
            json!({"push":{"url":"u","token":"***"},"llm":{"providers":[{"api_key":"***"},{"model":"m","api_key":"***"}]},"webhook":null})
        );
    }

    #[test]
    fn neither_sealed_nor_personal_prints_itself() {
        assert_eq!(format!("{:?} {:?}", Sealed("s3cr3t".into()), Personal("+91")), "Sealed(***) (personal)");
    }
}
