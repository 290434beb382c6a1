//! TLS 1.3 with certificates of the testbed's own authority over hosts, on both ends.

use openssl::error::ErrorStack;
use openssl::pkey::PKey;
use openssl::ssl::{
    SslAcceptor, SslConnector, SslMethod, SslOptions, SslRef, SslSessionCacheMode, SslVerifyMode, SslVersion,
};
use openssl::stack::Stack;
use openssl::x509::store::{X509Store, X509StoreBuilder};
use openssl::x509::verify::X509VerifyParam;
use openssl::x509::{X509, X509PurposeId, X509StoreContext, X509VerifyResult};
use testyard_trust::issuer::Identity;
use testyard_trust::{Certificate, Fingerprint};

/// What a controller shows. Clients may show a certificate; what it is worth [`verify_host`] says, so that they can be told.
pub(crate) fn acceptor(controller: &Identity) -> Result<SslAcceptor, ErrorStack> {
    let mut builder = SslAcceptor::mozilla_modern_v5(SslMethod::tls_server())?;
    let (leaf, rest) = controller.chain().split_first().expect("an identity has a certificate");
    builder.set_certificate(x509(leaf)?.as_ref())?;
    for certificate in rest {
        builder.add_extra_chain_cert(x509(certificate)?)?;
    }
    builder.set_private_key(PKey::private_key_from_pem(&pem(controller)?)?.as_ref())?;
    builder.check_private_key()?;
    builder.set_verify_callback(SslVerifyMode::PEER, |_, _| true);
    builder.set_session_cache_mode(SslSessionCacheMode::OFF);
    builder.set_options(SslOptions::NO_TICKET);
    builder.set_num_tickets(0)?;
    builder.set_session_id_context(b"testyard-hosts")?;
    Ok(builder.build())
}

/// A client that believes nobody but this authority, and shows this identity.
pub(crate) fn connector(authority: &Certificate, own: Option<&Identity>) -> Result<SslConnector, ErrorStack> {
    let mut builder = plain()?;
    builder.set_cert_store(store(authority)?);
    if let Some(own) = own {
        builder.set_certificate(x509(own.certificate())?.as_ref())?;
        builder.set_private_key(PKey::private_key_from_pem(&pem(own)?)?.as_ref())?;
        builder.check_private_key()?;
    }
    Ok(builder.build())
}

/// A client that believes everybody, to look at what is shown.
pub(crate) fn looker() -> Result<SslConnector, ErrorStack> {
    let mut builder = plain()?;
    builder.set_verify(SslVerifyMode::NONE);
    Ok(builder.build())
}

fn plain() -> Result<openssl::ssl::SslConnectorBuilder, ErrorStack> {
    let mut builder = SslConnector::builder(SslMethod::tls_client())?;
    builder.set_min_proto_version(Some(SslVersion::TLS1_3))?;
    builder.set_session_cache_mode(SslSessionCacheMode::OFF);
    Ok(builder)
}

/// Of the certificates that the other side has shown the one with this fingerprint.
pub(crate) fn shown(ssl: &SslRef, fingerprint: Fingerprint) -> Option<Certificate> {
    let shown = ssl.peer_cert_chain()?.iter();
    let mut certificates = shown.filter_map(|shown| Certificate::from_der(&shown.to_der().ok()?).ok());
    certificates.find(|certificate| certificate.fingerprint() == fingerprint)
}

/// Whether a client's certificate is of this authority, for clients, and of this time.
pub(crate) fn verify_host(
    authority: &Certificate,
    shown: &Certificate,
) -> Result<Result<(), X509VerifyResult>, ErrorStack> {
    let mut context = X509StoreContext::new()?;
    let mut param = X509VerifyParam::new()?;
    param.set_purpose(X509PurposeId::SSL_CLIENT)?;
    let mut builder = X509StoreBuilder::new()?;
    builder.add_cert(x509(authority)?)?;
    builder.set_param(&param)?;
    let (store, none) = (builder.build(), Stack::new()?);
    let shown = x509(shown)?;
    context.init(&store, &shown, &none, |context| {
        Ok(if context.verify_cert()? { Ok(()) } else { Err(context.error()) })
    })
}

fn store(authority: &Certificate) -> Result<X509Store, ErrorStack> {
    let mut builder = X509StoreBuilder::new()?;
    builder.add_cert(x509(authority)?)?;
    Ok(builder.build())
}

fn x509(certificate: &Certificate) -> Result<X509, ErrorStack> {
    X509::from_der(certificate.der())
}

fn pem(identity: &Identity) -> Result<Vec<u8>, ErrorStack> {
    // A key that was made or read can be written.
    identity.key().to_pem().map_err(|_| ErrorStack::get())
}
