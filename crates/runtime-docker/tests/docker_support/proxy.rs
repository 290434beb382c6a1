//! A way to the engine that can be cut and opened again: for the runtime that is an engine that restarts.

use std::path::{Path, PathBuf};
use std::sync::Mutex;

use tokio::net::{UnixListener, UnixStream};
use tokio::task::{JoinHandle, JoinSet};

pub struct Proxy {
    near: PathBuf,
    far: PathBuf,
    task: Mutex<Option<JoinHandle<()>>>,
}

impl Proxy {
    pub fn new(near: &Path, far: &Path) -> Self {
        Self { near: near.to_owned(), far: far.to_owned(), task: Mutex::default() }
    }

    pub fn open(&self) {
        let mut task = self.task.lock().unwrap();
        if task.is_some() {
            return;
        }
        let listener = UnixListener::bind(&self.near).unwrap();
        let far = self.far.clone();
        *task = Some(tokio::spawn(async move {
            // Dropped with the task, and the connections with it.
            let mut connections = JoinSet::new();
            while let Ok((mut near, _)) = listener.accept().await {
                let far = far.clone();
                connections.spawn(async move {
                    if let Ok(mut far) = UnixStream::connect(far).await {
                        let _ = tokio::io::copy_bidirectional(&mut near, &mut far).await;
                    }
                });
            }
        }));
    }

    pub async fn cut(&self) {
        let task = self.task.lock().unwrap().take();
        if let Some(task) = task {
            task.abort();
            let _ = task.await;
            std::fs::remove_file(&self.near).unwrap();
        }
    }
}
