//! A TCP proxy that can fall silent: from then on no byte passes either way, and both connections stay open, as when a
//! network swallows packets. It must never close a connection by itself.

use std::net::SocketAddr;

use anyhow::Result;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// The running proxy.
#[derive(Debug)]
pub struct BlackHole {
    pub address: SocketAddr,
    silent: watch::Sender<bool>,
    serving: JoinHandle<()>,
}

impl BlackHole {
    /// # Errors
    /// No port can be had.
    pub async fn start(upstream: String) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let (silent, seen) = watch::channel(false);
        let serving = tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                let Ok(far) = TcpStream::connect(&upstream).await else { continue };
                let (near_in, near_out) = near.into_split();
                let (far_in, far_out) = far.into_split();
                tokio::spawn(pass(near_in, far_out, seen.clone()));
                tokio::spawn(pass(far_in, near_out, seen.clone()));
            }
        });
        Ok(Self { address, silent, serving })
    }

    /// Swallows everything from now on.
    pub fn fall_silent(&self) {
        self.silent.send_replace(true);
    }
}

impl Drop for BlackHole {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn pass(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut silent: watch::Receiver<bool>) {
    let mut bytes = [0; 4096];
    loop {
        let read = tokio::select! {
            read = from.read(&mut bytes) => read,
            _ = silent.wait_for(|silent| *silent) => break,
        };
        match read {
            Ok(count) if count > 0 && to.write_all(&bytes[..count]).await.is_ok() => {}
            _ => return,
        }
    }
    // Both ends are held open until the proxy goes: its sender is dropped with it.
    let _ = silent.wait_for(|silent| !*silent).await;
    drop((from, to));
}
