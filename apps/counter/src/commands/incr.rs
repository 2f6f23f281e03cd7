//! `incr`: adds to a counter, exactly once.

use clap::Args;
use paxos_app::app::block_on;
use paxos_app::exit::{Exit, Fault};
use paxos_app::options::Common;
use paxos_app::output::Output;

use counter::Command;

use crate::commands::named::{DEFAULT, Named, parse_name};
use crate::request::RequestOption;

const EXAMPLES: &str = "\
Examples:
  counter incr
  counter incr hits --by 2 --via 127.0.0.1:7403
  counter incr hits --by 2 --request-id 7:1    (again, after an unknown outcome)";

/// Add to a counter and print its new value
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Incr {
    /// The counter
    #[arg(default_value = DEFAULT, value_parser = parse_name)]
    name: String,

    /// How much to add
    #[arg(long, value_name = "N", default_value_t = 1)]
    by: u64,

    #[command(flatten)]
    request: RequestOption,

    #[command(flatten)]
    common: Common,
}

impl Incr {
    /// Adds, and prints the new value.
    ///
    /// # Errors
    /// Those of the client; or that the sum does not fit.
    pub fn run(&self, output: &Output) -> anyhow::Result<Exit> {
        let command = Command::Incr { name: self.name.clone(), by: self.by };
        match block_on(self.request.execute(&self.common, &command))? {
            Ok(value) => output.result(value, &Named { name: &self.name, value })?,
            Err(refusal) => return Err(Fault::new(Exit::No, refusal.to_string()).into()),
        }
        Ok(Exit::Done)
    }
}
