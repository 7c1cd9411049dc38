//! Moonshine's `tokenizer.bin`: token numbers to text.
//! It must never fail on a token: an unknown number is no text.

/// U+2581, which stands for a space in the pieces.
const SPACE: char = '\u{2581}';

/// The pieces of the vocabulary by token number.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Tokenizer {
    pieces: Vec<Box<[u8]>>,
}

/// The file ended within a piece.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the tokenizer file is cut short after {pieces} pieces")]
pub(super) struct Truncated {
    pieces: usize,
}

impl Tokenizer {
    /// Reads length-prefixed byte strings; a length byte `b` ≥ 128 means `(b − 128) + next × 128`.
    pub(super) fn parse(mut bytes: &[u8]) -> Result<Self, Truncated> {
        let mut pieces = Vec::new();
        while !bytes.is_empty() {
            let piece = take_piece(&mut bytes).ok_or(Truncated { pieces: pieces.len() })?;
            pieces.push(piece.into());
        }
        Ok(Self { pieces })
    }

    /// Number of tokens of the vocabulary.
    pub(super) fn len(&self) -> usize {
        self.pieces.len()
    }

    /// The text of `tokens`, trimmed, control tokens (`<s>`, `<<ST_7>>`) left out.
    pub(super) fn decode(&self, tokens: &[usize]) -> String {
        let pieces = tokens.iter().filter_map(|&token| self.pieces.get(token)).filter(|piece| !is_control(piece));
        let bytes: Vec<u8> = pieces.flat_map(|piece| piece.iter().copied()).collect();
        String::from_utf8_lossy(&bytes).replace(SPACE, " ").trim().to_owned()
    }
}

fn take_piece<'a>(bytes: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (&first, mut rest) = bytes.split_first()?;
    let mut length = usize::from(first);
    if length >= 128 {
        let (&second, after) = rest.split_first()?;
        length = (length - 128) + usize::from(second) * 128;
        rest = after;
    }
    let (piece, rest) = rest.split_at_checked(length)?;
    *bytes = rest;
    Some(piece)
}

fn is_control(piece: &[u8]) -> bool {
    matches!(piece, b"<unk>" | b"<s>" | b"</s>") || (piece.starts_with(b"<<ST_") && piece.ends_with(b">>"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file() -> Vec<u8> {
        let mut file = Vec::new();
        let long = "x".repeat(300);
        for piece in ["<s>", "</s>", "\u{2581}hello", "\u{2581}wor", "ld", ",", "<<ST_3>>", &long, ""] {
            if piece.len() < 128 {
                file.push(piece.len() as u8);
            } else {
                file.push((piece.len() % 128 + 128) as u8);
                file.push((piece.len() / 128) as u8);
            }
            file.extend_from_slice(piece.as_bytes());
        }
        // Both bytes of é, as byte pieces.
        file.extend_from_slice(&[1, 0xc3, 1, 0xa9]);
        file
    }

    fn check(tokens: &[usize], expect: &str) {
        assert_eq!(Tokenizer::parse(&file()).unwrap().decode(tokens), expect, "{tokens:?}");
    }

    #[test]
    fn decode() {
        check(&[], "");
        check(&[2, 5, 3, 4], "hello, world");
        check(&[0, 2, 6, 1], "hello");
        check(&[3, 4, 8, 9, 10], "worldé");
        check(&[9], "\u{fffd}");
        check(&[2, 99_999], "hello");
        check(&[7], &"x".repeat(300));
    }

    #[test]
    fn a_file_cut_anywhere_is_refused_or_shorter() {
        let whole = Tokenizer::parse(&file()).unwrap();
        assert_eq!(whole.len(), 11);
        for end in 0..file().len() {
            match Tokenizer::parse(&file()[..end]) {
                Ok(shorter) => assert!(shorter.len() < whole.len()),
                Err(Truncated { pieces }) => assert!(pieces < whole.len()),
            }
        }
    }
}
