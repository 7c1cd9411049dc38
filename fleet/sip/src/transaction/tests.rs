//! The machines as tables: (state, input) → (state, outputs). Every row is an arrow of a figure in RFC 3261 or RFC 6026.

use std::time::Duration;

use super::Class::{Failure, Provisional, Success};
use super::Output::{Ack, Arm, Disarm, Pass, Resend, Send, Terminate, TimedOut};
use super::*;

const LONG: Duration = T1_TIMES_64;

const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

mod invite_client_machine {
    use super::super::invite_client::State::{self, Accepted, Calling, Completed, Proceeding, Terminated};
    use super::*;

    enum Input {
        Response(Class),
        Fires(Timer),
    }
    use Input::{Fires, Response};

    #[track_caller]
    fn row(state: State, reliable: bool, input: Input, next: State, outputs: &[Output]) {
        let mut machine = InviteClient { state, reliable };
        let found = match input {
            Response(class) => machine.on_response(class),
            Fires(timer) => machine.on_timer(timer),
        };
        assert_eq!((machine.state, found.as_slice()), (next, outputs));
    }

    const CALLING: State = Calling { a: ms(500) };

    #[test]
    fn start() {
        let (machine, outputs) = InviteClient::start(false);
        assert_eq!(machine.state, CALLING);
        assert_eq!(outputs, [Send, Arm(Timer::B, LONG), Arm(Timer::A, T1)]);
        assert_eq!(InviteClient::start(true).1, [Send, Arm(Timer::B, LONG)]);
    }

    #[test]
    fn rows() {
        let stop = [Disarm(Timer::A), Disarm(Timer::B)];
        let stop_and = |more: &[Output]| [&stop[..], more].concat();
        row(CALLING, false, Fires(Timer::A), Calling { a: ms(1000) }, &[Resend, Arm(Timer::A, ms(1000))]);
        // Timer A doubles without a bound.
        row(
            Calling { a: ms(8000) },
            false,
            Fires(Timer::A),
            Calling { a: ms(16000) },
            &[Resend, Arm(Timer::A, ms(16000))],
        );
        row(CALLING, false, Fires(Timer::B), Terminated, &[TimedOut, Terminate]);
        row(CALLING, false, Response(Provisional), Proceeding, &stop_and(&[Pass]));
        row(CALLING, false, Response(Success), Accepted, &stop_and(&[Arm(Timer::M, LONG), Pass]));
        row(CALLING, false, Response(Failure), Completed, &stop_and(&[Ack, Pass, Arm(Timer::D, LONG)]));
        row(CALLING, true, Response(Failure), Terminated, &stop_and(&[Ack, Pass, Terminate]));
        row(Proceeding, false, Response(Provisional), Proceeding, &[Pass]);
        row(Proceeding, false, Response(Success), Accepted, &stop_and(&[Arm(Timer::M, LONG), Pass]));
        row(Proceeding, false, Response(Failure), Completed, &stop_and(&[Ack, Pass, Arm(Timer::D, LONG)]));
        // Once something came, the ring timeout is the caller's business.
        row(Proceeding, false, Fires(Timer::B), Proceeding, &[]);
        row(Proceeding, false, Fires(Timer::A), Proceeding, &[]);
        row(Completed, false, Response(Failure), Completed, &[Ack]);
        row(Completed, false, Response(Success), Completed, &[]);
        row(Completed, false, Response(Provisional), Completed, &[]);
        row(Completed, false, Fires(Timer::D), Terminated, &[Terminate]);
        row(Accepted, false, Response(Success), Accepted, &[Pass]);
        row(Accepted, false, Response(Failure), Accepted, &[]);
        row(Accepted, false, Response(Provisional), Accepted, &[]);
        row(Accepted, false, Fires(Timer::M), Terminated, &[Terminate]);
    }
}

mod non_invite_client_machine {
    use super::super::non_invite_client::State::{self, Completed, Proceeding, Terminated, Trying};
    use super::*;

    enum Input {
        Response(Class),
        Fires(Timer),
    }
    use Input::{Fires, Response};

    #[track_caller]
    fn row(state: State, reliable: bool, input: Input, next: State, outputs: &[Output]) {
        let mut machine = NonInviteClient { state, reliable };
        let found = match input {
            Response(class) => machine.on_response(class),
            Fires(timer) => machine.on_timer(timer),
        };
        assert_eq!((machine.state, found.as_slice()), (next, outputs));
    }

    #[test]
    fn rows() {
        let (machine, outputs) = NonInviteClient::start(false);
        assert_eq!(machine.state, Trying { e: T1 });
        assert_eq!(outputs, [Send, Arm(Timer::F, LONG), Arm(Timer::E, T1)]);
        let trying = Trying { e: T1 };
        let done = [Disarm(Timer::E), Disarm(Timer::F), Pass, Arm(Timer::K, T4)];
        row(trying, false, Fires(Timer::E), Trying { e: ms(1000) }, &[Resend, Arm(Timer::E, ms(1000))]);
        row(Trying { e: ms(2000) }, false, Fires(Timer::E), Trying { e: T2 }, &[Resend, Arm(Timer::E, T2)]);
        row(Trying { e: T2 }, false, Fires(Timer::E), Trying { e: T2 }, &[Resend, Arm(Timer::E, T2)]);
        row(trying, false, Fires(Timer::F), Terminated, &[TimedOut, Terminate]);
        row(trying, false, Response(Provisional), Proceeding, &[Pass]);
        row(trying, false, Response(Success), Completed, &done);
        row(trying, false, Response(Failure), Completed, &done);
        row(trying, true, Response(Success), Terminated, &[Disarm(Timer::E), Disarm(Timer::F), Pass, Terminate]);
        row(Proceeding, false, Fires(Timer::E), Proceeding, &[Resend, Arm(Timer::E, T2)]);
        row(Proceeding, false, Fires(Timer::F), Terminated, &[TimedOut, Terminate]);
        row(Proceeding, false, Response(Failure), Completed, &done);
        row(Completed, false, Response(Success), Completed, &[]);
        row(Completed, false, Fires(Timer::K), Terminated, &[Terminate]);
        row(Completed, false, Fires(Timer::F), Completed, &[]);
    }
}

mod invite_server_machine {
    use super::super::invite_server::State::{self, Accepted, Completed, Confirmed, Proceeding, Terminated};
    use super::*;

    enum Input {
        Invite,
        AckIn,
        Respond(Class),
        Fires(Timer),
    }
    use Input::{AckIn, Fires, Invite, Respond};

    #[track_caller]
    fn row(state: State, reliable: bool, input: Input, next: State, outputs: &[Output]) {
        let mut machine = InviteServer { state, reliable };
        let found = match input {
            Invite => machine.on_request(),
            AckIn => machine.on_ack(),
            Respond(class) => machine.respond(class),
            Fires(timer) => machine.on_timer(timer),
        };
        assert_eq!((machine.state, found.as_slice()), (next, outputs));
    }

    #[test]
    fn rows() {
        let completed = Completed { g: T1 };
        row(Proceeding, false, Invite, Proceeding, &[Resend]);
        row(Proceeding, false, Respond(Provisional), Proceeding, &[Send]);
        row(Proceeding, false, Respond(Success), Accepted, &[Send, Arm(Timer::L, LONG)]);
        row(Proceeding, false, Respond(Failure), completed, &[Send, Arm(Timer::H, LONG), Arm(Timer::G, T1)]);
        row(Proceeding, true, Respond(Failure), completed, &[Send, Arm(Timer::H, LONG)]);
        row(Proceeding, false, AckIn, Proceeding, &[]);
        row(completed, false, Invite, completed, &[Resend]);
        row(completed, false, Fires(Timer::G), Completed { g: ms(1000) }, &[Resend, Arm(Timer::G, ms(1000))]);
        row(Completed { g: T2 }, false, Fires(Timer::G), Completed { g: T2 }, &[Resend, Arm(Timer::G, T2)]);
        row(completed, false, Fires(Timer::H), Terminated, &[TimedOut, Terminate]);
        row(completed, false, AckIn, Confirmed, &[Disarm(Timer::G), Disarm(Timer::H), Arm(Timer::I, T4)]);
        row(completed, true, AckIn, Terminated, &[Disarm(Timer::G), Disarm(Timer::H), Terminate]);
        row(completed, false, Respond(Success), completed, &[]);
        row(Confirmed, false, AckIn, Confirmed, &[]);
        row(Confirmed, false, Invite, Confirmed, &[]);
        row(Confirmed, false, Fires(Timer::I), Terminated, &[Terminate]);
        row(Accepted, false, Invite, Accepted, &[]);
        row(Accepted, false, AckIn, Accepted, &[Pass]);
        row(Accepted, false, Respond(Failure), Accepted, &[]);
        row(Accepted, false, Fires(Timer::L), Terminated, &[Terminate]);
    }
}

mod non_invite_server_machine {
    use super::super::non_invite_server::State::{self, Completed, Proceeding, Terminated, Trying};
    use super::*;

    enum Input {
        Request,
        Respond(Class),
        Fires(Timer),
    }
    use Input::{Fires, Request, Respond};

    #[track_caller]
    fn row(state: State, reliable: bool, input: Input, next: State, outputs: &[Output]) {
        let mut machine = NonInviteServer { state, reliable };
        let found = match input {
            Request => machine.on_request(),
            Respond(class) => machine.respond(class),
            Fires(timer) => machine.on_timer(timer),
        };
        assert_eq!((machine.state, found.as_slice()), (next, outputs));
    }

    #[test]
    fn rows() {
        row(Trying, false, Request, Trying, &[]);
        row(Trying, false, Respond(Provisional), Proceeding, &[Send]);
        row(Trying, false, Respond(Success), Completed, &[Send, Arm(Timer::J, LONG)]);
        row(Trying, true, Respond(Failure), Terminated, &[Send, Terminate]);
        row(Proceeding, false, Request, Proceeding, &[Resend]);
        row(Proceeding, false, Respond(Failure), Completed, &[Send, Arm(Timer::J, LONG)]);
        row(Completed, false, Request, Completed, &[Resend]);
        row(Completed, false, Respond(Success), Completed, &[]);
        row(Completed, false, Fires(Timer::J), Terminated, &[Terminate]);
    }
}
