//! What each method proves, and what no method does.

use rsa::RsaPrivateKey;
use rsa::pkcs8::EncodePublicKey;

use super::*;
use crate::fixture::{PREFIXES, key, rng};
use crate::{MultiPrefix, form_address, generate_cga, generate_hba, next_collision};

const GENERATION: u32 = 9;

fn plain(n: u16) -> Ipv6Addr {
    Ipv6Addr::new(0x2001, 0xdb8, 0x77, 0, 0, 0, 0, n)
}

fn refused_at(index: usize, reason: CgaError) -> Result<Vec<VerifiedLocator>, Refused> {
    Err(Refused { index, reason })
}

fn addresses(verified: &[VerifiedLocator]) -> Vec<Ipv6Addr> {
    verified.iter().map(|locator| locator.address()).collect()
}

//= https://www.rfc-editor.org/rfc/rfc3972#section-6
//= type=test
//= id=C-031
//# The verifier MUST accept the signature as authentic only if both the CGA verification and
//# the signature verification succeed.
#[test]
fn a_signed_list_under_a_cga_is_verified_in_its_order() {
    let (ulid, pds) = generate_cga(key(), PREFIXES[0], 0, &mut rng(40)).unwrap();
    let peer = PeerPds::verify(ulid, pds.octets()).unwrap();
    let locators = [plain(2), ulid, plain(1)];
    let list = locators.map(|locator| (locator, Method::Cga));
    let signature = key().sign(GENERATION, &locators, &mut rng(40));
    let verified = peer
        .verify_locators(GENERATION, &list, Some(&signature))
        .unwrap();
    assert_eq!(addresses(&verified), locators);

    let refused = |generation, list: &[_], signature| {
        let refused = peer.verify_locators(generation, list, signature);
        refused.unwrap_err().reason
    };
    assert_eq!(refused(GENERATION, &list, None), CgaError::SignatureMissing);
    assert_eq!(
        refused(GENERATION + 1, &list, Some(&signature)),
        CgaError::Signature
    );
    assert_eq!(
        refused(GENERATION, &list[..2], Some(&signature)),
        CgaError::Signature
    );
}

#[test]
fn members_of_a_set_need_no_signature_and_no_order() {
    let set = generate_hba(&PREFIXES, None, 0, &mut rng(41)).unwrap();
    let peer = PeerPds::verify(set[0].0, set[0].1.octets()).unwrap();
    let list = [
        (set[2].0, Method::Hba),
        (set[0].0, Method::Hba),
        (set[1].0, Method::Hba),
    ];
    let verified = peer.verify_locators(GENERATION, &list, None).unwrap();
    assert_eq!(addresses(&verified), list.map(|(locator, _)| locator));
    // A signature that nothing asks for is not looked at.
    assert!(
        peer.verify_locators(GENERATION, &list, Some(b"junk"))
            .is_ok()
    );
}

#[test]
fn one_stranger_condemns_the_whole_list() {
    let set = generate_hba(&PREFIXES, None, 0, &mut rng(42)).unwrap();
    let peer = PeerPds::verify(set[0].0, set[0].1.octets()).unwrap();
    let hash_differs = Ipv6Addr::from_bits(set[1].0.to_bits() ^ 1);
    for (stranger, why) in [
        (plain(1), CgaError::NotInSet),
        (hash_differs, CgaError::Hash1),
    ] {
        let list = [(set[1].0, Method::Hba), (stranger, Method::Hba)];
        let refused = Refused {
            index: 1,
            reason: why,
        };
        assert_eq!(peer.verify_locators(GENERATION, &list, None), Err(refused));
    }
}

#[test]
fn a_method_that_the_parameters_cannot_back_is_named_by_its_place() {
    //= https://www.rfc-editor.org/rfc/rfc5533#section-7.2
    //= type=test
    //= id=S-065
    //# if the
    //# verification method is not
    //# consistent with the CGA Parameter Data Structure (e.g., the Parameter
    //# Data Structure doesn't contain the multiprefix extension and the
    //# verification method says to use HBA), then the host MUST ignore the
    //# Locator List and the message in which it is contained.
    let (ulid, pds) = generate_cga(key(), PREFIXES[0], 0, &mut rng(43)).unwrap();
    let cga = PeerPds::verify(ulid, pds.octets()).unwrap();
    // LinShim6 lets any CGA of the key pass as an HBA when there is no set.
    let (other, _) =
        form_address(pds.modifier(), PREFIXES[1], 0, key().public_key(), &[], 0).unwrap();
    let list = [(ulid, Method::Cga), (other, Method::Hba)];
    let refused = Refused {
        index: 1,
        reason: CgaError::Method {
            method: Method::Hba,
        },
    };
    assert_eq!(cga.verify_locators(GENERATION, &list, None), Err(refused));

    let set = generate_hba(&PREFIXES, None, 0, &mut rng(43)).unwrap();
    let hba = PeerPds::verify(set[0].0, set[0].1.octets()).unwrap();
    let list = [
        (set[1].0, Method::Hba),
        (set[0].0, Method::Hba),
        (plain(1), Method::Cga),
    ];
    let refused = Refused {
        index: 2,
        reason: CgaError::Method {
            method: Method::Cga,
        },
    };
    assert_eq!(
        hba.verify_locators(GENERATION, &list, Some(&[0; 128])),
        Err(refused)
    );
}

#[test]
fn a_compatible_set_takes_members_and_signed_newcomers_in_one_list() {
    //= https://www.rfc-editor.org/rfc/rfc5535#section-8.1
    //= type=test
    //= id=H-017
    //# Once
    //# that the signature is verified, the new address (PC:LC:addC) can be
    //# used in the communication.
    let set = generate_hba(&PREFIXES, Some(key()), 0, &mut rng(44)).unwrap();
    let peer = PeerPds::verify(set[0].0, set[0].1.octets()).unwrap();
    let list = [
        (set[1].0, Method::Hba),
        (plain(1), Method::Cga),
        (set[2].0, Method::Hba),
    ];
    let signature = key().sign(GENERATION, &[plain(1)], &mut rng(44));
    let verified = peer
        .verify_locators(GENERATION, &list, Some(&signature))
        .unwrap();
    assert_eq!(addresses(&verified), list.map(|(locator, _)| locator));

    let unsigned = [list[0], (plain(2), Method::Cga), list[2]];
    let refused = peer.verify_locators(GENERATION, &unsigned, Some(&signature));
    assert_eq!(refused, refused_at(1, CgaError::Signature));
}

#[test]
fn a_stranger_in_the_set_is_found_before_the_signature_is_checked() {
    let set = generate_hba(&PREFIXES, Some(key()), 0, &mut rng(45)).unwrap();
    let peer = PeerPds::verify(set[0].0, set[0].1.octets()).unwrap();
    let list = [(plain(1), Method::Cga), (plain(2), Method::Hba)];
    let refused = peer.verify_locators(GENERATION, &list, Some(&[0; 128]));
    assert_eq!(refused, refused_at(1, CgaError::NotInSet));
}

//= https://www.rfc-editor.org/rfc/rfc3972#section-6
//= type=test
//= id=C-031
//# The verifier MUST accept the signature as authentic only if both the CGA verification and
//# the signature verification succeed.
#[test]
fn siblings_parameters_prove_membership_but_bind_no_key() {
    let set = generate_hba(&PREFIXES, Some(key()), 0, &mut rng(46)).unwrap();
    let peer = PeerPds::verify(set[1].0, set[0].1.octets()).unwrap();
    assert!(
        peer.verify_locators(GENERATION, &[(set[2].0, Method::Hba)], None)
            .is_ok()
    );
    let signature = key().sign(GENERATION, &[plain(1)], &mut rng(46));
    let signed = [(plain(1), Method::Cga)];
    let refused = peer.verify_locators(GENERATION, &signed, Some(&signature));
    assert_eq!(refused, refused_at(0, CgaError::SubnetPrefix));
}

#[test]
fn a_compatible_ulid_outside_its_set_may_sign_but_has_no_siblings() {
    let set = MultiPrefix {
        has_public_key: true,
        prefixes: PREFIXES[..2].to_vec(),
    };
    let extension = set.to_extension().unwrap();
    let form = |prefix| form_address([5; 16], prefix, 0, key().public_key(), &extension, 0);
    let (ulid, pds) = form(PREFIXES[2]).unwrap();
    let (member, _) = form(PREFIXES[0]).unwrap();
    let peer = PeerPds::verify(ulid, pds.octets()).unwrap();
    let signature = key().sign(GENERATION, &[plain(1)], &mut rng(47));
    let signed = [(plain(1), Method::Cga)];
    assert!(
        peer.verify_locators(GENERATION, &signed, Some(&signature))
            .is_ok()
    );
    let refused = peer.verify_locators(GENERATION, &[(member, Method::Hba)], None);
    assert_eq!(refused, refused_at(0, CgaError::NotInSet));
}

#[test]
fn without_the_p_flag_a_key_is_a_nonce_and_lets_no_outsider_in() {
    let set = MultiPrefix {
        has_public_key: false,
        prefixes: PREFIXES[..2].to_vec(),
    };
    let extension = set.to_extension().unwrap();
    let (outsider, pds) =
        form_address([5; 16], PREFIXES[2], 0, key().public_key(), &extension, 0).unwrap();
    assert_eq!(verify_cga(outsider, &pds), Ok(()));
    assert_eq!(
        PeerPds::verify(outsider, pds.octets()).unwrap_err(),
        CgaError::NotInSet
    );
}

//= https://www.rfc-editor.org/rfc/rfc3972#section-6
//= type=test
//= id=C-030
//# Verify the CGA as defined in Section 5. The inputs to the CGA verification are the CGA and
//# the CGA Parameters data structure.
#[test]
fn parameters_of_another_ulid_are_refused() {
    let (ulid, pds) = generate_cga(key(), PREFIXES[0], 0, &mut rng(48)).unwrap();
    let other = Ipv6Addr::from_bits(ulid.to_bits() ^ 1);
    assert_eq!(
        PeerPds::verify(other, pds.octets()).unwrap_err(),
        CgaError::Hash1
    );
    let set = generate_hba(&PREFIXES, None, 0, &mut rng(48)).unwrap();
    assert_eq!(
        PeerPds::verify(ulid, set[0].1.octets()).unwrap_err(),
        CgaError::Hash1
    );
    assert_eq!(
        PeerPds::verify(plain(1), set[0].1.octets()).unwrap_err(),
        CgaError::NotInSet
    );
}

#[test]
fn a_short_key_signs_nothing_but_does_not_spoil_a_set() {
    //= https://www.rfc-editor.org/rfc/rfc5533#section-16
    //= type=test
    //= id=S-169
    //# The minimum acceptable key
    //# length for RSA keys used in the generation of CGAs MUST be at
    //# least 1024 bits.
    let short = RsaPrivateKey::new(&mut rng(49), 768).unwrap();
    let spki = short.to_public_key().to_public_key_der().unwrap();
    let too_short = CgaError::KeyLength {
        bits: 768,
        most: 8192,
    };

    let (ulid, pds) = form_address([6; 16], PREFIXES[0], 0, spki.as_bytes(), &[], 0).unwrap();
    assert_eq!(PeerPds::verify(ulid, pds.octets()).unwrap_err(), too_short);

    let set = MultiPrefix {
        has_public_key: true,
        prefixes: PREFIXES.to_vec(),
    };
    let extension = set.to_extension().unwrap();
    let form = |prefix| form_address([6; 16], prefix, 0, spki.as_bytes(), &extension, 0);
    let ((ulid, pds), (member, _)) = (form(PREFIXES[0]).unwrap(), form(PREFIXES[1]).unwrap());
    let peer = PeerPds::verify(ulid, pds.octets()).unwrap();
    assert!(
        peer.verify_locators(GENERATION, &[(member, Method::Hba)], None)
            .is_ok()
    );
    let signed = [(plain(1), Method::Cga)];
    let refused = peer.verify_locators(GENERATION, &signed, Some(&[0; 96]));
    assert_eq!(refused, refused_at(0, too_short));
}

#[test]
fn a_nonce_that_is_no_key_at_all_still_makes_a_set() {
    // 48 raw octets in the BIT STRING, as LinShim6 writes them.
    let header = [
        0x30, 0x42, 0x30, 0x0d, 6, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 1,
    ];
    let nonce = [&header[..], &[5, 0, 3, 0x31, 0], &[0x5a; 48]].concat();
    let set = MultiPrefix {
        has_public_key: false,
        prefixes: PREFIXES.to_vec(),
    };
    let extension = set.to_extension().unwrap();
    let form = |prefix| form_address([4; 16], prefix, 0, &nonce, &extension, 0);
    let ((ulid, pds), (member, _)) = (form(PREFIXES[0]).unwrap(), form(PREFIXES[1]).unwrap());
    let peer = PeerPds::verify(ulid, pds.octets()).unwrap();
    assert!(
        peer.verify_locators(GENERATION, &[(member, Method::Hba)], None)
            .is_ok()
    );
}

//= https://www.rfc-editor.org/rfc/rfc3972#section-5
//= type=test
//= id=C-022,C-023
//# the verifier SHOULD process all CGAs in the same way regardless of the Sec, modifier, and
//# collision count values.
#[test]
fn a_list_is_worth_the_same_whatever_sec_modifier_and_collision_count() {
    for sec in 0..=1 {
        let mut formed = generate_cga(key(), PREFIXES[0], sec, &mut rng(51)).unwrap();
        for count in 0..=2 {
            assert_eq!(formed.1.collision_count(), count);
            let peer = PeerPds::verify(formed.0, formed.1.octets()).unwrap();
            let list = [(formed.0, Method::Cga), (plain(1), Method::Cga)];
            let signature = key().sign(GENERATION, &[formed.0, plain(1)], &mut rng(51));
            let verified = peer.verify_locators(GENERATION, &list, Some(&signature));
            assert_eq!(
                addresses(&verified.unwrap()),
                list.map(|(locator, _)| locator)
            );
            if count < 2 {
                formed = next_collision(formed.0, &formed.1).unwrap();
            }
        }
    }
}

#[test]
fn an_empty_list_verifies_to_nothing() {
    let (ulid, pds) = generate_cga(key(), PREFIXES[0], 0, &mut rng(50)).unwrap();
    let peer = PeerPds::verify(ulid, pds.octets()).unwrap();
    assert_eq!(peer.verify_locators(GENERATION, &[], None), Ok(Vec::new()));
}
