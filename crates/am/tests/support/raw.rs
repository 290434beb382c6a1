//! A TLS client that does exactly what a test says, well-behaved or not.

use std::net::SocketAddr;
use std::pin::Pin;
use std::time::Duration;

use openssl::pkey::PKey;
use openssl::ssl::{Ssl, SslContext, SslMethod, SslSessionCacheMode, SslVerifyMode, SslVersion};
use openssl::x509::X509;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_openssl::SslStream;

/// Longer than anything that a test waits for.
pub const LONG: Duration = Duration::from_secs(20);

pub struct Raw {
    pub stream: SslStream<TcpStream>,
}

/// Which TLS, and as whom: certificates and key in PEM.
#[derive(Clone, Copy, Default)]
pub struct How<'a> {
    pub version: Option<SslVersion>,
    pub identity: Option<(&'a [u8], &'a [u8])>,
}

pub fn context(how: How<'_>) -> SslContext {
    let mut builder = SslContext::builder(SslMethod::tls_client()).unwrap();
    builder.set_security_level(0);
    builder.set_cipher_list("ALL:@SECLEVEL=0").unwrap();
    builder.set_verify(SslVerifyMode::NONE);
    builder.set_session_cache_mode(SslSessionCacheMode::CLIENT);
    builder.set_min_proto_version(how.version).unwrap();
    builder.set_max_proto_version(how.version).unwrap();
    if let Some((certificates, key)) = how.identity {
        let chain = X509::stack_from_pem(certificates).unwrap();
        builder.set_certificate(&chain[0]).unwrap();
        for certificate in &chain[1..] {
            builder.add_extra_chain_cert(certificate.clone()).unwrap();
        }
        builder.set_private_key(&PKey::private_key_from_pem(key).unwrap()).unwrap();
    }
    builder.build()
}

impl Raw {
    pub async fn connect(address: SocketAddr, how: How<'_>) -> Result<Self, String> {
        Self::connect_with(address, Ssl::new(&context(how)).unwrap()).await
    }

    pub async fn connect_with(address: SocketAddr, ssl: Ssl) -> Result<Self, String> {
        let stream = TcpStream::connect(address).await.map_err(|error| error.to_string())?;
        let mut stream = SslStream::new(ssl, stream).unwrap();
        Pin::new(&mut stream).connect().await.map_err(|error| error.to_string())?;
        Ok(Self { stream })
    }

    pub async fn send(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.stream.write_all(bytes).await?;
        self.stream.flush().await
    }

    /// Posts a body, and gives head and body of the answer.
    pub async fn post(&mut self, body: &str) -> (String, String) {
        let head = format!("POST /any/path HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n", body.len());
        self.send(format!("{head}{body}").as_bytes()).await.unwrap();
        self.answer().await
    }

    /// Reads one answer.
    pub async fn answer(&mut self) -> (String, String) {
        let read = async {
            let mut bytes = Vec::new();
            let end = loop {
                if let Some(end) = bytes.windows(4).position(|w| w == b"\r\n\r\n") {
                    break end + 4;
                }
                assert!(self.stream.read_buf(&mut bytes).await.unwrap_or(0) > 0, "closed without an answer");
            };
            let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
            let length = head.to_ascii_lowercase();
            let length =
                length.split("content-length: ").nth(1).expect("a length").split("\r\n").next().unwrap();
            let length: usize = length.parse().unwrap();
            while bytes.len() < end + length {
                assert!(self.stream.read_buf(&mut bytes).await.unwrap_or(0) > 0, "closed within an answer");
            }
            (head, String::from_utf8(bytes[end..].to_vec()).unwrap())
        };
        tokio::time::timeout(LONG, read).await.expect("an answer in time")
    }

    /// Waits until the server has closed the connection.
    pub async fn closed(&mut self) {
        let read = async {
            let mut buffer = [0; 1024];
            while matches!(self.stream.read(&mut buffer).await, Ok(read) if read > 0) {}
        };
        tokio::time::timeout(LONG, read).await.expect("closed in time");
    }
}

pub const GET_VERSION: &str = "<methodCall><methodName>GetVersion</methodName></methodCall>";
