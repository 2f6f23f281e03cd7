//! `set`: sets a counter, if need be only from a known value.

use clap::Args;
use paxos_app::app::block_on;
use paxos_app::exit::{Exit, Fault};
use paxos_app::options::Common;
use paxos_app::output::Output;

use counter::{Command, Refusal};

use crate::commands::named::{Named, parse_name};
use crate::request::RequestOption;

const EXAMPLES: &str = "\
Examples:
  counter set hits 100
  counter set hits 0 --if-value 100    (exit 1 and the present value if it is another)
  counter set hits 5 -o json";

/// Set a counter and print its new value
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Set {
    /// The counter
    #[arg(value_parser = parse_name)]
    name: String,

    /// The new value
    value: u64,

    /// Only if the present value is this one
    #[arg(long, value_name = "OLD")]
    if_value: Option<u64>,

    #[command(flatten)]
    request: RequestOption,

    #[command(flatten)]
    common: Common,
}

impl Set {
    /// Sets, and prints the new value, or the present one if the comparison failed.
    ///
    /// # Errors
    /// Those of the client.
    pub fn run(&self, output: &Output) -> anyhow::Result<Exit> {
        let name = self.name.clone();
        let command = Command::Set { name, value: self.value, if_value: self.if_value };
        let (value, exit) = match block_on(self.request.execute(&self.common, &command))? {
            Ok(value) => (value, Exit::Done),
            Err(Refusal::Differs { present }) => (present, Exit::No),
            Err(refusal) => return Err(Fault::new(Exit::No, refusal.to_string()).into()),
        };
        output.result(value, &Named { name: &self.name, value })?;
        Ok(exit)
    }
}
