//! `testyard cp`: files to and from nodes, by scp.

use std::io::IsTerminal as _;
use std::os::unix::process::CommandExt as _;
use std::process::Command as Process;

use clap::Args;
use testyard_web::api::Slice;

use super::session::{Connection, Session};
use crate::exit::{Failure, Outcome};
use crate::ssh;

/// `cp`
#[derive(Debug, Args)]
#[command(
    after_help = "Examples: testyard cp setup.sh web:/tmp/\n          testyard cp -r web.lab:/var/log ./logs\n          \
                        testyard cp web:/etc/hosts db:/tmp/hosts"
)]
pub struct Arguments {
    /// From where, and at last to where: PATH, or NODE:PATH (NODE.SLICE:PATH)
    #[arg(required = true, num_args = 2..)]
    paths: Vec<String>,
    /// Folders with all that is in them
    #[arg(long, short)]
    recursive: bool,
    /// The slice [default: the one that has the node]
    #[arg(long)]
    slice: Option<String>,
    #[command(flatten)]
    connection: Connection,
}

pub(super) async fn run(arguments: &Arguments) -> Outcome {
    let session = Session::open(&arguments.connection);
    let mut slice: Option<Slice> = None;
    let mut paths = Vec::with_capacity(arguments.paths.len());
    for path in &arguments.paths {
        let Some((node, at)) = remote(path) else {
            // A local path with a colon is none of a node's.
            paths.push(if path.contains(':') && !path.starts_with('/') {
                format!("./{path}")
            } else {
                path.clone()
            });
            continue;
        };
        let place = session.place(node, arguments.slice.as_deref()).await?;
        if slice.as_ref().is_some_and(|known| known.urn != place.slice.urn) {
            return Err(Failure::usage("these nodes are of several slices: one at a time"));
        }
        paths.push(format!("{}:{at}", place.node));
        slice = Some(place.slice);
    }
    let Some(slice) = slice else {
        return Err(Failure::usage("none of these is in a node: write it like web:/tmp/file"));
    };
    let ways = session.ways(&slice, None).await?;
    let mut process = Process::new("scp");
    // scp shows its progress on a terminal, unless it is to be quiet.
    if !std::io::stdout().is_terminal() {
        process.arg("-q");
    }
    process.arg("-F").arg(ways.configuration_file()?);
    if arguments.recursive {
        process.arg("-r");
    }
    // Between two nodes the bytes go by way of this machine: nodes need not trust each other.
    let error = process.arg("-3").arg("--").args(paths).exec();
    Err(ssh::missing("scp", &error))
}

/// `NODE:PATH`, unless it is a path with a colon in it.
fn remote(path: &str) -> Option<(&str, &str)> {
    let (node, at) = path.split_once(':')?;
    (!node.is_empty() && !node.contains('/')).then_some((node, at))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_and_paths() {
        assert_eq!(remote("web:/tmp"), Some(("web", "/tmp")));
        assert_eq!(remote("web.lab:a:b"), Some(("web.lab", "a:b")));
        assert_eq!(remote("./a:b"), None);
        assert_eq!(remote("/a:b"), None);
        assert_eq!(remote("a"), None);
    }
}
