//! S3: `s3s` (protocol, signatures, presigned URLs) over `s3s-fs` (files in a folder). This module
//! puts right what `s3s-fs` does differently from S3 where the platform would notice; it must never
//! touch object data itself. Objects are plain files, `s3/BUCKET/KEY`; content type, metadata and
//! ETag lie beside them in hidden files.
//!
//! Put right here: a missing bucket is `NoSuchBucket` (not created on the fly, not `NoSuchKey`); a
//! bucket made twice is `BucketAlreadyOwnedByYou`; a common prefix is not an object; an unknown
//! upload is `NoSuchUpload`; a bad list of parts is refused before anything is consumed; what is
//! deleted takes its hidden files along; players are told that ranges work; and the checksum headers of answers are left out, because
//! after an overwrite that a kill interrupted, or by a multipart upload, they are an older object's,
//! and the SDK would refuse the body.
//!
//! What differs from AWS, and an adapter must not rely on:
//! - A key can't be both an object and a prefix of another (`a` and `a/b`), nor hold empty, `.` or
//!   `..` segments; with a bucket name of 20 bytes a key may have about 110 (names of hidden files).
//! - Parts must be numbered 1, 2, 3… without gaps, and their ETags are not compared.
//! - Listings carry no ETag; `If-None-Match: *` is not atomic between two writers.
//! - No versions, tags, ACLs, lifecycle, storage classes or encryption settings; `DeleteBucket` is missing.

use std::io;
use std::path::{Path, PathBuf};

use s3s::auth::SimpleAuth;
use s3s::dto::*;
use s3s::service::{S3Service, S3ServiceBuilder};
use s3s::{S3, S3ErrorCode, S3Request, S3Response, S3Result, s3_error};
use s3s_fs::FileSystem;

/// What file systems allow a name to have, in bytes.
const MAX_NAME: usize = 255;
/// The smallest part that isn't the last one.
const MIN_PART: u64 = 5 * 1024 * 1024;

/// Opens or creates the folder and returns the service that checks `auth` on every request.
pub(super) fn open(root: &Path, auth: SimpleAuth) -> io::Result<S3Service> {
    std::fs::create_dir_all(root)?;
    let root = root.canonicalize()?;
    remove_orphaned_parts(&root)?;
    let files = FileSystem::new(&root).map_err(|error| io::Error::other(format!("{error:?}")))?;
    let mut service = S3ServiceBuilder::new(Objects { files, root });
    service.set_auth(auth);
    Ok(service.build())
}

/// Deletes the parts whose upload was completed or aborted when the process was killed.
fn remove_orphaned_parts(root: &Path) -> io::Result<()> {
    for entry in std::fs::read_dir(root)? {
        let entry = entry?;
        let name = entry.file_name();
        let upload =
            name.to_str().and_then(|name| name.strip_prefix(".upload_id-")).and_then(|name| name.split_once(".part-"));
        if let Some((upload, _)) = upload
            && !upload_file(root, upload).exists()
        {
            std::fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

struct Objects {
    files: FileSystem,
    root: PathBuf,
}

/// Writes an `S3` whose listed operations go straight to the files, and whose others are ours.
macro_rules! objects {
    ([$($method:ident: $input:ident -> $output:ident),* $(,)?] $($ours:tt)*) => {
        #[async_trait::async_trait]
        impl S3 for Objects {
            $(async fn $method(&self, request: S3Request<$input>) -> S3Result<S3Response<$output>> {
                self.files.$method(request).await
            })*
            $($ours)*
        }
    };
}

objects! {
    [
        head_bucket: HeadBucketInput -> HeadBucketOutput,
        get_bucket_location: GetBucketLocationInput -> GetBucketLocationOutput,
        list_buckets: ListBucketsInput -> ListBucketsOutput,
        list_objects: ListObjectsInput -> ListObjectsOutput,
        list_objects_v2: ListObjectsV2Input -> ListObjectsV2Output,
    ]

    async fn create_bucket(
        &self,
        request: S3Request<CreateBucketInput>,
    ) -> S3Result<S3Response<CreateBucketOutput>> {
        self.files.create_bucket(request).await.map_err(|error| match error.code() {
            S3ErrorCode::BucketAlreadyExists => s3_error!(BucketAlreadyOwnedByYou),
            _ => error,
        })
    }

    async fn put_object(
        &self,
        request: S3Request<PutObjectInput>,
    ) -> S3Result<S3Response<PutObjectOutput>> {
        self.writable(&request.input.bucket, &request.input.key)?;
        self.files.put_object(request).await
    }

    async fn copy_object(
        &self,
        request: S3Request<CopyObjectInput>,
    ) -> S3Result<S3Response<CopyObjectOutput>> {
        if let CopySource::Bucket { bucket, key, .. } = &request.input.copy_source {
            self.existing(bucket, key)?;
        }
        self.writable(&request.input.bucket, &request.input.key)?;
        self.files.copy_object(request).await
    }

    async fn get_object(
        &self,
        request: S3Request<GetObjectInput>,
    ) -> S3Result<S3Response<GetObjectOutput>> {
        self.existing(&request.input.bucket, &request.input.key)?;
        let mut response = self.files.get_object(request).await?;
        let output = &mut response.output;
        output.accept_ranges = Some("bytes".to_owned());
        output.checksum_crc32 = None;
        output.checksum_crc32c = None;
        output.checksum_crc64nvme = None;
        output.checksum_sha1 = None;
        output.checksum_sha256 = None;
        Ok(response)
    }

    async fn head_object(
        &self,
        request: S3Request<HeadObjectInput>,
    ) -> S3Result<S3Response<HeadObjectOutput>> {
        self.existing(&request.input.bucket, &request.input.key)?;
        let mut response = self.files.head_object(request).await?;
        let output = &mut response.output;
        output.accept_ranges = Some("bytes".to_owned());
        output.checksum_crc32 = None;
        output.checksum_crc32c = None;
        output.checksum_crc64nvme = None;
        output.checksum_sha1 = None;
        output.checksum_sha256 = None;
        Ok(response)
    }

    async fn delete_object(
        &self,
        request: S3Request<DeleteObjectInput>,
    ) -> S3Result<S3Response<DeleteObjectOutput>> {
        self.delete(&request.input.bucket, &request.input.key).await?;
        Ok(S3Response::new(DeleteObjectOutput::default()))
    }

    async fn delete_objects(
        &self,
        request: S3Request<DeleteObjectsInput>,
    ) -> S3Result<S3Response<DeleteObjectsOutput>> {
        let mut output = DeleteObjectsOutput::default();
        let (mut deleted, mut errors) = (Vec::new(), Vec::new());
        self.bucket(&request.input.bucket)?;
        for object in request.input.delete.objects {
            match self.delete(&request.input.bucket, &object.key).await {
                Ok(()) => deleted.push(DeletedObject {
                    key: Some(object.key),
                    ..DeletedObject::default()
                }),
                Err(error) => errors.push(Error {
                    code: Some(error.code().as_str().to_owned()),
                    key: Some(object.key),
                    message: error.message().map(str::to_owned),
                    ..Error::default()
                }),
            }
        }
        output.deleted = Some(deleted);
        output.errors = Some(errors);
        Ok(S3Response::new(output))
    }

    async fn create_multipart_upload(
        &self,
        request: S3Request<CreateMultipartUploadInput>,
    ) -> S3Result<S3Response<CreateMultipartUploadOutput>> {
        self.writable(&request.input.bucket, &request.input.key)?;
        self.files.create_multipart_upload(request).await
    }

    async fn upload_part(
        &self,
        request: S3Request<UploadPartInput>,
    ) -> S3Result<S3Response<UploadPartOutput>> {
        self.upload(&request.input.upload_id)?;
        self.files.upload_part(request).await
    }

    async fn list_parts(
        &self,
        request: S3Request<ListPartsInput>,
    ) -> S3Result<S3Response<ListPartsOutput>> {
        self.upload(&request.input.upload_id)?;
        let mut response = self.files.list_parts(request).await?;
        if let Some(parts) = &mut response.output.parts {
            parts.sort_by_key(|part| part.part_number);
        }
        Ok(response)
    }

    async fn complete_multipart_upload(
        &self,
        request: S3Request<CompleteMultipartUploadInput>,
    ) -> S3Result<S3Response<CompleteMultipartUploadOutput>> {
        let input = &request.input;
        self.upload(&input.upload_id)?;
        self.writable(&input.bucket, &input.key)?;
        let parts = input.multipart_upload.as_ref().and_then(|upload| upload.parts.as_deref());
        self.complete_parts(&input.upload_id, parts.unwrap_or_default())?;
        self.files.complete_multipart_upload(request).await
    }

    async fn abort_multipart_upload(
        &self,
        request: S3Request<AbortMultipartUploadInput>,
    ) -> S3Result<S3Response<AbortMultipartUploadOutput>> {
        self.upload(&request.input.upload_id)?;
        self.files.abort_multipart_upload(request).await
    }
}

impl Objects {
    fn bucket(&self, bucket: &str) -> S3Result<PathBuf> {
        let path = self.root.join(bucket);
        match path.is_dir() {
            true => Ok(path),
            false => Err(s3_error!(NoSuchBucket)),
        }
    }

    /// The file of an object to be written, in a bucket that exists.
    fn writable(&self, bucket: &str, key: &str) -> S3Result<PathBuf> {
        let folder = self.bucket(bucket)?;
        check_key(bucket, key)?;
        let path = folder.join(key);
        let prefix_is_object = path.ancestors().skip(1).take_while(|ancestor| *ancestor != folder).any(Path::is_file);
        if prefix_is_object || (path.is_dir() && !key.ends_with('/')) {
            return Err(s3_error!(
                InvalidArgument,
                "The embedded store can't hold an object whose key is a prefix of another's."
            ));
        }
        Ok(path)
    }

    /// The file of an object to be read.
    fn existing(&self, bucket: &str, key: &str) -> S3Result<PathBuf> {
        let path = self.bucket(bucket)?.join(key);
        match check_key(bucket, key).is_ok() && path.is_file() {
            true => Ok(path),
            false => Err(s3_error!(NoSuchKey)),
        }
    }

    /// Deletes an object and what is kept beside it; a missing one is no error, as on S3.
    async fn delete(&self, bucket: &str, key: &str) -> S3Result<()> {
        let path = self.bucket(bucket)?.join(key);
        check_key(bucket, key)?;
        if path.is_dir() {
            return Ok(());
        }
        // The object goes first: without it the rest is out of sight.
        let beside = ["metadata.json", "internal.json"].map(|kind| self.root.join(hidden_name(bucket, key, kind)));
        for path in std::iter::once(path).chain(beside) {
            match tokio::fs::remove_file(&path).await {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) if error.kind() == io::ErrorKind::NotADirectory => {}
                deleted => deleted.map_err(|error| s3_error!(error, InternalError))?,
            }
        }
        Ok(())
    }

    fn upload(&self, upload: &str) -> S3Result<()> {
        let well_formed = uuid::Uuid::parse_str(upload).is_ok();
        match well_formed && upload_file(&self.root, upload).is_file() {
            true => Ok(()),
            false => Err(s3_error!(NoSuchUpload)),
        }
    }

    /// `s3s-fs` eats up the upload while it finds out; so everything is looked at before.
    fn complete_parts(&self, upload: &str, parts: &[CompletedPart]) -> S3Result<()> {
        for (at, part) in (1..).zip(parts) {
            if part.part_number != Some(at) {
                return Err(s3_error!(InvalidPartOrder, "The embedded store wants parts numbered 1, 2, 3, in order."));
            }
            let file = self.root.join(format!(".upload_id-{upload}.part-{at}"));
            let size = file.metadata().map_err(|_| s3_error!(InvalidPart))?.len();
            let last = usize::try_from(at).is_ok_and(|at| at == parts.len());
            if !last && size < MIN_PART {
                return Err(s3_error!(EntityTooSmall));
            }
        }
        Ok(())
    }
}

/// Refuses the keys that a file system can't hold, or would take for another key.
fn check_key(bucket: &str, key: &str) -> S3Result<()> {
    let segments = || key.strip_suffix('/').unwrap_or(key).split('/');
    if segments().any(|segment| matches!(segment, "" | "." | "..")) || key.contains('\0') {
        return Err(s3_error!(InvalidArgument, "The embedded store takes no empty, . or .. segment in a key."));
    }
    let longest = hidden_name(bucket, key, "upload-00000000-0000-0000-0000-000000000000.metadata.json");
    if longest.len() > MAX_NAME || segments().any(|segment| segment.len() > MAX_NAME) {
        return Err(s3_error!(KeyTooLongError));
    }
    Ok(())
}

/// The name `s3s-fs` gives to what it keeps beside an object.
fn hidden_name(bucket: &str, key: &str, kind: &str) -> String {
    let (bucket, key) = (base64_url(bucket.as_bytes()), base64_url(key.as_bytes()));
    format!(".bucket-{bucket}.object-{key}.{kind}")
}

/// The file in which `s3s-fs` remembers an upload in progress.
fn upload_file(root: &Path, upload: &str) -> PathBuf {
    root.join(format!(".upload-{upload}.json"))
}

/// Base64 with the URL-safe alphabet and no padding.
fn base64_url(bytes: &[u8]) -> String {
    use base64::Engine;
    base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_code(key: &str, expect: Result<(), S3ErrorCode>) {
        let found = check_key("recordings", key).map_err(|error| error.code().clone());
        assert_eq!(found, expect, "{key}");
    }

    #[test]
    fn keys_are_what_a_file_system_can_hold() {
        check_code("a", Ok(()));
        check_code("2026/11/22/0193.wav", Ok(()));
        check_code("folder/", Ok(()));
        check_code("ümlaut and space", Ok(()));
        check_code(&format!("calls/{}", "k".repeat(100)), Ok(()));
        for key in ["", "/a", "a//b", "../x", "a/./b", "a/..", "a\0b"] {
            check_code(key, Err(S3ErrorCode::InvalidArgument));
        }
        check_code(&"k".repeat(200), Err(S3ErrorCode::KeyTooLongError));
    }

    #[test]
    fn parts_without_an_upload_go_at_the_next_start() {
        let root = tempfile::tempdir().unwrap();
        let alive = "11111111-1111-4111-8111-111111111111";
        let dead = "22222222-2222-4222-8222-222222222222";
        for name in [
            format!(".upload-{alive}.json"),
            format!(".upload_id-{alive}.part-1"),
            format!(".upload_id-{dead}.part-1"),
            ".bucket-a.object-b.internal.json".to_owned(),
        ] {
            std::fs::write(root.path().join(name), "x").unwrap();
        }
        remove_orphaned_parts(root.path()).unwrap();
        let left = std::fs::read_dir(root.path()).unwrap().count();
        assert_eq!(left, 3, "only the orphan goes");
        assert!(root.path().join(format!(".upload_id-{alive}.part-1")).exists());
    }
}
