//! Does a peer's locator list belong to its ULID? (RFC 5533 §7.2)
//!
//! Verification is the only way to a [`VerifiedLocator`]; that the peer can be reached there is
//! another question, which a probe answers. Checks are ordered cheapest first: methods against the
//! kind of the parameters, HBA members (two hashes each), then the one signature.

#[cfg(test)]
mod tests;

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

/// Which locator condemned its list, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("locator {index}: {reason}")]
pub struct Refused {
    /// Index in the list; the Pointer of an Error message is derived from it (RFC 5533 §7.2).
    pub index: usize,
    /// What is wrong with it.
    pub reason: CgaError,
}

/// Parameters of a peer that were found to belong to its ULID.
///
/// CGA-compatible parameters may serve one method and not the other: their ULID may be a CGA
/// outside the set, an HBA of the set that is not the one they were written for, or carry a key too
/// short to sign. What a method lacks is reported when a list uses it.
///
/// The cost of a list is bounded by the octets of its message: two hashes over the parameters for
/// each HBA, and one signature check.
#[derive(Clone, Debug)]
pub struct PeerPds {
    pds: Pds,
    /// For method HBA: the ULID is in the set.
    membership: Result<(), CgaError>,
    /// For method CGA: the ULID is bound to the key, and that is one.
    binding: Result<(), CgaError>,
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
        let binding = match pds.kind() {
            // Without the P flag there is a nonce, which others do not even encode as a key.
            Kind::Hba => Err(CgaError::NotRsa),
            Kind::Cga | Kind::CgaCompatibleHba => {
                verify_cga(ulid, &pds).and_then(|()| PeerKey::from_spki(pds.public_key()).map(drop))
            }
        };
        //= https://www.rfc-editor.org/rfc/rfc3972#section-6
        //= id=C-030
        //# Verify the CGA as defined in Section 5. The inputs to the CGA verification are the CGA
        //# and the CGA Parameters data structure.
        match (pds.kind(), membership, binding) {
            (_, Ok(()), _) | (_, _, Ok(())) => Ok(Self {
                pds,
                membership,
                binding,
            }),
            (Kind::Cga, Err(_), Err(error))
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
    /// [`Refused`], with [`CgaError::Method`] for the first locator whose method the parameters cannot
    /// back; [`CgaError::SignatureMissing`]; why the ULID or a locator is not in the set; why the ULID
    /// is not bound to a usable key; [`CgaError::Signature`]. What concerns all locators of a method
    /// is laid to the first of them.
    ///
    /// Source: RFC 5533 §5.15.5, §7.2.
    pub fn verify_locators(
        &self,
        generation: u32,
        list: &[(Ipv6Addr, Method)],
        signature: Option<&[u8]>,
    ) -> Result<Vec<VerifiedLocator>, Refused> {
        let refused = |index| move |reason| Refused { index, reason };
        for (index, &(_, method)) in list.iter().enumerate() {
            self.check_method(method).map_err(refused(index))?;
        }
        let of_method = |wanted| {
            let all = list.iter().enumerate();
            all.filter(move |(_, (_, method))| *method == wanted)
                .map(|(index, &(locator, _))| (index, locator))
        };
        let (first_signed, signed): (Vec<_>, Vec<_>) = of_method(Method::Cga).unzip();
        let signature = first_signed
            .first()
            .map(|&first| {
                let signature = signature.ok_or(CgaError::SignatureMissing);
                Ok((first, signature.map_err(refused(first))?))
            })
            .transpose()?;
        for (index, locator) in of_method(Method::Hba) {
            self.membership
                .and_then(|()| verify_hba(locator, &self.pds))
                .map_err(refused(index))?;
        }
        //= https://www.rfc-editor.org/rfc/rfc5535#section-8.1
        //= id=H-017
        //# Once that the signature is verified, the new address (PC:LC:addC) can be used in the
        //# communication.
        if let Some((first, signature)) = signature {
            //= https://www.rfc-editor.org/rfc/rfc3972#section-6
            //= id=C-031
            //# The verifier MUST accept the signature as authentic only if both the
            //# CGA verification and the signature verification succeed.
            self.binding
                .and_then(|()| PeerKey::from_spki(self.pds.public_key()))
                .and_then(|key| key.verify(generation, &signed, signature))
                .map_err(refused(first))?;
        }
        Ok(list
            .iter()
            .map(|&(locator, _)| VerifiedLocator(locator))
            .collect())
    }

    /// Whether parameters of this kind can back `method`.
    //= https://www.rfc-editor.org/rfc/rfc5533#section-7.2
    //= id=S-065
    //# if the
    //# verification method is not
    //# consistent with the CGA Parameter Data Structure (e.g., the Parameter
    //# Data Structure doesn't contain the multiprefix extension and the
    //# verification method says to use HBA), then the host MUST ignore the
    //# Locator List and the message in which it is contained.
    fn check_method(&self, method: Method) -> Result<(), CgaError> {
        match (self.pds.kind(), method) {
            (Kind::Cga, Method::Hba) | (Kind::Hba, Method::Cga) => Err(CgaError::Method { method }),
            (Kind::Cga | Kind::CgaCompatibleHba, Method::Cga)
            | (Kind::Hba | Kind::CgaCompatibleHba, Method::Hba) => Ok(()),
        }
    }
}
