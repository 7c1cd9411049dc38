//! What was acknowledged is there after kill -9: a real process, really killed.

use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use aws_sdk_dynamodb::types::AttributeValue;
use local::embedded::start;

use super::dynamodb::create_table;
use super::{SECRET_KEY, config, s3_client, sdk};

const FOLDER: &str = "RINGFLEET_TEST_FOLDER";

/// Serves `FOLDER` until it is killed, or its parent is gone; the test below runs it in a process
/// of its own.
#[tokio::test]
#[ignore = "the child process of `acknowledged_writes_survive_kill_9`"]
async fn serve_until_killed() {
    let Ok(folder) = std::env::var(FOLDER) else {
        return;
    };
    let aws = start(config(Path::new(&folder))).await.unwrap();
    // Not println: the harness would keep it to itself.
    writeln!(std::io::stdout(), "\nendpoint={}", aws.endpoint).unwrap();
    let parent_is_gone = || std::io::stdin().read_to_end(&mut Vec::new());
    tokio::task::spawn_blocking(parent_is_gone).await.unwrap().unwrap();
}

struct Server {
    process: Child,
    endpoint: String,
}

impl Server {
    fn spawn(folder: &Path) -> Self {
        let mut process = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "--ignored", "--nocapture"])
            .arg("embedded::durability::serve_until_killed")
            .env(FOLDER, folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let output = BufReader::new(process.stdout.take().unwrap());
        let endpoint = output
            .lines()
            .map_while(Result::ok)
            .find_map(|line| line.strip_prefix("endpoint=").map(str::to_owned))
            .expect("the child says where it listens");
        Self { process, endpoint }
    }
}

impl Drop for Server {
    /// kill -9, also when the test fails half-way.
    fn drop(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

#[tokio::test]
async fn acknowledged_writes_survive_kill_9() {
    let folder = tempfile::tempdir().unwrap();
    let row = |n: u32| AttributeValue::S(format!("row-{n}"));

    let server = Server::spawn(folder.path());
    let sdk1 = sdk(&server.endpoint, SECRET_KEY).await;
    let (dynamodb, s3) = (aws_sdk_dynamodb::Client::new(&sdk1), s3_client(&sdk1));
    let sqs = aws_sdk_sqs::Client::new(&sdk1);
    create_table(&dynamodb, "calls").await;
    s3.create_bucket().bucket("recordings").send().await.unwrap();
    sqs.create_queue().queue_name("q").send().await.unwrap();
    for n in 0..50 {
        let put = dynamodb.put_item().table_name("calls").item("pk", row(n));
        put.item("sk", row(n)).send().await.unwrap();
        let key = format!("calls/{n}.wav");
        let put = s3.put_object().bucket("recordings").key(key).content_type("audio/wav");
        put.body(vec![n as u8; 10_000].into()).send().await.unwrap();
    }
    // And while others are still being written.
    let busy = tokio::spawn(async move {
        for n in 50.. {
            let put = dynamodb.put_item().table_name("calls").item("pk", row(n));
            if put.item("sk", row(n)).send().await.is_err() {
                return n;
            }
        }
        0
    });
    tokio::task::yield_now().await;
    drop(server);
    let unacknowledged = busy.await.unwrap();

    let server = Server::spawn(folder.path());
    let sdk2 = sdk(&server.endpoint, SECRET_KEY).await;
    let (dynamodb, s3) = (aws_sdk_dynamodb::Client::new(&sdk2), s3_client(&sdk2));
    for n in 0..unacknowledged {
        let get = dynamodb.get_item().table_name("calls").key("pk", row(n));
        let got = get.key("sk", row(n)).consistent_read(true).send().await.unwrap();
        assert!(got.item().is_some(), "row {n} of {unacknowledged}");
    }
    for n in 0..50 {
        let get = s3.get_object().bucket("recordings").key(format!("calls/{n}.wav"));
        let got = get.send().await.unwrap();
        assert_eq!(got.content_type(), Some("audio/wav"));
        assert_eq!(&*got.body.collect().await.unwrap().to_vec(), [n; 10_000]);
    }
    let sqs = aws_sdk_sqs::Client::new(&sdk2);
    let queues = sqs.list_queues().send().await.unwrap();
    assert!(queues.queue_urls().is_empty(), "queues are in memory, by design");
}

/// A kill between an object's bytes and what lies beside them leaves hidden files of an older
/// object: the bytes must be readable all the same.
#[tokio::test]
async fn an_interrupted_overwrite_can_be_read() {
    let folder = tempfile::tempdir().unwrap();
    let aws = start(config(folder.path())).await.unwrap();
    let s3 = s3_client(&sdk(&aws.endpoint, SECRET_KEY).await);
    s3.create_bucket().bucket("recordings").send().await.unwrap();
    let put = s3.put_object().bucket("recordings").key("a/b.wav");
    put.body(b"first".to_vec().into()).send().await.unwrap();
    std::fs::write(folder.path().join("s3/recordings/a/b.wav"), b"second one").unwrap();
    let got = s3.get_object().bucket("recordings").key("a/b.wav").send().await.unwrap();
    assert_eq!(&*got.body.collect().await.unwrap().to_vec(), b"second one");
    aws.stop().await;
}
