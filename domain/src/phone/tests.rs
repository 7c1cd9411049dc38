//! Numbers as people write them, and what may not be dialled.

use proptest::prelude::*;

use super::*;

#[track_caller]
fn check(typed: &str, country: &str, expect: Result<(&str, Option<&str>), PhoneError>) {
    let expect = expect.map(|(e164, country)| (E164(e164.to_owned()), country.map(str::to_owned)));
    let read = parse_dialled(typed, country).map(|dialled| (dialled.e164, dialled.country));
    assert_eq!(read, expect, "{typed:?} in {country}");
}

#[test]
fn every_usual_spelling_of_an_indian_number() {
    for typed in [
        "+919876543210",
        "+91 98765 43210",
        "+91-98765-43210",
        "9876543210",
        "09876543210",
        "98765 43210",
        "919876543210",
        "00919876543210",
        "(+91) 98765.43210",
        " +919876543210 ",
        "+91 (0) 98765 43210",
    ] {
        check(typed, "IN", Ok(("+919876543210", Some("IN"))));
    }
}

#[test]
fn numbers_of_other_countries() {
    check("+442079460958", "IN", Ok(("+442079460958", Some("GB"))));
    check("+44 (0)20 7946 0958", "IN", Ok(("+442079460958", Some("GB"))));
    check("020 7946 0958", "GB", Ok(("+442079460958", Some("GB"))));
    check("(212) 555-2368", "US", Ok(("+12125552368", Some("US"))));
    check("1-212-555-2368", "US", Ok(("+12125552368", Some("US"))));
    check("011 44 20 7946 0958", "US", Ok(("+442079460958", Some("GB"))));
    check("+1 416 555 0123", "IN", Ok(("+14165550123", Some("CA"))));
    check("+39 02 3661 8300", "IN", Ok(("+390236618300", Some("IT"))));
    // Digits that look like a trunk prefix of this country or that one, and are none.
    check("+7 812 555 12 34", "IN", Ok(("+78125551234", Some("RU"))));
    check("8 812 555 12 34", "RU", Ok(("+78125551234", Some("RU"))));
    check("812 555 12 34", "RU", Ok(("+78125551234", Some("RU"))));
    check("+91 11 4000 0000", "US", Ok(("+911140000000", Some("IN"))));
    check("+44 1632 960123", "US", Ok(("+441632960123", Some("GB"))));
    check("+39 (0)2 3661 8300", "US", Ok(("+390236618300", Some("IT"))));
    check("02 3661 8300", "IT", Ok(("+390236618300", Some("IT"))));
    check("+54 9 11 2345 6789", "IN", Ok(("+5491123456789", Some("AR"))));
    check("011 15 2345 6789", "AR", Ok(("+5491123456789", Some("AR"))));
    check("+800 1234 5678", "IN", Ok(("+80012345678", None)));
    check("+1 555 000 1111", "IN", Ok(("+15550001111", Some("US"))));
    check("+1 876 555 0123", "IN", Ok(("+18765550123", Some("JM"))));
    check("+91 1234567890", "IN", Ok(("+911234567890", Some("IN"))));
    check("+4930123456", "IN", Ok(("+4930123456", Some("DE"))));
}

#[test]
fn what_is_no_number_says_why() {
    check("", "IN", Err(PhoneError::Empty));
    check("   ", "IN", Err(PhoneError::Empty));
    check(&"1".repeat(41), "IN", Err(PhoneError::TooLong));
    for typed in [
        "+919876543210;phone-context=evil",
        "+919876543210@evil.example",
        "+919876543210\0",
        "＋919876543210",
        "\u{202e}+919876543210",
        "98765x43210",
        "98765/43210",
        "٩٨٧٦٥٤٣٢١٠",
        "98765\t43210",
        "tel:+919876543210",
        "+91+9876543210",
        "98+7654321",
    ] {
        check(typed, "IN", Err(PhoneError::Character));
    }
    for typed in ["+", "()", "+0123456789", "+999123456789", "..."] {
        check(typed, "IN", Err(PhoneError::Unreadable));
    }
    for typed in ["112", "100", "108", "1098", "911", "12345", "+91112", "+911", "+91 100", "0112"] {
        check(typed, "IN", Err(PhoneError::ShortCode));
    }
    for typed in ["+9198765432101234", "+91987654", "+1212555", "98765432109876"] {
        check(typed, "IN", Err(PhoneError::Impossible));
    }
    check("9876543210", "XX", Err(PhoneError::UnknownCountry("XX".into())));
    check("9876543210", "in", Err(PhoneError::UnknownCountry("in".into())));
    check("911", "US", Err(PhoneError::ShortCode));
    check("999", "GB", Err(PhoneError::ShortCode));
    check("+49112", "DE", Err(PhoneError::ShortCode));
}

#[test]
fn rules_match_numbers() {
    let check = |rule: &str, number: &str, expect: bool| {
        assert_eq!(NumberRule::parse(rule).unwrap().matches(&E164::parse(number).unwrap()), expect, "{rule} {number}");
    };
    check("+911234567890", "+911234567890", true);
    check("+911234567890", "+911234567891", false);
    check("+911234567890-+911234567899", "+911234567890", true);
    check("+911234567890-+911234567899", "+911234567899", true);
    check("+911234567890 - +911234567899", "+911234567895", true);
    check("+911234567890-+911234567899", "+911234567900", false);
    check("+911234567890-+911234567899", "+91123456789", false);
    check("+911234*", "+911234567890", true);
    check("+911234*", "+911235567890", false);
    for (rule, expect) in [
        ("", NumberRuleError::Shape),
        ("*", NumberRuleError::Shape),
        ("+*", NumberRuleError::Shape),
        ("911234*", NumberRuleError::Shape),
        ("1234", NumberRuleError::Shape),
        ("+911-", NumberRuleError::Shape),
        ("+912-+911", NumberRuleError::Range),
        ("+911-+9112", NumberRuleError::Range),
    ] {
        assert_eq!(NumberRule::parse(rule), Err(expect), "{rule}");
    }
}

#[test]
fn numbers_are_written_for_the_carrier() {
    use NumberFormat as F;
    let check = |number: &str, format, expect: &str| assert_eq!(write(number, format), expect, "{number} {format:?}");
    check("+919876543210", F::PlusE164, "+919876543210");
    check("+919876543210", F::E164, "919876543210");
    check("+919876543210", F::National, "9876543210");
    check("+919876543210", F::ZeroNational, "09876543210");
    check("+919876543210", F::Raw, "+919876543210");
    check("+390669821234", F::National, "0669821234");
    check("+12125552368", F::National, "2125552368");
    check("1001", F::ZeroNational, "1001");
}

#[test]
fn numbers_stay_out_of_logs() {
    assert_eq!(format!("{:?}", E164::parse("+919876543210").unwrap()), "E164(…10)");
    assert!(serde_json::from_str::<E164>("\"919876543210\"").is_err());
}

proptest! {
    #[test]
    fn no_text_panics_and_what_is_read_reads_back(typed in r"[0-9+ ().\-]{0,20}", country in "(IN|US|GB|DE|IT|BR|AR|MX|SM|AU)") {
        if let Ok(dialled) = parse_dialled(&typed, &country) {
            prop_assert_eq!(E164::parse(dialled.e164.as_str()), Ok(dialled.e164.clone()));
            let again = parse_dialled(dialled.e164.as_str(), &country).map(|d| d.e164);
            prop_assert_eq!(again, Ok(dialled.e164));
        }
    }

    #[test]
    fn any_text_at_all(typed in ".*", rule in ".*") {
        let _ = parse_dialled(&typed, "IN");
        let _ = NumberRule::parse(&rule);
        let _ = write(&typed, NumberFormat::National);
    }
}

#[test]
fn premium_numbers_are_known_as_such() {
    let check = |typed: &str, expect: bool| assert_eq!(parse_dialled(typed, "IN").unwrap().premium, expect, "{typed}");
    check("+919876543210", false);
    check("+19002345678", true);
    check("+449098790000", true);
    check("+442079460958", false);
    check("+18002345678", false);
}

#[test]
fn a_number_is_known_in_all_its_spellings() {
    let check = |number: &str, expect: &[&str]| assert_eq!(spellings(&E164::parse(number).unwrap()), expect);
    check("+919876543210", &["+919876543210", "00919876543210", "09876543210", "919876543210", "9876543210"]);
    check("+4930123456", &["+4930123456", "004930123456", "030123456", "30123456", "4930123456"]);
}
