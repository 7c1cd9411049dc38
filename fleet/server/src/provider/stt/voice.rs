//! What the recogniser hears of a leg: its audio at the model's 16 kHz, each frame with a voice probability.
//! It must never decide where speech begins; that is the segmenter's.

use media::resample::Resampler;

use super::moonshine::RATE;
use super::segmenter::FRAME;

const FRAME_SAMPLES: usize = FRAME as usize;

/// Rates that legs have.
const RATES: std::ops::RangeInclusive<u32> = 8_000..=48_000;

/// Says how probably a frame of 16 kHz audio holds a voice.
pub(super) trait Detect: Send {
    fn probability(&mut self, frame: &[f32]) -> f32;
}

/// The neural detector whose weights are in its crate.
struct Earshot(Box<earshot::Detector>);

impl Detect for Earshot {
    fn probability(&mut self, frame: &[f32]) -> f32 {
        self.0.predict_f32(frame)
    }
}

/// One leg's ear.
pub(super) struct Ear {
    resampler: Resampler,
    detector: Box<dyn Detect>,
    /// The input as fractions of full scale; kept for its capacity.
    scaled: Vec<f32>,
    /// 16 kHz audio that is no whole frame yet.
    waiting: Vec<f32>,
}

impl Ear {
    /// An ear for audio of `rate` samples a second; `None` for a rate it can't take.
    pub(super) fn new(rate: u32) -> Option<Self> {
        Self::with_detector(rate, Box::new(Earshot(earshot::Detector::default_boxed())))
    }

    pub(super) fn with_detector(rate: u32, detector: Box<dyn Detect>) -> Option<Self> {
        if !RATES.contains(&rate) {
            return None;
        }
        let resampler = Resampler::new(rate, RATE).ok()?;
        Some(Self { resampler, detector, scaled: Vec::new(), waiting: Vec::with_capacity(4 * FRAME_SAMPLES) })
    }

    /// Hands each whole frame of 16 kHz audio to `heard` with its voice probability.
    pub(super) fn listen(&mut self, samples: &[i16], mut heard: impl FnMut(&[f32], f32)) {
        self.scaled.clear();
        self.scaled.extend(samples.iter().map(|&sample| f32::from(sample) / 32_768.0));
        self.resampler.push_f32(&self.scaled, &mut self.waiting);
        let mut frames = self.waiting.chunks_exact(FRAME_SAMPLES);
        for frame in &mut frames {
            let probability = self.detector.probability(frame);
            heard(frame, probability);
        }
        let rest = frames.remainder().len();
        self.waiting.drain(..self.waiting.len() - rest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(rate: u32, chunk: usize) {
        let mut ear = Ear::new(rate).unwrap();
        let mut count = 0;
        for chunk in vec![0i16; rate as usize].chunks(chunk) {
            ear.listen(chunk, |frame, probability| {
                assert_eq!(frame.len(), FRAME_SAMPLES);
                assert!(probability < 0.5);
                count += 1;
            });
        }
        // A second is 62.5 frames, less what the filter holds back.
        assert!((61..=62).contains(&count), "{rate} in {chunk}: {count}");
    }

    #[test]
    fn frames_come_whole_whatever_the_rate_and_chunks() {
        for (rate, chunk) in
            [(8_000, 160), (8_000, 1), (8_000, 8_000), (16_000, 320), (24_000, 480), (48_000, 960), (11_025, 221)]
        {
            check(rate, chunk);
        }
    }

    #[test]
    fn other_rates_are_refused() {
        for rate in [0, 4_000, 96_000, u32::MAX] {
            assert!(Ear::new(rate).is_none(), "{rate}");
        }
    }
}
