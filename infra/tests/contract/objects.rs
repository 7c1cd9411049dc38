//! Objects: bytes, files, and URLs that work for a while.

use std::io::Write;
use std::time::Duration;

use bytes::Bytes;
use domain::ports::{Objects, StoreError};
use infra::s3::S3Objects;

use crate::world::{World, new_call_id, run};

fn objects(world: &World) -> S3Objects {
    S3Objects::new(world.clients.s3.clone(), &world.names)
}

fn new_key(name: &str) -> String {
    format!("calls/2026/11/22/{}/{name}", new_call_id())
}

#[test]
fn objects_come_and_go() {
    run(async |world| {
        let objects = objects(world);
        let key = new_key("record.json");
        assert_eq!(objects.get(&key).await.unwrap(), None);
        assert!(!objects.exists(&key).await.unwrap());
        for body in ["{}", "", "{\"second\":true}"] {
            objects.put(&key, "application/json", Bytes::from(body)).await.unwrap();
            assert_eq!(objects.get(&key).await.unwrap().unwrap(), body);
        }
        assert!(objects.exists(&key).await.unwrap());
        objects.delete(&key).await.unwrap();
        assert!(!objects.exists(&key).await.unwrap());
        objects.delete(&key).await.unwrap();
    });
}

#[test]
fn a_folder_is_listed_whole_and_alone() {
    run(async |world| {
        let objects = objects(world);
        let folder = new_key("");
        let mut keys: Vec<String> = (0..7).map(|number| format!("{folder}checkpoint-{number:05}.pcm")).collect();
        keys.push(format!("{folder}record.json"));
        for key in keys.iter().chain([&new_key("record.json"), &format!("{}x", folder.trim_end_matches('/'))]) {
            objects.put(key, "application/json", Bytes::from_static(b"{}")).await.unwrap();
        }
        let mut listed = objects.list(&folder).await.unwrap();
        listed.sort();
        assert_eq!(listed, keys);
        for key in keys {
            objects.delete(&key).await.unwrap();
        }
        assert!(objects.list(&folder).await.unwrap().is_empty());
    });
}

#[test]
fn a_presigned_url_is_read_without_credentials() {
    run(async |world| {
        let objects = objects(world);
        let key = new_key("recording.wav");
        objects.put(&key, "audio/wav", Bytes::from_static(b"RIFF")).await.unwrap();
        let url = objects.presign(&key, Duration::from_secs(60)).await.unwrap();
        let answer = reqwest::get(&url).await.unwrap();
        assert_eq!((answer.status().as_u16(), answer.headers()["content-type"].to_str().unwrap()), (200, "audio/wav"));
        assert_eq!(answer.bytes().await.unwrap(), "RIFF");
        let unsigned = reqwest::get(url.split('?').next().unwrap()).await.unwrap();
        assert_eq!(unsigned.status(), 403);
    });
}

#[test]
fn files_go_up_whole_small_and_large() {
    run(async |world| {
        let objects = objects(world);
        for size in [0, 1, 17 * 1024 * 1024 + 1] {
            let content: Vec<u8> =
                (0..size).map(|index: u32| (index.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
            let mut file = tempfile::NamedTempFile::new().unwrap();
            file.write_all(&content).unwrap();
            let key = new_key("recording.wav");
            objects.put_file(&key, "audio/wav", file.path()).await.unwrap();
            assert!(objects.get(&key).await.unwrap().unwrap() == content, "{size} bytes");
        }
        let missing = objects.put_file(&new_key("x"), "audio/wav", "/nonexistent/file".as_ref()).await;
        assert!(matches!(missing, Err(StoreError::Refused { .. })), "{missing:?}");
    });
}

#[test]
fn a_bucket_that_is_not_there_is_an_error_and_no_absence() {
    run(async |world| {
        let names = infra::config::NamesConfig { bucket: Some("rf-no-such-bucket".into()), ..Default::default() };
        let objects = S3Objects::new(world.clients.s3.clone(), &infra::schema::Names::new(&names));
        let got = objects.get("x").await;
        assert!(matches!(got, Err(StoreError::Refused { .. })), "{got:?}");
    });
}
