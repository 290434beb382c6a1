//! Progress of several nodes: a spinner each on a terminal, else a line for each change.

use std::collections::HashMap;
use std::io::IsTerminal as _;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

/// More spinners than this would not fit a screen: then one counts.
const MOST_SPINNERS: usize = 20;

/// Work that is done sooner shows nothing.
const SOON: Duration = Duration::from_millis(500);

/// Does work that may take a while: on a terminal it is said what takes so long.
pub(crate) fn during<T>(what: &str, work: impl FnOnce() -> T) -> T {
    if !std::io::stderr().is_terminal() {
        return work();
    }
    let (working, watch) = mpsc::channel::<()>();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            if watch.recv_timeout(SOON) == Err(RecvTimeoutError::Timeout) {
                let bar = spinner(&MultiProgress::new());
                bar.set_message(what.to_owned());
                // It ends when the work has.
                let _ = watch.recv();
                bar.finish_and_clear();
            }
        });
        let done = work();
        drop(working);
        done
    })
}

/// What is shown while something is waited for, on the standard error.
pub(crate) struct Screen {
    bars: Option<MultiProgress>,
    nodes: HashMap<String, (String, Option<ProgressBar>)>,
    total: Option<ProgressBar>,
}

impl Screen {
    /// For so many nodes.
    pub(crate) fn new(nodes: usize) -> Self {
        let bars = std::io::stderr().is_terminal().then(MultiProgress::new);
        let total = bars.as_ref().filter(|_| nodes > MOST_SPINNERS).map(spinner);
        Self { bars, nodes: HashMap::new(), total }
    }

    /// A node, which is known by its key, is so.
    pub(crate) fn update(&mut self, key: &str, line: String) {
        let (bars, many) = (&self.bars, self.total.is_some());
        let entry = self
            .nodes
            .entry(key.to_owned())
            .or_insert_with(|| (String::new(), bars.as_ref().filter(|_| !many).map(spinner)));
        if entry.0 == line {
            return;
        }
        match &entry.1 {
            Some(bar) => bar.set_message(line.clone()),
            None if many => {}
            None => remark!("{line}"),
        }
        entry.0 = line;
    }

    /// So many of all have come to their goal.
    pub(crate) fn count(&self, done: usize, all: usize) {
        if let Some(total) = &self.total {
            total.set_message(format!("{done} of {all}"));
        }
    }

    /// Takes the spinners away.
    pub(crate) fn finish(&self) {
        self.nodes
            .values()
            .filter_map(|(_, bar)| bar.as_ref())
            .chain(&self.total)
            .for_each(ProgressBar::finish_and_clear);
    }
}

fn spinner(bars: &MultiProgress) -> ProgressBar {
    let style = ProgressStyle::with_template("{spinner} {msg}  {elapsed}");
    let bar = bars.add(ProgressBar::new_spinner());
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()));
    bar.enable_steady_tick(Duration::from_millis(100));
    bar
}
