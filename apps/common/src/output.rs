//! Results: text for people, or one JSON object a line.

use std::fmt::Display;
use std::io::{self, Write};

use clap::{ArgAction, Args, ValueEnum};
use serde::Serialize;

/// The version of the JSON forms.
const FORM: u32 = 1;

/// How results look, and how much is said beside them.
#[derive(Args, Clone, Debug, Default)]
pub struct Output {
    /// The form of results: for people, or one JSON object a line
    #[arg(short = 'o', long = "output", value_enum, value_name = "text|json")]
    #[arg(default_value = "text", hide_possible_values = true)]
    #[arg(global = true, help_heading = "Output")]
    pub form: Form,

    /// Say nothing on stderr but errors
    #[arg(short, long, global = true, help_heading = "Output", conflicts_with = "verbose")]
    pub quiet: bool,

    /// Say more on stderr; twice for everything
    #[arg(short, long, global = true, help_heading = "Output", action = ArgAction::Count)]
    pub verbose: u8,
}

/// The form of results.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Form {
    /// For people.
    #[default]
    Text,
    /// For programs: one object a line.
    Json,
}

#[derive(Serialize)]
struct Versioned<'a, T> {
    v: u32,
    #[serde(flatten)]
    body: &'a T,
}

impl Output {
    /// Whether results are for people.
    pub fn is_text(&self) -> bool {
        self.form == Form::Text
    }

    /// Writes one result to stdout: `text`, or `body` as an object with `"v":1`.
    ///
    /// # Errors
    /// That of stdout; a closed pipe is among them.
    pub fn result(&self, text: impl Display, body: &impl Serialize) -> io::Result<()> {
        match self.form {
            Form::Text => write_line(&text.to_string()),
            Form::Json => write_line(&json(body)?),
        }
    }

    /// Writes a remark to stderr, unless only errors are wanted.
    pub fn remark(&self, words: impl Display) {
        if !self.quiet {
            // Nobody may be reading.
            writeln!(io::stderr(), "{words}").ok();
        }
    }
}

/// An object with `"v":1`, on one line.
///
/// # Errors
/// If `body` is no struct and no map.
pub fn json(body: &impl Serialize) -> io::Result<String> {
    Ok(serde_json::to_string(&Versioned { v: FORM, body })?)
}

/// Writes a line to stdout at once, also where stdout is a pipe.
///
/// # Errors
/// That of stdout.
pub fn write_line(line: &str) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    writeln!(stdout, "{line}")?;
    stdout.flush()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Serialize)]
    struct Value<'a> {
        name: &'a str,
        value: u64,
    }

    #[test]
    fn json_begins_with_the_version_and_keeps_the_order() {
        let text = json(&Value { name: "hits", value: 2 }).unwrap();
        assert_eq!(text, r#"{"v":1,"name":"hits","value":2}"#);
    }

    #[test]
    fn a_bare_number_is_no_result() {
        assert!(json(&7).is_err());
    }
}
