//! The dialects whose audio comes in binary messages, held against frames in files: frames in → events, commands → frames
//! out. Where each frame comes from is said in its folder's README.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod asterisk;
mod freeswitch;
mod genesys;
mod hostile;
mod jambonz;
mod raw;
mod talk;
mod vonage;
