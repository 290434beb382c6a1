//! The page.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde_json::Value;
use testyard_testkit::images::Image;

use super::FEATURES;

/// What came of one try.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Cell {
    /// It works.
    Yes,
    /// It cannot work, and whoever tries is told; the note says what.
    Told(&'static str),
    /// It does not work.
    No(String),
}

/// One image.
pub(super) struct Row {
    pub(super) name: &'static str,
    what: &'static str,
    /// Which program answers SSH.
    pub(super) server: String,
    /// Why it is no node.
    refused: Option<String>,
    cells: BTreeMap<&'static str, Cell>,
    /// What the last action was preceded by.
    pub(super) before: String,
}

impl Row {
    /// An image whose node has this status.
    pub(super) fn of(image: &Image, status: &Value) -> Self {
        let ready = status["operational"] == "geni_ready";
        let error = status["error"].as_str().unwrap_or_default().replace(&image.reference, "IMAGE");
        let stuck = status["operational"] != "geni_failed";
        let error = if stuck { "not ready after three minutes".to_owned() } else { error };
        let cells = BTreeMap::from([("ready", if ready { Cell::Yes } else { Cell::No(error.clone()) })]);
        let refused = (!ready).then_some(error);
        Self {
            name: image.name,
            what: image.what,
            server: String::new(),
            refused,
            cells,
            before: String::new(),
        }
    }

    pub(super) fn is_ready(&self) -> bool {
        self.refused.is_none()
    }

    pub(super) fn set(&mut self, feature: &'static str, cell: Cell) {
        if let Cell::No(why) = &cell {
            eprintln!("{}, {feature}: {why}", self.name);
        }
        self.cells.insert(feature, cell);
    }
}

/// The text of the page.
pub(super) fn render(rows: &[Row]) -> String {
    let mut out = String::from(
        "# Images\n\n\
         Any image becomes a node as it is: what it lacks is brought by the [guest](guest.md). This page is written by the\n\
         test that tries it, `TESTYARD_BLESS=1 cargo test -p testyard --test e2e any_image`; without that variable the test\n\
         fails if it sees something else.\n\n\
         **yes**: tried, and works. A number: cannot work there, and whoever tries is told; see the notes. **no**: does not\n\
         work.\n\n| image | SSH server |",
    );
    for (feature, _) in FEATURES {
        let _ = write!(out, " {feature} |");
    }
    out += "\n| --- | --- |";
    out += &" --- |".repeat(FEATURES.len());
    out.push('\n');
    let mut notes: Vec<&str> = Vec::new();
    for row in rows {
        let server = if row.is_ready() { row.server.as_str() } else { "–" };
        let _ = write!(out, "| {} | {server} |", row.name);
        for (feature, _) in FEATURES {
            let text = match row.cells.get(feature) {
                Some(Cell::Yes) => "yes".to_owned(),
                Some(Cell::Told(note)) => number(&mut notes, note),
                Some(Cell::No(_)) if row.refused.is_some() => {
                    number(&mut notes, row.refused.as_deref().unwrap_or_default())
                }
                Some(Cell::No(_)) => "no".to_owned(),
                None => "–".to_owned(),
            };
            let _ = write!(out, " {text} |");
        }
        out.push('\n');
    }
    out += "\nNotes:\n\n";
    for (index, note) in notes.iter().enumerate() {
        let _ = writeln!(out, "{}. {note}", index + 1);
    }
    out += "\n## The images\n\nMade on the spot, by `crates/testkit/src/images.rs`, without any registry.\n\n| image | what it is |\n| --- | --- |\n";
    for row in rows {
        let _ = writeln!(out, "| {} | {} |", row.name, row.what);
    }
    out += "\n## What is tried\n\n| column | what |\n| --- | --- |\n";
    for (feature, what) in FEATURES {
        let _ = writeln!(out, "| {feature} | {what} |");
    }
    out
}

/// The number of a note, which is written once.
fn number<'a>(notes: &mut Vec<&'a str>, note: &'a str) -> String {
    let at = notes.iter().position(|known| *known == note).unwrap_or_else(|| {
        notes.push(note);
        notes.len() - 1
    });
    (at + 1).to_string()
}
