//! Bare guests on the real `/dev/kvm`: the selftest, the attack, the benchmark.
//!
//! Each skips, saying why, where there is no usable KVM. `tmem selftest` runs the first two without cargo.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)] // a test may fail loudly

use std::time::Duration;

use tmem_bare::control::Verdict;
use tmem_core::{ClientConfig, Store, StoreConfig};
use tmem_vmm::bare::{
    self, Attack, BareError, BenchConfig, CaseResult, Ending, Machine, MachineConfig, Payload, Plan, Setting,
    Step, Until,
};
use tmem_vmm::kvm::{Flavour, System, Transport};

fn system() -> Option<(System, Setting)> {
    match System::open() {
        Ok(system) => {
            let setting = Setting::choose(&system, None, None).unwrap();
            Some((system, setting))
        }
        Err(why) => {
            println!("skipped: {why}");
            None
        }
    }
}

fn failed(results: &[CaseResult]) -> Vec<&CaseResult> {
    results.iter().filter(|case| case.verdict == Verdict::Failed).collect()
}

#[test]
fn selftest_when_run_passes_every_case() {
    let Some((system, setting)) = system() else { return };
    let mut begun = Vec::new();
    let watch = |step: &Step| {
        if let Step::Begins(name) = step {
            begun.push(name.clone());
        }
    };
    let results = bare::selftest(&system, setting, 1, watch).unwrap();
    assert!(failed(&results).is_empty(), "{:#?}", failed(&results));
    assert!(results.iter().filter(|case| case.verdict == Verdict::Passed).count() >= 50);
    // The last one is the payload's own end.
    let ran = results.iter().filter(|case| case.verdict == Verdict::Passed).map(|case| &case.name);
    assert_eq!(begun.iter().collect::<Vec<_>>(), ran.take(begun.len()).collect::<Vec<_>>());
    assert!(begun.len() >= 49);
}

#[test]
fn selftest_when_both_transports_exist_passes_over_the_port_too() {
    let Some((system, setting)) = system() else { return };
    if setting.transport != Transport::Xen {
        println!("skipped: this KVM has only the port, and the other test uses it");
        return;
    }
    let port = Setting { transport: Transport::Port(tmem_abi::DEFAULT_PORT), ..setting };
    let results = bare::selftest(&system, port, 1, |_| {}).unwrap();
    assert!(failed(&results).is_empty(), "{:#?}", failed(&results));
}

#[test]
fn hypercall_when_made_in_user_mode_is_refused() {
    let Some((system, setting)) = system() else { return };
    if setting.transport != Transport::Xen {
        println!("skipped: this KVM does not hand hypercalls out, and the port is guarded by the guest");
        return;
    }
    let results = bare::user_mode(&system, |_| {}).unwrap();
    assert_eq!(failed(&results), Vec::<&CaseResult>::new());
    assert_eq!(results.len(), 2);
}

#[test]
fn attack_when_made_harms_neither_host_nor_another_guest() {
    let Some((system, setting)) = system() else { return };
    for seed in 1..=3 {
        let attack = Attack { seed, steps: 1000, vcpus: 4 };
        let results = bare::attack(&system, setting, attack, |_| {}).unwrap();
        assert!(failed(&results).is_empty(), "seed {seed}: {:#?}", failed(&results));
    }
}

#[test]
fn bench_when_short_measures_everything_without_an_error() {
    let Some((system, setting)) = system() else { return };
    let config = BenchConfig { guests: 2, vcpus: 2, time: Duration::from_millis(200), batch: 512, seed: 1 };
    let report = bare::bench(&system, setting, config).unwrap();
    assert_eq!((report.errors, report.first_error), (0, None));
    let batch = report.batch.unwrap();
    let times = [report.null_ns, report.put_ns, report.get_ns, report.flush_ns, batch.put_ns_per_page];
    assert!(times.iter().all(|ns| *ns > 0.0), "{times:?}");
    // Four vCPUs make at least one round of 64 single gets and 512 in a batch.
    assert!(report.verified_pages >= 4 * (64 + 512));
}

#[test]
fn guest_when_it_does_not_end_by_itself_is_ended() {
    let Some((system, setting)) = system() else { return };
    let store = Store::new(StoreConfig::default()).unwrap();
    let machine = Machine::new(&system, &store, bench_config(setting, 2)).unwrap();
    let forever = Until::Measured(Duration::from_secs(1 << 30));
    let plan = Plan { until: forever, limit: Duration::from_millis(200) };
    let outcomes = bare::run(&store, vec![machine], &plan, |_, _| {}).unwrap();
    let ended = |ending: &Option<Ending>| matches!(ending, Some(Ending::Ended { .. }));
    assert!(outcomes[0].endings.iter().all(ended), "{:?}", outcomes[0].endings);
    assert!(outcomes[0].failure().unwrap().contains("did not finish in time"));
}

#[test]
fn guest_when_its_pools_are_refused_says_so_in_its_last_words() {
    let Some((system, setting)) = system() else { return };
    let store = Store::new(StoreConfig::default()).unwrap();
    let mut config = bench_config(setting, 1);
    config.client.persistent = false;
    let machine = Machine::new(&system, &store, config).unwrap();
    let plan = Plan { until: Until::Ended(0), limit: Duration::from_secs(60) };
    let outcomes = bare::run(&store, vec![machine], &plan, |_, _| {}).unwrap();
    let why = outcomes[0].failure().unwrap();
    assert!(why.contains("panicked") && why.contains("a pool is refused: -1"), "{why}");
}

#[test]
fn machine_when_it_has_no_or_too_many_vcpus_is_refused() {
    let Some((system, setting)) = system() else { return };
    let store = Store::new(StoreConfig::default()).unwrap();
    for vcpus in [0, 65] {
        let error = Machine::new(&system, &store, bench_config(setting, vcpus)).unwrap_err();
        assert!(matches!(error, BareError::Vcpus { asked } if asked == vcpus), "{error}");
    }
}

#[test]
fn hypercall_transport_when_it_would_hang_is_refused() {
    let Some((system, _)) = system() else { return };
    if system.flavour() != Flavour::Pvm {
        println!("skipped: hypercalls hang only on kvm_pvm");
        return;
    }
    let error = Setting::choose(&system, Some(Transport::Xen), None).unwrap_err();
    assert!(error.to_string().contains("--transport port"), "{error}");
}

fn bench_config(setting: Setting, vcpus: u32) -> MachineConfig {
    MachineConfig {
        payload: Payload::Bench,
        vcpus,
        transport: setting.transport,
        privilege: setting.privilege,
        seed: 1,
        parameters: tmem_bare::bench::Parameters { pages: 8, batch: 8 }.to_words(),
        client: ClientConfig { name: "test".into(), ..Default::default() },
    }
}
