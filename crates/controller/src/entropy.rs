//! Randomness, as an argument: identifiers and host keys are made of it.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use sha2::{Digest, Sha256};
use ssh_key::rand_core::{CryptoRng, OsRng, RngCore};
use uuid::Uuid;

/// A source of random bytes.
pub trait Randomness: Send + Sync + 'static {
    /// Fills the slice.
    fn fill(&self, bytes: &mut [u8]);
}

/// The operating system's.
#[derive(Clone, Copy, Debug, Default)]
pub struct OsRandomness;

impl Randomness for OsRandomness {
    fn fill(&self, bytes: &mut [u8]) {
        OsRng.fill_bytes(bytes);
    }
}

/// The same bytes for the same seed, for tests. Never use it where keys matter.
#[derive(Debug)]
pub struct SeededRandomness {
    seed: u64,
    block: AtomicU64,
    rest: Mutex<Vec<u8>>,
}

impl SeededRandomness {
    /// The bytes of this seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self { seed, block: AtomicU64::new(0), rest: Mutex::new(Vec::new()) }
    }
}

impl Randomness for SeededRandomness {
    fn fill(&self, bytes: &mut [u8]) {
        let mut rest = self.rest.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        for byte in bytes {
            if rest.is_empty() {
                let block = self.block.fetch_add(1, Ordering::SeqCst);
                let digest =
                    Sha256::new().chain_update(self.seed.to_be_bytes()).chain_update(block.to_be_bytes());
                rest.extend_from_slice(&digest.finalize());
            }
            *byte = rest.pop().unwrap_or_default();
        }
    }
}

/// A random identifier.
pub(crate) fn uuid(source: &dyn Randomness) -> Uuid {
    let mut bytes = [0; 16];
    source.fill(&mut bytes);
    uuid::Builder::from_random_bytes(bytes).into_uuid()
}

/// The source as the key generators want it.
pub(crate) struct Rng<'a>(pub(crate) &'a dyn Randomness);

impl RngCore for Rng<'_> {
    fn next_u32(&mut self) -> u32 {
        let mut bytes = [0; 4];
        self.0.fill(&mut bytes);
        u32::from_le_bytes(bytes)
    }

    fn next_u64(&mut self) -> u64 {
        let mut bytes = [0; 8];
        self.0.fill(&mut bytes);
        u64::from_le_bytes(bytes)
    }

    fn fill_bytes(&mut self, bytes: &mut [u8]) {
        self.0.fill(bytes);
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), ssh_key::rand_core::Error> {
        self.0.fill(bytes);
        Ok(())
    }
}

impl CryptoRng for Rng<'_> {}
