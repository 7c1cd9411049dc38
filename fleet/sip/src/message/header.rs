//! Header names with their compact forms, and the list of a message's headers in their order.

use super::scan::split;
use super::text::Text;

macro_rules! header_names {
    ($($variant:ident $name:literal $(| $compact:literal)?),+ $(,)?) => {
        /// The name of a header that this crate reads or must keep others from writing.
        #[derive(Debug, Clone)]
        pub enum HeaderName {
            $(#[doc = $name] $variant,)+
            /// Any other name, as it was written.
            Other(Text),
        }

        impl HeaderName {
            /// Reads a name or its compact form, in any case.
            pub fn parse(text: &str) -> Self {
                $(if text.eq_ignore_ascii_case($name) $(|| text.eq_ignore_ascii_case($compact))? {
                    return HeaderName::$variant;
                })+
                HeaderName::Other(Text::from(text))
            }

            /// The name in its usual long form.
            pub fn as_str(&self) -> &str {
                match self {
                    $(HeaderName::$variant => $name,)+
                    HeaderName::Other(name) => name.as_str(),
                }
            }
        }
    };
}

header_names! {
    Via "Via" | "v",
    From "From" | "f",
    To "To" | "t",
    CallId "Call-ID" | "i",
    CSeq "CSeq",
    Contact "Contact" | "m",
    MaxForwards "Max-Forwards",
    ContentLength "Content-Length" | "l",
    ContentType "Content-Type" | "c",
    ContentEncoding "Content-Encoding" | "e",
    ContentDisposition "Content-Disposition",
    RecordRoute "Record-Route",
    Route "Route",
    Allow "Allow",
    Supported "Supported" | "k",
    Require "Require",
    ProxyRequire "Proxy-Require",
    Unsupported "Unsupported",
    Accept "Accept",
    UserAgent "User-Agent",
    Server "Server",
    Reason "Reason",
    RetryAfter "Retry-After",
    WwwAuthenticate "WWW-Authenticate",
    ProxyAuthenticate "Proxy-Authenticate",
    Authorization "Authorization",
    ProxyAuthorization "Proxy-Authorization",
    RSeq "RSeq",
    RAck "RAck",
    Subject "Subject" | "s",
    Event "Event" | "o",
    ReferTo "Refer-To" | "r",
    ReferredBy "Referred-By" | "b",
    SessionExpires "Session-Expires" | "x",
    AllowEvents "Allow-Events" | "u",
    Identity "Identity" | "y",
}

/// Names are compared without regard to case (RFC 3261 §7.3.1).
impl PartialEq for HeaderName {
    fn eq(&self, other: &Self) -> bool {
        self.as_str().eq_ignore_ascii_case(other.as_str())
    }
}

impl Eq for HeaderName {}

impl HeaderName {
    /// Whether the user agent itself writes and reads this header, so that its owner neither sets nor sees it.
    pub const fn is_protocol(&self) -> bool {
        matches!(
            self,
            HeaderName::Via
                | HeaderName::From
                | HeaderName::To
                | HeaderName::CallId
                | HeaderName::CSeq
                | HeaderName::Contact
                | HeaderName::MaxForwards
                | HeaderName::ContentLength
                | HeaderName::ContentType
                | HeaderName::ContentEncoding
                | HeaderName::ContentDisposition
                | HeaderName::RecordRoute
                | HeaderName::Route
                | HeaderName::Allow
                | HeaderName::Supported
                | HeaderName::Require
                | HeaderName::ProxyRequire
                | HeaderName::Unsupported
                | HeaderName::Accept
                | HeaderName::WwwAuthenticate
                | HeaderName::ProxyAuthenticate
                | HeaderName::Authorization
                | HeaderName::ProxyAuthorization
                | HeaderName::RSeq
                | HeaderName::RAck
        )
    }

    /// Whether the header may stand only once, with one value (RFC 3261 §7.3.1, RFC 4475 §3.3.8).
    pub(super) const fn is_single(&self) -> bool {
        matches!(
            self,
            HeaderName::From | HeaderName::To | HeaderName::CallId | HeaderName::CSeq | HeaderName::MaxForwards
        )
    }
}

/// One header line, unfolded.
#[derive(derive_more::Debug, Clone, PartialEq, Eq)]
pub struct Header {
    pub name: HeaderName,
    /// Without the white space around it.
    #[debug("(personal)")]
    pub value: Text,
}

/// The headers of a message in their order.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Headers(pub(super) Vec<Header>);

impl Headers {
    /// All headers.
    pub fn iter(&self) -> impl Iterator<Item = &Header> {
        self.0.iter()
    }

    /// The lines of one name.
    pub fn all<'a>(&'a self, name: &'a HeaderName) -> impl Iterator<Item = &'a Text> {
        self.0.iter().filter(move |header| header.name == *name).map(|header| &header.value)
    }

    /// The first line of one name.
    pub fn first(&self, name: &HeaderName) -> Option<&Text> {
        self.0.iter().find(|header| header.name == *name).map(|header| &header.value)
    }

    /// The values of a list header, over all its lines (RFC 3261 §7.3.1).
    pub fn values<'a>(&'a self, name: &'a HeaderName) -> impl Iterator<Item = &'a str> {
        self.all(name).flat_map(|line| split(line, b','))
    }

    /// Takes out all lines of one name.
    pub(crate) fn remove(&mut self, name: &HeaderName) {
        self.0.retain(|header| header.name != *name);
    }

    /// The headers that are not the protocol's own, for the owner of a call.
    pub(crate) fn for_owner(&self) -> Vec<(String, String)> {
        self.0
            .iter()
            .filter(|header| !header.name.is_protocol())
            .map(|header| (header.name.as_str().to_owned(), header.value.to_string()))
            .collect()
    }
}
