//! The codes of the AM API (am-api.md §1.2).

use std::fmt;

macro_rules! codes {
    ($($(#[$doc:meta])* $variant:ident = $number:literal $name:literal,)*) => {
        /// What became of a call. Codes below 0 are the transport's and are not among these.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum GeniCode {
            $($(#[$doc])* $variant,)*
        }

        impl GeniCode {
            /// Every code.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// The number on the wire.
            #[must_use]
            pub const fn number(self) -> i32 {
                match self {
                    $(Self::$variant => $number,)*
                }
            }

            /// The name in the specification.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                }
            }

            /// The code of a number, if it is one of the specification's.
            #[must_use]
            pub const fn from_number(number: i64) -> Option<Self> {
                match number {
                    $($number => Some(Self::$variant),)*
                    _ => None,
                }
            }
        }
    };
}

codes! {
    /// Done.
    Success = 0 "SUCCESS",
    /// A missing or ill-formed argument or option.
    BadArgs = 1 "BADARGS",
    /// Unspecified.
    Error = 2 "ERROR",
    /// The credentials do not allow this, or the slice was shut down.
    Forbidden = 3 "FORBIDDEN",
    /// An RSpec type or version that is not supported.
    BadVersion = 4 "BADVERSION",
    /// An error of the server's own.
    ServerError = 5 "SERVERERROR",
    /// Not enough resources.
    TooBig = 6 "TOOBIG",
    /// Refused by policy or state.
    Refused = 7 "REFUSED",
    /// Took too long.
    TimedOut = 8 "TIMEDOUT",
    /// The server's store failed.
    DbError = 9 "DBERROR",
    /// A remote call of the server's own failed.
    RpcError = 10 "RPCERROR",
    /// The server is closed for now.
    Unavailable = 11 "UNAVAILABLE",
    /// No such slice or sliver here.
    SearchFailed = 12 "SEARCHFAILED",
    /// Not supported, or not in this state.
    Unsupported = 13 "UNSUPPORTED",
    /// Try again later.
    Busy = 14 "BUSY",
    /// The time of a slice, sliver or credential is over.
    Expired = 15 "EXPIRED",
    /// The same is being done already.
    InProgress = 16 "INPROGRESS",
    /// There is one already.
    AlreadyExists = 17 "ALREADYEXISTS",
    /// An argument is missing.
    MissingArgs = 18 "MISSINGARGS",
    /// A time outside what is allowed.
    OutOfRange = 19 "OUTOFRANGE",
    /// A credential is not valid.
    CredentialInvalid = 20 "CREDENTIAL_INVALID",
    /// A credential has expired.
    CredentialExpired = 21 "CREDENTIAL_EXPIRED",
    /// A credential is for another caller or slice.
    CredentialMismatch = 22 "CREDENTIAL_MISMATCH",
    /// The signer of a credential is not trusted.
    CredentialSignerUntrusted = 23 "CREDENTIAL_SIGNER_UNTRUSTED",
    /// No VLAN is left.
    VlanUnavailable = 24 "VLAN_UNAVAILABLE",
    /// Not enough bandwidth.
    InsufficientBandwidth = 25 "INSUFFICIENT_BANDWIDTH",
    /// Not enough nodes.
    InsufficientNodes = 26 "INSUFFICIENT_NODES",
}

impl fmt::Display for GeniCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.name(), self.number())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_the_specifications() {
        for (number, code) in (0..).zip(GeniCode::ALL) {
            assert_eq!(code.number(), number);
            assert_eq!(GeniCode::from_number(number.into()), Some(*code));
        }
        assert_eq!(GeniCode::from_number(27), None);
        assert_eq!(GeniCode::SearchFailed.to_string(), "SEARCHFAILED (12)");
    }
}
