//! The machine that a fleet server runs on, as whoever runs the machine tells of it. It must never name a cloud.

use std::net::IpAddr;
use std::time::Duration;

/// Who a machine is and where it is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Of this machine and no other, ever.
    pub id: String,
    /// Within the private network.
    pub private: IpAddr,
    /// From the Internet, if it is reached from there.
    pub public: Option<IpAddr>,
}

/// What is to become of a machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    Stays,
    /// It goes: when its work is done, or after `within` whatever it does.
    Goes {
        within: Option<Duration>,
    },
}
