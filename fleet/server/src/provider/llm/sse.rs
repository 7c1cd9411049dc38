//! Server-sent events out of bytes that are cut anywhere.
//! It must never grow without bound: a line or event that is too long is an error.

/// Longest event, in bytes.
const LONGEST_EVENT: usize = 256 * 1024;

/// An event longer than any token has reason to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an event of more than {LONGEST_EVENT} bytes")]
pub(super) struct TooLong;

/// What has come of a stream so far.
#[derive(Debug, Default)]
pub(super) struct EventStream {
    line: Vec<u8>,
    data: String,
    has_data: bool,
    /// The last byte was a carriage return: a line feed after it is the same line end.
    after_return: bool,
}

impl EventStream {
    /// Takes the next bytes and hands the data of each event that is complete with them to `each`.
    pub(super) fn push(&mut self, bytes: &[u8], mut each: impl FnMut(&str)) -> Result<(), TooLong> {
        for &byte in bytes {
            match byte {
                b'\n' if std::mem::take(&mut self.after_return) => {}
                b'\n' | b'\r' => {
                    self.after_return = byte == b'\r';
                    self.end_line(&mut each);
                }
                _ => {
                    self.after_return = false;
                    if self.line.len() + self.data.len() >= LONGEST_EVENT {
                        return Err(TooLong);
                    }
                    self.line.push(byte);
                }
            }
        }
        Ok(())
    }

    fn end_line(&mut self, each: &mut impl FnMut(&str)) {
        let line = String::from_utf8_lossy(&self.line);
        if line.is_empty() {
            if std::mem::take(&mut self.has_data) {
                each(&self.data);
            }
            self.data.clear();
        } else {
            let (field, value) = line.split_once(':').unwrap_or((&line, ""));
            if field == "data" {
                if self.has_data {
                    self.data.push('\n');
                }
                self.data.push_str(value.strip_prefix(' ').unwrap_or(value));
                self.has_data = true;
            }
        }
        self.line.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The events are the same wherever the bytes are cut.
    fn check(stream: &str, expect: &[&str]) {
        let bytes = stream.as_bytes();
        for cut in 0..=bytes.len() {
            let mut events = Vec::new();
            let mut parser = EventStream::default();
            for part in [&bytes[..cut], &bytes[cut..]] {
                parser.push(part, |data| events.push(data.to_owned())).unwrap();
            }
            assert_eq!(events, expect, "{stream:?} cut at {cut}");
        }
        let mut events = Vec::new();
        let mut parser = EventStream::default();
        for byte in bytes {
            parser.push(std::slice::from_ref(byte), |data| events.push(data.to_owned())).unwrap();
        }
        assert_eq!(events, expect, "{stream:?} byte by byte");
    }

    #[test]
    fn events() {
        check("", &[]);
        check("data: a\n\n", &["a"]);
        check("data:a\n\ndata: b\n\n", &["a", "b"]);
        check("data: a\r\n\r\ndata: é\r\n\r\n", &["a", "é"]);
        check("data: a\rdata: b\r\r", &["a\nb"]);
        check(": comment\nevent: x\nid: 1\ndata: a\nretry: 1\n\n", &["a"]);
        check("event: ping\n\ndata: a\n\n", &["a"]);
        check("data:\n\n", &[""]);
        check("data:  two spaces\n\n", &[" two spaces"]);
        check("data: never ended\n", &[]);
        check("\n\n\ndata: a\n\n", &["a"]);
    }

    #[test]
    fn endless_lines_are_refused() {
        let mut parser = EventStream::default();
        let mut pushed = 0;
        while parser.push(&[b'x'; 1024], |_| ()).is_ok() {
            pushed += 1024;
            assert!(pushed <= LONGEST_EVENT);
        }
        let mut parser = EventStream::default();
        let mut pushed = 0;
        while parser.push(b"data: many lines of one event\n", |_| ()).is_ok() {
            pushed += 30;
            assert!(pushed <= 2 * LONGEST_EVENT);
        }
    }
}
