//! Lengthens or shortens one frame by a pitch period: similar waveforms are laid over each other,
//! so pitch and loudness stay. Never needs more than the frame, its neighbours and the stack.

use crate::FRAME_SAMPLES;
use crate::pitch::{Toward, best_lag};

/// The most that one call removes or inserts: 15 ms.
pub(super) use crate::pitch::LAG_MAX;
/// What [`shrink`] must be given.
pub(super) const SHRINK_INPUT: usize = FRAME_SAMPLES + LAG_MAX;
/// Samples over which one waveform turns into the other.
const BLEND: usize = 40;
/// Samples compared.
const COMPARE: usize = 80;

/// Makes one frame of more than one; returns how many samples were left out.
pub(super) fn shrink(input: &[i16; SHRINK_INPUT], out: &mut [i16; FRAME_SAMPLES]) -> usize {
    let lag = best_lag(input, BLEND, COMPARE, Toward::Future);
    out[..BLEND].copy_from_slice(&input[..BLEND]);
    for n in BLEND..2 * BLEND {
        out[n] = blend(input[n], input[n + lag], n - BLEND);
    }
    out[2 * BLEND..].copy_from_slice(&input[2 * BLEND + lag..FRAME_SAMPLES + lag]);
    lag
}

/// Makes one frame of the start of `input` and what was played before; returns how many samples at
/// the end of `input` are still to be played.
pub(super) fn lengthen(
    played: &[i16; FRAME_SAMPLES],
    input: &[i16; FRAME_SAMPLES],
    out: &mut [i16; FRAME_SAMPLES],
) -> usize {
    let mut all = [0; 2 * FRAME_SAMPLES];
    all[..FRAME_SAMPLES].copy_from_slice(played);
    all[FRAME_SAMPLES..].copy_from_slice(input);
    let from = FRAME_SAMPLES;
    let lag = best_lag(&all, from, COMPARE, Toward::Past);
    for n in 0..BLEND {
        out[n] = blend(all[from + n], all[from + n - lag], n);
    }
    out[BLEND..].copy_from_slice(&all[from + BLEND - lag..from + FRAME_SAMPLES - lag]);
    lag
}

fn blend(from: i16, to: i16, n: usize) -> i16 {
    let mix = (n + 1) as i32;
    let whole = (BLEND + 1) as i32;
    ((i32::from(from) * (whole - mix) + i32::from(to) * mix) / whole) as i16
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pitch::LAG_MIN;
    use crate::test_support::{energy, sine, voiced};

    fn steepest(samples: &[i16]) -> i32 {
        samples.windows(2).map(|w| (i32::from(w[1]) - i32::from(w[0])).abs()).max().unwrap()
    }

    #[test]
    fn both_ways_join_smoothly() {
        for audio in [sine(200.0, 800, 8000.0), sine(440.0, 800, 8000.0), voiced(110.0, 800, 8000.0)] {
            let limit = steepest(&audio) * 5 / 4;
            let mut out = [0; FRAME_SAMPLES];

            let removed = shrink(audio[160..160 + SHRINK_INPUT].try_into().unwrap(), &mut out);
            assert!((LAG_MIN..=LAG_MAX).contains(&removed));
            let mut whole = audio[..160].to_vec();
            whole.extend(out);
            whole.extend(&audio[320 + removed..480 + removed]);
            assert!(steepest(&whole) <= limit, "shrink: {} > {limit}", steepest(&whole));
            assert!((0.7..1.4).contains(&(energy(&out) / energy(&audio))));

            let inserted = lengthen(audio[..160].try_into().unwrap(), audio[160..320].try_into().unwrap(), &mut out);
            assert!((LAG_MIN..=LAG_MAX).contains(&inserted));
            let mut whole = audio[..160].to_vec();
            whole.extend(out);
            whole.extend(&audio[320 - inserted..480 - inserted]);
            assert!(steepest(&whole) <= limit, "lengthen: {} > {limit}", steepest(&whole));
            assert!((0.7..1.4).contains(&(energy(&out) / energy(&audio))));
        }
    }

    #[test]
    fn silence_stays_silence() {
        let mut out = [1; FRAME_SAMPLES];
        shrink(&[0; SHRINK_INPUT], &mut out);
        assert_eq!(out, [0; FRAME_SAMPLES]);
    }
}
