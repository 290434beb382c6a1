//! What is behind a URL, as a file.

use std::fs::File;
use std::io::{self, Read as _, Seek as _};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use sha2::{Digest as _, Sha256};
use testyard_fetch::download::{self, FetchError, Limits, Network, Reach};
use testyard_fetch::text::chain;
use testyard_model::image::{Content, ImageUrl};
use testyard_runtime::MakeLog;

use crate::images::{Trouble, Workshop};

/// Downloads the file of a URL, and says what it is made of. Who does not wait any more ends it.
pub(super) async fn fetch(
    workshop: &Arc<Workshop>,
    url: &ImageUrl,
    log: &Arc<MakeLog>,
) -> Result<(File, Content), Trouble> {
    let (workshop, url, log) = (Arc::clone(workshop), url.clone(), Arc::clone(log));
    let (stop, _guard) = stopped_when_dropped();
    let download = move || {
        let settings = &workshop.settings;
        let room = |error: io::Error| Trouble::Passing(format!("there is no room on the host: {error}"));
        let mut file = tempfile::tempfile_in(&workshop.folder).map_err(room)?;
        let limits = Limits { bytes: settings.download, time: settings.time() };
        let hosts = std::fs::read_to_string("/etc/hosts").unwrap_or_default();
        let network = Network::new(&workshop.name_servers, Vec::new(), hosts, Path::new("/"))
            .reaching(Reach::Public { also: settings.allowed.clone() });
        let mut watch = Watch { log: &log, stop: &stop, shown: None };
        download::download(url.address(), limits, &network, &mut file, &mut watch).map_err(of_fetch)?;
        log.step("checking what was fetched");
        let content = content(&mut file).map_err(room)?;
        if url.sha256().is_some_and(|wanted| wanted != content.as_str()) {
            return Err(Trouble::Final(format!(
                "its SHA-256 is {content}, which is not what the URL asks for"
            )));
        }
        Ok((file, content))
    };
    tokio::task::spawn_blocking(download).await.map_err(|error| Trouble::Passing(error.to_string()))?
}

fn of_fetch(error: FetchError) -> Trouble {
    let remedy = match &error {
        FetchError::Refused(..) => "; operators allow networks by images.urls.networks",
        _ => "",
    };
    match error {
        FetchError::Write(_) | FetchError::GivenUp => Trouble::Passing(chain(&error)),
        error => Trouble::Final(format!("{}{remedy}", chain(&error))),
    }
}

fn content(file: &mut File) -> io::Result<Content> {
    file.rewind()?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 256 << 10];
    loop {
        match file.read(&mut buffer)? {
            0 => break,
            length => hasher.update(&buffer[..length]),
        }
    }
    let text: String = hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    text.parse().map_err(io::Error::other)
}

/// A flag for a thread that must end when whoever waits for it does.
fn stopped_when_dropped() -> (Arc<AtomicBool>, impl Drop) {
    struct Guard(Arc<AtomicBool>);
    impl Drop for Guard {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Relaxed);
        }
    }
    let stop = Arc::new(AtomicBool::new(false));
    (Arc::clone(&stop), Guard(stop))
}

/// Tells how a download goes on.
struct Watch<'w> {
    log: &'w MakeLog,
    stop: &'w AtomicBool,
    shown: Option<u64>,
}

impl download::Watch for Watch<'_> {
    fn note(&mut self, line: &str) {
        self.log.line(line);
    }

    fn progress(&mut self, done: u64, total: Option<u64>) -> bool {
        if self.shown != Some(done >> 20) {
            self.shown = Some(done >> 20);
            let of = total.map(|total| format!(" of {}", total >> 20)).unwrap_or_default();
            self.log.step(format!("fetching: {}{of} MiB", done >> 20));
        }
        !self.stop.load(Ordering::Relaxed)
    }
}
