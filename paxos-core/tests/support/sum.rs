//! The service of the tests: it adds up. Tests of other crates take this file too.

use paxos_core::{Context, StateMachine};
use serde::{Deserialize, Serialize};

/// The sum so far.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Sum(pub u64);

impl StateMachine for Sum {
    type Command = u64;
    type Reply = u64;
    type Query = ();
    type Answer = u64;

    fn apply(&mut self, _: &Context<'_>, by: u64) -> u64 {
        self.0 += by;
        self.0
    }

    fn query(&self, (): ()) -> u64 {
        self.0
    }
}
