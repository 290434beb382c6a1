//! A small vocabulary, and runs with it.

use testyard_tcl::{Limits, Method, Process, Run, Tcl, TclError, Vocabulary, What};

pub(crate) fn vocabulary() -> Vocabulary {
    let method = |class, name, makes| Method { class, name, makes };
    Vocabulary {
        commands: vec!["tb-mark"],
        classes: vec!["Simulator"],
        methods: vec![
            method("Simulator", "node", Some("Node")),
            method("Simulator", "make-lan", Some("Lan")),
            method("Simulator", "duplex-link", Some("Link")),
            method("Simulator", "run", None),
            method("Node", "touch", None),
        ],
    }
}

pub(crate) fn try_run(text: &str) -> Result<Run, TclError> {
    Process::default().run(text, &vocabulary(), &Limits::default())
}

pub(crate) fn run(text: &str) -> Run {
    try_run(text).unwrap_or_else(|error| panic!("{error}: {:?}", text.chars().take(200).collect::<String>()))
}

/// Each record as `line:column what`.
#[allow(dead_code, reason = "not every test file looks at records")]
pub(crate) fn told(run: &Run) -> Vec<String> {
    run.records
        .iter()
        .map(|record| {
            let place =
                record.place.map_or("-".to_owned(), |place| format!("{}:{}", place.line, place.column));
            let what = match &record.what {
                What::New { object, class, arguments } => format!("new {object} {class} {arguments:?}"),
                What::Call { object, class, method, made, arguments } => {
                    format!("{class} {object} {method} {arguments:?} -> {}", made.as_deref().unwrap_or("-"))
                }
                What::Command { name, arguments } => format!("{name} {arguments:?}"),
                What::Name { object, name } => format!("{object} is {name}"),
                What::Taken { object, name } => format!("{object} is not {name}"),
                What::Variable { name, value } => format!("opt {name}={value}"),
                other => format!("{other:?}"),
            };
            format!("{place} {what}")
        })
        .collect()
}
