//! Whose addresses are formed on an interface: how they are proven, their key and their Sec value.
//!
//! Decides which of these an interface has: those of the first rule that its name matches, for the rest
//! those of the host. A key of the state directory is made when it is first needed, so a host whose
//! interfaces all have sets on a nonce has none; one that lies elsewhere is managed by somebody else, and
//! has to be there.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rand_chacha::ChaCha20Rng;
use serde::Deserialize;
use shim6_cga::{Kind, Modifier, Pds, Search, SigningKey};

use super::store::{KEY_FILE, Store};
use super::{HostConfig, HostError, child, matches};

/// What kind of addresses is formed, by its name in the configuration.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum AddressKind {
    /// One CGA for each prefix (RFC 3972).
    #[default]
    Cga,
    /// One HBA set over all prefixes, on a random nonce in place of a key (RFC 5535 §6).
    Hba,
    /// One HBA set over all prefixes, with a key that can sign for what is not in it (RFC 5535 §8.1).
    CgaHba,
}

/// One `[[interface]]` of the configuration: what the addresses on some interfaces are formed with.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct InterfaceRule {
    /// The interface; `eth*` stands for all that begin so. The first rule that matches holds.
    pub(crate) name: String,
    /// How the addresses are proven.
    #[serde(default)]
    pub(crate) kind: AddressKind,
    /// A file of the state directory (`isp-a.pem`), made if it is not there, or the absolute path of one
    /// that is. The host's `key.pem` if absent.
    pub(crate) key: Option<PathBuf>,
    /// Security parameter, 0 to 2 (RFC 3972 §2). The host's if absent.
    pub(crate) sec: Option<u8>,
}

impl InterfaceRule {
    /// The file of the key that addresses are formed with; `None` if they have none.
    fn key_file(&self) -> Option<&Path> {
        match self.kind {
            AddressKind::Cga | AddressKind::CgaHba => {
                Some(self.key.as_deref().unwrap_or(Path::new(KEY_FILE)))
            }
            AddressKind::Hba => None,
        }
    }
}

/// How addresses are proven to be their owner's.
#[derive(Clone)]
pub(super) enum Proof {
    /// By signatures of this key.
    Cga(Arc<SigningKey>),
    /// By being in one set.
    Hba,
    /// Either way.
    CgaHba(Arc<SigningKey>),
}

/// What addresses are formed with, besides their prefixes (RFC 3972 §4, RFC 5535 §6).
#[derive(Clone)]
pub(super) struct Owner {
    /// How they are proven.
    pub(super) proof: Proof,
    /// Security parameter of new addresses, 0 to 2 (RFC 3972 §2).
    pub(super) sec: u8,
}

impl Owner {
    /// The key pair of the address owner; `None` where a nonce stands for it.
    pub(super) fn key(&self) -> Option<&Arc<SigningKey>> {
        match &self.proof {
            Proof::Cga(key) | Proof::CgaHba(key) => Some(key),
            Proof::Hba => None,
        }
    }

    /// Whether `pds` could be from this owner: of its kind, with its key.
    pub(super) fn can_have_formed(&self, pds: &Pds) -> bool {
        let is_its_kind = match self.proof {
            Proof::Cga(_) => pds.kind() == Kind::Cga,
            Proof::Hba => pds.kind() == Kind::Hba,
            Proof::CgaHba(_) => pds.kind() == Kind::CgaCompatibleHba,
        };
        let is_its_key = |key: &Arc<SigningKey>| key.public_key() == pds.public_key();
        is_its_kind && self.key().is_none_or(is_its_key)
    }

    /// Whether the addresses of both are formed together, into one set.
    fn shares_a_set_with(&self, other: &Self) -> bool {
        let same_key = match (&self.proof, &other.proof) {
            (Proof::Hba, Proof::Hba) => true,
            (Proof::CgaHba(key), Proof::CgaHba(other)) => key.public_key() == other.public_key(),
            (Proof::Cga(_) | Proof::Hba | Proof::CgaHba(_), _) => false,
        };
        same_key && self.sec == other.sec
    }
}

/// Tells one set that is formed from the others.
pub(super) type SetNumber = usize;

/// The owners of this host's addresses.
pub(super) struct Owners {
    /// On interfaces that no rule is about; `None` if none of these is used.
    host: Option<Owner>,
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
        let is_covered = config.interfaces.is_covered_by(&config.rules);
        let host_file = (!is_covered).then_some(Path::new(KEY_FILE));
        let files = config.rules.iter().filter_map(InterfaceRule::key_file);
        let mut found = BTreeMap::new();
        for file in host_file.into_iter().chain(files) {
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
        let key = |file| {
            let key: &Arc<SigningKey> = &keys[file];
            Arc::clone(key)
        };
        let owner = |proof, sec| {
            // Refuses a Sec value without a generation procedure before any address is touched.
            Search::new(&[], &[], sec, Modifier::default())?;
            Ok::<_, HostError>(Owner { proof, sec })
        };
        let rules = config.rules.iter().map(|rule| {
            let proof = match (rule.kind, rule.key_file()) {
                (AddressKind::Cga, Some(file)) => Proof::Cga(key(file)),
                (AddressKind::CgaHba, Some(file)) => Proof::CgaHba(key(file)),
                (AddressKind::Hba, _) | (_, None) => Proof::Hba,
            };
            let sec = rule.sec.unwrap_or(config.sec);
            Ok((rule.name.clone(), owner(proof, sec)?))
        });
        Ok(Self {
            rules: rules.collect::<Result<_, HostError>>()?,
            host: host_file
                .map(|file| owner(Proof::Cga(key(file)), config.sec))
                .transpose()?,
        })
    }

    /// Whose the addresses on the interface with this name are; `None` if it is not used.
    pub(super) fn of(&self, interface: &str) -> Option<&Owner> {
        let rule = self.rules.iter().find(|(name, _)| matches(name, interface));
        rule.map(|(_, owner)| owner).or(self.host.as_ref())
    }

    /// Which set the addresses on the interface with this name are formed into: interfaces with the
    /// same kind, key and Sec value share one, whatever rules say so. `None` if into none.
    pub(super) fn set_of(&self, interface: &str) -> Option<SetNumber> {
        let owner = self.of(interface)?;
        let mut owners = self.rules.iter().map(|(_, owner)| owner);
        owners.position(|other| owner.shares_a_set_with(other))
    }

    /// The keys of all; that of the host first.
    pub(super) fn keys(&self) -> Vec<Arc<SigningKey>> {
        let rules = self.rules.iter().map(|(_, owner)| owner);
        let owners = self.host.iter().chain(rules);
        owners.filter_map(Owner::key).cloned().collect()
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
