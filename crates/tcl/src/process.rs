//! The interpreter as a child process, with the kernel's limits around Tcl's own.

use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, Resource, Rlimit, Signal, prlimit};

use crate::lines::Joined;
use crate::{Limits, Run, Tcl, TclError, Vocabulary, records};

const PRELUDE: &str = include_str!("prelude.tcl");
/// How much more processor time than the file's own the child may take, for its start and for steps that Tcl cannot
/// interrupt.
const GRACE: Duration = Duration::from_secs(2);
/// How many times longer all may take on a busy machine.
const PATIENCE: u32 = 10;
/// How much of what it writes beside the records is looked at.
const MOST_STDERR: usize = 4096;

/// `tclsh8.6`, a new process for each file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    program: PathBuf,
}

impl Default for Process {
    fn default() -> Self {
        Self::new("tclsh8.6")
    }
}

impl Process {
    /// An interpreter by its path, or by its name in the path of programs.
    #[must_use]
    pub fn new(program: impl Into<PathBuf>) -> Self {
        Self { program: program.into() }
    }

    fn io(&self) -> impl Fn(io::Error) -> TclError {
        |source| TclError::Io { program: self.program.display().to_string(), source }
    }
}

impl Tcl for Process {
    fn run(&self, text: &str, vocabulary: &Vocabulary, limits: &Limits) -> Result<Run, TclError> {
        if text.len() > limits.text {
            return Err(TclError::Length(limits.text));
        }
        let file = Joined::new(text);
        let input = input(&file.text, vocabulary, limits);
        let mut child = Guard(
            Command::new(&self.program)
                .env_clear()
                .current_dir("/")
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
                .map_err(|error| match error.kind() {
                    io::ErrorKind::NotFound => TclError::Missing(self.program.display().to_string()),
                    _ => self.io()(error),
                })?,
        );
        // It has read nothing of ours yet: what runs so far is the installed interpreter alone.
        restrict(&child.0, limits).map_err(self.io())?;
        let most = limits.output as usize * 4 + (1 << 20);
        let deadline = Instant::now() + (limits.time.max(limits.longest) + GRACE) * PATIENCE;
        let answer = converse(&mut child.0, input.as_bytes(), most, deadline).map_err(self.io())?;
        let Some(answer) = answer else { return Err(TclError::Time { limit: limits.time, place: None }) };
        let output = String::from_utf8_lossy(&answer.output);
        records::read(&output, &file).map_err(|line| match line {
            Some(line) => TclError::Answer { program: self.program.display().to_string(), line },
            None => {
                // If it has closed its output it is ending already: then this only hears how.
                let _ = child.0.kill();
                let place = records::last_place(&output, &file);
                let status = child.0.wait();
                tracing::debug!(?status, stderr = %String::from_utf8_lossy(&answer.errors), "the interpreter died");
                match status.ok().and_then(|status| status.signal()) {
                    Some(signal) if signal == Signal::XCPU.as_raw() => {
                        TclError::Time { limit: limits.time, place }
                    }
                    _ => TclError::Memory { limit: limits.memory >> 20, place },
                }
            }
        })
    }
}

/// A child that never outlives its use.
struct Guard(Child);

impl Drop for Guard {
    fn drop(&mut self) {
        // It has ended in most cases, which is as good.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn input(text: &str, vocabulary: &Vocabulary, limits: &Limits) -> String {
    let mut input = format!(
        "fconfigure stdin -encoding utf-8 -translation lf -eofchar {{}}\neval [read stdin {}]\n{PRELUDE}",
        PRELUDE.chars().count()
    );
    let Limits { commands, time, time_per_thousand, longest, depth, records, output, .. } = limits;
    input += &format!(
        "{commands} {} {} {} {depth} {records} {output}\n",
        time.as_millis(),
        time_per_thousand.as_millis(),
        longest.as_millis()
    );
    for command in &vocabulary.commands {
        input += &format!("command\t{command}\n");
    }
    for class in &vocabulary.classes {
        input += &format!("class\t{class}\n");
    }
    for method in &vocabulary.methods {
        input +=
            &format!("method\t{}\t{}\t{}\n", method.class, method.name, method.makes.unwrap_or_default());
    }
    input + "\n" + text
}

/// The kernel's limits: memory, processor time, no process, no file written, few opened, no core.
fn restrict(child: &Child, limits: &Limits) -> io::Result<()> {
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    let seconds = (limits.time.max(limits.longest) + GRACE).as_secs().max(1);
    for (resource, most, hard) in [
        (Resource::As, limits.memory, limits.memory),
        // The first is told by its own signal.
        (Resource::Cpu, seconds, seconds + 1),
        (Resource::Nproc, 0, 0),
        (Resource::Fsize, 0, 0),
        (Resource::Nofile, 16, 16),
        (Resource::Core, 0, 0),
    ] {
        match prlimit(pid, resource, Rlimit { current: Some(most), maximum: Some(hard) }) {
            Ok(_) | Err(rustix::io::Errno::SRCH) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

struct Answer {
    output: Vec<u8>,
    errors: Vec<u8>,
}

/// Gives the child its input and takes its output until it ends; none if it takes too long.
fn converse(child: &mut Child, input: &[u8], most: usize, deadline: Instant) -> io::Result<Option<Answer>> {
    let mut stdin = child.stdin.take();
    let (Some(mut stdout), Some(mut stderr)) = (child.stdout.take(), child.stderr.take()) else {
        return Err(io::Error::other("its standard streams are no pipes"));
    };
    for fd in
        [stdin.as_ref().map(AsFd::as_fd), Some(stdout.as_fd()), Some(stderr.as_fd())].into_iter().flatten()
    {
        rustix::io::ioctl_fionbio(fd, true)?;
    }
    let mut answer = Answer { output: Vec::new(), errors: Vec::new() };
    let (mut given, mut out, mut err) = (0, true, true);
    let mut buffer = vec![0; 64 << 10];
    while out {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(None);
        }
        let mut fds = vec![PollFd::new(&stdout, PollFlags::IN)];
        if err {
            fds.push(PollFd::new(&stderr, PollFlags::IN));
        }
        if let Some(stdin) = &stdin {
            fds.push(PollFd::new(stdin, PollFlags::OUT));
        }
        let timeout = Timespec { tv_sec: left.as_secs() as i64, tv_nsec: left.subsec_nanos().into() };
        match poll(&mut fds, Some(&timeout)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        drop(fds);
        if let Some(pipe) = &mut stdin {
            match pipe.write(&input[given..]) {
                Ok(count) => given += count,
                Err(error) if is_later(&error) => {}
                // It ended before it had read all: its output says why.
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => given = input.len(),
                Err(error) => return Err(error),
            }
            if given == input.len() {
                stdin = None;
            }
        }
        out = take(&mut stdout, &mut buffer, &mut answer.output, most)?;
        err = err && take(&mut stderr, &mut buffer, &mut answer.errors, MOST_STDERR)?;
    }
    Ok(Some(answer))
}

/// Takes what there is; false at its end, or when there is more than there may be.
fn take(from: &mut impl Read, buffer: &mut [u8], into: &mut Vec<u8>, most: usize) -> io::Result<bool> {
    loop {
        match from.read(buffer) {
            Ok(0) => return Ok(false),
            Ok(count) => {
                into.extend_from_slice(&buffer[..count.min(most.saturating_sub(into.len()))]);
                if into.len() >= most {
                    return Ok(false);
                }
            }
            Err(error) if is_later(&error) => return Ok(true),
            Err(error) => return Err(error),
        }
    }
}

fn is_later(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}
