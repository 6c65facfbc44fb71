//! Whose addresses are formed on an interface: their key and their Sec value.
//!
//! Decides which of both an interface has: those of the first rule that its name matches, for the rest
//! those of the host. A key of the state directory is made when it is first needed; one that lies
//! elsewhere is managed by somebody else, and has to be there.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rand_chacha::ChaCha20Rng;
use serde::Deserialize;
use shim6_cga::{Modifier, Search, SigningKey};

use super::store::{KEY_FILE, Store};
use super::{HostConfig, HostError, child, matches};

/// One `[[interface]]` of the configuration: what the addresses on some interfaces are formed with.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct InterfaceRule {
    /// The interface; `eth*` stands for all that begin so. The first rule that matches holds.
    pub(crate) name: String,
    /// A file of the state directory (`isp-a.pem`), made if it is not there, or the absolute path of one
    /// that is. The host's `key.pem` if absent.
    pub(crate) key: Option<PathBuf>,
    /// Security parameter, 0 to 2 (RFC 3972 §2). The host's if absent.
    pub(crate) sec: Option<u8>,
}

impl InterfaceRule {
    fn key_file(&self) -> &Path {
        self.key.as_deref().unwrap_or(Path::new(KEY_FILE))
    }
}

/// What an address is formed with, besides its prefix (RFC 3972 §4).
#[derive(Clone)]
pub(super) struct Owner {
    /// The key pair of the address owner.
    pub(super) key: Arc<SigningKey>,
    /// Security parameter of new addresses, 0 to 2 (RFC 3972 §2).
    pub(super) sec: u8,
}

/// The owners of this host's addresses.
pub(super) struct Owners {
    /// On interfaces that no rule is about.
    host: Owner,
    /// With the interfaces that they are for.
    rules: Vec<(String, Owner)>,
}

impl Owners {
    /// Reads all keys, and makes those that the state directory lacks.
    ///
    /// # Errors
    ///
    /// [`HostError::NoSuchKey`] and [`HostError::KeyUnreadable`], before any key was made;
    /// [`HostError::Store`] if one cannot be kept, [`HostError::Cga`] for a length or Sec value that cannot be.
    pub(super) async fn load(
        config: &HostConfig,
        store: &Store,
        rng: &mut ChaCha20Rng,
    ) -> Result<Self, HostError> {
        let files = config.rules.iter().map(InterfaceRule::key_file);
        let mut found = BTreeMap::new();
        for file in std::iter::once(Path::new(KEY_FILE)).chain(files) {
            let key = store.key(file)?;
            if key.is_none() && file.is_absolute() {
                return Err(HostError::NoSuchKey(file.to_owned()));
            }
            found.insert(file, key);
        }
        let mut keys = BTreeMap::new();
        for (file, key) in found {
            let key = match key {
                Some(key) => key,
                None => make_key(store, file, config.key_bits, child(rng)).await?,
            };
            keys.insert(file, Arc::new(key));
        }
        let owner = |file, sec| {
            let key: &Arc<SigningKey> = &keys[file];
            // Refuses a Sec value without a generation procedure before any address is touched.
            Search::new(key.public_key(), &[], sec, Modifier::default())?;
            let key = Arc::clone(key);
            Ok::<_, HostError>(Owner { key, sec })
        };
        let rules = config.rules.iter().map(|rule| {
            let sec = rule.sec.unwrap_or(config.sec);
            Ok((rule.name.clone(), owner(rule.key_file(), sec)?))
        });
        Ok(Self {
            rules: rules.collect::<Result<_, HostError>>()?,
            host: owner(Path::new(KEY_FILE), config.sec)?,
        })
    }

    /// Whose the addresses on the interface with this name are.
    pub(super) fn of(&self, interface: &str) -> &Owner {
        let rule = self.rules.iter().find(|(name, _)| matches(name, interface));
        rule.map_or(&self.host, |(_, owner)| owner)
    }

    /// The keys of all; that of the host first.
    pub(super) fn keys(&self) -> Vec<Arc<SigningKey>> {
        let owners = std::iter::once(&self.host).chain(self.rules.iter().map(|(_, owner)| owner));
        owners.map(|owner| Arc::clone(&owner.key)).collect()
    }
}

/// Makes a key of `bits` and keeps it in `file` of the state directory.
async fn make_key(
    store: &Store,
    file: &Path,
    bits: usize,
    mut rng: ChaCha20Rng,
) -> Result<SigningKey, HostError> {
    let made = tokio::task::spawn_blocking(move || SigningKey::generate(bits, &mut rng)).await;
    let key =
        made.map_err(|error| HostError::netlink("making a key", std::io::Error::other(error)))??;
    store.save_key(file, &key)?;
    tracing::info!(bits, file = %file.display(), "key made");
    Ok(key)
}
