//! A registry with one image, just enough of HTTP for the engine to pull it. Engines speak plain HTTP with 127.0.0.1.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use sha2::{Digest as _, Sha256};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

pub struct Registry {
    pub port: u16,
    /// `sha256:…` of the manifest.
    pub digest: String,
    /// How often the layer has been fetched.
    pub fetched: Arc<AtomicUsize>,
    _tasks: JoinSet<()>,
}

fn digest(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().fold("sha256:".to_owned(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}

struct Page {
    kind: &'static str,
    body: Vec<u8>,
}

impl Registry {
    /// Serves `test/image:1` with this layer (a tar archive).
    pub async fn new(layer: Vec<u8>) -> Self {
        const MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
        let architecture = if cfg!(target_arch = "x86_64") { "amd64" } else { "arm64" };
        let layer_digest = digest(&layer);
        let config = format!(
            r#"{{"architecture":"{architecture}","os":"linux","config":{{"Cmd":["/bin/tool"]}},
                "rootfs":{{"type":"layers","diff_ids":["{layer_digest}"]}},"history":[{{"created_by":"test"}}]}}"#
        )
        .into_bytes();
        let config_digest = digest(&config);
        let manifest = format!(
            r#"{{"schemaVersion":2,"mediaType":"{MANIFEST}",
                "config":{{"mediaType":"application/vnd.docker.container.image.v1+json","size":{},"digest":"{config_digest}"}},
                "layers":[{{"mediaType":"application/vnd.docker.image.rootfs.diff.tar","size":{},"digest":"{layer_digest}"}}]}}"#,
            config.len(),
            layer.len()
        )
        .into_bytes();
        let manifest_digest = digest(&manifest);
        let page = |kind, body| Page { kind, body };
        let pages = HashMap::from([
            ("/v2/".to_owned(), page("application/json", b"{}".to_vec())),
            ("/v2/test/image/manifests/1".to_owned(), page(MANIFEST, manifest.clone())),
            (format!("/v2/test/image/manifests/{manifest_digest}"), page(MANIFEST, manifest)),
            (format!("/v2/test/image/blobs/{config_digest}"), page("application/octet-stream", config)),
            (format!("/v2/test/image/blobs/{layer_digest}"), page("application/octet-stream", layer)),
        ]);
        let fetched = Arc::new(AtomicUsize::new(0));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let mut tasks = JoinSet::new();
        let (pages, count) = (Arc::new(pages), Arc::clone(&fetched));
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let (pages, count, layer) = (Arc::clone(&pages), Arc::clone(&count), layer_digest.clone());
                connections.spawn(async move {
                    // What is no HTTP (the engine tries TLS first) is hung up on.
                    let _ = serve(stream, &pages, &layer, &count).await;
                });
            }
        });
        Self { port, digest: manifest_digest, fetched, _tasks: tasks }
    }
}

async fn serve(
    stream: TcpStream,
    pages: &HashMap<String, Page>,
    layer: &str,
    fetched: &AtomicUsize,
) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    if !stream.fill_buf().await?.first().is_some_and(u8::is_ascii_uppercase) {
        return Ok(());
    }
    loop {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            if stream.read_until(b'\n', &mut head).await? == 0 {
                return Ok(());
            }
        }
        let head = String::from_utf8(head).map_err(std::io::Error::other)?;
        let mut words = head.split(' ');
        let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        if path.ends_with(layer) && method == "GET" {
            fetched.fetch_add(1, Ordering::Relaxed);
        }
        let answer = match pages.get(path) {
            Some(Page { kind, body }) => {
                let length = body.len();
                let digest = digest(body);
                let head = format!(
                    "HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n\
                     Docker-Content-Digest: {digest}\r\nDocker-Distribution-Api-Version: registry/2.0\r\n\r\n"
                );
                let body: &[u8] = if method == "HEAD" { &[] } else { body };
                [head.as_bytes(), body].concat()
            }
            None => {
                let body = r#"{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown"}]}"#;
                let length = body.len();
                let kind = "Content-Type: application/json";
                format!("HTTP/1.1 404 Not Found\r\n{kind}\r\nContent-Length: {length}\r\n\r\n{body}")
                    .into_bytes()
            }
        };
        stream.get_mut().write_all(&answer).await?;
    }
}
