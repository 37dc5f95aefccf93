//! `tmem bench core` and `trace`: what they print, and what they refuse.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that fails may panic")]

use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Output, Stdio};

use serde_json::Value;

fn tmem(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_tmem")).arg("bench").args(args).output().unwrap()
}

fn bench(args: &[&str]) -> Output {
    tmem(&[&["core"], args].concat())
}

fn report(args: &[&str]) -> Value {
    let output = bench(args);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn refused(args: &[&str]) -> String {
    let output = bench(args);
    assert!(output.status.code() == Some(2) && output.stdout.is_empty(), "{output:?}");
    String::from_utf8(output.stderr).unwrap()
}

#[test]
fn seq_reports_times_and_sizes_for_every_codec() {
    for codec in ["raw", "lz4", "zstd", "auto"] {
        let report = report(&["--mode", "seq", "--pages", "3000", "--codec", codec, "--verify", "--json"]);
        for field in ["put_ns", "get_ns", "flush_ns", "copy_ns", "meta_bytes_per_page"] {
            assert!(report[field].as_f64().unwrap() > 0.0, "{codec}: {field} in {report}");
        }
        let (stored, ideal) =
            (report["stored_bytes"].as_u64().unwrap(), report["ideal_bytes"].as_u64().unwrap());
        assert!(ideal > 0 && ideal <= stored, "{codec}: {report}");
    }
}

#[test]
fn churn_and_hot_report_rates_and_quantiles() {
    for mode in ["churn", "hot"] {
        let report = report(&[
            "--mode",
            mode,
            "--pages",
            "2000",
            "--objects",
            "7",
            "--threads",
            "2",
            "--seconds",
            "0.1",
            "--codec",
            "lz4",
            "--verify",
            "--json",
        ]);
        assert!(report["ops_per_s"].as_f64().unwrap() > 0.0, "{report}");
        assert!(report["p50_ns"].as_u64().unwrap() <= report["p999_ns"].as_u64().unwrap(), "{report}");
    }
}

#[test]
fn many_clients_share_the_objects_and_get_their_own_pages() {
    let args = ["--pages", "3000", "--objects", "300", "--clients", "100", "--verify", "--json"];
    let report = report(&args);
    assert_eq!(report["clients"].as_u64(), Some(100));
    assert!(report["get_ns"].as_f64().unwrap() > 0.0, "{report}");
}

#[test]
fn a_bad_trace_is_refused_with_file_and_position_and_the_status_of_a_bad_corpus() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("trace");
    let name = path.to_str().unwrap();
    let refused = |format: &str, capacity: &str, more: &str| {
        let args = ["trace", "--input", name, "--format", format, "--capacity", capacity];
        let args: Vec<&str> = args.into_iter().chain(more.split_whitespace()).collect();
        let output = tmem(&args);
        assert!(output.status.code() == Some(2) && output.stdout.is_empty(), "{output:?}");
        String::from_utf8(output.stderr).unwrap()
    };
    let text = refused("text", "0.1", "");
    assert!(text.contains(name) && text.contains("No such file"), "{text}");
    for (format, content, at) in [
        ("text", "", "empty at byte 0"),
        ("u32le", "", "empty at byte 0"),
        ("u32le", "12345", "at byte 4"),
        ("text", "7\n8 x\n", "2:3"),
    ] {
        std::fs::write(&path, content).unwrap();
        let text = refused(format, "0.1", "");
        assert!(text.contains(name) && text.contains(at), "{content:?}: {text}");
    }
    std::fs::write(&path, "7\n8\n").unwrap();
    for (capacity, more, name) in [
        ("0", "", "--capacity"),
        ("1.5", "", "--capacity"),
        ("0.1", "", "--capacity"),
        ("1", "--shards 3", "0 or a power of two to 4096"),
        ("1", "--policy mru", "--policy"),
    ] {
        let text = refused("text", capacity, more);
        assert!(text.contains(name), "{capacity} {more:?}: {text}");
    }
}

#[test]
fn a_store_with_little_room_evicts_and_keeps_its_pages_right() {
    let args =
        ["--mode", "churn", "--pages", "40000", "--room", "0.1", "--seconds", "0.2", "--verify", "--json"];
    let report = report(&args);
    assert!(report["ops_per_s"].as_f64().unwrap() > 0.0);
    assert_eq!(report["room"].as_f64(), Some(0.1));
    assert!(report["evicted"].as_u64().unwrap() > 0, "{report}");
}

#[test]
fn a_store_with_room_for_all_says_so() {
    let output = bench(&["--pages", "64", "--json"]);
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(report["room"].is_null() && report["evicted"] == 0, "{report}");
    let table = String::from_utf8(bench(&["--pages", "64"]).stdout).unwrap();
    let room = table.lines().find(|line| line.starts_with("room"));
    assert!(room.is_some_and(|line| line.ends_with(" -")), "{table}");
}

#[test]
fn a_bad_corpus_is_refused_with_file_and_position() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("corpus");
    let name = path.to_str().unwrap();
    let args = ["--pages", "10", "--corpus", name, "--json"];
    let text = refused(&args);
    assert!(text.contains(name) && text.contains("No such file"), "{text}");
    std::fs::write(&path, "").unwrap();
    let text = refused(&args);
    assert!(text.contains(name) && text.contains("is empty"), "{text}");
    std::fs::write(&path, [1; 5000]).unwrap();
    let text = refused(&args);
    assert!(text.contains(name) && text.contains("904 bytes after byte 4096"), "{text}");
}

#[test]
fn impossible_parameters_are_refused_by_name() {
    for (args, name) in [
        (["--pages", "0"], "--pages"),
        (["--objects", "0"], "--objects"),
        (["--threads", "0"], "--threads"),
        (["--seconds", "0"], "--seconds"),
        (["--seconds", "-1"], "--seconds"),
        (["--seconds", "NaN"], "--seconds"),
        (["--codec", "lzo"], "--codec"),
        (["--mode", "best"], "--mode"),
        (["--pages", "268435456"], "--pages"),
        (["--room", "0.5"], "--room"),
        (["--clients", "0"], "--clients"),
        (["--clients", "2"], "--clients"),
    ] {
        let text = refused(&args);
        assert!(text.contains(name), "{args:?}: {text}");
    }
}

#[test]
fn a_reader_that_leaves_ends_it_without_a_panic() {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let output = Command::new(env!("CARGO_BIN_EXE_tmem"))
        .args(["bench", "core", "--pages", "64", "--json"])
        .stdout(writer)
        .stderr(Stdio::piped())
        .output()
        .unwrap();
    assert_eq!(output.status.signal(), Some(libc::SIGPIPE));
    assert!(!String::from_utf8_lossy(&output.stderr).contains("panicked"));
}
