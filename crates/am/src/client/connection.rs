//! One HTTPS connection, made when it is needed and again when it was lost.

use std::fmt;
use std::pin::Pin;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{ACCEPT, CONTENT_TYPE, HOST, USER_AGENT};
use hyper::{Request, Uri};
use hyper_util::rt::TokioIo;
use openssl::error::ErrorStack;
use openssl::pkey::PKey;
use openssl::sha::sha256;
use openssl::ssl::{SslConnector, SslMethod, SslVerifyMode};
use openssl::x509::X509;
use openssl::x509::verify::X509VerifyFlags;
use tokio::net::TcpStream;
use tokio::sync::Mutex;
use tokio_openssl::SslStream;

use super::error::ClientError;
use super::settings::{ClientSettings, Identity, ServerTrust};
use crate::xmlrpc::{Call, Fault, Value, parse_reply, write_call};

/// The largest answer that is read: an advertisement of a large federation has some megabytes.
const MAX_ANSWER: usize = 64 << 20;

pub(super) struct Connection {
    connector: SslConnector,
    settings: ClientSettings,
    host: String,
    address: String,
    path: String,
    open: Mutex<Option<SendRequest<Full<Bytes>>>>,
}

impl Connection {
    pub(super) fn new(settings: &ClientSettings) -> Result<Self, ClientError> {
        let bad = |reason| ClientError::Url { url: settings.url.clone(), reason };
        let uri: Uri = settings.url.parse().map_err(|_| bad("it is not a URL"))?;
        if uri.scheme_str() != Some("https") {
            return Err(bad("it does not begin with https://"));
        }
        let host = uri.host().filter(|host| !host.is_empty()).ok_or_else(|| bad("it has no host"))?;
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let port = uri.port_u16().unwrap_or(443);
        let address = if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
        let path = uri.path_and_query().map_or("/", |path| path.as_str()).to_owned();
        Ok(Self {
            connector: connector(settings)?,
            settings: settings.clone(),
            host,
            address,
            path,
            open: Mutex::new(None),
        })
    }

    pub(super) async fn call(&self, call: &Call) -> Result<Result<Value, Fault>, ClientError> {
        let body = Bytes::from(write_call(call));
        let time = self.settings.call_timeout;
        let answer = tokio::time::timeout(time, self.exchange(body)).await;
        let bytes = answer.map_err(|_| ClientError::TimedOut {
            address: self.address.clone(),
            seconds: time.as_secs(),
        })??;
        Ok(parse_reply(&bytes)?)
    }

    async fn exchange(&self, body: Bytes) -> Result<Bytes, ClientError> {
        let broken = |source| ClientError::Broken { address: self.address.clone(), source };
        let request = Request::post(self.path.as_str())
            .header(HOST, &self.address)
            .header(USER_AGENT, concat!("testyard/", env!("CARGO_PKG_VERSION")))
            .header(CONTENT_TYPE, "text/xml; charset=utf-8")
            .header(ACCEPT, "text/xml")
            .body(Full::new(body))
            .map_err(|_| ClientError::Url {
                url: self.settings.url.clone(),
                reason: "its path cannot be sent",
            })?;
        let mut open = self.open.lock().await;
        // A connection is put back only after a complete exchange, so that nobody reads another call's answer.
        let mut sender = match alive(open.take()).await {
            Some(sender) => sender,
            None => self.connect().await?,
        };
        let response = sender.send_request(request).await.map_err(broken)?;
        let status = response.status();
        let body = Limited::new(response.into_body(), MAX_ANSWER).collect().await;
        let body = body.map_err(|error| match error.downcast::<hyper::Error>() {
            Ok(error) => broken(*error),
            Err(_) => ClientError::TooLarge(MAX_ANSWER),
        })?;
        *open = Some(sender);
        let bytes = body.to_bytes();
        if status.is_success() {
            return Ok(bytes);
        }
        let text: String =
            String::from_utf8_lossy(&bytes).chars().filter(|c| !c.is_control()).take(300).collect();
        Err(ClientError::Http { address: self.address.clone(), status: status.as_u16(), text })
    }

    async fn connect(&self) -> Result<SendRequest<Full<Bytes>>, ClientError> {
        let timed_out = || std::io::Error::from(std::io::ErrorKind::TimedOut);
        let failed = |source| ClientError::Connect { address: self.address.clone(), source };
        let time = self.settings.connect_timeout;
        let stream = tokio::time::timeout(time, TcpStream::connect(&self.address)).await;
        let stream = stream.map_err(|_| failed(timed_out()))?.map_err(failed)?;
        let _ = stream.set_nodelay(true);
        let stream = tokio::time::timeout(time, self.handshake(stream)).await;
        let stream = stream.map_err(|_| failed(timed_out()))??;
        let broken = |source| ClientError::Broken { address: self.address.clone(), source };
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
        // Its errors are those of the requests on it.
        tokio::spawn(connection);
        Ok(sender)
    }

    async fn handshake(&self, stream: TcpStream) -> Result<SslStream<TcpStream>, ClientError> {
        let failed = |reason: String| ClientError::Tls { address: self.address.clone(), reason };
        let mut configuration = self.connector.configure().map_err(|error| failed(error.to_string()))?;
        if matches!(self.settings.server, ServerTrust::Fingerprint(_) | ServerTrust::Anything) {
            configuration.set_verify_hostname(false);
        }
        let ssl = configuration.into_ssl(&self.host).map_err(|error| failed(error.to_string()))?;
        let mut stream = SslStream::new(ssl, stream).map_err(|error| failed(error.to_string()))?;
        if let Err(error) = Pin::new(&mut stream).connect().await {
            let verdict = stream.ssl().verify_result();
            let reason = if verdict == openssl::x509::X509VerifyResult::OK {
                error.to_string()
            } else {
                format!("the server's certificate is not trusted: {}", verdict.error_string())
            };
            return Err(failed(reason));
        }
        if let ServerTrust::Fingerprint(wanted) = &self.settings.server {
            let der = stream.ssl().peer_certificate().and_then(|certificate| certificate.to_der().ok());
            if der.is_none_or(|der| sha256(&der) != *wanted) {
                return Err(failed("the server's certificate has another fingerprint".to_owned()));
            }
        }
        Ok(stream)
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").field("address", &self.address).finish_non_exhaustive()
    }
}

/// The connection, unless the server has closed it.
async fn alive(sender: Option<SendRequest<Full<Bytes>>>) -> Option<SendRequest<Full<Bytes>>> {
    let mut sender = sender?;
    sender.ready().await.ok()?;
    Some(sender)
}

fn connector(settings: &ClientSettings) -> Result<SslConnector, ClientError> {
    let library = |error: ErrorStack| ClientError::Identity(format!("OpenSSL cannot be set up: {error}"));
    let mut builder = SslConnector::builder(SslMethod::tls_client()).map_err(library)?;
    // Users have old certificates, and aggregates old servers.
    builder.set_security_level(0);
    builder.set_cipher_list("DEFAULT:@SECLEVEL=0").map_err(library)?;
    match &settings.server {
        ServerTrust::System => {}
        ServerTrust::Fingerprint(_) | ServerTrust::Anything => builder.set_verify(SslVerifyMode::NONE),
        ServerTrust::Certificates(pem) => {
            let unusable = |_| ClientError::Identity("the server's certificates are not PEM".to_owned());
            let trusted = X509::stack_from_pem(pem).map_err(unusable)?;
            let pinned: Vec<Vec<u8>> =
                trusted.iter().filter_map(|certificate| certificate.to_der().ok()).collect();
            if pinned.is_empty() {
                return Err(ClientError::Identity(
                    "there is no certificate to trust the server by".to_owned(),
                ));
            }
            for certificate in trusted {
                builder.cert_store_mut().add_cert(certificate).map_err(library)?;
            }
            builder.verify_param_mut().set_flags(X509VerifyFlags::PARTIAL_CHAIN).map_err(library)?;
            builder.set_verify_callback(SslVerifyMode::PEER, move |good, context| {
                let leaf = context.error_depth() == 0;
                let der = context.current_cert().and_then(|certificate| certificate.to_der().ok());
                good || (leaf && der.is_some_and(|der| pinned.contains(&der)))
            });
        }
    }
    if let Some(identity) = &settings.identity {
        let chain = X509::stack_from_pem(&identity.certificates).unwrap_or_default();
        let Some((leaf, rest)) = chain.split_first() else {
            return Err(ClientError::Identity("there is no certificate in PEM for the client".to_owned()));
        };
        builder.set_certificate(leaf).map_err(library)?;
        for certificate in rest {
            builder.add_extra_chain_cert(certificate.clone()).map_err(library)?;
        }
        builder.set_private_key(&*private_key(identity)?).map_err(library)?;
        let other =
            |_| ClientError::Identity("the key does not belong to the client's certificate".to_owned());
        builder.check_private_key().map_err(other)?;
    }
    Ok(builder.build())
}

fn private_key(identity: &Identity) -> Result<PKey<openssl::pkey::Private>, ClientError> {
    let mut asked = false;
    let key = PKey::private_key_from_pem_callback(&identity.key, |buffer| {
        asked = true;
        let passphrase = identity.passphrase.as_deref().unwrap_or_default().as_bytes();
        let length = passphrase.len().min(buffer.len());
        buffer[..length].copy_from_slice(&passphrase[..length]);
        Ok(length)
    });
    key.map_err(|_| {
        ClientError::Identity(match (asked, &identity.passphrase) {
            (true, None) => "the client's key is encrypted: give its passphrase".to_owned(),
            (true, Some(_)) => "the client's key is encrypted with another passphrase".to_owned(),
            (false, _) => "there is no private key in PEM for the client".to_owned(),
        })
    })
}
