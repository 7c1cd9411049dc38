//! What carriers expect of a trunk, as defaults for the members that an admin leaves out.
//! It must never change a member that is there: who writes null or a value of their own knows better.

use serde_json::{Value, json};

use super::{Preset, Trunk};

impl Trunk {
    /// Fills what the preset named in a trunk's JSON says and the JSON does not. Whatever is no trunk stays as it is.
    pub fn complete(incoming: &mut Value) {
        let Some(preset) = incoming.get("preset").and_then(Preset::of_word) else { return };
        let (Value::Object(members), Value::Object(defaults)) = (incoming, defaults(preset)) else { return };
        for (name, value) in defaults {
            members.entry(name).or_insert(value);
        }
    }

    /// What is allowed and probably not meant: what the preset's carrier wants and no default can know.
    pub fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        match self.preset {
            Some(Preset::Exotel) => {
                // Its integration guides name TCP 5070 and TLS 443 only.
                warnings.push(
                    "preset exotel: its guides offer SIP over TCP and TLS; have UDP enabled for this trunk".to_owned(),
                );
                if self.from_domain.is_none() {
                    warnings.push("from_domain: Exotel wants ACCOUNT_SID.pstn.exotel.com".to_owned());
                }
            }
            Some(Preset::Twilio) if !self.host.ends_with(".twilio.com") => {
                warnings.push("host: Twilio knows a trunk by its own name, NAME.pstn.twilio.com".to_owned());
            }
            Some(Preset::Tata | Preset::Airtel) if self.from_domain.is_none() => {
                warnings.push("from_domain: an IMS trunk has a home domain of its own; ask the carrier".to_owned());
            }
            Some(_) | None => {}
        }
        warnings
    }
}

impl Preset {
    fn of_word(word: &Value) -> Option<Self> {
        serde_json::from_value(word.clone()).ok()
    }
}

/// Members of a trunk by carrier.
fn defaults(preset: Preset) -> Value {
    match preset {
        // Virtual SIP trunking: E.164 with a plus both ways, A-law first, Remote-Party-ID, 200 calls a minute a trunk,
        // no digest (the address is allowed instead).
        Preset::Exotel => json!({
            "to_format": "+e164", "from_format": "+e164", "identity_header": "rpid", "codecs": ["pcma", "pcmu"],
            "dtmf": "rfc4733", "max_cpm": 200, "default_country": "IN",
        }),
        // IMS trunks in India have no public guide; this is what IMS access (3GPP TS 24.229, SIPconnect 1.1) asks of a
        // PBX: From is the pilot number of the registration, the DID is asserted (Tata) or preferred (Airtel), and
        // national numbers are dialled with their trunk prefix.
        Preset::Tata => json!({
            "to_format": "0national", "from_format": "+e164", "from_user": "username", "identity_header": "pai",
            "codecs": ["pcma", "pcmu"], "dtmf": "rfc4733", "default_country": "IN",
        }),
        Preset::Airtel => json!({
            "to_format": "0national", "from_format": "+e164", "from_user": "username", "identity_header": "ppi",
            "codecs": ["pcma", "pcmu"], "dtmf": "rfc4733", "default_country": "IN",
        }),
        // Elastic SIP trunking: E.164 with a plus, the caller id in From must be a number of the account; one call a
        // second a trunk until more is asked for.
        Preset::Twilio => json!({
            "to_format": "+e164", "from_format": "+e164", "identity_header": "none", "codecs": ["pcmu", "pcma"],
            "dtmf": "rfc4733", "max_cps": 1.0,
        }),
        // E.164 with a plus is taken from and to every country; 50 calls a second from one address.
        Preset::Telnyx => json!({
            "host": "sip.telnyx.com", "to_format": "+e164", "from_format": "+e164", "identity_header": "pai",
            "codecs": ["pcmu", "pcma"], "dtmf": "rfc4733", "max_cps": 50.0,
        }),
        Preset::Generic => json!({}),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trunk::{Dtmf, FromUser, IdentityHeader, NumberFormat, TrunkCodec};

    const ALL: [(Preset, &str); 6] = [
        (Preset::Exotel, "exotel"),
        (Preset::Tata, "tata"),
        (Preset::Airtel, "airtel"),
        (Preset::Twilio, "twilio"),
        (Preset::Telnyx, "telnyx"),
        (Preset::Generic, "generic"),
    ];

    fn completed(mut wire: Value) -> Trunk {
        Trunk::complete(&mut wire);
        serde_json::from_value(wire).unwrap()
    }

    fn wire(preset: &str) -> Value {
        json!({"trunk_id": "t", "name": "T", "host": "sip.example.com", "preset": preset, "username": "+911140000000",
            "default_number": "+911140000001"})
    }

    #[test]
    fn each_carrier_gets_what_it_expects() {
        use NumberFormat::{PlusE164, ZeroNational};
        type Facts = (NumberFormat, FromUser, IdentityHeader, TrunkCodec, Dtmf, Option<f64>, Option<u32>);
        let check = |preset: &str, expect: Facts| {
            let trunk = completed(wire(preset));
            let found = (
                trunk.to_format,
                trunk.from_user,
                trunk.identity_header,
                trunk.codecs[0],
                trunk.dtmf,
                trunk.max_cps,
                trunk.max_cpm,
            );
            assert_eq!(found, expect, "{preset}");
            assert_eq!(trunk.from_format, PlusE164, "{preset}");
            assert_eq!(trunk.validate(), [], "{preset}");
        };
        let (caller, user) = (FromUser::CallerId, FromUser::Username);
        let (alaw, mulaw) = (TrunkCodec::Pcma, TrunkCodec::Pcmu);
        check("exotel", (PlusE164, caller, IdentityHeader::Rpid, alaw, Dtmf::Rfc4733, None, Some(200)));
        check("tata", (ZeroNational, user, IdentityHeader::Pai, alaw, Dtmf::Rfc4733, None, None));
        check("airtel", (ZeroNational, user, IdentityHeader::Ppi, alaw, Dtmf::Rfc4733, None, None));
        check("twilio", (PlusE164, caller, IdentityHeader::None, mulaw, Dtmf::Rfc4733, Some(1.0), None));
        check("telnyx", (PlusE164, caller, IdentityHeader::Pai, mulaw, Dtmf::Rfc4733, Some(50.0), None));
        check("generic", (PlusE164, caller, IdentityHeader::None, mulaw, Dtmf::Auto, None, None));
    }

    #[test]
    fn every_default_is_a_member_that_is_kept_as_it_is() {
        for (preset, word) in ALL {
            let mut filled = wire(word);
            Trunk::complete(&mut filled);
            let trunk: Trunk = serde_json::from_value(filled.clone()).unwrap();
            assert_eq!(trunk.preset, Some(preset));
            let kept = serde_json::to_value(&trunk).unwrap();
            for (name, value) in defaults(preset).as_object().unwrap() {
                let expect = filled.get(name).unwrap_or(value);
                assert_eq!(kept.get(name), Some(expect), "{word} {name}");
            }
        }
    }

    #[test]
    fn what_is_given_stays() {
        let mut given = wire("exotel");
        given["max_cpm"] = json!(600);
        given["identity_header"] = json!("none");
        given["max_cps"] = json!(null);
        let trunk = completed(given);
        assert_eq!((trunk.max_cpm, trunk.max_cps, trunk.identity_header), (Some(600), None, IdentityHeader::None));
        let mut hostless = wire("telnyx");
        hostless.as_object_mut().unwrap().remove("host");
        assert_eq!(completed(hostless).host, "sip.telnyx.com");
        for strange in [json!({"preset": "acme"}), json!({"preset": 5}), json!({}), json!([]), json!(null)] {
            let mut after = strange.clone();
            Trunk::complete(&mut after);
            assert_eq!(after, strange);
        }
    }

    #[test]
    fn what_no_default_can_know_is_told() {
        let check = |preset: &str, more: Value, parts: &[&str]| {
            let mut given = wire(preset);
            given.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            let warnings = completed(given).warnings();
            assert_eq!(warnings.len(), parts.len(), "{preset} {warnings:?}");
            for (warning, part) in warnings.iter().zip(parts) {
                assert!(warning.contains(part), "{warning}");
            }
        };
        check("exotel", json!({}), &["UDP", "pstn.exotel.com"]);
        check("exotel", json!({"from_domain": "acme1.pstn.exotel.com"}), &["UDP"]);
        check("twilio", json!({}), &["NAME.pstn.twilio.com"]);
        check("twilio", json!({"host": "acme.pstn.twilio.com"}), &[]);
        check("airtel", json!({}), &["from_domain"]);
        check("telnyx", json!({}), &[]);
        check("generic", json!({}), &[]);
    }
}
