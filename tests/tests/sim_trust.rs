//! An adversary who does everything right but for one thing: it lists a locator that is not its own.
//!
//! It completes each exchange with octets of its own making and claims an address of a third party,
//! backed by a forgery. The world forbids that address: one packet to it, of whatever kind, and the
//! test fails. The counters have to say why the claim was refused.

use std::net::Ipv6Addr;

use shim6_cga::{Pds, SigningKey};
use shim6_core::{DropReason, UlidPair};
use shim6_sim::{
    HostId, HostSpec, Kind, Pair, Pattern, Received, World, message_of, send_message,
    sign as sign_list, signing_key,
};
use shim6_wire::{
    ContextTag, Generation, I1, I2, I2bis, InitiatorNonce, ListedLocator, LocatorList,
    LocatorOptions, Message, R1, R2, RequestNonce, ResponderNonce, UpdateRequest, Validator,
    VerificationMethod,
};
use shimq_tests::{Proof, locators, secs};

const TAG: ContextTag = ContextTag::from_bits(0x5eed);
const NONCE: InitiatorNonce = InitiatorNonce(0xa11ce);
const GENERATION: Generation = Generation(7);

/// How the adversary backs its claim to the victim's address.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Forgery {
    /// A sound signature that does not cover the claim.
    NotCovered,
    /// A sound signature over all of the list, by a key that is not the ULID's.
    WrongKey,
    /// One bit of the signature differs.
    FlippedBit,
    /// A sound signature over the same list of another generation.
    OtherGeneration,
    /// No signature.
    Unsigned,
    /// HBA is claimed where there is no set.
    ClaimedMember,
    /// Parameters and signature of somebody else, sound in themselves.
    ForeignParameters,
}

const FORGERIES: [Forgery; 7] = [
    Forgery::NotCovered,
    Forgery::WrongKey,
    Forgery::FlippedBit,
    Forgery::OtherGeneration,
    Forgery::Unsigned,
    Forgery::ClaimedMember,
    Forgery::ForeignParameters,
];

impl Forgery {
    fn refused_as(self) -> DropReason {
        match self {
            Self::ForeignParameters => DropReason::BadPds,
            Self::NotCovered
            | Self::WrongKey
            | Self::FlippedBit
            | Self::OtherGeneration
            | Self::Unsigned
            | Self::ClaimedMember => DropReason::BadLocators,
        }
    }
}

/// A host with Shim6, the adversary, and a third party who asked for nothing.
struct Scene {
    world: World,
    host: HostId,
    adversary: HostId,
    victim: HostId,
}

impl Scene {
    fn new(seed: u64) -> Self {
        let mut world = World::new(seed);
        let puppet = |n| HostSpec::shim6(locators(n, 2, Proof::Cga)).kind(Kind::Puppet);
        let host = world.add_host(HostSpec::shim6(locators(0, 2, Proof::Cga)));
        let adversary = world.add_host(puppet(1));
        let victim = world.add_host(puppet(2));
        Self {
            world,
            host,
            adversary,
            victim,
        }
    }

    /// The host's first address and the adversary's, as the adversary sends.
    fn pair(&self) -> Pair {
        Pair {
            source: self.world.address(self.adversary, 0),
            destination: self.world.address(self.host, 0),
        }
    }

    fn claimed(&self) -> Ipv6Addr {
        self.world.address(self.victim, 1)
    }

    fn own(&self) -> [Ipv6Addr; 2] {
        [0, 1].map(|index| self.world.address(self.adversary, index))
    }

    fn pds(&self, owner: HostId) -> Vec<u8> {
        let pds: &Pds = &self.world.locators(owner)[0].pds;
        pds.octets().to_vec()
    }

    /// The adversary's own two addresses, proven.
    fn honest(&self) -> LocatorOptions {
        self.signed(&self.own())
    }

    /// A list of any addresses, soundly signed by the adversary's own key.
    fn signed(&self, addresses: &[Ipv6Addr]) -> LocatorOptions {
        options(
            addresses,
            self.pds(self.adversary),
            sign(&signing_key(1), GENERATION, addresses),
        )
    }

    /// The adversary's own two addresses and the victim's.
    fn forged(&self, forgery: Forgery) -> LocatorOptions {
        let own = self.own();
        let claim = [own[0], own[1], self.claimed()];
        let mine = signing_key(1);
        let (signature, pds) = match forgery {
            Forgery::NotCovered => (sign(&mine, GENERATION, &own), self.adversary),
            Forgery::WrongKey => (sign(&signing_key(3), GENERATION, &claim), self.adversary),
            Forgery::FlippedBit => {
                let mut signature = sign(&mine, GENERATION, &claim);
                signature[40] ^= 0x10;
                (signature, self.adversary)
            }
            Forgery::OtherGeneration => (sign(&mine, Generation(8), &claim), self.adversary),
            Forgery::Unsigned | Forgery::ClaimedMember => {
                (sign(&mine, GENERATION, &own), self.adversary)
            }
            Forgery::ForeignParameters => (sign(&signing_key(2), GENERATION, &claim), self.victim),
        };
        let mut options = options(&claim, self.pds(pds), signature);
        if forgery == Forgery::Unsigned {
            options.signature = None;
        }
        if forgery == Forgery::ClaimedMember
            && let Some(list) = &mut options.list
        {
            list.locators[2].method = VerificationMethod::Hba;
        }
        options
    }

    fn send(&mut self, message: &Message) {
        let packet = send_message(self.pair(), message);
        self.world.inject(self.adversary, packet);
    }

    /// The first message for the adversary that `wanted` takes.
    fn receive<T>(&mut self, wanted: impl Fn(Received) -> Option<T>) -> T {
        let end = self.world.now() + secs(30);
        loop {
            let adversary = self.adversary;
            let came = self.world.run_until(end, |world| world.has_mail(adversary));
            assert!(
                came,
                "the message that the adversary waits for does not come"
            );
            let mut mail = self.world.take_inbox(adversary).into_iter();
            if let Some(found) = mail.find_map(|packet| wanted(message_of(&packet)?)) {
                return found;
            }
        }
    }

    /// The adversary's I1 and the host's answer.
    fn begin(&mut self) -> R1 {
        self.send(&Message::I1(I1 {
            initiator_tag: TAG,
            initiator_nonce: NONCE,
            ulids: None,
            fii: None,
        }));
        self.receive(|received| {
            if let Message::R1(r1) = received.message {
                Some(r1)
            } else {
                None
            }
        })
    }

    fn send_i2(&mut self, r1: R1, locators: LocatorOptions) {
        self.send(&Message::I2(I2 {
            initiator_tag: TAG,
            initiator_nonce: NONCE,
            responder_nonce: r1.responder_nonce,
            validator: r1.validator,
            ulids: None,
            fii: None,
            locators,
            keepalive_timeout: None,
        }));
        self.world.run_for(secs(1));
    }

    /// An honest context; returns the host's tag.
    fn establish(&mut self) -> ContextTag {
        let r1 = self.begin();
        let honest = self.honest();
        self.send_i2(r1, honest);
        self.world.contexts(self.host)[0].local_tag
    }

    /// Lets the host send to the adversary, who is silent, for two minutes: it probes all that it
    /// holds to be the adversary's.
    fn provoke_probes(&mut self) {
        let flow = self
            .world
            .start(self.host, self.adversary, Pattern::one_way(secs(1)));
        self.world.run_for(secs(120));
        self.world.stop(flow);
    }

    fn dropped(&self, reason: DropReason) -> u64 {
        self.world.dropped(self.host, reason)
    }

    fn assert_refused(&self, forgery: Forgery) {
        assert_eq!(self.dropped(forgery.refused_as()), 1, "{forgery:?}");
        let claimed = self.claimed();
        for context in self.world.contexts(self.host) {
            assert!(!context.peer_locators.contains(&claimed), "{forgery:?}");
        }
    }
}

fn options(addresses: &[Ipv6Addr], pds: Vec<u8>, signature: Vec<u8>) -> LocatorOptions {
    let by_cga = |&address: &Ipv6Addr| ListedLocator {
        address,
        method: VerificationMethod::Cga,
    };
    LocatorOptions {
        list: Some(LocatorList {
            generation: GENERATION,
            locators: addresses.iter().map(by_cga).collect(),
        }),
        preferences: None,
        pds: Some(pds),
        signature: Some(signature),
    }
}

fn sign(key: &SigningKey, generation: Generation, addresses: &[Ipv6Addr]) -> Vec<u8> {
    sign_list(key, generation.0, addresses)
}

#[test]
fn an_honest_list_is_taken_over_in_each_message() {
    let mut scene = Scene::new(1);
    let tag = scene.establish();
    let own = scene.own();
    assert_eq!(scene.world.contexts(scene.host)[0].peer_locators, own);

    let update = update(tag, scene.signed(&[own[1]]));
    scene.send(&update);
    scene.world.run_for(secs(1));
    assert_eq!(scene.world.contexts(scene.host)[0].peer_locators, [own[1]]);

    let mut scene = Scene::new(2);
    let nonce = respond(&mut scene);
    let honest = scene.honest();
    scene.send(&r2(nonce, honest));
    scene.world.run_for(secs(1));
    assert_eq!(scene.world.contexts(scene.host)[0].peer_locators, own);

    let mut scene = Scene::new(3);
    let honest = scene.honest();
    let i2bis = recover(&mut scene, honest);
    scene.send(&i2bis);
    scene.world.run_for(secs(1));
    assert_eq!(scene.world.contexts(scene.host)[0].peer_locators, own);
}

#[test]
fn a_forged_list_in_i2_makes_no_context() {
    for forgery in FORGERIES {
        let mut scene = Scene::new(4);
        scene.world.forbid(scene.claimed());
        let r1 = scene.begin();
        let forged = scene.forged(forgery);
        scene.send_i2(r1, forged);
        scene.assert_refused(forgery);
        assert!(scene.world.contexts(scene.host).is_empty(), "{forgery:?}");
        scene.provoke_probes();
    }
}

#[test]
fn a_forged_list_in_r2_establishes_nothing() {
    for forgery in FORGERIES {
        let mut scene = Scene::new(5);
        scene.world.forbid(scene.claimed());
        let nonce = respond(&mut scene);
        let forged = scene.forged(forgery);
        scene.send(&r2(nonce, forged));
        scene.world.run_for(secs(1));
        scene.assert_refused(forgery);
        let state = scene.world.contexts(scene.host)[0].state;
        assert_eq!(state, shim6_core::State::I2Sent, "{forgery:?}");
        scene.provoke_probes();
    }
}

#[test]
fn a_forged_list_in_i2bis_makes_no_context() {
    for forgery in FORGERIES {
        let mut scene = Scene::new(6);
        scene.world.forbid(scene.claimed());
        let forged = scene.forged(forgery);
        let i2bis = recover(&mut scene, forged);
        scene.send(&i2bis);
        scene.world.run_for(secs(1));
        scene.assert_refused(forgery);
        assert!(scene.world.contexts(scene.host).is_empty(), "{forgery:?}");
        scene.provoke_probes();
    }
}

//= https://www.rfc-editor.org/rfc/rfc5533#section-7.2
//= type=test
//= id=S-063
//# Before a host can use a locator (different than the ULID) as the
//# destination locator, it MUST perform the HBA/CGA verification if this
//# was not performed upon reception of the locator set.
#[test]
fn a_forged_list_in_an_update_changes_nothing() {
    for forgery in FORGERIES {
        let mut scene = Scene::new(7);
        scene.world.forbid(scene.claimed());
        let tag = scene.establish();
        let update = update(tag, scene.forged(forgery));
        scene.send(&update);
        scene.world.run_for(secs(1));
        scene.assert_refused(forgery);
        let context = scene.world.contexts(scene.host)[0].clone();
        assert_eq!(context.peer_locators, scene.own(), "{forgery:?}");
        scene.provoke_probes();
    }
}

//= https://www.rfc-editor.org/rfc/rfc5533#section-7.2
//= type=test
//= id=S-064
//# In addition, it
//# MUST verify that the ULID is indeed present at that locator.  This
//# verification is performed by doing a return-routability test as part
//# of the Probe sub-protocol [4].
#[test]
fn a_signed_claim_to_a_stranger_draws_a_few_probes_and_no_payload() {
    let mut scene = Scene::new(8);
    let r1 = scene.begin();
    let [first, _] = scene.own();
    let claim = scene.signed(&[first, scene.claimed()]);
    scene.world.allow_probes(scene.adversary, scene.claimed());
    scene.send_i2(r1, claim);
    // CGA lets anybody sign for any address: only an answer from there can make it a destination. The
    // judge knows whose address it is and ends the test at the first payload packet to it.
    scene.provoke_probes();
    let victim = scene.victim;
    let mail = scene.world.take_inbox(victim);
    assert!(
        !mail.is_empty() && mail.len() < 20,
        "{} packets",
        mail.len()
    );
    for packet in mail {
        let message = message_of(&packet).map(|received| received.message);
        assert!(matches!(message, Some(Message::Probe(_))), "{message:?}");
    }
}

/// Lets the host begin a context and answers its I1; returns what its I2 says.
fn respond(scene: &mut Scene) -> InitiatorNonce {
    let ulids = UlidPair {
        local: scene.world.address(scene.host, 0),
        peer: scene.world.address(scene.adversary, 0),
    };
    scene.world.trigger(scene.host, ulids);
    let i1 = scene.receive(|received| {
        if let Message::I1(i1) = received.message {
            Some(i1)
        } else {
            None
        }
    });
    scene.send(&Message::R1(R1 {
        initiator_nonce: i1.initiator_nonce,
        responder_nonce: ResponderNonce(1),
        validator: Validator(vec![1; 32]),
    }));
    scene.receive(|received| {
        if let Message::I2(i2) = received.message {
            Some(i2.initiator_nonce)
        } else {
            None
        }
    })
}

fn r2(initiator_nonce: InitiatorNonce, locators: LocatorOptions) -> Message {
    Message::R2(R2 {
        responder_tag: TAG,
        initiator_nonce,
        locators,
        keepalive_timeout: None,
    })
}

/// Sends on a tag that the host does not know; returns the I2bis that its R1bis invites.
fn recover(scene: &mut Scene, locators: LocatorOptions) -> Message {
    let unknown = ContextTag::from_bits(0xdead);
    scene.send(&Message::Keepalive(shim6_wire::Keepalive {
        receiver_tag: unknown,
    }));
    let r1bis = scene.receive(|received| {
        if let Message::R1bis(r1bis) = received.message {
            Some(r1bis)
        } else {
            None
        }
    });
    assert_eq!(r1bis.packet_tag, unknown);
    Message::I2bis(I2bis {
        initiator_tag: TAG,
        initiator_nonce: NONCE,
        responder_nonce: r1bis.responder_nonce,
        packet_tag: unknown,
        validator: r1bis.validator,
        ulids: None,
        fii: None,
        locators,
        keepalive_timeout: None,
    })
}

fn update(receiver_tag: ContextTag, locators: LocatorOptions) -> Message {
    Message::UpdateRequest(UpdateRequest {
        receiver_tag,
        request_nonce: RequestNonce(1),
        locators,
        keepalive_timeout: None,
    })
}
