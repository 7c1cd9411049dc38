//! Data keys wrapped by a key of AWS KMS, which never leaves KMS. The data key's id is the encryption context, so that a
//! wrapped key that was copied under another id does not open, and CloudTrail says which one was asked for.
//! It must never keep a data key, nor put what it wraps into a message.

use async_trait::async_trait;
use aws_sdk_kms::Client;
use aws_sdk_kms::config::http::HttpResponse;
use aws_sdk_kms::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_kms::primitives::Blob;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use domain::ports::StoreError;
use domain::secret::ExposeSecret;

use super::{DataKey, KeyWrap, WHAT};
use crate::errors::{corrupt, refused, store_error};

/// Begins what KMS wraps.
const WORD: &str = "kms:";
/// The one member of the encryption context: the data key's id. The key's policy may demand it.
pub const CONTEXT: &str = "ringfleet:data-key";

/// One key of KMS: its id, its ARN, or an alias such as `alias/ringfleet`.
#[derive(Debug, Clone)]
pub struct KmsKey {
    client: Client,
    key: String,
}

impl KmsKey {
    pub fn new(client: Client, key: impl Into<String>) -> Self {
        Self { client, key: key.into() }
    }

    /// What KMS said, and what to do about it; its own message names the key and who asked, and nothing else.
    fn said<E>(&self, id: &str, error: SdkError<E, HttpResponse>) -> StoreError
    where
        E: ProvideErrorMetadata + std::error::Error + 'static,
    {
        let service = error.as_service_error();
        let (code, message) = (service.and_then(E::code), service.and_then(E::message).unwrap_or_default());
        let key = &self.key;
        let advice = match code {
            Some("AccessDeniedException") => format!(
                "KMS does not let these credentials use {key}: allow them kms:Encrypt and kms:Decrypt on it, in their role and in the key's policy ({message})"
            ),
            Some("NotFoundException") => format!(
                "KMS has no key {key} in this region: correct kms_key_id (RINGFLEET_KMS_KEY_ID), or the region ({message})"
            ),
            Some("DisabledException") => format!("the KMS key {key} is disabled: enable it again in KMS"),
            Some("KMSInvalidStateException") => {
                format!(
                    "the KMS key {key} is about to be deleted or has no material: cancel its deletion in KMS ({message})"
                )
            }
            Some("IncorrectKeyException") => format!(
                "{id} was wrapped with another KMS key than {key}: name that one with kms_key_id (RINGFLEET_KMS_KEY_ID)"
            ),
            Some("InvalidCiphertextException") => format!(
                "KMS does not open {id} with {key}: it was wrapped for another id or by another key, or its text is damaged; put the secrets' last version back"
            ),
            Some("InvalidKeyUsageException" | "UnsupportedOperationException") => {
                format!("the KMS key {key} does not encrypt: a symmetric key (SYMMETRIC_DEFAULT) is needed")
            }
            _ => return store_error(WHAT, error),
        };
        refused(WHAT, advice)
    }
}

#[async_trait]
impl KeyWrap for KmsKey {
    async fn wrap(&self, id: &str, key: &DataKey) -> Result<String, StoreError> {
        let request = self.client.encrypt().key_id(&self.key).encryption_context(CONTEXT, id);
        let answer = request.plaintext(Blob::new(key.expose_secret().as_slice())).send().await;
        let answer = answer.map_err(|error| self.said(id, error))?;
        let wrapped = answer.ciphertext_blob.ok_or_else(|| corrupt(WHAT, "KMS answered without a ciphertext"))?;
        Ok(format!("{WORD}{}", STANDARD.encode(wrapped)))
    }

    async fn unwrap(&self, id: &str, wrapped: &str) -> Result<DataKey, StoreError> {
        let text = wrapped.strip_prefix(WORD).ok_or_else(|| {
            refused(WHAT, format!("{id} is wrapped by something else than KMS: its text begins with no `kms:`"))
        })?;
        let bytes = STANDARD.decode(text).map_err(|_| corrupt(WHAT, format!("{id}: its text is no base64")))?;
        let request = self.client.decrypt().key_id(&self.key).encryption_context(CONTEXT, id);
        let answer = request.ciphertext_blob(Blob::new(bytes)).send().await;
        let answer = answer.map_err(|error| self.said(id, error))?;
        let opened: Option<[u8; 32]> = answer.plaintext.and_then(|bytes| bytes.into_inner().try_into().ok());
        let opened = opened.ok_or_else(|| corrupt(WHAT, format!("{id} is no key of 32 bytes")))?;
        Ok(DataKey::new(Box::new(opened)))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use serde_json::{Value, json};

    use super::*;
    use crate::fake_service;

    /// What KMS does with one key, `alias/ours`: it keeps what it encrypts, and refuses by the names of other keys.
    fn kms(kept: &mut HashMap<String, Value>, operation: &str, body: &Value) -> (u16, Value) {
        let refuse = |code: &str| (400, json!({"__type": code, "message": "arn:aws:kms:r:1:key/x"}));
        let key = body["KeyId"].as_str().unwrap_or_default();
        if key != "alias/ours" {
            return refuse(key);
        }
        let context = body["EncryptionContext"].clone();
        if operation == "Encrypt" {
            let blob = STANDARD.encode(format!("blob {}", kept.len()));
            kept.insert(blob.clone(), json!([context, body["Plaintext"]]));
            return (200, json!({"CiphertextBlob": blob, "KeyId": key}));
        }
        match kept.get(body["CiphertextBlob"].as_str().unwrap_or_default()) {
            Some(found) if found[0] == context => (200, json!({"Plaintext": found[1], "KeyId": key})),
            _ => refuse("InvalidCiphertextException"),
        }
    }

    async fn client() -> Client {
        let mut kept = HashMap::new();
        let config = fake_service::serve(move |operation, body| kms(&mut kept, operation, body)).await;
        crate::aws::connect(&config).await.kms
    }

    #[tokio::test]
    async fn a_key_wrapped_by_kms_opens_under_its_id_and_key_only() {
        let client = client().await;
        let ours = KmsKey::new(client.clone(), "alias/ours");
        let key = DataKey::new(Box::new([7; 32]));
        let wrapped = ours.wrap("k1", &key).await.unwrap();
        assert!(wrapped.starts_with("kms:") && !wrapped.contains(&STANDARD.encode([7; 32])));
        assert_eq!(ours.unwrap("k1", &wrapped).await.unwrap().expose_secret(), key.expose_secret());

        let check = async |named: &str, id: &str, text: &str, part: &str| {
            let error = KmsKey::new(client.clone(), named).unwrap(id, text).await.unwrap_err().to_string();
            assert!(error.contains(part), "{error} lacks {part}");
        };
        check("alias/ours", "k2", &wrapped, "wrapped for another id").await;
        check("alias/ours", "k1", "kms:AAAA", "wrapped for another id").await;
        check("alias/ours", "k1", "kms:***", "no base64").await;
        check("alias/ours", "k1", "local:AAAA", "something else than KMS").await;
        check("AccessDeniedException", "k1", &wrapped, "allow them kms:Encrypt and kms:Decrypt").await;
        check("NotFoundException", "k1", &wrapped, "correct kms_key_id (RINGFLEET_KMS_KEY_ID)").await;
        check("DisabledException", "k1", &wrapped, "is disabled: enable it").await;
        check("KMSInvalidStateException", "k1", &wrapped, "cancel its deletion").await;
        check("IncorrectKeyException", "k1", &wrapped, "another KMS key than IncorrectKeyException").await;
        check("InvalidKeyUsageException", "k1", &wrapped, "a symmetric key").await;
        check("ThrottlingException", "k1", &wrapped, "ThrottlingException").await;
        let refused = KmsKey::new(client, "DisabledException").wrap("k1", &key).await.unwrap_err();
        assert!(refused.to_string().contains("enable it"), "{refused}");
    }
}
