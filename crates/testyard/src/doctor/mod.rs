//! `testyard doctor`: what this host lacks or limits, each with the remedy.
//!
//! Checks look and never change anything that stays: what can only be known by trying (kernel features) is tried in a
//! network namespace that ends with the thread that made it.

mod engine;
mod kernel;
mod machine;
mod testbed;

use std::path::Path;

use serde::Serialize;

use crate::config::{self, Settings};
use crate::exit::{Failure, Kind, Outcome};

/// How a check came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// As it should be.
    Good,
    /// Testyard works, with less than it could do.
    Limited,
    /// Testyard does not work until this is mended.
    Lacking,
}

/// The outcome of one check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What was looked at.
    pub subject: &'static str,
    /// How it came out.
    pub verdict: Verdict,
    /// What was found.
    pub found: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
}

impl Finding {
    fn good(subject: &'static str, found: impl Into<String>) -> Self {
        Self { subject, verdict: Verdict::Good, found: found.into(), remedy: None }
    }

    fn limited(subject: &'static str, found: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { subject, verdict: Verdict::Limited, found: found.into(), remedy: Some(remedy.into()) }
    }

    fn lacking(subject: &'static str, found: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { subject, verdict: Verdict::Lacking, found: found.into(), remedy: Some(remedy.into()) }
    }
}

/// Looks at everything and prints it. Fails if something is lacking.
///
/// # Errors
/// Silent, kind [`Kind::Failed`], if anything is lacking.
pub fn run(configuration: &Path, json: bool) -> Outcome {
    let findings = examine(configuration);
    if json {
        crate::print::json(&findings)?;
    } else {
        crate::print::text(render(&findings));
    }
    let lacking = findings.iter().any(|finding| finding.verdict == Verdict::Lacking);
    if lacking { Err(Failure::silent(Kind::Failed)) } else { Ok(()) }
}

/// Looks at everything. A configuration that is not there or wrong is a finding too; defaults stand in for it.
#[must_use]
pub fn examine(configuration: &Path) -> Vec<Finding> {
    let loaded = config::load(configuration);
    let settings = loaded.as_ref().ok();
    let mut findings = machine::examine(settings);
    findings.extend(kernel::examine());
    findings.extend(engine::examine(settings));
    findings.push(match &loaded {
        Ok(settings) => Finding::good(
            "configuration",
            format!("{}, testbed {}", configuration.display(), settings.testbed.name),
        ),
        Err(config::ConfigError::Unreadable { path, .. }) if !path.exists() => Finding::limited(
            "configuration",
            format!("{} is not there", path.display()),
            "testyard init writes one; --config names another",
        ),
        Err(error) => Finding::lacking("configuration", error.to_string(), "mend the file"),
    });
    findings.extend(settings.into_iter().flat_map(testbed::examine));
    findings
}

/// The findings as lines for people, with a last line that counts them.
#[must_use]
pub fn render(findings: &[Finding]) -> String {
    let mut text = String::new();
    for finding in findings {
        let mark = match finding.verdict {
            Verdict::Good => "ok   ",
            Verdict::Limited => "limit",
            Verdict::Lacking => "LACKS",
        };
        let mut lines = wrap(&finding.found, 70).into_iter();
        text += &format!("{mark}  {:<18} {}\n", finding.subject, lines.next().unwrap_or_default());
        for line in lines {
            text += &format!("{:26}{line}\n", "");
        }
        for (index, line) in finding.remedy.iter().flat_map(|remedy| wrap(remedy, 68)).enumerate() {
            let arrow = if index == 0 { "→ " } else { "  " };
            text += &format!("{:26}{arrow}{line}\n", "");
        }
    }
    let count = |verdict| findings.iter().filter(|finding| finding.verdict == verdict).count();
    text += &format!(
        "{} fine, {} limited, {} lacking\n",
        count(Verdict::Good),
        count(Verdict::Limited),
        count(Verdict::Lacking)
    );
    text
}

fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for given in text.lines() {
        let mut line = String::new();
        for word in given.split_whitespace() {
            if !line.is_empty() && line.chars().count() + 1 + word.chars().count() > width {
                lines.push(std::mem::take(&mut line));
            }
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
        lines.push(line);
    }
    lines
}

/// The paths and ports that checks need, from the configuration or its defaults.
fn state_folder(settings: Option<&Settings>) -> &Path {
    settings.map_or(Path::new("/var/lib/testyard"), |settings| &settings.paths.state)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn findings_for_people() {
        let findings = [
            Finding::good("root", "running as root"),
            Finding::limited(
                "netem",
                "the kernel has no netem",
                "nothing to do: a wire impairs links instead",
            ),
            Finding::lacking(
                "Docker Engine",
                "/var/run/docker.sock: No such file or directory, and some more words that make this line a long one",
                "apt-get install docker.io; without systemd start dockerd by hand",
            ),
        ];
        insta::assert_snapshot!(render(&findings));
    }

    #[test]
    fn no_line_is_wider_than_a_screen() {
        for line in render(&examine(Path::new("/nonexistent/testyard.toml"))).lines() {
            let longest_word = line.split_whitespace().map(|word| word.chars().count()).max().unwrap_or(0);
            assert!(line.chars().count() <= 100 || longest_word > 60, "{line}");
        }
    }
}
