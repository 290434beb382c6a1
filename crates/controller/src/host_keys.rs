//! SSH host keys of nodes. They are made when a node is allocated and stay its own over restarts and reloads, so that
//! users are not taught to ignore changed keys. The private halves go to the store and to the node, nowhere else.

use ssh_key::{Algorithm, EcdsaCurve, LineEnding, PrivateKey};
use testyard_agent::desired::HostKey;
use testyard_guest_protocol::Secret;
use testyard_model::name::Hostname;

use crate::entropy::{Randomness, Rng};

/// One key of each kind that clients of today ask for.
pub(crate) fn generate(source: &dyn Randomness, comment: &Hostname) -> Result<Vec<HostKey>, ssh_key::Error> {
    let kinds =
        [("ed25519", Algorithm::Ed25519), ("ecdsa", Algorithm::Ecdsa { curve: EcdsaCurve::NistP256 })];
    kinds
        .into_iter()
        .map(|(name, algorithm)| {
            let mut key = PrivateKey::random(&mut Rng(source), algorithm)?;
            key.set_comment(comment.as_str());
            Ok(HostKey {
                algorithm: name.to_owned(),
                private: Secret(key.to_openssh(LineEnding::LF)?.to_string()),
                public: key.public_key().to_openssh()?,
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entropy::SeededRandomness;

    #[test]
    fn keys_are_whole_and_of_the_seed() {
        let name: Hostname = "pc-1".parse().unwrap();
        let keys = generate(&SeededRandomness::new(7), &name).unwrap();
        assert_eq!(keys, generate(&SeededRandomness::new(7), &name).unwrap());
        assert_ne!(keys, generate(&SeededRandomness::new(8), &name).unwrap());
        for (key, kind) in keys.iter().zip(["ssh-ed25519 ", "ecdsa-sha2-nistp256 "]) {
            assert!(key.public.starts_with(kind) && key.public.ends_with(" pc-1"), "{}", key.public);
            let private = PrivateKey::from_openssh(&key.private.0).unwrap();
            assert_eq!(private.public_key().to_openssh().unwrap(), key.public);
        }
    }
}
