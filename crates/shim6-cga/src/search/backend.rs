//! Which instructions hash the modifiers.

use std::fmt;

use super::message::Message;
use super::portable;
#[cfg(target_arch = "x86_64")]
use super::{avx2, avx512};

/// A way to hash modifiers, as wide as the processor allows.
///
/// All give the same results, at different rates. Holding one proves that this processor can run
/// it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backend(Instructions);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Instructions {
    Portable,
    #[cfg(target_arch = "x86_64")]
    Avx2,
    #[cfg(target_arch = "x86_64")]
    Avx512,
}

impl Backend {
    /// The backends that this processor can run, the slowest first; there is always one.
    pub fn available() -> Vec<Self> {
        let mut backends = vec![Self(Instructions::Portable)];
        #[cfg(target_arch = "x86_64")]
        {
            if is_x86_feature_detected!("avx2") {
                backends.push(Self(Instructions::Avx2));
            }
            if is_x86_feature_detected!("avx512f") {
                backends.push(Self(Instructions::Avx512));
            }
        }
        backends
    }

    /// The fastest of them.
    pub fn best() -> Self {
        *Self::available()
            .last()
            .unwrap_or(&Self(Instructions::Portable))
    }

    /// How many modifiers it hashes side by side.
    pub fn lanes(self) -> usize {
        match self.0 {
            Instructions::Portable => portable::LANES,
            #[cfg(target_arch = "x86_64")]
            Instructions::Avx2 => avx2::LANES,
            #[cfg(target_arch = "x86_64")]
            Instructions::Avx512 => avx512::LANES,
        }
    }

    /// Runs the `scan` of [`super::kernel`].
    #[allow(
        unsafe_code,
        reason = "a function compiled for some processors must not run on others, which only a \
                  check at run time can tell"
    )]
    pub(super) fn scan(
        self,
        message: &Message,
        head: [u32; 3],
        low: u32,
        count: u64,
    ) -> Option<u64> {
        match self.0 {
            Instructions::Portable => portable::scan(message, head, low, count),
            // SAFETY: `available` has found AVX2, and makes the only values with `Avx2`.
            #[cfg(target_arch = "x86_64")]
            Instructions::Avx2 => unsafe { avx2::scan(message, head, low, count) },
            // SAFETY: `available` has found AVX-512F, and makes the only values with `Avx512`.
            #[cfg(target_arch = "x86_64")]
            Instructions::Avx512 => unsafe { avx512::scan(message, head, low, count) },
        }
    }
}

impl fmt::Display for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            Instructions::Portable => "portable",
            #[cfg(target_arch = "x86_64")]
            Instructions::Avx2 => "avx2",
            #[cfg(target_arch = "x86_64")]
            Instructions::Avx512 => "avx512",
        })
    }
}
