//! The kernel's own address formation, switched off where shimq forms addresses in its place.
//!
//! Decides how the setting comes back: what it was is written to the state directory before it is
//! changed, so that a stop, a later start after a kill, and `release` all restore it. Only for this
//! boot: after the next one the setting is the administrator's again, whatever we left.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use super::store::Store;
use super::{HostError, Removed};

/// What the kernel takes for "form no addresses".
const OFF: &str = "0";

/// Switches address formation off, one interface at a time.
pub(super) struct Autoconf {
    store: Store,
    /// Interfaces, by index, that have been seen to, with success or not.
    seen: BTreeSet<u32>,
}

impl Autoconf {
    /// Changes nothing yet.
    pub(super) fn new(store: Store) -> Self {
        Self {
            store,
            seen: BTreeSet::new(),
        }
    }

    /// Has the kernel form no addresses on an interface. Those that are there run out. Where that
    /// cannot be had, they are formed beside ours, and a warning says so; once.
    pub(super) fn switch_off(&mut self, index: u32, interface: &str) {
        if !self.seen.insert(index) {
            return;
        }
        if !accepts_prefixes(interface) {
            tracing::warn!(
                interface,
                "the kernel ignores router advertisements here, so no address is formed: run \
                 `sysctl net.ipv6.conf.{interface}.accept_ra=2`, or use addresses = \"form\" where \
                 a network manager takes care of them"
            );
            return;
        }
        let Some(before) = setting(interface, "autoconf").filter(|before| before != OFF) else {
            return;
        };
        let changed = self
            .store
            .save_autoconf(interface, &format!("{before} {}", boot()))
            .and_then(|()| {
                let path = path(interface, "autoconf");
                fs::write(&path, OFF).map_err(HostError::store(&path))
            });
        if let Err(error) = changed {
            tracing::warn!(interface, %error, "the kernel goes on forming addresses beside ours");
        }
    }
}

/// Gives back to the kernel what [`Autoconf`] took from it, and lists it.
pub(super) fn restore(store: &Store) -> Result<Vec<Removed>, HostError> {
    let mut restored = Vec::new();
    for (interface, saved) in store.autoconf()? {
        let before = saved
            .split_once(' ')
            .filter(|(_, boot_then)| *boot_then == boot())
            .map(|(before, _)| before);
        // Gone, or changed by somebody else since: then it is no longer ours.
        let is_ours = setting(&interface, "autoconf").is_some_and(|now| now == OFF);
        if let Some(before) = before.filter(|_| is_ours) {
            let path = path(&interface, "autoconf");
            fs::write(&path, before).map_err(HostError::store(&path))?;
            restored.push(Removed::AutoconfOff {
                interface: interface.clone(),
            });
        }
        store.remove_autoconf(&interface)?;
    }
    Ok(restored)
}

/// Whether the kernel hands on prefixes that it hears of (`ip-sysctl`: `accept_ra`).
fn accepts_prefixes(interface: &str) -> bool {
    let is = |key, value: &str| setting(interface, key).is_some_and(|now| now == value);
    let accepts = is("accept_ra", "2") || (is("accept_ra", "1") && is("forwarding", "0"));
    accepts && !is("accept_ra_pinfo", "0")
}

/// A setting of an interface; `None` if the interface is gone.
fn setting(interface: &str, key: &str) -> Option<String> {
    let value = fs::read_to_string(path(interface, key)).ok()?;
    Some(value.trim().to_owned())
}

fn path(interface: &str, key: &str) -> PathBuf {
    ["/proc/sys/net/ipv6/conf", interface, key].iter().collect()
}

/// What tells this boot from others; empty where the kernel does not say.
fn boot() -> String {
    let id = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    id.trim().to_owned()
}
