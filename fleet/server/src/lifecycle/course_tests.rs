//! Courses as tables: at each time something is told, and these effects come of it.

use super::*;

const RHYTHM: Rhythm = Rhythm { look: Duration::from_secs(2), hold: Duration::from_secs(60) };

/// What is told to a course.
#[derive(Debug, Clone, Copy)]
enum Told {
    /// Only the time.
    Time,
    Fate(Option<Fate>),
    Held(Option<bool>),
    Drained,
    Released(Option<bool>),
}

use Effect::{Drain, Force, Hold, Look, Release};
use Told::{Drained, Held, Released, Time};

const STAYS: Told = Told::Fate(Some(Fate::Stays));
const SILENCE: Told = Told::Fate(None);
const GOES: Told = Told::Fate(Some(Fate::Goes { within: None }));

fn goes_within(seconds: u64) -> Told {
    Told::Fate(Some(Fate::Goes { within: Some(Duration::from_secs(seconds)) }))
}

/// Tells a new course each line at its second, and compares what it wants then.
fn check(lines: &[(u64, Told, &[Effect])], over: bool) {
    let start = Instant::now();
    let mut course = Course::new(RHYTHM, start);
    for (line, (second, told, expect)) in lines.iter().enumerate() {
        let now = start + Duration::from_secs(*second);
        match *told {
            Time => {}
            Told::Fate(fate) => course.handle_fate(now, fate),
            Held(held) => course.handle_held(now, held),
            Drained => course.handle_drained(now),
            Released(released) => course.handle_released(now, released),
        }
        course.handle_timeout(now);
        let effects: Vec<Effect> = std::iter::from_fn(|| course.poll_effect()).collect();
        assert_eq!(&effects, expect, "line {line}: {second} s, {told:?}");
    }
    assert_eq!(course.is_over(), over, "{lines:?}");
    assert!(!over || course.poll_timeout().is_none(), "what is over waits for nothing");
}

#[test]
fn a_machine_that_stays_is_looked_at_and_left_alone() {
    check(
        &[(0, Time, &[Look]), (0, STAYS, &[]), (1, Time, &[]), (2, Time, &[Look]), (2, STAYS, &[]), (4, Time, &[Look])],
        false,
    );
    // Silence is no sign.
    check(&[(0, Time, &[Look]), (1, SILENCE, &[]), (3, Time, &[Look]), (3, STAYS, &[])], false);
    // The process ends for another reason: nobody is told anything.
    check(&[(0, Time, &[Look]), (0, STAYS, &[]), (1, Drained, &[]), (9, Time, &[])], true);
}

#[test]
fn a_machine_that_goes_drains_holds_and_leaves() {
    check(
        &[
            (0, Time, &[Look]),
            (0, GOES, &[Drain, Hold]),
            (0, Held(Some(true)), &[]),
            (2, Time, &[Look]),
            // Said again, it is drained once.
            (2, GOES, &[]),
            (59, Time, &[Look]),
            (60, Time, &[Hold]),
            (60, Held(Some(true)), &[]),
            (100, Drained, &[Release]),
            (100, Released(Some(true)), &[]),
            (500, Time, &[]),
        ],
        true,
    );
    // Answers that come late change nothing any more.
    check(
        &[
            (0, Time, &[Look]),
            (0, GOES, &[Drain, Hold]),
            (1, Drained, &[Release]),
            (1, Held(Some(true)), &[]),
            (1, GOES, &[]),
            (2, Released(Some(true)), &[]),
            (2, Released(Some(false)), &[]),
            (3, Drained, &[]),
        ],
        true,
    );
}

#[test]
fn who_does_not_hear_is_asked_again() {
    check(
        &[
            (0, GOES, &[Drain, Hold]),
            // Nobody waits yet: the balancer forgets the machine first.
            (0, Held(Some(false)), &[]),
            (0, STAYS, &[]),
            (2, Time, &[Look]),
            (60, Time, &[Hold]),
            // No answer: sooner than that.
            (60, Held(None), &[]),
            (70, Time, &[Hold]),
            (80, Drained, &[Release]),
            (80, Released(None), &[]),
            (90, Time, &[Release]),
            (90, Released(Some(false)), &[]),
            (99, Time, &[]),
            (100, Time, &[Release]),
            (100, Released(Some(true)), &[]),
        ],
        true,
    );
}

#[test]
fn nobody_waits_for_an_answer_for_good() {
    let last = 75 * 60;
    check(
        &[
            (0, GOES, &[Drain, Hold]),
            (0, Drained, &[Release]),
            (last - 10, Released(Some(false)), &[]),
            (last, Time, &[Release]),
            (last, Released(Some(false)), &[]),
        ],
        true,
    );
}

#[test]
fn a_machine_that_goes_anyway_ends_its_calls_in_time() {
    check(
        &[
            (0, goes_within(120), &[Drain, Hold]),
            (5, goes_within(115), &[]),
            (79, Time, &[Look]),
            (80, Time, &[Force]),
            (82, SILENCE, &[]),
            (84, Time, &[Look]),
            (90, Drained, &[Release]),
        ],
        false,
    );
    // Sooner than calls can be ended in peace: at once.
    check(&[(0, goes_within(10), &[Drain, Hold, Force])], false);
    // A drain without an end gets one.
    check(
        &[
            (0, GOES, &[Drain, Hold]),
            (5, goes_within(60), &[]),
            (24, Time, &[Look]),
            (25, Time, &[Force]),
            (26, goes_within(39), &[]),
            (27, Time, &[]),
            (28, Time, &[Look]),
        ],
        false,
    );
}
