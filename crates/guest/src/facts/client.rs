//! The two programs that ask: `geni-get`, as scripts of other testbeds call it, and `testyard-guest facts`.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::io::{self, Read as _, Write as _};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::names::{self, Name, Source};
use super::{desk, door};
use crate::text;
use testyard_fetch::backoff::{Backoff, pause};

/// The longest answer that is read, in bytes.
const ANSWER: u64 = 8 << 20;

/// How long a server that is busy is tried again.
const BUSY: Duration = Duration::from_secs(5);

const GENI_GET: &str = "\
Usage: geni-get [options] [name]
Tells what the testbed knows about this node; without a name, which names there are.

  -a, --all             all of them, as JSON
  -c, --client-version  the version of this program
  -h, --help            this text
  -v, --version         the version of the names
  -n, --no-cache        accepted: nothing is cached
  -p, --port PORT       accepted: no port is used
  -s, --server SERVER   accepted: the node's own testbed is asked
";

const FACTS: &str = "\
Usage: testyard-guest facts [--json] [name]
Tells what the testbed knows about this node; without a name, a table, or everything as JSON.
";

/// What a program is to do.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Order {
    Help,
    ClientVersion,
    /// One fact; as it is, or as JSON.
    One {
        name: String,
        json: bool,
    },
    All,
    Table,
    /// The line makes no sense.
    Wrong(String),
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
enum AskError {
    #[error("{0}")]
    Refused(String),
    #[error("there is no fact {0:?}; geni-get commands lists them")]
    Unknown(String),
    #[error(
        "the node's guest cannot be asked; it is reached from the node itself, not from containers inside it"
    )]
    Unreachable(#[source] io::Error),
    #[error("the node's guest is asked by too many at once; try again")]
    Busy,
    #[error("the node's guest answers what makes no sense")]
    Nonsense,
}

/// `geni-get`
pub(crate) fn geni_get(arguments: &[OsString]) -> ExitCode {
    carry_out("geni-get", GENI_GET, read_geni_get(&words(arguments)))
}

/// `testyard-guest facts`
pub(crate) fn facts(arguments: &[OsString]) -> ExitCode {
    carry_out("testyard-guest facts", FACTS, read_facts(&words(arguments)))
}

fn words(arguments: &[OsString]) -> Vec<String> {
    arguments.iter().map(|argument| argument.to_string_lossy().into_owned()).collect()
}

fn read_geni_get(words: &[String]) -> Order {
    let mut names: Vec<&str> = Vec::new();
    let mut order = None;
    let mut words = words.iter().map(String::as_str);
    while let Some(word) = words.next() {
        match word {
            "-a" | "--all" => order = order.or(Some(Order::All)),
            "-c" | "--client-version" => order = order.or(Some(Order::ClientVersion)),
            "-h" | "--help" => order = Some(Order::Help),
            "-v" | "--version" => order = order.or(Some(one("version", false))),
            "-n" | "--no-cache" => {}
            "-p" | "--port" | "-s" | "--server" => {
                if words.next().is_none() {
                    return Order::Wrong(format!("{word} needs a value"));
                }
            }
            _ if word.starts_with("--port=") || word.starts_with("--server=") => {}
            _ if (word.starts_with("-p") || word.starts_with("-s")) && word.len() > 2 => {}
            _ if word.starts_with('-') => return Order::Wrong(format!("there is no option {word:?}")),
            name => names.push(name),
        }
    }
    match (order, names.as_slice()) {
        (Some(order), _) => order,
        (None, []) => one("commands", false),
        (None, [name]) | (None, [name @ "param", _]) => one(name, false),
        (None, _) => Order::Wrong("one name at a time".to_owned()),
    }
}

fn read_facts(words: &[String]) -> Order {
    let json = words.iter().any(|word| word == "--json");
    let rest: Vec<&str> = words.iter().map(String::as_str).filter(|word| *word != "--json").collect();
    match (rest.as_slice(), json) {
        (["-h" | "--help"], _) => Order::Help,
        ([], true) => Order::All,
        ([], false) => Order::Table,
        ([word], _) if word.starts_with('-') => Order::Wrong(format!("there is no option {word:?}")),
        ([name], json) => one(name, json),
        _ => Order::Wrong("one name at a time".to_owned()),
    }
}

fn one(name: &str, json: bool) -> Order {
    Order::One { name: name.to_owned(), json }
}

fn carry_out(program: &str, usage: &str, order: Order) -> ExitCode {
    let answer = match order {
        Order::Help => Ok(usage.to_owned()),
        Order::ClientVersion => Ok(format!("{}\n", env!("CARGO_PKG_VERSION"))),
        Order::One { name, json } => one_fact(&name, json),
        Order::All => all(),
        Order::Table => table(),
        Order::Wrong(why) => {
            // Nobody is there to hear that standard error is closed.
            let _ = write!(io::stderr(), "{program}: {why}\n{usage}");
            return ExitCode::from(2);
        }
    };
    match answer {
        // A reader that has seen enough is no failure that anybody has to hear of.
        Ok(text) => match io::stdout().write_all(text.as_bytes()).and_then(|()| io::stdout().flush()) {
            Ok(()) => ExitCode::SUCCESS,
            Err(_) => ExitCode::FAILURE,
        },
        Err(error) => {
            let _ = writeln!(io::stderr(), "{program}: {}", text::chain(&error));
            ExitCode::FAILURE
        }
    }
}

fn one_fact(name: &str, json: bool) -> Result<String, AskError> {
    let known = names::find(name).ok_or_else(|| AskError::Unknown(name.to_owned()))?;
    let fact = fact(known)?;
    if json { Ok(format!("{}\n", as_json(known, fact))) } else { Ok(fact + "\n") }
}

fn fact(name: &Name) -> Result<String, AskError> {
    match name.source {
        Source::Nowhere(why) => Err(AskError::Refused(format!("{}: {why}", name.name))),
        Source::List => Ok(names::commands()),
        Source::Desired | Source::Agent => ask(name.name),
    }
}

fn as_json(name: &Name, fact: String) -> Value {
    let parsed = name.json.then(|| serde_json::from_str(&fact).ok()).flatten();
    parsed.unwrap_or(Value::String(fact))
}

/// Everything that can be had, as one line: scripts look for parts of the manifest with its quotation marks escaped.
fn all() -> Result<String, AskError> {
    let mut all = serde_json::Map::new();
    for name in names::listed().filter(|name| name.source != Source::List) {
        match fact(name) {
            Ok(fact) => {
                all.insert(name.name.to_owned(), as_json(name, fact));
            }
            // One that cannot be had now is left out.
            Err(AskError::Refused(_)) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(format!("{}\n", Value::Object(all)))
}

/// What is short, for people.
fn table() -> Result<String, AskError> {
    let mut table = String::new();
    for name in names::listed().filter(|name| name.source == Source::Desired && name.name != "version") {
        let fact = fact(name)?;
        let shown = if name.name == "geni_user" { logins(&fact) } else { fact };
        if !shown.is_empty() {
            let _ = writeln!(table, "{:<13} {shown}", name.name);
        }
    }
    let long: Vec<&str> =
        names::listed().filter(|name| name.source == Source::Agent).map(|name| name.name).collect();
    let _ = writeln!(table, "\ntestyard-guest facts NAME prints one of these, or {}", long.join(", "));
    Ok(table)
}

/// `ann (urn:…), bob (urn:…)`
fn logins(users: &str) -> String {
    let users: Value = serde_json::from_str(users).unwrap_or_default();
    let user = |user: &Value| {
        let of = |name: &str| user.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
        format!("{} ({})", of("login"), of("urn"))
    };
    users.as_array().into_iter().flatten().map(user).collect::<Vec<_>>().join(", ")
}

/// Asks the guest of this node; again, for a while, if too many do.
fn ask(name: &str) -> Result<String, AskError> {
    let until = Instant::now() + BUSY;
    let mut backoff = Backoff::new(Duration::from_millis(10), Duration::from_millis(300));
    loop {
        match ask_once(name).map_err(AskError::Unreachable)? {
            Some(answer) => return read_answer(&answer),
            None if Instant::now() < until => pause(backoff.step()),
            None => return Err(AskError::Busy),
        }
    }
}

/// The bytes of the answer; none if the connection was closed without one.
fn ask_once(name: &str) -> io::Result<Option<Vec<u8>>> {
    let mut stream = door::connect()?;
    // The server refuses before that; this is for one that is stopped.
    stream.set_read_timeout(Some(desk::PATIENCE * 2))?;
    stream.set_write_timeout(Some(desk::PATIENCE))?;
    let mut answer = Vec::new();
    let asked = stream.write_all(format!("{name}\n").as_bytes());
    match asked.and_then(|()| stream.take(ANSWER).read_to_end(&mut answer)) {
        Ok(_) => Ok(Some(answer).filter(|answer| !answer.is_empty())),
        Err(error) if matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset) => {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

fn read_answer(answer: &[u8]) -> Result<String, AskError> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    match answer.strip_prefix(b"ok\n") {
        Some(fact) => Ok(text(fact)),
        None => {
            Err(answer.strip_prefix(b"no\n").map_or(AskError::Nonsense, |why| AskError::Refused(text(why))))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(line: &str) -> Order {
        read_geni_get(&line.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn lines_as_scripts_have_them() {
        assert_eq!(order("manifest"), one("manifest", false));
        assert_eq!(order(""), one("commands", false));
        assert_eq!(order("-a"), Order::All);
        assert_eq!(order("--all --no-cache"), Order::All);
        assert_eq!(order("-n manifest"), one("manifest", false));
        assert_eq!(order("-s boss.example.net slice_email"), one("slice_email", false));
        assert_eq!(order("--port 16510 --server=x -p1 client_id"), one("client_id", false));
        assert_eq!(order("--version"), one("version", false));
        assert_eq!(order("--client-version"), Order::ClientVersion);
        assert_eq!(order("manifest -h"), Order::Help);
        assert_eq!(order("param colour"), one("param", false));
        assert!(matches!(order("manifest status"), Order::Wrong(_)));
        assert!(matches!(order("--frobnicate"), Order::Wrong(_)));
        assert!(matches!(order("--port"), Order::Wrong(_)));
    }

    #[test]
    fn lines_of_our_own() {
        let order =
            |words: &[&str]| read_facts(&words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>());
        assert_eq!(order(&[]), Order::Table);
        assert_eq!(order(&["--json"]), Order::All);
        assert_eq!(order(&["--json", "status"]), one("status", true));
        assert_eq!(order(&["status", "--json"]), one("status", true));
        assert!(
            matches!(order(&["a", "b"]), Order::Wrong(_)) && matches!(order(&["--all"]), Order::Wrong(_))
        );
    }

    #[test]
    fn secrets_are_refused_without_asking_anybody() {
        for name in ["key", "cert", "certificate", "rpccert", "rpckey", "param"] {
            let error = one_fact(name, false).unwrap_err();
            assert!(
                matches!(error, AskError::Refused(_)) && error.to_string().starts_with(&format!("{name}: "))
            );
        }
        assert!(matches!(one_fact("passwd", false), Err(AskError::Unknown(_))));
    }

    #[test]
    fn answers() {
        assert_eq!(read_answer(b"ok\na\nb").unwrap(), "a\nb");
        assert_eq!(read_answer(b"ok\n").unwrap(), "");
        assert!(matches!(read_answer(b"no\nbecause"), Err(AskError::Refused(why)) if why == "because"));
        assert!(matches!(read_answer(b"hello"), Err(AskError::Nonsense)));
        let manifest = names::find("manifest").unwrap();
        assert_eq!(as_json(manifest, "<a b=\"c\"/>\n".into()).to_string(), r#""<a b=\"c\"/>\n""#);
        assert_eq!(as_json(names::find("status").unwrap(), "{\"a\":1}".into()).to_string(), "{\"a\":1}");
        assert_eq!(logins(r#"[{"urn":"u","login":"ann","keys":[]}]"#), "ann (u)");
    }
}
