//! Both styles of `chan_websocket`'s texts behind one reading. It must never answer in another style than it is spoken to.

use std::borrow::Cow;

use crate::frame::Frame;
use crate::json::Object;
use crate::opening::Collected;
use crate::violation::Violation;
use crate::words::Parties;

/// How Asterisk was told to speak, in `chan_websocket.conf` or by the dial string's option `f`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Style {
    Json,
    Plain,
}

impl Style {
    /// A command without parameters.
    pub(super) fn command(self, word: &str) -> Frame {
        Frame::Text(match self {
            Self::Json => format!(r#"{{"command":"{word}"}}"#),
            Self::Plain => word.to_owned(),
        })
    }

    pub(super) fn mark(self, name: &str) -> Frame {
        Frame::Text(match self {
            Self::Json => format!(r#"{{"command":"MARK_MEDIA","correlation_id":"{name}"}}"#),
            Self::Plain => format!("MARK_MEDIA {name}"),
        })
    }
}

/// An event of Asterisk's.
#[derive(Debug)]
pub(super) enum Message<'a> {
    Json(Object<'a>),
    /// `EVENT name:value name:value`, or a bare value.
    Plain {
        event: &'a str,
        rest: &'a str,
    },
}

impl<'a> Message<'a> {
    pub(super) fn read(text: &'a str) -> Result<Self, Violation> {
        let text = text.trim();
        if text.starts_with('{') {
            return Object::read(text).map(Self::Json);
        }
        let (event, rest) = text.split_once(' ').unwrap_or((text, ""));
        Ok(Self::Plain { event, rest })
    }

    pub(super) fn style(&self) -> Style {
        match self {
            Self::Json(_) => Style::Json,
            Self::Plain { .. } => Style::Plain,
        }
    }

    pub(super) fn event(&self) -> Cow<'a, str> {
        match self {
            Self::Json(object) => object.text("event").unwrap_or_default(),
            Self::Plain { event, .. } => Cow::Borrowed(*event),
        }
    }

    pub(super) fn text(&self, name: &str) -> Option<String> {
        match self {
            Self::Json(object) => object.first_text(&[name]),
            Self::Plain { .. } => {
                let found = self.words().find(|(key, _)| *key == name)?;
                (!found.1.is_empty()).then(|| found.1.to_owned())
            }
        }
    }

    pub(super) fn number(&self, name: &str) -> Option<u64> {
        self.text(name)?.trim().parse().ok()
    }

    /// The id of the mark that this is about.
    pub(super) fn correlation(&self) -> Option<String> {
        match self {
            Self::Plain { rest, .. } if !rest.contains(':') => Some(rest.trim().to_owned()),
            _ => self.text("correlation_id"),
        }
    }

    /// Who calls whom, as far as the dialplan put it into variables.
    pub(super) fn parties(&self) -> Parties {
        match self {
            Self::Json(object) => object.object("channel_variables").map(Parties::among).unwrap_or_default(),
            Self::Plain { .. } => Parties::default(),
        }
    }

    /// Adds all that was said, and the channel's variables under their own names.
    pub(super) fn collect(&self, to: &mut Collected) -> Result<(), Violation> {
        match self {
            Self::Json(object) => {
                to.object(object, &["event"])?;
                object.object("channel_variables").map_or(Ok(()), |variables| to.object(variables, &[]))
            }
            Self::Plain { .. } => self.words().try_for_each(|(name, value)| to.text(name, value)),
        }
    }

    fn words(&self) -> impl Iterator<Item = (&'a str, &'a str)> {
        let rest = match self {
            Self::Json(_) => "",
            Self::Plain { rest, .. } => rest,
        };
        rest.split_ascii_whitespace().filter_map(|word| word.split_once(':'))
    }
}
