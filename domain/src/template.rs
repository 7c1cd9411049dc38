//! Templates `{{namespace.field}}`: the one resolver behind prompts, scripts, pre-fetch requests and key mappers.
//! It must never look at a value for further templates, and never leave a well-formed token in its output.

mod context;

pub use context::{BUILT_INS, Context, LiveCall, SYSTEM};

use std::sync::LazyLock;

use regex::Regex;

/// A template, parsed once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    segments: Vec<Segment>,
}

#[derive(derive_more::Debug, Clone, PartialEq, Eq)]
enum Segment {
    /// Of a prompt, perhaps.
    Literal(#[debug("(personal)")] String),
    Token {
        namespace: String,
        field: String,
    },
}

/// What a template became.
#[derive(derive_more::Debug, Clone, Default, PartialEq, Eq)]
pub struct Rendered {
    #[debug("(personal)")]
    pub text: String,
    /// `namespace.field` of each token that had no value, once each, in order.
    pub missing: Vec<String>,
}

/// How values are written into the text around them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Writing {
    Plain,
    UrlComponent,
}

/// The namespaces there are; any other is well-formed and empty.
pub const NAMESPACES: &[&str] = &["crm", "call", "result", "system"];

static FIELD: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"^[\p{L}\p{M}\p{Nd}_.\-]+").expect("the pattern is a constant that tests compile"));

impl Template {
    /// Parses any text: what is no token stays literal.
    pub fn parse(text: &str) -> Self {
        let mut segments = Vec::new();
        let mut literal = 0;
        let mut at = 0;
        while let Some(open) = text[at..].find("{{").map(|found| at + found) {
            let Some((token, end)) = token(text, open) else {
                // One brace on, not two: in `{{{crm.n}}}` the token opens at the second.
                at = open + 1;
                continue;
            };
            if literal < open {
                segments.push(Segment::Literal(text[literal..open].to_owned()));
            }
            segments.push(token);
            literal = end;
            at = end;
        }
        if literal < text.len() {
            segments.push(Segment::Literal(text[literal..].to_owned()));
        }
        Self { segments }
    }

    /// Renders with values as they are.
    pub fn render(&self, context: &Context) -> Rendered {
        self.write(context, Writing::Plain)
    }

    /// Renders with values percent-encoded as URL components (RFC 3986 §2.3: all but unreserved characters).
    pub fn render_url(&self, context: &Context) -> Rendered {
        self.write(context, Writing::UrlComponent)
    }

    /// Whether it holds no token at all.
    pub fn is_literal(&self) -> bool {
        self.segments.iter().all(|segment| matches!(segment, Segment::Literal(_)))
    }

    /// Namespace and field of each token, in order.
    pub fn tokens(&self) -> impl Iterator<Item = (&str, &str)> {
        self.segments.iter().filter_map(|segment| match segment {
            Segment::Token { namespace, field } => Some((namespace.as_str(), field.as_str())),
            Segment::Literal(_) => None,
        })
    }

    /// What stands between its tokens.
    pub fn literals(&self) -> impl Iterator<Item = &str> {
        self.segments.iter().filter_map(|segment| match segment {
            Segment::Literal(text) => Some(text.as_str()),
            Segment::Token { .. } => None,
        })
    }

    fn write(&self, context: &Context, writing: Writing) -> Rendered {
        let mut out = Rendered::default();
        for segment in &self.segments {
            match segment {
                Segment::Literal(text) => out.text.push_str(text),
                Segment::Token { namespace, field } => match (context.resolve(namespace, field), writing) {
                    (Some(value), Writing::Plain) => out.text.push_str(&value),
                    (Some(value), Writing::UrlComponent) => percent_encode(&mut out.text, &value),
                    (None, _) => push_once(&mut out.missing, format!("{namespace}.{field}")),
                },
            }
        }
        out
    }
}

/// Parses and renders at once, for texts used once.
pub fn render(text: &str, context: &Context) -> Rendered {
    Template::parse(text).render(context)
}

fn push_once(names: &mut Vec<String>, name: String) {
    if !names.contains(&name) {
        names.push(name);
    }
}

/// Reads the token that opens at `open`, and where it ends.
fn token(text: &str, open: usize) -> Option<(Segment, usize)> {
    let inner = text[open + 2..].trim_start_matches(' ');
    let namespace_end = inner.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_'))?;
    let (namespace, rest) = inner.split_at(namespace_end);
    let rest = rest.strip_prefix('.').filter(|_| !namespace.is_empty())?;
    let field = FIELD.find(rest)?.as_str();
    let rest = rest[field.len()..].trim_start_matches(' ').strip_prefix("}}")?;
    let token = Segment::Token { namespace: namespace.to_owned(), field: field.to_owned() };
    Some((token, text.len() - rest.len()))
}

fn percent_encode(out: &mut String, value: &str) {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    for byte in value.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            out.push(char::from(byte));
        } else {
            out.push('%');
            out.push(char::from(HEX[usize::from(byte >> 4)]));
            out.push(char::from(HEX[usize::from(byte & 15)]));
        }
    }
}

#[cfg(test)]
mod tests;
