//! What an INVITE from a trunk says: which number was called, who calls, and what the carrier sent along.
//! It must never read a table, nor take a name for a number.

use domain::phone::{self, E164};
use domain::trunk::Trunk;
use domain::variables::Fields;
use sip::message::Uri;
use sip::{IncomingInvite, Party};

/// `X-` headers that are kept; a call has a handful.
const MOST_FIELDS: usize = 64;

/// The numbers that may have been called, likeliest first: the Request-URI's, that which a proxy put into
/// `P-Called-Party-ID` (RFC 3455 §4.2) where the Request-URI has our account's name, and To's.
pub(super) fn called(request: &IncomingInvite, trunk: &Trunk) -> Vec<E164> {
    let target = Uri::parse(&request.request_uri).ok().and_then(|uri| uri.user_unescaped());
    let party = request.addresses("P-Called-Party-ID").into_iter().next().and_then(|(party, _)| party.user());
    let mut numbers = Vec::new();
    for user in [target, party, request.to.user()].into_iter().flatten() {
        for number in phone::readings(&user, &trunk.default_country, trunk.to_format) {
            if !numbers.contains(&number) {
                numbers.push(number);
            }
        }
    }
    numbers
}

/// The calling number, E.164 where it can be read so: as the carrier asserts it, else as the caller says it.
pub(super) fn calling(request: &IncomingInvite, trunk: &Trunk) -> String {
    let asserted = request.addresses("P-Asserted-Identity").into_iter().filter_map(|(party, _)| party.user());
    let names: Vec<String> = asserted.chain(request.from.user()).filter(|user| !user.is_empty()).collect();
    let read = |user: &String| phone::readings(user, &trunk.default_country, trunk.from_format).into_iter().next();
    match names.iter().find_map(read) {
        Some(number) => number.as_str().to_owned(),
        None => names.into_iter().next().unwrap_or_else(|| "anonymous".to_owned()),
    }
}

/// Custom `call.*` fields: every `X-` header under its name and in snake case, who diverted the call to us, and the
/// carrier's Call-ID, by which both sides find the call in their logs.
pub(super) fn fields(request: &IncomingInvite) -> Fields {
    let mut fields = Fields::new();
    fields.set_text("sip_call_id", &request.call_id);
    if let Some(user) = diverted_from(request) {
        fields.set_text("diverted_from", &user);
    }
    let mut names: Vec<&str> = Vec::new();
    for (name, value) in &request.headers {
        let is_custom = name.len() > 2 && name.get(..2).is_some_and(|start| start.eq_ignore_ascii_case("x-"));
        // The first line of a name counts: proxies add theirs behind.
        if !is_custom || names.iter().any(|known| known.eq_ignore_ascii_case(name)) || names.len() >= MOST_FIELDS {
            continue;
        }
        names.push(name);
        fields.set_text(name.as_str(), value);
        fields.set_text(snake(name), value);
    }
    fields
}

/// The party that sent the call on to us: the latest diversion (RFC 5806 §5: the topmost), or the last target but one of
/// the call's history (RFC 7044).
fn diverted_from(request: &IncomingInvite) -> Option<String> {
    let user = |party: &Party| party.user().unwrap_or_else(|| party.uri.clone());
    if let Some((party, _)) = request.addresses("Diversion").first() {
        return Some(user(party));
    }
    let history = request.addresses("History-Info");
    let before = history.len().checked_sub(2)?;
    history.get(before).map(|(party, _)| user(party))
}

fn snake(name: &str) -> String {
    name.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '_' }).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use sip::{Source, Transport};

    use super::*;

    fn trunk(settings: Value) -> Trunk {
        let mut wire = json!({"trunk_id": "t", "name": "t", "host": "h", "default_number": "+911140001234"});
        wire.as_object_mut().unwrap().extend(settings.as_object().unwrap().clone());
        serde_json::from_value(wire).unwrap()
    }

    fn party(uri: &str) -> Party {
        Party { uri: uri.to_owned(), display: None }
    }

    fn invite(uri: &str, to: &str, from: &str, headers: &[(&str, &str)]) -> IncomingInvite {
        let here = "192.0.2.1:5060".parse().unwrap();
        IncomingInvite {
            source: Source { transport: Transport::Udp, local: here, remote: here },
            request_uri: uri.to_owned(),
            from: party(from),
            to: party(to),
            call_id: "c@carrier".to_owned(),
            claims: None,
            headers: headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
            sdp: None,
        }
    }

    #[test]
    fn the_called_number_is_found_however_the_carrier_writes_it() {
        let check = |settings: Value, uri: &str, to: &str, headers: &[(&str, &str)], expect: &[&str]| {
            let found = called(&invite(uri, to, "sip:a@h", headers), &trunk(settings));
            let found: Vec<&str> = found.iter().map(E164::as_str).collect();
            assert_eq!(found, expect, "{uri} {to}");
        };
        let did = "+911140001234";
        check(json!({}), "sip:+911140001234@h", "sip:+911140001234@h", &[], &[did]);
        check(json!({"to_format": "e164"}), "sip:911140001234@h;user=phone", "sip:x@h", &[], &[did]);
        check(json!({}), "sip:01140001234@h", "sip:x@h", &[], &[did]);
        check(json!({"to_format": "national"}), "sip:1140001234@h", "sip:x@h", &[], &[did, "+1140001234"]);
        check(json!({}), "tel:+91-11-4000-1234", "sip:x@h", &[], &[did]);
        check(json!({}), "sip:%2B911140001234@h", "sip:x@h", &[], &[did]);
        // Our account's name in the Request-URI: a registered trunk of a carrier.
        check(json!({}), "sip:acme@h", "sip:+911140001234@h", &[], &[did]);
        check(json!({}), "sip:acme@h", "sip:acme@h", &[("P-Called-Party-ID", "<sip:+911140001234@h>")], &[did]);
        check(json!({}), "sip:h", "sip:h", &[], &[]);
        check(json!({}), "sip:100@h", "sip:112@h", &[], &[]);
    }

    #[test]
    fn the_caller_is_whom_the_carrier_asserts() {
        let check = |from: &str, headers: &[(&str, &str)], expect: &str| {
            assert_eq!(calling(&invite("sip:1@h", "sip:1@h", from, headers), &trunk(json!({}))), expect, "{from}");
        };
        check("sip:+919876543210@h", &[], "+919876543210");
        check("sip:09876543210@h", &[], "+919876543210");
        check("sip:919876543210@h", &[], "+919876543210");
        check("sip:anonymous@anonymous.invalid", &[], "anonymous");
        check("sip:h", &[], "anonymous");
        check("sip:1001@h", &[], "1001");
        let asserted = ("P-Asserted-Identity", "\"Asha\" <sip:+919876543210@carrier>");
        check("sip:anonymous@anonymous.invalid", &[asserted], "+919876543210");
        check("sip:+12025550123@h", &[asserted], "+919876543210");
        check("sip:+12025550123@h", &[("p-asserted-identity", "<sip:asha@carrier>")], "+12025550123");
    }

    #[test]
    fn what_the_carrier_sends_along_becomes_fields() {
        let check = |headers: &[(&str, &str)], expect: &str| {
            let found = fields(&invite("sip:1@h", "sip:1@h", "sip:a@h", headers));
            assert_eq!(serde_json::to_string(&found).unwrap(), expect);
        };
        check(&[("Subject", "x")], r#"{"sip_call_id":"c@carrier"}"#);
        check(
            &[("X-Customer-Id", "007"), ("x-customer-id", "no"), ("X-", "no"), ("X-a.b", "\"q\"")],
            r#"{"sip_call_id":"c@carrier","X-Customer-Id":"007","x_customer_id":"007","X-a.b":"\"q\"","x_a_b":"\"q\""}"#,
        );
        check(
            &[("Diversion", "<sip:+911@a>;reason=busy"), ("Diversion", "<sip:+922@b>")],
            r#"{"sip_call_id":"c@carrier","diverted_from":"+911"}"#,
        );
        check(
            &[
                ("History-Info", "<sip:100@a>;index=1, <sip:200@a>;index=1.1"),
                ("History-Info", "<sip:300@a>;index=1.1.1"),
            ],
            r#"{"sip_call_id":"c@carrier","diverted_from":"200"}"#,
        );
        check(&[("History-Info", "<sip:100@a>;index=1")], r#"{"sip_call_id":"c@carrier"}"#);
        let many: Vec<(String, String)> = (0..100).map(|n| (format!("X-{n}"), "v".to_owned())).collect();
        let many: Vec<(&str, &str)> = many.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        assert_eq!(fields(&invite("sip:1@h", "sip:1@h", "sip:a@h", &many)).len(), 1 + 2 * MOST_FIELDS);
    }
}
