//! Making images of what users bring: the part of the contract that runtimes with an engine for it have.

use std::collections::VecDeque;
use std::fs::File;
use std::net::IpAddr;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use testyard_images::Recipe;
use testyard_model::image::Content;
use tokio::sync::watch;

use crate::image::Image;

/// Makes images, and forgets them.
///
/// What is made is marked with the testbed's instance and the content it was made of, has no name that users could give,
/// and is there until [`Self::forget`]. A call that is dropped ends what it has begun.
#[async_trait]
pub trait Maker: Send + Sync {
    /// What machines its images are for, in the words of images: `amd64`.
    fn architecture(&self) -> &'static str;

    /// The label, `name=value`, that everything made of a content by the way must get, so that [`Self::tidy`] finds it.
    fn label(&self, content: &Content) -> String;

    /// The image that was made of a content, if it is there.
    async fn made(&self, content: &Content) -> Result<Option<Image>, MakeError>;

    /// Makes it. The bases of a recipe must be there.
    async fn make(&self, order: Order<'_>) -> Result<Image, MakeError>;

    /// The contents that images have been made of.
    async fn all(&self) -> Result<Vec<Content>, MakeError>;

    /// Removes what was made of a content; gone already is fine. One that a node still needs stays, which is an error.
    async fn forget(&self, content: &Content) -> Result<(), MakeError>;

    /// Removes what builds that were cut off have left. None may be under way.
    async fn tidy(&self) -> Result<(), MakeError>;
}

/// An image to be made.
pub struct Order<'o> {
    /// Of what.
    pub content: &'o Content,
    /// How.
    pub recipe: &'o Recipe,
    /// With what: a tar archive, from its beginning.
    pub archive: File,
    /// What it may take.
    pub limits: MakeLimits,
    /// Where it reaches a network.
    pub place: &'o dyn BuildPlace,
    /// What it asks for names there.
    pub name_servers: &'o [IpAddr],
    /// Who is told how it goes on.
    pub log: &'o MakeLog,
}

/// What making an image may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MakeLimits {
    /// How long.
    pub time: Duration,
    /// Memory of what a build runs, in bytes.
    pub memory: u64,
    /// Processors that it gets, in thousandths.
    pub millicores: u32,
    /// Processes and threads that it runs at a time.
    pub pids: u32,
    /// Bytes that it writes beside the images that it begins with.
    pub disk: u64,
}

/// A place on the network: what a build runs is a stranger's, so it gets no more of the network than a node.
#[async_trait]
pub trait BuildPlace: Send + Sync {
    /// Puts interfaces into a network namespace.
    ///
    /// # Errors
    /// Why that is not possible, for people.
    async fn furnish(&self, netns: &Path) -> Result<(), String>;

    /// They are needed no longer.
    async fn leave(&self);
}

/// An image was not made, or not removed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MakeError {
    /// The engine does not answer; worth another try.
    #[error("{engine} does not answer: {detail}")]
    Unreachable {
        /// Which engine, for people.
        engine: &'static str,
        /// What it said.
        detail: String,
    },
    /// What it was made by failed, or took too much.
    #[error("{0}")]
    Failed(String),
    /// It cannot be a node.
    #[error("it cannot be a node: {0}")]
    Unfit(String),
}

/// What is said while an image is made: which step, and the output, of which the beginning and the end are kept.
#[derive(Debug)]
pub struct MakeLog {
    state: Mutex<Kept>,
    changed: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct Kept {
    step: String,
    head: String,
    tail: VecDeque<String>,
    /// Bytes of the tail, and of what has been left out.
    size: usize,
    lost: usize,
}

/// How much of the beginning is kept, and of the end.
const HEAD: usize = 4 << 10;
const TAIL: usize = 24 << 10;

impl Default for MakeLog {
    fn default() -> Self {
        Self { state: Mutex::default(), changed: watch::Sender::new(0) }
    }
}

impl MakeLog {
    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is being done from now on.
    pub fn step(&self, step: impl Into<String>) {
        self.lock().step = step.into();
        self.changed.send_modify(|count| *count += 1);
    }

    /// A line of output; what cannot be printed is left out.
    pub fn line(&self, line: &str) {
        const LONGEST: usize = 1000;
        let mut text: String = plain(line).chars().take(LONGEST).collect();
        text.push('\n');
        let mut kept = self.lock();
        if kept.tail.is_empty() && kept.head.len() + text.len() <= HEAD {
            kept.head.push_str(&text);
        } else {
            kept.size += text.len();
            kept.tail.push_back(text);
            while kept.size > TAIL
                && let Some(first) = kept.tail.pop_front()
            {
                kept.size -= first.len();
                kept.lost += first.len();
            }
        }
        drop(kept);
        self.changed.send_modify(|count| *count += 1);
    }

    /// What is being done.
    #[must_use]
    pub fn current(&self) -> String {
        self.lock().step.clone()
    }

    /// The output.
    #[must_use]
    pub fn text(&self) -> String {
        let kept = self.lock();
        let mut text = kept.head.clone();
        if kept.lost > 0 {
            text.push_str(&format!("[{} bytes are left out]\n", kept.lost));
        }
        kept.tail.iter().for_each(|line| text.push_str(line));
        text
    }

    /// The last lines of the output, `most` at most.
    #[must_use]
    pub fn last(&self, most: usize) -> String {
        let text = self.text();
        let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
        lines[lines.len().saturating_sub(most)..].join("\n")
    }

    /// Changes with each step and line.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }
}

/// A line without colours and other control sequences (ECMA-48 section 5.4).
fn plain(line: &str) -> String {
    let mut out = String::with_capacity(line.len());
    let mut characters = line.chars().peekable();
    while let Some(c) = characters.next() {
        match c {
            '\x1b' if characters.peek() == Some(&'[') => {
                characters.next();
                // Parameters, up to the final character.
                for c in characters.by_ref() {
                    if ('\x40'..='\x7e').contains(&c) {
                        break;
                    }
                }
            }
            '\t' => out.push_str("    "),
            c if c.is_control() => {}
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn beginning_and_end_are_kept() {
        let log = MakeLog::default();
        log.step("step 1");
        for number in 0..20_000 {
            log.line(&format!("line {number}"));
        }
        let text = log.text();
        assert!(text.len() < HEAD + TAIL + 100, "{}", text.len());
        assert!(text.starts_with("line 0\nline 1\n") && text.ends_with("line 19999\n"));
        assert!(text.contains("bytes are left out]"));
        assert_eq!((log.last(2).as_str(), log.current().as_str()), ("line 19998\nline 19999", "step 1"));
    }

    #[test]
    fn what_cannot_be_printed_is_left_out() {
        assert_eq!(plain("\x1b[91mred\x1b[0m\x07 and\tso"), "red and    so");
        assert_eq!(plain("\x1b["), "");
        let log = MakeLog::default();
        log.line(&"x".repeat(5000));
        assert_eq!(log.text().len(), 1001);
    }
}
