//! Answers that keep no state: validators for R1 and R1bis (RFC 5533 §7.10.1, §7.17.1).
//!
//! A validator is a keyed hash over what the initiator will have to repeat. The Responder Nonce is a
//! counter of time, so its age shows without a record of it; the key behind it changes now and then,
//! and the one before stays valid for as long as a validator lives.

use std::net::Ipv6Addr;
use std::time::Duration;

use rand_chacha::ChaCha20Rng;
use rand_core::RngCore;
use ring::hmac;
use shim6_wire::{ContextTag, Fii, ResponderNonce, Validator};

use crate::pair::UlidPair;
use crate::time::Instant;

/// How long one value of the nonce counter lasts.
const NONCE_PERIOD: Duration = Duration::from_secs(5);

/// Nonce periods under one secret: five minutes.
///
//= https://www.rfc-editor.org/rfc/rfc5533#section-16.2
//= id=S-171
//# it is recommended that the host change the secret S periodically.
const SECRET_PERIODS: u32 = 60;

/// What an I1 fixes, and its I2 has to repeat.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Initiation {
    pub(crate) initiator_tag: ContextTag,
    /// As this host sees them: `local` is ours.
    pub(crate) ulids: UlidPair,
    pub(crate) source: Ipv6Addr,
    pub(crate) destination: Ipv6Addr,
    pub(crate) fii: Fii,
}

/// What a packet with an unknown tag fixes, and the I2bis has to repeat.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LostContext {
    pub(crate) packet_tag: ContextTag,
    pub(crate) source: Ipv6Addr,
    pub(crate) destination: Ipv6Addr,
}

#[derive(Debug)]
pub(crate) struct Responder {
    /// Random, so that nonces tell nothing about this host's uptime.
    offset: u32,
    /// The same for the times in validators.
    clock_offset: u64,
    lifetime_periods: u32,
    current: Secret,
    previous: Option<Secret>,
}

#[derive(Debug)]
struct Secret {
    key: hmac::Key,
    /// The first nonce it serves.
    since: u32,
}

impl Secret {
    fn new(since: u32, rng: &mut ChaCha20Rng) -> Self {
        let mut octets = [0; 32];
        rng.fill_bytes(&mut octets);
        Self {
            key: hmac::Key::new(hmac::HMAC_SHA256, &octets),
            since,
        }
    }
}

impl Responder {
    pub(crate) fn new(validator_min_lifetime: Duration, rng: &mut ChaCha20Rng) -> Self {
        let offset = rng.next_u32();
        let lifetime_periods = validator_min_lifetime
            .as_secs()
            .div_ceil(NONCE_PERIOD.as_secs());
        Self {
            offset,
            clock_offset: rng.next_u64(),
            lifetime_periods: u32::try_from(lifetime_periods).unwrap_or(u32::MAX),
            current: Secret::new(offset, rng),
            previous: None,
        }
    }

    /// The nonce of this moment; changes the secret when that is due.
    pub(crate) fn nonce(&mut self, now: Instant, rng: &mut ChaCha20Rng) -> ResponderNonce {
        let nonce = self.counter(now);
        if nonce.wrapping_sub(self.current.since) >= SECRET_PERIODS {
            let retired = std::mem::replace(&mut self.current, Secret::new(nonce, rng));
            self.previous = Some(retired);
        }
        ResponderNonce(nonce)
    }

    fn counter(&self, now: Instant) -> u32 {
        let periods = now.as_micros() / (NONCE_PERIOD.as_secs() * 1_000_000);
        self.offset.wrapping_add(periods as u32)
    }

    //= https://www.rfc-editor.org/rfc/rfc5533#section-7.13
    //= id=S-094,S-123
    //# nonces that are no older than VALIDATOR_MIN_LIFETIME SHOULD be
    //# considered recent
    fn key_for(&self, nonce: ResponderNonce, now: Instant) -> Option<&hmac::Key> {
        let age = self.counter(now).wrapping_sub(nonce.0);
        // One period more: a nonce handed out at the end of its period is not yet old.
        if age > self.lifetime_periods + 1 {
            return None;
        }
        let since_current = nonce.0.wrapping_sub(self.current.since);
        if since_current < u32::MAX / 2 {
            return Some(&self.current.key);
        }
        self.previous.as_ref().map(|secret| &secret.key)
    }

    /// The validator of R1.
    //= https://www.rfc-editor.org/rfc/rfc5533#section-7.10.1
    //= id=S-083
    //# Second, it uses the following information (concatenated) as input to
    //# the one-way function:
    pub(crate) fn r1(
        &self,
        nonce: ResponderNonce,
        initiation: &Initiation,
        now: Instant,
    ) -> Validator {
        self.validator(r1_input(nonce, initiation), now)
    }

    /// If `validator` is what an R1 of ours carried, and young enough: how long ago that was, which is
    /// a round trip.
    pub(crate) fn accepts_i2(
        &self,
        nonce: ResponderNonce,
        validator: &Validator,
        initiation: &Initiation,
        now: Instant,
    ) -> Option<Duration> {
        self.accepts(nonce, validator, r1_input(nonce, initiation), now)
    }

    /// The validator of R1bis.
    pub(crate) fn r1bis(
        &self,
        nonce: ResponderNonce,
        lost: &LostContext,
        now: Instant,
    ) -> Validator {
        self.validator(r1bis_input(nonce, lost), now)
    }

    /// The same as [`Self::accepts_i2`] for R1bis and I2bis.
    pub(crate) fn accepts_i2bis(
        &self,
        nonce: ResponderNonce,
        validator: &Validator,
        lost: &LostContext,
        now: Instant,
    ) -> Option<Duration> {
        self.accepts(nonce, validator, r1bis_input(nonce, lost), now)
    }

    /// The time of making it, and the keyed hash over that and `input`.
    fn validator(&self, mut input: Vec<u8>, now: Instant) -> Validator {
        let made_at = now
            .as_micros()
            .wrapping_add(self.clock_offset)
            .to_be_bytes();
        input.extend(made_at);
        let mut octets = made_at.to_vec();
        octets.extend(hmac::sign(&self.current.key, &input).as_ref());
        Validator(octets)
    }

    fn accepts(
        &self,
        nonce: ResponderNonce,
        validator: &Validator,
        mut input: Vec<u8>,
        now: Instant,
    ) -> Option<Duration> {
        let (made_at, hash) = validator.0.split_first_chunk::<8>()?;
        input.extend(made_at);
        // Compared in constant time.
        hmac::verify(self.key_for(nonce, now)?, &input, hash).ok()?;
        let made_at = u64::from_be_bytes(*made_at).wrapping_sub(self.clock_offset);
        Some(now.since(Instant::from_micros(made_at)))
    }
}

/// First octet of the hash input: a validator of one message is none for the other.
const R1: u8 = 1;
const R1BIS: u8 = 2;

fn r1_input(nonce: ResponderNonce, initiation: &Initiation) -> Vec<u8> {
    let mut input = vec![R1];
    input.extend(nonce.0.to_be_bytes());
    input.extend(initiation.initiator_tag.bits().to_be_bytes());
    input.extend(initiation.ulids.local.octets());
    input.extend(initiation.ulids.peer.octets());
    input.extend(initiation.source.octets());
    input.extend(initiation.destination.octets());
    input.extend(initiation.fii.0.to_be_bytes());
    input
}

fn r1bis_input(nonce: ResponderNonce, lost: &LostContext) -> Vec<u8> {
    let mut input = vec![R1BIS];
    input.extend(nonce.0.to_be_bytes());
    input.extend(lost.packet_tag.bits().to_be_bytes());
    input.extend(lost.source.octets());
    input.extend(lost.destination.octets());
    input
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand_core::SeedableRng;

    fn initiation() -> Initiation {
        Initiation {
            initiator_tag: ContextTag::from_bits(7),
            ulids: UlidPair {
                local: Ipv6Addr::LOCALHOST,
                peer: Ipv6Addr::UNSPECIFIED,
            },
            source: Ipv6Addr::UNSPECIFIED,
            destination: Ipv6Addr::LOCALHOST,
            fii: Fii::DEFAULT,
        }
    }

    //= https://www.rfc-editor.org/rfc/rfc5533#section-7.13
    //= type=test
    //= id=S-094,S-095,S-123
    //# nonces that are no older than VALIDATOR_MIN_LIFETIME SHOULD be
    //# considered recent
    #[test]
    fn a_validator_lives_for_its_lifetime_across_a_change_of_secret_and_then_dies() {
        let mut rng = ChaCha20Rng::from_seed([1; 32]);
        let mut responder = Responder::new(Duration::from_secs(30), &mut rng);
        let mut now = Instant::from_micros(1);
        for _ in 0..100 {
            let nonce = responder.nonce(now, &mut rng);
            let validator = responder.r1(nonce, &initiation(), now);
            let later = now + Duration::from_secs(30);
            responder.nonce(later, &mut rng);
            let age = responder.accepts_i2(nonce, &validator, &initiation(), later);
            assert_eq!(age, Some(Duration::from_secs(30)));
            let too_late = now + Duration::from_secs(45);
            let age = responder.accepts_i2(nonce, &validator, &initiation(), too_late);
            assert_eq!(age, None);
            now = later;
        }
    }

    //= https://www.rfc-editor.org/rfc/rfc5533#section-16.2
    //= type=test
    //= id=S-171
    //# it is recommended that the host change the secret S periodically.
    #[test]
    fn the_secret_changes_every_five_minutes() {
        let mut rng = ChaCha20Rng::from_seed([3; 32]);
        let mut responder = Responder::new(Duration::from_secs(30), &mut rng);
        let now = Instant::from_micros(1);
        let nonce = responder.nonce(now, &mut rng);
        let first = responder.r1(nonce, &initiation(), now);
        responder.nonce(now + Duration::from_secs(290), &mut rng);
        assert_eq!(responder.r1(nonce, &initiation(), now), first);
        responder.nonce(now + Duration::from_secs(300), &mut rng);
        assert_ne!(responder.r1(nonce, &initiation(), now), first);
    }

    //= https://www.rfc-editor.org/rfc/rfc5533#section-7.10.1
    //= type=test
    //= id=S-083
    //# Second, it uses the following information (concatenated) as input to
    //# the one-way function:
    #[test]
    fn a_validator_covers_tag_ulids_locators_and_instance() {
        let mut rng = ChaCha20Rng::from_seed([2; 32]);
        let mut responder = Responder::new(Duration::from_secs(30), &mut rng);
        let now = Instant::from_micros(1);
        let nonce = responder.nonce(now, &mut rng);
        let validator = responder.r1(nonce, &initiation(), now);
        let other: Ipv6Addr = "2001:db8::1".parse().unwrap();
        let forgeries = [
            Initiation {
                initiator_tag: ContextTag::from_bits(8),
                ..initiation()
            },
            Initiation {
                ulids: UlidPair {
                    local: other,
                    ..initiation().ulids
                },
                ..initiation()
            },
            Initiation {
                ulids: UlidPair {
                    peer: other,
                    ..initiation().ulids
                },
                ..initiation()
            },
            Initiation {
                source: other,
                ..initiation()
            },
            Initiation {
                destination: other,
                ..initiation()
            },
            Initiation {
                fii: Fii(1),
                ..initiation()
            },
        ];
        let age = responder.accepts_i2(nonce, &validator, &initiation(), now);
        assert_eq!(age, Some(Duration::ZERO));
        for forged in forgeries {
            let age = responder.accepts_i2(nonce, &validator, &forged, now);
            assert_eq!(age, None, "{forged:?}");
        }
    }
}
