//! The INVITE server transaction (RFC 3261 §17.2.1, RFC 6026 §7.1).

use std::time::Duration;

use super::{Class, Output, Outputs, T1, T1_TIMES_64, T2, T4, Timer};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    /// Not finally answered; a repeated INVITE gets the latest provisional response.
    Proceeding,
    /// A failure response is repeated until its ACK; the last Timer G took this long.
    Completed {
        g: Duration,
    },
    /// Acknowledged; repeated ACKs are absorbed.
    Confirmed,
    /// A 2xx was sent; its user repeats it, repeated INVITEs are absorbed.
    Accepted,
    Terminated,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct InviteServer {
    pub(super) state: State,
    pub(super) reliable: bool,
}

impl InviteServer {
    /// The user sends the 100 at once, so that no timer for it is needed.
    pub(crate) fn start(reliable: bool) -> Self {
        InviteServer { state: State::Proceeding, reliable }
    }

    /// The INVITE came again.
    pub(crate) fn on_request(&mut self) -> Outputs {
        match self.state {
            State::Proceeding | State::Completed { .. } => vec![Output::Resend],
            State::Confirmed | State::Accepted | State::Terminated => vec![],
        }
    }

    pub(crate) fn on_ack(&mut self) -> Outputs {
        match self.state {
            State::Completed { .. } => {
                let mut outputs = vec![Output::Disarm(Timer::G), Output::Disarm(Timer::H)];
                if self.reliable {
                    self.state = State::Terminated;
                    outputs.push(Output::Terminate);
                } else {
                    self.state = State::Confirmed;
                    outputs.push(Output::Arm(Timer::I, T4));
                }
                outputs
            }
            State::Accepted => vec![Output::Pass],
            State::Proceeding | State::Confirmed | State::Terminated => vec![],
        }
    }

    /// The user answers.
    pub(crate) fn respond(&mut self, class: Class) -> Outputs {
        match (self.state, class) {
            (State::Proceeding, Class::Provisional) => vec![Output::Send],
            (State::Proceeding, Class::Success) => {
                self.state = State::Accepted;
                vec![Output::Send, Output::Arm(Timer::L, T1_TIMES_64)]
            }
            (State::Proceeding, Class::Failure) => {
                self.state = State::Completed { g: T1 };
                let mut outputs = vec![Output::Send, Output::Arm(Timer::H, T1_TIMES_64)];
                if !self.reliable {
                    outputs.push(Output::Arm(Timer::G, T1));
                }
                outputs
            }
            _ => vec![],
        }
    }

    pub(crate) fn on_timer(&mut self, timer: Timer) -> Outputs {
        match (self.state, timer) {
            (State::Completed { g }, Timer::G) => {
                let g = (g * 2).min(T2);
                self.state = State::Completed { g };
                vec![Output::Resend, Output::Arm(Timer::G, g)]
            }
            (State::Completed { .. }, Timer::H) => {
                self.state = State::Terminated;
                vec![Output::TimedOut, Output::Terminate]
            }
            (State::Confirmed, Timer::I) | (State::Accepted, Timer::L) => {
                self.state = State::Terminated;
                vec![Output::Terminate]
            }
            _ => vec![],
        }
    }
}
