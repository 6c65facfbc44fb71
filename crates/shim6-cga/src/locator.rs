//! Does a peer's locator list belong to its ULID? (RFC 5533 §7.2)
//!
//! Verification is the only way to a [`VerifiedLocator`]; that the peer can be reached there is
//! another question, which a probe answers. Checks are ordered cheapest first: methods against the
//! kind of the parameters, HBA members (two hashes each), then the one signature.

use std::net::Ipv6Addr;

use crate::key::PeerKey;
use crate::{CgaError, Kind, Pds, verify_cga, verify_hba};

/// How a locator claims to belong to its ULID (RFC 5533 §5.15.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Method {
    /// By membership in the HBA set.
    Hba,
    /// By the signature that comes with the list.
    Cga,
}

/// A locator that was found to belong to the ULID of its owner (RFC 5533 §7.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VerifiedLocator(Ipv6Addr);

impl VerifiedLocator {
    /// The ULID as a locator, which needs no proof. Give it nothing but the context's ULID.
    //= https://www.rfc-editor.org/rfc/rfc5533#section-7.2
    //= id=S-063
    //# Before a host can use a locator (different than the ULID) as the
    //# destination locator, it MUST perform the HBA/CGA verification if this
    //# was not performed upon reception of the locator set.
    pub fn ulid(ulid: Ipv6Addr) -> Self {
        Self(ulid)
    }

    /// The address.
    pub fn address(self) -> Ipv6Addr {
        self.0
    }
}

/// Parameters of a peer that were found to belong to its ULID.
///
/// CGA-compatible parameters may serve one method and not the other: their ULID may be a CGA
/// outside the set, an HBA of the set that is not the one they were written for, or carry a key too
/// short to sign. What a method lacks is reported when a list uses it.
#[derive(Clone, Debug)]
pub struct PeerPds {
    pds: Pds,
    /// For method HBA: the ULID is in the set.
    membership: Result<(), CgaError>,
    /// For method CGA: the ULID is bound to this key.
    key: Result<PeerKey, CgaError>,
}

impl PeerPds {
    /// Parses `octets`, which end with the structure, and checks that they belong to `ulid`.
    ///
    /// # Errors
    ///
    /// Those of [`Pds::parse`]; of [`verify_hba`] if there is a prefix set, else of [`verify_cga`],
    /// [`CgaError::NotRsa`] or [`CgaError::KeyLength`].
    pub fn verify(ulid: Ipv6Addr, octets: &[u8]) -> Result<Self, CgaError> {
        let pds = Pds::parse(octets)?;
        let membership = verify_hba(ulid, &pds);
        let key = match pds.kind() {
            // Without the P flag there is a nonce, which others do not even encode as a key.
            Kind::Hba => Err(CgaError::NotRsa),
            Kind::Cga | Kind::CgaCompatibleHba => {
                verify_cga(ulid, &pds).and_then(|()| PeerKey::from_spki(pds.public_key()))
            }
        };
        match (pds.kind(), membership, &key) {
            (_, Ok(()), _) | (_, _, Ok(_)) => Ok(Self {
                pds,
                membership,
                key,
            }),
            (Kind::Cga, Err(_), &Err(error))
            | (Kind::Hba | Kind::CgaCompatibleHba, Err(error), Err(_)) => Err(error),
        }
    }

    /// The parameters.
    pub fn pds(&self) -> &Pds {
        &self.pds
    }

    /// Verifies a whole locator list: all of it, in order, or none.
    ///
    /// `generation` is its Locator List Generation. `signature` is the content of the CGA Signature
    /// option without padding; it is not looked at unless a locator's method is CGA.
    ///
    /// # Errors
    ///
    /// [`CgaError::Method`] with the first locator whose method the parameters cannot back;
    /// [`CgaError::SignatureMissing`]; why the ULID or a locator is not in the set; why the ULID is
    /// not bound to a usable key; [`CgaError::Signature`].
    ///
    /// Source: RFC 5533 §5.15.5, §7.2.
    pub fn verify_locators(
        &self,
        generation: u32,
        list: &[(Ipv6Addr, Method)],
        signature: Option<&[u8]>,
    ) -> Result<Vec<VerifiedLocator>, CgaError> {
        for (index, &(_, method)) in list.iter().enumerate() {
            self.check_method(index, method)?;
        }
        let with = |wanted| {
            let of_method = list.iter().filter(move |(_, method)| *method == wanted);
            of_method.map(|&(locator, _)| locator).collect::<Vec<_>>()
        };
        let (members, signed) = (with(Method::Hba), with(Method::Cga));
        let signature = match signature {
            None if !signed.is_empty() => return Err(CgaError::SignatureMissing),
            signature => signature.unwrap_or_default(),
        };
        if !members.is_empty() {
            self.membership?;
            members
                .iter()
                .try_for_each(|&locator| verify_hba(locator, &self.pds))?;
        }
        if !signed.is_empty() {
            //= https://www.rfc-editor.org/rfc/rfc3972#section-6
            //= id=C-031
            //# The verifier MUST accept the signature as authentic only if both the
            //# CGA verification and the signature verification succeed.
            self.key
                .as_ref()
                .map_err(|&error| error)?
                .verify(generation, &signed, signature)?;
        }
        Ok(list
            .iter()
            .map(|&(locator, _)| VerifiedLocator(locator))
            .collect())
    }

    //= https://www.rfc-editor.org/rfc/rfc5533#section-7.2
    //= id=S-065
    //# if the
    //# verification method is not
    //# consistent with the CGA Parameter Data Structure (e.g., the Parameter
    //# Data Structure doesn't contain the multiprefix extension and the
    //# verification method says to use HBA), then the host MUST ignore the
    //# Locator List and the message in which it is contained.
    fn check_method(&self, index: usize, method: Method) -> Result<(), CgaError> {
        match (self.pds.kind(), method) {
            (Kind::Cga, Method::Hba) | (Kind::Hba, Method::Cga) => {
                Err(CgaError::Method { index, method })
            }
            (Kind::Cga | Kind::CgaCompatibleHba, Method::Cga)
            | (Kind::Hba | Kind::CgaCompatibleHba, Method::Hba) => Ok(()),
        }
    }
}
