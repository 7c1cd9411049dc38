//! Digest answers (RFC 7616, RFC 8760) judged from the outside. It must never use the product's own digest.

use anyhow::{Context, Result, ensure};
use md5::Md5;
use sha2::{Digest, Sha256};

/// A parameter of a `Digest` header value.
pub fn parameter<'a>(value: &'a str, name: &str) -> Option<&'a str> {
    let (_, parameters) = value.trim().split_once(' ')?;
    let pairs = parameters.split(',').filter_map(|pair| pair.trim().split_once('='));
    pairs.into_iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, text)| text.trim_matches('"'))
}

/// Whether credentials are those of `user` and `password` for a request `method` to `uri`, with `qop=auth`.
///
/// # Errors
/// Says what is missing or wrong.
pub fn verify(credentials: &str, method: &str, uri: &str, user: &str, password: &str) -> Result<()> {
    let get = |name: &str| parameter(credentials, name).with_context(|| format!("no {name} in {credentials}"));
    ensure!(get("username")? == user && get("uri")? == uri && get("qop")? == "auth", "{credentials} for {uri}");
    ensure!(get("nc")? == "00000001", "the first use of a nonce has nc {}", get("nc")?);
    let hash: fn(&str) -> String = match parameter(credentials, "algorithm").unwrap_or("MD5") {
        "MD5" => |text| hex::encode(Md5::digest(text)),
        "SHA-256" => |text| hex::encode(Sha256::digest(text)),
        other => anyhow::bail!("algorithm {other}"),
    };
    let secret = hash(&format!("{user}:{}:{password}", get("realm")?));
    let request = hash(&format!("{method}:{uri}"));
    let (nonce, nc, cnonce) = (get("nonce")?, get("nc")?, get("cnonce")?);
    let expected = hash(&format!("{secret}:{nonce}:{nc}:{cnonce}:auth:{request}"));
    ensure!(get("response")? == expected, "the response to the challenge is wrong: {credentials}");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of RFC 7616 §3.9.1.
    fn example(algorithm: &str, response: &str) -> String {
        format!(
            "Digest username=\"Mufasa\", realm=\"http-auth@example.org\", uri=\"/dir/index.html\", algorithm={algorithm}, \
             nonce=\"7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v\", nc=00000001, \
             cnonce=\"f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ\", qop=auth, response=\"{response}\""
        )
    }

    #[test]
    fn the_examples_of_the_rfc_verify() {
        let check = |algorithm: &str, response: &str, password: &str| {
            verify(&example(algorithm, response), "GET", "/dir/index.html", "Mufasa", password).is_ok()
        };
        let sha = "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1";
        assert!(check("MD5", "8ca523f5e9506fed4657c9700eebdbec", "Circle of Life"));
        assert!(check("SHA-256", sha, "Circle of Life"));
        assert!(!check("SHA-256", sha, "Circle of Death"));
        assert!(!check("MD5", sha, "Circle of Life"));
    }
}
