//! Moments as people and programs read them: UTC, by the Gregorian calendar.

const DAY_SECONDS: u64 = 86_400;

/// Milliseconds since 1970 as the time of day.
pub fn time_of_day(millis: u64) -> String {
    let seconds = millis / 1000 % DAY_SECONDS;
    format!("{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60)
}

/// Milliseconds since 1970 as date and time, as in RFC 3339.
pub fn rfc3339(millis: u64) -> String {
    let (year, month, day) = civil(millis / 1000 / DAY_SECONDS);
    let (time, rest) = (time_of_day(millis), millis % 1000);
    format!("{year:04}-{month:02}-{day:02}T{time}.{rest:03}Z")
}

/// The date of a day since 1970 (Hinnant, *chrono-Compatible Low-Level Date Algorithms*,
/// `civil_from_days`): whole periods of 400, 100, 4 and 1 years that begin in March, so that the
/// leap day is the last of each.
fn civil(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let date = day - (153 * month + 2) / 5 + 1;
    let (month, turned) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    (era * 400 + year + turned, month, date)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        let date = |days: u64| rfc3339(days * DAY_SECONDS * 1000)[..10].to_owned();
        assert_eq!(date(0), "1970-01-01");
        assert_eq!(date(59), "1970-03-01");
        assert_eq!(date(11_016), "2000-02-29");
        assert_eq!(date(11_017), "2000-03-01");
        assert_eq!(date(20_788), "2026-12-01");
        assert_eq!(date(47_540), "2100-02-28");
        assert_eq!(date(47_541), "2100-03-01");
        assert_eq!(rfc3339(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(rfc3339(951_782_400_001), "2000-02-29T00:00:00.001Z");
        assert_eq!(rfc3339(1_732_802_531_042), "2024-11-28T14:02:11.042Z");
        assert_eq!(rfc3339(1_735_689_599_999), "2024-12-31T23:59:59.999Z");
        assert!(!rfc3339(u64::MAX).is_empty());
    }
}
