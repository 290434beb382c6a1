//! The acceptor's settings.

use openssl::error::ErrorStack;
use openssl::pkey::{PKey, Private};
use openssl::ssl::{
    AlpnError, SslAcceptor, SslMethod, SslOptions, SslSessionCacheMode, SslVerifyMode, select_next_proto,
};
use openssl::x509::X509;

/// Level 0 lets old client certificates through; what is broken whatever the certificate stays out.
const CIPHERS: &str = "DEFAULT:!aNULL:!eNULL:!RC4:!3DES:@SECLEVEL=0";

/// SHA-1 is the last resort: clients with old keys sign the handshake with nothing else.
const SIGNATURES: &str = "RSA-PSS+SHA256:RSA-PSS+SHA384:RSA-PSS+SHA512:ECDSA+SHA256:ECDSA+SHA384:ECDSA+SHA512:ed25519\
                          :RSA+SHA256:RSA+SHA384:RSA+SHA512:RSA+SHA1:ECDSA+SHA1";

/// The protocols that are spoken inside, in ALPN's format.
const PROTOCOLS: &[u8] = b"\x08http/1.1";

pub(super) fn acceptor(chain: &[X509], key: &PKey<Private>) -> Result<SslAcceptor, ErrorStack> {
    let mut builder = SslAcceptor::mozilla_intermediate_v5(SslMethod::tls_server())?;
    builder.set_security_level(0);
    builder.set_cipher_list(CIPHERS)?;
    builder.set_sigalgs_list(SIGNATURES)?;
    let (leaf, rest) = chain.split_first().expect("the file was read with at least one certificate");
    builder.set_certificate(leaf)?;
    for certificate in rest {
        builder.add_extra_chain_cert(certificate.clone())?;
    }
    builder.set_private_key(key)?;
    builder.check_private_key()?;

    builder.set_verify_callback(SslVerifyMode::PEER, |_, _| true);
    builder.set_session_cache_mode(SslSessionCacheMode::OFF);
    builder.set_options(SslOptions::NO_TICKET | SslOptions::NO_RENEGOTIATION);
    builder.set_num_tickets(0)?;
    // Without it OpenSSL refuses connections of clients that try to resume.
    builder.set_session_id_context(b"testyard")?;
    builder
        .set_alpn_select_callback(|_, offered| select_next_proto(PROTOCOLS, offered).ok_or(AlpnError::NOACK));
    Ok(builder.build())
}
