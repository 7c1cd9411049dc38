//! One call's audio, sans-IO: RTP or plain samples in, 20 ms frames and RTP or plain samples out, a stereo recording
//! beside it.
//!
//! [`Stream`] is what a media thread drives for each call by RTP, [`socket::SocketStream`] for each call whose leg
//! carries samples; [`desk::Desk`] is what both have in common. The other modules are their parts and
//! the detectors that a call task runs on the frames: VAD, tones, echo comparison, resampling.
//!
//! This crate must never read a clock, draw a random number, open a socket or a file, or spawn:
//! time, seeds and bytes are arguments. Per packet and per tick nothing is allocated and nothing
//! is locked.

#![forbid(unsafe_code)]

pub mod cidr;
pub mod codec;
pub mod conceal;
pub mod desk;
pub mod dtmf;
pub mod echo;
pub mod jitter;
pub mod latch;
pub mod pacer;
mod pitch;
pub mod playout;
pub mod recorder;
pub mod resample;
pub mod rtp;
pub mod sequence;
pub mod socket;
pub mod stream;
pub mod tone;
pub mod vad;
pub mod wav;

#[cfg(test)]
mod test_support;

pub use cidr::Cidr;
pub use codec::Codec;
pub use jitter::FarFrame;
pub use playout::Clip;
pub use recorder::Block;
pub use rtp::MAX_PACKET;
pub use stream::{Direction, Remote, Stream, StreamConfig, StreamEvent, StreamStats, Tick};

/// Samples a second of every narrowband stream of this crate.
pub const SAMPLE_RATE: u32 = 8000;

/// Samples of one 20 ms frame at [`SAMPLE_RATE`].
pub const FRAME_SAMPLES: usize = 160;

/// The length of one frame.
pub const FRAME: std::time::Duration = std::time::Duration::from_millis(20);
