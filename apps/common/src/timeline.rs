//! What happens, as it happens, for people to follow.

use std::fmt::Display;
use std::io;
use std::time::{Duration, Instant};

use crate::output::{Output, write_line};

/// Events with the time since the beginning, on stdout. With results in JSON it is silent: stdout
/// is for one object then.
#[derive(Clone, Debug)]
pub struct Timeline {
    start: Instant,
    shown: bool,
}

impl Timeline {
    /// Begins now.
    pub fn start(output: &Output) -> Timeline {
        Timeline { start: Instant::now(), shown: output.is_text() }
    }

    /// Tells an event.
    ///
    /// # Errors
    /// That of stdout; a closed pipe is among them.
    pub fn tell(&self, event: impl Display) -> io::Result<()> {
        if self.shown { write_line(&stamped(self.start.elapsed(), event)) } else { Ok(()) }
    }
}

/// A number with its thousands apart: 12,345.
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

fn stamped(elapsed: Duration, event: impl Display) -> String {
    format!("{:>8.3} s  {event}", elapsed.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_are_apart() {
        let texts = [0, 999, 1_000, 12_345, 1_234_567].map(grouped);
        assert_eq!(texts, ["0", "999", "1,000", "12,345", "1,234,567"]);
    }

    #[test]
    fn events_line_up() {
        assert_eq!(stamped(Duration::from_millis(1234), "a"), "   1.234 s  a");
        assert_eq!(stamped(Duration::from_millis(12_345), "b"), "  12.345 s  b");
    }
}
