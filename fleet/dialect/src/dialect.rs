//! What every protocol's codec has to do, and which codec a name stands for.

use std::time::Duration;

use crate::asterisk::Asterisk;
use crate::carrier::Carrier;
use crate::event::{Command, Out};
use crate::exotel::Exotel;
use crate::frame::Frame;
use crate::freeswitch::Freeswitch;
use crate::genesys::Genesys;
use crate::jambonz::Jambonz;
use crate::name::Name;
use crate::native::Native;
use crate::plivo::Plivo;
use crate::raw::Raw;
use crate::settings::{Moment, Settings};
use crate::telnyx::Telnyx;
use crate::twilio::Twilio;
use crate::violation::{Unsupported, Violation};
use crate::vonage::Vonage;

/// What a dialect has words for; what it has not, the leg does otherwise or without.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Abilities {
    /// Audio that was sent and not played yet can be taken back.
    pub clear: bool,
    /// The dialler says when a mark was played.
    pub marks: bool,
    /// The call can be handed to another number.
    pub transfer: bool,
    /// The dialler is told to hang up and then closes the socket itself; without this, closing the socket is hanging up.
    pub in_band_hangup: bool,
    /// Keys can be pressed towards the caller.
    pub dtmf: bool,
}

/// One protocol, from its first frame to its last. `Session` sees to it that the frames of the detection are all
/// replayed, that nothing is fed after `Event::HungUp`, and that a peer which never opens is cut off after 10 s.
///
/// - `Event::Opened` comes once and first, `Event::Answered` once, `Event::HungUp` once and last.
/// - Everything kept has a bound.
/// - A frame that is harmless but useless is dropped and counted (`Out::lose`); one that breaks the protocol is a
///   [`Violation`].
pub(crate) trait Dialect: Send {
    fn receive(&mut self, at: Moment, frame: Frame, out: &mut Out) -> Result<(), Violation>;
    fn command(&mut self, at: Moment, command: Command<'_>, out: &mut Out) -> Result<(), Unsupported>;
    fn can(&self) -> Abilities;

    /// When `handle_timeout` wants to be called next, since the socket opened.
    fn poll_timeout(&self) -> Option<Duration> {
        None
    }

    fn handle_timeout(&mut self, _at: Moment, _out: &mut Out) -> Result<(), Violation> {
        Ok(())
    }
}

/// The codec of a dialect.
pub(crate) fn build(name: Name, settings: &Settings) -> Box<dyn Dialect> {
    match name {
        Name::Native => Box::new(Native::new(settings)),
        Name::Twilio => Box::new(Carrier::<Twilio>::new(settings)),
        Name::Exotel => Box::new(Carrier::<Exotel>::new(settings)),
        Name::Plivo => Box::new(Carrier::<Plivo>::new(settings)),
        Name::Telnyx => Box::new(Telnyx::new(settings)),
        Name::Vonage => Box::new(Vonage::new(settings)),
        Name::Genesys => Box::new(Genesys::default()),
        Name::Jambonz => Box::new(Jambonz::new(settings)),
        Name::Asterisk => Box::new(Asterisk::new(settings)),
        Name::Freeswitch => Box::new(Freeswitch::new(settings)),
        Name::Raw => Box::new(Raw::new(settings)),
    }
}
