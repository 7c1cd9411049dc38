//! Scripts of voice (`#`), doubt (`?`, between the two thresholds) and silence (`.`), a letter for 64 ms.

use super::*;

const LETTER_MS: u64 = 64;

fn play(config: SegmentConfig, script: &str) -> (Segmenter, Vec<Cue>) {
    let mut segmenter = Segmenter::new(config);
    let mut cues = Vec::new();
    for letter in script.chars() {
        for _ in 0..LETTER_MS * MS / FRAME {
            let probability = match letter {
                '#' => 0.9,
                '?' => 0.4,
                _ => 0.0,
            };
            segmenter.frame(probability, &mut cues);
        }
    }
    (segmenter, cues)
}

fn words(cues: &[Cue]) -> String {
    let word = |cue: &Cue| match *cue {
        Cue::Started { at } => format!("started@{}", at / MS),
        Cue::Partial { from, to } => format!("partial {}..{}", from / MS, to / MS),
        Cue::Speculate { from, to } => format!("speculate {}..{}", from / MS, to / MS),
        Cue::Conclude { from, to } => format!("conclude {}..{}", from / MS, to / MS),
        Cue::Ended { at } => format!("ended@{}", at / MS),
    };
    cues.iter().map(word).collect::<Vec<_>>().join(", ")
}

fn check(script: &str, expect: &str) {
    assert_eq!(words(&play(SegmentConfig::default(), script).1), expect, "{script}");
}

#[test]
fn silence_and_clicks_are_nothing() {
    check("..........", "");
    check("?????????????", "");
    let mut segmenter = Segmenter::new(SegmentConfig::default());
    let mut cues = Vec::new();
    for i in 0..100 {
        // Two voiced frames at a time are a click.
        segmenter.frame(if i % 10 < 2 { 1.0 } else { 0.0 }, &mut cues);
    }
    assert_eq!(cues, []);
}

#[test]
fn one_word() {
    check("......####..........", "started@384, speculate 144..752, ended@640, conclude 384..640");
    check("####......", "started@0, speculate 0..368, ended@256, conclude 0..256");
}

#[test]
fn doubt_sustains_but_does_not_begin() {
    check("??????##????......", "started@384, speculate 144..880, ended@768, conclude 384..768");
}

#[test]
fn a_short_pause_is_speculated_on_but_does_not_end_the_segment() {
    check(
        "......####..####......",
        "started@384, speculate 144..752, speculate 144..1136, ended@1024, conclude 384..1024",
    );
}

#[test]
fn two_segments() {
    check(
        "......####......####......",
        "started@384, speculate 144..752, ended@640, conclude 384..640, \
         started@1024, speculate 784..1392, ended@1280, conclude 1024..1280",
    );
}

#[test]
fn partials_come_with_new_speech_and_thin_out() {
    let (_, cues) = play(SegmentConfig::default(), &format!("....{}", "#".repeat(80)));
    let ends: Vec<u64> =
        cues.iter().filter_map(|c| if let Cue::Partial { to, .. } = c { Some(to / MS) } else { None }).collect();
    assert_eq!(ends, [736, 1216, 1824, 2736, 4096]);
}

#[test]
fn endpoint_ends_at_once() {
    let (mut segmenter, mut cues) = play(SegmentConfig::default(), "......####");
    segmenter.endpoint(&mut cues);
    assert_eq!(words(&cues), "started@384, speculate 144..640, ended@640, conclude 384..640");
    cues.clear();
    segmenter.endpoint(&mut cues);
    segmenter.frame(0.9, &mut cues);
    assert_eq!(cues, [], "a second endpoint and the tail of the word are nothing");
}

#[test]
fn endpoint_after_speculation_decodes_nothing_again() {
    let (mut segmenter, mut cues) = play(SegmentConfig::default(), "......####...");
    cues.clear();
    segmenter.endpoint(&mut cues);
    assert_eq!(words(&cues), "ended@640, conclude 384..640");
}

fn check_long(script: &str) -> Vec<(u64, u64)> {
    let (_, cues) =
        play(SegmentConfig { soft_limit_ms: 2_000, hard_limit_ms: 3_000, ..SegmentConfig::default() }, script);
    assert_eq!(cues.iter().filter(|c| matches!(c, Cue::Started { .. })).count(), 1, "{}", words(&cues));
    assert_eq!(cues.iter().filter(|c| matches!(c, Cue::Ended { .. })).count(), 1, "{}", words(&cues));
    let mut pieces = Vec::new();
    let mut speculated = None;
    for cue in &cues {
        match *cue {
            Cue::Speculate { from, to } => speculated = Some((from / MS, to / MS)),
            Cue::Conclude { .. } => pieces.push(speculated.take().expect("a speculation before each conclusion")),
            Cue::Started { .. } | Cue::Partial { .. } | Cue::Ended { .. } => {}
        }
    }
    pieces
}

#[test]
fn long_speech_is_cut_at_a_pause() {
    // Voice at 256..2496, a pause of 192 ms, voice at 2688..3328.
    let pieces = check_long(&format!("....{}...{}......", "#".repeat(35), "#".repeat(10)));
    assert_eq!(pieces.len(), 2);
    assert!(pieces[0].1 <= 2_624 && pieces[1].0 >= 2_608 && pieces[1].0 <= 2_688, "{pieces:?}");
    assert_eq!(pieces[1].1, 3_328 + 112);
}

#[test]
fn endless_speech_is_cut_where_voice_is_weakest() {
    // A dip at 2368..2432 within voice from 256 to 5184.
    let pieces = check_long(&format!("....{}?{}......", "#".repeat(33), "#".repeat(43)));
    assert!(pieces.len() >= 2, "{pieces:?}");
    assert!((2_368..=2_448).contains(&pieces[0].1), "{pieces:?}");
    for pair in pieces.windows(2) {
        assert_eq!(pair[0].1.max(pair[1].0), pair[1].0, "nothing is decoded twice: {pieces:?}");
        assert!(pair[1].0 - pair[0].1 <= 16, "nothing is left out: {pieces:?}");
    }
}

#[test]
fn a_cut_followed_by_silence_only_ends() {
    let pieces = check_long(&format!("....{}......", "#".repeat(35)));
    assert_eq!(pieces, [(16, 2_608)]);
}

#[test]
fn only_what_can_still_be_decoded_is_needed() {
    let (segmenter, _) = play(SegmentConfig::default(), &".".repeat(100));
    assert_eq!(segmenter.needed_from() / MS, 6_400 - 240 - 64);
    let (segmenter, _) = play(SegmentConfig::default(), &format!("......{}", "#".repeat(60)));
    assert_eq!(segmenter.needed_from() / MS, 144);
}
