//! Downloads from servers on this machine that answer as real and as bad ones do.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;

use super::*;

/// A server that gives each connection the next answer; what it was asked comes back.
fn serve(answers: Vec<Vec<u8>>) -> (u16, std::thread::JoinHandle<Vec<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let thread = std::thread::spawn(move || {
        answers
            .into_iter()
            .map(|answer| {
                let (mut stream, _) = listener.accept().unwrap();
                let mut asked = Vec::new();
                let mut byte = [0];
                while !asked.ends_with(b"\r\n\r\n") && stream.read(&mut byte).unwrap_or(0) > 0 {
                    asked.push(byte[0]);
                }
                let _ = stream.write_all(&answer);
                String::from_utf8(asked).unwrap()
            })
            .collect()
    });
    (port, thread)
}

fn fetch(url: &str, limit: u64) -> (Result<u64, FetchError>, Vec<u8>, Vec<String>) {
    let mut network = network();
    network.bundles = vec![std::path::PathBuf::from(TESTDATA).join("ca.pem")];
    fetch_by(&network, url, limit)
}

fn network() -> Network {
    let hosts = "127.0.0.1 files.example\n127.0.0.1 other.example\n";
    Network::new(&[], Vec::new(), hosts.into(), "/nonexistent".as_ref())
}

fn fetch_by(network: &Network, url: &str, limit: u64) -> (Result<u64, FetchError>, Vec<u8>, Vec<String>) {
    let mut file = tempfile::tempfile().unwrap();
    let mut notes = Vec::new();
    let limits = Limits { bytes: limit, time: Duration::from_secs(60) };
    let result = download(url, limits, network, &mut file, &mut |note: &str| notes.push(note.to_owned()));
    let mut bytes = Vec::new();
    file.rewind().unwrap();
    file.read_to_end(&mut bytes).unwrap();
    (result, bytes, notes)
}

#[test]
fn redirects_lengths_and_chunks() {
    let (port, server) = serve(vec![
        b"HTTP/1.1 302 Found\r\nLocation: /b?x=1\r\nContent-Length: 0\r\n\r\n".to_vec(),
        b"HTTP/1.1 307 T\r\nlocation: //127.0.0.1:PORT/c\r\n\r\n".to_vec(),
    ]);
    let (result, ..) = fetch(&format!("http://files.example:{port}/a/x"), 100);
    // The second redirect has no valid port.
    assert!(matches!(result, Err(FetchError::Url(..))), "{result:?}");
    let asked = server.join().unwrap();
    assert!(asked[0].starts_with("GET /a/x HTTP/1.1\r\nHost: files.example:"), "{asked:?}");
    assert!(asked[1].starts_with("GET /b?x=1 HTTP/1.1\r\n"));

    for answer in [
        &b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello and more"[..],
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\nhel\r\n2\r\nlo\r\n0\r\nT: x\r\n\r\n",
        b"HTTP/1.0 200 OK\r\n\r\nhello",
    ] {
        let (port, server) = serve(vec![answer.to_vec()]);
        let (result, bytes, _) = fetch(&format!("http://127.0.0.1:{port}/"), 5);
        assert_eq!((result.unwrap(), bytes.as_slice()), (5, &b"hello"[..]));
        server.join().unwrap();
    }
}

#[test]
fn what_may_pass_is_tried_again_and_what_may_not_is_not() {
    let good = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok".to_vec();
    let (port, server) = serve(vec![
        b"".to_vec(),
        b"HTTP/1.1 503 Busy\r\n\r\n".to_vec(),
        b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf".to_vec(),
        good,
    ]);
    let (result, bytes, notes) = fetch(&format!("http://127.0.0.1:{port}/"), 100);
    assert_eq!((result.unwrap(), bytes.as_slice(), notes.len()), (2, &b"ok"[..], 3));
    server.join().unwrap();

    let (port, server) = serve(vec![b"HTTP/1.1 404 Not Found\r\n\r\n".to_vec()]);
    let (result, _, notes) = fetch(&format!("http://127.0.0.1:{port}/"), 100);
    assert!(matches!(result, Err(FetchError::Status { status: 404, .. })) && notes.is_empty());
    server.join().unwrap();
}

/// The head of an answer with these headers, and a body that may be shorter than it says.
fn answer(status: &str, headers: &str, body: &str) -> Vec<u8> {
    format!("HTTP/1.1 {status}\r\n{headers}\r\n{body}").into_bytes()
}

#[test]
fn a_download_that_broke_off_goes_on() {
    let (port, server) = serve(vec![
        answer("200 OK", "ETag: \"1\"\r\nContent-Length: 9\r\n", "half"),
        answer("503 Busy", "", ""),
        answer("206 Part", "ETag: \"1\"\r\nContent-Range: bytes 4-8/9\r\nContent-Length: 5\r\n", "wa"),
        answer("302 Moved", "Location: /other\r\n", ""),
        answer(
            "206 Part",
            "Content-Range: bytes 6-8/9\r\nTransfer-Encoding: chunked\r\n",
            "3\r\ny !\r\n0\r\n\r\n",
        ),
    ]);
    let (result, bytes, notes) = fetch(&format!("http://127.0.0.1:{port}/x"), 9);
    assert_eq!((result.unwrap(), bytes.as_slice()), (9, &b"halfway !"[..]));
    assert!(
        notes[0].ends_with("going on after 4 bytes") && notes[2].ends_with("going on after 6 bytes"),
        "{notes:?}"
    );
    let asked = server.join().unwrap();
    assert!(!asked[0].contains("Range"));
    for (request, range) in [(1, "4-"), (2, "4-"), (3, "6-"), (4, "6-")] {
        let expected = format!("\r\nRange: bytes={range}\r\nIf-Range: \"1\"\r\n");
        assert!(asked[request].contains(&expected), "{}", asked[request]);
    }
}

#[test]
fn a_download_that_has_changed_begins_anew() {
    let half = |headers: &str| answer("200 OK", &format!("{headers}Content-Length: 9\r\n"), "half");
    let whole = || answer("200 OK", "Content-Length: 3\r\n", "new");
    let tagged = "ETag: \"1\"\r\n";
    let dated = "Last-Modified: Sat, 01 Jan 2000 00:00:00 GMT\r\nDate: Sun, 02 Jan 2000 00:00:00 GMT\r\n";
    for answers in [
        // The server says so; the answer is another part, of another thing, or less than the rest; there is no such part.
        vec![half(tagged), whole()],
        vec![half(tagged), answer("206 Part", "Content-Range: bytes 0-8/9\r\n", "half full"), whole()],
        vec![
            half(tagged),
            answer("206 Part", "ETag: \"2\"\r\nContent-Range: bytes 4-8/9\r\n", "empty"),
            whole(),
        ],
        vec![half(tagged), answer("206 Part", "Content-Range: bytes 4-8/9\r\n", "less"), whole()],
        vec![half(tagged), answer("416 No", "", ""), whole()],
        vec![half(dated), whole()],
    ] {
        let (port, server) = serve(answers);
        let (result, bytes, _) = fetch(&format!("http://127.0.0.1:{port}/x"), 20);
        assert_eq!((result.unwrap(), bytes.as_slice()), (3, &b"new"[..]));
        let asked = server.join().unwrap();
        assert!(asked[1].contains("Range: bytes=4-\r\n"), "{}", asked[1]);
        assert!(asked.get(2).is_none_or(|third| !third.contains("Range")), "{asked:?}");
    }
    // Without a word that would change with the contents nothing is kept.
    for headers in ["", "ETag: W/\"1\"\r\n", "ETag: \"1\rX-Evil: 1\"\r\n"] {
        let (port, server) = serve(vec![half(headers), whole()]);
        let (result, bytes, _) = fetch(&format!("http://127.0.0.1:{port}/x"), 20);
        assert_eq!((result.unwrap(), bytes.as_slice()), (3, &b"new"[..]));
        let asked = server.join().unwrap();
        assert!(!asked[1].contains("Range") && !asked[1].contains("Evil"), "{}", asked[1]);
    }
}

#[test]
fn parts_keep_to_the_limit() {
    let (port, server) = serve(vec![
        answer("200 OK", "ETag: \"1\"\r\nContent-Length: 9\r\n", "half"),
        answer("206 Part", "Content-Range: bytes 4-99/100\r\nContent-Length: 96\r\n", "more"),
    ]);
    assert!(matches!(fetch(&format!("http://127.0.0.1:{port}/x"), 9).0, Err(FetchError::TooLarge(9))));
    server.join().unwrap();
    // A part that nobody asked for is no answer.
    let (port, server) = serve(vec![answer("206 Part", "Content-Range: bytes 0-2/3\r\n", "abc")]);
    let (result, ..) = fetch(&format!("http://127.0.0.1:{port}/x"), 9);
    assert!(matches!(result, Err(FetchError::Status { status: 206, .. })), "{result:?}");
    server.join().unwrap();
}

#[test]
fn limits_hold() {
    let redirect = b"HTTP/1.1 301 M\r\nLocation: /\r\n\r\n".to_vec();
    let (port, server) = serve(vec![redirect; 6]);
    assert!(matches!(fetch(&format!("http://127.0.0.1:{port}/"), 9).0, Err(FetchError::Redirects)));
    server.join().unwrap();
    for answer in [
        "HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n".to_owned(),
        format!("HTTP/1.1 200 OK\r\n\r\n{}", "x".repeat(100)),
        format!(
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n64\r\n{}\r\n0\r\n\r\n",
            "x".repeat(100)
        ),
    ] {
        let (port, server) = serve(vec![answer.into_bytes()]);
        assert!(matches!(fetch(&format!("http://127.0.0.1:{port}/"), 99).0, Err(FetchError::TooLarge(99))));
        server.join().unwrap();
    }
    let (port, server) = serve(vec![format!("HTTP/1.1 200 OK\r\nX: {}", "x".repeat(1 << 20)).into_bytes()]);
    assert!(matches!(fetch(&format!("http://127.0.0.1:{port}/"), 9).0, Err(FetchError::Http(..))));
    server.join().unwrap();
}

#[test]
fn errors_name_the_host_and_never_the_password() {
    let (port, server) = serve(vec![b"HTTP/1.1 403 No\r\n\r\n".to_vec()]);
    let (result, ..) = fetch(&format!("http://ann:secret@127.0.0.1:{port}/x"), 9);
    let told = text::chain(&result.unwrap_err());
    assert!(told.contains("127.0.0.1") && told.contains("403") && !told.contains("secret"), "{told}");
    assert!(server.join().unwrap()[0].contains("Authorization: Basic YW5uOnNlY3JldA==\r\n"));
}

const TESTDATA: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/testdata");

/// A server with a certificate of the authority in testdata, for 127.0.0.1 and files.example.
fn serve_tls(connections: usize, answer: &'static [u8]) -> (u16, std::thread::JoinHandle<()>) {
    use rustls::pki_types::pem::PemObject as _;
    use rustls::pki_types::{CertificateDer, PrivateKeyDer};
    let certificate = CertificateDer::from_pem_file(format!("{TESTDATA}/server.pem")).unwrap();
    let key = PrivateKeyDer::from_pem_file(format!("{TESTDATA}/server.key")).unwrap();
    let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .unwrap();
    let config = std::sync::Arc::new(config);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let thread = std::thread::spawn(move || {
        for _ in 0..connections {
            let (stream, _) = listener.accept().unwrap();
            let connection = rustls::ServerConnection::new(std::sync::Arc::clone(&config)).unwrap();
            let mut stream = rustls::StreamOwned::new(connection, stream);
            let mut asked = [0; 512];
            // A client that does not trust us breaks off here.
            if stream.read(&mut asked).is_ok() {
                let _ = stream.write_all(answer);
                let _ = stream.flush();
            }
        }
    });
    (port, thread)
}

#[test]
fn https_with_the_authorities_of_the_image() {
    // Twice: once framed by a length, once by the end of a connection that TLS was not told about.
    for answer in
        [&b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nsecret"[..], b"HTTP/1.1 200 OK\r\n\r\nsecret"]
    {
        let (port, server) = serve_tls(1, answer);
        let (result, bytes, _) = fetch(&format!("https://files.example:{port}/x"), 10);
        assert_eq!((result.unwrap(), bytes.as_slice()), (6, &b"secret"[..]));
        server.join().unwrap();
    }
    let (port, server) = serve_tls(1, b"HTTP/1.1 302 Found\r\nLocation: http://files.example/x\r\n\r\n");
    assert!(matches!(fetch(&format!("https://127.0.0.1:{port}/x"), 10).0, Err(FetchError::Downgrade(_))));
    server.join().unwrap();
}

#[test]
fn a_server_that_is_not_trusted_is_refused_at_once() {
    let (port, server) = serve_tls(2, b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    let (result, _, notes) = fetch(&format!("https://other.example:{port}/"), 9);
    assert!(matches!(result, Err(FetchError::Tls(..))) && notes.is_empty(), "{result:?} {notes:?}");
    let (result, _, notes) = fetch_by(&network(), &format!("https://files.example:{port}/"), 9);
    assert!(matches!(result, Err(FetchError::Tls(..))) && notes.is_empty(), "{result:?} {notes:?}");
    server.join().unwrap();
}

#[test]
fn nothing_is_fetched_from_inside() {
    // Nobody listens, or the test would hang: what is refused is refused before a connection.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let inside = network().reaching(Reach::Public { also: Vec::new() });
    for url in [
        format!("http://127.0.0.1:{port}/"),
        format!("http://files.example:{port}/"),
        format!("http://[::1]:{port}/"),
    ] {
        let (result, ..) = fetch_by(&inside, &url, 100);
        assert!(
            matches!(&result, Err(FetchError::Refused(_, address)) if address.is_loopback()),
            "{url}: {result:?}"
        );
    }
    listener.set_nonblocking(true).unwrap();
    assert!(listener.accept().is_err(), "nobody has even connected");
}

#[test]
fn a_redirect_does_not_lead_inside_either() {
    let listener = TcpListener::bind("127.0.0.2:0").unwrap();
    let answer =
        format!("HTTP/1.1 302 T\r\nLocation: http://{}/secret\r\n\r\n", listener.local_addr().unwrap());
    let (port, server) = serve(vec![answer.into_bytes()]);
    let only = network().reaching(Reach::Public { also: vec!["127.0.0.1/32".parse().unwrap()] });
    let (result, bytes, _) = fetch_by(&only, &format!("http://files.example:{port}/"), 100);
    assert!(matches!(&result, Err(FetchError::Refused(host, _)) if host == "127.0.0.2"), "{result:?}");
    assert_eq!((server.join().unwrap().len(), bytes.len()), (1, 0));
    listener.set_nonblocking(true).unwrap();
    assert!(listener.accept().is_err(), "nobody has connected");
}

#[test]
fn whoever_watches_can_end_it() {
    struct Impatient(Vec<(u64, Option<u64>)>);
    impl Watch for Impatient {
        fn note(&mut self, _: &str) {}
        fn progress(&mut self, done: u64, total: Option<u64>) -> bool {
            self.0.push((done, total));
            false
        }
    }
    let (port, server) = serve(vec![b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhel".to_vec()]);
    let (mut file, mut watch) = (tempfile::tempfile().unwrap(), Impatient(Vec::new()));
    let limits = Limits { bytes: 100, time: Duration::from_secs(60) };
    let result = download(&format!("http://127.0.0.1:{port}/"), limits, &network(), &mut file, &mut watch);
    assert!(matches!(result, Err(FetchError::GivenUp)), "{result:?}");
    assert_eq!(watch.0, [(3, Some(9))]);
    server.join().unwrap();
}
