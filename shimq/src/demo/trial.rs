//! One run: builds the network, starts the daemons and the application, and has them watched.

use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use rand_chacha::ChaCha8Rng;
use rand_core::{RngCore, SeedableRng};
use shimq_testbed::{A, B, TwoHosts};

use super::datapath::Datapath;
use super::shim::{self, Host};
use super::timeline::{Timeline, Voice};
use super::transfer::Transfer;
use super::watch::{Observation, Watch};
use super::{Cut, DemoError};

/// What one run shall do.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    /// Decides the file's content, the pair of addresses and the moment of the cut.
    pub(super) seed: u64,
    pub(super) with_shim: bool,
    pub(super) datapath: Datapath,
    pub(super) cut: Cut,
    pub(super) file_octets: u64,
    /// Bits per second of every provider.
    pub(super) rate: u64,
    /// Where the logs and the capture go.
    pub(super) out: PathBuf,
    pub(super) capture: bool,
    pub(super) voice: Voice,
    pub(super) progress: bool,
}

/// Carries out `plan`. Whatever it starts and makes is gone when it returns, but for files in
/// `plan.out`.
pub(super) fn run(plan: &Plan, interrupted: &AtomicBool) -> Result<Observation, DemoError> {
    fs::create_dir_all(&plan.out).map_err(DemoError::io(format!("make {}", plan.out.display())))?;
    let folder = tempfile::tempdir().map_err(DemoError::io("make a folder"))?;
    let folders = (folder.path(), plan.out.as_path());
    let mut random = ChaCha8Rng::seed_from_u64(plan.seed);
    let cut_delay = Duration::from_millis(EARLIEST_CUT_MS + random.next_u64() % CUT_SPREAD_MS);

    plan.voice
        .say("Hosts A (providers a1, a2) and B (b1, b2), and a router that filters sources.");
    let network = TwoHosts::new()?;
    network.limit_rate(plan.rate)?;
    let capture = plan
        .capture
        .then(|| network.capture(&plan.out.join("router.pcap")))
        .transpose()?;

    let mut shims = Vec::new();
    let mut monitors = Vec::new();
    let (listener, events) = mpsc::channel();
    let mut ends = (A[0].host(), B[0].host());
    if plan.with_shim {
        plan.voice
            .say("Starting shimq on both hosts; each makes a key first.");
        let mut at_a = shim::start(Host::A, &network.a, plan.datapath, folders)?;
        let mut at_b = shim::start(Host::B, &network.b, plan.datapath, folders)?;
        let go_on = || go_on_unless(interrupted);
        let of_a = at_a.wait_until_ready_while(&A, go_on)?;
        let of_b = at_b.wait_until_ready_while(&B, go_on)?;
        // Any address of a host with shimq will do: packets from it leave by its own provider.
        let [first, second] = [random.next_u32() % 2, random.next_u32() % 2];
        ends = (of_a[first as usize], of_b[second as usize]);
        for (host, shim) in [(Host::A, at_a), (Host::B, at_b)] {
            let listener = listener.clone();
            monitors.push(shim.follow(move |event| listener.send((host, event)).is_ok())?);
            shims.push((host, shim));
        }
    }
    let transfer = Transfer::start(&network, ends, plan.file_octets, &mut random, folders)?;
    let timeline = Timeline::begin(plan.voice, plan.progress.then_some(plan.file_octets));
    let observation = Watch::new(plan, &network, shims, transfer, timeline, cut_delay)
        .run(&events, interrupted)?;
    if let Some(capture) = capture {
        capture.stop()?;
    }
    Ok(observation)
}

/// Objects to everything once somebody has interrupted the demo.
pub(super) fn go_on_unless(interrupted: &AtomicBool) -> Result<(), DemoError> {
    if interrupted.load(Ordering::Relaxed) {
        return Err(DemoError::Interrupted);
    }
    Ok(())
}

/// The cut comes this long after the connection is ready for it, and up to the spread later.
const EARLIEST_CUT_MS: u64 = 3_000;
const CUT_SPREAD_MS: u64 = 5_000;
