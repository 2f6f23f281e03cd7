//! The service of the tests: it adds up, tells every sum, and has an alarm that rings a while after
//! it has added. Tests of other crates take this file too.

use std::time::Duration;

use paxos_core::{Context, StateMachine, Time};
use serde::{Deserialize, Serialize};

/// The sum so far, and when the alarm rings.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Sum(pub u64, Option<Time>);

/// So long after it is set, and at least so long after another leader has begun.
const ALARM: Duration = Duration::from_secs(2);

impl StateMachine for Sum {
    type Command = u64;
    type Reply = u64;
    type Query = ();
    type Answer = u64;

    fn apply(&mut self, context: &mut Context<'_>, by: u64) -> u64 {
        self.0 += by;
        self.1.get_or_insert(context.time.after(ALARM));
        context.tell("sum", &self.0);
        self.0
    }

    fn query(&self, (): ()) -> u64 {
        self.0
    }

    fn due(&self) -> Option<Time> {
        self.1
    }

    fn wake(&mut self, context: &mut Context<'_>) {
        self.1 = None;
        context.tell("alarm", &self.0);
    }

    fn led(&mut self, context: &mut Context<'_>) {
        self.1 = self.1.map(|at| at.max(context.time.after(ALARM)));
    }
}
