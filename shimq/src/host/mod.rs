//! The host's addresses and routes: the locators of shimq.
//!
//! Decides which of the host's addresses are locators, and configures what they need, over
//! rtnetlink:
//!
//! * [`form`]: one address for each global or unique local /64 prefix of the chosen interfaces;
//! * [`owner`]: of which kind and with which key, interface by interface;
//! * [`formed`]: what was formed, and which of it is for new connections;
//! * [`forgetting`]: and which of it is kept after the host has left a network;
//! * [`searches`]: modifiers, on other threads;
//! * [`advertised`]: these prefixes, where shimq forms addresses in place of the kernel;
//! * [`prefer`]: new outgoing connections choose it;
//! * [`routing`]: packets from it leave by its own interface's routers;
//! * [`anchor`]: a peer's ULID keeps a route, so that applications can go on sending to it;
//! * [`store`]: key and parameters, the same again after a restart;
//! * [`watch`]: what the kernel has, and news about it;
//! * [`held`]: addresses that went before their time, and stay ULIDs;
//! * [`local`]: the routes that say so to the kernel;
//! * [`keeper`]: the task in which all this happens, again and again;
//! * [`release`]: everything is taken back;
//! * [`status`]: what there is.
//!
//! Addresses and default routes of ours stay when the daemon stops, because connections live on
//! them; [`Host::stop`] removes what only serves new connections, [`release()`] removes everything.
//! All of it is marked with [`PROTOCOL`]. What locators are used for is up to `shim6_core`.

mod advertised;
mod anchor;
mod autoconf;
mod error;
mod forgetting;
mod form;
mod formed;
mod held;
mod keeper;
mod lifetime;
mod local;
mod netlink;
mod owner;
mod prefer;
mod prefixes;
mod release;
mod routes;
mod routing;
mod searches;
mod status;
mod store;
mod watch;

#[cfg(test)]
pub(crate) mod tests;

use std::collections::BTreeSet;
use std::net::Ipv6Addr;
use std::path::PathBuf;
use std::sync::Arc;

use rand_chacha::ChaCha20Rng;
use rand_core::{CryptoRngCore, SeedableRng};
use rustix::thread::{CapabilitySet, capabilities};
use shim6_cga::{Pds, SigningKey, SubnetPrefix};
use tokio::sync::{Mutex, mpsc, oneshot};
use tokio::task::JoinHandle;

use advertised::Advertised;
use anchor::Anchors;
use autoconf::Autoconf;
use form::Former;
use held::Held;
use keeper::{Keeper, Source};
use netlink::Kernel;
use owner::Owners;
use store::Store;
use watch::{Snapshot, Watch};

pub(crate) use error::HostError;
pub(crate) use owner::{AddressKind, InterfaceRule};
pub(crate) use release::{Removed, release};
pub(crate) use status::{LocatorStatus, status};

/// The number that `ip` shows as `proto` for what is ours: that of Shim6 among IP protocols.
const PROTOCOL: u8 = 140;

/// Where key and parameters are kept unless configured otherwise.
pub(crate) const DEFAULT_STATE_DIR: &str = "/var/lib/shimq";

/// Which interfaces shimq uses. Never the loopback interface.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct InterfaceChoice {
    /// Names; one that ends in `*` stands for all that begin so. If empty, all interfaces.
    pub(crate) allow: Vec<String>,
    /// Names in the same form. They win over `allow`.
    pub(crate) deny: Vec<String>,
}

impl InterfaceChoice {
    /// Whether the interface with this name is used.
    pub(crate) fn allows(&self, name: &str) -> bool {
        let listed = |patterns: &[String]| patterns.iter().any(|pattern| matches(pattern, name));
        (self.allow.is_empty() || listed(&self.allow)) && !listed(&self.deny)
    }

    /// Whether each interface that can be used has a rule.
    fn is_covered_by(&self, rules: &[InterfaceRule]) -> bool {
        let covered = |name: &str| rules.iter().any(|rule| matches(&rule.name, name));
        if self.allow.is_empty() {
            covered("*")
        } else {
            self.allow.iter().all(|name| covered(name))
        }
    }
}

/// Whether `pattern` can be the name of an interface, or the beginning of several with a `*` behind it.
pub(crate) fn is_interface_pattern(pattern: &str) -> bool {
    let stem = pattern.strip_suffix('*').unwrap_or(pattern);
    !pattern.is_empty() && !stem.contains(['*', '/'])
}

/// Whether `pattern`, of that form, stands for the interface `name`; for all that `name` stands for if
/// that is a pattern itself.
pub(crate) fn matches(pattern: &str, name: &str) -> bool {
    pattern
        .strip_suffix('*')
        .map_or(pattern == name, |beginning| name.starts_with(beginning))
}

/// Where locators come from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum AddressMode {
    /// shimq forms an address for each prefix.
    #[default]
    Form,
    /// shimq forms an address for each prefix that a router advertises; the kernel forms none meanwhile.
    FromAdvertisements,
    /// CGA or HBA addresses that are configured already, and whose parameters lie in the state
    /// directory as `ADDRESS.cga`, beside the keys of them all. They are read once, at the start.
    AsConfigured,
}

/// What to do about the host's addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct HostConfig {
    /// Which interfaces to use.
    pub(crate) interfaces: InterfaceChoice,
    /// Where locators come from.
    pub(crate) addresses: AddressMode,
    /// Security parameter of the addresses that are formed, 0 to 2: each step makes forming and
    /// forging an address 65 536 times as much work (RFC 3972 §2).
    pub(crate) sec: u8,
    /// Length of the RSA keys that are made at the first start, in bits, at least 1024.
    pub(crate) key_bits: usize,
    /// Kind, key and Sec value of the addresses that are formed on some interfaces; the first that
    /// matches holds.
    pub(crate) rules: Vec<InterfaceRule>,
    /// Where key and parameters are kept.
    pub(crate) state_dir: PathBuf,
}

impl Default for HostConfig {
    fn default() -> Self {
        Self {
            interfaces: InterfaceChoice::default(),
            addresses: AddressMode::default(),
            sec: 1,
            key_bits: 2048,
            rules: Vec::new(),
            state_dir: DEFAULT_STATE_DIR.into(),
        }
    }
}

/// An address of this host that it can prove to own.
#[derive(Clone, Debug)]
pub(crate) struct LocalLocator {
    /// The address.
    pub(crate) address: Ipv6Addr,
    /// Index of the interface that it is on.
    pub(crate) interface: u32,
    /// Name of that interface.
    pub(crate) interface_name: String,
    /// The parameters that it hashes (RFC 3972 §3).
    pub(crate) pds: Arc<Pds>,
    /// The key that signs for it; `None` for an HBA set without one, or if it is not this host's.
    pub(crate) key: Option<Arc<SigningKey>>,
    /// The link is up, the address there, unique, and not deprecated with its prefix.
    pub(crate) usable: bool,
}

impl PartialEq for LocalLocator {
    /// Address and parameters determine the key.
    fn eq(&self, other: &Self) -> bool {
        (
            self.address,
            self.interface,
            &self.interface_name,
            &self.pds,
            self.usable,
        ) == (
            other.address,
            other.interface,
            &other.interface_name,
            &other.pds,
            other.usable,
        )
    }
}

/// The locators after a change, or when something became doubtful: all of them, by interface index and address.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct LocatorsChanged {
    /// Usable or not.
    pub(crate) locators: Vec<LocalLocator>,
    /// Those whose way out of this host has become doubtful: a default route went, or its router does
    /// not answer. They may work all the same.
    pub(crate) doubtful: BTreeSet<Ipv6Addr>,
}

/// Takes care of the host's addresses until it is stopped.
pub(crate) struct Host {
    kernel: Kernel,
    store: Store,
    anchors: Arc<Mutex<Anchors>>,
    stop: oneshot::Sender<()>,
    keeper: JoinHandle<Result<(), HostError>>,
}

impl Host {
    /// Starts on the current tokio runtime. `rng` makes the key and the modifiers.
    ///
    /// The receiver gets the locators now and after each change; of several changes between two
    /// looks, the last. It ends when the kernel cannot be followed any more; [`Host::stop`] then
    /// says why. A host without any prefix yet is no error: prefixes may come.
    ///
    /// # Errors
    ///
    /// As [`HostError`] says, before anything was changed.
    pub(crate) async fn start(
        config: HostConfig,
        rng: &mut impl CryptoRngCore,
    ) -> Result<(Self, mpsc::Receiver<LocatorsChanged>), HostError> {
        check_ipv6()?;
        check_capability()?;
        let mut rng = child(rng);
        let kernel = Kernel::connect()?;
        let watch = Watch::start(kernel.clone()).await?;
        check_interfaces(&config, watch.snapshot())?;
        let store = Store::new(&config.state_dir);
        store.prepare()?;
        // A daemon that was killed could not.
        autoconf::restore(&store)?;
        let (source, keys) = match config.addresses {
            mode @ (AddressMode::Form | AddressMode::FromAdvertisements) => {
                let owners = Owners::load(&config, &store, &mut rng).await?;
                let keys = owners.keys();
                let advertised = (mode == AddressMode::FromAdvertisements)
                    .then(|| Advertised::new(Autoconf::new(store.clone())));
                let former = Former::new(kernel.clone(), store.clone(), owners, rng, advertised)?;
                (Source::Form(Box::new(former)), keys)
            }
            AddressMode::AsConfigured => {
                let parameters = store.configured()?;
                let shared = parameters
                    .into_iter()
                    .map(|(address, pds)| (address, Arc::new(pds)));
                (
                    Source::AsConfigured(shared.collect()),
                    store.keys()?.into_iter().map(Arc::new).collect(),
                )
            }
        };
        if prefixes::prefixes(watch.snapshot(), &config.interfaces, |_, _| false).is_empty() {
            tracing::warn!("{}", HostError::NoGlobalPrefix);
        }
        let anchors = Arc::new(Mutex::new(Anchors::start(kernel.clone()).await?));
        local::release(&kernel).await?;
        let (changes, receiver) = mpsc::channel(1);
        let keeper = Keeper {
            kernel: kernel.clone(),
            watch,
            choice: config.interfaces,
            source,
            keys,
            held: Held::default(),
            anchors: Arc::clone(&anchors),
            changes,
        };
        let (stop, stopped) = oneshot::channel();
        let keeper = tokio::spawn(keeper.run(stopped));
        Ok((
            Self {
                kernel,
                store,
                anchors,
                stop,
                keeper,
            },
            receiver,
        ))
    }

    /// Keeps a route to the peer's ULID while a context maps its packets; `mtu`, in octets, limits
    /// packets from `local` to `peer`, also below the IPv6 minimum of 1280. Set it anew to change it.
    pub(crate) async fn set_anchor(
        &self,
        local: Ipv6Addr,
        peer: Ipv6Addr,
        mtu: Option<u32>,
    ) -> Result<(), HostError> {
        self.anchors.lock().await.set(local, peer, mtu).await
    }

    /// Has sockets look for their routes again, once contexts have moved: see [`routing`].
    pub(crate) async fn have_sockets_look_again(&self) -> Result<(), HostError> {
        routing::have_sockets_look_again(&self.kernel).await
    }

    /// Removes what [`Host::set_anchor`] added, if anything.
    pub(crate) async fn remove_anchor(
        &self,
        local: Ipv6Addr,
        peer: Ipv6Addr,
    ) -> Result<(), HostError> {
        self.anchors.lock().await.remove(local, peer).await
    }

    /// Stops in order: new connections choose as they did before, and the kernel forms addresses
    /// again. Addresses and their default routes stay.
    ///
    /// # Errors
    ///
    /// What the task ended with, or what kept the labels from being removed.
    pub(crate) async fn stop(self) -> Result<(), HostError> {
        // If it is gone already, joining it says why.
        let _ = self.stop.send(());
        let ended = self.keeper.await.unwrap_or_else(|error| {
            Err(HostError::netlink(
                "following addresses",
                std::io::Error::other(error),
            ))
        });
        autoconf::restore(&self.store)?;
        prefer::release(&self.kernel).await?;
        anchor::release(&self.kernel).await?;
        local::release(&self.kernel).await?;
        ended
    }
}

/// Whether the kernel speaks IPv6.
fn check_ipv6() -> Result<(), HostError> {
    match std::fs::read_to_string("/proc/sys/net/ipv6/conf/all/disable_ipv6") {
        Ok(disabled) if disabled.trim() == "1" => Err(HostError::Ipv6Disabled),
        Ok(_) => Ok(()),
        Err(_) => Err(HostError::NoIpv6),
    }
}

fn check_capability() -> Result<(), HostError> {
    match capabilities(None) {
        Ok(sets) if sets.effective.contains(CapabilitySet::NET_ADMIN) => Ok(()),
        _ => Err(HostError::MissingCapability),
    }
}

/// Whether the interfaces that are allowed or have a rule by their full name are there.
fn check_interfaces(config: &HostConfig, snapshot: &Snapshot) -> Result<(), HostError> {
    let rules = config.rules.iter().map(|rule| &rule.name);
    let mut names = config.interfaces.allow.iter().chain(rules);
    let missing =
        names.find(|name| !name.ends_with('*') && snapshot.interface_named(name).is_none());
    missing.map_or(Ok(()), |name| Err(HostError::NoSuchInterface(name.clone())))
}

/// A generator that can move to another thread.
fn child(rng: &mut impl CryptoRngCore) -> ChaCha20Rng {
    let mut seed = <ChaCha20Rng as SeedableRng>::Seed::default();
    rng.fill_bytes(&mut seed);
    ChaCha20Rng::from_seed(seed)
}
