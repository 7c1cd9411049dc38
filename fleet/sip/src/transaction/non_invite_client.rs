//! The non-INVITE client transaction (RFC 3261 §17.1.2).

use std::time::Duration;

use super::{Class, Output, Outputs, T1, T1_TIMES_64, T2, T4, Timer};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    /// Sent, nothing heard; the last Timer E took this long.
    Trying {
        e: Duration,
    },
    Proceeding,
    /// Answered; repeated responses are absorbed.
    Completed,
    Terminated,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NonInviteClient {
    pub(super) state: State,
    pub(super) reliable: bool,
}

impl NonInviteClient {
    pub(crate) fn start(reliable: bool) -> (Self, Outputs) {
        let machine = NonInviteClient { state: State::Trying { e: T1 }, reliable };
        let mut outputs = vec![Output::Send, Output::Arm(Timer::F, T1_TIMES_64)];
        if !reliable {
            outputs.push(Output::Arm(Timer::E, T1));
        }
        (machine, outputs)
    }

    pub(crate) fn on_response(&mut self, class: Class) -> Outputs {
        match (self.state, class) {
            (State::Trying { .. }, Class::Provisional) => {
                self.state = State::Proceeding;
                vec![Output::Pass]
            }
            (State::Proceeding, Class::Provisional) => vec![Output::Pass],
            (State::Trying { .. } | State::Proceeding, Class::Success | Class::Failure) => {
                let mut outputs = vec![Output::Disarm(Timer::E), Output::Disarm(Timer::F), Output::Pass];
                if self.reliable {
                    self.state = State::Terminated;
                    outputs.push(Output::Terminate);
                } else {
                    self.state = State::Completed;
                    outputs.push(Output::Arm(Timer::K, T4));
                }
                outputs
            }
            (State::Completed | State::Terminated, _) => vec![],
        }
    }

    pub(crate) fn on_timer(&mut self, timer: Timer) -> Outputs {
        match (self.state, timer) {
            (State::Trying { e }, Timer::E) => {
                let e = (e * 2).min(T2);
                self.state = State::Trying { e };
                vec![Output::Resend, Output::Arm(Timer::E, e)]
            }
            (State::Proceeding, Timer::E) => vec![Output::Resend, Output::Arm(Timer::E, T2)],
            (State::Trying { .. } | State::Proceeding, Timer::F) => {
                self.state = State::Terminated;
                vec![Output::TimedOut, Output::Terminate]
            }
            (State::Completed, Timer::K) => {
                self.state = State::Terminated;
                vec![Output::Terminate]
            }
            _ => vec![],
        }
    }
}
