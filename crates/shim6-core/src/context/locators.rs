//! What a peer claims to be its locators, and what it proves (RFC 5533 §7.2, §10.4).

use std::net::Ipv6Addr;
use std::sync::Arc;

use shim6_cga::{Method, PeerPds};
use shim6_wire::{
    ErrorCode, ListedLocator, LocatorList, LocatorOptions, LocatorPreferences, OptionType,
    VerificationMethod, option_offset,
};

use crate::dispatch::{Arrived, is_unicast};
use crate::endpoint::Endpoint;
use crate::event::DropReason;
use crate::locator::PeerLocators;

/// Octets between an option's Type and the first Verification Method of a Locator List: Type, Length,
/// generation, number of locators (RFC 5533 §5.15.2).
const METHODS_AT: usize = 4 + 4 + 1;

/// Why a claim is not taken over.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Refusal {
    pub(crate) reason: DropReason,
    /// What the peer is told: code, and where in the option of that type.
    pub(crate) report: Option<(ErrorCode, OptionType, usize)>,
}

impl Refusal {
    fn silent(reason: DropReason) -> Self {
        Self {
            reason,
            report: None,
        }
    }

    /// The locator at `index` is not what it claims to be, or claims it by a method unknown here.
    //= https://www.rfc-editor.org/rfc/rfc5533#section-7.2
    //= id=S-065
    //# the host MUST ignore the Locator List and the message in which it is
    //# contained
    //= https://www.rfc-editor.org/rfc/rfc5533#section-7.2
    //= id=S-066
    //# The host SHOULD generate a Shim6 Error message with Error Code=2 and with the Pointer
    //# referencing the octet in the verification method that was found inconsistent.
    fn method(index: usize) -> Self {
        Self {
            reason: DropReason::BadLocators,
            report: Some((
                ErrorCode::VerificationMethod,
                OptionType::LocatorList,
                METHODS_AT + index,
            )),
        }
    }
}

impl Endpoint {
    /// Verifies what `options` claim for `ulid`. Cheap checks come first, a signature last.
    ///
    /// `known` is Ls(peer) as it stands: a message may rely on a PDS sent before, and the same list
    /// again costs nothing.
    pub(super) fn prove(
        &mut self,
        ulid: Ipv6Addr,
        known: Option<&PeerLocators>,
        options: &LocatorOptions,
        arrived: &Arrived<'_>,
    ) -> Result<PeerLocators, Refusal> {
        //= https://www.rfc-editor.org/rfc/rfc5533#section-7.13
        //= id=S-096,S-110,S-124,S-147
        //# If a CGA Parameter Data Structure (PDS) is included in the message,
        //# then the host MUST verify if the actual PDS contained in the message
        //# corresponds to the ULID(peer).
        let pds = match &options.pds {
            Some(octets) => Some(Arc::new(
                PeerPds::verify(ulid, octets).map_err(|_| Refusal::silent(DropReason::BadPds))?,
            )),
            None => known.and_then(|known| known.pds.clone()),
        };
        let mut proven = match (&options.list, known) {
            (Some(list), _) => self.prove_list(list, known, pds, options, arrived)?,
            (None, Some(known)) => known.clone(),
            // RFC 5533 §7.6 wants a list, §5.6 calls it optional. Without one, the ULID is all that
            // the exchange itself bears out.
            (None, None) => PeerLocators::ulid_alone(ulid).with_pds(pds),
        };
        if let Some(preferences) = &options.preferences {
            adopt_preferences(&mut proven, preferences)?;
        }
        Ok(proven)
    }

    fn prove_list(
        &mut self,
        list: &LocatorList,
        known: Option<&PeerLocators>,
        pds: Option<Arc<PeerPds>>,
        options: &LocatorOptions,
        arrived: &Arrived<'_>,
    ) -> Result<PeerLocators, Refusal> {
        let mut claimed = Vec::with_capacity(list.locators.len());
        for (index, locator) in list.locators.iter().enumerate() {
            claimed.push((locator.address, method_of(*locator, index)?));
        }
        if let Some(known) = known.filter(|known| is_same_list(known, list)) {
            return Ok(known.clone());
        }
        let sensible = |&(address, _): &(Ipv6Addr, Method)| {
            is_unicast(address) && !address.is_unicast_link_local() && !self.local.contains(address)
        };
        if claimed.is_empty() || !claimed.iter().all(sensible) {
            return Err(Refusal::silent(DropReason::BadLocators));
        }
        let pds = pds.ok_or(Refusal::method(0))?;
        if !self.verification_budget.spend(arrived.now) {
            return Err(Refusal::silent(DropReason::OverBudget));
        }
        self.counters.verifications += 1;
        //= https://www.rfc-editor.org/rfc/rfc5533#section-7.2
        //= id=S-062,S-063
        //# the HBA/CGA verification SHOULD be performed by the host before the host acknowledges
        //# the new locator by sending either an Update Acknowledgement message or an R2 message.
        let verified = pds
            .verify_locators(list.generation.0, &claimed, options.signature.as_deref())
            .map_err(|refused| Refusal::method(refused.index))?;
        Ok(PeerLocators::new(verified, list.generation, pds))
    }

    /// Counts a refusal, and tells the peer where the RFC wants it told.
    //= https://www.rfc-editor.org/rfc/rfc5533#section-10.4
    //= id=S-149
    //# If the locator list cannot be verified, this procedure should send a Shim6 Error message
    //# with Error Code=2.
    pub(super) fn refuse(&mut self, refusal: Refusal, arrived: &Arrived<'_>) {
        self.counters.drop(refusal.reason);
        let Some((code, option, offset)) = refusal.report else {
            return;
        };
        if let Some(at) = option_offset(arrived.shim(), option) {
            self.send_error(code, at + offset, arrived);
        }
    }
}

fn method_of(locator: ListedLocator, index: usize) -> Result<Method, Refusal> {
    match locator.method {
        VerificationMethod::Hba => Ok(Method::Hba),
        VerificationMethod::Cga => Ok(Method::Cga),
        VerificationMethod::Other(_) => Err(Refusal::method(index)),
    }
}

/// The same generation of the same locators: proven when it first came.
fn is_same_list(known: &PeerLocators, list: &LocatorList) -> bool {
    known.generation == Some(list.generation)
        && known.len() == list.locators.len()
        && known
            .iter()
            .zip(&list.locators)
            .all(|(known, listed)| known.address() == listed.address)
}

//= https://www.rfc-editor.org/rfc/rfc5533#section-10.4
//= id=S-150
//# If the Update Request message contains a Locator Preference option,
//# then the generation number in the preference option is compared with
//# the peer generation number in the context.
fn adopt_preferences(
    locators: &mut PeerLocators,
    preferences: &LocatorPreferences,
) -> Result<(), Refusal> {
    /// Offset of the generation within the option: behind Type and Length (RFC 5533 §5.15.3).
    const GENERATION_AT: usize = 4;
    /// Offset of the Length field within the option.
    const LENGTH_AT: usize = 2;

    let refuse = |code, offset| Refusal {
        reason: DropReason::BadPreferences,
        report: Some((code, OptionType::LocatorPreferences, offset)),
    };
    if locators.generation != Some(preferences.generation) {
        return Err(refuse(ErrorCode::Generation, GENERATION_AT));
    }
    if preferences.elements.len() != locators.len() {
        return Err(refuse(ErrorCode::LocatorCount, LENGTH_AT));
    }
    locators.preferences.clone_from(&preferences.elements);
    Ok(())
}
