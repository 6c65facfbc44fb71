//! Who maps, without a rewriter: there is none in a test's process.

use shim6_core::Exploring;
use shim6_wire::ContextTag;

use super::*;

const REASON: &str = "not in a test";

fn pair(number: u16) -> UlidPair {
    UlidPair {
        local: Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0xa),
        peer: Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 1, number),
    }
}

/// A flow between these ULIDs that is mapped to the addresses of another pair.
fn flow(ulids: UlidPair, to: UlidPair) -> Arc<Flow> {
    let tag = ContextTag::from_bits(1);
    Arc::new(Flow {
        ulids,
        is_default: true,
        mark: None,
        local_tag: tag,
        path: Path::Mapped {
            locators: to.into(),
            peer_tag: tag,
        },
        tagged: Tagged::Delivered,
        exploring: Exploring::No,
        kernel_maps: false,
        account: Arc::default(),
    })
}

fn mapping(kernel_maps: bool) -> KernelMapping {
    KernelMapping::new(Choices::new(kernel_maps), shimq_bpf::Config::default())
}

/// Has a flow in the state in which the rewriter took it.
fn hand_over(mapping: &mut KernelMapping, ulids: UlidPair) {
    assert!(mapping.waiting.remove(&ulids), "it is not offered");
    mapping.flows.get_mut(&ulids).unwrap().mapper = Mapper::Kernel;
}

/// The flows that queues are told of, and whether the kernel maps them.
fn told(mapping: &mut KernelMapping) -> Vec<(UlidPair, bool)> {
    let updates = std::iter::from_fn(|| mapping.poll_update());
    let flows = updates.map(|update| match update {
        FlowUpdate::Set(flow) => (flow.ulids, flow.kernel_maps),
        FlowUpdate::Remove(flow) => panic!("{} is removed", flow.ulids),
    });
    flows.collect()
}

#[test]
fn only_what_the_kernel_shall_map_is_offered_to_it() {
    for (kernel_maps, other) in [(false, DatapathChoice::Bpf), (true, DatapathChoice::Queue)] {
        let mut mapping = mapping(kernel_maps);
        // One choice comes before the flow is mapped, one after.
        mapping.choose_for(pair(1), other);
        for number in 1..=3 {
            mapping.follow(FlowUpdate::Set(flow(pair(number), pair(0))));
        }
        mapping.choose_for(pair(2), other);
        let offered = |mapping: &KernelMapping| {
            (1..=3)
                .map(|number| mapping.waiting.contains(&pair(number)))
                .collect::<Vec<_>>()
        };
        let expected = [!kernel_maps, !kernel_maps, kernel_maps];
        assert_eq!(offered(&mapping), expected);
        mapping.waiting.clear();
        mapping.set_locators(&[pair(0).local]);
        assert_eq!(offered(&mapping), expected);
        // The same context, lost and agreed upon anew.
        let former = flow(pair(1), pair(0));
        mapping.follow(FlowUpdate::Remove(Arc::clone(&former)));
        assert!(!mapping.waiting.contains(&pair(1)));
        mapping.follow(FlowUpdate::Set(former));
        assert_eq!(offered(&mapping), expected);
        mapping.choose_for(pair(1), DatapathChoice::Default);
        assert_eq!(mapping.waiting.contains(&pair(1)), kernel_maps);
    }
}

#[test]
fn queues_know_of_a_flow_before_the_kernel_gives_it_up() {
    let mut mapping = mapping(true);
    mapping.follow(FlowUpdate::Set(flow(pair(1), pair(0))));
    hand_over(&mut mapping, pair(1));
    mapping.choose_for(pair(1), DatapathChoice::Queue);
    assert_eq!(mapping.relieved, [pair(1)]);
    assert_eq!(told(&mut mapping), [(pair(1), false)]);
    assert!(mapping.relieve());
    assert!(!mapping.relieve());
    assert_eq!(mapping.mapper(pair(1)).mapper, "queue");
}

#[test]
fn a_flow_makes_way_for_one_that_is_left_to_queues_and_mapped_to_its_ulids() {
    let mut mapping = mapping(true);
    for (ulids, to) in [(pair(1), pair(2)), (pair(2), pair(3))] {
        mapping.follow(FlowUpdate::Set(flow(ulids, to)));
        hand_over(&mut mapping, ulids);
    }
    mapping.choose_for(pair(1), DatapathChoice::Queue);
    let told = told(&mut mapping);
    assert_eq!(told, [(pair(1), false), (pair(2), false)]);
    // It is offered again, and refused as long as that is so.
    mapping.hand_over();
    let refusal = mapping.mapper(pair(2)).refusal;
    assert_eq!(refusal.as_deref(), Some(OBSTRUCTED));
}

#[test]
fn why_the_kernel_does_not_map_is_told_of_what_it_shall_map() {
    let mut mapping = mapping(false);
    mapping.rewriter = Rewriting::Refused(REASON.to_owned());
    mapping.choose_for(pair(1), DatapathChoice::Bpf);
    mapping.follow(FlowUpdate::Set(flow(pair(2), pair(0))));
    let (chosen, other) = (mapping.mapper(pair(1)), mapping.mapper(pair(2)));
    assert_eq!(chosen.refusal.as_deref(), Some(REASON));
    assert_eq!(chosen.chosen, Some("bpf"));
    assert_eq!((other.refusal, other.chosen), (None, None));
    let status = |mapping: &KernelMapping| serde_json::to_value(mapping.report("queue")).unwrap();
    let report = status(&mapping);
    assert_eq!(report["reason"], REASON);
    assert_eq!(report["chosen"]["datapath"], "bpf");
    assert_eq!(report["chosen"]["pairs"], 1);

    mapping.choose_for(pair(1), DatapathChoice::Default);
    mapping.look_after();
    let report = status(&mapping);
    assert!(report["reason"].is_null() && report["chosen"].is_null());
}

#[test]
fn a_rewriter_that_nobody_wants_any_more_is_not_had_back() {
    let mut mapping = mapping(false);
    mapping.choose_for(pair(1), DatapathChoice::Bpf);
    mapping.set_back(REASON.to_owned());
    assert!(matches!(mapping.rewriter, Rewriting::Lost(_)));
    mapping.choose_for(pair(1), DatapathChoice::Queue);
    mapping.look_after();
    assert!(matches!(mapping.rewriter, Rewriting::Unwanted));
}
