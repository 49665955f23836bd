//! Figures: medians, percentiles and curves.

/// The middle of the values; of an even number of them the mean of both.
pub fn median(values: &[f64]) -> f64 {
    let sorted = sorted(values);
    match (sorted.len(), sorted.len() / 2) {
        (0, _) => f64::NAN,
        (length, middle) if length % 2 == 0 => f64::midpoint(sorted[middle - 1], sorted[middle]),
        (_, middle) => sorted[middle],
    }
}

/// The least value that so many per cent of the values do not exceed.
pub fn percentile(values: &[f64], percent: f64) -> f64 {
    let sorted = sorted(values);
    let rank = (percent / 100.0 * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.clamp(1, sorted.len().max(1)) - 1).copied().unwrap_or(f64::NAN)
}

pub fn least(values: &[f64]) -> f64 {
    values.iter().copied().fold(f64::NAN, f64::min)
}

pub fn greatest(values: &[f64]) -> f64 {
    values.iter().copied().fold(f64::NAN, f64::max)
}

/// The median, and between which values: `median [least–greatest]`.
pub fn range(values: &[f64], digits: usize) -> String {
    format!("{:.digits$} [{:.digits$}–{:.digits$}]", median(values), least(values), greatest(values))
}

fn sorted(values: &[f64]) -> Vec<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted
}

/// How many of the times, Unix µs, are in each second from `start` to the last of them.
pub fn per_second(times_us: &[u64], start_us: u64) -> Vec<usize> {
    let mut counts = Vec::new();
    for at in times_us.iter().filter(|at| **at >= start_us) {
        let second = ((at - start_us) / 1_000_000) as usize;
        if counts.len() <= second {
            counts.resize(second + 1, 0);
        }
        counts[second] += 1;
    }
    counts
}
