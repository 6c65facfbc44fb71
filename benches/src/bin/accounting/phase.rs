//! The ways in which shimq treats a packet, each accounted for by itself.

/// One of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// The context is on other locators; queues map.
    MappedByQueues,
    /// The same, mapped by the kernel.
    MappedByKernel,
    /// The context is on its ULIDs, and every packet is queued.
    QueueAll,
    /// The context is on its ULIDs; the kernel counts.
    Unmapped,
}

impl Phase {
    pub(crate) const ALL: [Self; 4] = [
        Self::MappedByQueues,
        Self::MappedByKernel,
        Self::QueueAll,
        Self::Unmapped,
    ];

    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::MappedByQueues => "mapped by queues",
            Self::MappedByKernel => "mapped by the kernel",
            Self::QueueAll => "unmapped, every packet queued",
            Self::Unmapped => "unmapped, counted by the kernel",
        }
    }

    /// Its part of all datagrams, in percent.
    pub(crate) fn share(self) -> u64 {
        match self {
            Self::MappedByQueues => 50,
            Self::MappedByKernel | Self::QueueAll => 20,
            Self::Unmapped => 10,
        }
    }

    pub(crate) fn is_mapped(self) -> bool {
        matches!(self, Self::MappedByQueues | Self::MappedByKernel)
    }

    /// The configuration of both hosts. Keys cost next to nothing; failures are neither looked for nor
    /// suspected, so that pauses which are made on purpose move no context.
    pub(crate) fn config(self) -> String {
        let mode = match self {
            Self::MappedByQueues | Self::Unmapped => "queue",
            Self::MappedByKernel => "bpf",
            Self::QueueAll => "queue-all",
        };
        format!(
            "sec = 0\nkey-bits = 1024\n[reap]\nsend-timeout = 3600\nhints = false\n\
             [datapath]\nmode = \"{mode}\"\n"
        )
    }
}
