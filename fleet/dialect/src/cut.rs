//! Cuts audio of any length into the frames that a protocol wants, with marks at their places between them.
//! It must never hold more than one frame's worth of audio once its cuts are taken.

use std::collections::VecDeque;

use crate::format::Format;

/// How a protocol wants its audio.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Rule {
    /// Bytes of a frame; 0: each piece is a frame, as it came.
    pub(crate) frame: usize,
    /// The last frame of a spurt is filled up with silence to a multiple of this, …
    pub(crate) unit: usize,
    /// … and to at least this.
    pub(crate) least: usize,
    /// What silence is made of; `None`: the last frame is sent as short as it is.
    pub(crate) silence: Option<u8>,
}

impl Rule {
    /// Frames of `ms`, the last one filled up to the same length.
    pub(crate) fn every(ms: u32, format: Format) -> Self {
        // Where the length of so many milliseconds varies, each piece is a packet.
        let frame = format.bytes(ms).unwrap_or(0);
        Self { frame, unit: frame, least: frame, silence: format.silence() }
    }
}

/// What to send next.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Cut<'a> {
    Audio(&'a [u8]),
    Mark(u64),
}

/// Audio and marks on their way out.
#[derive(Debug)]
pub(crate) struct Cutter {
    rule: Rule,
    waiting: Vec<u8>,
    /// How much of `waiting` was taken.
    taken: usize,
    /// The spurt ends with what is waiting.
    is_last: bool,
    /// Marks by the length of `waiting` that must have been taken before them.
    marks: VecDeque<(u64, usize)>,
}

/// Marks that may wait for one frame; more stand for nothing that a call does.
const MAX_MARKS: usize = 64;

impl Cutter {
    pub(crate) fn new(rule: Rule) -> Self {
        Self { rule, waiting: Vec::new(), taken: 0, is_last: false, marks: VecDeque::new() }
    }

    /// Adds audio; take the cuts before adding more.
    pub(crate) fn audio(&mut self, audio: &[u8]) {
        self.waiting.extend_from_slice(audio);
    }

    /// Adds a mark behind the audio so far. Gives the oldest mark back if too many wait.
    pub(crate) fn mark(&mut self, id: u64) -> Option<u64> {
        self.marks.push_back((id, self.waiting.len()));
        if self.marks.len() > MAX_MARKS { self.marks.pop_front().map(|(id, _)| id) } else { None }
    }

    /// What is waiting is all there is.
    pub(crate) fn end(&mut self) {
        self.is_last = true;
    }

    /// Throws everything away, and gives the marks back that were in it.
    pub(crate) fn clear(&mut self) -> Vec<u64> {
        self.waiting.clear();
        self.taken = 0;
        self.is_last = false;
        self.marks.drain(..).map(|(id, _)| id).collect()
    }

    /// Whole frames that are ready to be sent.
    pub(crate) fn whole_frames(&self) -> usize {
        (self.waiting.len() - self.taken).checked_div(self.rule.frame).unwrap_or(0)
    }

    /// The next frame or mark to send, in order.
    pub(crate) fn next(&mut self) -> Option<Cut<'_>> {
        if let Some(&(id, at)) = self.marks.front()
            && at <= self.taken
        {
            self.marks.pop_front();
            return Some(Cut::Mark(id));
        }
        let left = self.waiting.len() - self.taken;
        let size = match left {
            _ if left > 0 && self.rule.frame == 0 => left,
            _ if self.rule.frame > 0 && left >= self.rule.frame => self.rule.frame,
            _ if left > 0 && self.is_last => self.fill(left),
            _ => {
                self.keep_the_rest();
                return None;
            }
        };
        let start = self.taken;
        self.taken += size;
        Some(Cut::Audio(&self.waiting[start..self.taken]))
    }

    /// Fills the last frame up, and gives its length.
    fn fill(&mut self, left: usize) -> usize {
        let Some(silence) = self.rule.silence else { return left };
        let size = left.max(self.rule.least).next_multiple_of(self.rule.unit.max(1));
        self.waiting.resize(self.taken + size, silence);
        size
    }

    fn keep_the_rest(&mut self) {
        self.is_last = false;
        self.waiting.drain(..self.taken);
        for (_, at) in &mut self.marks {
            *at -= self.taken;
        }
        self.taken = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::Encoding;

    fn cutter(frame: usize, unit: usize, least: usize) -> Cutter {
        Cutter::new(Rule { frame, unit, least, silence: Some(0) })
    }

    /// Cuts as text: audio as its digits, marks as `<id>`.
    fn cuts(cutter: &mut Cutter) -> String {
        let mut all = Vec::new();
        while let Some(cut) = cutter.next() {
            all.push(match cut {
                Cut::Audio(audio) => audio.iter().map(u8::to_string).collect(),
                Cut::Mark(id) => format!("<{id}>"),
            });
        }
        all.join(" ")
    }

    #[test]
    fn audio_is_cut_into_whole_frames() {
        let mut cutter = cutter(4, 4, 4);
        cutter.audio(&[1, 2, 3]);
        assert_eq!(cuts(&mut cutter), "");
        cutter.audio(&[4, 5, 6, 7, 8, 9]);
        assert_eq!(cuts(&mut cutter), "1234 5678");
        cutter.end();
        assert_eq!(cuts(&mut cutter), "9000");
        cutter.end();
        assert_eq!(cuts(&mut cutter), "", "nothing is waiting");
        cutter.audio(&[1]);
        assert_eq!(cuts(&mut cutter), "", "a new spurt");
    }

    #[test]
    fn the_last_frame_has_its_own_rule() {
        let mut cutter = cutter(6, 2, 4);
        for (audio, expect) in
            [(&[1][..], "1000"), (&[1, 2, 3, 4, 5], "123450"), (&[1, 2, 3, 4, 5, 6, 7], "123456 7000")]
        {
            cutter.audio(audio);
            cutter.end();
            assert_eq!(cuts(&mut cutter), expect);
        }
        let mut packets = Cutter::new(Rule::every(20, Format::new(Encoding::Opus, 48_000)));
        for (audio, expect) in [(&[1, 2, 3][..], "123"), (&[4], "4")] {
            packets.audio(audio);
            assert_eq!(cuts(&mut packets), expect);
        }
        let mut short = Cutter::new(Rule { frame: 4, unit: 4, least: 4, silence: None });
        short.audio(&[1]);
        short.end();
        assert_eq!(cuts(&mut short), "1");
    }

    #[test]
    fn a_mark_comes_after_the_frame_that_holds_its_place() {
        let mut cutter = cutter(4, 4, 4);
        cutter.mark(1);
        assert_eq!(cuts(&mut cutter), "<1>", "nothing to wait for");
        cutter.audio(&[1, 2]);
        cutter.mark(2);
        assert_eq!(cuts(&mut cutter), "");
        cutter.audio(&[3, 4, 5, 6, 7, 8]);
        cutter.mark(3);
        assert_eq!(cuts(&mut cutter), "1234 <2> 5678 <3>");
        cutter.audio(&[9]);
        cutter.mark(4);
        cutter.end();
        assert_eq!(cuts(&mut cutter), "9000 <4>");
    }

    #[test]
    fn what_is_cleared_gives_its_marks_back() {
        let mut cutter = cutter(4, 4, 4);
        cutter.audio(&[1, 2]);
        cutter.mark(7);
        assert_eq!(cutter.clear(), [7]);
        cutter.end();
        assert_eq!(cuts(&mut cutter), "");
        cutter.audio(&[1]);
        for id in 0..64 {
            assert_eq!(cutter.mark(id), None);
        }
        assert_eq!(cutter.mark(64), Some(0));
    }
}
