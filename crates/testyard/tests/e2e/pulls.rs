//! Images that cannot be had: said within seconds, whatever is wrong with the registry.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::support::{Bed, request};

/// A registry that answers everything with one text, until it is dropped.
struct Registry {
    address: SocketAddr,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Registry {
    fn answering(answer: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                if stopped.load(Ordering::Relaxed) {
                    return;
                }
                let mut lines = BufReader::new(&stream).lines().map_while(Result::ok);
                while lines.next().is_some_and(|line| !line.is_empty()) {}
                let _ = (&stream).write_all(answer.as_bytes());
            }
        });
        Self { address, stop, thread: Some(thread) }
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let _ = TcpStream::connect(self.address);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

#[test]
fn e2e_a_pull_that_cannot_work_fails_within_seconds() {
    let mut bed = Bed::new();
    let refusing = Registry::answering(
        "HTTP/1.1 404 Not Found\r\nContent-Type: application/json\r\nContent-Length: 58\r\nConnection: close\r\n\r\n\
         {\"errors\":[{\"code\":\"MANIFEST_UNKNOWN\",\"message\":\"unknown\"}]}\n",
    );
    let broken = Registry::answering("HTTP/1.1 500 Oh\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    let other = Registry::answering("SSH-2.0-OpenSSH_9.2\r\n");
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let images = [
        ("nowhere", "nowhere.invalid/none:1".to_owned()),
        ("closed", format!("{closed}/none:1")),
        ("unknown", format!("{}/none:1", refusing.address)),
        ("broken", format!("{}/none:1", broken.address)),
        ("other", format!("{}/none:1", other.address)),
        ("digest", format!("{}/none@sha256:{}", refusing.address, "0".repeat(64))),
    ];
    let nodes: Vec<&str> = images.iter().map(|(node, _)| *node).collect();
    let text = images.iter().fold(request(&nodes), |text, (_, image)| {
        text.replacen("\"/></node>", &format!("\"><disk_image name=\"{image}\"/></sliver_type></node>"), 1)
    });
    let file = bed.file("none.rspec", &text);
    bed.ok(&format!("am allocate demo {file}"));
    let started = Instant::now();
    bed.ok("am provision demo");
    bed.wait("demo", "geni_failed");
    assert!(started.elapsed() < Duration::from_secs(20), "{:?}", started.elapsed());
    let slivers = bed.status("demo");
    for (node, image) in &images {
        let sliver = slivers.iter().find(|sliver| sliver["client_id"] == *node).unwrap();
        assert!(sliver["error"].as_str().unwrap().contains(image), "{sliver}");
    }

    // A mistake in the image of one node harms no other, and what failed can be deleted.
    bed.up("good", &["one"]);
    bed.ok("am delete demo");
    assert!(bed.ssh_succeeds("good", "one", "true"));
}
