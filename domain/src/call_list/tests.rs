//! Queries as clients send them, cursors, and which rows a filter admits.

use super::*;

const NOW: &str = "2026-05-01T12:00:00Z";

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn parse_as(reader: &str, query: &[(&str, &str)], known: &[&str]) -> Result<CallQuery, Vec<FieldError>> {
    let pairs: Vec<_> = query.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    CallQuery::parse(&pairs, known, &KeyId::parse(reader).unwrap(), at(NOW))
}

fn parse(query: &[(&str, &str)]) -> Result<CallQuery, Vec<FieldError>> {
    parse_as("k1", query, ADMIN_PARAMETERS)
}

#[test]
fn a_query_has_defaults() {
    let query = parse(&[]).unwrap();
    assert_eq!((query.limit, query.bot_id.is_none(), query.filter.is_open()), (50, true, true));
    assert_eq!(query.before, CallPosition::start_of(at("2026-05-01T12:01:00Z")));
    assert_eq!(query.from, at("2026-03-31T12:01:00Z"));
    let query = parse(&[
        ("bot_id", "b"),
        ("state", "ended"),
        ("from", "2026-04-01"),
        ("to", "2026-05-01T00:00:00 05:30"),
        ("limit", "100"),
        ("disposition", "PTP"),
        ("end_reason", "busy"),
        ("trunk_id", "t"),
    ])
    .unwrap();
    assert_eq!((query.bot_id.unwrap().as_str(), query.limit), ("b", 100));
    assert_eq!(
        (query.from, query.before.started_ms),
        (at("2026-04-01T00:00:00Z"), at("2026-04-30T18:30:00Z").as_millisecond())
    );
    assert_eq!((query.filter.state, query.filter.end_reason), (Some(CallState::Ended), Some(EndReason::Busy)));
}

#[test]
fn what_is_wrong_is_named() {
    let check = |query: &[(&str, &str)], expect: &[(&str, &str)]| {
        let errors = parse_as("k1", query, CLIENT_PARAMETERS).unwrap_err();
        let found: Vec<_> = errors.iter().map(|error| (error.loc[1].as_str(), error.kind.as_str())).collect();
        assert_eq!(found, expect, "{query:?}");
        assert!(errors.iter().all(|error| error.loc[0] == "query" && !error.msg.is_empty()));
    };
    let value = "value_error";
    check(&[("limit", "0")], &[("limit", value)]);
    check(&[("limit", "101")], &[("limit", value)]);
    check(&[("limit", "-1")], &[("limit", value)]);
    check(&[("limit", "+5")], &[("limit", value)]);
    check(&[("limit", "")], &[("limit", value)]);
    check(&[("limit", "99999999999999999999")], &[("limit", value)]);
    check(&[("state", "dead")], &[("state", value)]);
    check(&[("state", "")], &[("state", value)]);
    check(&[("bot_id", "a b")], &[("bot_id", value)]);
    check(&[("from", "yesterday")], &[("from", value)]);
    check(&[("from", "2026-05-01T00:00:00")], &[("from", value)]);
    check(&[("from", "2026-02-30")], &[("from", value)]);
    check(&[("from", "1969-12-31")], &[("from", value)]);
    check(&[("to", "9999-12-31")], &[("to", value)]);
    check(&[("from", "2026-05-02"), ("to", "2026-05-02")], &[("from", value)]);
    check(&[("cursor", "x")], &[("cursor", value)]);
    check(&[("cursor", "")], &[("cursor", value)]);
    check(&[("trunk_id", "t")], &[("trunk_id", "extra_forbidden")]);
    check(&[("stat", "ended"), ("limit", "x")], &[("stat", "extra_forbidden"), ("limit", value)]);
    check(&[("limit", "1"), ("limit", "2")], &[("limit", "too_many")]);
    let told = parse(&[("state", "dead")]).unwrap_err();
    assert_eq!(told[0].msg, "one of accepted, dialing, ringing, answered, ended");
}

#[test]
fn a_cursor_goes_on_with_the_same_reader_and_query_only() {
    let place = CallPosition {
        started_ms: at("2026-04-30T00:00:00Z").as_millisecond(),
        call_id: CallId::from_parts(7, [9; 10]),
    };
    let cursor = parse(&[("bot_id", "b")]).unwrap().cursor(&place);
    let check = |reader: &str, query: &[(&str, &str)], expect: bool| {
        let mut query = query.to_vec();
        query.push(("cursor", &cursor));
        let found = parse_as(reader, &query, ADMIN_PARAMETERS);
        assert_eq!(found.is_ok(), expect, "{reader} {query:?}");
        assert!(found.is_err() || found.unwrap().before == place);
    };
    check("k1", &[("bot_id", "b")], true);
    check("k1", &[("limit", "7"), ("bot_id", "b")], true);
    check("k2", &[("bot_id", "b")], false);
    check("k1", &[], false);
    check("k1", &[("bot_id", "c")], false);
    check("k1", &[("bot_id", "b"), ("state", "ended")], false);
    let changed = cursor.replace(&cursor[..1], "_");
    assert!(parse(&[("bot_id", "b"), ("cursor", &changed)]).is_err());
}

#[test]
fn a_cursor_never_leads_past_the_end_of_its_query() {
    let late = CallPosition { started_ms: i64::MAX, call_id: CallId::from_parts(7, [9; 10]) };
    let query = [("to", "2026-04-01")];
    let cursor = parse(&query).unwrap().cursor(&late);
    let read = parse(&[query[0], ("cursor", &cursor)]).unwrap();
    assert_eq!(read.before, CallPosition::start_of(at("2026-04-01T00:00:00Z")));
}

#[test]
fn days_are_walked_from_the_newest_possible() {
    let midnight = CallPosition::start_of(at("2026-05-01T00:00:00Z"));
    let check =
        |position: CallPosition, expect: &str| assert_eq!(position.newest_day().to_string(), expect, "{position:?}");
    check(midnight, "2026-04-30");
    check(CallPosition { call_id: CallId::from_parts(1, [1; 10]), ..midnight }, "2026-05-01");
    check(CallPosition::start_of(at("2026-05-01T00:00:00.001Z")), "2026-05-01");
    check(CallPosition::start_of_day("2026-05-01".parse().unwrap()), "2026-04-30");
    check(CallPosition { started_ms: i64::MIN, ..midnight }, "-009999-01-02");
}
