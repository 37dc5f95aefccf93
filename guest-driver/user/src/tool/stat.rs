//! `tmem-guest stat`: the counters of all three sides. What each means is in guest-driver/linux/README.md.

use std::process::ExitCode;

use super::files::texts_of;
use super::json;

/// Where the driver shows what it did (`stats`) and what the host says (`host`).
const DRIVER: &str = "/sys/kernel/debug/tmem";
/// Where a tmem-aware kernel shows what it did, a file for each counter.
const KERNEL: &str = "/sys/kernel/tmem";

/// A name and its value, as the kernel writes it.
type Counter = (String, String);

/// How many pages travelled together, and the counters that say so: pages, divided by calls. guest-driver/linux/README.md has why.
struct Ratio {
    section: &'static str,
    name: &'static str,
    pages: [&'static str; 2],
    calls: &'static str,
    /// Calls of another kind that are among `calls`.
    but: Option<&'static str>,
}

const RATIOS: [Ratio; 5] = [
    Ratio {
        section: "driver",
        name: "pages_per_exit",
        pages: ["puts", "gets"],
        calls: "exits",
        but: Some("hook_exits"),
    },
    of_kernel("swap_pages_per_put_call", ["swap_puts", "swap_refused"], "swap_put_calls"),
    of_kernel("swap_pages_per_get_call", ["swap_gets", "swap_lost"], "swap_get_calls"),
    of_kernel("clean_pages_per_put_call", ["clean_puts", "clean_refused"], "clean_put_calls"),
    // Those that were not found are among them.
    of_kernel("clean_pages_per_get_call", ["clean_gets", ""], "clean_get_calls"),
];

const fn of_kernel(name: &'static str, pages: [&'static str; 2], calls: &'static str) -> Ratio {
    Ratio { section: "kernel", name, pages, calls, but: None }
}

/// Prints a table, or JSON: `{"tmem": {"driver": {...}, "host": {...}, "kernel": {...}}}`.
pub(crate) fn run(as_json: bool) -> ExitCode {
    let sections = sections(texts_of(DRIVER), texts_of(KERNEL));
    if sections.is_empty() {
        eprintln!(
            "tmem-guest: nothing in {DRIVER} and {KERNEL}: is tmem.ko loaded, debugfs mounted, and are you root?"
        );
        return ExitCode::FAILURE;
    }
    if as_json {
        println!("{}", to_json(&sections));
    } else {
        print!("{}", to_table(&sections));
    }
    ExitCode::SUCCESS
}

fn sections(driver: Vec<(String, String)>, kernel: Vec<(String, String)>) -> Vec<(String, Vec<Counter>)> {
    let pair =
        |line: &str| line.split_once(' ').map(|(name, value)| (name.to_owned(), value.trim().to_owned()));
    let of_driver = driver.into_iter().map(|(file, text)| {
        let name = if file == "stats" { "driver".to_owned() } else { file };
        (name, text.lines().filter_map(pair).collect())
    });
    let mut sections: Vec<(String, Vec<Counter>)> = of_driver.collect();
    if !kernel.is_empty() {
        let counters = kernel.into_iter().map(|(name, text)| (name, text.trim().to_owned()));
        sections.push(("kernel".to_owned(), counters.collect()));
    }
    sections
}

fn to_table(sections: &[(String, Vec<Counter>)]) -> String {
    let names = sections.iter().flat_map(|(_, counters)| counters).map(|(name, _)| name.len());
    let width = names.max().unwrap_or(0);
    let mut text = String::new();
    for (section, counters) in sections {
        text.push_str(&format!("tmem {section}\n"));
        let mut line = |name: &str, value: &str| text.push_str(&format!("  {name:width$}  {value:>14}\n"));
        counters.iter().for_each(|(name, value)| line(name, value));
        ratios(section, counters).iter().for_each(|(name, value)| line(name, value));
    }
    text
}

/// Those of a section that has seen pages, to one decimal.
fn ratios(section: &str, counters: &[Counter]) -> Vec<(&'static str, String)> {
    let get = |wanted: &str| counters.iter().find(|(name, _)| name == wanted)?.1.parse::<u64>().ok();
    let of = |ratio: &Ratio| {
        let pages: u64 = ratio.pages.into_iter().filter_map(get).sum();
        let calls = get(ratio.calls)?.saturating_sub(ratio.but.and_then(get).unwrap_or(0));
        let tenths = (pages * 10).checked_div(calls).filter(|_| pages > 0)?;
        Some((ratio.name, format!("{}.{}", tenths / 10, tenths % 10)))
    };
    RATIOS.iter().filter(|ratio| ratio.section == section).filter_map(of).collect()
}

fn to_json(sections: &[(String, Vec<Counter>)]) -> String {
    let objects: Vec<String> = sections
        .iter()
        .map(|(name, counters)| {
            let ratios = ratios(name, counters).into_iter().map(|(name, value)| (name.to_owned(), value));
            let counters = counters.iter().map(|(name, value)| (name.clone(), json::scalar(value)));
            format!("{}:{}", json::quoted(name), json::object(counters.chain(ratios)))
        })
        .collect();
    format!("{{\"tmem\":{{{}}}}}", objects.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example() -> Vec<(String, Vec<Counter>)> {
        let file = |name: &str, text: &str| (name.to_owned(), text.to_owned());
        let driver = vec![
            file("host", "transport port\nabi 1.0\ncap_bytes 9\n"),
            file("stats", "puts 30\ngets 5\nexits 110\nhook_exits 100\n"),
        ];
        let kernel =
            [("swap_puts", "20"), ("swap_refused", "7"), ("swap_put_calls", "2"), ("clean_get_calls", "0")];
        sections(driver, kernel.map(|(name, text)| file(name, &format!("{text}\n"))).into())
    }

    #[test]
    fn json_has_a_tmem_section_with_a_part_for_each_side() {
        assert_eq!(
            to_json(&example()),
            r#"{"tmem":{"host":{"transport":"port","abi":"1.0","cap_bytes":9},"driver":{"puts":30,"gets":5,"exits":110,"hook_exits":100,"pages_per_exit":3.5},"kernel":{"swap_puts":20,"swap_refused":7,"swap_put_calls":2,"clean_get_calls":0,"swap_pages_per_put_call":13.5}}}"#
        );
    }

    #[test]
    fn table_names_the_sides_and_how_many_pages_travelled_together() {
        let text = to_table(&example());
        assert!(text.contains("tmem kernel\n  swap_puts "), "{text}");
        for (name, value) in [("pages_per_exit", " 3.5"), ("swap_pages_per_put_call", " 13.5")] {
            let shown = |line: &str| line.trim_start().starts_with(name) && line.ends_with(value);
            assert!(text.lines().any(shown), "{name}: {text}");
        }
    }

    #[test]
    fn exits_of_hooks_are_not_the_drivers_and_nothing_is_said_without_pages() {
        let counter = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
        let driver =
            |gets| [("puts", "0"), ("gets", gets), ("exits", "1003"), ("hook_exits", "1000")].map(counter);
        assert_eq!(ratios("driver", &driver("0")), []);
        assert_eq!(ratios("driver", &driver("60")), [("pages_per_exit", "20.0".to_owned())]);
    }
}
