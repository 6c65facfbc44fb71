//! Known answers: RFC 3972 appendix A, structures made by other implementations, and attacks.
//!
//! `expect` in the file is what the RFCs require; `linshim6` is what LinShim6 0.9.1 says, kept for
//! whoever wonders about a difference.

#![allow(
    clippy::unwrap_used,
    reason = "a test file as a whole; clippy.toml covers test functions"
)]

use std::net::Ipv6Addr;

use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;
use rsa::pkcs1::RsaPublicKey;
use rsa::pkcs8::der::Decode;
use rsa::pkcs8::spki::SubjectPublicKeyInfoRef;
use serde_json::Value;
use shim6_cga::{
    CgaError, Kind, Method, Pds, PeerPds, Search, SigningKey, form_address, verify_cga, verify_hba,
};

fn file() -> Value {
    serde_json::from_str(include_str!("vectors/cga-hba.json")).unwrap()
}

/// The vectors of one kind with their names.
fn vectors(section: &str) -> Vec<(String, Value)> {
    let vectors = file()[section].as_array().unwrap().clone();
    vectors
        .into_iter()
        .map(|vector| (text(&vector, "id").to_owned(), vector))
        .collect()
}

fn text<'a>(vector: &'a Value, field: &str) -> &'a str {
    vector[field].as_str().unwrap()
}

fn octets(vector: &Value, field: &str) -> Vec<u8> {
    let hex = text(vector, field);
    (0..hex.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap())
        .collect()
}

fn address(vector: &Value, field: &str) -> Ipv6Addr {
    text(vector, field).parse().unwrap()
}

//= https://www.rfc-editor.org/rfc/rfc3972#section-3
//= type=test
//= id=C-009
//# The two hash values MUST be computed as follows.
#[test]
fn every_address_vector_gets_the_verdict_of_the_rfcs() {
    let vectors = vectors("address_vectors");
    let mut verdicts = 0;
    for (id, vector) in &vectors {
        let address = address(vector, "address");
        let pds = Pds::parse(&octets(vector, "params"));
        let verify = |verify: fn(Ipv6Addr, &Pds) -> Result<(), CgaError>| {
            pds.as_ref()
                .map_err(|&error| error)
                .and_then(|pds| verify(address, pds))
        };
        for (method, verdict) in [("cga", verify(verify_cga)), ("hba", verify(verify_hba))] {
            if let Some(expected) = vector["expect"][method].as_bool() {
                assert_eq!(verdict.is_ok(), expected, "{id} as {method}: {verdict:?}");
                verdicts += 1;
            }
        }
    }
    assert_eq!((vectors.len(), verdicts), (27, 41), "the file has changed");
}

#[test]
fn flags_and_keys_are_read_as_the_vectors_describe_them() {
    for (id, vector) in vectors("address_vectors") {
        let Ok(pds) = Pds::parse(&octets(&vector, "params")) else {
            continue;
        };
        if let Some(flag) = vector["p_flag"].as_bool() {
            assert_eq!(pds.multi_prefix().unwrap().has_public_key, flag, "{id}");
            assert_eq!(
                pds.kind(),
                if flag {
                    Kind::CgaCompatibleHba
                } else {
                    Kind::Hba
                },
                "{id}"
            );
        }
        if let Some(well_formed) = vector["rsa_key_well_formed"].as_bool() {
            let spki = SubjectPublicKeyInfoRef::from_der(pds.public_key()).unwrap();
            let key = RsaPublicKey::from_der(spki.subject_public_key.raw_bytes());
            assert_eq!(key.is_ok(), well_formed, "{id}");
        }
    }
}

/// Sound vectors are reproduced to the bit, whoever generated them.
//= https://www.rfc-editor.org/rfc/rfc3972#section-4
//= type=test
//= id=C-010,C-015
//# A CGA and associated parameters SHOULD be generated as follows:
#[test]
fn every_sound_address_is_formed_again_from_its_parameters() {
    let mut formed = 0;
    for (id, vector) in vectors("address_vectors") {
        let bent = ["sec-lowered-to-0", "u-bit-set"].contains(&id.as_str());
        if vector["expect"]["cga"] != true || bent {
            continue;
        }
        let pds = Pds::parse(&octets(&vector, "params")).unwrap();
        let expected = address(&vector, "address");
        let again = form_address(
            pds.modifier(),
            pds.subnet_prefix(),
            pds.collision_count(),
            pds.public_key(),
            pds.extensions(),
            expected.octets()[8] >> 5,
        );
        assert_eq!(again, Ok((expected, pds)), "{id}");
        formed += 1;
    }
    assert!(formed > 10);
}

/// RFC 3972 appendix A: the modifier ...9a fails, its successor ...9b is good for Sec 1.
#[test]
fn the_search_of_the_rfc_example_ends_at_its_modifier() {
    let (_, vector) = vectors("address_vectors").remove(0);
    let pds = Pds::parse(&octets(&vector, "params")).unwrap();
    let mut start = pds.modifier();
    start[15] -= 1;
    let mut search = Search::new(pds.public_key(), pds.extensions(), 1, start).unwrap();
    assert_eq!(search.step(10), Some(pds.modifier()));
    assert_eq!(search.tries(), 2);
}

/// A signature vector: the peer's answer to the list, and the parts that made it.
struct Signed {
    ulid: Ipv6Addr,
    params: Vec<u8>,
    generation: u32,
    list: Vec<(Ipv6Addr, Method)>,
    signature: Vec<u8>,
}

impl Signed {
    fn read(vector: &Value) -> Self {
        let list = vector["locators"]
            .as_array()
            .unwrap()
            .iter()
            .map(|locator| {
                let method = match locator[1].as_str().unwrap() {
                    "hba" => Method::Hba,
                    "cga" => Method::Cga,
                    other => panic!("method {other}"),
                };
                (locator[0].as_str().unwrap().parse().unwrap(), method)
            });
        Self {
            ulid: address(vector, "ulid"),
            params: octets(vector, "params"),
            generation: u32::try_from(vector["generation"].as_u64().unwrap()).unwrap(),
            list: list.collect(),
            signature: octets(vector, "signature"),
        }
    }

    fn cga_locators(&self) -> Vec<Ipv6Addr> {
        let cga = self
            .list
            .iter()
            .filter(|(_, method)| *method == Method::Cga);
        cga.map(|&(locator, _)| locator).collect()
    }

    fn verify(&self, list: &[(Ipv6Addr, Method)]) -> Result<Vec<Ipv6Addr>, CgaError> {
        let peer = PeerPds::verify(self.ulid, &self.params)?;
        let verified = peer
            .verify_locators(self.generation, list, Some(&self.signature))
            .map_err(|refused| refused.reason)?;
        Ok(verified.iter().map(|locator| locator.address()).collect())
    }
}

#[test]
fn every_signature_vector_gets_the_verdict_of_the_rfcs() {
    let vectors = vectors("signature_vectors");
    for (id, vector) in &vectors {
        let signed = Signed::read(vector);
        // The verdict is on the signature, so the locators under it are asked about.
        let cga: Vec<_> = signed
            .cga_locators()
            .iter()
            .map(|&cga| (cga, Method::Cga))
            .collect();
        let verified = signed.verify(&cga);
        assert_eq!(
            verified.is_ok(),
            vector["expect"] == true,
            "{id}: {verified:?}"
        );
    }
    assert_eq!(vectors.len(), 9, "the file has changed");
}

#[test]
fn an_hba_locator_beside_signed_ones_must_prove_itself() {
    for (id, vector) in vectors("signature_vectors") {
        let signed = Signed::read(&vector);
        let verified = signed.verify(&signed.list);
        if id == "sig-hbacga-new-prefix" {
            let all: Vec<_> = signed.list.iter().map(|&(locator, _)| locator).collect();
            assert_eq!(verified, Ok(all), "{id}");
        } else if id.starts_with("sig-hba-locators-not-covered") {
            let refused = CgaError::Method {
                method: Method::Hba,
            };
            assert_eq!(verified, Err(refused), "{id}");
        } else {
            assert_eq!(verified.is_ok(), vector["expect"] == true, "{id}");
        }
    }
}

/// PKCS#1 v1.5 is deterministic, so equal keys and lists have equal signatures.
//= https://www.rfc-editor.org/rfc/rfc3972#section-7.1
//= type=test
//= id=C-032
//# Implementations that initially use short RSA keys SHOULD be prepared to switch to longer keys
//# when denial-of-service attacks arising from integer factoring become a problem.
//= https://www.rfc-editor.org/rfc/rfc3972#section-6
//= type=test
//= id=C-029
//# Generate the RSA signature by using the RSASSA-PKCS1-v1_5 [RFC3447] signature algorithm with
//# the SHA-1 hash algorithm.
#[test]
fn our_signatures_equal_those_of_the_vectors() {
    let mut rng = ChaCha20Rng::seed_from_u64(0);
    let keys = file()["test_keys"].clone();
    let keys =
        ["1024", "2048"].map(|bits| SigningKey::from_pem(keys[bits].as_str().unwrap()).unwrap());
    let mut compared = 0;
    for (id, vector) in vectors("signature_vectors") {
        if vector["expect"] == true {
            let signed = Signed::read(&vector);
            let pds = Pds::parse(&signed.params).unwrap();
            let key = keys
                .iter()
                .find(|key| key.public_key() == pds.public_key())
                .unwrap();
            let ours = key.sign(signed.generation, &signed.cga_locators(), &mut rng);
            assert_eq!(ours, signed.signature, "{id}");
            compared += 1;
        }
    }
    assert_eq!(compared, 5);
}
