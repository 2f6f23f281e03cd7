//! `completions`: what a shell needs to complete the command line.

use std::io::{self, Write};

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use crate::exit::Exit;

/// The arguments of `completions`.
#[derive(Args, Debug)]
pub struct Completions {
    /// The shell
    pub shell: Shell,
}

impl Completions {
    /// Writes the script for the command line `C`.
    ///
    /// # Errors
    /// That of stdout.
    pub fn run<C: CommandFactory>(&self) -> anyhow::Result<Exit> {
        let mut command = C::command();
        let name = command.get_name().to_owned();
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut command, name, &mut script);
        io::stdout().write_all(&script)?;
        Ok(Exit::Done)
    }
}
