//! The whole platform in one process: the quick start, and what the end-to-end tests start.
//! It only wires: what a service does lives in the other crates.

pub mod cli;
pub mod demo;
pub mod embedded;
pub mod phone;
pub mod platform;
pub mod settings;
