//! Ports that nobody uses. It must never give out one twice in a process.

use std::net::{TcpListener, UdpSocket};
use std::sync::atomic::{AtomicU16, Ordering};

use anyhow::{Result, bail};

/// Below the ephemeral ports, so that nobody gets one of ours by chance.
const FIRST: u16 = 12_000;
const LAST: u16 = 31_900;

static NEXT: AtomicU16 = AtomicU16::new(0);

/// The first of `count` free ports in a row, even.
///
/// # Errors
/// There is no such room.
pub fn block(count: u16) -> Result<u16> {
    let count = count.next_multiple_of(2);
    // Test processes that run side by side begin at different places.
    let start = (std::process::id() as u16).wrapping_mul(97) % (LAST - FIRST);
    let _ = NEXT.compare_exchange(0, FIRST + (start & !1), Ordering::Relaxed, Ordering::Relaxed);
    // At the end it goes on at the beginning, for whoever comes there first.
    let begin = |next: u16| if (FIRST..=LAST - count).contains(&next) { next } else { FIRST };
    for _ in 0..2000 {
        let before = NEXT.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |next| Some(begin(next) + count));
        let first = begin(before.unwrap_or(FIRST));
        if (first..first + count).all(is_free) {
            return Ok(first);
        }
    }
    bail!("no {count} free ports in a row between {FIRST} and {LAST}")
}

/// One free port.
///
/// # Errors
/// As [`block`].
pub fn one() -> Result<u16> {
    block(1)
}

/// Connections that a server on this machine holds at its port, its peers' ends not counted.
///
/// # Errors
/// The system does not tell.
pub fn held_at(port: u16) -> Result<usize> {
    const ESTABLISHED: &str = "01";
    const CLOSE_WAIT: &str = "08";
    let table = std::fs::read_to_string("/proc/net/tcp")?;
    let ours = format!(":{port:04X}");
    let is_held = |line: &&str| {
        let mut columns = line.split_whitespace().skip(1);
        let (local, state) = (columns.next().unwrap_or_default(), columns.nth(1).unwrap_or_default());
        local.ends_with(&ours) && [ESTABLISHED, CLOSE_WAIT].contains(&state)
    };
    Ok(table.lines().filter(is_held).count())
}

fn is_free(port: u16) -> bool {
    UdpSocket::bind(("127.0.0.1", port)).is_ok() && TcpListener::bind(("127.0.0.1", port)).is_ok()
}
