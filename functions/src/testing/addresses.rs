//! Where clients find the platform. It must never be known to a handler: what it answers holds below every one of these.

use url::Url;

/// A name of its own or one process, the stage of an API, and a place behind somebody's proxy. Functions see the paths
/// after these.
pub(crate) const ADDRESSES: [&str; 3] = [
    "https://calls.example.com",
    "https://a1b2c3d4e5.execute-api.eu-west-1.amazonaws.com/prod",
    "https://example.com/voice/eu",
];

/// Where a reference in the answer from `asked` leads (RFC 3986 §5), and the path that a function below `base` sees then.
pub(crate) fn resolved(base: &str, asked: &Url, reference: &str) -> (Url, String) {
    let url = asked.join(reference).unwrap();
    let path = url.as_str().strip_prefix(base).filter(|path| path.starts_with('/'));
    let path = path.unwrap_or_else(|| panic!("{reference} in the answer from {asked} leads out of {base}")).to_owned();
    (url, path)
}
