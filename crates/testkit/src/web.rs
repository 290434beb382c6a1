//! A web server of a test's own: serves files, redirects and lies, and notes what it is asked.

use std::collections::HashMap;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// A web server on 127.0.0.1. It ends with the test's process.
#[derive(Clone, Debug)]
pub struct Web {
    port: u16,
    answers: Arc<Mutex<HashMap<String, Answer>>>,
    asked: Arc<Mutex<Vec<String>>>,
}

/// What it says to a path.
#[derive(Clone, Debug)]
pub enum Answer {
    /// A file.
    File(Vec<u8>),
    /// These bytes, whatever they are, and the end of the connection.
    Raw(Vec<u8>),
    /// Go elsewhere.
    Redirect(String),
    /// These bytes, and then nothing more for so long.
    Stall(Vec<u8>, Duration),
    /// The head of a file without an end, then zeros until the client is gone.
    Endless,
}

/// The longest request that is read.
const LONGEST: usize = 64 << 10;

impl Web {
    /// A server without files.
    ///
    /// # Panics
    /// If no port is free.
    #[must_use]
    pub fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let port = listener.local_addr().expect("a bound socket has an address").port();
        let web = Self { port, answers: Arc::default(), asked: Arc::default() };
        let served = web.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let served = served.clone();
                std::thread::spawn(move || served.attend(stream));
            }
        });
        web
    }

    /// From now on this is what it says to a path.
    pub fn set(&self, path: &str, answer: Answer) {
        self.answers.lock().unwrap_or_else(PoisonError::into_inner).insert(path.to_owned(), answer);
    }

    /// A file of it.
    pub fn put(&self, path: &str, bytes: impl Into<Vec<u8>>) {
        self.set(path, Answer::File(bytes.into()));
    }

    /// The URL of a path.
    #[must_use]
    pub fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    /// Its port.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// The paths that were asked for, in order.
    #[must_use]
    pub fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn attend(&self, mut stream: TcpStream) {
        let mut asked = Vec::new();
        let mut byte = [0];
        while !asked.ends_with(b"\r\n\r\n")
            && asked.len() < LONGEST
            && stream.read(&mut byte).unwrap_or(0) > 0
        {
            asked.push(byte[0]);
        }
        let asked = String::from_utf8_lossy(&asked);
        let path = asked.split(' ').nth(1).unwrap_or_default().to_owned();
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).push(path.clone());
        let answer = self.answers.lock().unwrap_or_else(PoisonError::into_inner).get(&path).cloned();
        // A client that leaves has its reasons.
        let _ = match answer {
            Some(Answer::File(bytes)) => {
                let head = format!(
                    "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
                    bytes.len()
                );
                stream.write_all(&[head.as_bytes(), &bytes].concat())
            }
            Some(Answer::Raw(bytes)) => stream.write_all(&bytes),
            Some(Answer::Redirect(to)) => stream.write_all(
                format!(
                    "HTTP/1.1 302 Found\r\nLocation: {to}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
                )
                .as_bytes(),
            ),
            Some(Answer::Stall(bytes, time)) => {
                let sent = stream.write_all(&bytes);
                // Until the client has had enough, or the time is over.
                let _ = stream.set_read_timeout(Some(time));
                let _ = stream.read(&mut byte);
                sent
            }
            Some(Answer::Endless) => {
                let mut sent = stream.write_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n");
                while sent.is_ok() {
                    sent = stream.write_all(&[0; 64 << 10]);
                }
                sent
            }
            None => {
                stream.write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            }
        };
    }
}

impl Default for Web {
    fn default() -> Self {
        Self::new()
    }
}
