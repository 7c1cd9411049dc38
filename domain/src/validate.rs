//! Judges bots and trunks as an admin sends them; what passes here cannot fail a call by its shape.
//! It must never look anything up: whether a named trunk exists, or where a URL leads, is the handler's question.

mod bot;
mod transfer;
mod trunk;

use url::Url;

use crate::field_error::FieldError;
use crate::push::is_sendable_token;
use crate::secret::{ExposeSecret, SecretString};
use crate::signing::check_webhook_secret;
use crate::template::Template;

/// Longest URL, characters.
pub const MAX_URL: usize = 2048;
/// Longest prompt, message or secret, characters.
pub const MAX_TEXT: usize = 64 * 1024;

/// Judges one secret in the clear, before it is sealed; `pointer` is its place (see [`crate::secret::BOT_SECRETS`]).
///
/// # Errors
/// What is wrong with it, at its place; the secret itself is not repeated.
pub fn check_secret(pointer: &str, secret: &SecretString) -> Result<(), FieldError> {
    let path = pointer.trim_start_matches('/').replace('/', ".");
    let fault = |kind: &str, msg: String| Err(FieldError::body(&path, kind, msg));
    match pointer {
        "/push/token" | "/prefetch/token" if !is_sendable_token(secret.expose_secret()) => {
            fault("token", "a token has 1 to 4096 visible ASCII characters and is no template".to_owned())
        }
        "/push/secret" | "/webhook/secret" => match check_webhook_secret(secret) {
            Ok(()) => Ok(()),
            Err(e) => fault("webhook_secret", e.to_string()),
        },
        _ if secret.expose_secret().len() > MAX_TEXT => {
            fault("too_long", "a secret has at most 65536 bytes".to_owned())
        }
        _ if secret.expose_secret().contains(['\r', '\n', '\0']) => {
            fault("control_character", "a secret is one line".to_owned())
        }
        _ => Ok(()),
    }
}

/// The faults found so far.
#[derive(Debug, Default)]
struct Findings(Vec<FieldError>);

impl Findings {
    fn add(&mut self, path: &str, kind: &str, msg: impl Into<String>) {
        self.0.push(FieldError::body(path, kind, msg));
    }

    fn unless(&mut self, holds: bool, path: &str, kind: &str, msg: &str) {
        if !holds {
            self.add(path, kind, msg);
        }
    }

    /// A number between two bounds, both included.
    fn between<N: PartialOrd + std::fmt::Display>(&mut self, path: &str, value: N, least: N, most: N) {
        if !(value >= least && value <= most) {
            self.add(path, "out_of_range", format!("must be from {least} to {most}"));
        }
    }

    fn length(&mut self, path: &str, text: &str, least: usize, most: usize) {
        if !(least..=most).contains(&text.chars().count()) {
            self.add(path, "length", format!("must have {least} to {most} characters"));
        }
    }

    /// A URL that is no template.
    fn url(&mut self, path: &str, url: &str) {
        self.unless(!url.contains("{{"), path, "template", "this URL is never a template");
        self.templated_url(path, url);
    }

    /// A URL whose path and query may hold templates.
    fn templated_url(&mut self, path: &str, url: &str) {
        self.length(path, url, 1, MAX_URL);
        match Url::parse(url) {
            Err(e) => self.add(path, "url", format!("not a URL: {e}")),
            Ok(parsed) => {
                self.unless(
                    matches!(parsed.scheme(), "https" | "http"),
                    path,
                    "url",
                    "only https URLs (http where the deployment allows it)",
                );
                self.unless(
                    parsed.username().is_empty() && parsed.password().is_none(),
                    path,
                    "url",
                    "no user name or password in a URL",
                );
            }
        }
        let origin_end = url
            .find("://")
            .map_or(url.len(), |at| url[at + 3..].find(['/', '?', '#']).map_or(url.len(), |end| at + 3 + end));
        self.unless(
            Template::parse(&url[..origin_end]).is_literal(),
            path,
            "template",
            "no templates in scheme, host or port",
        );
    }
}

/// Whether `name` is a header name (RFC 9110 §5.6.2 token).
fn is_token(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b))
}

/// Whether `value` stays on its line.
fn is_one_line(value: &str) -> bool {
    !value.chars().any(|c| c.is_control() && c != '\t')
}

#[cfg(test)]
mod tests;
