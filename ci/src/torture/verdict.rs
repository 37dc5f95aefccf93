//! What is wrong with what a guest showed on its console.

use super::world::World;

/// What is wrong with what a guest showed: scenarios that failed, or were not done, or no good end.
///
/// `asked` are those that it was to run, separated by commas. It may skip what makes sense in other worlds only.
pub(crate) fn faults(world: &World, asked: &str, console: &str) -> Vec<String> {
    let name = world.name;
    let lines = || console.lines().map(str::trim_end);
    let mut faults: Vec<String> =
        lines().filter(|line| line.starts_with("FAIL ")).map(|line| format!("{name}: {line}")).collect();
    for scenario in asked.split(',') {
        let good = format!("ok {}", world.ends_as(scenario));
        match lines().find(|line| is_skip(line, scenario)) {
            _ if lines().any(|line| line == good) => {}
            Some(_) if !world.is_own(scenario) => {}
            Some(skip) => faults.push(format!("{name}: {skip}")),
            None => faults.push(format!("{name}: {scenario} was not seen to end well")),
        }
    }
    if !lines().any(|line| line.ends_with("{\"event\":\"end\",\"status\":0}")) {
        faults.push(format!("{name}: the guest did not come to a good end"));
    }
    faults
}

/// Whether `line` says that `scenario` was skipped; the reason follows.
fn is_skip(line: &str, scenario: &str) -> bool {
    let reason = line.strip_prefix("skip ").and_then(|rest| rest.strip_prefix(scenario));
    reason.is_some_and(|reason| reason.starts_with([' ', ':']))
}

#[cfg(test)]
mod tests {
    use super::super::worlds::WORLDS;
    use super::*;

    const GOOD: &str =
        "ok a\r\nskip b needs the fake store\r\nTMEM-REPORT {\"event\":\"end\",\"status\":0}\r\n";

    fn world(name: &str) -> &'static World {
        WORLDS.iter().find(|world| world.name == name).unwrap()
    }

    #[test]
    fn a_good_console_has_no_faults() {
        assert_eq!(faults(world("roomy"), "a,b", GOOD), Vec::<String>::new());
    }

    #[test]
    fn failures_and_missing_ends_are_faults() {
        let bad = "FAIL a why\r\nTMEM-REPORT {\"event\":\"end\",\"status\":1}\r\n";
        assert_eq!(
            faults(world("roomy"), "a", bad),
            [
                "roomy: FAIL a why",
                "roomy: a was not seen to end well",
                "roomy: the guest did not come to a good end"
            ]
        );
    }

    #[test]
    fn a_scenario_of_the_world_may_not_be_skipped_or_missing() {
        let said = GOOD.replace("skip b", "skip swap_pages_come_back");
        assert_eq!(
            faults(world("roomy"), "a,swap_pages_come_back,a_b", &said),
            ["roomy: skip swap_pages_come_back needs the fake store", "roomy: a_b was not seen to end well"]
        );
    }

    #[test]
    fn a_kernel_that_was_replaced_is_answered_for_by_the_next() {
        let kexec = world("kexec");
        assert_eq!(
            faults(kexec, kexec.scenarios, &GOOD.replace("ok a", "ok after_a_kexec")),
            Vec::<String>::new()
        );
        assert_eq!(faults(kexec, kexec.scenarios, GOOD).len(), 1);
    }
}
