//! Judges a call: who is it, what do they show, and does that allow it?
//!
//! The steps are those of am-api.md §3.7, in the order of [`Step`]. A verifier is a snapshot of roots and policy; it
//! remembers what it found out about certificates, never about signatures.

use std::cell::RefCell;

use jiff::Timestamp;
use openssl::sha::Sha256;
use testyard_model::time;
use testyard_model::urn::Urn;

use crate::cache::Cache;
use crate::call::{Call, CallerChain, Grant, Label, PassedCredential};
use crate::certificate::{Certificate, CertificateError};
use crate::chain::{CLOCK_SKEW, Chain, ChainError};
use crate::credential::Holder;
use crate::delegation::{self, Checked};
use crate::document::{self, Link};
use crate::policy::CryptoPolicy;
use crate::privilege::Privileges;
use crate::refusal::{Reason, Refusal, Step};
use crate::roots::TrustRoots;
use crate::speaks_for;

/// Credentials in one call at most.
pub const MAX_CREDENTIALS: usize = 20;

/// Different certificates in all credentials of one call: reading one costs more than checking a signature.
const MAX_CALL_CERTIFICATES: usize = 128;

/// Certificates and chains that are remembered: some users' worth, a few megabytes.
const REMEMBERED: usize = 512;

/// Judges calls by one set of roots and one policy.
#[derive(Debug)]
pub struct Verifier {
    roots: TrustRoots,
    policy: CryptoPolicy,
    /// Certificates that once had a chain, by their bytes.
    certificates: Cache<Vec<u8>, Certificate>,
    /// Chains that were found, by the leaf and everything that was offered with it: what is remembered never makes a
    /// verdict depend on earlier calls.
    chains: Cache<[u8; 32], Chain>,
}

/// What a chain is for: it decides how a fault is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    Caller,
    Signer,
    Gid,
}

impl Verifier {
    /// A verifier for these roots.
    #[must_use]
    pub fn new(roots: TrustRoots, policy: CryptoPolicy) -> Self {
        Self { roots, policy, certificates: Cache::new(REMEMBERED), chains: Cache::new(REMEMBERED) }
    }

    /// The roots.
    #[must_use]
    pub fn roots(&self) -> &TrustRoots {
        &self.roots
    }

    /// The policy.
    #[must_use]
    pub fn policy(&self) -> &CryptoPolicy {
        &self.policy
    }

    /// Who a TLS client is, credentials aside.
    ///
    /// # Errors
    /// [`Refusal`] at [`Step::Caller`] if it showed no certificate, or none that is trusted.
    pub fn identify(&self, caller: &CallerChain, now: Timestamp) -> Result<Urn, Refusal> {
        Session::new(self, now).caller(caller).map(|(urn, _)| urn)
    }

    /// Decides about a call.
    ///
    /// # Errors
    /// [`Refusal`]; with several credentials it is about the one that came furthest.
    pub fn authorise(&self, call: &Call<'_>) -> Result<Grant, Refusal> {
        let session = Session::new(self, call.now);
        let (caller, chain) = session.caller(call.caller)?;
        if call.credentials.len() > MAX_CREDENTIALS {
            let message = format!("there are more than {MAX_CREDENTIALS} credentials");
            return Err(Refusal::new(Step::Size, Reason::Limit, message));
        }
        let (owner, tool) = match call.speaking_for.map(str::trim).filter(|urn| !urn.is_empty()) {
            Some(user) => {
                let user = speaks_for::check(&session, user, chain.leaf(), call.credentials)?;
                tracing::info!(tool = %caller, user = %user, "a tool speaks for a user");
                (user, Some(caller))
            }
            None => (caller, None),
        };
        let mut furthest: Option<Refusal> = None;
        for (index, passed) in call.credentials.iter().enumerate() {
            if passed.label() != Label::Sfa {
                continue;
            }
            match session.judge(call, &owner, passed) {
                Ok((target, expires)) => {
                    return Ok(Grant { owner, tool, target, expires, credential: index });
                }
                Err(refusal) if furthest.as_ref().is_none_or(|other| refusal.step > other.step) => {
                    furthest = Some(refusal.about(index));
                }
                Err(_) => {}
            }
        }
        Err(furthest.unwrap_or_else(|| {
            let message = match call.credentials.is_empty() {
                true => "there is no credential",
                false => "there is no credential of type geni_sfa",
            };
            Refusal::new(Step::Presence, Reason::NoCredential, message)
        }))
    }
}

/// One call's work: certificates are read once, whoever shows them.
pub(crate) struct Session<'a> {
    verifier: &'a Verifier,
    now: Timestamp,
    read: RefCell<Vec<Certificate>>,
}

impl<'a> Session<'a> {
    fn new(verifier: &'a Verifier, now: Timestamp) -> Self {
        Self { verifier, now, read: RefCell::default() }
    }

    pub(crate) fn policy(&self) -> &CryptoPolicy {
        &self.verifier.policy
    }

    /// Whether something that ends at `end` is over.
    pub(crate) fn is_over(&self, end: Timestamp) -> bool {
        self.now.duration_since(end) > CLOCK_SKEW
    }

    fn caller(&self, caller: &CallerChain) -> Result<(Urn, Chain), Refusal> {
        let refuse = |message: String| Refusal::new(Step::Caller, Reason::UntrustedCaller, message);
        let Some((leaf, pool)) = caller.certificates().split_first() else {
            return Err(refuse("a client certificate is needed, and none was shown".to_owned()));
        };
        let chain = self.chain(leaf, pool, Role::Caller)?;
        let urn = leaf.urn().map_err(|error| refuse(error.to_string()))?.clone();
        Ok((urn, chain))
    }

    /// Reads a certificate, unless this call or an earlier one has.
    pub(crate) fn certificate(&self, der: &[u8]) -> Result<Certificate, CertificateError> {
        if let Some(known) = self.read.borrow().iter().find(|known| known.der() == der) {
            return Ok(known.clone());
        }
        let certificate = match self.verifier.certificates.get(der) {
            Some(known) => known,
            None => Certificate::from_der(der)?,
        };
        self.read.borrow_mut().push(certificate.clone());
        Ok(certificate)
    }

    /// Finds the way to a root.
    pub(crate) fn chain(
        &self,
        leaf: &Certificate,
        pool: &[Certificate],
        role: Role,
    ) -> Result<Chain, Refusal> {
        let mut hash = Sha256::new();
        for certificate in std::iter::once(leaf).chain(pool) {
            hash.update(&certificate.fingerprint().0);
        }
        let key = hash.finish();
        let verifier = self.verifier;
        if let Some(chain) = verifier.chains.get(&key).filter(|chain| chain.is_valid_at(self.now)) {
            return Ok(chain);
        }
        let chain = Chain::verify(leaf, pool, &verifier.roots, &verifier.policy, self.now)
            .map_err(|error| refuse_chain(&error, role))?;
        for certificate in chain.certificates() {
            verifier.certificates.put(certificate.der().to_vec(), certificate.clone());
        }
        verifier.chains.put(key, chain.clone());
        Ok(chain)
    }

    /// Steps 1 to 12 for one credential; gives its target and its end.
    fn judge(
        &self,
        call: &Call<'_>,
        caller: &Urn,
        passed: &PassedCredential,
    ) -> Result<(Urn, Timestamp), Refusal> {
        let text = document::text(&passed.value)?;
        let document = document::parse(text)?;
        let links = document::links(&document)?;
        if !links.iter().all(|link| link.credential.rights().is_some()) {
            return Err(Refusal::new(Step::Type, Reason::Type, "it is not a privilege credential"));
        }
        let mut signers = Vec::new();
        for link in &links {
            signers.push(self.verified_signer(link)?);
        }
        let pool = self.pool(&links)?;
        let mut chains = Vec::new();
        for signer in &signers {
            chains.push(self.chain(signer, &pool, Role::Signer)?);
        }
        let mut checked = Vec::new();
        for (link, signer) in links.iter().zip(chains) {
            checked.push(self.checked(link, signer, &pool)?);
        }
        self.decide(call, caller, &checked)
    }

    /// Every certificate of a document: what its authors offer as intermediates. Broken ones are named later, where
    /// they are needed.
    fn pool(&self, links: &[Link<'_, '_>]) -> Result<Vec<Certificate>, Refusal> {
        let mut pool: Vec<Certificate> = Vec::new();
        for link in links {
            let rights = link.credential.rights();
            let gids = rights.into_iter().flat_map(|rights| [&rights.owner.gid, &rights.target.gid]);
            for der in link.signature.certificates.iter().chain(gids.flatten().flatten()) {
                match self.certificate(der) {
                    Ok(certificate) if !pool.contains(&certificate) => pool.push(certificate),
                    _ => {}
                }
                if self.read.borrow().len() > MAX_CALL_CERTIFICATES {
                    let message =
                        format!("it brings more than {MAX_CALL_CERTIFICATES} different certificates");
                    return Err(Refusal::new(Step::Size, Reason::Limit, message));
                }
            }
        }
        Ok(pool)
    }

    /// The certificate that a signature names first, once it has proved that it signed.
    pub(crate) fn verified_signer(&self, link: &Link<'_, '_>) -> Result<Certificate, Refusal> {
        let refuse = |message| Refusal::new(Step::Signature, Reason::Signature, message);
        let Some(first) = link.signature.certificates.first() else {
            return Err(refuse(
                "a signature brings no certificate: keys are taken from X509Certificate only",
            ));
        };
        let signer =
            self.certificate(first).map_err(|_| refuse("the signer's certificate cannot be read"))?;
        link.signature.verify(link.node, &signer, self.policy())?;
        Ok(signer)
    }

    fn checked<'l>(
        &self,
        link: &'l Link<'_, '_>,
        signer: Chain,
        pool: &[Certificate],
    ) -> Result<Checked<'l>, Refusal> {
        let Some(rights) = link.credential.rights() else {
            return Err(Refusal::new(Step::Type, Reason::Type, "it is not a privilege credential"));
        };
        let owner = self.gid(&rights.owner, "owner", Reason::OwnerMismatch, pool)?;
        let target = self.gid(&rights.target, "target", Reason::TargetMismatch, pool)?;
        let kind = target.leaf().urn().map(Urn::kind).unwrap_or_default().to_owned();
        let privileges = Privileges::resolve(&rights.privileges, &kind);
        Ok(Checked { credential: &link.credential, signer, owner, target, privileges })
    }

    /// The chain of a GID, and the URN beside it must say the same.
    fn gid(
        &self,
        holder: &Holder,
        which: &str,
        mismatch: Reason,
        pool: &[Certificate],
    ) -> Result<Chain, Refusal> {
        let refuse = |why: String| Refusal::new(Step::Gid, Reason::BadGid, format!("{which}_gid: {why}"));
        let ders = holder.gid.as_ref().map_err(|error| refuse(error.to_string()))?;
        let Some(first) = ders.first() else {
            return Err(refuse("there is no certificate".to_owned()));
        };
        let leaf = self.certificate(first).map_err(|error| refuse(error.to_string()))?;
        let chain = self.chain(&leaf, pool, Role::Gid).map_err(|mut refusal| {
            refusal.message = format!("{which}_gid: {}", refusal.message);
            refusal
        })?;
        let urn = leaf.urn().map_err(|error| refuse(error.to_string()))?;
        match &holder.urn {
            Some(text) if text.parse::<Urn>().ok().as_ref() != Some(urn) => {
                let message = format!("{which}_urn says something else than {which}_gid");
                Err(Refusal::new(Step::Gid, mismatch, message))
            }
            _ => Ok(chain),
        }
    }

    /// Steps 8 to 12, over a chain of credentials whose signatures and certificates hold; the outermost comes first.
    fn decide(
        &self,
        call: &Call<'_>,
        caller: &Urn,
        chain: &[Checked<'_>],
    ) -> Result<(Urn, Timestamp), Refusal> {
        let (Some(outer), Some(inner)) = (chain.first(), chain.last()) else {
            return Err(Refusal::new(Step::Shape, Reason::Shape, "there is no credential in the document"));
        };
        let urn = |chain: &Chain, step| {
            let error =
                |error: crate::certificate::NoUrn| Refusal::new(step, Reason::BadGid, error.to_string());
            chain.leaf().urn().cloned().map_err(error)
        };
        let (owner, target) = (urn(&outer.owner, Step::Owner)?, urn(&outer.target, Step::Target)?);
        if owner != *caller {
            let message = format!("it belongs to {owner}, and the caller is {caller}");
            return Err(Refusal::new(Step::Owner, Reason::OwnerMismatch, message));
        }
        if call.caller.leaf().and_then(|leaf| leaf.urn().ok()) == Some(&owner) {
            let renewed = call.caller.leaf().is_some_and(|leaf| !leaf.same_key(outer.owner.leaf()));
            tracing::debug!(%owner, renewed, "the owner calls; renewed: with another key than in the credential");
        }
        match call.slice {
            Some(slice) if *slice.urn() != target => {
                let message = format!("it is about {target}, not about {slice}");
                return Err(Refusal::new(Step::Target, Reason::TargetMismatch, message));
            }
            None if call.operation.needs_slice() => {
                let message = format!("{} is about a slice, and none was named", call.operation);
                return Err(Refusal::new(Step::Target, Reason::TargetMismatch, message));
            }
            _ => {}
        }
        let mut expires = Timestamp::MAX;
        for link in chain {
            if self.is_over(link.credential.expires) {
                let end = time::format(link.credential.expires);
                return Err(Refusal::new(Step::Expiry, Reason::Expired, format!("it expired at {end}")));
            }
            expires = expires.min(link.credential.expires);
        }
        for pair in chain.windows(2) {
            delegation::check(&pair[0], &pair[1])?;
        }
        if !is_authority_over(&inner.signer, &inner.target) {
            let message =
                format!("its signer {:?} is no authority over {target}", inner.signer.leaf().subject());
            return Err(Refusal::new(Step::Authority, Reason::NamespaceAuthority, message));
        }
        if !outer.privileges.allow(call.operation) {
            let message = format!("its privileges do not allow {}", call.operation);
            return Err(Refusal::new(Step::Privilege, Reason::Privilege, message));
        }
        Ok((target, time::whole_seconds(expires)))
    }
}

/// Who may sign the first credential of a chain: an authority over the target's name, or the certificate that issued
/// the target's, which its chain has shown to be one.
fn is_authority_over(signer: &Chain, target: &Chain) -> bool {
    let issued = target.certificates().len() > 1 && target.issuer() == signer.leaf();
    issued
        || match (signer.leaf().urn(), target.leaf().urn()) {
            (Ok(signer), Ok(target)) => {
                signer.is_authority() && signer.authority().is_over(target.authority())
            }
            _ => false,
        }
}

fn refuse_chain(error: &ChainError, role: Role) -> Refusal {
    let (step, untrusted) = match role {
        Role::Caller => (Step::Caller, Reason::UntrustedCaller),
        Role::Signer => (Step::Signer, Reason::UntrustedSigner),
        Role::Gid => (Step::Gid, Reason::BadGid),
    };
    let reason = match error {
        ChainError::Namespace { .. } => Reason::NamespaceAuthority,
        ChainError::Algorithm(..) => Reason::Algorithm,
        ChainError::NoUrn(_) if role == Role::Signer => Reason::NamespaceAuthority,
        ChainError::Expired(..) if role != Role::Caller => Reason::Expired,
        ChainError::NotYetValid(..) if role != Role::Caller => Reason::NotYetValid,
        _ => untrusted,
    };
    let message = match role {
        Role::Caller => format!("the client certificate: {error}"),
        Role::Signer => format!("the signer: {error}"),
        Role::Gid => error.to_string(),
    };
    Refusal::new(step, reason, message)
}
