//! How long operations took.

use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;

/// Durations, by their quantiles to three digits.
#[derive(Clone, Debug)]
pub struct Latency {
    micros: Histogram<u64>,
}

/// What is told of durations, in microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Quantiles {
    /// How many there were.
    pub count: u64,
    /// Half of them took no longer.
    pub p50_us: u64,
    /// 99 of 100 took no longer.
    pub p99_us: u64,
    /// 999 of 1,000 took no longer.
    pub p999_us: u64,
    /// The longest.
    pub max_us: u64,
}

impl Default for Latency {
    fn default() -> Self {
        Latency { micros: Histogram::new(3).expect("three digits are within its range") }
    }
}

impl Latency {
    /// Counts one.
    pub fn record(&mut self, duration: Duration) {
        // It grows as it must; only what exceeds 500,000 years has no room in it.
        self.micros.record(duration.as_micros() as u64).ok();
    }

    /// What is told of them.
    pub fn quantiles(&self) -> Quantiles {
        Quantiles {
            count: self.micros.len(),
            p50_us: self.micros.value_at_quantile(0.5),
            p99_us: self.micros.value_at_quantile(0.99),
            p999_us: self.micros.value_at_quantile(0.999),
            max_us: self.micros.max(),
        }
    }
}

/// Several as a table in milliseconds, each under its name.
pub fn table(rows: &[(&str, &Latency)]) -> String {
    let mut text = format!(
        "{:10} {:>10} {:>10} {:>10} {:>10} {:>10}",
        "ms", "count", "p50", "p99", "p99.9", "max"
    );
    for (name, latency) in rows {
        let Quantiles { count, p50_us, p99_us, p999_us, max_us } = latency.quantiles();
        text.push_str(&format!(
            "\n{name:10} {count:>10} {:>10} {:>10} {:>10} {:>10}",
            millis(p50_us),
            millis(p99_us),
            millis(p999_us),
            millis(max_us),
        ));
    }
    text
}

fn millis(micros: u64) -> String {
    format!("{:.2}", micros as f64 / 1000.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_those_of_what_was_counted() {
        let mut latency = Latency::default();
        for millis in 1..=100 {
            latency.record(Duration::from_millis(millis));
        }
        let quantiles = latency.quantiles();
        assert_eq!(quantiles.count, 100);
        assert!((49_000..51_000).contains(&quantiles.p50_us));
        assert!((99_900..100_200).contains(&quantiles.max_us));
        latency.record(Duration::from_secs(3600));
        assert!(latency.quantiles().max_us > 3_590_000_000);
    }

    #[test]
    fn the_table_is_aligned_also_when_it_is_empty() {
        let (mut some, none) = (Latency::default(), Latency::default());
        some.record(Duration::from_micros(1234));
        let table = table(&[("incr", &some), ("get", &none)]);
        let lines: Vec<_> = table.lines().collect();
        assert!(lines[1].contains("1.23"), "{table}");
        assert!(lines.iter().all(|line| line.len() == lines[0].len()), "{table}");
    }
}
