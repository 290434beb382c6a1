//! What the prelude writes, read.

use crate::lines::Joined;
use crate::{End, Failure, Limit, Place, Record, Run, What};

/// Reads the whole output.
///
/// # Errors
/// None if it stops before its end, else the line that cannot be read.
pub(crate) fn read(output: &str, file: &Joined) -> Result<Run, Option<String>> {
    let mut records = Vec::new();
    let mut failure: Option<Failure> = None;
    let (mut globals, mut commands, mut elements) = (Vec::new(), Vec::new(), Vec::new());
    for line in output.split_terminator('\n') {
        let bad = || Some(line.chars().take(200).collect());
        let mut fields = line.split('\t').map(plain);
        let mut next = || fields.next().ok_or_else(bad);
        let kind = next()?;
        let numbers: (u32, u32) = match (next()?.parse(), next()?.parse()) {
            (Ok(line), Ok(column)) => (line, column),
            _ => return Err(bad()),
        };
        let place: Option<Place> = file.place(numbers.0, numbers.1);
        let what = match kind.as_str() {
            "new" => What::New { object: next()?, class: next()?, arguments: fields.collect() },
            "call" => What::Call {
                object: next()?,
                class: next()?,
                method: next()?,
                made: Some(next()?).filter(|made| !made.is_empty()),
                arguments: fields.collect(),
            },
            "command" => What::Command { name: next()?, arguments: fields.collect() },
            "name" => What::Name { object: next()?, name: next()? },
            "taken" => What::Taken { object: next()?, name: next()? },
            "variable" => What::Variable { name: next()?, value: next()? },
            "output" => What::Output(next()?),
            "source" => What::Source(next()?),
            "clock" => What::Clock,
            "exit" => What::Exit,
            // A piece of the file begins.
            "at" => continue,
            "known" => {
                match next()?.as_str() {
                    "globals" => globals.push(next()?),
                    "elements" => elements.push(next()?),
                    _ => commands.push(next()?),
                }
                continue;
            }
            "failed" => {
                failure = Some(Failure {
                    message: next()?,
                    place,
                    procedure: Some(next()?).filter(|name| !name.is_empty()),
                    globals: Vec::new(),
                    commands: Vec::new(),
                    elements: Vec::new(),
                });
                continue;
            }
            "end" => {
                let end = match next()?.as_str() {
                    "finished" => End::Finished,
                    "failed" => {
                        let failure = failure.ok_or_else(bad)?;
                        End::Failed(Failure { globals, commands, elements, ..failure })
                    }
                    "time" => End::Limit { limit: Limit::Time, place, repeats: next()? == "1" },
                    "commands" => End::Limit { limit: Limit::Commands, place, repeats: next()? == "1" },
                    "output" => End::Limit { limit: Limit::Output, place, repeats: next()? == "1" },
                    _ => return Err(bad()),
                };
                return Ok(Run { records, end });
            }
            _ => return Err(bad()),
        };
        records.push(Record { place, what });
    }
    Err(None)
}

/// The last place that an output tells, which may be cut off anywhere.
pub(crate) fn last_place(output: &str, file: &Joined) -> Option<Place> {
    let whole = output.rsplit_once('\n')?.0;
    whole.rsplit('\n').find_map(|line| {
        let mut fields = line.split('\t').skip(1);
        file.place(fields.next()?.parse().ok()?, fields.next()?.parse().ok()?)
    })
}

/// A field without its escapes.
fn plain(field: &str) -> String {
    if !field.contains('\\') {
        return field.to_owned();
    }
    let mut text = String::with_capacity(field.len());
    let mut rest = field.chars();
    while let Some(c) = rest.next() {
        text.push(match c {
            '\\' => match rest.next() {
                Some('t') => '\t',
                Some('n') => '\n',
                Some('r') => '\r',
                Some(other) => other,
                None => '\\',
            },
            other => other,
        });
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields() {
        assert_eq!(plain(r"a\tb\\n\nc\"), "a\tb\\n\nc\\");
    }

    #[test]
    fn what_is_cut_short_or_garbled() {
        let file = Joined::new("a\n");
        assert_eq!(read("clock\t1\t1\n", &file).unwrap_err(), None);
        assert_eq!(last_place("clock\t1\t1\nat\t0\t0\nclo", &file), Some(Place { line: 1, column: 1 }));
        assert_eq!(last_place("clo", &file), None);
        assert_eq!(read("clock\t1\n", &file).unwrap_err().unwrap(), "clock\t1");
        assert_eq!(read("what\t1\t1\n", &file).unwrap_err().unwrap(), "what\t1\t1");
        assert_eq!(read("end\t0\t0\tfailed\n", &file).unwrap_err().unwrap(), "end\t0\t0\tfailed");
        assert_eq!(
            read("end\t0\t0\tfinished\n", &file).unwrap(),
            Run { records: vec![], end: End::Finished }
        );
    }
}
