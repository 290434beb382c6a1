//! The controller's end: who comes in, as whom.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use openssl::error::ErrorStack;
use openssl::ssl::{Ssl, SslAcceptor};
use testyard_agent::remote::{ConnectionError, FrameError, RemoteHost, hear, say};
use testyard_model::id::HostName;
use testyard_trust::issuer::{HostAuthority, HostRequest, IssueError, Validity};
use testyard_trust::{Certificate, Fingerprint};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_openssl::SslStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::message::{Answered, Opening};
use crate::roster::{Roster, RosterError};
use crate::tls;
use crate::token::SecretHash;

/// How long a host's certificate is good. It is renewed after two thirds of it.
pub const CERTIFICATE_DAYS: u32 = 30;

/// Who connects has said what he wants by then.
const PATIENCE: Duration = Duration::from_secs(15);
/// Connections that have not said yet what they want: of all, and of one address.
const STRANGERS: usize = 64;
const STRANGERS_OF_ONE: usize = 16;
/// How often a door looks whether who is in may still be.
pub const LOOK: Duration = Duration::from_secs(20);
/// The controller's own certificate is made anew so long after it was made.
const OWN: Duration = Duration::from_secs(30 * 24 * 3600);
/// The pause after an accept that failed.
const PAUSE: Duration = Duration::from_millis(100);

/// Finds the host of a name.
pub trait Hosts: Send + Sync + 'static {
    /// The host, if the testbed has it.
    fn host(&self, name: &HostName) -> Option<Arc<RemoteHost>>;
}

/// Where hosts come in.
pub struct Door {
    authority: HostAuthority,
    roster: Arc<dyn Roster>,
    hosts: Arc<dyn Hosts>,
    program: String,
    now: fn() -> Timestamp,
    acceptor: Mutex<(tokio::time::Instant, SslAcceptor)>,
    strangers: Arc<Semaphore>,
    crowds: Arc<Mutex<HashMap<IpAddr, usize>>>,
    look: Duration,
}

/// Somebody who has not said yet what he wants, among those of one address.
struct Stranger {
    crowds: Arc<Mutex<HashMap<IpAddr, usize>>>,
    address: IpAddr,
}

impl Stranger {
    /// One more of an address; none if there are enough.
    fn of(crowds: &Arc<Mutex<HashMap<IpAddr, usize>>>, address: IpAddr) -> Option<Self> {
        let mut counted = crowds.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counted.entry(address).or_default();
        if *count >= STRANGERS_OF_ONE {
            return None;
        }
        *count += 1;
        Some(Self { crowds: Arc::clone(crowds), address })
    }
}

impl Drop for Stranger {
    fn drop(&mut self) {
        let mut counted = self.crowds.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = counted.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                counted.remove(&self.address);
            }
        }
    }
}

/// A host that is let in.
struct Admitted {
    name: HostName,
    host: Arc<RemoteHost>,
    stream: SslStream<TcpStream>,
    certificate: Certificate,
}

/// The door cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum DoorError {
    /// The controller's certificate cannot be made.
    #[error("the controller's certificate for hosts cannot be made")]
    Issue(#[from] IssueError),
    /// TLS cannot be set up with it.
    #[error("TLS for hosts cannot be set up")]
    Tls(#[from] ErrorStack),
}

/// Somebody is sent away, with the words that he hears.
struct Refused(String);

impl From<RosterError> for Refused {
    fn from(error: RosterError) -> Self {
        Self(error.to_string())
    }
}

impl Door {
    /// A door, which looks so often whether who is in may still be: [`LOOK`], but in tests.
    ///
    /// # Errors
    /// [`DoorError`] if OpenSSL fails.
    pub fn new(
        authority: HostAuthority,
        roster: Arc<dyn Roster>,
        hosts: Arc<dyn Hosts>,
        program: String,
        now: fn() -> Timestamp,
        look: Duration,
    ) -> Result<Arc<Self>, DoorError> {
        let acceptor = tls::acceptor(&authority.controller(now())?)?;
        let acceptor = Mutex::new((tokio::time::Instant::now(), acceptor));
        let strangers = Arc::new(Semaphore::new(STRANGERS));
        let crowds = Arc::default();
        Ok(Arc::new(Self { authority, roster, hosts, program, now, acceptor, strangers, crowds, look }))
    }

    /// Lets hosts in until it is told to end; then all connections end.
    pub async fn serve(self: Arc<Self>, listener: TcpListener, shutdown: CancellationToken) {
        let connections = TaskTracker::new();
        loop {
            // Who comes while there are too many waits in the kernel's queue.
            let stranger = Arc::clone(&self.strangers).acquire_owned();
            let accepted = async {
                let turn = stranger.await;
                (turn, listener.accept().await)
            };
            let (turn, (stream, from)) = tokio::select! {
                () = shutdown.cancelled() => break,
                (turn, accepted) = accepted => match accepted {
                    Ok(accepted) => (turn, accepted),
                    Err(error) => {
                        tracing::warn!(%error, "a host's connection was not accepted");
                        tokio::time::sleep(PAUSE).await;
                        continue;
                    }
                },
            };
            let Some(stranger) = Stranger::of(&self.crowds, from.ip()) else {
                tracing::debug!(%from, "too many of one address at the door of hosts");
                continue;
            };
            let (door, ended) = (Arc::clone(&self), shutdown.clone());
            connections.spawn(async move {
                let admitted = tokio::select! {
                    () = ended.cancelled() => return,
                    admitted = timeout(PATIENCE, door.admit(stream, from)) => admitted,
                };
                drop((turn, stranger));
                let Ok(Some(Admitted { name, host, stream, certificate })) = admitted else { return };
                let mut attended = std::pin::pin!(host.attend(stream, &door.program));
                loop {
                    tokio::select! {
                        () = ended.cancelled() => return,
                        end = &mut attended => {
                            tracing::debug!(%from, %end, "a host's connection ended");
                            return;
                        }
                        why = door.until_not_good(&name, &certificate) => {
                            tracing::warn!(%from, host = %name, why, "a host is sent away");
                            host.disconnect(&why);
                            // It may just be coming in, and not be there to be sent away yet.
                            if timeout(door.look, &mut attended).await.is_ok() {
                                return;
                            }
                        }
                    }
                }
            });
        }
        connections.close();
        connections.wait().await;
    }

    /// Hears what somebody wants. A host that wants to be served comes back.
    async fn admit(&self, stream: TcpStream, from: SocketAddr) -> Option<Admitted> {
        let _ = stream.set_nodelay(true);
        let mut stream = match self.secure(stream).await {
            Ok(stream) => stream,
            Err(error) => {
                tracing::info!(%from, %error, "somebody at the door of hosts does not speak TLS as hosts do");
                return None;
            }
        };
        let shown = match stream.ssl().peer_certificate().map(|shown| shown.to_der()) {
            None => Ok(None),
            Some(Ok(shown)) => Certificate::from_der(&shown).map(Some),
            Some(Err(_)) => return None,
        };
        let opening: Opening = match hear(&mut stream).await {
            Ok(opening) => opening,
            // Who only looks at the certificate is about to come back with a token.
            Err(ConnectionError::Frame(FrameError::Closed)) => return None,
            Err(error) => {
                tracing::info!(%from, %error, "somebody at the door of hosts has not said what he wants");
                return None;
            }
        };
        tracing::debug!(%from, ?opening, "at the door of hosts");
        let shown = shown.map_err(|error| Refused(error.to_string()));
        let answered = match (opening, shown) {
            (_, Err(refused)) => Err(refused),
            (Opening::Enrol { host, secret, request }, Ok(_)) => {
                self.enrol(&host, &secret, &request).await.map(|given| (host, given))
            }
            (_, Ok(None)) => Err(Refused("show the host's certificate, or a token".to_owned())),
            (Opening::Renew { request }, Ok(Some(shown))) => match self.known(&shown).await {
                Ok(host) => self.renew(&host, &shown, &request).await.map(|given| (host, given)),
                Err(refused) => Err(refused),
            },
            (Opening::Serve, Ok(Some(certificate))) => match self.serving(&certificate).await {
                Ok((name, host)) => {
                    say(&mut stream, &Answered::Go).await.ok()?;
                    tracing::info!(%from, host = %name, "a host comes in");
                    return Some(Admitted { name, host, stream, certificate });
                }
                Err(refused) => Err(refused),
            },
        };
        let answer = match answered {
            Ok((host, given)) => {
                tracing::info!(%from, %host, "a host was given a certificate");
                Answered::Certificate(given.to_pem())
            }
            Err(Refused(reason)) => {
                tracing::warn!(%from, reason, "refused at the door of hosts");
                Answered::Refused(reason)
            }
        };
        // It may have gone.
        let _ = say(&mut stream, &answer).await;
        None
    }

    /// Waits until the certificate that a host came in with is good no more: it has ended, or was revoked, also while the host
    /// was just coming in. Why.
    async fn until_not_good(&self, name: &HostName, certificate: &Certificate) -> String {
        loop {
            if (self.now)() >= certificate.not_after() {
                return "its certificate has ended".to_owned();
            }
            match self.roster.knows(name, certificate.fingerprint()).await {
                // Records that cannot be read now are no reason to lose a host.
                Ok(()) | Err(RosterError::Store) => {}
                Err(error) => return error.to_string(),
            }
            tokio::time::sleep(self.look).await;
        }
    }

    async fn secure(&self, stream: TcpStream) -> Result<SslStream<TcpStream>, String> {
        let acceptor = self.acceptor().map_err(|error| error.to_string())?;
        let ssl = Ssl::new(acceptor.context()).map_err(|error| error.to_string())?;
        let mut stream = SslStream::new(ssl, stream).map_err(|error| error.to_string())?;
        std::pin::Pin::new(&mut stream).accept().await.map_err(|error| error.to_string())?;
        Ok(stream)
    }

    fn acceptor(&self) -> Result<SslAcceptor, DoorError> {
        let mut acceptor = self.acceptor.lock().unwrap_or_else(PoisonError::into_inner);
        if acceptor.0.elapsed() > OWN {
            let made = tls::acceptor(&self.authority.controller((self.now)())?)?;
            *acceptor = (tokio::time::Instant::now(), made);
        }
        Ok(acceptor.1.clone())
    }

    async fn enrol(&self, host: &HostName, secret: &str, request: &str) -> Result<Certificate, Refused> {
        let secret = STANDARD.decode(secret).map_err(|_| Refused("the secret is not base64".to_owned()))?;
        let request = read(request)?;
        let given = self.issue(host, &request)?;
        let (secret, now) = (SecretHash::of(&secret), (self.now)());
        self.roster.enrol(host, secret, key_of(&given), given.fingerprint(), now).await?;
        // Who is in with a certificate that was good until now is not in its successor's way.
        if let Some(host) = self.hosts.host(host) {
            host.disconnect("its agent has come in anew, with another token");
        }
        Ok(given)
    }

    async fn renew(
        &self,
        host: &HostName,
        shown: &Certificate,
        request: &str,
    ) -> Result<Certificate, Refused> {
        let given = self.issue(host, &read(request)?)?;
        self.roster.renew(host, shown.fingerprint(), given.fingerprint()).await?;
        Ok(given)
    }

    fn issue(&self, host: &HostName, request: &HostRequest) -> Result<Certificate, Refused> {
        let validity = Validity::days((self.now)(), CERTIFICATE_DAYS).from_yesterday();
        self.authority.issue(host, request, validity).map_err(|error| {
            tracing::error!(%host, %error, "a host's certificate cannot be made");
            Refused("the certificate cannot be made; the controller's log says why".to_owned())
        })
    }

    /// The host that a certificate is of.
    async fn known(&self, shown: &Certificate) -> Result<HostName, Refused> {
        match tls::verify_host(self.authority.certificate(), shown) {
            Ok(Ok(())) => {}
            Ok(Err(why)) => {
                return Err(Refused(format!("the certificate is not good: {}", why.error_string())));
            }
            Err(error) => {
                tracing::error!(%error, "certificates of hosts cannot be verified");
                return Err(Refused("the certificate cannot be verified".to_owned()));
            }
        }
        let host = self.authority.host_of(shown).map_err(|error| Refused(error.to_string()))?;
        self.roster.knows(&host, shown.fingerprint()).await?;
        Ok(host)
    }

    async fn serving(&self, shown: &Certificate) -> Result<(HostName, Arc<RemoteHost>), Refused> {
        let name = self.known(shown).await?;
        let host = self.hosts.host(&name).ok_or_else(|| RosterError::NoHost(name.clone()))?;
        self.roster.used(&name, shown.fingerprint()).await?;
        Ok((name, host))
    }
}

fn read(request: &str) -> Result<HostRequest, Refused> {
    let der = STANDARD.decode(request).map_err(|_| Refused("the request is not base64".to_owned()))?;
    HostRequest::read(&der).map_err(|error| Refused(error.to_string()))
}

/// Who has a certificate, whichever of his it is.
fn key_of(certificate: &Certificate) -> Fingerprint {
    use sha2::{Digest as _, Sha256};
    Fingerprint::from_bytes(Sha256::digest(certificate.public_key_der()).into())
}

impl std::fmt::Debug for Door {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Door").finish_non_exhaustive()
    }
}
