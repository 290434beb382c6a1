//! Stands in for the guest in tests of the runtime alone: it says hello to whoever listens, and stays.
//!
//! Compiled by the tests themselves, statically, from this one file.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

/// Takes memory until the kernel ends it.
fn hog() {
    let mut all = Vec::new();
    loop {
        all.push(vec![7_u8; 1 << 20]);
    }
}

fn main() {
    if std::env::args().nth(1).as_deref() == Some("hog") {
        return hog();
    }
    // The image's ENV says what else is to be done.
    let mut hog = std::env::var_os("HOG")
        .map(|_| std::process::Command::new("/proc/self/exe").arg("hog").spawn().unwrap());
    if let Some(hog) = &mut hog {
        let _ = hog.wait();
    }
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/uuid").unwrap();
    let value = format!(r#"{{"protocol":1,"version":"stand-in","boot":"{}"}}"#, boot.trim());
    let hello = format!(r#"{{"say":"hello","value":{value}}}"#);
    let mut frame = u32::try_from(hello.len()).unwrap().to_be_bytes().to_vec();
    frame.extend(hello.as_bytes());
    loop {
        if let Ok(mut stream) = UnixStream::connect("/.testyard/run/agent.sock") {
            if stream.write_all(&frame).is_ok() {
                let mut sink = [0; 4096];
                while matches!(stream.read(&mut sink), Ok(count) if count > 0) {}
            }
        }
        std::thread::park_timeout(Duration::from_millis(10));
    }
}
