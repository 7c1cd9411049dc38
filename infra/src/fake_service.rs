//! A service of AWS that speaks JSON, in a few lines: for what no embedded service plays.
//! It must never be more than what a test says.

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::config::AwsConfig;

/// Serves `answer(operation, body)`, a status and a body, to one connection after the other; where it is found.
pub(crate) async fn serve(mut answer: impl FnMut(&str, &Value) -> (u16, Value) + Send + 'static) -> AwsConfig {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let Some((operation, body)) = request(&mut stream).await else { continue };
            let (status, answer) = answer(&operation, &body);
            let answer = answer.to_string();
            let head = format!(
                "HTTP/1.1 {status} X\r\ncontent-type: application/x-amz-json-1.1\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
                answer.len()
            );
            let _ = stream.write_all((head + &answer).as_bytes()).await;
        }
    });
    AwsConfig {
        endpoint: Some(endpoint),
        region: Some("eu-central-1".into()),
        access_key_id: Some("test".into()),
        secret_access_key: Some("test".into()),
    }
}

async fn request(stream: &mut TcpStream) -> Option<(String, Value)> {
    let mut seen = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&seen).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let header = |name: &str| {
                let mut lines = head.lines().filter_map(|line| line.split_once(": "));
                lines.find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.to_owned())
            };
            let length: usize = header("content-length")?.parse().ok()?;
            if body.len() >= length {
                let operation = header("x-amz-target")?.rsplit('.').next()?.to_owned();
                return Some((operation, serde_json::from_str(body).ok()?));
            }
        }
        let mut chunk = [0; 4096];
        let read @ 1.. = stream.read(&mut chunk).await.ok()? else { return None };
        seen.extend_from_slice(&chunk[..read]);
    }
}
