//! The commented file that `testyard init` writes: what must be said is said, every default stands there as a comment.

use std::path::Path;

/// What `testyard init` knows.
#[derive(Clone, Debug)]
pub struct Answers<'a> {
    /// The testbed's public name.
    pub name: &'a str,
    /// The authority part of its URNs.
    pub authority: &'a str,
    /// Its mark on this machine.
    pub instance: &'a str,
    /// Where it listens.
    pub bind: &'a str,
    /// Where the database goes.
    pub state: &'a Path,
    /// Where sockets go.
    pub run: &'a Path,
}

/// The text of the file.
#[must_use]
pub fn render(answers: &Answers<'_>) -> String {
    let Answers { name, authority, instance, bind, state, run } = answers;
    let port = bind.rsplit_once(':').and_then(|(_, port)| port.parse().ok()).unwrap_or(8001);
    // A JSON string is a TOML string of one line, whatever is in it.
    let text = |text: &str| serde_json::Value::from(text).to_string();
    let path = |path: &Path| text(&path.to_string_lossy());
    TEMPLATE
        .replace("@NAME@", &text(name))
        .replace("@AUTHORITY@", &text(authority))
        .replace("@INSTANCE@", &text(instance))
        .replace("@BIND@", &text(bind))
        .replace("@URL@", &text(&super::sections::url(name, port)))
        .replace("@AGENTS@", &text(&format!("{}:8002", super::sections::url_host(name))))
        .replace("@TUNNELS@", &super::hosts::port_of(instance).to_string())
        .replace("@STATE@", &path(state))
        .replace("@RUN@", &path(run))
}

const TEMPLATE: &str = include_str!("template.toml");

#[cfg(test)]
mod tests {
    use super::*;

    fn answers() -> Answers<'static> {
        Answers {
            name: "am.example.net",
            authority: "am.example.net",
            instance: "main",
            bind: "[::]:8001",
            state: Path::new("/var/lib/testyard"),
            run: Path::new("/run/testyard"),
        }
    }

    /// The file as written, and with every comment that holds a setting switched on, means the same: the comments tell
    /// the truth about defaults.
    #[test]
    fn comments_are_the_defaults() {
        let text = render(&answers());
        let path = Path::new("/etc/testyard/testyard.toml");
        let plain = super::super::parse(path, &text).unwrap_or_else(|error| panic!("{error}"));
        let switched_on: String = text
            .lines()
            .map(|line| match line.strip_prefix("#") {
                Some(setting) if setting.starts_with(|c: char| c.is_ascii_lowercase() || c == '[') => setting,
                _ => line,
            })
            .fold(String::new(), |all, line| all + line + "\n");
        assert_ne!(switched_on, text);
        let full = super::super::parse(path, &switched_on).unwrap_or_else(|error| panic!("{error}"));
        // What has no default value to show is shown by example.
        assert!(full.testbed.location.is_some() && full.network.ipv6.is_some());
        assert_eq!(full.testbed.about.len(), 3);
        let mut expected = plain;
        expected.testbed.location = full.testbed.location.clone();
        expected.testbed.about = full.testbed.about.clone();
        expected.network = full.network.clone();
        expected.hosts[0].ipv6 = full.network.ipv6;
        expected.hosts[0].location = full.testbed.location.clone();
        assert_eq!(full, expected);
    }

    #[test]
    fn strange_names_stay_inside_their_quotes() {
        let odd = Answers { name: "x\"\n[paths]\nstate = \"/", ..answers() };
        let text = render(&odd);
        let error = super::super::parse(Path::new("f"), &text).unwrap_err().to_string();
        assert!(error.contains("is neither a DNS name nor an address"), "{error}");
    }
}
