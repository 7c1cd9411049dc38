//! Hours that cross midnight, zones that change their clocks, and when a closed bot opens next.

use serde_json::json;

use super::*;

fn hours(zone: &str, windows: serde_json::Value) -> ActiveHours {
    serde_json::from_value(json!({"timezone": zone, "active_hours": windows})).unwrap()
}

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

const EVERY_DAY: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];

fn daily(zone: &str, start: &str, end: &str) -> ActiveHours {
    hours(zone, json!([{"days": EVERY_DAY, "start": start, "end": end}]))
}

#[track_caller]
fn check_open(hours: &ActiveHours, open: &[&str], closed: &[&str]) {
    for text in open {
        assert!(hours.is_open(at(text)), "{text} should be open");
        assert_eq!(hours.next_open(at(text)), Some(at(text)));
    }
    for text in closed {
        assert!(!hours.is_open(at(text)), "{text} should be closed");
    }
}

#[track_caller]
fn check_next(hours: &ActiveHours, from: &str, expect: Option<&str>) {
    assert_eq!(hours.next_open(at(from)), expect.map(at), "from {from}");
}

#[test]
fn no_windows_is_always_open_even_without_a_zone() {
    check_open(&ActiveHours::default(), &["2026-05-01T00:00:00Z"], &[]);
    check_open(&hours("Nowhere/At-all", json!([])), &["2026-05-01T00:00:00Z"], &[]);
}

#[test]
fn windows_are_half_open_in_the_bots_zone() {
    let nine_to_six =
        hours("Asia/Kolkata", json!([{"days": ["mon", "tue", "wed", "thu", "fri"], "start": "09:00", "end": "18:00"}]));
    // Friday, 1 May 2026.
    check_open(
        &nine_to_six,
        &["2026-05-01T09:00:00+05:30", "2026-05-01T17:59:59.999+05:30", "2026-05-01T12:00:00+05:30"],
        &[
            "2026-05-01T08:59:59.999+05:30",
            "2026-05-01T18:00:00+05:30",
            "2026-05-02T12:00:00+05:30",
            "2026-05-01T13:00:00Z",
        ],
    );
    check_next(&nine_to_six, "2026-05-01T18:00:00+05:30", Some("2026-05-04T09:00:00+05:30"));
    check_next(&nine_to_six, "2026-05-01T03:00:00+05:30", Some("2026-05-01T09:00:00+05:30"));
}

#[test]
fn a_window_over_midnight_belongs_to_the_day_it_starts_on() {
    let friday_night = hours("Asia/Kolkata", json!([{"days": ["fri"], "start": "22:00", "end": "02:00"}]));
    check_open(
        &friday_night,
        &["2026-05-01T22:00:00+05:30", "2026-05-02T01:59:59+05:30"],
        &[
            "2026-05-01T01:00:00+05:30",
            "2026-05-01T21:59:59+05:30",
            "2026-05-02T02:00:00+05:30",
            "2026-05-02T22:00:00+05:30",
        ],
    );
    check_next(&friday_night, "2026-05-02T02:00:00+05:30", Some("2026-05-08T22:00:00+05:30"));
}

#[test]
fn the_end_of_the_day_is_24_00() {
    let evening = daily("Asia/Kolkata", "20:00", "24:00");
    check_open(&evening, &["2026-05-01T23:59:59.9+05:30"], &["2026-05-02T00:00:00+05:30"]);
    let all_day = hours("Asia/Kolkata", json!([{"days": ["sun"], "start": "00:00", "end": "24:00"}]));
    check_open(
        &all_day,
        &["2026-05-03T00:00:00+05:30", "2026-05-03T23:59:59+05:30"],
        &["2026-05-02T23:59:59+05:30", "2026-05-04T00:00:00+05:30"],
    );
    let until_midnight = daily("Asia/Kolkata", "20:00", "00:00");
    check_open(&until_midnight, &["2026-05-01T23:59:00+05:30"], &["2026-05-02T00:00:00+05:30"]);
}

#[test]
fn a_skipped_hour_is_never_open() {
    // New York leaps from 02:00 to 03:00 on 8 March 2026.
    let in_the_gap = daily("America/New_York", "02:00", "03:00");
    check_open(
        &in_the_gap,
        &["2026-03-07T02:30:00-05:00", "2026-03-09T02:30:00-04:00"],
        &["2026-03-08T06:59:59Z", "2026-03-08T07:00:00Z"],
    );
    check_next(&in_the_gap, "2026-03-08T06:00:00Z", Some("2026-03-09T02:00:00-04:00"));
    // A window that the leap cuts begins where the clock goes on.
    let half = daily("America/New_York", "02:30", "04:00");
    check_open(
        &half,
        &["2026-03-08T07:00:00Z", "2026-03-08T07:59:59Z"],
        &["2026-03-08T06:59:59Z", "2026-03-08T08:00:00Z"],
    );
    check_next(&half, "2026-03-08T06:30:00Z", Some("2026-03-08T07:00:00Z"));
    // London leaps from 01:00 to 02:00 on 29 March 2026, and only Sundays are open, inside the gap: a week later.
    let sunday_gap = hours("Europe/London", json!([{"days": ["sun"], "start": "01:00", "end": "02:00"}]));
    check_next(&sunday_gap, "2026-03-28T12:00:00Z", Some("2026-04-05T01:00:00+01:00"));
}

#[test]
fn a_repeated_hour_is_open_both_times() {
    // New York shows 01:00–02:00 twice on 1 November 2026: 05:00Z–06:00Z and 06:00Z–07:00Z.
    let window = daily("America/New_York", "01:00", "01:30");
    check_open(
        &window,
        &["2026-11-01T05:00:00Z", "2026-11-01T05:29:59Z", "2026-11-01T06:00:00Z", "2026-11-01T06:29:59Z"],
        &["2026-11-01T04:59:59Z", "2026-11-01T05:30:00Z", "2026-11-01T06:30:00Z"],
    );
    check_next(&window, "2026-11-01T05:30:00Z", Some("2026-11-01T06:00:00Z"));
    // The clock falls back into a window that began before the repeated hour.
    let before = daily("America/New_York", "00:30", "01:15");
    check_next(&before, "2026-11-01T05:20:00Z", Some("2026-11-01T06:00:00Z"));
    // London repeats 01:00–02:00 on 25 October 2026.
    let london = daily("Europe/London", "01:45", "02:00");
    check_open(
        &london,
        &["2026-10-25T00:50:00Z", "2026-10-25T01:50:00Z"],
        &["2026-10-25T01:00:00Z", "2026-10-25T02:00:00Z"],
    );
}

#[test]
fn offsets_change_with_the_season() {
    let new_york = daily("America/New_York", "09:00", "17:00");
    check_open(
        &new_york,
        &["2026-01-15T14:00:00Z", "2026-07-15T13:00:00Z"],
        &["2026-01-15T13:59:59Z", "2026-07-15T21:00:00Z"],
    );
    check_next(&new_york, "2026-03-07T22:00:00Z", Some("2026-03-08T13:00:00Z"));
    // Lord Howe moves by half an hour; Apia skipped a whole Friday in 2011.
    check_open(&daily("Australia/Lord_Howe", "02:00", "02:30"), &[], &["2026-10-03T15:30:00Z"]);
    let apia_friday = hours("Pacific/Apia", json!([{"days": ["fri"], "start": "00:00", "end": "24:00"}]));
    check_next(&apia_friday, "2011-12-29T12:00:00Z", Some("2012-01-06T00:00:00+14:00"));
}

#[test]
fn an_unknown_zone_is_closed() {
    let nowhere = daily("Mars/Base", "00:00", "24:00");
    check_open(&nowhere, &[], &["2026-05-01T00:00:00Z"]);
    check_next(&nowhere, "2026-05-01T00:00:00Z", None);
}

#[test]
fn times_are_read_to_the_letter() {
    for good in ["00:00", "09:30", "23:59", "24:00"] {
        assert_eq!(TimeOfDay::parse(good).unwrap().to_string(), good);
    }
    for bad in ["", "9:30", "09:60", "24:01", "25:00", "09:30:00", "ab:cd", "09-30", "٠٩:٣٠", "-1:30", "+9:30"] {
        assert!(TimeOfDay::parse(bad).is_err(), "{bad:?}");
    }
}

#[test]
fn hours_are_judged() {
    let check = |zone: &str, windows: serde_json::Value, expect: Result<(), HoursError>| {
        assert_eq!(hours(zone, windows).validate(), expect);
    };
    check("Asia/Kolkata", json!([{"days": ["mon"], "start": "22:00", "end": "02:00"}]), Ok(()));
    check("Asia/Kolkatta", json!([]), Err(HoursError::Zone("Asia/Kolkatta".into())));
    check("", json!([]), Err(HoursError::Zone(String::new())));
    check("UTC", json!([{"days": [], "start": "00:00", "end": "24:00"}]), Err(HoursError::NoDays(0)));
    check("UTC", json!([{"days": ["mon"], "start": "09:00", "end": "09:00"}]), Err(HoursError::Empty(0)));
    check("UTC", json!([{"days": ["mon"], "start": "24:00", "end": "09:00"}]), Err(HoursError::StartsAtEndOfDay(0)));
    assert!(
        serde_json::from_value::<ActiveHours>(
            json!({"active_hours": [{"days": ["Monday"], "start": "09:00", "end": "10:00"}]})
        )
        .is_err()
    );
}
