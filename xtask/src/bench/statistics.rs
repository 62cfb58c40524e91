//! Medians and spreads of a handful of rounds.

use serde_json::{Value, json};

/// Figures of several rounds.
#[derive(Clone, Debug, Default)]
pub(super) struct Samples(Vec<f64>);

impl Samples {
    pub(super) fn push(&mut self, value: f64) {
        self.0.push(value);
    }

    pub(super) fn median(&self) -> Option<f64> {
        percentile(&self.0, 50.0)
    }

    pub(super) fn range(&self) -> Option<(f64, f64)> {
        let least = self.0.iter().copied().min_by(f64::total_cmp)?;
        let most = self.0.iter().copied().max_by(f64::total_cmp)?;
        Some((least, most))
    }

    pub(super) fn json(&self) -> Value {
        json!({ "median": self.median(), "rounds": self.0 })
    }
}

impl FromIterator<f64> for Samples {
    fn from_iter<I: IntoIterator<Item = f64>>(values: I) -> Self {
        Self(values.into_iter().collect())
    }
}

/// The value below which this part of them lies; between the two middle ones for an even median.
pub(super) fn percentile(values: &[f64], percent: f64) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let position = percent / 100.0 * sorted.len().checked_sub(1)? as f64;
    // The position is between zero and the last index.
    #[allow(clippy::cast_sign_loss)]
    let (below, above) = (position.floor() as usize, position.ceil() as usize);
    let part = position - position.floor();
    Some(sorted.get(below)? * (1.0 - part) + sorted.get(above)? * part)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_median_is_the_middle_or_between_the_middles() {
        let samples: Samples = [3.0, 1.0, 2.0].into_iter().collect();
        assert_eq!(samples.median(), Some(2.0));
        let samples: Samples = [1.0, 2.0, 3.0, 4.0].into_iter().collect();
        assert_eq!(samples.median(), Some(2.5));
        assert_eq!(samples.range(), Some((1.0, 4.0)));
        assert_eq!(Samples::default().median(), None);
    }
}
