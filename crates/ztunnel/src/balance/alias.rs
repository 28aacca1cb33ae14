//! Weighted choice in constant time (Vose's alias method).

/// A prepared distribution over the indexes `0..n`.
#[derive(Debug, Clone, Default)]
pub(super) struct Alias {
    length: u32,
    /// Per index: below this share (of 2^32) the index itself, otherwise its alias. Empty when all weights are equal.
    cells: Vec<(u32, u32)>,
}

impl Alias {
    /// Prepares weights; every weight must be above 0 for its index ever to be chosen.
    pub(super) fn new(weights: &[u32]) -> Self {
        let length = u32::try_from(weights.len()).unwrap_or(u32::MAX);
        let is_even = weights.windows(2).all(|two| two[0] == two[1]);
        if is_even {
            return Self {
                length,
                cells: Vec::new(),
            };
        }
        let total: u128 = weights.iter().map(|weight| u128::from(*weight)).sum();
        // Scaled so that the average cell is exactly `total`: integers keep the method exact.
        let mut scaled: Vec<u128> = weights
            .iter()
            .map(|w| u128::from(*w) * u128::from(length))
            .collect();
        let mut cells: Vec<(u32, u32)> = (0..length).map(|index| (u32::MAX, index)).collect();
        let (mut small, mut large): (Vec<usize>, Vec<usize>) =
            (0..scaled.len()).partition(|index| scaled[*index] < total);
        while let (Some(low), Some(&high)) = (small.pop(), large.last()) {
            let share = (scaled[low] << 32) / total;
            cells[low] = (
                u32::try_from(share).unwrap_or(u32::MAX),
                u32::try_from(high).unwrap_or(0),
            );
            scaled[high] -= total - scaled[low];
            if scaled[high] < total {
                large.pop();
                small.push(high);
            }
        }
        Self { length, cells }
    }

    /// The index that a number, drawn evenly from all 64-bit numbers, stands for. `None` when there is none.
    pub(super) fn index(&self, sample: u64) -> Option<usize> {
        let (column, share) = (sample >> 32, sample & u64::from(u32::MAX));
        let index = usize::try_from((column * u64::from(self.length)) >> 32).ok()?;
        match self.cells.get(index) {
            Some((below, alias)) if share >= u64::from(*below) => usize::try_from(*alias).ok(),
            Some(_) => Some(index),
            None => (self.length > 0).then_some(index),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Chosen shares over an even grid of samples.
    fn shares(weights: &[u32]) -> Vec<f64> {
        const COLUMNS: u64 = 720;
        const ROWS: u64 = 400;
        let alias = Alias::new(weights);
        let mut counts = vec![0_u32; weights.len()];
        for column in 0..COLUMNS {
            for row in 0..ROWS {
                let sample = (((column << 32) / COLUMNS) + 1) << 32 | ((row << 32) / ROWS);
                counts[alias.index(sample).unwrap()] += 1;
            }
        }
        counts
            .iter()
            .map(|count| f64::from(*count) / (720.0 * 400.0))
            .collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn every_index_gets_its_share(weights in prop::collection::vec(1..1000_u32, 1..6)) {
            let total: f64 = weights.iter().map(|weight| f64::from(*weight)).sum();
            for (share, weight) in shares(&weights).iter().zip(&weights) {
                prop_assert!((share - f64::from(*weight) / total).abs() < 0.02, "{share} {weight} of {total}");
            }
        }

        #[test]
        fn an_index_is_always_in_range(
            weights in prop::collection::vec(any::<u32>().prop_map(|w| w.max(1)), 1..50), sample: u64,
        ) {
            prop_assert!(Alias::new(&weights).index(sample).unwrap() < weights.len());
        }
    }

    #[test]
    fn nothing_is_chosen_from_nothing() {
        assert_eq!(Alias::new(&[]).index(7), None);
        assert_eq!(Alias::new(&[5]).index(u64::MAX), Some(0));
    }
}
