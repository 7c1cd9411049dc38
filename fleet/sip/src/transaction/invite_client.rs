//! The INVITE client transaction (RFC 3261 §17.1.1, RFC 6026 §7.2).

use std::time::Duration;

use super::{Class, Output, Outputs, T1, T1_TIMES_64, Timer};

/// RFC 3261 asks for at least 32 s over unreliable transports.
const TIMER_D: Duration = Duration::from_secs(32);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    /// Sent, nothing heard; the next Timer A takes this long.
    Calling {
        a: Duration,
    },
    Proceeding,
    /// A failure response was acknowledged; its repetitions are too.
    Completed,
    /// A 2xx came; further ones, of other forks as well, go to the user.
    Accepted,
    Terminated,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct InviteClient {
    pub(super) state: State,
    pub(super) reliable: bool,
}

impl InviteClient {
    pub(crate) fn start(reliable: bool) -> (Self, Outputs) {
        let machine = InviteClient { state: State::Calling { a: T1 }, reliable };
        let mut outputs = vec![Output::Send, Output::Arm(Timer::B, T1_TIMES_64)];
        if !reliable {
            outputs.push(Output::Arm(Timer::A, T1));
        }
        (machine, outputs)
    }

    pub(crate) fn on_response(&mut self, class: Class) -> Outputs {
        match (self.state, class) {
            (State::Calling { .. }, Class::Provisional) => {
                self.state = State::Proceeding;
                vec![Output::Disarm(Timer::A), Output::Disarm(Timer::B), Output::Pass]
            }
            (State::Proceeding, Class::Provisional) => vec![Output::Pass],
            (State::Calling { .. } | State::Proceeding, Class::Success) => {
                self.state = State::Accepted;
                vec![
                    Output::Disarm(Timer::A),
                    Output::Disarm(Timer::B),
                    Output::Arm(Timer::M, T1_TIMES_64),
                    Output::Pass,
                ]
            }
            (State::Calling { .. } | State::Proceeding, Class::Failure) => {
                let mut outputs = vec![Output::Disarm(Timer::A), Output::Disarm(Timer::B), Output::Ack, Output::Pass];
                if self.reliable {
                    self.state = State::Terminated;
                    outputs.push(Output::Terminate);
                } else {
                    self.state = State::Completed;
                    outputs.push(Output::Arm(Timer::D, TIMER_D));
                }
                outputs
            }
            (State::Completed, Class::Failure) => vec![Output::Ack],
            (State::Accepted, Class::Success) => vec![Output::Pass],
            (State::Completed | State::Accepted | State::Terminated, _) => vec![],
        }
    }

    pub(crate) fn on_timer(&mut self, timer: Timer) -> Outputs {
        match (self.state, timer) {
            (State::Calling { a }, Timer::A) => {
                let a = a * 2;
                self.state = State::Calling { a };
                vec![Output::Resend, Output::Arm(Timer::A, a)]
            }
            (State::Calling { .. }, Timer::B) => {
                self.state = State::Terminated;
                vec![Output::TimedOut, Output::Terminate]
            }
            (State::Completed, Timer::D) | (State::Accepted, Timer::M) => {
                self.state = State::Terminated;
                vec![Output::Terminate]
            }
            _ => vec![],
        }
    }
}
