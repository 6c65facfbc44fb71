//! Addresses that prove themselves, cheaply: fixed keys, Sec 0, a modifier that is the host's number.

use std::net::Ipv6Addr;
use std::sync::{Arc, OnceLock};

use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;
use shim6_cga::{
    MultiPrefix, Pds, SigningKey, SubnetPrefix, form_address, form_hba_set, random_nonce,
};
use shim6_core::LocalLocator;
use shim6_wire::Preference;

/// Keys that hosts share out among them: making one costs more than a simulated day.
const KEYS: usize = 4;

/// One of a few RSA keys of 1024 bits, the same in every run.
pub fn signing_key(index: usize) -> Arc<SigningKey> {
    static MADE: [OnceLock<Arc<SigningKey>>; KEYS] = [const { OnceLock::new() }; KEYS];
    let index = index % KEYS;
    let key = MADE[index].get_or_init(|| {
        let mut rng = ChaCha20Rng::seed_from_u64(index as u64);
        Arc::new(SigningKey::generate(1024, &mut rng).expect("1024 bits are allowed"))
    });
    Arc::clone(key)
}

/// Signs a locator list, as [`SigningKey::sign`] does.
pub fn sign(key: &SigningKey, generation: u32, cga_locators: &[Ipv6Addr]) -> Vec<u8> {
    // Blinding does not show in the result, so any randomness will do.
    key.sign(generation, cga_locators, &mut ChaCha20Rng::seed_from_u64(0))
}

/// The /64 that provider number `provider` gave to host number `host`.
pub fn prefix(host: u16, provider: u16) -> SubnetPrefix {
    let ([h0, h1], [p0, p1]) = (host.to_be_bytes(), (provider + 1).to_be_bytes());
    [0x20, 0x01, 0x0d, 0xb8, p0, p1, h0, h1]
}

/// One CGA for each of `prefixes`, all of the key number `key`.
pub fn cga(host: u16, prefixes: &[SubnetPrefix], key: usize) -> Vec<LocalLocator> {
    let signing = signing_key(key);
    prefixes
        .iter()
        .map(|&prefix| {
            form_address(modifier(host), prefix, 0, signing.public_key(), &[], 0)
                .expect("Sec 0 and a sound key")
        })
        .map(|formed| locator(formed, Some(Arc::clone(&signing))))
        .collect()
}

/// The HBA set of `prefixes`: no key, so nothing to sign.
pub fn hba(host: u16, prefixes: &[SubnetPrefix]) -> Vec<LocalLocator> {
    static NONCE: OnceLock<Vec<u8>> = OnceLock::new();
    let nonce = NONCE.get_or_init(|| random_nonce(&mut ChaCha20Rng::seed_from_u64(99)));
    let set = MultiPrefix {
        has_public_key: false,
        prefixes: prefixes.to_vec(),
    };
    form_hba_set(modifier(host), &set, 0, nonce, 0)
        .expect("Sec 0 and a sound nonce")
        .into_iter()
        .map(|formed| locator(formed, None))
        .collect()
}

fn modifier(host: u16) -> [u8; 16] {
    u128::from(host).to_be_bytes()
}

fn locator((address, pds): (Ipv6Addr, Pds), key: Option<Arc<SigningKey>>) -> LocalLocator {
    LocalLocator {
        address,
        pds: Arc::new(pds),
        key,
        usable: true,
        preference: Preference::default(),
    }
}
