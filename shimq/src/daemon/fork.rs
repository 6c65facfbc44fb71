//! Forks on the operator's behalf.

use serde_json::Value;
use shim6_core::{LocatorPair, UlidPair};

use super::Daemon;
use crate::clock;
use crate::fork::{ForkName, PairArgument};

impl Daemon {
    /// Begins a fork; says why if it cannot be.
    pub(super) fn fork(
        &mut self,
        name: ForkName,
        pair: Option<PairArgument>,
    ) -> Result<Value, String> {
        if name.mark == self.own_mark {
            return Err(format!(
                "{:#x} marks the daemon's own packets (datapath.mark): take another",
                name.mark
            ));
        }
        if self.kernel.excludes_mark(name.mark) {
            return Err(format!(
                "packets with mark {:#x} are left alone (exclude.marks): take another",
                name.mark
            ));
        }
        let pair = pair.map(|PairArgument { local, peer }| LocatorPair { local, peer });
        self.endpoint
            .fork(clock::now(), ulids(name), name.mark, pair)
            .map(|()| Value::Null)
            .map_err(|refusal| refusal.to_string())
    }

    /// Takes a fork back.
    pub(super) fn end_fork(&mut self, name: ForkName) -> Result<Value, String> {
        if self.endpoint.end_fork(ulids(name), name.mark) {
            Ok(Value::Null)
        } else {
            Err("no such fork: `shimq contexts` lists them with their marks".to_owned())
        }
    }
}

fn ulids(ForkName { local, peer, .. }: ForkName) -> UlidPair {
    UlidPair { local, peer }
}
