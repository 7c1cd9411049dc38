//! Whether Docker is there: a socket that answers, and nothing else. A program called `docker` says nothing.

use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::time::timeout;

const USUAL: &str = "/var/run/docker.sock";
const PATIENCE: Duration = Duration::from_secs(5);
const PING: &[u8] = b"GET /_ping HTTP/1.1\r\nHost: docker\r\nConnection: close\r\n\r\n";

/// The socket that Docker's clients would use.
///
/// # Errors
/// `DOCKER_HOST` leads to another machine: containers there can't be reached on loopback.
pub(crate) fn socket() -> Result<PathBuf, String> {
    match std::env::var("DOCKER_HOST") {
        Ok(host) => match host.strip_prefix("unix://") {
            Some(path) => Ok(path.into()),
            None => Err(format!("DOCKER_HOST is {host}, which is no socket of this machine")),
        },
        Err(_) => Ok(USUAL.into()),
    }
}

/// Asks a socket for a sign of life.
///
/// # Errors
/// Why there is none.
pub(crate) async fn answers(socket: &Path) -> Result<(), String> {
    let ask = async {
        let mut stream = UnixStream::connect(socket).await?;
        stream.write_all(PING).await?;
        let mut answer = String::new();
        stream.take(4096).read_to_string(&mut answer).await?;
        Ok::<_, std::io::Error>(answer)
    };
    let place = socket.display();
    match timeout(PATIENCE, ask).await {
        Ok(Ok(answer)) if answer.starts_with("HTTP/1.1 200") => Ok(()),
        Ok(Ok(answer)) => Err(format!("{place} answers {:?}", answer.lines().next().unwrap_or_default())),
        Ok(Err(error)) => Err(format!("{place}: {error}")),
        Err(_) => Err(format!("{place} does not answer")),
    }
}

#[tokio::test(start_paused = true)]
async fn docker_is_where_a_socket_answers() {
    let folder = tempfile::tempdir().unwrap();
    let missing = answers(&folder.path().join("none")).await.unwrap_err();
    assert!(missing.contains("No such file"), "{missing}");
    for (name, said, wanted) in [
        ("docker", Some("HTTP/1.1 200 OK\r\n\r\nOK"), Ok(())),
        ("broken", Some("HTTP/1.1 500 Internal Server Error\r\n\r\n"), Err("answers \"HTTP/1.1 500")),
        ("foreign", Some("220 mail.example.com\r\n"), Err("answers \"220")),
        ("silent", None, Err("does not answer")),
    ] {
        let path = folder.path().join(name);
        let listener = tokio::net::UnixListener::bind(&path).unwrap();
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            stream.read_exact(&mut [0; PING.len()]).await.unwrap();
            match said {
                Some(text) => stream.write_all(text.as_bytes()).await.unwrap(),
                None => std::future::pending().await,
            }
        });
        match (answers(&path).await, wanted) {
            (Ok(()), Ok(())) => {}
            (Err(said), Err(wanted)) => assert!(said.contains(wanted), "{name}: {said}"),
            (got, wanted) => panic!("{name}: {got:?} and not {wanted:?}"),
        }
    }
}
