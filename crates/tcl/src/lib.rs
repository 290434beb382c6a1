//! Runs a user's Tcl (an NS file) where it can do no harm, and reads what it asked for as records.
//!
//! ```text
//!  this process                          tclsh8.6 (child: empty environment, limits of the kernel, kill timer)
//!  ────────────                          ─────────────────────────────────────────────────────────────────────
//!  prelude, vocabulary, file ──stdin──►  prelude.tcl ── safe interpreter: the file runs here, with limits of Tcl
//!  records              ◄──stdout──────  a line for every object made, method called, tb- command, name given
//! ```
//!
//! The records say what the file said, in order, with line and column; what it means is the reader's to say. It is a
//! trait so that the reader needs no process: [`Process`] is the real one.

#![forbid(unsafe_code)]

mod lines;
mod process;
mod records;

use std::time::Duration;

pub use process::Process;

/// What runs a file.
pub trait Tcl {
    /// Runs a file to its end, to its error, or to a limit.
    ///
    /// # Errors
    /// [`TclError`] if it could not be run at all, or took the interpreter down.
    fn run(&self, text: &str, vocabulary: &Vocabulary, limits: &Limits) -> Result<Run, TclError>;
}

/// The words that a file may use beside Tcl's own. They hold no white space.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Vocabulary {
    /// Commands.
    pub commands: Vec<&'static str>,
    /// Classes of `new`.
    pub classes: Vec<&'static str>,
    /// Methods of objects.
    pub methods: Vec<Method>,
}

/// A method of an object. One that is not known makes an object of the class `Null`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Method {
    /// The class of the object.
    pub class: &'static str,
    /// The method.
    pub name: &'static str,
    /// The class of the object that it makes, if it makes one.
    pub makes: Option<&'static str>,
}

/// What a file may use up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of the file.
    pub text: usize,
    /// Commands that it runs.
    pub commands: u32,
    /// How much processor time it takes, if it asks for nothing.
    pub time: Duration,
    /// How much more for a thousand records.
    pub time_per_thousand: Duration,
    /// How much at most, whatever it asks for.
    pub longest: Duration,
    /// How deep calls may nest.
    pub depth: u32,
    /// How much memory the interpreter may have, in bytes, its own included.
    pub memory: u64,
    /// How many records it may make.
    pub records: u32,
    /// How many characters of records it may make.
    pub output: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            text: 4 << 20,
            commands: 5_000_000,
            time: Duration::from_secs(1),
            time_per_thousand: Duration::from_millis(30),
            longest: Duration::from_secs(4),
            depth: 400,
            memory: 512 << 20,
            records: 300_000,
            output: 32 << 20,
        }
    }
}

/// What a file asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    /// In the order in which it happened.
    pub records: Vec<Record>,
    /// How it ended.
    pub end: End,
}

/// A place in the file: both count from 1; the column counts characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Place {
    /// The line.
    pub line: u32,
    /// The column.
    pub column: u32,
}

/// Something that a file did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Where; none for code that the file made while it ran.
    pub place: Option<Place>,
    /// What.
    pub what: What,
}

/// What a file did. An object is called by the name that it was made under, which is no other object's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// `new CLASS ARGUMENTS`.
    New {
        /// The object.
        object: String,
        /// The class as given.
        class: String,
        /// What was given beside it.
        arguments: Vec<String>,
    },
    /// `$object METHOD ARGUMENTS`.
    Call {
        /// The object.
        object: String,
        /// Its class; `Null` for one that comes of an unknown class or method.
        class: String,
        /// The method; `set` (a variable of the object to a value) has every class.
        method: String,
        /// The object that was made.
        made: Option<String>,
        /// What was given to it.
        arguments: Vec<String>,
    },
    /// `NAME ARGUMENTS`, of the vocabulary's commands.
    Command {
        /// The command.
        name: String,
        /// What was given to it.
        arguments: Vec<String>,
    },
    /// An object got the name of the variable that it was put into, and is called by it from now on.
    Name {
        /// The object.
        object: String,
        /// Its name.
        name: String,
    },
    /// An object was put into a variable whose name another object has; it goes on under the name it was made with.
    Taken {
        /// The object.
        object: String,
        /// The other's name.
        name: String,
    },
    /// An element of the global array `opt` was set.
    Variable {
        /// The element.
        name: String,
        /// Its value.
        value: String,
    },
    /// `puts`.
    Output(String),
    /// `source` of a file that is not the library's own.
    Source(String),
    /// `clock`, which always gives 0.
    Clock,
    /// `exit`, which ended the file.
    Exit,
}

/// How a file ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// At its end, or by `exit`.
    Finished,
    /// By an error of Tcl's.
    Failed(Failure),
    /// By a limit.
    Limit {
        /// Which.
        limit: Limit,
        /// Where it was then.
        place: Option<Place>,
        /// Whether most of its time went into the few lines there, as in a loop.
        repeats: bool,
    },
}

/// An error of Tcl's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// What Tcl says.
    pub message: String,
    /// Where.
    pub place: Option<Place>,
    /// The proc that it happened in.
    pub procedure: Option<String>,
    /// The names of global variables at that time.
    pub globals: Vec<String>,
    /// The names of commands at that time.
    pub commands: Vec<String>,
    /// What the array has, if one was asked for an element that it has not.
    pub elements: Vec<String>,
}

/// What a file may not exceed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// [`Limits::time`].
    Time,
    /// [`Limits::commands`].
    Commands,
    /// [`Limits::records`] or [`Limits::output`].
    Output,
}

/// Why a file could not be run.
#[derive(Debug, thiserror::Error)]
pub enum TclError {
    /// The interpreter is not installed.
    #[error("NS files need {0}, which is not installed: apt-get install tcl8.6")]
    Missing(String),
    /// The interpreter could not be started or talked to.
    #[error("cannot run {program}: {source}")]
    Io {
        /// The interpreter.
        program: String,
        /// Why.
        source: std::io::Error,
    },
    /// The file is too long.
    #[error("the file is longer than {0} bytes")]
    Length(usize),
    /// It ran on after its time limit, in one step.
    #[error("the file was stopped: a single step of it ran for over {} ms", .limit.as_millis())]
    Time {
        /// The limit.
        limit: Duration,
        /// About where it was.
        place: Option<Place>,
    },
    /// It wanted more memory than it may have, or nested deeper than Tcl can bear.
    #[error("the file needs more than {limit} MiB of memory, or nests too deeply")]
    Memory {
        /// The limit.
        limit: u64,
        /// About where it was.
        place: Option<Place>,
    },
    /// The interpreter's answer is not one.
    #[error("{program} answered what cannot be read: {line:?}")]
    Answer {
        /// The interpreter.
        program: String,
        /// The line that cannot be read.
        line: String,
    },
}

impl TclError {
    /// Where in the file it happened, if that is known.
    #[must_use]
    pub const fn place(&self) -> Option<Place> {
        match self {
            Self::Time { place, .. } | Self::Memory { place, .. } => *place,
            Self::Missing(_) | Self::Io { .. } | Self::Length(_) | Self::Answer { .. } => None,
        }
    }
}
