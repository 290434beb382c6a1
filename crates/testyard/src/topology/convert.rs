//! `testyard convert` and `testyard graph`: a topology in another language.

use std::path::{Path, PathBuf};

use clap::Args;
use testyard_formats::export::{export, export_for};
use testyard_formats::language::Language;

use super::reading::{Reading, told};
use super::running::{self, Running};
use super::testbed::Testbed;
use super::{file, remarks};
use crate::exit::{Failure, Outcome};
use crate::print;

/// `testyard convert`
#[derive(Debug, Args)]
#[command(after_help = "Example: testyard convert examples/four-nodes.ns --to rspec -o four.rspec\n\
                        What the language cannot say is told on the standard error; with --strict it is refused.")]
pub struct Convert {
    /// The topology, in any language; - is the standard input
    file: PathBuf,
    /// The other language: rspec, topdl, ns, json, yaml, graphviz, mermaid
    #[arg(long, value_name = "LANGUAGE")]
    to: Language,
    /// Where to write; the standard output if nothing is said
    #[arg(short, long, value_name = "OUT")]
    output: Option<PathBuf>,
    #[command(flatten)]
    reading: Reading,
}

/// `testyard graph`
#[derive(Debug, Args)]
#[command(after_help = "Examples: testyard graph examples/four-nodes.ns | dot -Tsvg > four.svg\n          \
                        testyard graph lab --format mermaid    what runs of the slice lab")]
pub struct Graph {
    /// The topology, in any language, or a slice that runs; - is the standard input
    file: PathBuf,
    /// For which tool: graphviz (also dot) or mermaid
    #[arg(long, value_name = "FORMAT", default_value = "graphviz", value_parser = drawing)]
    format: Language,
    /// Where to write; the standard output if nothing is said
    #[arg(short, long, value_name = "OUT")]
    output: Option<PathBuf>,
    #[command(flatten)]
    reading: Reading,
}

fn drawing(text: &str) -> Result<Language, String> {
    match text.parse() {
        Ok(language @ (Language::Graphviz | Language::Mermaid)) => Ok(language),
        _ => Err("drawings are for graphviz or mermaid".to_owned()),
    }
}

/// Runs `testyard convert`.
///
/// # Errors
/// If the file is refused, or the language cannot say it and that is asked for.
pub fn convert(arguments: &Convert) -> Outcome {
    write(&arguments.file, arguments.to, arguments.output.as_deref(), &arguments.reading)
}

/// Runs `testyard graph`.
///
/// # Errors
/// If the file is refused.
pub fn graph(arguments: &Graph) -> Outcome {
    if let Some(slice) = running::slice_name(&arguments.file) {
        let topology = Running::new(slice, &arguments.reading.config)?.topology()?;
        let drawn = export(&topology, arguments.format).map_err(Failure::usage)?;
        return put(&drawn.text, arguments.output.as_deref());
    }
    write(&arguments.file, arguments.format, arguments.output.as_deref(), &arguments.reading)
}

fn write(path: &Path, to: Language, output: Option<&Path>, reading: &Reading) -> Outcome {
    let testbed = Testbed::load(&reading.config, &[])?;
    let source = file::open(path, reading.language)?;
    let around = testbed.surroundings();
    let import = match reading.read(&source, &around)? {
        Ok(import) => import,
        Err(refused) => return Err(told(&source, &refused.diagnostics)),
    };
    remarks::print(&source.name, Some(&source.text), &import.diagnostics);
    let written =
        export_for(&import.topology, to, around.site.sliver_types.first()).map_err(Failure::usage)?;
    remarks::print(&format!("{} as {to}", source.name), None, &written.losses);
    if reading.strict && !written.losses.is_empty() {
        return Err(Failure::failed(format!(
            "nothing is written: {to} does not say all of {}, and --strict was asked for",
            source.name
        )));
    }
    put(&written.text, output)
}

fn put(text: &str, output: Option<&Path>) -> Outcome {
    match output {
        None => print::text(text),
        Some(out) => std::fs::write(out, text)
            .map_err(|error| Failure::usage(format!("{}: {error}", out.display())))?,
    }
    Ok(())
}
