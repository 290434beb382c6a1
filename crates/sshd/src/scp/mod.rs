//! The far side of an old `scp` (`scp -t`, `scp -f`), for images that have none; run as the user.
//!
//! Each side says a line or data and waits for a zero byte. Names that come from the other side are single names: what
//! would lead out of the target is refused.

mod control;
mod sink;
mod source;

use std::ffi::OsString;
use std::io::{self, Read, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use self::control::Control;

/// Folders within folders.
const DEPTH: usize = 256;

/// How it is called.
#[derive(Debug, Default, PartialEq, Eq)]
struct Options {
    /// `-t`: take files.
    sink: bool,
    /// `-f`: give files.
    source: bool,
    recursive: bool,
    /// `-p`: times and modes as they are at the other side.
    preserve: bool,
    /// `-d`: the target must be a folder.
    folder: bool,
    paths: Vec<PathBuf>,
}

/// Why copying ended.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ScpError {
    #[error("this is the far side of scp only: -t or -f, and a path")]
    Usage,
    #[error("protocol error")]
    Protocol,
    #[error("{0}")]
    Other(String),
    #[error("the connection broke")]
    Io(#[from] io::Error),
    /// Some files could not be copied; each has been told of.
    #[error("not everything was copied")]
    Incomplete,
}

/// The two directions to the other side.
struct Wire<R, W> {
    input: R,
    output: W,
    /// Something could not be copied.
    failed: bool,
}

/// Serves standard input and output.
pub(crate) fn main(arguments: impl Iterator<Item = OsString>) -> ExitCode {
    let served =
        options(arguments).and_then(|options| serve(&options, io::stdin().lock(), io::stdout().lock()));
    match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            if matches!(error, ScpError::Usage) {
                let _ = writeln!(io::stderr(), "scp: {error}");
            }
            ExitCode::FAILURE
        }
    }
}

fn options(arguments: impl Iterator<Item = OsString>) -> Result<Options, ScpError> {
    let mut options = Options::default();
    let mut words = false;
    for argument in arguments {
        match argument.to_str() {
            Some("--") if !words => words = true,
            Some(text) if !words && text.len() > 1 && text.starts_with('-') => {
                for letter in text[1..].chars() {
                    match letter {
                        't' => options.sink = true,
                        'f' => options.source = true,
                        'r' => options.recursive = true,
                        'p' => options.preserve = true,
                        'd' => options.folder = true,
                        'v' | 'q' => {}
                        _ => return Err(ScpError::Usage),
                    }
                }
            }
            _ => options.paths.push(argument.into()),
        }
    }
    if options.sink == options.source || options.paths.is_empty() || (options.sink && options.paths.len() > 1)
    {
        return Err(ScpError::Usage);
    }
    Ok(options)
}

fn serve(options: &Options, input: impl Read, output: impl Write) -> Result<(), ScpError> {
    let mut wire = Wire { input, output, failed: false };
    let served =
        if options.sink { sink::serve(options, &mut wire) } else { source::serve(options, &mut wire) };
    if let Err(error) = served {
        if !matches!(error, ScpError::Io(_)) {
            let _ = wire.say(&[b"\x02scp: ", error.to_string().as_bytes(), b"\n"].concat());
        }
        return Err(error);
    }
    if wire.failed { Err(ScpError::Incomplete) } else { Ok(()) }
}

// === impl Wire ===

impl<R: Read, W: Write> Wire<R, W> {
    fn say(&mut self, bytes: &[u8]) -> Result<(), ScpError> {
        self.output.write_all(bytes)?;
        Ok(self.output.flush()?)
    }

    fn confirm(&mut self) -> Result<(), ScpError> {
        self.say(&[0])
    }

    /// Tells of something that was not copied, and goes on.
    fn warn(&mut self, what: &std::path::Path, error: &io::Error) -> Result<(), ScpError> {
        self.failed = true;
        // The line must stay one.
        let text = format!("\u{1}scp: {}: {error}", what.display()).replace('\n', " ");
        self.say(format!("{text}\n").as_bytes())
    }

    /// A byte; `None` at the end.
    fn byte(&mut self) -> Result<Option<u8>, ScpError> {
        let mut byte = [0];
        loop {
            match self.input.read(&mut byte) {
                Ok(0) => return Ok(None),
                Ok(_) => return Ok(Some(byte[0])),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// The rest of a line.
    fn line(&mut self, mut line: Vec<u8>) -> Result<Vec<u8>, ScpError> {
        loop {
            match self.byte()?.ok_or(ScpError::Protocol)? {
                b'\n' => return Ok(line),
                byte => line.push(byte),
            }
            if line.len() > control::LINE {
                return Err(ScpError::Protocol);
            }
        }
    }

    /// The next line; `None` at the end.
    fn control(&mut self) -> Result<Option<Control>, ScpError> {
        let Some(first) = self.byte()? else { return Ok(None) };
        if first == b'\n' {
            return Err(ScpError::Protocol);
        }
        let line = self.line(vec![first])?;
        control::parse(&line).map(Some).ok_or(ScpError::Protocol)
    }

    /// Waits for the other side to agree. False if it could not do what was asked, and goes on.
    fn agreed(&mut self) -> Result<bool, ScpError> {
        match self.byte()?.ok_or(ScpError::Protocol)? {
            0 => Ok(true),
            1 => {
                self.line(Vec::new())?;
                self.failed = true;
                Ok(false)
            }
            _ => Err(ScpError::Other("the other side gave up".to_owned())),
        }
    }
}

/// Reads a line without carrying it out.
pub(crate) fn fuzz(data: &[u8]) {
    let _ = control::parse(data);
}

#[cfg(test)]
mod tests;
