//! A file with a topology, as it is given on the command line.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

use testyard_formats::language::Language;

use crate::exit::Failure;

/// Longer files are in no language: every reader takes less.
const LONGEST: u64 = 64 << 20;

/// A file that could be opened.
pub(super) struct Source {
    /// As the user named it.
    pub(super) name: String,
    pub(super) text: String,
    pub(super) language: Language,
}

/// Opens a file; `-` is the standard input.
pub(super) fn open(path: &Path, language: Option<Language>) -> Result<Source, Failure> {
    let is_input = path.as_os_str() == "-";
    let name = if is_input { "standard input".to_owned() } else { path.display().to_string() };
    let mut bytes = Vec::new();
    let read = if is_input {
        io::stdin().lock().take(LONGEST + 1).read_to_end(&mut bytes)
    } else {
        File::open(path).and_then(|file| file.take(LONGEST + 1).read_to_end(&mut bytes))
    };
    read.map_err(|error| Failure::usage(format!("{name}: {error}")))?;
    if bytes.len() as u64 > LONGEST {
        return Err(Failure::failed(format!("{name}: longer than {} MiB: no topology is", LONGEST >> 20)));
    }
    let text = String::from_utf8(bytes).map_err(|error| not_utf8(&name, &error))?;
    let language = match language {
        Some(language) => language,
        None => Language::detect(&name, &text)
            .map_err(|error| Failure::usage(format!("{error}; --language LANGUAGE does that")))?,
    };
    Ok(Source { name, text, language })
}

fn not_utf8(name: &str, error: &std::string::FromUtf8Error) -> Failure {
    // What many editors of another system write: each character in two bytes, their order told by the first two.
    let marked = error.as_bytes().starts_with(&[0xff, 0xfe]) || error.as_bytes().starts_with(&[0xfe, 0xff]);
    let encoding = if marked { "UTF-16" } else { "LATIN1" };
    let good = String::from_utf8_lossy(&error.as_bytes()[..error.utf8_error().valid_up_to()]);
    let line = good.matches('\n').count() + 1;
    let column = good.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    Failure::failed(format!(
        "{name}:{line}:{column}: not UTF-8 from here on (iconv -f {encoding} -t UTF-8 turns such files into it)"
    ))
}
