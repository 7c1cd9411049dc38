//! What an emulator can't do or does wrong, by name: AWS does it, and so do the embedded services.
//! It must never hide a case silently: each gap is told when it is met, and one that has closed fails the suite.

use std::io::Write;
use std::panic::AssertUnwindSafe;

use futures_util::FutureExt;

/// How sure it is that the case fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fails {
    /// Every time; the case runs, and must fail.
    Always,
    /// It depends on what happens at the same moment; the case does not run.
    Sometimes,
}

#[derive(Debug)]
struct Gap {
    emulator: &'static str,
    /// Tests by their paths, or names of [`part`]s of one.
    cases: &'static [&'static str],
    fails: Fails,
    /// What the emulator does, and what AWS does.
    why: &'static str,
}

const GAPS: &[Gap] = &[
    Gap {
        emulator: "ministack",
        cases: &["a job that is deleted already is deleted again"],
        fails: Fails::Always,
        why: "MiniStack refuses the receipt (ReceiptHandleIsInvalid); SQS answers that it is deleted",
    },
    Gap {
        emulator: "ministack",
        cases: &["a wrapped key does not open by another key"],
        fails: Fails::Always,
        why: "MiniStack's KMS decrypts whatever KeyId is asked for; KMS answers IncorrectKeyException",
    },
    Gap {
        emulator: "moto",
        cases: RACES,
        fails: Fails::Sometimes,
        why: "moto looks at a condition and writes without a lock between its threads, and a transaction of it that fails puts \
              whole tables back; DynamoDB serialises them",
    },
    Gap {
        emulator: "moto",
        cases: &["lost_answers::deliveries_hear_that_they_were_written"],
        fails: Fails::Always,
        why: "moto takes no notice of ClientRequestToken and judges a repeated transaction anew; DynamoDB answers it as the \
              first time",
    },
];

/// Whatever many do to one item at the same moment.
const RACES: &[&str] = &[
    "bots::of_ten_bots_that_want_a_number_one_gets_it",
    "calls::of_a_hundred_claims_of_one_id_one_holds_and_the_rest_see_it",
    "calls::of_twenty_takers_of_a_step_one_has_it",
    "calls::owner_and_reaper_race_for_the_end_and_one_wins",
    "deliveries::of_fifty_workers_one_begins_the_try",
    "endpoints::of_fifty_workers_one_probes",
    "idempotency::of_a_hundred_claims_of_one_key_one_holds_and_the_rest_see_it",
    "idempotency::of_twenty_that_take_over_one_does",
    "keys::of_admins_who_revoke_each_other_one_is_left",
    "servers::epochs_rise_strictly_whoever_asks",
    "spend::a_crowd_stays_below_the_ceiling",
];

/// The emulator under test; none for the embedded services, or for an endpoint that somebody named.
fn emulator() -> Option<String> {
    std::env::var(crate::emulators::EMULATOR).ok()
}

fn gap(case: &str) -> Option<&'static Gap> {
    let emulator = emulator()?;
    GAPS.iter().find(|gap| gap.emulator == emulator && gap.cases.contains(&case))
}

/// Says it past the test harness.
pub(crate) fn note(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// The path of the test that a closure was written in: what libtest runs alone has no thread with its name.
pub(crate) fn name_of<Test>() -> String {
    let path = std::any::type_name::<Test>();
    let path = path.split_once("::").map_or(path, |(_, path)| path);
    path.trim_end_matches("::{{closure}}").to_owned()
}

/// Runs a test, or a part of one that has a name of its own; or what is left of it where there is a gap.
pub(crate) async fn part(case: &str, check: impl Future<Output = ()>) {
    let Some(gap) = gap(case) else { return check.await };
    note(&format!("GAP of {}: {case}: {}", gap.emulator, gap.why));
    if gap.fails == Fails::Always {
        let failed = AssertUnwindSafe(check).catch_unwind().await.is_err();
        assert!(failed, "{} can do it now, so take it off the list of gaps: {case}", gap.emulator);
    }
}

#[test]
fn a_test_is_known_by_its_path() {
    fn of<Test: AsyncFnOnce(u8)>(_: Test) -> String {
        name_of::<Test>()
    }
    assert_eq!(of(async |_| ()), "gaps::a_test_is_known_by_its_path");
}

#[test]
fn every_gap_names_a_case_and_a_reason() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/contract");
    for gap in GAPS {
        assert!(gap.why.contains(';'), "say what it does, and what AWS does: {}", gap.why);
        for case in gap.cases {
            let wanted = match case.split_once("::") {
                Some((file, test)) => {
                    let text = std::fs::read_to_string(folder.join(format!("{file}.rs"))).unwrap();
                    text.contains(&format!("#[test]\nfn {test}()"))
                }
                None => ["queues.rs", "secrets.rs"].iter().any(|file| {
                    std::fs::read_to_string(folder.join(file)).unwrap().contains(&format!("part(\"{case}\""))
                }),
            };
            assert!(wanted, "no case {case}");
        }
    }
}
