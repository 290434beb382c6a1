//! `testyard logs`: what the commands of a node's topology have printed, from their files in the node.

use clap::Args;
use testyard_web::api::Service;

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
    #[arg(long, value_name = "N")]
    number: Option<u32>,
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
    let services: Vec<&Service> = node
        .iter()
        .flat_map(|node| &node.services)
        .filter(|service| {
            service.log.is_some() && arguments.number.is_none_or(|number| number == service.number)
        })
        .collect();
    if services.is_empty() {
        return Err(Failure::failed(match arguments.number {
            Some(number) => format!("{} runs no command {number}", place.node),
            None => {
                format!("{} runs no commands; `execute` in an RSpec and `run` in YAML are some", place.node)
            }
        }));
    }
    let ways = session.ways(&place.slice, None).await?;
    let login = ways.login(&place.node)?;
    let files: Vec<String> =
        services.iter().filter_map(|service| Some(quoted(service.log.as_deref()?))).collect();
    let command = match (arguments.follow, files.as_slice()) {
        (true, _) => format!("exec tail -n +1 -F {}", files.join(" ")),
        (false, [one]) => format!("exec cat {one}"),
        (false, _) => {
            let each = services.iter().zip(&files).map(|(service, file)| {
                let head = format!("==> {} {}: {}", service.kind, service.number, service.state);
                format!("printf '%s\\n' {}; cat {file}", quoted(&head))
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
