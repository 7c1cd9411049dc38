//! Signatures: of requests on a fleet server's private port, and of deliveries (Standard Webhooks).
//! It must never compare a signature in variable time, and never sign anything but the exact bytes sent.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use jiff::Timestamp;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use sha2::Sha256;
use subtle::ConstantTimeEq;
use thiserror::Error;

/// Carries a request's signature: `kid=…,t=…,v1=…`.
pub const SIGNATURE_HEADER: &str = "x-ringfleet-signature";
/// A signature older or younger than this is refused, seconds.
pub const MAX_SKEW_SECONDS: i64 = 30;

/// One live secret of the fleet.
#[derive(Debug, Clone, Deserialize)]
pub struct FleetSecret {
    /// Names the secret in a signature: `[A-Za-z0-9._-]`, no commas.
    pub kid: String,
    pub secret: SecretString,
}

/// The secrets by which the control plane and the fleet know each other; two while one is being replaced.
/// As JSON: `{"current":{"kid":"…","secret":"…"},"previous":{…}}`.
#[derive(Debug, Clone, Deserialize)]
pub struct FleetSecrets {
    pub current: FleetSecret,
    #[serde(default)]
    pub previous: Option<FleetSecret>,
    /// Those that signed once: the connect tokens that they made hold until they expire. No request is believed for them.
    #[serde(default)]
    pub retired: Vec<FleetSecret>,
}

impl FleetSecrets {
    /// One secret, no predecessor.
    pub fn single(kid: impl Into<String>, secret: SecretString) -> Self {
        Self { current: FleetSecret { kid: kid.into(), secret }, previous: None, retired: Vec::new() }
    }

    /// The JSON that [`FleetSecrets`] reads, secrets in the clear: for the secret store only.
    pub fn expose_json(&self) -> SecretString {
        #[derive(Serialize)]
        struct One<'a> {
            kid: &'a str,
            secret: &'a str,
        }
        #[derive(Serialize)]
        struct Both<'a> {
            current: One<'a>,
            #[serde(skip_serializing_if = "Option::is_none")]
            previous: Option<One<'a>>,
            #[serde(skip_serializing_if = "Vec::is_empty")]
            retired: Vec<One<'a>>,
        }
        fn one(from: &FleetSecret) -> One<'_> {
            One { kid: &from.kid, secret: from.secret.expose_secret() }
        }
        let both = Both {
            current: one(&self.current),
            previous: self.previous.as_ref().map(one),
            retired: self.retired.iter().map(one).collect(),
        };
        SecretString::from(serde_json::to_string(&both).expect("texts are always JSON"))
    }
}

/// Why a request's signature does not hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum SignatureError {
    #[error("the signature header is malformed")]
    Malformed,
    #[error("no live secret has that kid")]
    UnknownKid,
    #[error("the signature's time is more than 30 s away")]
    Stale,
    #[error("the signature does not match")]
    Mismatch,
}

/// Signs a request with the current secret; the value of [`SIGNATURE_HEADER`].
/// Signed are the lines `v1`, `METHOD`, path with query, Unix seconds, and the body's bytes after the last newline.
pub fn sign(secrets: &FleetSecrets, method: &str, path: &str, at: Timestamp, body: &[u8]) -> String {
    let seconds = at.as_second();
    let mac = request_mac(&secrets.current.secret, method, path, seconds, body);
    format!("kid={},t={seconds},v1={}", secrets.current.kid, hex::encode(mac))
}

/// Verifies the value of [`SIGNATURE_HEADER`] against both live secrets.
///
/// # Errors
/// Says which part does not hold; the answer to the other side is 401 in every case.
pub fn verify(
    secrets: &FleetSecrets,
    header: &str,
    method: &str,
    path: &str,
    body: &[u8],
    now: Timestamp,
) -> Result<(), SignatureError> {
    let (kid, seconds, given) = read_header(header).ok_or(SignatureError::Malformed)?;
    let secret = std::iter::once(&secrets.current)
        .chain(&secrets.previous)
        .find(|live| live.kid == kid)
        .ok_or(SignatureError::UnknownKid)?;
    if now.as_second().saturating_sub(seconds).saturating_abs() > MAX_SKEW_SECONDS {
        return Err(SignatureError::Stale);
    }
    let expected = request_mac(&secret.secret, method, path, seconds, body);
    if bool::from(expected.as_slice().ct_eq(given.as_slice())) { Ok(()) } else { Err(SignatureError::Mismatch) }
}

fn read_header(header: &str) -> Option<(&str, i64, Vec<u8>)> {
    let mut parts = header.split(',');
    let kid = parts.next()?.strip_prefix("kid=")?;
    let seconds = parts.next()?.strip_prefix("t=")?.parse().ok()?;
    let mac = hex::decode(parts.next()?.strip_prefix("v1=")?).ok()?;
    parts.next().is_none().then_some((kid, seconds, mac))
}

fn request_mac(secret: &SecretString, method: &str, path: &str, seconds: i64, body: &[u8]) -> Vec<u8> {
    let head = format!("v1\n{method}\n{path}\n{seconds}\n");
    mac(secret.expose_secret().as_bytes(), &[head.as_bytes(), body])
}

fn mac(key: &[u8], parts: &[&[u8]]) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes a key of any length");
    for part in parts {
        mac.update(part);
    }
    mac.finalize().into_bytes().to_vec()
}

/// Why a delivery cannot be signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum WebhookSecretError {
    #[error("a secret that begins with whsec_ goes on in base64")]
    NotBase64,
    #[error("a webhook secret is not empty")]
    Empty,
}

/// The `webhook-signature` of a delivery (Standard Webhooks): `v1,` + base64 HMAC-SHA256 of `id.seconds.body`.
/// `secret` is `whsec_` + base64, or any other text, whose bytes are then the key.
///
/// # Errors
/// When no key can be read from the secret.
pub fn webhook_signature(
    secret: &SecretString,
    id: &str,
    at: Timestamp,
    body: &[u8],
) -> Result<String, WebhookSecretError> {
    let key = webhook_key(secret)?;
    let head = format!("{id}.{}.", at.as_second());
    Ok(format!("v1,{}", STANDARD.encode(mac(&key, &[head.as_bytes(), body]))))
}

/// Whether a webhook secret can sign.
///
/// # Errors
/// Says what is wrong with it.
pub fn check_webhook_secret(secret: &SecretString) -> Result<(), WebhookSecretError> {
    webhook_key(secret).map(|_| ())
}

fn webhook_key(secret: &SecretString) -> Result<Vec<u8>, WebhookSecretError> {
    let text = secret.expose_secret();
    let key = match text.strip_prefix("whsec_") {
        Some(encoded) => STANDARD.decode(encoded).map_err(|_| WebhookSecretError::NotBase64)?,
        None => text.as_bytes().to_vec(),
    };
    if key.is_empty() { Err(WebhookSecretError::Empty) } else { Ok(key) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(seconds).unwrap()
    }

    fn secrets() -> FleetSecrets {
        serde_json::from_str(r#"{"current":{"kid":"k2","secret":"new"},"previous":{"kid":"k1","secret":"old"}}"#)
            .unwrap()
    }

    #[test]
    fn a_signature_holds_for_exactly_what_was_signed() {
        let header = sign(&secrets(), "POST", "/calls?x=1", at(1000), b"body");
        let check = |method: &str, path: &str, body: &[u8], now: i64, expect: Result<(), SignatureError>| {
            assert_eq!(verify(&secrets(), &header, method, path, body, at(now)), expect, "{method} {path} {now}");
        };
        check("POST", "/calls?x=1", b"body", 1000, Ok(()));
        check("POST", "/calls?x=1", b"body", 1030, Ok(()));
        check("POST", "/calls?x=1", b"body", 970, Ok(()));
        check("POST", "/calls?x=1", b"body", 1031, Err(SignatureError::Stale));
        check("POST", "/calls?x=1", b"body", 969, Err(SignatureError::Stale));
        check("PUT", "/calls?x=1", b"body", 1000, Err(SignatureError::Mismatch));
        check("POST", "/calls?x=2", b"body", 1000, Err(SignatureError::Mismatch));
        check("POST", "/calls?x=1", b"Body", 1000, Err(SignatureError::Mismatch));
        check("POST", "/calls?x=1", b"", 1000, Err(SignatureError::Mismatch));
    }

    #[test]
    fn both_live_secrets_verify_and_no_other() {
        let check = |kid: &str, secret: &str, expect: Result<(), SignatureError>| {
            let signer = FleetSecrets::single(kid, SecretString::from(secret));
            let header = sign(&signer, "GET", "/health", at(5), b"");
            assert_eq!(verify(&secrets(), &header, "GET", "/health", b"", at(5)), expect, "{kid} {secret}");
        };
        check("k2", "new", Ok(()));
        check("k1", "old", Ok(()));
        check("k1", "new", Err(SignatureError::Mismatch));
        check("k0", "new", Err(SignatureError::UnknownKid));
        let retired = vec![FleetSecret { kid: "k0".into(), secret: "oldest".into() }];
        let header = sign(&FleetSecrets::single("k0", "oldest".into()), "GET", "/health", at(5), b"");
        let judged = verify(&FleetSecrets { retired, ..secrets() }, &header, "GET", "/health", b"", at(5));
        assert_eq!(judged, Err(SignatureError::UnknownKid), "it judges connect tokens alone");
    }

    #[test]
    fn malformed_headers_are_refused() {
        for header in [
            "",
            "kid=k2",
            "kid=k2,t=1",
            "kid=k2,t=x,v1=00",
            "kid=k2,t=1,v1=0",
            "t=1,kid=k2,v1=00",
            "kid=k2,t=1,v1=00,v2=00",
            "kid=k2, t=1, v1=00",
        ] {
            assert_eq!(
                verify(&secrets(), header, "GET", "/", b"", at(1)),
                Err(SignatureError::Malformed),
                "{header:?}"
            );
        }
        let far = format!("kid=k2,t={},v1=00", i64::MIN);
        assert_eq!(verify(&secrets(), &far, "GET", "/", b"", at(1)), Err(SignatureError::Stale));
        assert_eq!(verify(&secrets(), "kid=k2,t=1,v1=00", "GET", "/", b"", at(1)), Err(SignatureError::Mismatch));
    }

    #[test]
    fn secrets_read_back_and_stay_out_of_logs() {
        let again: FleetSecrets = serde_json::from_str(secrets().expose_json().expose_secret()).unwrap();
        assert_eq!(again.expose_json().expose_secret(), secrets().expose_json().expose_secret());
        assert!(!format!("{again:?}").contains("new"), "{again:?}");
        assert_eq!(
            FleetSecrets::single("k", SecretString::from("s")).expose_json().expose_secret(),
            r#"{"current":{"kid":"k","secret":"s"}}"#
        );
    }

    /// The example of the Standard Webhooks specification.
    #[test]
    fn deliveries_are_signed_as_standard_webhooks_are() {
        let sign = |secret: &str| {
            webhook_signature(
                &SecretString::from(secret),
                "msg_p5jXN8AQM9LWM0D4loKWxJek",
                at(1_614_265_330),
                br#"{"test": 2432232314}"#,
            )
        };
        assert_eq!(
            sign("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").as_deref(),
            Ok("v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=")
        );
        assert_ne!(sign("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"), sign("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"));
        assert_eq!(sign("whsec_%%%"), Err(WebhookSecretError::NotBase64));
        assert_eq!(sign("whsec_"), Err(WebhookSecretError::Empty));
        assert_eq!(sign(""), Err(WebhookSecretError::Empty));
    }
}
