//! What one media frame costs each way: `cargo run --release -p ringfleet-dialect --example bench_frames [FRAMES]`.
//! Prints nanoseconds; nothing is asserted, since a busy machine would lie.

#![expect(clippy::print_stdout, reason = "a command whose output is its purpose")]
#![expect(clippy::unwrap_used, reason = "a command that stops at what it does not expect")]

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use dialect::{Command, Frame, Moment, Name, Out, Session, Settings};

#[expect(clippy::disallowed_methods, reason = "a benchmark reads the clock")]
fn clock() -> Instant {
    Instant::now()
}

fn main() {
    let frames: u32 = std::env::args().nth(1).and_then(|n| n.parse().ok()).unwrap_or(200_000);
    for (name, opening, media, bytes) in [
        (Name::Native, "in-01-connected-guide.json", "in-04-media.json", 320),
        (Name::Twilio, "in-02-start.json", "in-03-media.json", 160),
        (Name::Exotel, "in-02-start.json", "in-03-media.json", 3_200),
        (Name::Plivo, "in-01-start.json", "in-02-media.json", 160),
        (Name::Telnyx, "in-02-start.json", "in-04-media-2.json", 160),
    ] {
        let (mut session, mut out) =
            (Session::new(Settings { dialect: Some(name), ..Settings::default() }), Out::new());
        session.receive(at(0), fixture(name, opening), &mut out).unwrap();
        let Frame::Text(media) = fixture(name, media) else { continue };
        let inbound = measure(frames, |n| {
            // Telnyx numbers its messages; the others' are the same every time.
            let text =
                if name == Name::Telnyx { media.replace("\"2\"", &format!("\"{}\"", n + 2)) } else { media.clone() };
            session.receive(at(n), Frame::Text(text), &mut out).unwrap();
            out.events.clear();
        });
        let audio = vec![7; bytes];
        let outbound = measure(frames, |n| {
            session.command(at(n), Command::Audio(&audio), &mut out).unwrap();
            out.frames.clear();
        });
        println!(
            "{name:8} in {inbound:6.0} ns a message of {} bytes, out {outbound:6.0} ns a frame of {bytes} bytes",
            media.len()
        );
    }
}

fn at(n: u32) -> Moment {
    let since_open = Duration::from_millis(20) * n;
    Moment { since_open, wall: jiff::Timestamp::from_second(1_777_041_000).unwrap() + since_open }
}

fn fixture(name: Name, file: &str) -> Frame {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name.as_str()).join(file);
    Frame::Text(fs::read_to_string(path).unwrap())
}

/// Nanoseconds a turn.
fn measure(turns: u32, mut turn: impl FnMut(u32)) -> f64 {
    let started = clock();
    for n in 0..turns {
        turn(n);
    }
    started.elapsed().as_secs_f64() * 1e9 / f64::from(turns)
}
