//! Why a call is refused, in words that programs and people can use.

use std::fmt;

use serde::Serialize;

macro_rules! words {
    ($(#[$doc:meta])* $type:ident { $($(#[$variant_doc:meta])* $variant:ident = $word:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
        pub enum $type {
            $($(#[$variant_doc])* #[serde(rename = $word)] $variant,)*
        }

        impl $type {
            /// All of them, in order.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// The word for it.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word,)* }
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}

words! {
    /// Why: the words of the credential corpus.
    Reason {
        /// A signature is missing, does not verify, or does not cover what is used.
        Signature = "signature",
        /// Signature, digest or key algorithm, or key size, that must not be accepted.
        Algorithm = "algorithm",
        /// The Reference is not exactly one `#id` of a credential of the chain.
        Reference = "reference",
        /// A transform that must not be accepted.
        Transform = "transform",
        /// The signer does not chain to a trust root.
        UntrustedSigner = "untrusted_signer",
        /// The caller's certificate does not chain to a trust root.
        UntrustedCaller = "untrusted_caller",
        /// A GID is unreadable, has no usable URN or no valid chain.
        BadGid = "bad_gid",
        /// A signer or issuer is no authority over the name it vouches for.
        NamespaceAuthority = "namespace_authority",
        /// A credential or certificate is past its time.
        Expired = "expired",
        /// A certificate is not valid yet.
        NotYetValid = "not_yet_valid",
        /// The credential belongs to somebody else.
        OwnerMismatch = "owner_mismatch",
        /// The credential is about something else.
        TargetMismatch = "target_mismatch",
        /// The privileges do not allow the operation.
        Privilege = "privilege",
        /// A rule of delegation is broken.
        Delegation = "delegation",
        /// Not a privilege credential.
        Type = "type",
        /// Not the document that a signed credential must be.
        Shape = "shape",
        /// DTD, entities, encoding or ill-formed XML.
        UnsafeXml = "unsafe_xml",
        /// Too deep, too large or too many.
        Limit = "limit",
        /// The speaks-for statement does not hold.
        SpeaksFor = "speaks_for",
        /// There is nothing to judge.
        NoCredential = "no_credential",
    }
}

words! {
    /// The step that decided, in the order in which they are taken.
    Step {
        /// The certificates of the TLS client.
        Caller = "caller",
        /// The statement that lets a tool speak for a user.
        SpeaksFor = "speaks_for",
        /// Whether there is a credential at all.
        Presence = "presence",
        /// Size of the credential.
        Size = "size",
        /// Reading it as XML.
        Xml = "xml",
        /// Its elements and ids.
        Shape = "shape",
        /// Its type.
        Type = "type",
        /// What the signatures say that they cover, and how.
        Reference = "reference",
        /// Whether the signatures hold.
        Signature = "signature",
        /// The signers' certificates.
        Signer = "signer",
        /// The certificates of owner and target.
        Gid = "gid",
        /// Whether the caller is the owner.
        Owner = "owner",
        /// Whether the slice is the target.
        Target = "target",
        /// The credential's own time.
        Expiry = "expiry",
        /// The rules between a credential and its parent.
        Delegation = "delegation",
        /// Whether the first signer is an authority over the target.
        Authority = "authority",
        /// Whether the privileges allow the operation.
        Privilege = "privilege",
    }
}

/// A call is not allowed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, thiserror::Error)]
#[error("{message}")]
pub struct Refusal {
    /// Why, as a word.
    pub reason: Reason,
    /// The step that decided.
    pub step: Step,
    /// Which of the call's credentials, from 0; `None` if it was none of them. With several credentials it is the one
    /// that came furthest.
    pub credential: Option<usize>,
    /// Why, as a sentence for the caller. It holds names out of certificates, never parts of a credential.
    pub message: String,
}

impl Refusal {
    pub(crate) fn new(step: Step, reason: Reason, message: impl Into<String>) -> Self {
        Self { reason, step, credential: None, message: message.into() }
    }

    /// The same about one of several credentials.
    pub(crate) fn about(mut self, index: usize) -> Self {
        self.credential = Some(index);
        self.message = format!("credential {}: {}", index + 1, self.message);
        self
    }
}
