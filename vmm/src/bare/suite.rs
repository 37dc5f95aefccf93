//! The tests that bare guests are: the selftest, the call from user mode, and the attack.

use std::sync::Arc;
use std::time::Duration;

use tmem_bare::bench::{Counters, Parameters};
use tmem_bare::control::Verdict;
use tmem_bare::selftest::{CAP_BYTES, MAX_POOLS, SHARED, USER_MODE};
use tmem_core::{ClientConfig, SharedUuid, Store, StoreConfig};

use super::{
    BareError, CaseResult, Machine, MachineConfig, Outcome, Payload, Plan, Privilege, Setting, Step, Until,
    run,
};
use crate::kvm::{System, Transport};

/// Bytes of the stores of these tests: room for all that their clients may hold.
const STORE_BYTES: u64 = 256 << 20;
/// What an attacking guest may hold.
const ATTACKER_CAP: u64 = 1 << 20;
/// Pages that the attacked guest puts and gets in one round, alone and in a batch.
const VICTIM: Parameters = Parameters { pages: 32, batch: 32 };
/// The first case of the attack, during which it happens.
const ATTACK: &str = "attack_leaves_host_and_attacker_alive";
/// How long any of them may take, on the slowest of machines: an emulated one under load.
const LIMIT: Duration = Duration::from_secs(300);

/// Walks through the ABI's rules; `watch` sees each case as it begins and ends.
///
/// # Errors
/// [`BareError`] when the guest cannot be made. A guest that dies is a failed case.
pub fn selftest(
    system: &System,
    setting: Setting,
    seed: u64,
    mut watch: impl FnMut(&Step),
) -> Result<Vec<CaseResult>, BareError> {
    let store = store()?;
    let config = MachineConfig { seed, ..config("selftest", Payload::Selftest, setting) };
    let machine = Machine::new(system, &store, config)?;
    cases(&store, machine, "payload_runs_to_its_end", &mut watch)
}

/// A guest whose user mode calls. Only the hypercall transport tells the host who calls.
///
/// # Errors
/// [`BareError`] when the guest cannot be made.
pub fn user_mode(system: &System, mut watch: impl FnMut(&Step)) -> Result<Vec<CaseResult>, BareError> {
    let store = store()?;
    let setting = Setting { transport: Transport::Xen, privilege: Privilege::User };
    let parameters = [USER_MODE, 0, 0, 0];
    let config = MachineConfig { parameters, ..config("user", Payload::Selftest, setting) };
    let machine = Machine::new(system, &store, config)?;
    cases(&store, machine, "user_mode_payload_runs_to_its_end", &mut watch)
}

/// An attack.
#[derive(Clone, Copy, Debug)]
pub struct Attack {
    /// Where its random numbers start: the same seed gives each vCPU the same calls.
    pub seed: u64,
    /// Steps of each vCPU.
    pub steps: u64,
    /// vCPUs of the attacker.
    pub vcpus: u32,
}

/// One guest attacks while another one works and compares all its pages.
///
/// # Errors
/// [`BareError`] when a guest cannot be made.
pub fn attack(
    system: &System,
    setting: Setting,
    attack: Attack,
    mut watch: impl FnMut(&Step),
) -> Result<Vec<CaseResult>, BareError> {
    let store = store()?;
    let Attack { seed, steps, vcpus } = attack;
    let mut attacker = config("attacker", Payload::Hostile, setting);
    attacker.vcpus = vcpus;
    attacker.seed = seed;
    attacker.parameters = [steps, 0, 0, 0];
    attacker.client.cap_bytes = ATTACKER_CAP;
    let mut victim = config("victim", Payload::Bench, setting);
    victim.seed = seed;
    victim.parameters = VICTIM.to_words();
    victim.client.cap_bytes = u64::MAX;
    watch(&Step::Begins(ATTACK.to_owned()));
    let machines = vec![Machine::new(system, &store, attacker)?, Machine::new(system, &store, victim)?];
    let attacker_client = machines.first().map(|machine| machine.client().clone());
    let plan = Plan { until: Until::Ended(0), limit: LIMIT };
    let outcomes = run(&store, machines, &plan, |_, _| {})?;

    let held = attacker_client.map_or(0, |client| client.usage().bytes);
    let over_cap = (held > ATTACKER_CAP).then(|| format!("it holds {held} bytes, its cap is {ATTACKER_CAP}"));
    let results = [
        (ATTACK, outcomes.first().and_then(Outcome::failure)),
        ("attacker_stays_within_its_cap", over_cap),
        ("other_guest_is_not_touched_by_an_attack", outcomes.get(1).and_then(damage)),
    ];
    let results = results.map(|(name, failure)| case(name, failure));
    results.iter().for_each(|case| watch(&Step::Ended(case.clone())));
    Ok(results.to_vec())
}

/// What is wrong with the guest that was to be left alone.
fn damage(outcome: &Outcome) -> Option<String> {
    if let Some(failure) = outcome.failure() {
        return Some(failure);
    }
    let words = outcome.measured.first().and_then(|measured| measured.words.first_chunk::<4>());
    let counters = words.map(|words| Counters::from_words(*words)).unwrap_or_default();
    match counters {
        Counters { errors: 0, verified: 1.., .. } => None,
        Counters { errors, verified, first_error, .. } => Some(format!(
            "{errors} errors in {verified} pages that came back; the first wrong answer was {first_error}"
        )),
    }
}

fn cases(
    store: &Arc<Store>,
    machine: Machine,
    last: &str,
    watch: &mut impl FnMut(&Step),
) -> Result<Vec<CaseResult>, BareError> {
    let plan = Plan { until: Until::Ended(0), limit: LIMIT };
    let outcomes = run(store, vec![machine], &plan, |_, step| watch(step))?;
    let Some(outcome) = outcomes.into_iter().next() else { return Ok(Vec::new()) };
    let end = case(last, outcome.failure());
    watch(&Step::Ended(end.clone()));
    let mut results = outcome.cases;
    results.push(end);
    Ok(results)
}

fn case(name: &str, failure: Option<String>) -> CaseResult {
    let verdict = if failure.is_some() { Verdict::Failed } else { Verdict::Passed };
    CaseResult { name: name.to_owned(), verdict, why: failure.unwrap_or_default() }
}

fn store() -> Result<Arc<Store>, BareError> {
    Ok(Store::new(StoreConfig {
        capacity_bytes: STORE_BYTES,
        verify_every_read: true,
        ..Default::default()
    })?)
}

/// A guest of one vCPU, configured as the selftest payload expects.
fn config(name: &str, payload: Payload, setting: Setting) -> MachineConfig {
    MachineConfig {
        payload,
        vcpus: 1,
        transport: setting.transport,
        privilege: setting.privilege,
        seed: 1,
        parameters: [0; 4],
        client: ClientConfig {
            name: name.to_owned(),
            cap_bytes: CAP_BYTES,
            max_pools: MAX_POOLS,
            shared: vec![SharedUuid(SHARED)],
            ..Default::default()
        },
    }
}
