//! `testyard exec`: a command in a node, or in many at once. The words arrive as they were given: none of them is for a
//! shell of ours, and for that of the node they are quoted.

use std::io::IsTerminal as _;
use std::os::unix::process::ExitStatusExt as _;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Instant;

use clap::Args;
use serde::Serialize;
use tokio::io::{AsyncBufReadExt as _, AsyncRead, BufReader};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::session::{Connection, Session};
use crate::exit::{Failure, Kind, Outcome};
use crate::progress::Screen;
use crate::{print, ssh};

/// Nodes that are logged in to at a time.
const AT_A_TIME: usize = 16;

/// Output of one node that is kept at most, for JSON.
const MOST_KEPT: usize = 1 << 20;

/// `exec`
#[derive(Debug, Args)]
#[command(after_help = "Examples: testyard exec web -- ping -c 3 db\n          \
                        testyard exec --all --slice lab -- sh -c 'uname -r; uptime'\n\
                        The exit code is that of the command; with several nodes 1 if it failed in any.")]
pub struct Arguments {
    /// The node: NODE, or NODE.SLICE; several with commas between
    #[arg(required_unless_present = "all", value_delimiter = ',')]
    nodes: Vec<String>,
    /// In all nodes of the slice
    #[arg(long, conflicts_with = "nodes")]
    all: bool,
    /// The slice [default: the one that has the node]
    #[arg(long)]
    slice: Option<String>,
    /// What runs, behind --
    #[arg(last = true, required = true)]
    command: Vec<String>,
    /// Print JSON when all is over
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connection: Connection,
}

/// What became of the command in a node.
#[derive(Serialize)]
struct Ran {
    node: String,
    exit_code: i32,
    ms: u128,
    stdout: String,
    stderr: String,
}

pub(super) async fn run(arguments: &Arguments) -> Outcome {
    let session = Session::open(&arguments.connection);
    let (slice, nodes) = if arguments.all {
        let slice = session.slice(arguments.slice.as_deref()).await?;
        let nodes = slice.nodes.iter().map(|node| node.name.clone()).collect();
        (slice, nodes)
    } else {
        let mut slice = None;
        let mut nodes = Vec::with_capacity(arguments.nodes.len());
        for name in &arguments.nodes {
            let place = session.place(name, arguments.slice.as_deref()).await?;
            let other = |known: &testyard_web::api::Slice| known.urn != place.slice.urn;
            if slice.as_ref().is_some_and(other) {
                return Err(Failure::usage("these nodes are of several slices: one at a time"));
            }
            nodes.push(place.node);
            slice = Some(place.slice);
        }
        (slice.ok_or_else(|| Failure::usage("in which node?"))?, nodes)
    };
    let ways = session.ways(&slice, None).await?;
    let command = arguments.command.iter().map(|word| quoted(word)).collect::<Vec<_>>().join(" ");
    if let ([node], false, false) = (nodes.as_slice(), arguments.json, arguments.all) {
        // Input and output are the caller's, and the exit code is the command's.
        let status = ways.ssh(ways.login(node)?, &["-T"]).arg(command).status();
        let status = status.map_err(|error| ssh::missing("ssh", &error))?;
        return match code(status) {
            0 => Ok(()),
            code => std::process::exit(code),
        };
    }
    let width = nodes.iter().map(|node| node.chars().count()).max().unwrap_or(0);
    let turns = Arc::new(Semaphore::new(AT_A_TIME));
    let mut running = JoinSet::new();
    for (number, node) in nodes.iter().enumerate() {
        let mut process = tokio::process::Command::from(ways.ssh(ways.login(node)?, &["-T"]));
        process
            .arg(&command)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        let (node, turns) = (node.clone(), Arc::clone(&turns));
        let prefix = (!arguments.json).then(|| format!("{node:width$} | "));
        running.spawn(async move {
            let _turn = turns.acquire_owned().await;
            (number, one(node, process, prefix).await)
        });
    }
    // JSON comes at the end; who waits for it sees how far it is.
    let is_watched = arguments.json && std::io::stderr().is_terminal();
    let mut screen = is_watched.then(|| Screen::new(1));
    let mut all = Vec::with_capacity(nodes.len());
    loop {
        if let Some(screen) = &mut screen {
            screen.update("", format!("{} of {} nodes", all.len(), nodes.len()));
        }
        let Some(done) = running.join_next().await else { break };
        let (number, ran) = done.map_err(Failure::failed)?;
        all.push((number, ran?));
    }
    if let Some(screen) = &screen {
        screen.finish();
    }
    all.sort_by_key(|(number, _)| *number);
    let all: Vec<Ran> = all.into_iter().map(|(_, ran)| ran).collect();
    if arguments.json {
        print::json(&all)?;
    }
    let failed: Vec<String> = all
        .iter()
        .filter(|ran| ran.exit_code != 0)
        .map(|ran| format!("{} ({})", ran.node, ran.exit_code))
        .collect();
    match failed.len() {
        0 => Ok(()),
        _ if arguments.json => Err(Failure::silent(Kind::Failed)),
        count => Err(Failure::failed(format!("failed in {count} of {}: {}", all.len(), failed.join(", ")))),
    }
}

async fn one(
    node: String,
    mut process: tokio::process::Command,
    prefix: Option<String>,
) -> Result<Ran, Failure> {
    let begun = Instant::now();
    let mut child = process.spawn().map_err(|error| ssh::missing("ssh", &error))?;
    let (out, err) = (child.stdout.take(), child.stderr.take());
    let (stdout, stderr) =
        tokio::join!(lines(out, prefix.as_deref(), false), lines(err, prefix.as_deref(), true));
    let status = child.wait().await.map_err(Failure::failed)?;
    Ok(Ran { node, exit_code: code(status), ms: begun.elapsed().as_millis(), stdout, stderr })
}

/// Passes on what comes, a line at a time with the node's name before it; or keeps it.
async fn lines(from: Option<impl AsyncRead + Unpin>, prefix: Option<&str>, is_error: bool) -> String {
    let mut kept = String::new();
    let Some(from) = from else { return kept };
    let mut reader = BufReader::new(from);
    let mut line = Vec::new();
    while reader.read_until(b'\n', &mut line).await.is_ok_and(|count| count > 0) {
        let text = String::from_utf8_lossy(&line);
        match prefix {
            Some(prefix) if is_error => remark!("{prefix}{}", text.trim_end_matches('\n')),
            Some(prefix) => say!("{prefix}{}", text.trim_end_matches('\n')),
            None if kept.len() < MOST_KEPT => kept.push_str(&text),
            None => {}
        }
        line.clear();
    }
    kept
}

/// As shells count.
fn code(status: std::process::ExitStatus) -> i32 {
    status.code().or_else(|| status.signal().map(|signal| 128 + signal)).unwrap_or(1)
}

/// A word as a POSIX shell reads it back.
pub(super) fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:,@%+".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_come_back_from_a_shell() {
        for word in ["", "a", "a b", "it's", "$HOME", "`id`", "a\nb", "\\", "*", "ü", "--x=1"] {
            let echoed = std::process::Command::new("sh")
                .args(["-c", &format!("printf %s {}", quoted(word))])
                .output();
            assert_eq!(String::from_utf8(echoed.unwrap().stdout).unwrap(), word);
        }
    }
}
