//! What is said of a counter, and how it is named.

use counter::machine::check_name;
use paxos_app::options::ReadLabel;
use serde::Serialize;

/// The counter of those who name none.
pub const DEFAULT: &str = "default";

/// A counter's value, as it is printed.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Named<'a> {
    /// The counter.
    pub name: &'a str,
    /// Its value.
    pub value: u64,
}

/// A counter's value, and how new it is.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Found<'a> {
    /// The counter and its value.
    #[serde(flatten)]
    pub named: Named<'a>,
    /// How new that is.
    #[serde(flatten)]
    pub how: ReadLabel,
}

/// Reads a name from the command line.
///
/// # Errors
/// Why it is none, in words.
pub fn parse_name(text: &str) -> Result<String, String> {
    check_name(text).map(|()| text.to_owned()).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_json_form_is_the_one_documented() {
        let text = paxos_app::output::json(&Named { name: "hits", value: 2 }).unwrap();
        assert_eq!(text, r#"{"v":1,"name":"hits","value":2}"#);
    }

    #[test]
    fn a_name_that_the_service_would_refuse_is_wrong_usage() {
        assert_eq!(parse_name("my hits"), Ok("my hits".to_owned()));
        assert!(parse_name("").is_err());
        assert!(parse_name(&"x".repeat(300)).unwrap_err().contains("256 bytes"));
    }
}
