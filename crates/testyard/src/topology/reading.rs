//! Reading a file in its language, for this testbed.

use std::path::PathBuf;

use clap::Args;
use testyard_formats::import::{Import, Refused, Site};
use testyard_formats::language::Language;
use testyard_formats::ns;
use testyard_formats::read::Reader;
use testyard_formats::rspec::{Context, Unbound};
use testyard_model::diagnostic::Diagnostic;
use testyard_model::topology::Topology;
use testyard_tcl::Process;

use super::file::{self, Source};
use super::remarks;
use super::testbed::Surroundings;
use crate::cli::ConfigArgument;
use crate::exit::Failure;
use crate::progress;

/// How files are read.
#[derive(Clone, Debug, Args)]
pub(crate) struct Reading {
    /// The file's language, if neither its name nor its content tell: rspec, ns, containers, topdl, json, yaml
    #[arg(long, alias = "as", value_name = "LANGUAGE")]
    pub(super) language: Option<Language>,
    /// Refuse what there would be a warning about
    #[arg(long)]
    pub(super) strict: bool,
    /// For a container list: the file with the topology of its hosts, which says how wide their networks are
    #[arg(long, value_name = "FILE")]
    host_topology: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) config: ConfigArgument,
}

/// The same for commands whose `--as` is a user.
#[derive(Clone, Debug, Args)]
pub(crate) struct LanguageArguments {
    /// The file's language, if neither its name nor its content tell: rspec, ns, containers, topdl, json, yaml
    #[arg(long, value_name = "LANGUAGE")]
    language: Option<Language>,
    /// Refuse what there would be a warning about
    #[arg(long)]
    pub(crate) strict: bool,
    /// For a container list: the file with the topology of its hosts, which says how wide their networks are
    #[arg(long, value_name = "FILE")]
    host_topology: Option<PathBuf>,
}

impl Reading {
    /// Nothing but a file was given.
    pub(super) const fn plain(config: ConfigArgument) -> Self {
        Self { language: None, strict: false, host_topology: None, config }
    }

    pub(crate) fn new(arguments: &LanguageArguments, config: ConfigArgument) -> Self {
        let LanguageArguments { language, strict, host_topology } = arguments.clone();
        Self { language, strict, host_topology, config }
    }

    /// Reads a file.
    pub(super) fn read(
        &self,
        source: &Source,
        around: &Surroundings,
    ) -> Result<Result<Import, Refused>, Failure> {
        let hosts = self.hosts(source, around)?;
        let reading = format!("reading {}", source.name);
        let read = progress::during(&reading, || read(source, around, hosts.as_ref()));
        Ok(match read {
            Ok(import) if self.strict => import.strict(),
            other => other,
        })
    }

    fn hosts(&self, source: &Source, around: &Surroundings) -> Result<Option<Topology>, Failure> {
        let Some(path) = &self.host_topology else { return Ok(None) };
        if source.language != Language::Containers {
            return Err(Failure::usage("--host-topology goes with a container list"));
        }
        let hosts = file::open(path, None)?;
        match read(&hosts, around, None) {
            Ok(import) => Ok(Some(import.topology)),
            Err(refused) => Err(told(&hosts, &refused.diagnostics)),
        }
    }
}

/// Prints what refuses a file, and says that it is refused.
pub(super) fn told(source: &Source, diagnostics: &[Diagnostic]) -> Failure {
    remarks::print(&source.name, Some(&source.text), diagnostics);
    let why = remarks::count(diagnostics.iter()).map(|count| format!(": {count}")).unwrap_or_default();
    Failure::failed(format!("{} is refused{why}", source.name))
}

fn read(source: &Source, around: &Surroundings, hosts: Option<&Topology>) -> Result<Import, Refused> {
    let Surroundings { site, urn } = around;
    let context = Context { unbound: Unbound::Ours, ..Context::new(urn.clone()) };
    let with_tcl = |text: &str, site: &Site| ns::import(text, site, &Process::default());
    let reader = Reader { site, context: Some(&context), hosts, ns: Some(&with_tcl) };
    reader.read(&source.text, source.language)
}
