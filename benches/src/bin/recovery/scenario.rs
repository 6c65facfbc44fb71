//! What is tried: which application, over what, and what happens to its path.

use serde::Serialize;
use shimq_benches::application::Pattern;

/// What keeps the connection alive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Means {
    /// shimq under TCP or UDP.
    Shimq,
    /// The same, which sees every packet instead of having the kernel count.
    QueueAll,
    /// The kernel's MPTCP with two subflows, between addresses that shimq leaves alone.
    Mptcp,
}

impl Means {
    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Shimq => "shimq",
            Self::QueueAll => "shimq, queue-all",
            Self::Mptcp => "MPTCP",
        }
    }

    /// What daemons are configured with.
    pub(crate) fn config(self) -> &'static str {
        match self {
            Self::Shimq | Self::Mptcp => "",
            Self::QueueAll => "[datapath]\nmode = \"queue-all\"\n",
        }
    }
}

/// What happens to the path that carries the data. A sends most of it, B receives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Fault {
    /// Silently cut both ways.
    Cut,
    /// Silently cut from sender to receiver.
    CutForward,
    /// Silently cut from receiver to sender.
    CutBackward,
    /// The sender's link goes down.
    SenderLink,
    /// The receiver's link goes down.
    ReceiverLink,
    /// The sender's address is removed.
    SenderAddress,
    /// The receiver's address is removed.
    ReceiverAddress,
}

impl Fault {
    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Cut => "cut both ways",
            Self::CutForward => "cut towards the receiver",
            Self::CutBackward => "cut towards the sender",
            Self::SenderLink => "sender's link down",
            Self::ReceiverLink => "receiver's link down",
            Self::SenderAddress => "sender's address removed",
            Self::ReceiverAddress => "receiver's address removed",
        }
    }

    /// Whether a host can see it for itself.
    pub(crate) fn is_local(self) -> bool {
        match self {
            Self::Cut | Self::CutForward | Self::CutBackward => false,
            Self::SenderLink | Self::ReceiverLink | Self::SenderAddress | Self::ReceiverAddress => {
                true
            }
        }
    }
}

/// One thing that is tried many times.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub(crate) struct Scenario {
    pub(crate) pattern: Pattern,
    pub(crate) fault: Fault,
}

impl Scenario {
    pub(crate) fn all() -> Vec<Self> {
        let cuts = [Fault::Cut, Fault::CutForward, Fault::CutBackward];
        let of_patterns = [Pattern::Paced, Pattern::Bulk, Pattern::Call]
            .into_iter()
            .flat_map(|pattern| cuts.map(|fault| Self { pattern, fault }));
        let local = [
            Fault::SenderLink,
            Fault::ReceiverLink,
            Fault::SenderAddress,
            Fault::ReceiverAddress,
        ];
        let of_faults = local.map(|fault| Self {
            pattern: Pattern::Paced,
            fault,
        });
        of_patterns.chain(of_faults).collect()
    }

    /// What it is tried with: a network for each list, in whose namespaces all of the list are tried.
    pub(crate) fn networks(self) -> &'static [&'static [Means]] {
        // What a host does about its own links is not compared.
        if self.fault.is_local() {
            return &[&[Means::Shimq]];
        }
        match self.pattern {
            Pattern::Paced => &[&[Means::Shimq, Means::Mptcp], &[Means::QueueAll]],
            // A bulk transfer never pauses: there is least for the kernel to miss.
            Pattern::Bulk => &[&[Means::Shimq, Means::Mptcp]],
            // MPTCP has no datagrams.
            Pattern::Call => &[&[Means::Shimq], &[Means::QueueAll]],
        }
    }

    pub(crate) fn title(self) -> String {
        let pattern = match self.pattern {
            Pattern::Paced => "1 KB each 20 ms, TCP",
            Pattern::Bulk => "bulk TCP",
            Pattern::Call => "50 datagrams a second, UDP",
        };
        format!("{pattern}; {}", self.fault.title())
    }
}
