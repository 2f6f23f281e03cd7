//! From `main` to an exit code.

use std::future::Future;
use std::io::{self, Write};
use std::process::ExitCode;

use clap::{CommandFactory, Parser};

use crate::exit::Exit;

/// Parses the command line and runs what it says. Errors go to stderr under the app's name, and
/// become the exit code that [`Exit::of`] has for them.
pub fn run<C: Parser + CommandFactory>(run: impl FnOnce(C) -> anyhow::Result<Exit>) -> ExitCode {
    let line = match C::try_parse() {
        Ok(line) => line,
        Err(error) => {
            error.print().ok();
            let exit = if error.use_stderr() { Exit::Usage } else { Exit::Done };
            return exit.into();
        }
    };
    let exit = run(line).unwrap_or_else(|error| {
        let exit = Exit::of(&error);
        // Who reads the results has read enough: nothing to tell.
        if exit != Exit::ClosedPipe {
            writeln!(io::stderr(), "{}: {error:#}", C::command().get_name()).ok();
        }
        exit
    });
    exit.into()
}

/// Runs a command that is a client: on this thread alone.
///
/// # Errors
/// Those of the command, or that of the system if there can be no runtime.
pub fn block_on<T>(command: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(command)
}
