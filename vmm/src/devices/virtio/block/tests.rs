//! Requests made by hand, honest ones and others.

use std::io::Write;

use virtio_queue::QueueT;

use super::super::testing::{AVAIL, Driver, Part};
use super::*;

const HEADER: u64 = 0x30_0000;
const DATA: u64 = 0x31_0000;
const STATUS: u64 = 0x32_0000;
const NOT_RAM: u64 = 1 << 40;

fn disk(read_only: bool) -> (Block, tempfile::NamedTempFile) {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    for sector in 0..8u8 {
        file.write_all(&[sector; 512]).unwrap();
    }
    (Block::open(file.path(), read_only).unwrap(), file)
}

/// Makes one request with the usual header and status around `data`, and returns the status.
fn request(block: &mut Block, kind: u32, sector: u64, data: &[Part]) -> (u8, Driver) {
    let mut driver = Driver::new();
    let mut header = kind.to_le_bytes().to_vec();
    header.extend([0; 4]);
    header.extend(sector.to_le_bytes());
    driver.ram.write(&header, HEADER).unwrap();
    driver.ram.write(&[0xee], STATUS).unwrap();
    driver.ram.write(&[0x77; 4096], DATA).unwrap();
    let mut parts = vec![(HEADER, 16, false)];
    parts.extend(data);
    parts.push((STATUS, 1, true));
    driver.offer(&parts);
    block.serve(driver.ram.mmap(), &mut [driver.queue()], &AtomicBool::new(false)).unwrap();
    (driver.byte(STATUS), driver)
}

fn get(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

#[test]
fn read_when_inside_the_disk_fills_the_buffers_and_counts() {
    let (mut block, _file) = disk(false);
    let (status, driver) =
        request(&mut block, VIRTIO_BLK_T_IN, 2, &[(DATA, 512, true), (DATA + 4096, 1024, true)]);
    assert_eq!(status, 0);
    assert_eq!([driver.byte(DATA), driver.byte(DATA + 4096), driver.byte(DATA + 4096 + 512)], [2, 3, 4]);
    assert_eq!(driver.used(), [1537]);
    let counters = block.counters();
    assert_eq!((get(&counters.reads), get(&counters.sectors_read), get(&counters.errors)), (1, 3, 0));
}

#[test]
fn write_when_inside_the_disk_reaches_the_file_and_counts() {
    let (mut block, file) = disk(false);
    let (status, driver) = request(&mut block, VIRTIO_BLK_T_OUT, 7, &[(DATA, 512, false)]);
    assert_eq!(status, 0);
    assert_eq!(driver.used(), [1]);
    let content = std::fs::read(file.path()).unwrap();
    assert_eq!((content[7 * 512], content[7 * 512 - 1], content.len()), (0x77, 6, 4096));
    assert_eq!((get(&block.counters().writes), get(&block.counters().sectors_written)), (1, 1));
}

#[test]
fn write_when_read_only_is_an_error_and_changes_nothing() {
    let (mut block, file) = disk(true);
    assert_ne!(block.features() & 1 << VIRTIO_BLK_F_RO, 0);
    let (status, _) = request(&mut block, VIRTIO_BLK_T_OUT, 0, &[(DATA, 512, false)]);
    assert_eq!(u32::from(status), VIRTIO_BLK_S_IOERR);
    assert_eq!(std::fs::read(file.path()).unwrap()[0], 0);
    assert_eq!((get(&block.counters().sectors_written), get(&block.counters().errors)), (0, 1));
}

#[test]
fn transfer_when_past_the_end_misaligned_or_overflowing_is_an_error() {
    let (mut block, _file) = disk(false);
    for (sector, part) in [
        (8, (DATA, 512, true)),
        (7, (DATA, 1024, true)),
        (u64::MAX, (DATA, 512, true)),
        (0, (DATA, 511, true)),
        (0, (DATA, 512, false)),
        (0, (NOT_RAM, 512, true)),
        (0, (u64::MAX - 100, 512, true)),
    ] {
        let (status, _) = request(&mut block, VIRTIO_BLK_T_IN, sector, &[part]);
        assert_eq!(u32::from(status), VIRTIO_BLK_S_IOERR, "sector {sector} {part:?}");
    }
    assert_eq!(get(&block.counters().sectors_read), 0);
}

#[test]
fn flush_and_id_when_asked_are_answered_and_others_are_unsupported() {
    let (mut block, file) = disk(false);
    assert_eq!(request(&mut block, VIRTIO_BLK_T_FLUSH, 0, &[]).0, 0);
    assert_eq!(get(&block.counters().flushes), 1);
    let (status, driver) = request(&mut block, VIRTIO_BLK_T_GET_ID, 0, &[(DATA, 20, true)]);
    assert_eq!((status, driver.used()), (0, vec![21]));
    let name = file.path().file_name().unwrap().as_encoded_bytes();
    assert_eq!(driver.byte(DATA), name[0]);
    assert_eq!(
        u32::from(request(&mut block, VIRTIO_BLK_T_GET_ID, 0, &[(DATA, 19, true)]).0),
        VIRTIO_BLK_S_IOERR
    );
    assert_eq!(u32::from(request(&mut block, VIRTIO_BLK_T_DISCARD, 0, &[]).0), VIRTIO_BLK_S_UNSUPP);
}

#[test]
fn chain_when_too_short_or_without_a_status_is_given_back_empty() {
    let (mut block, _file) = disk(false);
    for parts in [
        &[(HEADER, 16, false)][..],
        &[(STATUS, 1, true)][..],
        &[(HEADER, 16, false), (STATUS, 1, false)][..],
        &[(HEADER, 16, false), (STATUS, 0, true)][..],
        &[(HEADER, 16, false), (NOT_RAM, 1, true)][..],
    ] {
        let mut driver = Driver::new();
        driver.offer(parts);
        block.serve(driver.ram.mmap(), &mut [driver.queue()], &AtomicBool::new(false)).unwrap();
        assert_eq!(driver.used(), [0], "{parts:?}");
    }
}

#[test]
fn header_when_short_writable_or_outside_memory_is_an_error() {
    let (mut block, _file) = disk(false);
    for header in [(HEADER, 15, false), (HEADER, 16, true), (NOT_RAM, 16, false)] {
        let mut driver = Driver::new();
        driver.offer(&[header, (STATUS, 1, true)]);
        block.serve(driver.ram.mmap(), &mut [driver.queue()], &AtomicBool::new(false)).unwrap();
        assert_eq!(u32::from(driver.byte(STATUS)), VIRTIO_BLK_S_IOERR, "{header:?}");
    }
}

#[test]
fn open_when_missing_empty_or_odd_names_the_file() {
    let error = Block::open(Path::new("/no/disk.img"), false).unwrap_err().to_string();
    assert!(error.starts_with("cannot open disk /no/disk.img: "), "{error}");
    let mut file = tempfile::NamedTempFile::new().unwrap();
    assert!(matches!(Block::open(file.path(), false), Err(DiskError::Size { size: 0, .. })));
    file.write_all(&[0; 513]).unwrap();
    assert!(matches!(Block::open(file.path(), false), Err(DiskError::Size { size: 513, .. })));
}

#[test]
fn ring_when_its_index_runs_ahead_is_broken_and_ends_the_service() {
    let (mut block, _file) = disk(false);
    let mut driver = Driver::new();
    driver.offer(&[(HEADER, 16, false), (STATUS, 1, true)]);
    driver.ram.write(&300u16.to_le_bytes(), AVAIL + 2).unwrap();
    let served = block.serve(driver.ram.mmap(), &mut [driver.queue()], &AtomicBool::new(false));
    assert_eq!(served, Err(BrokenRing));
}

#[test]
fn ring_when_at_address_zero_is_broken() {
    let (mut block, _file) = disk(false);
    let driver = Driver::new();
    let mut queue = driver.queue();
    queue.set_avail_ring_address(Some(0), Some(0));
    assert_eq!(block.serve(driver.ram.mmap(), &mut [queue], &AtomicBool::new(false)), Err(BrokenRing));
}

#[test]
fn service_when_told_to_stop_leaves_the_rest() {
    let (mut block, _file) = disk(false);
    let mut driver = Driver::new();
    for _ in 0..3 {
        driver.offer(&[(HEADER, 16, false), (STATUS, 1, true)]);
    }
    assert_eq!(block.serve(driver.ram.mmap(), &mut [driver.queue()], &AtomicBool::new(true)), Ok(false));
    assert_eq!(driver.used().len(), 1);
}

#[test]
fn request_when_a_buffer_or_their_number_is_too_large_is_refused() {
    let (mut block, _file) = disk(false);
    let (status, _) = request(&mut block, VIRTIO_BLK_T_IN, 0, &[(DATA, SEGMENT_BYTES_MAX + 512, true)]);
    assert_eq!(u32::from(status), VIRTIO_BLK_S_IOERR);
    let parts = vec![(DATA, 0, true); SEGMENTS_MAX as usize + 1];
    let (status, driver) = request(&mut block, VIRTIO_BLK_T_IN, 0, &parts);
    assert_eq!((status, driver.used()), (0xee, vec![0]));
}
