//! Text that shares the datagram it came in; it must never hold bytes that are not UTF-8.

use std::fmt;
use std::ops::Deref;

use bytes::Bytes;

/// A cheaply cloned piece of UTF-8.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Text(Bytes);

impl Text {
    /// Takes bytes as they are; what is not UTF-8 in them is replaced.
    pub(crate) fn from_wire(bytes: Bytes) -> Self {
        match String::from_utf8_lossy(&bytes) {
            std::borrow::Cow::Borrowed(_) => Text(bytes),
            std::borrow::Cow::Owned(replaced) => Text(Bytes::from(replaced)),
        }
    }

    /// A part of this text; `part` must be a slice of it.
    pub(crate) fn slice(&self, part: &str) -> Self {
        if part.is_empty() {
            return Text::default();
        }
        Text(self.0.slice_ref(part.as_bytes()))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).expect("every constructor takes UTF-8 only")
    }
}

impl Deref for Text {
    type Target = str;

    fn deref(&self) -> &str {
        self.as_str()
    }
}

impl From<String> for Text {
    fn from(text: String) -> Self {
        Text(Bytes::from(text))
    }
}

impl From<&str> for Text {
    fn from(text: &str) -> Self {
        Text(Bytes::copy_from_slice(text.as_bytes()))
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
