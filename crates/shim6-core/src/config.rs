//! Every constant of RFC 5533 §14 and RFC 5534 §7, and the few limits of ours.

use std::time::Duration;

use crate::reap::ExplorationPolicy;

/// The numbers a host runs by. [`Config::default`] is the RFCs' section of constants.
#[derive(Clone, Debug)]
pub struct Config {
    /// `I1_TIMEOUT`: first wait for an R1 (RFC 5533 §14).
    pub i1_timeout: Duration,
    /// `I1_RETRIES_MAX` (RFC 5533 §14).
    pub i1_retries_max: u32,
    /// `NO_R1_HOLDDOWN_TIME`: how long silence is taken for an answer (RFC 5533 §14).
    pub no_r1_holddown: Duration,
    /// `ICMP_HOLDDOWN_TIME`: how long an ICMPv6 refusal is remembered (RFC 5533 §14).
    pub icmp_holddown: Duration,
    /// `I2_TIMEOUT` and `I2bis_TIMEOUT` (RFC 5533 §14).
    pub i2_timeout: Duration,
    /// `I2_RETRIES_MAX` and `I2bis_RETRIES_MAX` (RFC 5533 §14).
    pub i2_retries_max: u32,
    /// `VALIDATOR_MIN_LIFETIME` (RFC 5533 §14).
    pub validator_min_lifetime: Duration,
    /// `UPDATE_TIMEOUT` (RFC 5533 §14).
    pub update_timeout: Duration,
    /// `MAX_UPDATE_TIMEOUT` (RFC 5533 §14).
    pub max_update_timeout: Duration,
    /// Silence after which a context is given up; RFC 5533 §9 asks for five minutes at the least.
    pub idle_lifetime: Duration,

    /// Send Timeout (RFC 5534 §7). RECOMMENDED between 10 and 100 seconds.
    pub send_timeout: Duration,
    /// Initial Probe Timeout (RFC 5534 §7).
    pub initial_probe_timeout: Duration,
    /// Number of Initial Probes (RFC 5534 §7).
    pub initial_probes: u32,
    /// Max Probe Timeout (RFC 5534 §7).
    pub max_probe_timeout: Duration,
    /// In which order pairs are probed.
    pub exploration: ExplorationPolicy,
    /// Pairs that are probed at once when an exploration begins; RFC 5534 §4.3 wants one.
    pub initial_burst: u32,

    /// Probes a second that this host sends of itself, over all contexts; as many again at once after a
    /// quiet second. Answers to the probes of peers are not counted.
    pub probes_per_second: u32,
    /// How long a pair that took over is stayed on, though a better one may work again; longer after
    /// each return that did not last.
    pub return_interval: Duration,
    /// Whether a silence, an ICMPv6 error or a change of a link makes the current pair be tested before
    /// the Send Timeout does.
    pub hints: bool,
    /// Silence of a flow that normally answers, after which its pair is tested; the kernel's rules and
    /// the flow tables let packets of such a flow be seen.
    pub suspicious_silence: Duration,
    /// The least time a test of the current pair waits for its answer before other pairs are probed.
    pub test_timeout: Duration,
    /// The least time between two tests of one context.
    pub test_interval: Duration,

    /// Whether ICMPv6 errors reach the upper layer even where Shim6 acts upon them (RFC 5533 §8).
    pub deliver_icmp_errors: bool,

    /// Answers that strangers can draw (R1, R1bis, Error) a second, all together.
    pub answers_per_second: u32,
    /// I2 and I2bis with a good validator whose signatures are looked at, a second.
    pub verifications_per_second: u32,
    /// Contexts held at once; more are refused. Peers may begin three quarters of them; a quarter may
    /// be waiting for an answer, or for the time to ask again.
    pub contexts_max: usize,
    /// Contexts that peers of one /48 may begin, forks included.
    pub contexts_per_site_max: usize,
    /// Pairs that the trigger keeps counts of at once.
    pub candidates_max: usize,
}

impl Default for Config {
    //= https://www.rfc-editor.org/rfc/rfc5533#section-14
    //= id=S-166
    //# The protocol uses the following constants:
    fn default() -> Self {
        let secs = Duration::from_secs;
        Self {
            i1_timeout: secs(4),
            i1_retries_max: 4,
            no_r1_holddown: secs(60),
            icmp_holddown: secs(600),
            i2_timeout: secs(4),
            i2_retries_max: 2,
            validator_min_lifetime: secs(30),
            update_timeout: secs(4),
            max_update_timeout: secs(120),
            idle_lifetime: secs(600),
            //= https://www.rfc-editor.org/rfc/rfc5534#section-7
            //= id=R-055
            //# The following protocol constants are defined:
            send_timeout: secs(15),
            initial_probe_timeout: Duration::from_millis(500),
            initial_probes: 4,
            max_probe_timeout: secs(60),
            exploration: ExplorationPolicy::default(),
            initial_burst: 1,
            probes_per_second: 10_000,
            return_interval: secs(60),
            hints: true,
            suspicious_silence: Duration::from_millis(60),
            test_timeout: Duration::from_millis(40),
            test_interval: secs(1),
            deliver_icmp_errors: false,
            answers_per_second: 10_000,
            verifications_per_second: 5_000,
            contexts_max: 200_000,
            contexts_per_site_max: 4_096,
            candidates_max: 65_536,
        }
    }
}

impl Config {
    /// Keepalive Interval for a peer that asked for `keepalive_timeout`.
    ///
    //= https://www.rfc-editor.org/rfc/rfc5534#section-4.1
    //= id=R-008
    //# The RECOMMENDED approach for the Keepalive Interval is to send keepalives at one-half to
    //# one-third of the Keepalive Timeout interval
    #[must_use]
    pub fn keepalive_interval(keepalive_timeout: Duration) -> Duration {
        // Rounded up: the third keepalive is due when the Keepalive Timeout is, not just before.
        let micros = u64::try_from(keepalive_timeout.as_micros()).unwrap_or(u64::MAX);
        Duration::from_micros(micros.div_ceil(3))
    }
}
