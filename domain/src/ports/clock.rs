//! Time and chance, and the ids that are minted of both. It must never be handed to a core: cores take moments and bytes as
//! arguments.

use jiff::Timestamp;

use crate::ids::CallId;

/// The wall clock.
pub trait Clock: Send + Sync {
    fn now(&self) -> Timestamp;
}

/// The operating system's random source.
pub trait Entropy: Send + Sync {
    fn fill(&self, bytes: &mut [u8]);

    /// A uniform 32-bit number.
    fn dice(&self) -> u32 {
        let mut bytes = [0; 4];
        self.fill(&mut bytes);
        u32::from_le_bytes(bytes)
    }
}

/// Mints a call id.
pub fn mint_call_id(clock: &dyn Clock, entropy: &dyn Entropy) -> CallId {
    let mut random = [0; 10];
    entropy.fill(&mut random);
    CallId::from_parts(clock.now().as_millisecond().unsigned_abs(), random)
}
