//! Who is at the other end of a connection.

use std::net::IpAddr;

use openssl::ssl::SslRef;
use testyard_trust::CallerChain;

/// Longer chains are not read: ten delegations of authority are more than there are.
const MAX_CHAIN: usize = 16;

/// The other end of a connection. It is read once per connection; whether it is trusted is asked per call.
#[derive(Clone, Debug)]
pub struct Peer {
    /// Where it calls from.
    pub address: IpAddr,
    /// The certificates that it showed, its own first; empty if none. An error if they cannot be read, in words for
    /// the caller.
    pub chain: Result<CallerChain, String>,
    /// SHA-256 over its certificate: whose share of this server a call takes.
    pub identity: Option<[u8; 32]>,
}

impl Peer {
    /// A client without a certificate.
    #[must_use]
    pub fn anonymous(address: IpAddr) -> Self {
        Self { address, chain: Ok(CallerChain::none()), identity: None }
    }

    /// A client that showed these certificates (DER), its own first.
    #[must_use]
    pub fn with_certificates(address: IpAddr, chain: Vec<Vec<u8>>) -> Self {
        let identity = chain.first().map(|leaf| openssl::sha::sha256(leaf));
        let chain = if chain.len() > MAX_CHAIN {
            Err(format!("the client certificate comes with more than {MAX_CHAIN} certificates"))
        } else {
            CallerChain::from_der_chain(chain).map_err(|error| error.to_string())
        };
        Self { address, chain, identity }
    }

    /// What a finished handshake says.
    pub(crate) fn of(ssl: &SslRef, address: IpAddr) -> Self {
        let leaf = ssl.peer_certificate();
        // On the server's side the chain does not hold the leaf.
        let rest = ssl.peer_cert_chain().into_iter().flatten();
        let chain = leaf.iter().map(|leaf| leaf.to_der()).chain(rest.map(|c| c.to_der()));
        match chain.collect::<Result<Vec<_>, _>>() {
            Ok(chain) => Self::with_certificates(address, chain),
            Err(_) => Self {
                chain: Err("the client certificate cannot be read".to_owned()),
                ..Self::anonymous(address)
            },
        }
    }
}
