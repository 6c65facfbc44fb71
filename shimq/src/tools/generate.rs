//! What `shimq cga new` and `shimq hba new` have in common: the search, and how it is watched.

use std::fmt;
use std::net::Ipv6Addr;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use clap::Args;
use indicatif::{HumanDuration, ProgressBar, ProgressState, ProgressStyle};
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;
use ring::rand::{SecureRandom, SystemRandom};
use serde::Serialize;
use shim6_cga::{Modifier, Search, random_modifier};

use super::ToolError;
use crate::search::{all_processors, search};

/// How addresses are generated.
#[derive(Args, Clone, Debug)]
pub(crate) struct GenerateArgs {
    /// Security parameter, 0 to 2 (RFC 3972 section 2): how hard the address is to forge, and to
    /// find. 1 takes milliseconds, 2 minutes.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u8).range(..=2))]
    pub(super) sec: u8,
    /// Threads of the search [default: one for each processor].
    #[arg(long, value_name = "N")]
    threads: Option<NonZeroUsize>,
    /// Print JSON.
    #[arg(long)]
    pub(super) json: bool,
}

/// What a search found.
#[derive(Clone, Copy, Debug)]
pub(super) struct Found {
    pub(super) modifier: Modifier,
    effort: Effort,
}

/// What a search took.
#[derive(Clone, Copy, Debug, Serialize)]
struct Effort {
    tries: u64,
    seconds: f64,
}

impl GenerateArgs {
    /// Searches a modifier, with a progress bar where somebody can see it.
    ///
    /// # Errors
    ///
    /// [`ToolError::Interrupted`] once `interrupted` is true; [`ToolError::Io`].
    pub(super) fn find(
        &self,
        public_key: &[u8],
        extensions: &[u8],
        interrupted: &AtomicBool,
    ) -> Result<Found, ToolError> {
        let start = random_modifier(&mut rng()?);
        let whole = Search::new(public_key, extensions, self.sec, start)?;
        let bar = progress_bar(self.sec);
        let begin = Instant::now();
        let modifier = search(
            &whole,
            self.threads.unwrap_or_else(all_processors),
            |tries| {
                bar.inc(tries);
                !interrupted.load(Ordering::Relaxed)
            },
        );
        let effort = Effort {
            tries: bar.position(),
            seconds: begin.elapsed().as_secs_f64(),
        };
        bar.finish_and_clear();
        let modifier = modifier.ok_or(ToolError::Interrupted)?;
        Ok(Found { modifier, effort })
    }
}

/// A generator seeded by the system.
pub(super) fn rng() -> Result<ChaCha20Rng, ToolError> {
    let mut seed = <ChaCha20Rng as SeedableRng>::Seed::default();
    SystemRandom::new()
        .fill(&mut seed)
        .map_err(|_| std::io::Error::other("the system has no random numbers"))?;
    Ok(ChaCha20Rng::from_seed(seed))
}

/// Shows tries, their rate, and how long a search takes on average; only on a terminal.
///
/// The average does not shrink while a search goes on: every try is as good as the first.
fn progress_bar(sec: u8) -> ProgressBar {
    if sec == 0 {
        return ProgressBar::hidden();
    }
    let bits = 16 * i32::from(sec);
    let tries = 2_f64.powi(bits);
    let style = ProgressStyle::with_template(
        "{wide_bar} {tries} of about {likely} M tries, {rate} M/s, {elapsed} of about {expected}",
    )
    .unwrap_or_else(|_| ProgressStyle::default_bar())
    .with_key(
        "tries",
        |state: &ProgressState, out: &mut dyn fmt::Write| {
            let _ = write!(out, "{}", state.pos() / 1_000_000);
        },
    )
    .with_key(
        "likely",
        move |_: &ProgressState, out: &mut dyn fmt::Write| {
            let _ = write!(out, "{:.0}", tries / 1e6);
        },
    )
    .with_key("rate", |state: &ProgressState, out: &mut dyn fmt::Write| {
        let _ = write!(out, "{:.1}", state.per_sec() / 1e6);
    })
    .with_key(
        "expected",
        move |state: &ProgressState, out: &mut dyn fmt::Write| {
            let seconds = tries / state.per_sec();
            // Too long to tell, or no try was made yet.
            let expected = Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX);
            let _ = write!(out, "{}", HumanDuration(expected));
        },
    );
    ProgressBar::new(1 << bits).with_style(style)
}

/// What was generated.
#[derive(Debug, Serialize)]
pub(super) struct Generated {
    kind: &'static str,
    sec: u8,
    /// Where the key is, if one was made.
    key_file: Option<PathBuf>,
    addresses: Vec<AddressFile>,
    #[serde(flatten)]
    effort: Effort,
}

/// An address, and where its parameters are.
#[derive(Debug, Serialize)]
pub(super) struct AddressFile {
    pub(super) address: Ipv6Addr,
    pub(super) file: PathBuf,
}

impl Generated {
    pub(super) fn new(
        kind: shim6_cga::Kind,
        sec: u8,
        key_file: Option<PathBuf>,
        addresses: Vec<AddressFile>,
        found: Found,
    ) -> Self {
        Self {
            kind: super::kind_name(kind),
            sec,
            key_file,
            addresses,
            effort: found.effort,
        }
    }
}

impl fmt::Display for Generated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for AddressFile { address, file } in &self.addresses {
            writeln!(f, "{address}  parameters in {}", file.display())?;
        }
        if let Some(file) = &self.key_file {
            writeln!(f, "its private key was made and is in {}", file.display())?;
        }
        Ok(())
    }
}
