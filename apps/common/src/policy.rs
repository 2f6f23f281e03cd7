//! `--policy` and `--detector`: how the nodes of a cluster of its own choose their leader.

use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use paxos_actors::Preset;
use paxos_net::settings::{DetectorKind, LeadershipSettings, Policy};

use crate::exit::Fault;

/// The policy of leadership of nodes that a command starts itself.
#[derive(Args, Clone, Debug, Default)]
pub struct PolicyOptions {
    /// How the nodes choose their leader: heartbeat or failure-detector [default: heartbeat]
    #[arg(long, value_name = "POLICY", value_parser = policies(), hide_possible_values = true)]
    policy: Option<Policy>,

    /// The detector of failure-detector: phi or fixed [default: phi]
    #[arg(long, value_name = "DETECTOR", value_parser = detectors(), hide_possible_values = true)]
    detector: Option<DetectorKind>,
}

fn policies() -> impl TypedValueParser<Value = Policy> {
    PossibleValuesParser::new(["heartbeat", "failure-detector"]).map(|name| match name.as_str() {
        "failure-detector" => Policy::FailureDetector,
        _ => Policy::Heartbeat,
    })
}

fn detectors() -> impl TypedValueParser<Value = DetectorKind> {
    PossibleValuesParser::new(["phi", "fixed"]).map(|name| match name.as_str() {
        "fixed" => DetectorKind::Fixed,
        _ => DetectorKind::Phi,
    })
}

impl PolicyOptions {
    /// Whether any of it is given.
    pub fn is_given(&self) -> bool {
        self.policy.is_some() || self.detector.is_some()
    }

    /// The settings that the nodes get; all others are as by default.
    ///
    /// # Errors
    /// What does not go together.
    pub fn preset(&self) -> Result<Preset, Fault> {
        let policy = self.policy.unwrap_or_default();
        if self.detector.is_some() && policy != Policy::FailureDetector {
            return Err(Fault::usage("--detector needs --policy failure-detector"));
        }
        let detector = self.detector;
        let leadership = LeadershipSettings { policy, detector, ..LeadershipSettings::default() };
        Ok(Preset { leadership, ..Preset::default() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        options: PolicyOptions,
    }

    fn settings(line: &[&str]) -> Option<LeadershipSettings> {
        let line = Line::try_parse_from(["x"].iter().chain(line)).ok()?;
        line.options.preset().ok().map(|preset| preset.leadership)
    }

    #[test]
    fn a_detector_needs_the_policy_that_has_one() {
        assert_eq!(settings(&[]), Some(LeadershipSettings::default()));
        let detected = settings(&["--policy", "failure-detector", "--detector", "fixed"]).unwrap();
        assert_eq!(detected.policy, Policy::FailureDetector);
        assert_eq!(detected.detector, Some(DetectorKind::Fixed));
        assert_eq!(detected.check(), Ok(()));
        assert!(settings(&["--policy", "failure-detector"]).is_some());
        assert_eq!(settings(&["--detector", "fixed"]), None);
        assert_eq!(settings(&["--policy", "bully"]), None);
        assert_eq!(settings(&["--policy", "failure-detector", "--detector", "outside"]), None);
    }
}
