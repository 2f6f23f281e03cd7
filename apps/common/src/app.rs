//! From `main` to an exit code.

use std::future::Future;
use std::io::{self, Write};
use std::process::ExitCode;

use clap::{Command, CommandFactory, Parser};

use crate::exit::Exit;

/// What stands in examples for the name of the app that shows them.
const APP: &str = "{app}";

/// Parses the command line and runs what it says. Errors go to stderr under the app's name, and
/// become the exit code that [`Exit::of`] has for them.
pub fn run<C: Parser + CommandFactory, E: Into<ExitCode>>(
    run: impl FnOnce(C) -> anyhow::Result<E>,
) -> ExitCode {
    let read = command::<C>().try_get_matches().and_then(|found| C::from_arg_matches(&found));
    let line = match read {
        Ok(line) => line,
        Err(error) => {
            error.print().ok();
            let exit = if error.use_stderr() { Exit::Usage } else { Exit::Done };
            return exit.into();
        }
    };
    run(line).map(Into::into).unwrap_or_else(|error| {
        let exit = Exit::of(&error);
        // Who reads the results has read enough: nothing to tell.
        if exit != Exit::ClosedPipe {
            writeln!(io::stderr(), "{}: {error:#}", C::command().get_name()).ok();
        }
        exit.into()
    })
}

/// The command line `C` with its own name in its examples, and in those of the commands that it
/// shares with other apps.
pub fn command<C: CommandFactory>() -> Command {
    let command = C::command();
    let name = command.get_name().to_owned();
    named(command, &name)
}

fn named(command: Command, app: &str) -> Command {
    let after = command.get_after_help().map(ToString::to_string);
    let command = command.mut_subcommands(|sub| named(sub, app));
    match after {
        Some(text) => command.after_help(text.replace(APP, app)),
        None => command,
    }
}

/// Runs a command that is a client: on this thread alone.
///
/// # Errors
/// Those of the command, or that of the system if there can be no runtime.
pub fn block_on<T>(command: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(command)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operations::Operation;

    #[derive(Parser)]
    #[command(name = "tally")]
    struct Line {
        #[command(subcommand)]
        _operation: Operation,
    }

    /// Every command below one that has none below it.
    fn leaves(command: &Command) -> Vec<&Command> {
        match command.has_subcommands() {
            true => command.get_subcommands().flat_map(leaves).collect(),
            false => vec![command],
        }
    }

    #[test]
    fn shared_commands_show_three_examples_of_the_app_that_has_them() {
        let command = command::<Line>();
        let leaves = leaves(&command);
        assert!(leaves.len() > 10, "{leaves:?}");
        for command in leaves.into_iter().chain(command.get_subcommands()) {
            let after = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            let examples = after.lines().filter(|line| line.starts_with("  tally ")).count();
            assert_eq!(examples, 3, "{}: {after}", command.get_name());
            assert!(!after.contains(APP), "{after}");
        }
    }
}
