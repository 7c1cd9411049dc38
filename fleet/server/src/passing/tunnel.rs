//! Bytes from one connection to another and back, from the upgrade of both to the end of either.
//! It must never look into them, and never outlive its sockets by more than a moment.

use std::time::Duration;

use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, copy, split};

/// From our answer to both upgrades.
const UPGRADE: Duration = Duration::from_secs(10);
/// After one direction has ended, the other may say its last words.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// Waits for both upgrades, and carries until the end.
pub(super) async fn carry(near: OnUpgrade, far: OnUpgrade) {
    let upgraded = async { tokio::try_join!(near, far) };
    if let Ok(Ok((near, far))) = tokio::time::timeout(UPGRADE, upgraded).await {
        splice(near, far).await;
    }
}

async fn splice(near: Upgraded, far: Upgraded) {
    let (near_in, near_out) = split(TokioIo::new(near));
    let (far_in, far_out) = split(TokioIo::new(far));
    let there = one_way(near_in, far_out);
    let back = one_way(far_in, near_out);
    tokio::pin!(there, back);
    // A client that is simply gone never ends its direction: the one that is left must not wait for it.
    tokio::select! {
        () = &mut there => drop(tokio::time::timeout(LAST_WORDS, back).await),
        () = &mut back => drop(tokio::time::timeout(LAST_WORDS, there).await),
    }
}

async fn one_way(mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin) {
    // Whether it ended or broke is the same to whoever reads on.
    let _ = copy(&mut from, &mut to).await;
    let _ = to.shutdown().await;
}
