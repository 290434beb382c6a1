//! `testyard plan`: what a file asks for with every choice made, before anything runs.

use std::collections::BTreeMap;
use std::path::PathBuf;

use clap::Args;
use serde::Serialize;
use testyard_formats::import::{Refused, Statement, Treatment};
use testyard_model::diagnostic::{Diagnostic, Severity};
use testyard_model::name::ClientId;
use testyard_model::route::Routing;
use testyard_model::topology::Topology;
use testyard_plan::network::routes::PlannedRoute;
use testyard_plan::{Plan, PlanError, diff, render};
use testyard_web::api::OutlookRead;

use super::file::{self, Source};
use super::filters;
use super::reading::Reading;
use super::remarks;
use super::request::own_format_of;
use super::running::{self, Running};
use super::shown::Shown;
use super::testbed::{HostGiven, Testbed};
use crate::exit::{Failure, Kind, Outcome};
use crate::print;

/// `testyard plan`
#[derive(Debug, Args)]
#[command(after_help = "Examples: testyard plan examples/four-nodes.ns --report\n          \
                        testyard plan --diff old.yaml new.yaml\n          \
                        testyard plan --diff lab new.yaml    against what runs of the slice lab\n          \
                        testyard plan big.rspec --hosts a:50,b:50 --json\n\
                        Nothing is changed, and neither a server nor root is needed. NS files need tclsh 8.6.\n\
                        Exit codes: 0 it can be had, 1 it is refused, 2 wrong usage.")]
pub struct Arguments {
    /// The topology, in any language; - is the standard input
    file: PathBuf,
    #[command(flatten)]
    reading: Reading,
    /// Say of each statement of the file whether it is honoured, approximated or ignored
    #[arg(long)]
    report: bool,
    /// Print routes, of this node or of all; those of up to 20 nodes are printed in any case
    #[arg(long, value_name = "NODE", num_args = 0..=1, require_equals = true, conflicts_with = "diff")]
    routes: Option<Option<ClientId>>,
    /// Print what /etc/hosts says, on this node or on all
    #[arg(long, value_name = "NODE", num_args = 0..=1, require_equals = true, conflicts_with = "diff")]
    names: Option<Option<ClientId>>,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Plan for these hosts instead of this machine; what their kernels have left is not known then
    #[arg(long, value_name = "NAME:CAPACITY", value_delimiter = ',')]
    hosts: Vec<HostGiven>,
    /// Say what changes if FILE takes the place of this one: a file, or a slice that runs
    #[arg(long, value_name = "OLD", conflicts_with = "report")]
    diff: Option<PathBuf>,
}

/// What became of a file.
#[derive(Serialize)]
struct Answer<'a> {
    file: &'a str,
    language: &'static str,
    refused: bool,
    remarks: Remarks,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    report: Vec<Statement>,
    #[serde(skip_serializing_if = "Option::is_none")]
    plan: Option<Plan>,
    /// By node, as far as they are shown.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    routes: BTreeMap<ClientId, Vec<PlannedRoute>>,
    /// What `/etc/hosts` says, by node, as far as it is shown.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    hosts: BTreeMap<ClientId, String>,
    #[serde(skip)]
    topology: Option<Topology>,
}

/// What there is to say: about the file, the plan, and this machine's kernel.
#[derive(Default, Serialize)]
struct Remarks {
    file: Vec<Diagnostic>,
    plan: Vec<Diagnostic>,
    host: Vec<Diagnostic>,
}

impl Remarks {
    fn all(&self) -> impl Iterator<Item = &Diagnostic> + Clone {
        self.file.iter().chain(&self.plan).chain(&self.host)
    }
}

/// Runs the command.
///
/// # Errors
/// If the file is refused, or is not there.
pub fn run(arguments: &Arguments) -> Outcome {
    if let Some(slice) = arguments.diff.as_deref().and_then(running::slice_name) {
        return difference_to_slice(arguments, slice);
    }
    let testbed = Testbed::load(&arguments.reading.config, &arguments.hosts)?;
    let source = file::open(&arguments.file, arguments.reading.language)?;
    if let Some(old) = &arguments.diff {
        let old = file::open(old, arguments.reading.language)?;
        return difference(arguments, &testbed, &old, &source);
    }
    let mut answer = answer(&source, &arguments.reading, &testbed, None)?;
    let network = answer.plan.as_ref().and_then(|plan| plan.network.as_ref());
    let shown = Shown::of(&arguments.routes, &arguments.names, network)?;
    if arguments.json {
        if let Some(network) = network {
            (answer.routes, answer.hosts) = (shown.routes(network), shown.hosts(network));
        }
        print::json(&answer)?;
        return if answer.refused { Err(Failure::silent(Kind::Failed)) } else { Ok(()) };
    }
    remarks::print(&source.name, Some(&source.text), &answer.remarks.file);
    remarks::print(&source.name, None, &answer.remarks.plan);
    if arguments.report && answer.topology.is_some() {
        report(&answer.report);
    }
    if let Some((topology, plan)) = answer.topology.as_ref().zip(answer.plan.as_ref()) {
        say!("{}\non {testbed}\n", counts(topology));
        print::text(tables(plan));
        if let Some(network) = &plan.network {
            shown.print(network);
        }
    }
    remarks::print(&source.name, None, &answer.remarks.host);
    conclude(&answer)
}

fn conclude(answer: &Answer<'_>) -> Outcome {
    let counted = remarks::count(answer.remarks.all());
    match (answer.refused, counted) {
        (true, counted) => {
            Err(Failure::failed(format!("{} is refused: {}", answer.file, counted.unwrap_or_default())))
        }
        (false, Some(counted)) => {
            remark!("{counted}");
            Ok(())
        }
        (false, None) => Ok(()),
    }
}

/// Reads and plans; what refuses the file is in the answer.
/// `running`: what it is to take the place of.
fn answer<'s>(
    source: &'s Source,
    reading: &Reading,
    testbed: &Testbed,
    running: Option<&Plan>,
) -> Result<Answer<'s>, Failure> {
    let mut answer = Answer {
        file: &source.name,
        language: source.language.as_str(),
        refused: true,
        remarks: Remarks::default(),
        report: Vec::new(),
        plan: None,
        routes: BTreeMap::new(),
        hosts: BTreeMap::new(),
        topology: None,
    };
    let import = match reading.read(source, &testbed.surroundings())? {
        Ok(import) => import,
        Err(Refused { diagnostics }) => {
            answer.remarks.file = diagnostics;
            return Ok(answer);
        }
    };
    answer.remarks.file = import.diagnostics;
    answer.report = import.report;
    match testbed.plan(&import.topology, running) {
        Ok(plan) => {
            answer.remarks.plan.clone_from(&plan.diagnostics);
            answer.remarks.plan.extend(filters::tried(&import.topology));
            answer.remarks.host.clone_from(&plan.near_limits);
            answer.plan = Some(plan);
        }
        Err(PlanError::Limits(told)) => answer.remarks.host = told,
        Err(error) => answer.remarks.plan = reasons(error, testbed),
    }
    if reading.strict {
        // The machine's own state is no mistake of the file's.
        refuse_warnings(&mut answer.remarks.plan);
    }
    answer.refused = remarks::refuses(answer.remarks.all());
    answer.topology = Some(import.topology);
    Ok(answer)
}

fn refuse_warnings(diagnostics: &mut [Diagnostic]) {
    for diagnostic in diagnostics.iter_mut().filter(|remark| remark.severity == Severity::Warning) {
        diagnostic.severity = Severity::Error;
    }
}

/// Why there is no plan, with what helps.
fn reasons(error: PlanError, testbed: &Testbed) -> Vec<Diagnostic> {
    let remedy = match &error {
        PlanError::Network(refused) => return refused.diagnostics.clone(),
        PlanError::Nothing => Some(
            "add a node; in an RSpec, those that name another component_manager_id are another testbed's"
                .to_owned(),
        ),
        PlanError::TooBig { .. } | PlanError::Partition { .. } | PlanError::Apart { .. } => {
            Some(testbed.more_room())
        }
        PlanError::TooMany { .. } => {
            Some("limits.nodes_per_slice of the configuration says how many".to_owned())
        }
        _ => None,
    };
    let diagnostic = Diagnostic::new(Severity::Error, error.to_string());
    vec![Diagnostic { suggestion: remedy, ..diagnostic }]
}

fn difference(arguments: &Arguments, testbed: &Testbed, old: &Source, new: &Source) -> Outcome {
    let planned = |source: &Source, running: Option<&Plan>| -> Result<Plan, Failure> {
        let answer = answer(source, &arguments.reading, testbed, running)?;
        remarks::print(&source.name, Some(&source.text), &answer.remarks.file);
        remarks::print(&source.name, None, &answer.remarks.plan);
        // What this machine lacks is no difference between the two.
        let Remarks { file, plan, .. } = &answer.remarks;
        match answer.plan {
            Some(planned) if !remarks::refuses(file.iter().chain(plan)) => Ok(planned),
            _ => Err(Failure::failed(format!("{} is refused", source.name))),
        }
    };
    let before = planned(old, None)?;
    let changes = diff(&before, &planned(new, Some(&before))?);
    if arguments.json {
        return print::json(&serde_json::json!({"changes": changes, "disturbs": changes.disturbs()}));
    }
    for line in changes.to_string().lines() {
        remarks::wrap(line, "", "    ").iter().for_each(|line| say!("{line}"));
    }
    Ok(())
}

/// What changes if a file takes the place of what runs of a slice. Its server plans: it knows what the nodes have.
fn difference_to_slice(arguments: &Arguments, slice: &str) -> Outcome {
    if !arguments.hosts.is_empty() {
        let why = format!("the hosts of {slice} are its testbed's: --hosts goes with --diff of two files");
        return Err(Failure::usage(why));
    }
    let Arguments { reading, json, .. } = arguments;
    let source = file::open(&arguments.file, reading.language)?;
    let running = Running::new(slice, &reading.config)?;
    let topology = own_format_of(&source, reading, &running.surroundings()?)?;
    let OutlookRead { changes, lines, disturbs, mut remarks, .. } = running.outlook(topology)?;
    if reading.strict {
        refuse_warnings(&mut remarks);
    }
    let refused = remarks::refuses(remarks.iter());
    if *json {
        print::json(&serde_json::json!({"changes": changes, "disturbs": disturbs, "remarks": remarks}))?;
        return if refused { Err(Failure::silent(Kind::Failed)) } else { Ok(()) };
    }
    remarks::print(slice, None, &remarks);
    if refused {
        let counted = remarks::count(remarks.iter()).unwrap_or_default();
        return Err(Failure::failed(format!("{} is refused: {counted}", source.name)));
    }
    if lines.is_empty() {
        say!("nothing changes");
    }
    for line in lines.iter().flat_map(|line| remarks::wrap(line, "", "    ")) {
        say!("{line}");
    }
    Ok(())
}

fn counts(topology: &Topology) -> String {
    let of = |count: usize, word: &str| format!("{count} {word}{}", if count == 1 { "" } else { "s" });
    let mut parts = vec![of(topology.nodes.len(), "node"), of(topology.links.len(), "link")];
    if !topology.links.is_empty() {
        parts.push(match topology.routing {
            Routing::None => "no routing".to_owned(),
            routing => format!("{routing:?} routing").to_lowercase(),
        });
    }
    if !topology.schedule.is_empty() {
        parts.push(of(topology.schedule.len(), "scheduled event"));
    }
    parts.join(", ")
}

fn tables(plan: &Plan) -> String {
    match &plan.network {
        // A table of no links says nothing.
        Some(network) if network.links().is_empty() => render::plan(&Plan { network: None, ..plan.clone() }),
        _ => render::plan(plan),
    }
}

fn report(statements: &[Statement]) {
    if statements.is_empty() {
        say!("This language is taken as a whole: what is not honoured is said above.\n");
        return;
    }
    let mut table = print::table(&["line", "statement", "taken", "note"]);
    for Statement { position, command, treatment, note } in statements {
        let place = if position.line == 0 { String::new() } else { position.to_string() };
        let note = note.clone().unwrap_or_default();
        table.add_row([place, command.clone(), word(*treatment).to_owned(), note]);
    }
    print::show(&table);
    let count = |wanted| statements.iter().filter(|statement| statement.treatment == wanted).count();
    say!(
        "{} honoured, {} approximated, {} ignored\n",
        count(Treatment::Honoured),
        count(Treatment::Approximated),
        count(Treatment::Ignored)
    );
}

const fn word(treatment: Treatment) -> &'static str {
    match treatment {
        Treatment::Honoured => "honoured",
        Treatment::Approximated => "approximated",
        Treatment::Ignored => "ignored",
    }
}
