//! What a client shows at the door: keys and tokens, wherever its platform lets it put them.
//! It must never print one, and never pass one on.

use std::fmt;

use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use domain::api_key::ApiKey;
use domain::connect_token::PREFIX;
use domain::secret::{ExposeSecret, SecretString};
use url::form_urlencoded;

const KEY_HEADER: &str = "x-api-key";
/// The parameters of the query that hold a credential.
const KEY: &str = "key";
const TOKEN: &str = "token";

/// The part of a URL's query that concerns the door.
#[derive(Debug, Clone, Default)]
pub(crate) struct Query {
    shown: Vec<SecretString>,
}

impl Query {
    /// Reads the query of a request's target. A parameter that stands there twice counts as none.
    pub(crate) fn read(query: Option<&str>) -> Self {
        let pairs: Vec<_> = form_urlencoded::parse(query.unwrap_or_default().as_bytes()).collect();
        let one = |name: &str| {
            let mut found = pairs.iter().filter(|(known, _)| known == name).map(|(_, value)| value);
            found.next().filter(|_| found.next().is_none()).map(|value| SecretString::from(value.as_ref()))
        };
        Self { shown: [one(TOKEN), one(KEY)].into_iter().flatten().collect() }
    }

    /// Adds what stood in the path behind the bot: a connect token, for platforms that keep neither headers nor a query. A
    /// key does not belong there: paths are written into the logs of balancers.
    pub(crate) fn with_path(mut self, behind: Option<&str>) -> Self {
        self.shown.extend(behind.filter(|text| text.starts_with(PREFIX)).map(SecretString::from));
        self
    }
}

/// A query without what the door read, for whoever the connection is handed to.
pub(crate) fn without_credentials(query: &str) -> String {
    let kept = form_urlencoded::parse(query.as_bytes()).filter(|(name, _)| name != KEY && name != TOKEN);
    form_urlencoded::Serializer::new(String::new()).extend_pairs(kept).finish()
}

/// One credential, of a shape that can hold.
pub(super) enum Credential {
    Key(ApiKey),
    Token(SecretString),
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Key(_) => "Key(***)",
            Self::Token(_) => "Token(***)",
        })
    }
}

impl Credential {
    fn read(text: &str) -> Option<Self> {
        if text.starts_with(PREFIX) {
            return Some(Self::Token(SecretString::from(text)));
        }
        ApiKey::parse(text).ok().map(Self::Key)
    }
}

/// Everything that was shown, at most one for each place.
pub(super) fn shown(headers: &HeaderMap, query: &Query) -> Vec<Credential> {
    let header = one(headers, KEY_HEADER).map(SecretString::from);
    let authorization = one(headers, AUTHORIZATION.as_str()).and_then(authorized);
    let texts = header.into_iter().chain(authorization).chain(query.shown.iter().cloned());
    texts.filter_map(|text| Credential::read(text.expose_secret())).collect()
}

/// The one header of that name; doubled, it counts as none.
fn one<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let mut given = headers.get_all(name).iter();
    given.next().filter(|_| given.next().is_none())?.to_str().ok()
}

/// The token of `Bearer`, or the password of `Basic`, whatever the user's name.
fn authorized(value: &str) -> Option<SecretString> {
    let (scheme, rest) = value.split_once(' ')?;
    let rest = rest.trim();
    if scheme.eq_ignore_ascii_case("bearer") {
        return Some(SecretString::from(rest));
    }
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let pair = String::from_utf8(STANDARD.decode(rest).ok()?).ok()?;
    pair.split_once(':').map(|(_, password)| SecretString::from(password))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(headers: &[(&str, &str)], query: &str, expect: &[&str]) {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(axum::http::HeaderName::from_bytes(name.as_bytes()).unwrap(), value.parse().unwrap());
        }
        let query = Query::read(Some(query));
        let found = shown(&map, &query);
        let words: Vec<String> = found
            .iter()
            .map(|credential| match credential {
                Credential::Key(key) => format!("key {}", &key.hash().as_str()[..8]),
                Credential::Token(token) => format!("token {}", token.expose_secret()),
            })
            .collect();
        let expect: Vec<String> = expect
            .iter()
            .map(|text| match ApiKey::parse(text) {
                Ok(key) if !text.starts_with(PREFIX) => format!("key {}", &key.hash().as_str()[..8]),
                _ => format!("token {text}"),
            })
            .collect();
        assert_eq!(words, expect, "{headers:?} {query:?}");
        let printed = format!("{found:?} {query:?}");
        assert!(!printed.contains("12345678") && !printed.contains("rfc_"), "{printed}");
    }

    #[test]
    fn keys_and_tokens_stand_in_many_places() {
        check(&[], "", &[]);
        check(&[("x-api-key", "k12345678")], "", &["k12345678"]);
        check(&[("x-api-key", "k12345678"), ("x-api-key", "k12345678")], "", &[]);
        check(&[("x-api-key", "rfc_a.b")], "", &["rfc_a.b"]);
        check(&[("authorization", "Bearer k12345678")], "", &["k12345678"]);
        check(&[("authorization", "bearer  rfc_a.b")], "", &["rfc_a.b"]);
        // any:k12345678 / :k12345678 / a:b:k12345678
        check(&[("authorization", "Basic YW55OmsxMjM0NTY3OA==")], "", &["k12345678"]);
        check(&[("authorization", "basic OmsxMjM0NTY3OA==")], "", &["k12345678"]);
        check(&[("authorization", "Basic YTpiOmsxMjM0NTY3OA==")], "", &["b:k12345678"]);
        for broken in ["Basic", "Basic %%", "Basic /w==", "Basic azEyMzQ1Njc4", "Digest k12345678", "k12345678", ""] {
            check(&[("authorization", broken)], "", &[]);
        }
        check(&[], "key=k12345678", &["k12345678"]);
        check(&[], "key=k1234567%38&dialect=native", &["k12345678"]);
        check(&[], "key=k12345678&key=k12345678", &[]);
        check(&[], "token=rfc_a.b", &["rfc_a.b"]);
        check(&[], "token=k12345678&key=rfc_a.b", &["k12345678", "rfc_a.b"]);
        check(&[], "key=short&KEY=k12345678", &[]);
        check(&[("x-api-key", "k12345678")], "key=k87654321", &["k12345678", "k87654321"]);
    }

    #[test]
    fn a_path_holds_tokens_only() {
        let check = |behind: Option<&str>, expect: usize| {
            let query = Query::read(None).with_path(behind);
            assert_eq!(shown(&HeaderMap::new(), &query).len(), expect, "{behind:?}");
        };
        check(None, 0);
        check(Some("rfc_a.b"), 1);
        check(Some("k12345678"), 0);
        check(Some(""), 0);
    }

    #[test]
    fn what_is_handed_on_has_no_credentials() {
        let check = |query: &str, expect: &str| assert_eq!(without_credentials(query), expect, "{query}");
        check("", "");
        check("key=k&token=t", "");
        check("a=1&key=k&b=2&key=l&%6Bey=m", "a=1&b=2");
        check("dialect=raw&name=%C3%A9%20x", "dialect=raw&name=%C3%A9+x");
    }
}
