//! Addresses that are being searched for, on other threads.
//!
//! Decides nothing about where: it forms what its caller says, one CGA or one whole set at a time.

use std::collections::BTreeSet;
use std::net::Ipv6Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rand_chacha::ChaCha20Rng;
use shim6_cga::{
    CgaError, MultiPrefix, Pds, Search, SubnetPrefix, form_address, random_modifier, random_nonce,
};
use tokio::task::JoinSet;

use super::formed::Place;
use super::owner::{Owner, Proof};
use super::store::Parameters;
use super::{HostError, child};
use crate::search::all_processors;

/// What a search ended with: an address for each of its places; `None` if nobody wants it any more.
type Outcome = Result<Option<Vec<Parameters>>, CgaError>;

/// The searches that run.
pub(super) struct Searches {
    tasks: JoinSet<(Vec<Place>, Outcome)>,
    running: BTreeSet<Place>,
    /// Tells the searches that nobody waits for them any more.
    unwanted: Arc<AtomicBool>,
}

impl Drop for Searches {
    fn drop(&mut self) {
        self.unwanted.store(true, Ordering::Relaxed);
    }
}

impl Searches {
    /// Runs none yet.
    pub(super) fn new() -> Self {
        Self {
            tasks: JoinSet::new(),
            running: BTreeSet::new(),
            unwanted: Arc::new(AtomicBool::new(false)),
        }
    }

    /// Whether an address is being searched for here.
    pub(super) fn runs_for(&self, place: &Place) -> bool {
        self.running.contains(place)
    }

    /// Searches addresses of `owner`: one CGA, or a set with a member at each of the `places`.
    pub(super) fn start(&mut self, places: Vec<Place>, owner: &Owner, rng: &mut ChaCha20Rng) {
        self.running.extend(places.iter().cloned());
        let (owner, mut rng) = (owner.clone(), child(rng));
        let unwanted = Arc::clone(&self.unwanted);
        self.tasks.spawn_blocking(move || {
            let prefixes: Vec<_> = places.iter().map(|(_, prefix)| *prefix).collect();
            let found = form(&owner, &prefixes, &mut rng, &unwanted);
            (places, found)
        });
    }

    /// Waits for addresses to be found; for ever if none are searched for.
    ///
    /// # Errors
    ///
    /// [`HostError::Cga`] if they cannot be. Whatever came of it, none are searched for there any more.
    pub(super) async fn found(&mut self) -> Result<Vec<(Place, Ipv6Addr, Pds)>, HostError> {
        let Some(joined) = self.tasks.join_next().await else {
            return std::future::pending().await;
        };
        let (places, found) = joined.map_err(|error| {
            HostError::netlink("searching a modifier", std::io::Error::other(error))
        })?;
        for place in &places {
            self.running.remove(place);
        }
        let found = found?.unwrap_or_default();
        let members = places.into_iter().zip(found);
        Ok(members
            .map(|(place, (address, pds))| (place, address, pds))
            .collect())
    }
}

/// Forms addresses, one for each prefix; `None` if they became unwanted before they were found.
fn form(
    owner: &Owner,
    prefixes: &[SubnetPrefix],
    rng: &mut ChaCha20Rng,
    unwanted: &AtomicBool,
) -> Outcome {
    let set = MultiPrefix {
        has_public_key: owner.key().is_some(),
        prefixes: prefixes.to_vec(),
    };
    let (public_key, extensions) = match &owner.proof {
        Proof::Cga(key) => (key.public_key().to_owned(), Vec::new()),
        Proof::CgaHba(key) => (key.public_key().to_owned(), set.to_extension()?),
        Proof::Hba => (random_nonce(rng), set.to_extension()?),
    };
    let whole = Search::new(&public_key, &extensions, owner.sec, random_modifier(rng))?;
    let modifier = crate::search::search(&whole, all_processors(), |_| {
        !unwanted.load(Ordering::Relaxed)
    });
    let Some(modifier) = modifier else {
        return Ok(None);
    };
    let members = prefixes
        .iter()
        .map(|&prefix| form_address(modifier, prefix, 0, &public_key, &extensions, owner.sec));
    members.collect::<Result<_, _>>().map(Some)
}
