//! Durations as people write them: `250ms`, `1.5s`, `2m`.

use std::time::Duration;

use thiserror::Error;

const UNITS: [(&str, u64); 6] = [
    ("ns", 1),
    ("us", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("h", 3_600_000_000_000),
];

/// A text that is no duration.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{0:?} is not a duration: write a number and a unit, such as 250ms, 1.5s or 2m")]
pub struct DurationError(String);

/// Reads a duration: a number, with a fraction if need be, and one of the units ns, us, ms, s, m
/// and h.
///
/// # Errors
/// [`DurationError`].
pub fn parse_duration(text: &str) -> Result<Duration, DurationError> {
    let wrong = || DurationError(text.to_owned());
    let split = text.find(|c: char| c.is_ascii_alphabetic()).ok_or_else(wrong)?;
    let (number, unit) = text.split_at(split);
    let (_, scale) = UNITS.iter().find(|(name, _)| *name == unit).ok_or_else(wrong)?;
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(whole) || !digits(fraction) || fraction.len() > 9 {
        return Err(wrong());
    }
    let whole: u64 = whole.parse().map_err(|_| wrong())?;
    let parts: u64 = fraction.parse().map_err(|_| wrong())?;
    let parts = u128::from(parts) * u128::from(*scale) / 10u128.pow(fraction.len() as u32);
    let nanos = u128::from(whole) * u128::from(*scale) + parts;
    u64::try_from(nanos).map(Duration::from_nanos).map_err(|_| wrong())
}

/// Writes a duration so that [`parse_duration`] reads the same: in the largest unit that it is a
/// whole number of.
pub fn format_duration(duration: Duration) -> String {
    let nanos = duration.as_nanos();
    let fits = |scale: u64| nanos.is_multiple_of(u128::from(scale)) && nanos > 0;
    let unit = UNITS.iter().rev().find(|(_, scale)| fits(*scale));
    unit.map_or_else(
        || "0s".to_owned(),
        |(name, scale)| format!("{}{name}", nanos / u128::from(*scale)),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn durations_are_read() {
        for (text, millis) in
            [("250ms", 250), ("1.5s", 1500), ("2m", 120_000), ("0s", 0), ("1h", 3_600_000)]
        {
            assert_eq!(parse_duration(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        assert_eq!(parse_duration("50us"), Ok(Duration::from_micros(50)));
        for text in ["", "5", "s", "-1s", "1 s", "1.s", ".5s", "1d", "1sec", "99999999999999h"] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(nanos in any::<u64>()) {
            let duration = Duration::from_nanos(nanos);
            prop_assert_eq!(parse_duration(&format_duration(duration)), Ok(duration));
        }
    }
}
