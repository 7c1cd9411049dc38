//! Signature version 4, as far as an endpoint needs it: which service a request is meant for, and
//! whether it was signed with our secret. It must never let an unsigned request through. The age of
//! a signature isn't checked here: client and server share one clock. (S3 checks its own requests,
//! presigned ones with their expiry, inside `s3s`.)

use hmac::{Hmac, KeyInit, Mac};
use http::HeaderMap;
use http::request::Parts;
use sha2::{Digest, Sha256};

const ALGORITHM: &str = "AWS4-HMAC-SHA256";

/// Where a signature is good for: the credential scope without its date.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Scope {
    pub(super) region: String,
    pub(super) service: String,
}

/// The one pair of keys that is let in.
pub(super) struct Keys {
    pub(super) access_key: String,
    pub(super) secret_key: String,
}

/// Why a request is turned away.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// It carries no signature, or a broken one.
    Unsigned,
    /// It is signed in somebody else's name.
    UnknownKey,
    /// The signature doesn't match what arrived.
    Mismatch,
}

/// Reads the scope from the `Authorization` header or, of a presigned URL, from the query.
pub(super) fn scope(parts: &Parts) -> Option<Scope> {
    let credential = match Authorization::parse(&parts.headers) {
        Some(authorization) => authorization.credential.to_owned(),
        None => parts
            .uri
            .query()?
            .split('&')
            .find_map(|pair| pair.strip_prefix("X-Amz-Credential="))?
            .replace("%2F", "/")
            .replace("%2f", "/"),
    };
    let [_, _, region, service, "aws4_request"] = credential_fields(&credential)? else {
        return None;
    };
    Some(Scope { region: region.to_owned(), service: service.to_owned() })
}

impl Keys {
    /// Checks the signature of a request whose whole body is at hand.
    pub(super) fn verify(&self, parts: &Parts, body: &[u8]) -> Result<(), Refusal> {
        let authorization = Authorization::parse(&parts.headers).ok_or(Refusal::Unsigned)?;
        let fields = credential_fields(authorization.credential).ok_or(Refusal::Unsigned)?;
        let [access_key, date, region, service, terminator] = fields;
        if access_key != self.access_key {
            return Err(Refusal::UnknownKey);
        }
        let payload_hash = hex::encode(Sha256::digest(body));
        if let Some(claimed) = header(&parts.headers, "x-amz-content-sha256")
            && claimed != payload_hash
        {
            return Err(Refusal::Mismatch);
        }
        let canonical =
            canonical_request(parts, authorization.signed_headers, &payload_hash).ok_or(Refusal::Unsigned)?;
        let signed_at = header(&parts.headers, "x-amz-date").ok_or(Refusal::Unsigned)?;
        let to_sign = format!(
            "{ALGORITHM}\n{signed_at}\n{date}/{region}/{service}/{terminator}\n{}",
            hex::encode(Sha256::digest(canonical)),
        );
        let secret = format!("AWS4{}", self.secret_key);
        let key = [date, region, service, terminator]
            .iter()
            .fold(secret.into_bytes(), |key, part| mac(&key, part).finalize().into_bytes().to_vec());
        let signature = hex::decode(authorization.signature).map_err(|_| Refusal::Unsigned)?;
        mac(&key, &to_sign).verify_slice(&signature).map_err(|_| Refusal::Mismatch)
    }
}

/// `AWS4-HMAC-SHA256 Credential=…, SignedHeaders=…, Signature=…`, in any order.
struct Authorization<'a> {
    credential: &'a str,
    signed_headers: &'a str,
    signature: &'a str,
}

impl<'a> Authorization<'a> {
    fn parse(headers: &'a HeaderMap) -> Option<Self> {
        let fields = header(headers, "authorization")?.strip_prefix(ALGORITHM)?;
        let field = |name: &str| fields.split(',').find_map(|field| field.trim().strip_prefix(name)?.strip_prefix('='));
        Some(Self {
            credential: field("Credential")?,
            signed_headers: field("SignedHeaders")?,
            signature: field("Signature")?,
        })
    }
}

/// Key id, date, region, service and `aws4_request`; a key id may not hold a slash.
fn credential_fields(credential: &str) -> Option<[&str; 5]> {
    let mut fields = credential.split('/');
    let array = [fields.next()?, fields.next()?, fields.next()?, fields.next()?, fields.next()?];
    fields.next().is_none().then_some(array)
}

/// The canonical request of a JSON service: no presigned query, an ASCII path.
fn canonical_request(parts: &Parts, signed: &str, payload_hash: &str) -> Option<String> {
    let mut headers = String::new();
    let mut host_signed = false;
    for name in signed.split(';') {
        host_signed |= name == "host";
        let value = if name == "host" && !parts.headers.contains_key("host") {
            // HTTP/2 carries the host in the URI.
            parts.uri.authority()?.as_str().to_owned()
        } else {
            let mut values = Vec::new();
            for value in parts.headers.get_all(name) {
                let words: Vec<_> = value.to_str().ok()?.split_whitespace().collect();
                values.push(words.join(" "));
            }
            values.join(",")
        };
        headers.push_str(&format!("{name}:{value}\n"));
    }
    let mut query: Vec<_> = parts
        .uri
        .query()
        .unwrap_or_default()
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| match pair.contains('=') {
            true => pair.to_owned(),
            false => format!("{pair}="),
        })
        .collect();
    query.sort_unstable();
    host_signed.then(|| {
        format!("{}\n{}\n{}\n{headers}\n{signed}\n{payload_hash}", parts.method, parts.uri.path(), query.join("&"),)
    })
}

fn mac(key: &[u8], data: &str) -> Hmac<Sha256> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes a key of any length");
    mac.update(data.as_bytes());
    mac
}

fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(uri: &str, headers: &[(&str, &str)]) -> Parts {
        let mut request = http::Request::builder().method("GET").uri(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap().into_parts().0
    }

    fn check_scope(uri: &str, authorization: &str, expect: Option<(&str, &str)>) {
        let found = scope(&parts(uri, &[("authorization", authorization)]));
        let expect = expect.map(|(region, service)| Scope { region: region.into(), service: service.into() });
        assert_eq!(found, expect, "{uri} {authorization}");
    }

    #[test]
    fn the_scope_names_the_service() {
        let signed = |scope: &str| format!("AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders=host, Signature=00");
        check_scope("/", &signed("AK/20261122/eu-west-1/sqs/aws4_request"), Some(("eu-west-1", "sqs")));
        // No space after the commas is as good.
        check_scope(
            "/",
            &signed("AK/20261122/eu-west-1/s3/aws4_request").replace(", ", ","),
            Some(("eu-west-1", "s3")),
        );
        check_scope(
            "/b/k?X-Amz-Credential=AK%2F20261122%2Feu-west-1%2Fs3%2Faws4_request&x=1",
            "",
            Some(("eu-west-1", "s3")),
        );
        check_scope("/", &signed("AK/20261122/eu-west-1/sqs"), None);
        check_scope("/", &signed("A/K/20261122/eu-west-1/sqs/aws4_request"), None);
        check_scope("/", &signed("AK/20261122/eu-west-1/sqs/aws4"), None);
        check_scope("/", "Bearer abc", None);
        check_scope("/b/k?X-Amz-Credential=", "", None);
    }

    /// The cases "get-vanilla" and "get-vanilla-query-order-key-case" of the AWS signature test suite.
    #[test]
    fn signatures_of_the_aws_test_suite_verify() {
        let keys =
            Keys { access_key: "AKIDEXAMPLE".into(), secret_key: "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY".into() };
        let check = |uri: &str, signature: &str, body: &[u8], expect: Result<(), Refusal>| {
            let authorization = format!(
                "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, \
                 SignedHeaders=host;x-amz-date, Signature={signature}"
            );
            let request = parts(
                uri,
                &[
                    ("host", "example.amazonaws.com"),
                    ("x-amz-date", "20150830T123600Z"),
                    ("authorization", &authorization),
                ],
            );
            assert_eq!(keys.verify(&request, body), expect, "{uri} {signature}");
        };
        let vanilla = "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31";
        let query = "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500";
        check("/", vanilla, b"", Ok(()));
        check("/?Param2=value2&Param1=value1", query, b"", Ok(()));
        check("/", query, b"", Err(Refusal::Mismatch));
        check("/other", vanilla, b"", Err(Refusal::Mismatch));
        check("/", vanilla, b"body", Err(Refusal::Mismatch));
        check("/", "zz", b"", Err(Refusal::Unsigned));
        check("/", "", b"", Err(Refusal::Mismatch));
    }

    #[test]
    fn strangers_are_refused() {
        let keys = Keys { access_key: "OURS".into(), secret_key: "secret".into() };
        assert_eq!(keys.verify(&parts("/", &[]), b""), Err(Refusal::Unsigned), "no signature");
        let theirs = "AWS4-HMAC-SHA256 Credential=THEIRS/20150830/r/s/aws4_request, \
                      SignedHeaders=host, Signature=00";
        assert_eq!(keys.verify(&parts("/", &[("authorization", theirs)]), b""), Err(Refusal::UnknownKey));
        // A signature that doesn't cover the host could be replayed elsewhere.
        let hostless = "AWS4-HMAC-SHA256 Credential=OURS/20150830/r/s/aws4_request, \
                        SignedHeaders=x-amz-date, Signature=00";
        let request = parts("/", &[("authorization", hostless), ("x-amz-date", "20150830T123600Z")]);
        assert_eq!(keys.verify(&request, b""), Err(Refusal::Unsigned));
    }
}
