//! The task that keeps addresses, rules and labels what they should be.
//!
//! Decides when to look, and tells the daemon which locators there are. Each round compares what
//! should be with what is and changes the difference, so a restart, a lost notification and another
//! program's doing are all the same to it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv6Addr;
use std::sync::Arc;
use std::time::Duration;

use shim6_cga::{Kind, Pds, SigningKey};
use tokio::sync::{Mutex, mpsc, oneshot};
use tokio::time::{Instant, sleep_until};

use super::anchor::Anchors;
use super::form::Former;
use super::held::{Held, Valid};
use super::netlink::Kernel;
use super::routes::{DefaultRoute, MAIN_TABLE, default_routes, dump_table};
use super::watch::{InterfaceAddress, News, Watch};
use super::{HostError, InterfaceChoice, LocalLocator, LocatorsChanged, local, prefer, routing};

/// How long to wait after the kernel refused something.
const RETRY: Duration = Duration::from_secs(2);

/// Where the parameters of addresses come from.
pub(super) enum Source {
    /// shimq forms the addresses.
    Form(Box<Former>),
    /// The administrator configured them, and left their parameters.
    AsConfigured(BTreeMap<Ipv6Addr, Arc<Pds>>),
}

impl Source {
    fn parameters(&self, interface: &str, address: Ipv6Addr) -> Option<&Arc<Pds>> {
        match self {
            Self::Form(former) => former.parameters(interface, address),
            Self::AsConfigured(parameters) => parameters.get(&address),
        }
    }

    /// The address that new connections have in place of this one, if that was replaced.
    fn successor(&self, interface: &str, address: Ipv6Addr) -> Option<Ipv6Addr> {
        match self {
            Self::Form(former) => former.successor(interface, address),
            Self::AsConfigured(_) => None,
        }
    }

    /// When to look without news.
    fn due(&self) -> Option<Instant> {
        match self {
            Self::Form(former) => former.due().map(Instant::from_std),
            Self::AsConfigured(_) => None,
        }
    }

    /// Waits for an address to be found; for ever if none are formed.
    async fn found(&mut self) -> Result<(), HostError> {
        match self {
            Self::Form(former) => former.found().await,
            Self::AsConfigured(_) => std::future::pending().await,
        }
    }
}

/// Keeps the host's locators.
pub(super) struct Keeper {
    pub(super) kernel: Kernel,
    pub(super) watch: Watch,
    pub(super) choice: InterfaceChoice,
    pub(super) source: Source,
    /// Each locator has one of these, or none.
    pub(super) keys: Vec<Arc<SigningKey>>,
    pub(super) held: Held,
    pub(super) anchors: Arc<Mutex<Anchors>>,
    pub(super) changes: mpsc::Sender<LocatorsChanged>,
}

/// What the last round left behind.
#[derive(Default)]
struct Done {
    /// Locators as the daemon knows them, or will once it takes `unsent`.
    told: Option<Vec<LocalLocator>>,
    /// What the daemon has not taken yet.
    unsent: Option<LocatorsChanged>,
    /// Held addresses with a local route.
    local: BTreeSet<Ipv6Addr>,
    /// Locators that rules were made for.
    routed: Option<BTreeMap<Ipv6Addr, u32>>,
    /// Addresses that new connections choose.
    preferred: Option<BTreeSet<Ipv6Addr>>,
    /// What the last round failed with, so that it is said once.
    trouble: Option<String>,
}

impl Done {
    /// Has the daemon told of these locators, unless it knows all of it.
    fn tell(&mut self, locators: Vec<LocalLocator>, mut doubtful: BTreeSet<Ipv6Addr>) {
        if self.told.as_ref() == Some(&locators) && doubtful.is_empty() {
            return;
        }
        self.told = Some(locators.clone());
        if let Some(earlier) = self.unsent.take() {
            doubtful.extend(earlier.doubtful);
        }
        self.unsent = Some(LocatorsChanged { locators, doubtful });
    }

    /// What the daemon may know before routes are in order: that something can no longer be used.
    fn losses(&self, now: &[LocalLocator]) -> Option<Vec<LocalLocator>> {
        let still = |known: &LocalLocator| {
            let is_same = |locator: &&LocalLocator| locator.address == known.address;
            let locator = now.iter().find(is_same)?.clone();
            let usable = locator.usable && known.usable;
            Some(LocalLocator { usable, ..locator })
        };
        Some(self.told.as_ref()?.iter().filter_map(still).collect())
    }
}

impl Keeper {
    /// Works until `stop` says so or is dropped, or until the kernel cannot be followed any more.
    pub(super) async fn run(mut self, mut stop: oneshot::Receiver<()>) -> Result<(), HostError> {
        let mut done = Done::default();
        let mut news = News::default();
        let mut unformed = Ok(());
        loop {
            let round = match unformed {
                Ok(()) => self.round(&mut done, news).await,
                Err(_) => unformed,
            };
            unformed = Ok(());
            let retry = match round {
                Ok(()) => {
                    done.trouble = None;
                    None
                }
                Err(error) => {
                    // Whatever was half done is looked at again.
                    (done.routed, done.preferred) = (None, None);
                    let trouble = error.to_string();
                    if done.trouble.as_ref() != Some(&trouble) {
                        tracing::warn!("{trouble}");
                    }
                    done.trouble = Some(trouble);
                    Some(Instant::now() + RETRY)
                }
            };
            news = News::default();
            let held = self.held.due().map(Instant::from_std);
            let again = retry.into_iter().chain(self.source.due()).chain(held).min();
            tokio::select! {
                _ = &mut stop => return Ok(()),
                heard = self.watch.news() => news = heard?,
                found = self.source.found() => unformed = found,
                permit = self.changes.reserve(), if done.unsent.is_some() => {
                    if let (Ok(permit), Some(unsent)) = (permit, done.unsent.take()) {
                        permit.send(unsent);
                    }
                }
                () = sleep_until(again.unwrap_or_else(Instant::now)), if again.is_some() => {}
            }
        }
    }

    /// Changes what is not as it should be.
    async fn round(&mut self, done: &mut Done, news: News) -> Result<(), HostError> {
        // First: until then, what applications send may fail.
        if news.routes_lost || news.addresses {
            self.anchors.lock().await.look_again().await?;
        }
        let snapshot = self.watch.snapshot();
        if let Source::Form(former) = &mut self.source {
            former.handle_advertised(&news, snapshot, &self.choice);
            for &duplicate in &news.duplicates {
                former.handle_duplicate(snapshot, duplicate).await?;
            }
            former.maintain(snapshot, &self.choice).await?;
        }
        let present = self.present();
        let routed = present
            .iter()
            .map(|(locator, _)| (locator.address, locator.interface))
            .collect();
        let locators = self
            .held
            .join(present, std::time::Instant::now(), |locator| {
                self.source
                    .parameters(&locator.interface_name, locator.address)
                    .is_some()
            });
        if let Some(known) = done.losses(&locators) {
            done.tell(known, BTreeSet::new());
            self.send(done);
        }
        let arranged = self.arrange(done, &news, routed, &locators).await;
        // Peers hear of a locator when packets from it find their way, as far as that can be had.
        let doubtful = self.doubtful(&news, &locators).await?;
        done.tell(locators, doubtful);
        self.send(done);
        arranged
    }

    /// Makes rules, routes and labels what the locators need; those that are `routed` are there.
    async fn arrange(
        &mut self,
        done: &mut Done,
        news: &News,
        routed: BTreeMap<Ipv6Addr, u32>,
        locators: &[LocalLocator],
    ) -> Result<(), HostError> {
        let addresses = locators.iter().map(|locator| locator.address);
        let held = addresses.filter(|address| !routed.contains_key(address));
        local::keep(&self.kernel, &mut done.local, &held.collect()).await?;
        if news.routes || done.routed.as_ref() != Some(&routed) {
            routing::route(&self.kernel, &routed).await?;
            done.routed = Some(routed);
        }
        let preferred = self.preferred(locators);
        if done.preferred.as_ref() != Some(&preferred) {
            prefer::prefer(&self.kernel, &preferred).await?;
            done.preferred = Some(preferred);
        }
        Ok(())
    }

    /// Tells the daemon at once if it has taken all that came before.
    fn send(&self, done: &mut Done) {
        if done.unsent.is_some()
            && let Ok(permit) = self.changes.try_reserve()
            && let Some(unsent) = done.unsent.take()
        {
            permit.send(unsent);
        }
    }

    /// Locators whose way out of this host may not work any more.
    async fn doubtful(
        &mut self,
        news: &News,
        locators: &[LocalLocator],
    ) -> Result<BTreeSet<Ipv6Addr>, HostError> {
        let mut interfaces: BTreeSet<u32> = news.ways_lost.iter().copied().collect();
        if !news.silent_neighbours.is_empty() {
            let routes = dump_table(&self.kernel, MAIN_TABLE).await?;
            let by_silent_router = |route: &DefaultRoute| {
                let silent = |&(interface, neighbour)| {
                    interface == route.interface && Some(neighbour) == route.gateway
                };
                news.silent_neighbours.iter().any(silent)
            };
            let routes = default_routes(&routes).into_iter();
            let silent = routes.filter(by_silent_router);
            interfaces.extend(silent.map(|route| route.interface));
        }
        let doubtful = locators
            .iter()
            .filter(|locator| interfaces.contains(&locator.interface));
        Ok(doubtful.map(|locator| locator.address).collect())
    }

    /// The addresses on chosen interfaces that have parameters.
    fn present(&self) -> Vec<Valid> {
        let snapshot = self.watch.snapshot();
        let mut locators = Vec::new();
        for address in snapshot.addresses.values() {
            let Some(interface) = snapshot.interfaces.get(&address.interface) else {
                continue;
            };
            let parameters = self.source.parameters(&interface.name, address.address);
            if let Some(pds) = parameters.filter(|_| self.choice.allows(&interface.name)) {
                let locator = LocalLocator {
                    address: address.address,
                    interface: address.interface,
                    interface_name: interface.name.clone(),
                    pds: Arc::clone(pds),
                    key: self.keys.iter().find(|key| signs_for(key, pds)).cloned(),
                    //= https://www.rfc-editor.org/rfc/rfc5534#section-4.1
                    //= id=R-007
                    //# Nodes SHOULD employ techniques listed in Sections 3.1 and 3.2 to track the
                    //# local situation.
                    usable: interface.up && self.is_usable(&interface.name, address),
                };
                locators.push((locator, address.lifetimes.valid));
            }
        }
        locators
    }

    /// Whether packets can be sent from an address and to it. One that was replaced is deprecated, for
    /// new connections are to have the other, but leads where that leads.
    fn is_usable(&self, interface: &str, address: &InterfaceAddress) -> bool {
        let addresses = &self.watch.snapshot().addresses;
        let successor = self.source.successor(interface, address.address);
        let successor =
            successor.and_then(|successor| addresses.get(&(address.interface, successor)));
        is_settled(address) || (!address.tentative() && successor.is_some_and(is_settled))
    }

    /// Locators that new connections should choose, links that are down included: no connection
    /// chooses those, and their labels need not come and go.
    fn preferred(&self, locators: &[LocalLocator]) -> BTreeSet<Ipv6Addr> {
        let addresses = &self.watch.snapshot().addresses;
        locators
            .iter()
            .filter(|locator| {
                addresses
                    .get(&(locator.interface, locator.address))
                    .is_some_and(is_settled)
            })
            .map(|locator| locator.address)
            .collect()
    }
}

/// Fit for new connections as far as the address itself goes.
//= https://www.rfc-editor.org/rfc/rfc5534#section-3.1
//= id=R-001
//# The address is not tentative in the sense of RFC 4862 [RFC4862].
fn is_settled(address: &InterfaceAddress) -> bool {
    !address.tentative() && !address.deprecated()
}

/// Whether signatures of `key` prove locators under `pds`. A set on a nonce has no key.
fn signs_for(key: &SigningKey, pds: &Pds) -> bool {
    match pds.kind() {
        Kind::Cga | Kind::CgaCompatibleHba => key.public_key() == pds.public_key(),
        Kind::Hba => false,
    }
}
