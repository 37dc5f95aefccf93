//! The experiments: guests that compile, and what tmem has to do for them.

use std::fmt;

use super::outcome::Outcome;
use crate::demo::measure::Mode;

/// Size of each guest's disks in MiB; sparse files.
const DISK_MIB: u32 = 192;

/// What has to come out.
#[derive(Clone, Copy, Debug)]
pub(super) enum Demand {
    /// Sectors read from disk fall by at least so many per cent.
    FewerReads(f64),
    /// Sectors read and written together fall by at least so many per cent.
    LessIo(f64),
    /// At most so many per cent more exits, and no more sectors read.
    NoCost(f64),
}

impl fmt::Display for Demand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::FewerReads(percent) => write!(f, "at least {percent} % fewer sectors read"),
            Self::LessIo(percent) => write!(f, "at least {percent} % fewer sectors read and written"),
            Self::NoCost(percent) => write!(f, "at most {percent} % more exits, no more sectors read"),
        }
    }
}

/// By how many per cent `after` is more than `before`; negative if it is less.
pub(super) fn change_percent(before: u64, after: u64) -> f64 {
    // Counts of sectors and exits are far below 2^53.
    if before == 0 { 0.0 } else { ((after as f64 / before as f64 - 1.0) * 1000.0).round() / 10.0 }
}

impl Demand {
    /// Whether it is met.
    pub(super) fn is_met(self, disk: &Outcome, tmem: &Outcome) -> bool {
        let io = |outcome: &Outcome| outcome.sectors_read + outcome.sectors_written;
        match self {
            Self::FewerReads(percent) => change_percent(disk.sectors_read, tmem.sectors_read) <= -percent,
            Self::LessIo(percent) => change_percent(io(disk), io(tmem)) <= -percent,
            Self::NoCost(percent) => {
                change_percent(disk.exits, tmem.exits) <= percent && tmem.sectors_read <= disk.sectors_read
            }
        }
    }
}

/// Guests that are alike.
#[derive(Debug)]
pub(super) struct Experiment {
    /// Its name.
    pub(super) name: &'static str,
    /// What runs.
    pub(super) what: &'static str,
    /// How many guests.
    pub(super) guests: usize,
    /// Memory of each in MiB, beside the store.
    memory_mib: u32,
    /// Without tmem they have the store's memory too, in equal parts, so that the total is the same.
    equal_total: bool,
    /// How often each compiles its files.
    rounds: u32,
    /// How many files.
    files: u32,
    /// How many compilers each runs at a time.
    jobs: u32,
    /// They take turns in so many groups, and rest while others work. A turn is as long as all guests need for one file each, so that
    /// a group's share of the guests times the files should be one.
    turns: Option<usize>,
    /// Size of the store in MiB.
    pub(super) store_mib: u32,
    /// What has to come out.
    pub(super) demand: Demand,
}

/// All of them.
pub(super) static EXPERIMENTS: &[Experiment] = &[
    Experiment {
        name: "compile",
        what: "eight guests of 48 MB compile in a loop: the compiler and its headers do not stay in memory",
        guests: 8,
        memory_mib: 48,
        equal_total: false,
        rounds: 3,
        files: 2,
        jobs: 1,
        turns: None,
        store_mib: 512,
        demand: Demand::FewerReads(52.0),
    },
    Experiment {
        name: "turns",
        what: "eight guests take turns, two at a time with four compilers each; the same memory in all, with tmem and without",
        guests: 8,
        memory_mib: 48,
        equal_total: true,
        rounds: 3,
        files: 4,
        jobs: 4,
        turns: Some(4),
        store_mib: 128,
        demand: Demand::FewerReads(40.0),
    },
    Experiment {
        name: "swap",
        what: "two guests of 48 MB with four compilers at a time, which do not fit: they swap",
        guests: 2,
        memory_mib: 48,
        equal_total: false,
        rounds: 3,
        files: 9,
        jobs: 4,
        turns: None,
        store_mib: 512,
        demand: Demand::LessIo(76.0),
    },
    Experiment {
        name: "easy",
        what: "a guest of 384 MB compiles: everything fits, tmem has nothing to do",
        guests: 1,
        memory_mib: 384,
        equal_total: false,
        // The hypercalls of loading the driver are a part of the exits that falls with every round.
        rounds: 6,
        files: 9,
        jobs: 1,
        turns: None,
        store_mib: 512,
        demand: Demand::NoCost(1.0),
    },
];

impl Experiment {
    /// The file for `tmem run`.
    pub(super) fn toml(&self, mode: Mode) -> String {
        let (enabled, driver) = match mode {
            Mode::Disk => (false, ""),
            Mode::Tmem => (true, ",tmem"),
        };
        let mut text = format!("[store]\nsize = \"{}M\"\nlending = \"persistent\"\n", self.store_mib);
        let memory_mib = self.memory_mib(mode);
        for number in 1..=self.guests {
            let turn = self.turns.map_or(String::new(), |turns| format!(",{},{turns}", (number - 1) % turns));
            text.push_str(&format!(
                "\n[[guest]]\nname = \"g{number}\"\nkernel = \"/images/small/vmlinux\"\ninitrd = \"/lab/initramfs\"\n\
                 memory = \"{memory_mib}M\"\ndisks = [\"/tmp/swap{number}.img\", \"/tmp/data{number}.img\", \
                 \"/lab/programs.img,ro\"]\ntransport = \"xen\"\ntmem = {{ enabled = {enabled} }}\n\
                 cmdline = \"console=ttyS0 panic=-1 quiet mitigations=off nokaslr \
                 guest.modules=virtio_mmio,virtio_blk{driver} guest.swap=/dev/vda guest.data=/dev/vdb \
                 guest.root=/dev/vdc guest.run=sh,/opt/compile.sh,{},{},{}{turn}\"\n",
                self.rounds, self.jobs, self.files
            ));
        }
        text
    }

    /// Memory of each guest in MiB.
    fn memory_mib(&self, mode: Mode) -> u32 {
        let guests = u32::try_from(self.guests).unwrap_or(u32::MAX);
        match mode {
            Mode::Disk if self.equal_total => self.memory_mib + self.store_mib / guests,
            _ => self.memory_mib,
        }
    }

    /// Memory of all guests and of the store, if they use it, in MiB.
    pub(super) fn total_mib(&self, mode: Mode) -> u32 {
        let guests = u32::try_from(self.guests).unwrap_or(u32::MAX);
        guests * self.memory_mib(mode) + if mode == Mode::Tmem { self.store_mib } else { 0 }
    }

    /// What the lab's shell does.
    pub(super) fn script(&self) -> String {
        let disks: Vec<String> =
            (1..=self.guests).map(|number| format!("/tmp/swap{number}.img /tmp/data{number}.img")).collect();
        format!(
            "truncate -s {DISK_MIB}M {} && tmem run /lab/guests.toml --report /out/report.json",
            disks.join(" ")
        )
    }

    /// Memory of the emulated host in MiB: the guests, what they write to their disks, the store, the programs and the host.
    pub(super) fn lab_memory_mib(&self) -> u32 {
        let guests = u32::try_from(self.guests).unwrap_or(u32::MAX);
        1536 + self.store_mib + guests.saturating_mul(self.memory_mib + 96)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(sectors_read: u64, sectors_written: u64, exits: u64) -> Outcome {
        Outcome { sectors_read, sectors_written, exits, ..Outcome::default() }
    }

    #[test]
    fn a_demand_is_met_at_its_limit_and_not_beyond() {
        let before = outcome(1000, 1000, 1000);
        assert!(Demand::FewerReads(52.0).is_met(&before, &outcome(480, 9, 9)));
        assert!(!Demand::FewerReads(52.0).is_met(&before, &outcome(481, 0, 0)));
        assert!(Demand::LessIo(76.0).is_met(&before, &outcome(400, 80, 9)));
        assert!(!Demand::LessIo(76.0).is_met(&before, &outcome(400, 90, 9)));
        assert!(Demand::NoCost(1.0).is_met(&before, &outcome(1000, 9, 1010)));
        assert!(!Demand::NoCost(1.0).is_met(&before, &outcome(1000, 9, 1011)));
        assert!(!Demand::NoCost(1.0).is_met(&before, &outcome(1001, 9, 1000)));
    }

    #[test]
    fn both_modes_have_the_same_guests_and_one_has_tmem() {
        let experiment = &EXPERIMENTS[0];
        let [disk, tmem] = Mode::BOTH.map(|mode| experiment.toml(mode));
        assert_eq!(tmem.replace("virtio_blk,tmem", "virtio_blk").replace("= true", "= false"), disk);
        assert_eq!(disk.matches("[[guest]]").count(), experiment.guests);
    }

    #[test]
    fn an_experiment_of_equal_total_has_it_in_both_modes_and_takes_turns() {
        let experiment = EXPERIMENTS.iter().find(|it| it.equal_total).unwrap();
        let [disk, tmem] = Mode::BOTH.map(|mode| experiment.total_mib(mode));
        assert_eq!(disk, tmem);
        let guests = u32::try_from(experiment.guests).unwrap();
        assert_eq!(experiment.store_mib % guests, 0, "nothing is lost by sharing it out");
        let text = experiment.toml(Mode::Disk);
        let each = experiment.total_mib(Mode::Disk) / guests;
        assert_eq!(text.matches(&format!("memory = \"{each}M\"")).count(), experiment.guests);
        assert_eq!(text.matches(",0,4\"\n").count(), 2, "{text}");
    }
}
