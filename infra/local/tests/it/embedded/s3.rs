//! S3 as the platform uses it.

use std::time::Duration;

use aws_sdk_s3::Client;
use aws_sdk_s3::error::ProvideErrorMetadata;
use aws_sdk_s3::presigning::PresigningConfig;
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{CompletedMultipartUpload, CompletedPart};

use super::World;

const BUCKET: &str = "recordings";
const KEY: &str = "2026/11/22/0193b4c5-6d7e-7f80-9a1b-2c3d4e5f6a7b.wav";
const PART: usize = 5 * 1024 * 1024;

async fn world() -> World {
    let world = World::start().await;
    world.s3.create_bucket().bucket(BUCKET).send().await.unwrap();
    world
}

async fn put(s3: &Client, key: &str, body: &'static [u8]) {
    let request = s3.put_object().bucket(BUCKET).key(key).content_type("audio/wav");
    request.body(body.to_vec().into()).send().await.unwrap();
}

async fn get(s3: &Client, key: &str) -> Vec<u8> {
    let got = s3.get_object().bucket(BUCKET).key(key).send().await.unwrap();
    got.body.collect().await.unwrap().to_vec()
}

#[tokio::test]
async fn an_object_keeps_what_it_was_put_with() {
    let World { s3, .. } = &world().await;
    let request = s3
        .put_object()
        .bucket(BUCKET)
        .key(KEY)
        .content_type("audio/wav")
        .metadata("call", "0193")
        .body(b"0123456789".to_vec().into());
    let tag = request.send().await.unwrap().e_tag.unwrap();
    let head = s3.head_object().bucket(BUCKET).key(KEY).send().await.unwrap();
    assert_eq!(head.content_length(), Some(10));
    assert_eq!(head.content_type(), Some("audio/wav"));
    assert_eq!(head.metadata().unwrap()["call"], "0193");
    assert_eq!(head.e_tag(), Some(&*tag));
    assert!(head.last_modified().is_some());
    let whole = s3.get_object().bucket(BUCKET).key(KEY).send().await.unwrap();
    assert_eq!(whole.content_type(), Some("audio/wav"));
    assert_eq!(&*whole.body.collect().await.unwrap().to_vec(), b"0123456789");

    let range = |range: &str| s3.get_object().bucket(BUCKET).key(KEY).range(range).send();
    for (asked, content_range, body) in [
        ("bytes=2-4", "bytes 2-4/10", &b"234"[..]),
        ("bytes=7-", "bytes 7-9/10", b"789"),
        ("bytes=-3", "bytes 7-9/10", b"789"),
        ("bytes=8-99", "bytes 8-9/10", b"89"),
    ] {
        let got = range(asked).await.unwrap();
        assert_eq!(got.content_range(), Some(content_range), "{asked}");
        assert_eq!(&*got.body.collect().await.unwrap().to_vec(), body, "{asked}");
    }
    assert_eq!(range("bytes=10-").await.unwrap_err().code(), Some("InvalidRange"));
}

#[tokio::test]
async fn what_is_missing_is_missing_in_the_typed_way() {
    let World { s3, .. } = &world().await;
    put(s3, "a/b", b"x").await;
    // The prefix of an object is not an object; nor is the way around to another one.
    for key in ["nope", "a", "a/b/c", "a/../a/b"] {
        let got = s3.get_object().bucket(BUCKET).key(key).send().await;
        let error = got.unwrap_err().into_service_error();
        assert!(error.is_no_such_key(), "{key}: {error:?}");
        let head = s3.head_object().bucket(BUCKET).key(key).send().await;
        let error = head.unwrap_err().into_service_error();
        assert!(error.is_not_found(), "{key}: {error:?}");
        s3.delete_object().bucket(BUCKET).key("nope").send().await.unwrap();
    }
    let nowhere = "no-such-bucket";
    let got = s3.get_object().bucket(nowhere).key("k").send().await.unwrap_err();
    assert_eq!(got.code(), Some("NoSuchBucket"));
    let put = s3.put_object().bucket(nowhere).key("k").body(b"x".to_vec().into());
    assert_eq!(put.send().await.unwrap_err().code(), Some("NoSuchBucket"));
    let head = s3.head_bucket().bucket(nowhere).send().await.unwrap_err();
    assert!(head.into_service_error().is_not_found());
    let list = s3.list_objects_v2().bucket(nowhere).send().await.unwrap_err();
    assert!(list.into_service_error().is_no_such_bucket());
    let delete = s3.delete_object().bucket(nowhere).key("k").send().await.unwrap_err();
    assert_eq!(delete.code(), Some("NoSuchBucket"));
}

#[tokio::test]
async fn a_bucket_made_twice_is_ours() {
    let World { s3, .. } = &world().await;
    let again = s3.create_bucket().bucket(BUCKET).send().await;
    let error = again.unwrap_err().into_service_error();
    assert!(error.is_bucket_already_owned_by_you(), "{error:?}");
    s3.head_bucket().bucket(BUCKET).send().await.unwrap();
}

#[tokio::test]
async fn keys_that_a_folder_cannot_hold_are_refused() {
    let World { s3, .. } = &world().await;
    put(s3, "a/b", b"x").await;
    let long = "k".repeat(300);
    for (key, code) in [
        ("a", "InvalidArgument"),
        ("a/b/c", "InvalidArgument"),
        ("../other/x", "InvalidArgument"),
        ("a//b", "InvalidArgument"),
        (&*long, "KeyTooLongError"),
    ] {
        let put = s3.put_object().bucket(BUCKET).key(key).body(b"y".to_vec().into());
        assert_eq!(put.send().await.unwrap_err().code(), Some(code), "{key}");
        let start = s3.create_multipart_upload().bucket(BUCKET).key(key);
        assert_eq!(start.send().await.unwrap_err().code(), Some(code), "{key}");
    }
    assert_eq!(get(s3, "a/b").await, b"x");
}

#[tokio::test]
async fn listings_know_prefixes_and_pages() {
    let World { s3, .. } = &world().await;
    for key in ["calls/1/a.json", "calls/1/a.wav", "calls/2/b.wav", "other/c", "calls-old/d"] {
        put(s3, key, b"x").await;
    }
    let mut keys = Vec::new();
    let pages = s3.list_objects_v2().bucket(BUCKET).prefix("calls/").max_keys(2);
    let mut pages = pages.into_paginator().send();
    let mut count = 0;
    while let Some(page) = pages.next().await {
        keys.extend(page.unwrap().contents.unwrap_or_default().into_iter().filter_map(|o| o.key));
        count += 1;
    }
    assert_eq!(keys, ["calls/1/a.json", "calls/1/a.wav", "calls/2/b.wav"]);
    assert_eq!(count, 2);
    let by_folder = s3.list_objects_v2().bucket(BUCKET).delimiter("/");
    let folders = by_folder.send().await.unwrap();
    let folders: Vec<_> = folders.common_prefixes().iter().filter_map(|p| p.prefix()).collect();
    assert_eq!(folders, ["calls-old/", "calls/", "other/"]);

    s3.delete_object().bucket(BUCKET).key("calls/1/a.wav").send().await.unwrap();
    let left = s3.list_objects_v2().bucket(BUCKET).prefix("calls/1/").send().await.unwrap();
    assert_eq!(left.key_count(), Some(1));
}

#[tokio::test]
async fn a_presigned_url_plays_in_a_browser() {
    let World { s3, .. } = &world().await;
    put(s3, KEY, b"0123456789").await;
    let url = |seconds| {
        let request = s3.get_object().bucket(BUCKET).key(KEY);
        request.presigned(PresigningConfig::expires_in(Duration::from_secs(seconds)).unwrap())
    };
    let http = reqwest::Client::new();
    let good = url(60).await.unwrap();
    let whole = http.get(good.uri()).send().await.unwrap();
    assert_eq!(whole.status(), 200);
    assert_eq!(whole.headers()["content-type"], "audio/wav");
    assert_eq!(whole.headers()["content-length"], "10");
    assert_eq!(whole.headers()["accept-ranges"], "bytes");
    assert_eq!(&*whole.bytes().await.unwrap(), b"0123456789");
    let part = http.get(good.uri()).header("range", "bytes=2-4").send().await.unwrap();
    assert_eq!(part.status(), 206);
    assert_eq!(part.headers()["content-range"], "bytes 2-4/10");
    assert_eq!(&*part.bytes().await.unwrap(), b"234");

    let download = s3
        .get_object()
        .bucket(BUCKET)
        .key(KEY)
        .response_content_disposition("attachment; filename=\"call.wav\"")
        .presigned(PresigningConfig::expires_in(Duration::from_secs(60)).unwrap());
    let download = http.get(download.await.unwrap().uri()).send().await.unwrap();
    assert_eq!(download.headers()["content-disposition"], "attachment; filename=\"call.wav\"");

    let forged = good.uri().replace(KEY, "other.wav");
    assert_eq!(http.get(forged).send().await.unwrap().status(), 403);
    let past = std::time::SystemTime::now() - Duration::from_secs(120);
    let expired = PresigningConfig::builder().start_time(past).expires_in(Duration::from_secs(60));
    let expired = s3.get_object().bucket(BUCKET).key(KEY).presigned(expired.build().unwrap());
    let expired = http.get(expired.await.unwrap().uri()).send().await.unwrap();
    assert_eq!(expired.status(), 403);
}

async fn upload_parts(s3: &Client, key: &str, parts: &[Vec<u8>]) -> (String, CompletedMultipartUpload) {
    let start = s3.create_multipart_upload().bucket(BUCKET).key(key).content_type("audio/wav");
    let upload = start.send().await.unwrap().upload_id.unwrap();
    let mut done = CompletedMultipartUpload::builder();
    for (number, part) in (1..).zip(parts) {
        let request = s3.upload_part().bucket(BUCKET).key(key).upload_id(&upload);
        let sent = request.part_number(number).body(part.clone().into()).send().await.unwrap();
        let part = CompletedPart::builder().part_number(number).e_tag(sent.e_tag.unwrap());
        done = done.parts(part.build());
    }
    (upload, done.build())
}

#[tokio::test]
async fn parts_become_one_object_also_over_an_older_one() {
    let World { s3, .. } = &world().await;
    put(s3, KEY, b"an older checkpoint with a checksum of its own").await;
    let parts = [vec![1u8; PART], vec![2u8; PART + 17], vec![3u8; 5]];
    let (upload, done) = upload_parts(s3, KEY, &parts).await;
    let complete = || {
        let request = s3.complete_multipart_upload().bucket(BUCKET).key(KEY);
        request.upload_id(&upload).multipart_upload(done.clone()).send()
    };
    complete().await.unwrap();
    assert_eq!(get(s3, KEY).await, parts.concat());
    let head = s3.head_object().bucket(BUCKET).key(KEY).send().await.unwrap();
    assert_eq!(head.content_type(), Some("audio/wav"));
    assert_eq!(complete().await.unwrap_err().code(), Some("NoSuchUpload"));
}

/// A body from a file can't be hashed before it is sent: it goes in chunks, with a trailer.
#[tokio::test]
async fn recordings_are_uploaded_from_their_files() {
    let World { s3, .. } = &world().await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("call.wav");
    let samples: Vec<u8> = (0..PART + 1_000_000).map(|n| (n * 7 / 3) as u8).collect();
    std::fs::write(&path, &samples).unwrap();
    let whole = ByteStream::from_path(&path).await.unwrap();
    let put = s3.put_object().bucket(BUCKET).key("whole.wav").body(whole);
    put.send().await.unwrap();
    assert_eq!(get(s3, "whole.wav").await, samples);

    let start = s3.create_multipart_upload().bucket(BUCKET).key("parts.wav");
    let upload = start.send().await.unwrap().upload_id.unwrap();
    let mut done = CompletedMultipartUpload::builder();
    for (number, offset) in [(1, 0), (2, PART)] {
        let length = PART.min(samples.len() - offset);
        let body = ByteStream::read_from().path(&path).offset(offset as u64);
        let body = body.length(aws_sdk_s3::primitives::Length::Exact(length as u64));
        let part = s3.upload_part().bucket(BUCKET).key("parts.wav");
        let part = part.upload_id(&upload).part_number(number);
        let sent = part.body(body.build().await.unwrap()).send().await.unwrap();
        let part = CompletedPart::builder().part_number(number);
        done = done.parts(part.e_tag(sent.e_tag.unwrap()).build());
    }
    let complete = s3.complete_multipart_upload().bucket(BUCKET).key("parts.wav");
    let complete = complete.upload_id(upload).multipart_upload(done.build());
    complete.send().await.unwrap();
    assert_eq!(get(s3, "parts.wav").await, samples);
}

#[tokio::test]
async fn objects_are_copied_and_deleted_together() {
    let World { s3, .. } = &world().await;
    put(s3, "a/1", b"one").await;
    let copy = s3.copy_object().bucket(BUCKET).key("b/2");
    copy.copy_source(format!("{BUCKET}/a/1")).send().await.unwrap();
    let copied = s3.get_object().bucket(BUCKET).key("b/2").send().await.unwrap();
    assert_eq!(copied.content_type(), Some("audio/wav"));
    let nothing = s3.copy_object().bucket(BUCKET).key("c");
    let nothing = nothing.copy_source(format!("{BUCKET}/a/9")).send().await;
    assert_eq!(nothing.unwrap_err().code(), Some("NoSuchKey"));

    let mut all = aws_sdk_s3::types::Delete::builder();
    for key in ["a/1", "b/2", "never"] {
        let object = aws_sdk_s3::types::ObjectIdentifier::builder().key(key);
        all = all.objects(object.build().unwrap());
    }
    let delete = s3.delete_objects().bucket(BUCKET).delete(all.build().unwrap());
    let deleted = delete.send().await.unwrap();
    assert_eq!((deleted.deleted().len(), deleted.errors().len()), (3, 0));
    let left = s3.list_objects_v2().bucket(BUCKET).send().await.unwrap();
    assert_eq!(left.key_count(), Some(0));
}

#[tokio::test]
async fn a_bad_list_of_parts_leaves_the_upload_as_it_was() {
    let World { s3, .. } = &world().await;
    let (upload, done) = upload_parts(s3, KEY, &[vec![1u8; 10], vec![2u8; 10]]).await;
    let complete = |done: CompletedMultipartUpload| {
        let request = s3.complete_multipart_upload().bucket(BUCKET).key(KEY);
        request.upload_id(&upload).multipart_upload(done).send()
    };
    let part = |number| CompletedPart::builder().part_number(number).e_tag("x").build();
    let parts = |numbers: &[i32]| {
        let parts = numbers.iter().map(|number| part(*number)).collect();
        CompletedMultipartUpload::builder().set_parts(Some(parts)).build()
    };
    let small = complete(done).await.unwrap_err();
    assert_eq!(small.code(), Some("EntityTooSmall"));
    let order = complete(parts(&[2, 1])).await.unwrap_err();
    assert_eq!(order.code(), Some("InvalidPartOrder"));
    let missing = complete(parts(&[1, 2, 3])).await.unwrap_err();
    assert_eq!(missing.code(), Some("EntityTooSmall"));
    let listed = s3.list_parts().bucket(BUCKET).key(KEY).upload_id(&upload);
    let listed = listed.send().await.unwrap();
    let numbers: Vec<_> = listed.parts().iter().filter_map(|part| part.part_number()).collect();
    assert_eq!(numbers, [1, 2]);

    let abort = || {
        let request = s3.abort_multipart_upload().bucket(BUCKET).key(KEY);
        request.upload_id(&upload).send()
    };
    abort().await.unwrap();
    let again = abort().await.unwrap_err().into_service_error();
    assert!(again.is_no_such_upload(), "{again:?}");
    let got = s3.get_object().bucket(BUCKET).key(KEY).send().await;
    assert!(got.unwrap_err().into_service_error().is_no_such_key());
}
