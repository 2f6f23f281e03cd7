//! Medians, percentiles and rates, each with its 95 % interval.

use paxos_core::Random;
use statrs::distribution::{ChiSquared, ContinuousCDF};

/// Resamples of a bootstrap interval.
const RESAMPLES: usize = 2000;

/// A figure and the bounds of its 95 % interval.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Estimate {
    /// The figure.
    pub value: f64,
    /// The lower bound.
    pub low: f64,
    /// The upper bound.
    pub high: f64,
}

/// The quantile `q`, from 0 to 1, of some values, linearly between neighbours; nothing of none.
pub fn quantile(values: &[f64], q: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let Some(last) = sorted.len().checked_sub(1) else { return f64::NAN };
    let place = q * last as f64;
    let (below, above) = (sorted[place.floor() as usize], sorted[place.ceil() as usize]);
    below + (above - below) * place.fract()
}

/// The arithmetic mean.
pub fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// A statistic of a sample, with its percentile bootstrap interval (Efron 1979). The resamples are
/// drawn from a fixed seed, so that the same sample has the same interval.
pub fn bootstrap(sample: &[f64], statistic: impl Fn(&[f64]) -> f64) -> Estimate {
    let mut random = Random::new(0x5eed);
    let mut draw = || {
        let place = |_| sample[random.below(sample.len() as u64) as usize];
        statistic(&sample.iter().enumerate().map(place).collect::<Vec<_>>())
    };
    let resampled: Vec<_> = (0..RESAMPLES).map(|_| draw()).collect();
    Estimate {
        value: statistic(sample),
        low: quantile(&resampled, 0.025),
        high: quantile(&resampled, 0.975),
    }
}

/// Events an hour, with the exact interval of a Poisson rate (Garwood 1936). It is right for events
/// that are independent of each other.
pub fn rate(events: u64, hours: f64) -> Estimate {
    let bound = |degrees: u64, p: f64| {
        let chi = ChiSquared::new(degrees as f64).ok().filter(|_| degrees > 0);
        chi.map_or(0.0, |chi| chi.inverse_cdf(p) / 2.0)
    };
    Estimate {
        value: events as f64 / hours,
        low: bound(2 * events, 0.025) / hours,
        high: bound(2 * events + 2, 0.975) / hours,
    }
}

/// Events an hour that may come in bursts, from how many there were in each of some runs as long as
/// each other: bootstrapped over the runs. Where there was none at all, as if by Poisson.
pub fn bursts(of_runs: &[u64], hours: f64) -> Estimate {
    let sum: u64 = of_runs.iter().sum();
    if sum == 0 {
        return rate(0, hours);
    }
    let an_hour = of_runs.len() as f64 / hours;
    let rates: Vec<_> = of_runs.iter().map(|events| *events as f64 * an_hour).collect();
    bootstrap(&rates, mean)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bursts_are_as_uncertain_as_their_runs_differ() {
        let even = bursts(&[5; 20], 2.0);
        assert_eq!(even, Estimate { value: 50.0, low: 50.0, high: 50.0 });
        let mut one = [0; 20];
        one[3] = 100;
        let burst = bursts(&one, 2.0);
        assert!(burst.value == 50.0 && burst.low < 1.0 && burst.high > 100.0, "{burst:?}");
        assert_eq!(bursts(&[0; 20], 2.0), rate(0, 2.0));
    }

    #[test]
    fn quantiles_lie_between_neighbours() {
        let values = [4.0, 1.0, 3.0, 2.0];
        assert_eq!(quantile(&values, 0.5), 2.5);
        assert_eq!((quantile(&values, 0.0), quantile(&values, 1.0)), (1.0, 4.0));
        assert!((quantile(&values, 0.95) - 3.85).abs() < 1e-12);
        assert!(quantile(&[], 0.5).is_nan());
        assert_eq!(mean(&values), 2.5);
    }

    #[test]
    fn an_interval_is_of_the_sample_and_repeats() {
        let sample: Vec<_> = (0..100).map(f64::from).collect();
        let of = || bootstrap(&sample, |values| quantile(values, 0.5));
        let Estimate { value, low, high } = of();
        assert_eq!(of(), of());
        assert_eq!(value, 49.5);
        // The median of 100 lies between the 40th and the 61st value, 95 times in a hundred.
        assert!((36.0..44.0).contains(&low) && (55.0..63.0).contains(&high), "{low} {high}");
        assert_eq!(bootstrap(&[7.0; 9], mean), Estimate { value: 7.0, low: 7.0, high: 7.0 });
    }

    #[test]
    fn rates_have_the_published_intervals() {
        let near = |one: f64, other: f64| (one - other).abs() < 0.001;
        // Garwood's table: none seen 0 to 3.689, five seen 1.623 to 11.668.
        let Estimate { value, low, high } = rate(0, 1.0);
        assert!(value == 0.0 && low == 0.0 && near(high, 3.689), "{high}");
        let Estimate { value, low, high } = rate(5, 0.5);
        assert!(value == 10.0 && near(low / 2.0, 1.623) && near(high / 2.0, 11.668));
    }
}
