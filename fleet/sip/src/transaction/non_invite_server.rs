//! The non-INVITE server transaction (RFC 3261 §17.2.2).

use super::{Class, Output, Outputs, T1_TIMES_64, Timer};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    /// Not answered at all; a repeated request is dropped.
    Trying,
    Proceeding,
    /// Finally answered; a repeated request gets the same response.
    Completed,
    Terminated,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NonInviteServer {
    pub(super) state: State,
    pub(super) reliable: bool,
}

impl NonInviteServer {
    pub(crate) fn start(reliable: bool) -> Self {
        NonInviteServer { state: State::Trying, reliable }
    }

    /// The request came again.
    pub(crate) fn on_request(&mut self) -> Outputs {
        match self.state {
            State::Proceeding | State::Completed => vec![Output::Resend],
            State::Trying | State::Terminated => vec![],
        }
    }

    /// The user answers.
    pub(crate) fn respond(&mut self, class: Class) -> Outputs {
        match (self.state, class) {
            (State::Trying | State::Proceeding, Class::Provisional) => {
                self.state = State::Proceeding;
                vec![Output::Send]
            }
            (State::Trying | State::Proceeding, Class::Success | Class::Failure) => {
                if self.reliable {
                    self.state = State::Terminated;
                    vec![Output::Send, Output::Terminate]
                } else {
                    self.state = State::Completed;
                    vec![Output::Send, Output::Arm(Timer::J, T1_TIMES_64)]
                }
            }
            (State::Completed | State::Terminated, _) => vec![],
        }
    }

    pub(crate) fn on_timer(&mut self, timer: Timer) -> Outputs {
        match (self.state, timer) {
            (State::Completed, Timer::J) => {
                self.state = State::Terminated;
                vec![Output::Terminate]
            }
            _ => vec![],
        }
    }
}
