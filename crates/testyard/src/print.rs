//! What commands print: tables no wider than 100 columns, and JSON.

use comfy_table::{ContentArrangement, Table, presets};
use serde::Serialize;

use crate::exit::{Failure, Outcome};

/// The widest line of a table.
const WIDTH: u16 = 100;

/// A table with these heads; long cells are broken.
pub(crate) fn table(heads: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_content_arrangement(ContentArrangement::Dynamic).set_width(WIDTH);
    table.set_header(heads.iter().map(|head| head.to_uppercase()));
    table
}

/// Prints a table without the blanks around its lines.
pub(crate) fn show(table: &Table) {
    for line in table.lines() {
        println!("{}", line.strip_prefix(' ').unwrap_or(&line).trim_end());
    }
}

/// Prints a value as JSON.
pub(crate) fn json(value: &impl Serialize) -> Outcome {
    let text = serde_json::to_string_pretty(value).map_err(Failure::failed)?;
    println!("{text}");
    Ok(())
}
