//! Objects in the bucket.
//! It must never hold more than one part of a large file in memory, and never leave a broken-off upload behind.

use std::path::Path;
use std::time::Duration;

use async_trait::async_trait;
use aws_sdk_s3::Client;
use aws_sdk_s3::presigning::PresigningConfig;
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{CompletedMultipartUpload, CompletedPart};
use bytes::{Bytes, BytesMut};
use domain::ports::{Objects, StoreError};
use tokio::io::AsyncReadExt;

use crate::errors::{refused, store_error, unavailable};
use crate::schema::Names;

const WHAT: &str = "the bucket";
/// Files from this size on go up in parts.
const MULTIPART_FROM: u64 = 16 * 1024 * 1024;
/// At most 10,000 parts: enough for 80 GiB.
const PART: usize = 8 * 1024 * 1024;
/// A presigned URL lives no longer than a week; AWS refuses more.
const PRESIGN_MAX: Duration = Duration::from_secs(7 * 24 * 3600);

#[derive(Debug, Clone)]
pub struct S3Objects {
    client: Client,
    bucket: String,
}

impl S3Objects {
    pub fn new(client: Client, names: &Names) -> Self {
        Self { client, bucket: names.bucket().to_owned() }
    }

    async fn put_parts(&self, key: &str, content_type: &str, file: tokio::fs::File) -> Result<(), StoreError> {
        let create = self.client.create_multipart_upload().bucket(&self.bucket).key(key).content_type(content_type);
        let created = create.send().await.map_err(|e| store_error(WHAT, e))?;
        let upload = created.upload_id.ok_or_else(|| unavailable(WHAT, "an upload without an id"))?;
        let sent = self.send_parts(key, &upload, file).await;
        if sent.is_err() {
            let abort =
                self.client.abort_multipart_upload().bucket(&self.bucket).key(key).upload_id(&upload).send().await;
            if let Err(error) = abort {
                tracing::warn!(error = %store_error(WHAT, error), "a broken-off upload is left in the bucket");
            }
        }
        sent
    }

    async fn send_parts(&self, key: &str, upload: &str, mut file: tokio::fs::File) -> Result<(), StoreError> {
        let mut parts = Vec::new();
        for number in 1.. {
            let part = read_part(&mut file).await?;
            if part.is_empty() {
                break;
            }
            let request = self
                .client
                .upload_part()
                .bucket(&self.bucket)
                .key(key)
                .upload_id(upload)
                .part_number(number)
                .body(ByteStream::from(part));
            let sent = request.send().await.map_err(|e| store_error(WHAT, e))?;
            parts.push(
                CompletedPart::builder()
                    .part_number(number)
                    .set_e_tag(sent.e_tag)
                    .set_checksum_crc32(sent.checksum_crc32)
                    .build(),
            );
        }
        let parts = CompletedMultipartUpload::builder().set_parts(Some(parts)).build();
        let complete = self
            .client
            .complete_multipart_upload()
            .bucket(&self.bucket)
            .key(key)
            .upload_id(upload)
            .multipart_upload(parts);
        complete.send().await.map(|_| ()).map_err(|e| store_error(WHAT, e))
    }
}

async fn read_part(file: &mut tokio::fs::File) -> Result<Bytes, StoreError> {
    let mut part = BytesMut::with_capacity(PART);
    while part.len() < PART {
        let left = (PART - part.len()) as u64;
        if file.take(left).read_buf(&mut part).await.map_err(|e| refused(WHAT, e))? == 0 {
            break;
        }
    }
    Ok(part.freeze())
}

#[async_trait]
impl Objects for S3Objects {
    async fn put(&self, key: &str, content_type: &str, body: Bytes) -> Result<(), StoreError> {
        let put = self
            .client
            .put_object()
            .bucket(&self.bucket)
            .key(key)
            .content_type(content_type)
            .body(ByteStream::from(body));
        put.send().await.map(|_| ()).map_err(|e| store_error(WHAT, e))
    }

    async fn put_file(&self, key: &str, content_type: &str, path: &Path) -> Result<(), StoreError> {
        let unreadable = |e: std::io::Error| refused(WHAT, format!("{}: {e}", path.display()));
        let file = tokio::fs::File::open(path).await.map_err(unreadable)?;
        if file.metadata().await.map_err(unreadable)?.len() >= MULTIPART_FROM {
            return self.put_parts(key, content_type, file).await;
        }
        drop(file);
        let body = tokio::fs::read(path).await.map_err(unreadable)?;
        self.put(key, content_type, body.into()).await
    }

    async fn get(&self, key: &str) -> Result<Option<Bytes>, StoreError> {
        match self.client.get_object().bucket(&self.bucket).key(key).send().await {
            Ok(found) => {
                found.body.collect().await.map(|body| Some(body.into_bytes())).map_err(|e| unavailable(WHAT, e))
            }
            Err(error) if error.as_service_error().is_some_and(|e| e.is_no_such_key()) => Ok(None),
            Err(error) => Err(store_error(WHAT, error)),
        }
    }

    async fn exists(&self, key: &str) -> Result<bool, StoreError> {
        match self.client.head_object().bucket(&self.bucket).key(key).send().await {
            Ok(_) => Ok(true),
            Err(error) if error.as_service_error().is_some_and(|e| e.is_not_found()) => Ok(false),
            Err(error) => Err(store_error(WHAT, error)),
        }
    }

    async fn delete(&self, key: &str) -> Result<(), StoreError> {
        self.client
            .delete_object()
            .bucket(&self.bucket)
            .key(key)
            .send()
            .await
            .map(|_| ())
            .map_err(|e| store_error(WHAT, e))
    }

    async fn list(&self, prefix: &str) -> Result<Vec<String>, StoreError> {
        let mut pages = self.client.list_objects_v2().bucket(&self.bucket).prefix(prefix).into_paginator().send();
        let mut keys = Vec::new();
        while let Some(page) = pages.next().await {
            let page = page.map_err(|e| store_error(WHAT, e))?;
            keys.extend(page.contents.unwrap_or_default().into_iter().filter_map(|object| object.key));
        }
        Ok(keys)
    }

    async fn presign(&self, key: &str, expires: Duration) -> Result<String, StoreError> {
        let lives = PresigningConfig::expires_in(expires.min(PRESIGN_MAX)).map_err(|e| refused(WHAT, e))?;
        let request = self.client.get_object().bucket(&self.bucket).key(key);
        let presigned = request.presigned(lives).await.map_err(|e| store_error(WHAT, e))?;
        Ok(presigned.uri().to_owned())
    }
}
