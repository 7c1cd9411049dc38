//! What one tick of one call costs: `cargo run --release -p ringfleet-media --example bench_stream [CALLS]`.
//! Prints microseconds; nothing is asserted, since a busy machine would lie.

#![expect(clippy::print_stdout, reason = "a command whose output is its purpose")]

use media::codec::Codec;
use media::rtp::{HEADER, Header};
use media::socket::SocketStream;
use media::{Clip, FRAME, FRAME_SAMPLES, MAX_PACKET, Remote, Stream, StreamConfig};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

const SECONDS: usize = 10;

#[expect(clippy::disallowed_methods, reason = "a benchmark reads the clock")]
fn clock() -> Instant {
    Instant::now()
}

fn main() {
    let calls: usize = std::env::args().nth(1).and_then(|n| n.parse().ok()).unwrap_or(1000);
    for (name, loss, encoded) in [
        ("clean, encoded loop", 0, true),
        ("clean, encoded while sent", 0, false),
        ("5 % loss, encoded loop", 20, true),
    ] {
        tell(name, run(calls, loss, encoded));
    }
    tell("socket", run_sockets(calls));
}

fn tell(name: &str, (receive, tick): (f64, f64)) {
    let total = receive + tick;
    let room = 1_000_000.0 / 50.0 / total;
    println!(
        "{name:28} receive {receive:.2} us + tick {tick:.2} us = {total:.2} us: {room:.0} calls a core without I/O"
    );
}

/// The same of calls whose leg carries samples.
fn run_sockets(calls: usize) -> (f64, f64) {
    let start = clock();
    let tone: Vec<i16> = (0..8000).map(|n| (8000.0 * (std::f32::consts::TAU * n as f32 / 8.0).sin()) as i16).collect();
    let clip = Clip::new(tone.clone());
    let mut streams: Vec<SocketStream> = (0..calls)
        .map(|_| {
            let mut stream = SocketStream::new(start);
            stream.desk.start_recording();
            stream.desk.set_background(Some(clip.clone()));
            stream
        })
        .collect();
    let (mut receiving, mut ticking) = (Duration::ZERO, Duration::ZERO);
    let mut far = [0; FRAME_SAMPLES];
    let frames = SECONDS * 50;
    for frame in 0..frames {
        let now = start + FRAME * frame as u32;
        let began = clock();
        for stream in &mut streams {
            stream.hear(now, &tone[..FRAME_SAMPLES]);
        }
        let received = clock();
        for stream in &mut streams {
            stream.tick(now, &mut far);
            while let Some(block) = stream.desk.poll_recording() {
                stream.desk.recycle_recording(block);
            }
        }
        ticking += clock() - received;
        receiving += received - began;
    }
    let each = |time: Duration| time.as_secs_f64() * 1e6 / (calls * frames) as f64;
    (each(receiving), each(ticking))
}

/// Microseconds per packet received and per tick, of so many calls in turn, as a media thread has it.
fn run(calls: usize, lose_every: usize, encoded: bool) -> (f64, f64) {
    let start = clock();
    let address: SocketAddr = ([127, 0, 0, 1], 4000).into();
    let tone: Vec<i16> = (0..8000).map(|n| (8000.0 * (std::f32::consts::TAU * n as f32 / 8.0).sin()) as i16).collect();
    let clip = if encoded { Clip::encoded(tone, Codec::Pcmu) } else { Clip::new(tone) };
    let mut streams: Vec<Stream> = (0..calls)
        .map(|n| {
            let config = StreamConfig {
                remote: Remote::new(address, Codec::Pcmu),
                media_cidrs: Vec::new(),
                ssrc: n as u32,
                first_sequence: 0,
                first_timestamp: 0,
                record: true,
            };
            let mut stream = Stream::new(start, config);
            stream.desk.set_background(Some(clip.clone()));
            stream
        })
        .collect();
    let (mut receiving, mut ticking) = (Duration::ZERO, Duration::ZERO);
    let mut far = [0; FRAME_SAMPLES];
    let mut packet = [0; MAX_PACKET];
    let frames = SECONDS * 50;
    for frame in 0..frames {
        let now = start + FRAME * frame as u32;
        let mut incoming = [0x35; MAX_PACKET];
        for (n, byte) in incoming[HEADER..].iter_mut().enumerate() {
            *byte = 0x20 + (n % 37) as u8 + if n % 2 == 0 { 0x80 } else { 0 };
        }
        let header =
            Header { marker: false, payload_type: 0, sequence: frame as u16, timestamp: frame as u32 * 160, ssrc: 9 };
        header.write(&mut incoming);
        // As a media thread does it: first all that has come, then all that is due.
        let began = clock();
        for (n, stream) in streams.iter_mut().enumerate() {
            if lose_every == 0 || (frame + n) % lose_every != 0 {
                stream.handle_rtp(now, address, &incoming[..HEADER + FRAME_SAMPLES]);
            }
        }
        let received = clock();
        for stream in &mut streams {
            stream.tick(now, &mut far, &mut packet);
            while let Some(block) = stream.desk.poll_recording() {
                stream.desk.recycle_recording(block);
            }
        }
        ticking += clock() - received;
        receiving += received - began;
    }
    let each = |time: Duration| time.as_secs_f64() * 1e6 / (calls * frames) as f64;
    (each(receiving), each(ticking))
}
