//! How long operations took.

use std::time::Duration;

use hdrhistogram::Histogram;

/// Durations, by their quantiles to three digits.
#[derive(Clone, Debug)]
pub struct Latency {
    micros: Histogram<u64>,
}

impl Default for Latency {
    fn default() -> Self {
        Latency { micros: Histogram::new(3).expect("three digits are within its range") }
    }
}

impl Latency {
    /// Counts one.
    pub fn record(&mut self, duration: Duration) {
        // What it has no room for, some 500,000 years, is as good as that.
        self.micros.saturating_record(duration.as_micros() as u64);
    }

    /// How many were counted.
    pub fn count(&self) -> u64 {
        self.micros.len()
    }

    /// The duration that this part of all did not exceed, in microseconds.
    pub fn quantile_us(&self, part: f64) -> u64 {
        self.micros.value_at_quantile(part)
    }

    /// The longest, in microseconds.
    pub fn max_us(&self) -> u64 {
        self.micros.max()
    }
}

/// Several as a table in milliseconds, each under its name.
pub fn table(rows: &[(&str, &Latency)]) -> String {
    let mut text = format!(
        "{:10} {:>10} {:>10} {:>10} {:>10} {:>10}",
        "ms", "count", "p50", "p99", "p99.9", "max"
    );
    for (name, latency) in rows {
        let quantile = |part| millis(latency.quantile_us(part));
        text.push_str(&format!(
            "\n{name:10} {:>10} {:>10} {:>10} {:>10} {:>10}",
            latency.count(),
            quantile(0.5),
            quantile(0.99),
            quantile(0.999),
            millis(latency.max_us()),
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
        assert_eq!(latency.count(), 100);
        assert!((49_000..51_000).contains(&latency.quantile_us(0.5)));
        assert!((99_900..100_200).contains(&latency.max_us()));
        latency.record(Duration::from_secs(3600));
        assert!(latency.max_us() > 3_590_000_000);
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
