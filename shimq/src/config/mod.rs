//! The configuration file: TOML, every key optional, no file needed at all.
//!
//! Durations are in seconds. A key that does not exist, or a value that cannot be, is an error that
//! names the line; a value that the RFCs advise against is taken, with a warning.

mod error;
mod exclude;
mod interfaces;
mod locators;
mod reap;
mod reload;
mod sections;

#[cfg(test)]
mod tests;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use shim6_cga::SigningKey;
use shim6_core::{Heuristic, KernelRule, PacketCount, RespondOnly, VolumeOrAge};
use shimq_netfilter::rules::{self, InputHook, Mode, RulesetConfig};

use crate::host::{self, AddressMode, HostConfig, InterfaceChoice, InterfaceRule};
use crate::preferences::{LocatorRule, Preferences};
pub(crate) use error::ConfigError;
use exclude::Exclude;
use reap::Reap;
pub(crate) use reload::Reread;
pub(crate) use sections::Backend;
use sections::{Datapath, DatapathMode, HeuristicName, HookName, Limits, Trigger};

/// Where the daemon listens for commands unless configured otherwise.
pub(crate) const DEFAULT_SOCKET: &str = "/run/shimq/control.sock";

/// What can be configured.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub(crate) struct Config {
    /// Interfaces whose prefixes become locators; `eth*` stands for all that begin so. All, if empty.
    interfaces: Vec<String>,
    /// Interfaces that are left alone; wins over `interfaces`.
    exclude_interfaces: Vec<String>,
    /// `form`: a CGA for each prefix, beside the addresses that are there; `from-advertisements`: a
    /// CGA for each prefix that a router advertises, in place of the kernel's own (SLAAC);
    /// `as-configured`: addresses that are there, of any kind, whose parameters (`ADDRESS.cga`) and
    /// keys (`*.pem`) are in `state-dir`.
    addresses: Addresses,
    /// Security parameter of the CGAs that are formed, 0 to 2 (RFC 3972 §2).
    sec: u8,
    /// Bits of the RSA key that is made at the first start, 1024 (RFC 5533 §16) to 3072 (§5.1).
    key_bits: usize,
    /// Where key and parameters are kept.
    pub(crate) state_dir: PathBuf,
    /// Where commands are taken.
    pub(crate) socket: PathBuf,
    /// `own`: the daemon loads and removes its table; `external`: the operator loads rules/shimq.nft.
    pub(crate) ruleset: RulesetOwner,
    datapath: Datapath,
    trigger: Trigger,
    reap: Reap,
    limits: Limits,
    exclude: Exclude,
    locators: Vec<LocatorRule>,
    /// Kind, key and Sec value of the addresses on some interfaces, in place of CGAs with `key.pem` and
    /// `sec`.
    interface: Vec<InterfaceRule>,
    /// The file that this was read from.
    #[serde(skip)]
    file: Option<PathBuf>,
}

/// Who finds out which flows are worth a context.
enum AskedBy {
    /// This host starts none.
    Nobody,
    /// The kernel, by a rule.
    Kernel(KernelRule),
    /// The heuristic itself, which is shown every packet, both ways: by the operator's wish, or because
    /// it has no words that the kernel knows.
    Queue,
}

#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
enum Addresses {
    Form,
    FromAdvertisements,
    AsConfigured,
}

/// Who loads the table.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum RulesetOwner {
    /// The daemon; it goes with the daemon.
    Own,
    /// The operator, with `nft -f`; the daemon fills its sets.
    External,
}

impl Default for Config {
    fn default() -> Self {
        let host = HostConfig::default();
        Self {
            interfaces: Vec::new(),
            exclude_interfaces: Vec::new(),
            addresses: Addresses::Form,
            sec: host.sec,
            key_bits: host.key_bits,
            state_dir: host::DEFAULT_STATE_DIR.into(),
            socket: DEFAULT_SOCKET.into(),
            ruleset: RulesetOwner::Own,
            datapath: Datapath::default(),
            trigger: Trigger::default(),
            reap: Reap::default(),
            limits: Limits::default(),
            exclude: Exclude::default(),
            locators: Vec::new(),
            interface: Vec::new(),
            file: None,
        }
    }
}

impl Config {
    /// Reads `path`, or takes the defaults.
    ///
    /// # Errors
    ///
    /// [`ConfigError`], each with what to correct.
    pub(crate) fn read(path: Option<&Path>) -> Result<Self, ConfigError> {
        let Some(path) = path else {
            return Ok(Self::default());
        };
        let text = fs::read_to_string(path).map_err(|source| ConfigError::Unreadable {
            path: path.to_owned(),
            source,
        })?;
        let mut config: Self = toml::from_str(&text).map_err(|error| ConfigError::Syntax {
            path: path.to_owned(),
            reason: error.to_string(),
        })?;
        config
            .validate()
            .map_err(|error| error.located(path, &text))?;
        config.file = Some(path.to_owned());
        Ok(config)
    }

    fn validate(&self) -> Result<(), ConfigError> {
        let refuse = |key, value: String, reason| Err(ConfigError::Value { key, value, reason });
        if self.sec > 2 {
            return refuse("sec", self.sec.to_string(), "0, 1 or 2 (RFC 4982 §5)");
        }
        if !(1024..=SigningKey::MAX_BITS).contains(&self.key_bits) {
            return refuse(
                "key-bits",
                self.key_bits.to_string(),
                "1024 to 3072: a longer key leaves no room for locators (RFC 5533 §5.1, §16)",
            );
        }
        if !(1..=16).contains(&self.datapath.queues) {
            return refuse(
                "datapath.queues",
                self.datapath.queues.to_string(),
                "1 to 16",
            );
        }
        let last = u32::from(self.datapath.queue_number) + 2 * u32::from(self.datapath.queues) + 1;
        if last > u32::from(u16::MAX) {
            let given = self.datapath.queue_number.to_string();
            return refuse(
                "datapath.queue-number",
                given,
                "with all queues at most 65535",
            );
        }
        if self.datapath.mark == 0 {
            return refuse(
                "datapath.mark",
                "0".into(),
                "any other number: 0 marks no packet",
            );
        }
        self.reap.validate()?;
        if self.trigger.age == 0 {
            return refuse("trigger.age", "0".into(), "at least 1 second");
        }
        if self.limits.contexts < 4 {
            let given = self.limits.contexts.to_string();
            return refuse("limits.contexts", given, "at least 4");
        }
        if self.limits.contexts_per_site == 0 {
            return refuse("limits.contexts-per-site", "0".into(), "at least 1");
        }
        if self.kernel_maps() && !self.kernel_decides() {
            return refuse(
                "datapath.mode",
                "bpf".into(),
                "not with trigger.heuristic = packet-count, which has every packet queued",
            );
        }
        locators::validate(&self.locators, &self.interface_choice())?;
        interfaces::validate(&self.interface, self.addresses)?;
        self.exclude.exclusions(self.datapath.mark).map(|_| ())
    }

    /// Advice that the RFCs give and this configuration does not follow.
    pub(crate) fn warnings(&self) -> Vec<String> {
        self.reap.warnings()
    }

    fn interface_choice(&self) -> InterfaceChoice {
        InterfaceChoice {
            allow: self.interfaces.clone(),
            deny: self.exclude_interfaces.clone(),
        }
    }

    /// The part that takes care of addresses.
    pub(crate) fn host(&self) -> HostConfig {
        HostConfig {
            interfaces: self.interface_choice(),
            addresses: match self.addresses {
                Addresses::Form => AddressMode::Form,
                Addresses::FromAdvertisements => AddressMode::FromAdvertisements,
                Addresses::AsConfigured => AddressMode::AsConfigured,
            },
            sec: self.sec,
            key_bits: self.key_bits,
            rules: self.interface.clone(),
            state_dir: self.state_dir.clone(),
        }
    }

    /// The part that the kernel is asked for.
    pub(crate) fn rules(&self) -> Result<RulesetConfig, ConfigError> {
        let Datapath {
            input_hook,
            queue_number: first,
            queues,
            mark,
            bypass,
            ..
        } = self.datapath;
        let (mode, trigger) = match self.asked_by() {
            AskedBy::Nobody => (Mode::Queue, rules::Trigger::Never),
            AskedBy::Kernel(KernelRule { bytes, age }) => {
                // A flow of no octets is asked about with its first.
                let octets = bytes.max(1);
                (Mode::Queue, rules::Trigger::Counted { octets, age })
            }
            AskedBy::Queue => (Mode::QueueAll, rules::Trigger::Everything),
        };
        Ok(RulesetConfig {
            mode,
            input_hook: match input_hook {
                HookName::Input => InputHook::Input,
                HookName::Prerouting => InputHook::Prerouting,
            },
            own_mark: mark,
            observe: first..first + queues,
            rewrite: first + queues..first + 2 * queues,
            keep: first + 2 * queues..first + 2 * queues + 1,
            trigger,
            suspicious_silence: self.core().suspicious_silence,
            bypass,
            excluded: self.exclude.exclusions(mark)?,
        })
    }

    /// The part that the protocol runs by.
    pub(crate) fn core(&self) -> shim6_core::Config {
        let mut core = shim6_core::Config {
            contexts_max: self.limits.contexts,
            contexts_per_site_max: self.limits.contexts_per_site,
            deliver_icmp_errors: self.datapath.deliver_icmp_errors,
            ..shim6_core::Config::default()
        };
        self.reap.apply(&mut core);
        core
    }

    /// When a flow is worth a context.
    pub(crate) fn heuristic(&self) -> Box<dyn Heuristic> {
        let Trigger {
            heuristic,
            bytes,
            age,
            packets,
        } = self.trigger;
        match heuristic {
            HeuristicName::VolumeOrAge => Box::new(VolumeOrAge {
                bytes,
                age: Duration::from_secs(age),
            }),
            HeuristicName::PacketCount => Box::new(PacketCount { packets }),
            HeuristicName::RespondOnly => Box::new(RespondOnly),
        }
    }

    /// The data path by the name that it has in the file.
    pub(crate) fn datapath_mode(&self) -> &'static str {
        match self.datapath.mode {
            DatapathMode::Queue => "queue",
            DatapathMode::Bpf => "bpf",
            DatapathMode::QueueAll => "queue-all",
        }
    }

    /// Whether the kernel shall map the flows that it can.
    pub(crate) fn kernel_maps(&self) -> bool {
        self.datapath.mode == DatapathMode::Bpf
    }

    /// Why no context can be left to the kernel, and what to do, if the queues have every packet.
    pub(crate) fn all_is_queued(&self) -> Option<&'static str> {
        if self.kernel_decides() {
            return None;
        }
        Some(if self.datapath.mode == DatapathMode::QueueAll {
            "datapath.mode = \"queue-all\" has every packet queued: \
             set it to \"queue\" or \"bpf\", and start shimq again"
        } else {
            "trigger.heuristic = \"packet-count\" has every packet queued: \
             set it to another, and start shimq again"
        })
    }

    /// How gladly this host is reached where.
    pub(crate) fn preferences(&self) -> Preferences {
        Preferences::new(&self.locators)
    }

    /// How packets are taken from the kernel.
    pub(crate) fn backend(&self) -> Backend {
        self.datapath.backend
    }

    /// Whether packets that are only looked at go on when their queue is full.
    pub(crate) fn fail_open(&self) -> bool {
        self.datapath.fail_open
    }

    /// Whether the kernel applies the heuristic's rule, so that a candidate that comes is a trigger.
    pub(crate) fn kernel_decides(&self) -> bool {
        match self.asked_by() {
            AskedBy::Nobody | AskedBy::Kernel(_) => true,
            AskedBy::Queue => false,
        }
    }

    fn asked_by(&self) -> AskedBy {
        let heuristic = self.heuristic();
        match heuristic.kernel_rule() {
            _ if self.datapath.mode == DatapathMode::QueueAll => AskedBy::Queue,
            _ if !heuristic.initiates() => AskedBy::Nobody,
            Some(rule) => AskedBy::Kernel(rule),
            None => AskedBy::Queue,
        }
    }
}
