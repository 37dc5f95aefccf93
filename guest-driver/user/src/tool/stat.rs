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
        counters.iter().for_each(|(name, value)| text.push_str(&format!("  {name:width$}  {value:>14}\n")));
        if let Some(pages) = pages_per_exit(section, counters) {
            text.push_str(&format!("  {:width$}  {pages:>14}\n", "pages per exit"));
        }
    }
    text
}

/// To one decimal, of the driver's calls.
fn pages_per_exit(section: &str, counters: &[Counter]) -> Option<String> {
    let get = |wanted: &str| counters.iter().find(|(name, _)| name == wanted)?.1.parse::<u64>().ok();
    let (pages, exits) = (get("puts")? + get("gets")?, get("exits")?);
    let tenths = (section == "driver").then(|| (pages * 10).checked_div(exits))??;
    Some(format!("{}.{}", tenths / 10, tenths % 10))
}

fn to_json(sections: &[(String, Vec<Counter>)]) -> String {
    let objects: Vec<String> = sections
        .iter()
        .map(|(name, counters)| {
            let counters = counters.iter().map(|(name, value)| (name, value));
            format!("{}:{}", json::quoted(name), json::object(counters))
        })
        .collect();
    format!("{{\"tmem\":{{{}}}}}", objects.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example() -> Vec<(String, Vec<Counter>)> {
        let file = |name: &str, text: &str| (name.to_owned(), text.to_owned());
        let driver =
            vec![file("host", "transport port\ncap_bytes 9\n"), file("stats", "puts 30\ngets 5\nexits 10\n")];
        sections(driver, vec![file("swap_puts", "7\n")])
    }

    #[test]
    fn json_has_a_tmem_section_with_a_part_for_each_side() {
        assert_eq!(
            to_json(&example()),
            r#"{"tmem":{"host":{"transport":"port","cap_bytes":9},"driver":{"puts":30,"gets":5,"exits":10},"kernel":{"swap_puts":7}}}"#
        );
    }

    #[test]
    fn table_names_the_sides_and_pages_per_exit() {
        let text = to_table(&example());
        assert!(text.contains("tmem kernel\n  swap_puts "), "{text}");
        assert!(
            text.lines().any(|line| line.starts_with("  pages per exit") && line.ends_with(" 3.5")),
            "{text}"
        );
    }
}
