//! The plan fits together, and ratios are the right way round.

use lexopt::Parser;
use serde_json::json;

use super::plan::{GROUPS, rows, samples};
use super::report::{Line, Samples};
use super::spec::Spec;

#[test]
fn every_sample_survives_its_own_command_line() {
    for sample in samples(0.5) {
        let arguments = sample.spec.arguments();
        let parsed = Spec::parse(Parser::from_args(&arguments[1..])).unwrap();
        assert_eq!(parsed, sample.spec, "{}", sample.name);
    }
}

#[test]
fn a_sample_without_work_is_refused() {
    let refused = |arguments: &[&str]| Spec::parse(Parser::from_args(arguments)).unwrap_err().to_string();
    assert!(refused(&[]).contains("seq, copy or churn"));
    assert!(refused(&["seek"]).contains("seek is no sample"));
    assert!(refused(&["churn", "--threads", "0"]).contains("more than 0"));
    assert!(refused(&["churn", "--seconds", "-1"]).contains("at most 86400"));
    assert!(refused(&["churn", "--core", "first-frames", "--codec", "lz4"]).contains("--core first"));
}

#[test]
fn every_line_compares_samples_of_its_group() {
    let samples = samples(1.0);
    for row in rows() {
        for (name, _) in [row.ours, row.other] {
            assert!(samples.iter().any(|sample| (sample.group, sample.name) == (row.group, name)), "{name}");
        }
        assert!(GROUPS.contains(&row.group));
    }
}

/// The first lines, of samples in which C takes twice as long and a bare copy half as long.
fn lines_of_two_rounds() -> Vec<serde_json::Value> {
    let samples = Samples::from([
        ("copy", vec![json!({"copy_ns": 50}), json!({"copy_ns": 100})]),
        ("seq", vec![json!({"put_ns": 100}), json!({"put_ns": 200})]),
        (
            "seq, C",
            vec![json!({"fresh_put_ns": 1000, "put_ns": 200}), json!({"fresh_put_ns": 800, "put_ns": 400})],
        ),
    ]);
    rows().iter().take(4).map(|row| Line::new(row, &samples).json()).collect()
}

#[test]
fn times_of_others_are_divided_by_ours() {
    let lines = lines_of_two_rounds();
    assert_eq!(lines[0]["ratios"], json!([10.0, 4.0]));
    assert_eq!((&lines[1]["ratio"], &lines[1]["met"]), (&json!(2.0), &json!(true)));
}

#[test]
fn ours_is_divided_by_a_bare_copy() {
    let lines = lines_of_two_rounds();
    assert_eq!((&lines[3]["ratio"], &lines[3]["met"]), (&json!(2.0), &json!(false)));
}
