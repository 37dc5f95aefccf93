//! Walks the rules of the ABI case by case over real hypercalls, on one vCPU.
//!
//! Each case stands alone: it makes the pools it wants, and the runner destroys them afterwards. The host prints the
//! cases; of a failed one it prints where the payload expected what, and what came instead.
#![no_std]
#![no_main]

mod addresses;
mod batch;
mod flush;
mod frozen;
mod guest;
mod kinds;
mod limits;
mod query;
mod registers;
#[path = "../runtime.rs"]
mod runtime;
mod subpage;
mod user_mode;
mod xen;

use tmem_abi::{Features, PoolId, Request};
use tmem_bare::Host;
use tmem_bare::boot::BootInfo;
use tmem_bare::control::{Command, Mailbox, Verdict};
use tmem_bare::selftest::{MAX_POOLS, USER_MODE};

use guest::{Case, Guest};

fn main(vcpu: u32) {
    if vcpu != 0 {
        return;
    }
    let info = BootInfo::read();
    let mailbox = Mailbox::new(vcpu);
    let host = match Host::discover(&info) {
        Ok(host) => host,
        Err(why) => panic!("{why}"),
    };
    let guest = Guest { host, info, mailbox };
    let [mode, ..] = info.parameters;
    if mode == USER_MODE {
        return report(&guest, user_mode::CASES);
    }
    for cases in [
        kinds::CASES,
        flush::CASES,
        subpage::CASES,
        frozen::CASES,
        limits::CASES,
        addresses::CASES,
        registers::CASES,
        batch::CASES,
        query::CASES,
        xen::CASES,
    ] {
        report(&guest, cases);
    }
}

fn report(guest: &Guest, cases: &[Case]) {
    for case in cases {
        let name = case.name;
        if !guest.host.discovery().features.contains(case.needs) {
            let needs: Features = case.needs;
            let why = format_args!("{name}\nthe host does not offer {needs:?} on this transport");
            guest.mailbox.tell_text(Command::Case, Verdict::Skipped as u64, why);
            continue;
        }
        guest.mailbox.tell_text(Command::Begin, 0, format_args!("{name}"));
        let result = (case.run)(guest);
        (0..MAX_POOLS).for_each(|id| {
            guest.host.ask(Request::DestroyPool { pool: PoolId(id) });
        });
        match result {
            Ok(()) => {
                guest.mailbox.tell_text(Command::Case, Verdict::Passed as u64, format_args!("{name}\n"))
            }
            Err(why) => {
                guest.mailbox.tell_text(Command::Case, Verdict::Failed as u64, format_args!("{name}\n{why}"));
            }
        }
    }
}
