//! `tmem doctor`.

use std::process::ExitCode;

use clap::{Args, ValueEnum};

use crate::doctor::{self, Ability, Findings, Probe};

/// Tells what this machine can do, by trying, and what to do about what is missing
///
/// Exit status: 0 when the examination is finished, whatever it found; 1 when what --require names does not work here.
#[derive(Args, Debug)]
pub(super) struct DoctorArgs {
    /// Print one JSON object instead of text.
    #[arg(long)]
    json: bool,

    /// Fail unless this works.
    #[arg(long, value_enum)]
    require: Option<Requirement>,

    /// One trial, in this process: what the examination runs as its children.
    #[arg(long, value_enum, hide = true)]
    probe: Option<Probe>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Requirement {
    /// Linux guests on this machine's KVM.
    LinuxGuests,
    /// Bare guests on this machine's KVM.
    BareGuests,
    /// The emulated host.
    Lab,
}

pub(super) fn run(args: &DoctorArgs) -> ExitCode {
    if let Some(probe) = args.probe {
        println!("{}", json(&doctor::try_here(probe)));
        return ExitCode::SUCCESS;
    }
    if !args.json {
        eprintln!("trying what this machine can do (a few seconds)");
    }
    let findings = doctor::examine();
    if args.json {
        println!("{}", json(&findings));
    } else {
        print!("{}", doctor::text(&findings));
    }
    match args.require.map(|requirement| required(&findings, requirement)) {
        Some(Ability { works: false, why, .. }) => {
            eprintln!("tmem doctor: what is required does not work: {why}");
            ExitCode::FAILURE
        }
        _ => ExitCode::SUCCESS,
    }
}

fn required(findings: &Findings, requirement: Requirement) -> &Ability {
    match requirement {
        Requirement::LinuxGuests => &findings.linux_guests,
        Requirement::BareGuests => &findings.bare_guests,
        Requirement::Lab => &findings.lab,
    }
}

fn json(of: &impl serde::Serialize) -> String {
    serde_json::to_string(of).expect("findings are names, words and numbers, which JSON can say")
}
