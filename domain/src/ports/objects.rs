//! The bucket: recordings, transcripts, variables. It must never list more than one call's folder.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

use super::StoreError;

#[async_trait]
pub trait Objects: Send + Sync {
    async fn put(&self, key: &str, content_type: &str, body: Bytes) -> Result<(), StoreError>;
    /// Streams a file up (multipart when large).
    async fn put_file(&self, key: &str, content_type: &str, path: &std::path::Path) -> Result<(), StoreError>;
    async fn get(&self, key: &str) -> Result<Option<Bytes>, StoreError>;
    async fn exists(&self, key: &str) -> Result<bool, StoreError>;
    async fn delete(&self, key: &str) -> Result<(), StoreError>;
    /// Every key that begins with `prefix`: a call's folder, never more.
    async fn list(&self, prefix: &str) -> Result<Vec<String>, StoreError>;
    /// A URL that reads the object without credentials for `expires`.
    async fn presign(&self, key: &str, expires: Duration) -> Result<String, StoreError>;
}
