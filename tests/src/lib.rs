//! What the end-to-end tests share: processes of ours, peers that nobody here wrote, and what they saw.
//! It must never reach into the product's insides: only its binaries, its ports and its files.

pub mod api;
pub mod audio;
pub mod aws;
pub mod baresip;
pub mod binaries;
pub mod carrier;
pub mod cluster;
pub mod crm;
pub mod desk;
pub mod dice;
pub mod digest;
pub mod ears;
pub mod ec2;
pub mod fault;
pub mod gate;
pub mod history;
pub mod platform;
pub mod ports;
pub mod process;
pub mod sipp;
pub mod still;
pub mod subjects;
pub mod tools;
pub mod wait;
pub mod wav;
pub mod ws;
