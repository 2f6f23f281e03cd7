//! Locking where a panic elsewhere does no harm.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Locks. Every change that this crate makes under a lock is one step, so what a panic left behind
/// is sound.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
