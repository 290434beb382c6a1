//! Reading a file in whatever language it is.

use testyard_model::diagnostic::{Diagnostic, Severity};
use testyard_model::topology::Topology;

use crate::import::{Import, Refused, Site};
use crate::language::Language;
use crate::remarks::{refuse, refuse_xml};
use crate::rspec::{Context, RequestError, Unbound, parse_request};
use crate::{containers, own, topdl};

/// What reads NS: it needs a Tcl interpreter, which only its caller can bring.
pub type ReadNs<'a> = dyn Fn(&str, &Site) -> Result<Import, Refused> + 'a;

/// What reading may need beside the text.
#[derive(Clone, Copy)]
pub struct Reader<'a> {
    /// What is known of the testbed.
    pub site: &'a Site,
    /// Whose nodes an RSpec's are; without it those that name no testbed are ours.
    pub context: Option<&'a Context>,
    /// The topology of the hosts, for container lists.
    pub hosts: Option<&'a Topology>,
    /// What reads NS, if there is an interpreter.
    pub ns: Option<&'a ReadNs<'a>>,
}

impl Reader<'_> {
    /// Reads a text.
    ///
    /// # Errors
    /// [`Refused`], with everything that is to be said.
    pub fn read(&self, text: &str, language: Language) -> Result<Import, Refused> {
        match language {
            Language::Rspec => self.rspec(text),
            Language::Containers => containers::parse(text, self.site, self.hosts),
            Language::Topdl => topdl::parse(text, self.site),
            Language::Json => own::parse_json(text),
            Language::Yaml => own::parse_yaml(text),
            Language::Ns => match self.ns {
                Some(read) => read(text, self.site),
                None => Err(refuse(
                    "NS files are Tcl programs, and there is no Tcl interpreter here",
                    Some("install tclsh 8.6".to_owned()),
                )),
            },
            Language::Graphviz | Language::Mermaid => {
                Err(refuse(format!("{language} is a drawing: it can be written, not read"), None))
            }
        }
    }

    fn rspec(&self, text: &str) -> Result<Import, Refused> {
        let here;
        let context = match self.context {
            Some(context) => context,
            None => {
                let nowhere = "urn:publicid:IDN+testyard+authority+am";
                let urn = nowhere.parse().map_err(|_| refuse("no authority", None))?;
                here = Context { unbound: Unbound::Ours, ..Context::new(urn) };
                &here
            }
        };
        match parse_request(text, context) {
            Ok(request) => Ok(Import {
                topology: request.topology,
                diagnostics: request.diagnostics,
                report: Vec::new(),
            }),
            Err(RequestError::Invalid(mut diagnostics)) => {
                // What refuses comes first to mind, but the order is the text's.
                diagnostics
                    .sort_by_key(|d| (d.position.is_none(), d.position, d.severity != Severity::Error));
                Err(Refused { diagnostics })
            }
            Err(RequestError::NotRSpec(diagnostic)) => Err(Refused { diagnostics: vec![diagnostic] }),
            Err(error @ RequestError::NotXml { .. }) => Err(refuse_xml(&error.to_string(), None)),
            Err(RequestError::NothingForUs(foreign)) => {
                let diagnostic = Diagnostic::new(Severity::Error, foreign.to_string());
                Err(Refused { diagnostics: vec![Diagnostic { position: Some(foreign.place), ..diagnostic }] })
            }
            Err(error) => Err(refuse(error.to_string(), None)),
        }
    }
}
