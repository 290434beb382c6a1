//! What commands print: lines, tables no wider than 100 columns, and JSON.
//!
//! Who reads the output may have seen enough (`testyard am status demo | head -1`). The macros of the standard library
//! panic then; these end the program as the signal for it ends others, without a word.

use std::fmt;
use std::io::{self, Write as _};

use comfy_table::{ContentArrangement, Table, presets};
use serde::Serialize;

use crate::exit::{Failure, Outcome};

/// The exit code after SIGPIPE, as shells count.
const NOBODY_READS: i32 = 128 + 13;

/// A line on the standard output, written like `println!`.
macro_rules! say {
    () => { $crate::print::text("\n") };
    ($($line:tt)+) => { $crate::print::line(format_args!($($line)+)) };
}

/// A line on the standard error, written like `eprintln!`.
macro_rules! remark {
    ($($line:tt)+) => { $crate::print::remark(format_args!($($line)+)) };
}

/// The widest line of a table.
const WIDTH: u16 = 100;

/// A table with these heads; long cells are broken.
pub(crate) fn table(heads: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_content_arrangement(ContentArrangement::Dynamic).set_width(WIDTH);
    table.set_header(heads.iter().map(|head| head.to_uppercase()));
    table
}

/// Prints a line.
pub(crate) fn line(line: fmt::Arguments<'_>) {
    text(format!("{line}\n"));
}

/// Prints a text as it is.
pub(crate) fn text(text: impl AsRef<[u8]>) {
    let mut output = io::stdout().lock();
    if let Err(error) = output.write_all(text.as_ref()).and_then(|()| output.flush()) {
        if error.kind() != io::ErrorKind::BrokenPipe {
            remark(format_args!("testyard: cannot write to the standard output: {error}"));
            std::process::exit(1);
        }
        std::process::exit(NOBODY_READS);
    }
}

/// Prints a line on the standard error; if nobody reads it, the command goes on.
pub(crate) fn remark(line: fmt::Arguments<'_>) {
    let _ = io::stderr().write_all(format!("{line}\n").as_bytes());
}

/// Prints a table without the blanks around its lines.
pub(crate) fn show(table: &Table) {
    for line in table.lines() {
        say!("{}", line.strip_prefix(' ').unwrap_or(&line).trim_end());
    }
}

/// Prints a value as JSON.
pub(crate) fn json(value: &impl Serialize) -> Outcome {
    let text = serde_json::to_string_pretty(value).map_err(Failure::failed)?;
    say!("{text}");
    Ok(())
}
