//! `testyard logs`: what the commands of a node's topology have printed, from their files in the node.

use clap::Args;
use testyard_web::api::Node;

use super::exec::quoted;
use super::session::{Connection, Session};
use crate::exit::{Failure, Outcome};
use crate::ssh;

/// `logs`
#[derive(Debug, Args)]
#[command(after_help = "Examples: testyard logs web\n          testyard logs web --number 2 --follow")]
pub struct Arguments {
    /// The node: NODE, or NODE.SLICE
    node: String,
    /// Only of this command, from 1
    #[arg(long, value_name = "N", conflicts_with = "program")]
    number: Option<u32>,
    /// Of this program, which events start and stop
    #[arg(long, value_name = "NAME")]
    program: Option<String>,
    /// Go on with what comes
    #[arg(long, short)]
    follow: bool,
    /// The slice [default: the one that has the node]
    #[arg(long)]
    slice: Option<String>,
    #[command(flatten)]
    connection: Connection,
}

pub(super) async fn run(arguments: &Arguments) -> Outcome {
    let session = Session::open(&arguments.connection);
    let place = session.place(&arguments.node, arguments.slice.as_deref()).await?;
    let node = place.slice.nodes.iter().find(|node| node.name == place.node);
    let logs = node.map(|node| logs(node, arguments)).unwrap_or_default();
    if logs.is_empty() {
        let of = &place.node;
        return Err(Failure::failed(match (&arguments.number, &arguments.program) {
            (Some(number), _) => format!("{of} runs no command {number}"),
            (None, Some(program)) => format!("{of} has started no program {program:?}"),
            (None, None) => {
                format!("{of} runs no commands; `execute` in an RSpec and `run` in YAML are some")
            }
        }));
    }
    let ways = session.ways(&place.slice, None).await?;
    let login = ways.login(&place.node)?;
    let files: Vec<String> = logs.iter().map(|(_, file)| quoted(file)).collect();
    let command = match (arguments.follow, files.as_slice()) {
        (true, _) => format!("exec tail -n +1 -F {}", files.join(" ")),
        (false, [one]) => format!("exec cat {one}"),
        (false, _) => {
            let each = logs.iter().zip(&files);
            let each = each.map(|((head, _), file)| {
                format!("printf '%s\\n' {}; cat {file}", quoted(&format!("==> {head}")))
            });
            each.collect::<Vec<_>>().join("; ")
        }
    };
    let status = ways.ssh(login, &["-T"]).arg(command).status();
    match status.map_err(|error| ssh::missing("ssh", &error))?.code() {
        Some(0) => Ok(()),
        _ => Err(Failure::failed(format!("the logs of {} cannot be read", place.node))),
    }
}

/// What is asked for: what it is, and its file.
fn logs(node: &Node, arguments: &Arguments) -> Vec<(String, String)> {
    let services = node.services.iter().filter(|service| {
        arguments.program.is_none() && arguments.number.is_none_or(|number| number == service.number)
    });
    let services = services.filter_map(|service| {
        let head = format!("{} {}: {}", service.kind, service.number, service.state);
        Some((head, service.log.clone()?))
    });
    let programs = node.programs.iter().filter(|program| {
        arguments.number.is_none() && arguments.program.as_ref().is_none_or(|name| *name == program.name)
    });
    let programs = programs.flat_map(|program| {
        let head = format!("program {}: {}", program.name, program.state);
        program
            .logs
            .iter()
            .map(move |log| (format!("{head}, {}", log.rsplit('.').next().unwrap_or_default()), log.clone()))
    });
    services.chain(programs).collect()
}
