//! The counter command line.
fn main() {}
