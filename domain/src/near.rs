//! The known word that an unknown one was probably meant to be.
//! It must never suggest a word that has little in common with what was written.

/// The candidate with the least edits, if those are few enough for a slip.
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    within(word.chars().count().div_ceil(3).max(1), word, candidates)
}

/// As [`nearest`], where words of others are right as well: only what is a slip of the finger.
pub fn slip<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    within(word.chars().count().div_ceil(3).clamp(1, 2), word, candidates)
}

fn within<'a>(limit: usize, word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    candidates
        .into_iter()
        .map(|candidate| (edits(word, candidate), candidate))
        .filter(|(edits, _)| *edits <= limit)
        .min()
        .map(|(_, candidate)| candidate)
}

/// Insertions, deletions, replacements and swaps of neighbours that make `b` of `a`.
fn edits(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut rows = vec![(0..=b.len()).collect::<Vec<usize>>()];
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let replaced = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut best = replaced.min(rows[i - 1][j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(rows[i - 2][j - 2] + 1);
            }
            row.push(best);
        }
        rows.push(row);
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_are_recognised_and_strangers_are_not() {
        let check =
            |word, expect| assert_eq!(nearest(word, ["http", "sip", "rtp_ports", "heartbeat"]), expect, "{word}");
        check("htpt", Some("http"));
        check("rtp_port", Some("rtp_ports"));
        check("hearbeat", Some("heartbeat"));
        check("sips", Some("sip"));
        check("colour", None);
        check("", None);
    }
}
