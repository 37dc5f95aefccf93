//! Requests made by hand, honest ones and others.

use super::super::testing::{AVAIL, Driver, Part};
use super::*;

const FRAMES: u64 = 0x30_0000;
const DATA: u64 = 0x31_0000;
const DATA_FRAME: u32 = (DATA / PAGE_SIZE as u64) as u32;
const PAGE: u64 = PAGE_SIZE as u64;
const RAM: u64 = 16 << 20;

/// A driver, and a balloon over its RAM in which the pages from [`DATA`] on hold sevens.
fn fixture() -> (Driver, Balloon) {
    let driver = Driver::new();
    driver.ram.write(&[7; 16 * PAGE_SIZE], DATA).unwrap();
    let balloon = Balloon::new(driver.ram.clone(), 0);
    (driver, balloon)
}

/// Has the balloon serve what the driver offered to queue number `index`.
fn serve(balloon: &Balloon, driver: &Driver, index: usize) -> Result<bool, BrokenRing> {
    balloon.serve(index, &mut driver.queue(), driver.ram.mmap(), &AtomicBool::new(false))
}

fn offer_frames(driver: &mut Driver, frames: &[u32]) {
    let bytes: Vec<u8> = frames.iter().flat_map(|frame| frame.to_le_bytes()).collect();
    driver.ram.write(&bytes, FRAMES).unwrap();
    driver.offer(&[(FRAMES, bytes.len() as u32, false)]);
}

fn inflate(frames: &[u32]) -> (Driver, Balloon) {
    let (mut driver, balloon) = fixture();
    offer_frames(&mut driver, frames);
    serve(&balloon, &driver, 0).unwrap();
    (driver, balloon)
}

fn report(parts: &[Part], queue: usize) -> (Driver, Balloon) {
    let (mut driver, balloon) = fixture();
    driver.offer(parts);
    serve(&balloon, &driver, queue).unwrap();
    (driver, balloon)
}

/// The numbers of the 16 pages from [`DATA`] on that were given back.
fn given_back(driver: &Driver) -> Vec<u64> {
    (0..16).filter(|page| driver.byte(DATA + page * PAGE) == 0).collect()
}

fn get(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

#[test]
fn inflate_when_pages_are_named_in_any_order_gives_exactly_these_back() {
    let (driver, balloon) = inflate(&[5, 3, 4, 9, 3].map(|n| DATA_FRAME + n));
    assert_eq!(given_back(&driver), [3, 4, 5, 9]);
    let counters = balloon.counters();
    assert_eq!((get(&counters.inflated), get(&counters.given_back)), (4, 4 * PAGE));
    assert_eq!((get(&counters.ignored), get(&counters.failed)), (0, 0));
    assert_eq!(driver.used(), [0]);
}

#[test]
fn inflate_when_pages_are_not_ram_ignores_and_counts_them() {
    let last = (RAM / PAGE) as u32 - 1;
    let (driver, balloon) = inflate(&[last + 1, DATA_FRAME, u32::MAX, 0xc_0000, last]);
    assert_eq!(given_back(&driver), [0]);
    assert_eq!((get(&balloon.counters.inflated), get(&balloon.counters.ignored)), (2, 3));
}

#[test]
fn inflate_when_a_request_is_too_long_looks_at_its_first_part_only() {
    let frames: Vec<u32> = (2048..4048).collect();
    let (driver, balloon) = inflate(&frames);
    assert_eq!(get(&balloon.counters.inflated), FRAMES_MAX);
    assert_eq!(get(&balloon.counters.ignored), 1);
    assert_eq!(driver.used(), [0]);
}

#[test]
fn inflate_when_the_list_is_not_in_memory_or_endless_is_answered_at_once() {
    for part in [
        (1 << 40, 1024, false),
        (u64::MAX - 1, u32::MAX, false),
        (RAM - 4, u32::MAX, false),
        (FRAMES, 3, false),
        (FRAMES, 4, true),
    ] {
        let (mut driver, balloon) = fixture();
        driver.offer(&[part]);
        serve(&balloon, &driver, 0).unwrap();
        assert_eq!(driver.used(), [0], "{part:?}");
        assert!(given_back(&driver).is_empty(), "{part:?}");
    }
}

#[test]
fn deflate_when_pages_are_named_touches_nothing_and_counts() {
    let (mut driver, balloon) = fixture();
    offer_frames(&mut driver, &[DATA_FRAME, DATA_FRAME + 1, u32::MAX]);
    serve(&balloon, &driver, 1).unwrap();
    assert!(given_back(&driver).is_empty());
    let counters = balloon.counters();
    assert_eq!((get(&counters.deflated), get(&counters.ignored), get(&counters.given_back)), (2, 1, 0));
}

#[test]
fn report_when_through_linux_s_queue_or_the_specification_s_gives_the_ranges_back() {
    for queue in [2, 4] {
        let parts = [(DATA + PAGE, 2 * 4096, true), (DATA + 8 * PAGE, 4096, true)];
        let (driver, balloon) = report(&parts, queue);
        assert_eq!(given_back(&driver), [1, 2, 8]);
        assert_eq!((get(&balloon.counters.reported), get(&balloon.counters.given_back)), (3, 3 * PAGE));
    }
}

#[test]
fn report_when_nobody_has_used_the_pages_gives_nothing_back() {
    let (_driver, balloon) = report(&[(RAM / 2, 4 * 4096, true)], 2);
    assert_eq!((get(&balloon.counters.reported), get(&balloon.counters.given_back)), (4, 0));
}

#[test]
fn report_when_a_range_is_bad_ignores_that_range_and_counts_it() {
    let parts = [
        (DATA + 1, 4096, true),
        (DATA, 4095, true),
        (DATA, 4096, false),
        (RAM - PAGE, 2 * 4096, true),
        (1 << 40, 4096, true),
        (u64::MAX - PAGE + 1, 4096, true),
        (DATA + 3 * PAGE, 4096, true),
    ];
    let (driver, balloon) = report(&parts, 2);
    assert_eq!(given_back(&driver), [3]);
    assert_eq!((get(&balloon.counters.reported), get(&balloon.counters.ignored)), (1, 5));
}

#[test]
fn config_when_the_driver_writes_keeps_the_host_s_target() {
    let balloon = Balloon::new(Driver::new().ram, 4096);
    balloon.config().write(0, &[0xff, 0xff, 0xff, 0xff, 0x39, 0x30, 0, 0]);
    let mut bytes = [0; 8];
    balloon.config().read(0, &mut bytes);
    assert_eq!(bytes, [0, 16, 0, 0, 0x39, 0x30, 0, 0]);
    assert_eq!(balloon.counters().actual(), 12345);
}

#[test]
fn target_when_set_while_the_device_is_served_is_what_the_driver_reads() {
    let (_driver, balloon) = fixture();
    let (config, counters) = (balloon.config(), balloon.counters());
    counters.set_target(0x0102_0304);
    let mut bytes = [0; 8];
    config.read(0, &mut bytes);
    assert_eq!((bytes, counters.target()), ([4, 3, 2, 1, 0, 0, 0, 0], 0x0102_0304));
}

#[test]
fn ring_when_it_is_broken_ends_the_service() {
    let (mut driver, balloon) = fixture();
    offer_frames(&mut driver, &[DATA_FRAME]);
    driver.ram.write(&300u16.to_le_bytes(), AVAIL + 2).unwrap();
    assert_eq!(serve(&balloon, &driver, 2), Err(BrokenRing));
}

#[test]
fn service_when_told_to_stop_leaves_the_rest() {
    let (mut driver, balloon) = fixture();
    (0..3).for_each(|_| offer_frames(&mut driver, &[DATA_FRAME]));
    let served = balloon.serve(0, &mut driver.queue(), driver.ram.mmap(), &AtomicBool::new(true));
    assert_eq!((served, driver.used().len()), (Ok(false), 1));
}
