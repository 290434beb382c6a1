//! Captures that topologies ask for: one of each such link, into files of the host.
//!
//! ```text
//! CAPTURES/SLICE/LINK.pcapng       what is written now
//! CAPTURES/SLICE/LINK.1.pcapng     what was written before: the file that was full, or the one of an earlier agent
//! ```
//!
//! Each file can be read alone. They go with the slice.

use std::collections::HashMap;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use futures_util::StreamExt as _;
use testyard_capture::rotation::{Rotation, Step};
use testyard_model::id::{SliceId, SliverId};
use tokio::fs::{self, File};
use tokio::io::AsyncWriteExt as _;
use tokio::sync::Mutex;
use tokio::task::JoinHandle;

use crate::capture::{CaptureError, CaptureEvent, CaptureRequest, CaptureStream, CapturedLinks};
use crate::links::{HostLink, KeptCapture};

/// Of a file, in bytes: a link has two.
const LIMIT: u64 = 64 << 20;
/// Of a link's name in a file's.
const LONGEST_STEM: usize = 100;

/// The captures of one testbed on this host.
#[derive(Debug, Default)]
pub(crate) struct Kept {
    /// None: nothing is kept.
    folder: Option<PathBuf>,
    running: Mutex<HashMap<(SliceId, SliverId), Running>>,
}

/// A file that is written.
#[derive(Debug)]
struct Running {
    capture: KeptCapture,
    task: JoinHandle<()>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Kept {
    pub(crate) fn new(folder: Option<PathBuf>) -> Self {
        Self { folder, running: Mutex::default() }
    }

    /// Keeps what a slice's links ask for, and nothing else of it. A capture that cannot begin is logged: no node is to wait
    /// for it.
    pub(crate) async fn follow<F>(
        &self,
        slice: SliceId,
        links: &[HostLink],
        begin: impl Fn(CaptureRequest) -> F,
    ) where
        F: Future<Output = Result<CaptureStream, CaptureError>>,
    {
        let Some(folder) = &self.folder else { return };
        let folder = folder.join(slice.to_string());
        let mut running = self.running.lock().await;
        let wanted = |link: &HostLink, running: &Running| link.capture.as_ref() == Some(&running.capture);
        running.retain(|(of, sliver), running| {
            let stays = || links.iter().any(|link| link.sliver == *sliver && wanted(link, running));
            *of != slice || (!running.task.is_finished() && stays())
        });
        for link in links {
            let (Some(capture), key) = (&link.capture, (slice, link.sliver)) else { continue };
            if running.contains_key(&key) {
                continue;
            }
            let request = CaptureRequest {
                links: CapturedLinks::One(link.sliver),
                snap_length: capture.snap_length,
                filter: capture.filter.clone(),
                names: capture.names.clone(),
            };
            let stream = match begin(request).await {
                Ok(stream) => stream,
                Err(error) => {
                    tracing::warn!(%slice, link = link.name, %error, "a capture that the topology asks for cannot begin");
                    continue;
                }
            };
            let (folder, stem) = (folder.clone(), stem(link));
            let task = tokio::spawn(async move {
                if let Err(error) = write(stream, &folder, &stem).await {
                    tracing::warn!(folder = %folder.display(), stem, %error, "a capture cannot be kept");
                }
            });
            running.insert(key, Running { capture: capture.clone(), task });
        }
    }

    /// A slice has parted: its files go.
    pub(crate) async fn end(&self, slice: SliceId) {
        let Some(folder) = &self.folder else { return };
        let mut running = self.running.lock().await;
        let ended: Vec<_> = running.extract_if(|(of, _), _| *of == slice).collect();
        for (_, mut ended) in ended {
            ended.task.abort();
            let _ = (&mut ended.task).await;
        }
        remove(&folder.join(slice.to_string())).await;
    }

    /// All of them.
    pub(crate) async fn reset(&self) {
        let Some(folder) = &self.folder else { return };
        self.running.lock().await.clear();
        remove(folder).await;
    }
}

async fn remove(folder: &Path) {
    match fs::remove_dir_all(folder).await {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            tracing::warn!(folder = %folder.display(), %error, "captures cannot be removed");
        }
        _ => {}
    }
}

async fn write(mut stream: CaptureStream, folder: &Path, stem: &str) -> io::Result<()> {
    let (current, before) = (folder.join(format!("{stem}.pcapng")), folder.join(format!("{stem}.1.pcapng")));
    fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).await?;
    let mut rotation = Rotation::new(LIMIT);
    let mut file = next(&current, &before).await?;
    while let Some(event) = stream.next().await {
        let blocks = match event {
            CaptureEvent::Blocks(blocks) => blocks,
            CaptureEvent::Ended(end) => {
                tracing::debug!(reason = %end.reason, stem, "a capture has ended");
                break;
            }
        };
        for step in rotation.steps(&blocks) {
            match step {
                Step::Append(bytes) => file.write_all(&bytes).await?,
                Step::Next(bytes) => {
                    file.flush().await?;
                    file = next(&current, &before).await?;
                    file.write_all(&bytes).await?;
                }
            }
        }
        file.flush().await?;
    }
    Ok(())
}

/// An empty file; the one that was there is the one before now.
async fn next(current: &Path, before: &Path) -> io::Result<File> {
    match fs::rename(current, before).await {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    File::options().write(true).create_new(true).mode(0o600).open(current).await
}

/// The link's name as a file's, with its sliver where it cannot be one.
fn stem(link: &HostLink) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let is_name = link.name.len() <= LONGEST_STEM
        && link.name.chars().all(is_plain)
        && !link.name.starts_with('.')
        && !link.name.ends_with(".1");
    if is_name { link.name.clone() } else { link.sliver.to_string() }
}

#[cfg(test)]
mod tests {
    use testyard_model::link::LinkKind;

    use super::*;

    #[test]
    fn files_are_called_as_links_where_that_is_a_name() {
        let sliver: SliverId = "0197e7a0-0000-7000-8000-000000000001".parse().unwrap();
        let link = |name: &str| HostLink {
            sliver,
            name: name.to_owned(),
            kind: LinkKind::Lan,
            up: true,
            mtu: 1500,
            seed: 0,
            is_seed_chosen: false,
            ends: Vec::new(),
            beyond: None,
            capture: None,
        };
        assert_eq!(stem(&link("lan-0_a.b")), "lan-0_a.b");
        for name in ["../../etc/shadow", "..", ".hidden", "two words", "a.1", &"a".repeat(101)] {
            assert_eq!(stem(&link(name)), sliver.to_string(), "{name}");
        }
    }
}
