//! Audio that comes in binary messages: the caller's samples out of whatever a message holds.
//! It must never copy a message that is already as it is needed, and never hold more than the beginning of a sample.

use std::mem;

use bytes::Bytes;

use crate::event::{Event, Out};
use crate::format::{Encoding, Format};

/// Takes one channel out of what comes, across messages that may end in the middle of a sample.
#[derive(Debug)]
pub(crate) struct Intake {
    /// Bytes of a sample.
    sample: usize,
    channels: usize,
    wanted: usize,
    /// The beginning of a sample of all channels.
    rest: Vec<u8>,
}

impl Intake {
    /// Everything that comes is one channel.
    pub(crate) fn mono(format: Format) -> Self {
        Self::one_of(format, 1, 0)
    }

    /// `wanted` counts from 0; the channels are interleaved.
    pub(crate) fn one_of(format: Format, channels: usize, wanted: usize) -> Self {
        let sample = if format.encoding == Encoding::L16 { 2 } else { 1 };
        Self { sample, channels, wanted, rest: Vec::new() }
    }

    /// Tells the audio of a message.
    pub(crate) fn hear(&mut self, message: Bytes, out: &mut Out) {
        let audio = self.take(message);
        if !audio.is_empty() {
            out.events.push_back(Event::Audio(audio));
        }
    }

    fn take(&mut self, message: Bytes) -> Bytes {
        let all_channels = self.sample * self.channels;
        if self.channels == 1 && self.rest.is_empty() && message.len().is_multiple_of(all_channels) {
            return message;
        }
        let mut all = mem::take(&mut self.rest);
        all.extend_from_slice(&message);
        self.rest = all.split_off(all.len() - all.len() % all_channels);
        if self.channels == 1 {
            return all.into();
        }
        let at = self.sample * self.wanted;
        let samples = all.chunks_exact(all_channels).map(|samples| &samples[at..at + self.sample]);
        samples.flatten().copied().collect::<Vec<u8>>().into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn heard(intake: &mut Intake, message: &'static [u8], expect: &[u8]) {
        let mut out = Out::new();
        intake.hear(Bytes::from_static(message), &mut out);
        let told: Vec<Event> = out.events.into();
        let expect = (!expect.is_empty()).then(|| Event::Audio(Bytes::copy_from_slice(expect)));
        assert_eq!(told, Vec::from_iter(expect));
    }

    #[test]
    fn a_whole_message_is_passed_on_as_it_lies() {
        let mut intake = Intake::mono(Format::new(Encoding::L16, 8000));
        let message = Bytes::from(vec![1, 2, 3, 4]);
        assert_eq!(intake.take(message.clone()).as_ptr(), message.as_ptr());
    }

    #[test]
    fn samples_stay_whole_whatever_the_messages_are() {
        let mut l16 = Intake::mono(Format::new(Encoding::L16, 8000));
        heard(&mut l16, &[1], &[]);
        heard(&mut l16, &[2, 3], &[1, 2]);
        heard(&mut l16, &[4, 5, 6], &[3, 4, 5, 6]);
        heard(&mut l16, &[], &[]);
        let mut mulaw = Intake::mono(Format::new(Encoding::Mulaw, 8000));
        heard(&mut mulaw, &[1, 2, 3], &[1, 2, 3]);
    }

    #[test]
    fn one_channel_of_several_is_heard() {
        let mut left = Intake::one_of(Format::new(Encoding::L16, 8000), 2, 0);
        heard(&mut left, &[1, 2, 9, 9, 3], &[1, 2]);
        heard(&mut left, &[4, 9, 9, 5, 6, 9], &[3, 4]);
        heard(&mut left, &[9], &[5, 6]);
        let mut second = Intake::one_of(Format::new(Encoding::Mulaw, 8000), 2, 1);
        heard(&mut second, &[9, 1, 9, 2, 9], &[1, 2]);
    }
}
