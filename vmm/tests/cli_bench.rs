//! `tmem bench core`: what it prints, and what it refuses.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that fails may panic")]

use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Output, Stdio};

use serde_json::Value;

fn bench(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_tmem")).args(["bench", "core"]).args(args).output().unwrap()
}

fn report(args: &[&str]) -> Value {
    let output = bench(args);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn refused(args: &[&str]) -> String {
    let output = bench(args);
    assert!(!output.status.success() && output.stdout.is_empty());
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
fn a_store_with_little_room_evicts_and_keeps_its_pages_right() {
    let args =
        ["--mode", "churn", "--pages", "40000", "--room", "0.1", "--seconds", "0.2", "--verify", "--json"];
    assert!(report(&args)["ops_per_s"].as_f64().unwrap() > 0.0);
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
