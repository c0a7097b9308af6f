//! Medians, percentiles and ratios of paired samples.

use serde::Serialize;

/// A sample's middle and spread, in the sample's unit.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Summary {
    /// The median.
    pub median: f64,
    /// The 10th percentile.
    pub p10: f64,
    /// The 90th percentile.
    pub p90: f64,
    /// How many samples there were.
    pub count: usize,
}

/// A ratio of medians and its 95 % bootstrap interval.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Ratio {
    /// Median of the one by median of the other.
    pub value: f64,
    /// Lower end of the interval.
    pub low: f64,
    /// Upper end of the interval.
    pub high: f64,
}

/// The value below which the share `p` (0 to 1) of the samples lies, interpolated; NaN of none.
pub fn percentile(samples: &[f64], p: f64) -> f64 {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    percentile_of_sorted(&sorted, p)
}

fn percentile_of_sorted(sorted: &[f64], p: f64) -> f64 {
    if sorted.is_empty() {
        return f64::NAN;
    }
    let position = p * (sorted.len() - 1) as f64;
    let (below, above) = (position.floor() as usize, position.ceil() as usize);
    sorted[below] + (sorted[above] - sorted[below]) * (position - below as f64)
}

/// The median; NaN of none.
pub fn median(samples: &[f64]) -> f64 {
    percentile(samples, 0.5)
}

impl Summary {
    /// Of these samples.
    pub fn of(samples: &[f64]) -> Self {
        Summary {
            median: median(samples),
            p10: percentile(samples, 0.1),
            p90: percentile(samples, 0.9),
            count: samples.len(),
        }
    }
}

/// The ratio of the medians of two samples whose elements at the same index were taken in the same round.
/// The interval resamples rounds, so that what slowed a whole round down does not widen it. Samples without
/// a partner are left out.
pub fn paired_ratio(these: &[f64], those: &[f64], random: &mut Random) -> Ratio {
    const RESAMPLES: usize = 1000;
    let count = these.len().min(those.len());
    let (these, those) = (&these[..count], &those[..count]);
    let mut ratios = Vec::with_capacity(RESAMPLES);
    let (mut left, mut right) = (vec![0.0; count], vec![0.0; count]);
    for _ in 0..if count == 0 { 0 } else { RESAMPLES } {
        for at in 0..count {
            let round = random.below(count);
            left[at] = these[round];
            right[at] = those[round];
        }
        ratios.push(median(&left) / median(&right));
    }
    Ratio {
        value: median(these) / median(those),
        low: percentile(&ratios, 0.025),
        high: percentile(&ratios, 0.975),
    }
}

/// A small generator (splitmix64) for order and resampling: a run can be repeated from its seed.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// Starts at `seed`.
    pub fn new(seed: u64) -> Self {
        Random(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number from 0 up to but without `bound`, which must not be 0.
    pub fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    /// Puts the items in random order.
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.below(last + 1));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn percentiles_interpolate() {
        let samples = [4.0, 1.0, 3.0, 2.0];
        assert_eq!(median(&samples), 2.5);
        assert_eq!(percentile(&samples, 0.0), 1.0);
        assert_eq!(percentile(&samples, 1.0), 4.0);
        assert!((percentile(&samples, 0.1) - 1.3).abs() < 1e-12);
        assert!(median(&[]).is_nan());
    }

    #[test]
    fn pairing_cancels_what_slows_a_whole_round() {
        let those: Vec<f64> = (0..50).map(|round| 1.0 + f64::from(round)).collect();
        let these: Vec<f64> = those.iter().map(|sample| sample * 2.0).collect();
        let ratio = paired_ratio(&these, &those, &mut Random::new(1));
        assert_eq!((ratio.value, ratio.low, ratio.high), (2.0, 2.0, 2.0));
    }

    #[test]
    fn the_interval_shows_noise() {
        let noisy: Vec<f64> = (0..30).map(|i| if i % 2 == 0 { 1.0 } else { 3.0 }).collect();
        let ratio = paired_ratio(&noisy, &[1.0; 30], &mut Random::new(1));
        assert!(ratio.low < ratio.high);
    }

    proptest! {
        #[test]
        fn a_summary_is_ordered_and_within_the_samples(samples in prop::collection::vec(0.0f64..1e6, 1..60)) {
            let s = Summary::of(&samples);
            prop_assert!(s.p10 <= s.median && s.median <= s.p90);
            prop_assert!(samples.iter().any(|&x| x <= s.p10) && samples.iter().any(|&x| x >= s.p90));
        }

        #[test]
        fn a_shuffle_keeps_the_items(mut items in prop::collection::vec(0u32..100, 0..40), seed: u64) {
            let mut sorted = items.clone();
            sorted.sort_unstable();
            Random::new(seed).shuffle(&mut items);
            items.sort_unstable();
            prop_assert_eq!(items, sorted);
        }
    }
}
