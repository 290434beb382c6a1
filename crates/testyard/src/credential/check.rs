//! `testyard credential check`: what a testbed would say to a call with this credential, with the same code that the
//! server runs.

use std::path::PathBuf;

use clap::Args;
use jiff::Timestamp;
use serde::Serialize;
use testyard_model::time;
use testyard_model::urn::SliceUrn;
use testyard_trust::corpus::{self, Report};
use testyard_trust::{
    Call, CallerChain, CryptoPolicy, Grant, Operation, PassedCredential, Refusal, TrustRoots, Verifier,
};

use crate::cli::FolderArgument;
use crate::config;
use crate::exit::{Failure, Kind, Outcome};

/// `testyard credential check`
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    testyard credential check demo.xml --caller ann.pem --operation Allocate \\\n      \
    --slice urn:publicid:IDN+am.example.net+slice+demo\n  \
    testyard credential check --manifest testdata/credentials/manifest.json\n\
    Exit code 0 means accepted; with --manifest, that every undisputed vector got its verdict.")]
pub struct Arguments {
    /// The credentials of the call: SFA credentials or speaks-for statements
    #[arg(value_name = "FILE", required_unless_present = "manifest", conflicts_with = "manifest")]
    credentials: Vec<PathBuf>,
    /// The certificate of the TLS client, with its issuers
    #[arg(long, value_name = "CERT", required_unless_present = "manifest")]
    caller: Option<PathBuf>,
    /// The method of the AM API that is called
    #[arg(long, value_name = "NAME", required_unless_present = "manifest")]
    operation: Option<Operation>,
    /// The slice that it is about
    #[arg(long, value_name = "URN")]
    slice: Option<SliceUrn>,
    /// The user that the caller speaks for
    #[arg(long, value_name = "URN")]
    speaking_for: Option<String>,
    /// The folder of trusted roots [default: that of the configuration]
    #[arg(long, value_name = "DIR")]
    roots: Option<PathBuf>,
    /// The time of the call [default: now]
    #[arg(long, value_name = "TIME", value_parser = time::parse)]
    at: Option<Timestamp>,
    /// Accept what old federations use: RSA 1024, SHA-1, unusual roots [default: as configured]
    #[arg(long)]
    legacy: bool,
    /// Run every vector of a manifest like testdata/credentials/manifest.json
    #[arg(long, value_name = "FILE")]
    manifest: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    folder: FolderArgument,
}

#[derive(Serialize)]
#[serde(tag = "verdict", rename_all = "lowercase")]
enum Verdict<'a> {
    Accept(&'a Grant),
    Reject(&'a Refusal),
}

/// The grant as people read it, who count credentials from 1.
fn counted(grant: Grant) -> Grant {
    Grant { credential: grant.credential + 1, ..grant }
}

/// The refusal as people read it.
fn counted_refusal(refusal: Refusal) -> Refusal {
    Refusal { credential: refusal.credential.map(|index| index + 1), ..refusal }
}

/// Judges one call, or a manifest of them.
///
/// # Errors
/// Silent if it is rejected or a vector is judged otherwise; usage if a file cannot be read.
pub fn run(arguments: &Arguments) -> Outcome {
    if let Some(manifest) = &arguments.manifest {
        let report = corpus::run(manifest).map_err(|error| Failure::usage(chain(&error)))?;
        return print_report(&report, arguments.json);
    }
    let (Some(caller), Some(operation)) = (&arguments.caller, arguments.operation) else {
        return Err(Failure::usage("--caller and --operation are needed"));
    };
    if operation.needs_slice() && arguments.slice.is_none() {
        return Err(Failure::usage(format!("{operation} is about a slice: give --slice")));
    }
    let verifier = verifier(arguments)?;
    let read = |path: &PathBuf| {
        std::fs::read(path).map_err(|error| Failure::usage(format!("{}: {error}", path.display())))
    };
    let caller = CallerChain::from_pem(&read(caller)?)
        .map_err(|error| Failure::usage(format!("{}: {error}", caller.display())))?;
    let credentials = arguments
        .credentials
        .iter()
        .map(|path| Ok(labelled(read(path)?)))
        .collect::<Result<Vec<_>, Failure>>()?;
    let call = Call {
        operation,
        slice: arguments.slice.as_ref(),
        caller: &caller,
        credentials: &credentials,
        speaking_for: arguments.speaking_for.as_deref(),
        now: arguments.at.unwrap_or_else(Timestamp::now),
    };
    match verifier.authorise(&call).map(counted).map_err(counted_refusal) {
        Ok(grant) => {
            if arguments.json {
                crate::print::json(&Verdict::Accept(&grant))?;
            } else {
                print_grant(&grant, operation);
            }
            Ok(())
        }
        Err(refusal) => {
            if arguments.json {
                crate::print::json(&Verdict::Reject(&refusal))?;
            } else {
                say!("reject");
                say!("  step     {}", refusal.step);
                say!("  reason   {}", refusal.reason);
                say!("  because  {refusal}");
            }
            Err(Failure::silent(Kind::Failed))
        }
    }
}

/// The verifier of the configuration, with what the command line says instead.
fn verifier(arguments: &Arguments) -> Result<Verifier, Failure> {
    let configuration = arguments.folder.folder().configuration();
    let settings = match (&arguments.roots, configuration.exists()) {
        // With --roots no configuration is needed, but one that is there decides about algorithms.
        (Some(_), false) => None,
        _ => Some(config::load(&configuration)?),
    };
    let roots = match (&arguments.roots, &settings) {
        (Some(folder), _) => folder.clone(),
        (None, Some(settings)) => settings.paths.trusted.clone(),
        (None, None) => return Err(Failure::usage("give --roots")),
    };
    let roots = TrustRoots::load(&roots).map_err(|error| Failure::usage(chain(&error)))?;
    for fault in roots.faults() {
        remark!("testyard: warning: {fault}");
    }
    let policy = match settings {
        _ if arguments.legacy => CryptoPolicy::legacy(),
        Some(settings) => settings.trust,
        None => CryptoPolicy::modern(),
    };
    Ok(Verifier::new(roots, policy))
}

/// The credential under the label that a client would give it. A speaks-for statement is told by its type.
pub(crate) fn labelled(text: Vec<u8>) -> PassedCredential {
    let is_statement = String::from_utf8_lossy(&text).contains("<type>abac</type>");
    if is_statement { PassedCredential::abac(text) } else { PassedCredential::sfa(text) }
}

fn print_grant(grant: &Grant, operation: Operation) {
    say!("accept");
    say!("  owner    {}", grant.owner);
    if let Some(tool) = &grant.tool {
        say!("  tool     {tool}");
    }
    say!("  target   {}", grant.target);
    say!("  until    {}", time::format(grant.expires));
    say!("  because  credential {} allows {operation}", grant.credential);
}

fn print_report(report: &Report, json: bool) -> Outcome {
    if json {
        crate::print::json(report)?;
    } else {
        for difference in &report.differences {
            let disputed = if difference.disputed { " (disputed)" } else { "" };
            say!("{}{disputed}: expected {}, found {}", difference.id, difference.expected, difference.found);
        }
        say!(
            "{} of {} undisputed agree, {} of {} disputed",
            report.undisputed_agreed,
            report.undisputed,
            report.disputed_agreed,
            report.disputed
        );
    }
    if report.undisputed_agreed == report.undisputed { Ok(()) } else { Err(Failure::silent(Kind::Failed)) }
}

/// An error with what is behind it.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text += &format!(": {error}");
        source = error.source();
    }
    text
}
