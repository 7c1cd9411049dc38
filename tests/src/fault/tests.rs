//! The proxy against a server that counts what reaches it.

use std::sync::atomic::{AtomicU64, Ordering};

use axum::Router;
use axum::routing::any;
use serde_json::json;

use super::*;

struct World {
    proxy: Proxy,
    acted: Arc<AtomicU64>,
    client: reqwest::Client,
}

async fn world() -> World {
    let acted = Arc::new(AtomicU64::new(0));
    let counted = acted.clone();
    let echo = move |body: bytes::Bytes| {
        counted.fetch_add(1, Ordering::SeqCst);
        async move { body }
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let upstream = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, Router::new().fallback(any(echo))).await });
    let proxy = Proxy::start("test", upstream, Dice::new(1), &History::default()).await.unwrap();
    World { proxy, acted, client: reqwest::Client::builder().no_proxy().build().unwrap() }
}

impl World {
    async fn ask(&self) -> Result<(u16, String), reqwest::Error> {
        let answer = self.client.post(format!("http://{}/calls/x", self.proxy.address)).body("hello").send().await?;
        Ok((answer.status().as_u16(), answer.text().await?))
    }
}

#[tokio::test]
async fn each_fault_does_what_it_says() {
    let check = async |weather: Weather, status: Option<u16>, acts: u64| {
        let world = world().await;
        world.proxy.set(weather);
        let answer = world.ask().await;
        assert_eq!(answer.ok().map(|(status, _)| status), status, "{weather:?}");
        assert_eq!(world.acted.load(Ordering::SeqCst), acts, "{weather:?}");
    };
    check(Weather::default(), Some(200), 1).await;
    check(Weather { late: 1000, longest: Duration::from_millis(20), ..Weather::default() }, Some(200), 1).await;
    check(Weather { refused: 1000, ..Weather::default() }, Some(500), 0).await;
    check(Weather { cut_before: 1000, ..Weather::default() }, None, 0).await;
    check(Weather { cut_after: 1000, ..Weather::default() }, None, 1).await;
    check(Weather { refused: 1000, only: Some("S3"), ..Weather::default() }, Some(200), 1).await;
}

#[tokio::test]
async fn what_passes_is_unchanged_and_counted() {
    let world = world().await;
    for _ in 0..3 {
        assert_eq!(world.ask().await.unwrap(), (200, "hello".to_owned()));
    }
    assert_eq!(world.proxy.passed("POST /calls"), 3);
}

#[test]
fn a_queue_repeats_and_reorders_and_loses_nothing() {
    let mut shuffler = Shuffler::default();
    let mut dice = Dice::new(3);
    let request = serde_json::to_vec(&json!({"QueueUrl": "q", "MaxNumberOfMessages": 10})).unwrap();
    let mut seen = BTreeMap::new();
    for round in 0..20 {
        let messages: Vec<_> =
            (0..if round < 10 { 3 } else { 0 }).map(|n| json!({"MessageId": round * 3 + n})).collect();
        let answer = serde_json::to_vec(&json!({"Messages": messages})).unwrap();
        let given = shuffler.shuffle(&request, &answer, 300, 300, &mut dice).unwrap();
        let given: serde_json::Value = serde_json::from_slice(&given).unwrap();
        for message in given["Messages"].as_array().unwrap() {
            *seen.entry(message["MessageId"].as_i64().unwrap()).or_insert(0) += 1;
        }
    }
    assert_eq!(seen.keys().copied().collect::<Vec<_>>(), (0..30).collect::<Vec<_>>());
    assert!(seen.values().any(|times| *times == 2), "{seen:?}");
    assert!(shuffler.is_empty());
}
