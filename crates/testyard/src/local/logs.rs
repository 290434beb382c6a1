//! `testyard logs`: what the commands of a node's topology have printed, from their files in the node. Of one that cannot
//! be reached, what its host has told of their ends.

use std::process::Stdio;

use clap::Args;
use serde::Serialize;
use testyard_web::api::Node;

use super::exec::quoted;
use super::session::{Connection, Place, Session};
use crate::exit::{Failure, Outcome};
use crate::ssh::{self, Login, Ways};
use crate::{passage, print};

/// Within so many seconds a node answers, or what is known of it is shown.
const PATIENCE: &str = "ConnectTimeout=10";

/// The exit code of ssh itself; commands of ours have none of it.
const NO_WAY: i32 = 255;

/// `logs`
#[derive(Debug, Args)]
#[command(after_help = "Examples: testyard logs web\n          testyard logs web --number 2 --follow\n\
                        Of a node that cannot be reached, the ends of the outputs are shown, as far as they are known.")]
pub struct Arguments {
    /// The node: NODE, or NODE.SLICE
    node: String,
    /// Only of this command, from 1
    #[arg(long, value_name = "N", conflicts_with = "program")]
    number: Option<u32>,
    /// What making the node's image has printed, if it is of a URL
    #[arg(long, conflicts_with_all = ["number", "program", "follow"])]
    build: bool,
    /// Of this program, which events start and stop
    #[arg(long, value_name = "NAME")]
    program: Option<String>,
    /// Go on with what comes
    #[arg(long, short)]
    follow: bool,
    /// The slice [default: the one that has the node]
    #[arg(long)]
    slice: Option<String>,
    /// Print JSON
    #[arg(long, conflicts_with = "follow")]
    json: bool,
    #[command(flatten)]
    connection: Connection,
}

/// What something of a node has printed.
#[derive(Debug, PartialEq, Eq)]
struct Log {
    /// What it is.
    of: String,
    state: String,
    /// In the node, each with what it holds if there are several.
    files: Vec<(Option<&'static str>, String)>,
    /// The end of it, or why there is none, as the host has told.
    end: String,
}

/// The same as JSON.
#[derive(Serialize)]
struct Told<'l> {
    of: &'l str,
    state: &'l str,
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<&'l str>,
    /// Whether this is all of the file, or the end of it that the testbed knows.
    whole: bool,
    text: String,
}

pub(super) async fn run(arguments: &Arguments) -> Outcome {
    let session = Session::open(&arguments.connection);
    let place = session.place(&arguments.node, arguments.slice.as_deref()).await?;
    let of = &place.node;
    if arguments.build {
        return build(&session, &place, arguments.json).await;
    }
    let node = place.slice.nodes.iter().find(|node| node.name == *of);
    let logs = node.map(|node| logs(node, arguments)).unwrap_or_default();
    if logs.is_empty() {
        return Err(Failure::failed(match (&arguments.number, &arguments.program) {
            (Some(number), _) => format!("{of} runs no command {number}"),
            (None, Some(program)) => format!("{of} has started no program {program:?}"),
            (None, None) => {
                format!("{of} runs no commands; `execute` in an RSpec and `run` in YAML are some")
            }
        }));
    }
    let state = node.map_or("gone", |node| node.state.as_str());
    let why = if matches!(state, "notready" | "stopping") {
        format!("{of} is stopped")
    } else {
        match session.ways(&place.slice, None).await {
            Ok(ways) if read(&ways, ways.login(of)?, &logs, arguments)? => return Ok(()),
            Ok(_) => format!("{of} cannot be reached"),
            Err(failure) => failure.message,
        }
    };
    collected(&why, &logs, arguments)
}

/// Prints what making a node's image has printed.
async fn build(session: &Session, place: &Place, json: bool) -> Outcome {
    let node = place.slice.nodes.iter().find(|node| node.name == place.node);
    let images = session.client.images(&place.slice.name).await?;
    let image = node
        .and_then(|node| images.into_iter().find(|image| image.url == node.image && image.host == node.host));
    let Some(image) = image else {
        let of = &place.node;
        return Err(Failure::failed(format!(
            "the image of {of} is of no URL, or nothing was done for it yet"
        )));
    };
    if json {
        return print::json(&image);
    }
    let detail = if image.detail.is_empty() { String::new() } else { format!(": {}", image.detail) };
    passage::whole(&image.log).iter().for_each(|line| say!("{line}"));
    remark!("image {} on {}: {}{detail}", image.url, image.host, image.state);
    Ok(())
}

/// Prints the files of a node; whether it could be reached.
fn read(ways: &Ways, login: &Login, logs: &[Log], arguments: &Arguments) -> Result<bool, Failure> {
    let options = ["-T", "-o", PATIENCE];
    let missing = |error| ssh::missing("ssh", &error);
    if arguments.json {
        let mut told = Vec::new();
        for log in logs {
            if log.files.is_empty() {
                told.push(log.told());
            }
            for (_, file) in &log.files {
                let mut ssh = ways.ssh(login, &options);
                let output = ssh.arg(format!("exec cat {}", quoted(file))).stderr(Stdio::inherit()).output();
                let output = output.map_err(missing)?;
                if output.status.code() == Some(NO_WAY) {
                    return Ok(false);
                }
                let text = String::from_utf8_lossy(&output.stdout).into_owned();
                told.push(Told { file: Some(file), whole: output.status.success(), text, ..log.told() });
            }
        }
        return print::json(&told).map(|()| true);
    }
    let files: Vec<(String, String)> = logs
        .iter()
        .flat_map(|log| log.files.iter().map(|(what, file)| (log.head(*what), quoted(file))))
        .collect();
    let command = match (arguments.follow, files.as_slice()) {
        (_, []) => "exec true".to_owned(),
        (true, _) => {
            let files: Vec<&str> = files.iter().map(|(_, file)| file.as_str()).collect();
            format!("exec tail -n +1 -F {}", files.join(" "))
        }
        (false, [(_, one)]) if logs.len() == 1 => format!("exec cat {one}"),
        (false, _) => {
            let each =
                files.iter().map(|(head, file)| format!("printf '%s\\n' {}; cat {file}", quoted(head)));
            each.collect::<Vec<_>>().join("; ")
        }
    };
    for log in logs.iter().filter(|log| log.files.is_empty()) {
        log.show();
    }
    let status = ways.ssh(login, &options).arg(command).status().map_err(missing)?;
    match status.code() {
        Some(0) => Ok(true),
        Some(NO_WAY) => Ok(false),
        _ => Err(Failure::failed(format!("the logs of {} cannot be read", login.node))),
    }
}

/// Prints what hosts have told, and why it is no more.
fn collected(why: &str, logs: &[Log], arguments: &Arguments) -> Outcome {
    if logs.iter().all(|log| log.end.is_empty()) {
        return Err(Failure::failed(format!("{why}, and nothing that it has printed is known")));
    }
    let more = if arguments.follow { ", and cannot be followed" } else { "" };
    remark!("{why}{more}; these are the ends of its outputs that the testbed knows");
    if arguments.json {
        return print::json(&logs.iter().map(Log::told).collect::<Vec<_>>());
    }
    logs.iter().for_each(Log::show);
    Ok(())
}

impl Log {
    fn head(&self, what: Option<&str>) -> String {
        let Self { of, state, .. } = self;
        what.map_or_else(|| format!("==> {of}: {state}"), |what| format!("==> {of}: {state}, {what}"))
    }

    fn show(&self) {
        say!("{}", self.head(None));
        passage::whole(&self.end).iter().for_each(|line| say!("{line}"));
    }

    fn told(&self) -> Told<'_> {
        let Self { of, state, files, end } = self;
        let file = files.first().map(|(_, file)| file.as_str());
        Told { of, state, file, whole: false, text: end.clone() }
    }
}

/// What is asked for. An install has no file, but may have told why it failed.
fn logs(node: &Node, arguments: &Arguments) -> Vec<Log> {
    let services = node.services.iter().filter(|service| {
        let is_meant = |number| service.kind == "execute" && service.number == number;
        arguments.program.is_none() && arguments.number.is_none_or(is_meant)
    });
    let services = services.map(|service| Log {
        of: format!("{} {}", service.kind, service.number),
        state: service.state.clone(),
        files: service.log.iter().map(|log| (None, log.clone())).collect(),
        end: service.detail.clone(),
    });
    let programs = node.programs.iter().filter(|program| {
        arguments.number.is_none() && arguments.program.as_ref().is_none_or(|name| *name == program.name)
    });
    let what = |log: &str| if log.ends_with(".err") { "err" } else { "out" };
    let programs = programs.map(|program| Log {
        of: format!("program {}", program.name),
        state: program.state.clone(),
        files: program.logs.iter().map(|log| (Some(what(log)), log.clone())).collect(),
        end: program.detail.clone(),
    });
    services.chain(programs).filter(|log| !log.files.is_empty() || !log.end.is_empty()).collect()
}
