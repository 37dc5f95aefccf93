//! Measuring hypercalls with bare guests.
//!
//! Time is taken in the guest, as the guest waits, with its time stamp counter: the readings stand on both sides of the
//! call and nothing else. How long a tick is comes from the same run: each vCPU tells the host when it starts and when
//! it stops, with the counter's value, and the host looks at its own clock each time. Both moments are late by one exit
//! (microseconds in a run of seconds), so that it cancels, and no rate has to be taken on trust.
//!
//! Single calls are reported by their median: on a machine with fewer processors than vCPUs the mean counts the time in
//! which the vCPU did not run at all.

use std::time::Duration;

use serde::Serialize;
use tmem_bare::bench::{Counters, Parameters, Timed};
use tmem_core::{ClientConfig, Store, StoreConfig};

use super::core_put::core_put_ns;
use super::{
    BareError, Durations, Machine, MachineConfig, Measured, Outcome, Payload, Plan, Setting, Until, run,
};
use crate::kvm::System;

/// Pages that a vCPU puts, gets and flushes one by one in a round.
const PAGES: u64 = 64;
/// How long guests may take longer than they were asked to run: the last round, on a busy machine.
const GRACE: Duration = Duration::from_secs(120);

/// What to measure.
#[derive(Clone, Copy, Debug)]
pub struct BenchConfig {
    /// Guests at the same time.
    pub guests: u32,
    /// vCPUs of each.
    pub vcpus: u32,
    /// How long.
    pub time: Duration,
    /// Entries of a batch, 1 to 512; 0 for no batches.
    pub batch: u32,
    /// Where the contents of pages start.
    pub seed: u64,
}

/// Batches.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct BatchReport {
    /// Entries of one.
    pub n: u32,
    /// Nanoseconds a page, of a batch of puts (median).
    pub put_ns_per_page: f64,
    /// Nanoseconds a page, of a batch of gets (median).
    pub get_ns_per_page: f64,
    /// A page's put in a batch, by a put into the store alone and its part of a null call.
    pub put_ratio: f64,
}

/// What was measured.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct BenchReport {
    /// `port` or `hypercall`.
    pub transport: &'static str,
    /// `kernel` or `user`: the level at which the guests' code ran.
    pub privilege: &'static str,
    /// Guests.
    pub guests: u32,
    /// vCPUs of each.
    pub vcpus: u32,
    /// How long they ran.
    pub seconds: f64,
    /// Nanoseconds of a call that is answered right after decoding (median).
    pub null_ns: f64,
    /// Nanoseconds of a put (median).
    pub put_ns: f64,
    /// Nanoseconds of a put into the store alone, on this machine just before (median).
    pub core_put_ns: f64,
    /// A put over a hypercall, by a put into the store alone and a null call.
    pub put_ratio: f64,
    /// Nanoseconds of a get that hits (median).
    pub get_ns: f64,
    /// Nanoseconds of a flush that finds its page (median).
    pub flush_ns: f64,
    /// Nanoseconds that 99 of 100 null calls do not exceed.
    pub null_p99_ns: f64,
    /// Nanoseconds that 99 of 100 puts do not exceed.
    pub put_p99_ns: f64,
    /// Nanoseconds that 99 of 100 gets do not exceed.
    pub get_p99_ns: f64,
    /// Batches, if any were measured.
    pub batch: Option<BatchReport>,
    /// Puts, gets and flushes answered in a second by all guests, entries of batches included; the guests compare every
    /// page meanwhile.
    pub ops_per_s: f64,
    /// Pages that came back and were compared with what was put.
    pub verified_pages: u64,
    /// Wrong answers, wrong pages, and guests that did not finish.
    pub errors: u64,
    /// What the first error was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_error: Option<String>,
}

/// Runs the benchmark.
///
/// # Errors
/// [`BareError`] when the guests cannot be made. Guests that fail count as errors in the report.
pub fn bench(system: &System, setting: Setting, config: BenchConfig) -> Result<BenchReport, BareError> {
    let parameters = Parameters { pages: PAGES, batch: u64::from(config.batch) };
    let vcpus = u64::from(config.guests) * u64::from(config.vcpus);
    // Twice what is ever stored, so that nothing is refused while old versions are still being released.
    let stored = vcpus * (parameters.pages + parameters.batch) * 8192;
    let store =
        Store::new(StoreConfig { capacity_bytes: (2 * stored).max(256 << 20), ..Default::default() })?;
    let machines = (0..config.guests).map(|number| {
        let machine = MachineConfig {
            payload: Payload::Bench,
            vcpus: config.vcpus,
            transport: setting.transport,
            privilege: setting.privilege,
            seed: config.seed.wrapping_add(u64::from(number)),
            parameters: parameters.to_words(),
            client: ClientConfig {
                name: format!("bench{number}"),
                max_pools: config.vcpus.max(1),
                ..Default::default()
            },
        };
        Machine::new(system, &store, machine)
    });
    let machines = machines.collect::<Result<Vec<_>, _>>()?;
    let plan = Plan { until: Until::Measured(config.time), limit: config.time + GRACE };
    let core_put = core_put_ns(&store, PAGES)?;
    let outcomes = run(&store, machines, &plan, |_, _| {})?;
    Ok(report(setting, &config, &outcomes, core_put))
}

fn report(setting: Setting, config: &BenchConfig, outcomes: &[Outcome], core_put: f64) -> BenchReport {
    let measured: Vec<&Measured> = outcomes.iter().flat_map(|outcome| &outcome.measured).collect();
    let nanoseconds: f64 = measured.iter().map(|m| m.nanoseconds).sum();
    let ticks: f64 = measured.iter().map(|m| m.ticks as f64).sum();
    let tick = if ticks > 0.0 { nanoseconds / ticks } else { 0.0 };
    let durations = |what: Timed| {
        let mut all = Durations::default();
        measured.iter().filter_map(|m| m.durations.get(what as usize)).for_each(|d| all.merge(d));
        all
    };
    let ns = |what: Timed, part: f64| round(durations(what).quantile(part) * tick);
    let counters: Vec<Counters> = measured
        .iter()
        .filter_map(|m| m.words.first_chunk())
        .map(|words| Counters::from_words(*words))
        .collect();
    let sum = |of: fn(&Counters) -> u64| counters.iter().map(of).fold(0, u64::saturating_add);
    // Each vCPU by its own time: none waits for another's last round.
    let ops_per_s: f64 = measured
        .iter()
        .zip(&counters)
        .map(|(m, c)| if m.nanoseconds > 0.0 { c.operations as f64 * 1e9 / m.nanoseconds } else { 0.0 })
        .sum();
    let failures: Vec<String> = outcomes.iter().filter_map(Outcome::failure).collect();
    let wrong = counters.iter().find(|c| c.errors > 0).map(|c| match c.first_error {
        0 => "a page came back with other contents than it was put with".to_owned(),
        answer => format!("a call was answered {answer}"),
    });
    let pages = f64::from(config.batch);
    let (null, put, batch_put) = (ns(Timed::Null, 0.5), ns(Timed::Put, 0.5), ns(Timed::BatchPut, 0.5));
    BenchReport {
        transport: setting.transport_name(),
        privilege: setting.privilege_name(),
        guests: config.guests,
        vcpus: config.vcpus,
        seconds: round(nanoseconds / 1e9 / measured.len().max(1) as f64),
        null_ns: null,
        put_ns: put,
        core_put_ns: round(core_put),
        put_ratio: ratio(put, null + core_put),
        get_ns: ns(Timed::Get, 0.5),
        flush_ns: ns(Timed::Flush, 0.5),
        null_p99_ns: ns(Timed::Null, 0.99),
        put_p99_ns: ns(Timed::Put, 0.99),
        get_p99_ns: ns(Timed::Get, 0.99),
        batch: (config.batch > 0).then(|| BatchReport {
            n: config.batch,
            put_ns_per_page: round(batch_put / pages),
            get_ns_per_page: round(ns(Timed::BatchGet, 0.5) / pages),
            put_ratio: ratio(batch_put / pages, null / pages + core_put),
        }),
        ops_per_s: round(ops_per_s),
        verified_pages: sum(|c| c.verified),
        errors: sum(|c| c.errors).saturating_add(failures.len() as u64),
        first_error: failures.into_iter().next().or(wrong),
    }
}

/// To a tenth: more digits than there are would mislead.
fn round(value: f64) -> f64 {
    // Adding zero turns the negative zero of an empty sum into the usual one.
    (value * 10.0).round() / 10.0 + 0.0
}

/// To a hundredth.
fn ratio(part: f64, of: f64) -> f64 {
    (part / of * 100.0).round() / 100.0
}
