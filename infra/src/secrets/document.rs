//! The deployment's secrets as a document that is changed one step at a time: data keys and the fleet's signing secrets.
//! A new one is added first and only opens or verifies, then it is put in use, then the others are dropped. Between two
//! steps every process must have taken up the last one, so each says since when it stands where it stands.
//! It must never drop what is in use, nor lose a member that it does not know.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use domain::ports::{Entropy, StoreError};
use domain::secret::{ExposeSecret, SecretString};
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::{FIRST_KEY, LLM_API_KEY, WHAT};
use crate::errors::corrupt;
use crate::seal::{DataKey, KeyWrap};

/// Since when a key stands in its place.
const SINCE: &str = "since";
const CURRENT: &str = "current";
const PREVIOUS: &str = "previous";
/// Signing secrets that signed once; they judge what they made as connect tokens.
const RETIRED: &str = "retired";
/// No connect token holds for longer, seconds: a year, and a day.
const TOKENS_HOLD: i64 = 366 * 24 * 3600;
const DATA_KEYS: &str = "data_keys";

/// One data key or signing secret, without what is secret about it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Entry {
    pub id: String,
    /// Since when it is where it is; those made with the document don't say.
    pub since: Option<Timestamp>,
}

/// How far the change of the signing secret is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Signing {
    /// One secret, which signs.
    Single(Entry),
    /// A new one verifies, and does not sign yet.
    Added { new: Entry },
    /// The new one signs; what the old one signed still verifies.
    InUse { new: Entry, old: String },
}

/// The whole document, secrets included.
#[derive(Clone, Default)]
pub struct Document(Map<String, Value>);

impl std::fmt::Debug for Document {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Document").field("data_keys", &self.data_keys()).finish_non_exhaustive()
    }
}

impl Document {
    /// Reads the text; one without anything in it is an empty document.
    ///
    /// # Errors
    /// It is something else. It is not quoted.
    pub fn read(text: &str, place: &str) -> Result<Self, StoreError> {
        match serde_json::from_str(if text.trim().is_empty() { "{}" } else { text }) {
            Ok(Value::Object(members)) if members.is_empty() => Ok(Self::default()),
            Ok(Value::Object(members))
                if members.get(DATA_KEYS).is_some_and(Value::is_array)
                    && members.get(CURRENT).is_some_and(Value::is_object) =>
            {
                Ok(Self(members))
            }
            _ => {
                Err(corrupt(WHAT, format!("{place} has no data_keys or no current: it is not what `ringfleet` makes")))
            }
        }
    }

    /// Fresh secrets: a signing secret, and a data key that `wrap` wraps.
    ///
    /// # Errors
    /// Whoever wraps cannot be asked.
    pub async fn fresh(wrap: &dyn KeyWrap, entropy: &dyn Entropy) -> Result<Self, StoreError> {
        let wrapped = wrap.wrap(FIRST_KEY, &data_key(entropy)).await?;
        Ok(Self::with_first_key(&wrapped, entropy))
    }

    pub(super) fn with_first_key(wrapped: &str, entropy: &dyn Entropy) -> Self {
        let mut members = Map::new();
        members.insert(CURRENT.to_owned(), signing_secret("s1", None, entropy));
        members.insert(DATA_KEYS.to_owned(), json!([{"id": FIRST_KEY, "wrapped": wrapped}]));
        Self(members)
    }

    /// Whether nothing was ever put in.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn text(&self) -> SecretString {
        SecretString::from(Value::Object(self.0.clone()).to_string())
    }

    /// The data keys in their order; the first one seals.
    pub fn data_keys(&self) -> Vec<Entry> {
        self.keys().iter().map(|key| entry(key, "id")).collect()
    }

    /// The data key that is to seal, in the end: the one that came last.
    pub fn newest(&self) -> Option<Entry> {
        // Of keys that don't say since when, the first one came last: that is how people add one by hand.
        self.data_keys().into_iter().rev().max_by_key(|entry| entry.since)
    }

    /// Adds a fresh data key behind the others; answers its id.
    ///
    /// # Errors
    /// It can't be wrapped.
    pub async fn add(
        &mut self,
        wrap: &dyn KeyWrap,
        entropy: &dyn Entropy,
        now: Timestamp,
    ) -> Result<String, StoreError> {
        let id = free("k", self.data_keys().iter().map(|entry| entry.id.as_str()));
        let wrapped = wrap.wrap(&id, &data_key(entropy)).await?;
        let key = json!({"id": id, "wrapped": wrapped, SINCE: now.to_string()});
        if let Some(Value::Array(keys)) = self.0.get_mut(DATA_KEYS) {
            keys.push(key);
        }
        Ok(id)
    }

    /// Puts the data key `id` in front: it seals from now on.
    pub fn promote(&mut self, id: &str, now: Timestamp) {
        let Some(Value::Array(keys)) = self.0.get_mut(DATA_KEYS) else { return };
        if let Some(at) = keys.iter().position(|key| key["id"] == id) {
            let mut key = keys.remove(at);
            key[SINCE] = Value::String(now.to_string());
            keys.insert(0, key);
        }
    }

    /// Drops every data key but the first; answers their ids.
    pub fn drop_others(&mut self) -> Vec<String> {
        let dropped = self.data_keys().into_iter().skip(1).map(|entry| entry.id).collect();
        if let Some(Value::Array(keys)) = self.0.get_mut(DATA_KEYS) {
            keys.truncate(1);
        }
        dropped
    }

    /// How far the signing secrets are.
    pub fn signing(&self) -> Signing {
        let current = self.0.get(CURRENT).map(|secret| entry(secret, "kid")).unwrap_or_default();
        match self.0.get(PREVIOUS).filter(|secret| secret.is_object()).map(|secret| entry(secret, "kid")) {
            None => Signing::Single(current),
            // Two that don't say since when were put there by hand: the one that signs is the new one.
            Some(other) if other.since > current.since => Signing::Added { new: other },
            Some(other) => Signing::InUse { new: current, old: other.id },
        }
    }

    /// Adds a fresh signing secret that only verifies; answers its id. There must be a single one.
    pub fn add_signing(&mut self, entropy: &dyn Entropy, now: Timestamp) -> String {
        let taken = self.0.get(CURRENT).map(|secret| entry(secret, "kid").id).unwrap_or_default();
        let kid = free("s", std::iter::once(taken.as_str()));
        self.0.insert(PREVIOUS.to_owned(), signing_secret(&kid, Some(now), entropy));
        kid
    }

    /// Lets the two signing secrets change places: the new one signs.
    pub fn use_signing(&mut self, now: Timestamp) {
        let (Some(old), Some(mut new)) = (self.0.remove(CURRENT), self.0.remove(PREVIOUS)) else { return };
        new[SINCE] = Value::String(now.to_string());
        self.0.insert(CURRENT.to_owned(), new);
        self.0.insert(PREVIOUS.to_owned(), old);
    }

    /// Drops the signing secret that does not sign. The connect tokens that it made hold on, or end `with_tokens` of all
    /// that were dropped before.
    pub fn drop_signing(&mut self, now: Timestamp, with_tokens: bool) {
        let dropped = self.0.remove(PREVIOUS).filter(Value::is_object);
        let Value::Array(mut retired) = self.0.remove(RETIRED).unwrap_or_else(|| json!([])) else { return };
        if with_tokens {
            return;
        }
        retired.extend(dropped.map(|mut secret| {
            secret[SINCE] = Value::String(now.to_string());
            secret
        }));
        let holds = |since: Timestamp| now.duration_since(since).as_secs() < TOKENS_HOLD;
        retired.retain(|secret| entry(secret, "kid").since.is_some_and(holds));
        if !retired.is_empty() {
            self.0.insert(RETIRED.to_owned(), Value::Array(retired));
        }
    }

    /// The key of the deployment's language model; none takes it out.
    pub fn set_llm_api_key(&mut self, key: Option<&SecretString>) {
        match key {
            Some(key) => self.0.insert(LLM_API_KEY.to_owned(), Value::String(key.expose_secret().to_owned())),
            None => self.0.remove(LLM_API_KEY),
        };
    }

    fn keys(&self) -> &[Value] {
        self.0.get(DATA_KEYS).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
    }
}

fn entry(value: &Value, id: &str) -> Entry {
    let text = |name: &str| value[name].as_str().map(str::to_owned);
    Entry { id: text(id).unwrap_or_default(), since: text(SINCE).and_then(|since| since.parse().ok()) }
}

fn data_key(entropy: &dyn Entropy) -> DataKey {
    let mut bytes = Box::new([0; 32]);
    entropy.fill(&mut *bytes);
    DataKey::new(bytes)
}

fn signing_secret(kid: &str, since: Option<Timestamp>, entropy: &dyn Entropy) -> Value {
    let mut secret = [0; 32];
    entropy.fill(&mut secret);
    let mut made = json!({"kid": kid, "secret": STANDARD.encode(secret)});
    if let Some(since) = since {
        made[SINCE] = Value::String(since.to_string());
    }
    made
}

/// One more than the highest number among `taken`, after `letter`.
fn free<'a>(letter: &str, taken: impl Iterator<Item = &'a str>) -> String {
    let numbers = taken.filter_map(|id| id.strip_prefix(letter)?.parse::<u32>().ok());
    format!("{letter}{}", numbers.max().unwrap_or_default().saturating_add(1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::OsEntropy;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(seconds).unwrap()
    }

    #[test]
    fn signing_secrets_change_places_and_nothing_else_changes() {
        let text =
            r#"{"current":{"kid":"local-1","secret":"old"},"data_keys":[{"id":"k1","wrapped":"local:x"}],"mine":7}"#;
        let mut document = Document::read(text, "f").unwrap();
        let entry = |id: &str, since: Option<i64>| Entry { id: id.into(), since: since.map(at) };
        let check = |document: &Document, expect: Signing| {
            assert_eq!(document.signing(), expect);
            assert_eq!((&document.0["mine"], &document.0["data_keys"][0]["id"]), (&json!(7), &json!("k1")));
        };
        check(&document, Signing::Single(entry("local-1", None)));
        assert_eq!(document.add_signing(&OsEntropy, at(10)), "s1");
        check(&document, Signing::Added { new: entry("s1", Some(10)) });
        assert_eq!(document.0["current"]["secret"], "old", "it signs as before");
        document.use_signing(at(20));
        check(&document, Signing::InUse { new: entry("s1", Some(20)), old: "local-1".into() });
        assert_eq!(document.0["previous"]["secret"], "old");
        document.drop_signing(at(30), false);
        check(&document, Signing::Single(entry("s1", Some(20))));
        assert_eq!(
            (&document.0["retired"][0]["kid"], &document.0["retired"][0]["secret"]),
            (&json!("local-1"), &json!("old"))
        );
        assert_eq!(document.add_signing(&OsEntropy, at(30)), "s2");
        check(&document, Signing::Added { new: entry("s2", Some(30)) });
        // Written by hand, as the page said once: the one that signs is the new one.
        let by_hand = r#"{"current":{"kid":"b","secret":"x"},"previous":{"kid":"a","secret":"y"},"data_keys":[]}"#;
        let by_hand = Document::read(by_hand, "f").unwrap().signing();
        assert_eq!(by_hand, Signing::InUse { new: entry("b", None), old: "a".into() });
    }

    #[test]
    fn what_made_connect_tokens_is_kept_for_as_long_as_they_hold() {
        let mut document = Document::with_first_key("local:x", &OsEntropy);
        let mut rotate = |seconds: i64, with_tokens: bool| {
            document.add_signing(&OsEntropy, at(seconds));
            document.use_signing(at(seconds));
            document.drop_signing(at(seconds), with_tokens);
            let retired = document.0.get("retired").and_then(Value::as_array).cloned().unwrap_or_default();
            retired.iter().map(|secret| secret["kid"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(rotate(10, false), ["s1"]);
        assert_eq!(rotate(20, false), ["s1", "s2"]);
        assert_eq!(rotate(15 + TOKENS_HOLD, false), ["s2", "s3"]);
        assert!(rotate(16 + TOKENS_HOLD, true).is_empty(), "of a secret that somebody has");
        assert_eq!(rotate(17 + TOKENS_HOLD, false), ["s5"]);
    }

    #[test]
    fn what_is_no_document_is_refused_and_not_quoted() {
        for text in ["hunter2", "[]", r#"{"current":"hunter2"}"#, r#"{"data_keys":"hunter2"}"#, r#"{"data_keys":[]}"#] {
            let error = Document::read(text, "f").unwrap_err();
            assert!(matches!(error, StoreError::Corrupt { .. }) && !error.to_string().contains("hunter2"), "{error}");
        }
        for text in ["", "{}", " \n"] {
            assert!(Document::read(text, "f").unwrap().is_empty(), "{text:?}");
        }
    }

    #[test]
    fn nothing_secret_is_in_its_debug_form() {
        let mut document = Document::with_first_key("local:wrapped", &OsEntropy);
        document.set_llm_api_key(Some(&SecretString::from("sk-1")));
        let secret = document.0["current"]["secret"].as_str().unwrap().to_owned();
        let shown = format!("{document:?}");
        assert!(!shown.contains(&secret) && !shown.contains("sk-1") && !shown.contains("wrapped"), "{shown}");
        assert!(document.text().expose_secret().contains("sk-1"));
        document.set_llm_api_key(None);
        assert!(!document.text().expose_secret().contains("llm_api_key"));
    }
}
