//! `testyard up`: a slice runs what a topology says.

use std::collections::BTreeSet;
use std::io::{BufRead as _, IsTerminal as _};
use std::path::{Path, PathBuf};

use clap::Args;
use testyard_model::diagnostic::{Diagnostic, Severity};
use testyard_model::name::ClientId;
use testyard_web::ClientError;
use testyard_web::api::{NONE_YET, OutlookRead, Slice, Update};

use super::session::{Connection, Session};
use super::show;
use super::wait::{self, Goal, Limit};
use crate::exit::{Failure, Outcome};
use crate::print;
use crate::topology::{self, Reading};

/// `up`
#[derive(Debug, Args)]
#[command(after_help = "Examples: testyard up examples/four-nodes.ns\n          \
                        testyard up lab.yaml --slice lab --dry-run\n          \
                        testyard up lab.yaml --only web,db\n\
                        Again with a changed file: nodes and links come, go and change. What runs and is the same stays as\n\
                        it is. Changes of `testyard link` are over then: links are as the file says.")]
pub struct Arguments {
    /// The topology, in any language; - is the standard input
    file: PathBuf,
    /// The slice [default: the file's name without its ending]
    #[arg(long)]
    slice: Option<String>,
    /// Only these nodes, and those that run already
    #[arg(long, value_name = "NODE", value_delimiter = ',')]
    only: Vec<ClientId>,
    /// Say what would change, and change nothing
    #[arg(long)]
    dry_run: bool,
    /// Do not ask before a node goes or loses its disk
    #[arg(long, short)]
    yes: bool,
    /// When it ends: a time, or from now like +7d [default: what the testbed gives; no other for a slice that is there]
    #[arg(long, value_name = "TIME")]
    end: Option<String>,
    /// A public SSH key to install beside the own one; repeat for more
    #[arg(long = "ssh-key", value_name = "FILE")]
    ssh_keys: Vec<PathBuf>,
    /// Do not wait until all of it is so
    #[arg(long)]
    no_wait: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    limit: Limit,
    #[command(flatten)]
    language: topology::LanguageArguments,
    #[command(flatten)]
    connection: Connection,
}

/// How often a change is asked for again since the slice was changed by somebody else meanwhile.
const ATTEMPTS: u32 = 10;

pub(super) async fn run(arguments: &Arguments) -> Outcome {
    let session = Session::open(&arguments.connection);
    let name = slice_name(arguments)?;
    let testbed = session.client.testbed().await?;
    let reading = Reading::new(&arguments.language, arguments.connection.config.clone());
    let topology = topology::own_format(&arguments.file, &reading, &testbed)?;
    let mut keys = session.identity.publics()?;
    for path in &arguments.ssh_keys {
        let text = std::fs::read_to_string(path);
        keys.push(text.map_err(|error| Failure::usage(format!("{}: {error}", path.display())))?);
    }
    let only = (!arguments.only.is_empty()).then(|| arguments.only.iter().cloned().collect::<BTreeSet<_>>());
    let end = arguments.end.as_deref().map(crate::end::parse).transpose()?;
    let mut update = Update { topology, only, keys, end, revision: None };

    if arguments.dry_run {
        let outlook = session.client.outlook(&name, &update).await?;
        strictly(arguments, &name, &outlook)?;
        return tell(arguments, &name, &outlook);
    }
    let slice = change(arguments, &session, &name, &mut update).await?;
    topology::print_remarks(&name, &slice.remarks);
    if arguments.no_wait {
        return if arguments.json { print::json(&slice) } else { Ok(()) };
    }
    let slice = wait::wait(&session, &name, Goal::Ready, &[], arguments.limit.duration()).await?;
    if arguments.json {
        return print::json(&slice);
    }
    show::slice(&slice);
    next_steps(&slice);
    Ok(())
}

/// Has the slice run it. What it has come to be since it was looked at is looked at anew: nobody loses what nobody was told of.
async fn change(
    arguments: &Arguments,
    session: &Session,
    name: &str,
    update: &mut Update,
) -> Result<Slice, Failure> {
    let mut is_new =
        session.client.slices().await?.iter().all(|slice| slice.name != name && slice.urn != name);
    let mut told: Option<OutlookRead> = None;
    for _ in 0..ATTEMPTS {
        if is_new && !arguments.language.strict {
            update.revision = Some(NONE_YET.to_owned());
        } else {
            let outlook = session.client.outlook(name, update).await?;
            strictly(arguments, name, &outlook)?;
            if outlook.revision != NONE_YET {
                let is_news = told.as_ref().is_none_or(|told| told.lines != outlook.lines);
                if !arguments.json && is_news {
                    changes(&outlook);
                }
                let agreed = told.as_ref().map(losses).unwrap_or_default();
                if losses(&outlook).iter().any(|loss| !agreed.contains(loss)) {
                    ask(arguments, &outlook)?;
                }
            }
            update.revision = Some(outlook.revision.clone());
            told = Some(outlook);
        }
        match session.client.update(name, update).await {
            Err(ClientError::Refused(problem)) if problem.kind == "changed" => {
                remark!("slice {name} has changed meanwhile; looking at it again");
                is_new = false;
            }
            outcome => return Ok(outcome?),
        }
    }
    Err(Failure::failed(format!("slice {name} changes again and again: somebody else is at it, too")))
}

/// With --strict, what the planner warns of is refused.
fn strictly(arguments: &Arguments, name: &str, outlook: &OutlookRead) -> Outcome {
    let is_grave = |remark: &&Diagnostic| remark.severity != Severity::Notice;
    let warnings = outlook.remarks.iter().filter(is_grave).count();
    if !arguments.language.strict || warnings == 0 {
        return Ok(());
    }
    topology::print_remarks(name, &outlook.remarks);
    let counted = format!("{warnings} {}", if warnings == 1 { "warning" } else { "warnings" });
    Err(Failure::failed(format!("{counted}, and --strict was asked for; nothing has changed")))
}

/// What a slice is called if nobody says: as its file.
fn slice_name(arguments: &Arguments) -> Result<String, Failure> {
    if let Some(slice) = &arguments.slice {
        return Ok(slice.clone());
    }
    let name = name_of_file(&arguments.file);
    name.ok_or_else(|| Failure::usage("how is the slice to be called? Give --slice NAME"))
}

fn name_of_file(path: &Path) -> Option<String> {
    let name = path.file_name()?.to_str()?;
    let stem = name.split('.').next()?;
    let good = |c: char| if c.is_ascii_alphanumeric() || c == '-' { c } else { '-' };
    let name: String = stem.chars().map(good).collect();
    let name = name.trim_matches('-');
    (!name.is_empty()).then(|| name.chars().take(60).collect())
}

fn tell(arguments: &Arguments, name: &str, outlook: &OutlookRead) -> Outcome {
    if arguments.json {
        return print::json(&serde_json::json!({
            "slice": name,
            "changes": outlook.changes,
            "disturbs": outlook.disturbs,
            "remarks": outlook.remarks,
        }));
    }
    topology::print_remarks(name, &outlook.remarks);
    changes(outlook);
    Ok(())
}

fn changes(outlook: &OutlookRead) {
    if outlook.lines.is_empty() {
        say!("nothing changes");
    }
    for line in &outlook.lines {
        topology::wrap(line, "", "    ").iter().for_each(|line| say!("{line}"));
    }
}

/// Nodes whose disks are lost, a line each.
fn losses(outlook: &OutlookRead) -> Vec<&String> {
    let loses = |line: &&String| {
        line.starts_with("- node ") || (line.starts_with("! node ") && line.contains("fresh disk"))
    };
    outlook.lines.iter().filter(loses).collect()
}

/// Nobody loses what is on a disk without having said so.
fn ask(arguments: &Arguments, outlook: &OutlookRead) -> Outcome {
    let lost = losses(outlook).len();
    if lost == 0 || arguments.yes {
        return Ok(());
    }
    let what = format!(
        "{lost} {} and what is on the disk is lost",
        if lost == 1 { "node goes" } else { "nodes go" }
    );
    if !std::io::stdin().is_terminal() || arguments.file.as_os_str() == "-" {
        return Err(Failure::failed(format!(
            "{what}: give --yes to do it, --dry-run to look at it; nothing has changed"
        )));
    }
    remark!("{what}. Go on? [y/N]");
    let mut answer = String::new();
    let read = std::io::stdin().lock().read_line(&mut answer);
    if read.is_ok() && matches!(answer.trim(), "y" | "Y" | "yes") {
        return Ok(());
    }
    Err(Failure::failed("nothing has changed"))
}

fn next_steps(slice: &Slice) {
    let Some(first) = slice.nodes.first() else { return };
    let name = &slice.name;
    say!();
    say!("testyard ssh {}.{name}    log in", first.name);
    if let Some(link) = slice.links.first() {
        say!("testyard link set {name} {} delay=20ms    change a link while it runs", link.name);
    }
    say!("testyard down {name}    give everything back");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slices_are_called_as_their_files() {
        for (path, name) in [
            ("examples/four-nodes.ns", Some("four-nodes")),
            ("a/b.topdl.xml", Some("b")),
            ("my lab.yaml", Some("my-lab")),
            ("-", None),
            ("...", None),
        ] {
            assert_eq!(name_of_file(Path::new(path)).as_deref(), name, "{path}");
        }
    }
}
