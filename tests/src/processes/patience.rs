//! Waiting for what must come to pass, for as long as a slow machine may need.

use std::thread;
use std::time::{Duration, Instant};

/// Whatever takes longer than this does not happen.
pub const LIMIT: Duration = Duration::from_secs(60);

const LOOK: Duration = Duration::from_millis(10);

/// Waits until `found` finds something.
///
/// # Panics
/// If it does not within [`LIMIT`]; `what` says what was waited for.
pub fn until<T>(what: &str, mut found: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(found) = found() {
            return found;
        }
        assert!(begun.elapsed() < LIMIT, "waited for {LIMIT:?}: {what}");
        thread::sleep(LOOK);
    }
}
