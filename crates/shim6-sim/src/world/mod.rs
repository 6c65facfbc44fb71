//! The world: clock, queue, hosts and links. What a script does to it is in [`script`], what it sees of
//! it in [`view`]; how packets pass is in [`passage`].

mod passage;
mod script;
mod view;

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv6Addr;
use std::time::Duration;

use rand_chacha::ChaCha20Rng;
use rand_core::{RngCore, SeedableRng};
use shim6_core::{Instant, Resend, UlidPair};
use shim6_wire::MessageType;

use crate::host::{Host, HostId, HostSpec};
use crate::model::{Fault, Model, Stimulus};
use crate::net::Net;
use crate::packet;
use crate::trace::{Record, Trace};
use crate::traffic::{Flow, FlowId, FlowStats, Pattern};
use passage::Arrival;

/// What the queue holds.
#[derive(Debug)]
enum Due {
    Arrival(Arrival),
    Tick(FlowId),
}

/// Hosts, links and faults on a virtual clock.
///
/// A violation of what the judge holds sacred panics; seed and trace are printed when the world is
/// dropped in a panic, whatever caused it.
#[derive(Debug)]
pub struct World {
    seed: u64,
    now: Instant,
    rng: ChaCha20Rng,
    net: Net,
    hosts: Vec<Host>,
    /// Where packets are received now.
    addresses: BTreeMap<Ipv6Addr, HostId>,
    flows: Vec<Flow>,
    queue: BTreeMap<(Instant, u64), Due>,
    timers: BTreeSet<(Instant, HostId)>,
    timer_of: BTreeMap<HostId, Instant>,
    enqueued: u64,
    /// Control messages sent, in order.
    messages: Vec<(Instant, HostId, MessageType)>,
    /// Control messages still to be lost.
    losses: Vec<(HostId, MessageType)>,
    model: Model,
    trace: Trace,
}

impl World {
    /// An empty world, one second after its beginning.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self {
            seed,
            now: Instant::from_micros(1_000_000),
            rng: ChaCha20Rng::seed_from_u64(seed),
            net: Net::default(),
            hosts: Vec::new(),
            addresses: BTreeMap::new(),
            flows: Vec::new(),
            queue: BTreeMap::new(),
            timers: BTreeSet::new(),
            timer_of: BTreeMap::new(),
            enqueued: 0,
            messages: Vec::new(),
            losses: Vec::new(),
            model: Model::default(),
            trace: Trace::default(),
        }
    }

    /// Adds a host and starts it.
    pub fn add_host(&mut self, spec: HostSpec) -> HostId {
        let id = HostId(self.hosts.len());
        for locator in &spec.locators {
            self.model.own(id, locator.address);
            if locator.usable {
                self.addresses.insert(locator.address, id);
            }
        }
        self.hosts.push(Host::new(spec));
        self.boot(id);
        id
    }

    /// Starts a flow between the first addresses of two hosts.
    pub fn start(&mut self, from: HostId, to: HostId, pattern: Pattern) -> FlowId {
        let ulids = UlidPair {
            local: self.address(from, 0),
            peer: self.address(to, 0),
        };
        self.start_between(from, to, ulids, pattern)
    }

    /// Starts a flow between any two addresses of two hosts.
    pub fn start_between(
        &mut self,
        from: HostId,
        to: HostId,
        ulids: UlidPair,
        pattern: Pattern,
    ) -> FlowId {
        let id = FlowId(self.flows.len() as u16);
        self.flows.push(Flow {
            from,
            to,
            ulids,
            pattern,
            mark: 0,
            running: true,
            stats: FlowStats::default(),
        });
        self.enqueue(self.now, Due::Tick(id));
        id
    }

    /// Gives the socket that a flow is sent from a mark.
    pub fn mark(&mut self, flow: FlowId, mark: u32) {
        self.flows[usize::from(flow.0)].mark = mark;
    }

    /// Ends a flow.
    pub fn stop(&mut self, flow: FlowId) {
        self.flows[usize::from(flow.0)].running = false;
    }

    /// Lets time pass.
    pub fn run_for(&mut self, span: Duration) {
        let end = self.now + span;
        self.run_until(end, |_| false);
    }

    /// Lets time pass until `done`, asked after each thing that happens, or until `end`; says whether
    /// it was `done`.
    pub fn run_until(&mut self, end: Instant, mut done: impl FnMut(&Self) -> bool) -> bool {
        loop {
            if done(self) {
                return true;
            }
            let timer = self.timers.first().copied();
            let queued = self.queue.first_key_value().map(|(&key, _)| key);
            let next = timer.map(|(at, _)| at).into_iter();
            let Some(next) = next.chain(queued.map(|(at, _)| at)).min() else {
                break;
            };
            if next > end {
                break;
            }
            self.now = self.now.max(next);
            match timer {
                Some((at, host)) if at == next => self.handle_timer(host),
                Some(_) | None => self.handle_queued(),
            }
        }
        self.now = end;
        false
    }

    fn handle_queued(&mut self) {
        match self.queue.pop_first() {
            Some((_, Due::Arrival(arrival))) => self.arrive(arrival),
            Some((_, Due::Tick(id))) => self.tick(id),
            None => {}
        }
    }

    fn handle_timer(&mut self, host: HostId) {
        self.model.stimulated();
        let now = self.clock_of(host);
        if let Some(engine) = &mut self.hosts[host.0].engine {
            engine.endpoint.handle_timeout(now);
            let next = engine.endpoint.poll_timeout();
            judge(Model::check_progress(host, now, next));
        }
        self.drain(host, Stimulus::Timer);
    }

    fn tick(&mut self, id: FlowId) {
        let flow = &mut self.flows[usize::from(id.0)];
        if !flow.running {
            return;
        }
        let (from, interval, mark) = (flow.from, flow.pattern.interval, flow.mark);
        let datagram = flow.next(id);
        self.enqueue(self.now + interval, Due::Tick(id));
        self.send_payload(from, mark, &datagram);
    }

    /// Carries out what a host's endpoint has to say, and sets its timer.
    fn drain(&mut self, host: HostId, stimulus: Stimulus) {
        let (now, clock) = (self.now, self.clock_of(host));
        let mut posts = Vec::new();
        let mut verdict = Ok(());
        let Host {
            spec,
            engine: Some(engine),
            ahead,
            events,
            ..
        } = &mut self.hosts[host.0]
        else {
            return;
        };
        while let Some(update) = engine.endpoint.poll_flow_update() {
            verdict = verdict.and(self.model.check_update(host, &update));
            engine.table.apply(update);
        }
        while let Some(transmit) = engine.endpoint.poll_transmit() {
            if let Some(ty) = MessageType::from_bits(transmit.message[2]) {
                self.messages.push((now, host, ty));
            }
            let checked = self.model.check_control(
                host,
                &engine.endpoint,
                &transmit,
                stimulus,
                clock,
                &spec.config,
            );
            verdict = verdict.and(checked);
            posts.push(packet::control_packet(&transmit));
        }
        while let Some(resent) = engine.endpoint.poll_resend() {
            let Resend { original, packet } = resent;
            verdict = verdict.and(self.model.check_payload(host, &original, &packet));
            posts.push(packet);
        }
        while let Some(event) = engine.endpoint.poll_event() {
            self.trace.note(now, Record::Told(host, event.clone()));
            events.push((now, event));
        }
        let due = engine.endpoint.poll_timeout().map(|due| {
            let ahead = ahead.as_micros() as u64;
            Instant::from_micros(due.as_micros().saturating_sub(ahead)).max(now)
        });
        if let Some(old) = self.timer_of.remove(&host) {
            self.timers.remove(&(old, host));
        }
        if let Some(due) = due {
            self.timers.insert((due, host));
            self.timer_of.insert(host, due);
        }
        for octets in posts {
            self.post(host, octets);
        }
        judge(verdict);
    }

    fn enqueue(&mut self, at: Instant, due: Due) {
        self.enqueued += 1;
        self.queue.insert((at, self.enqueued), due);
    }

    fn boot(&mut self, id: HostId) {
        let mut seed = [0; 32];
        self.rng.fill_bytes(&mut seed);
        let now = self.clock_of(id);
        self.model.restarted(id);
        self.hosts[id.0].start(seed, now);
        self.drain(id, Stimulus::Local);
    }

    fn clock_of(&self, host: HostId) -> Instant {
        self.now + self.hosts[host.0].ahead
    }
}

impl Drop for World {
    /// Tells seed and trace of a history that ended in a panic.
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("seed {}\n{}", self.seed, self.trace());
        }
    }
}

/// Ends a history that is wrong.
fn judge(verdict: Result<(), Fault>) {
    if let Err(fault) = verdict {
        panic!("{fault}");
    }
}
