//! A replicated counter.
