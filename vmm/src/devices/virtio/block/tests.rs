//! Requests made by hand, honest ones and others.

use std::io::Write;

use virtio_bindings::virtio_config::VIRTIO_F_VERSION_1;
use virtio_queue::QueueT;

use super::super::testing::{AVAIL, Driver, Part};
use super::*;
use crate::disk::DiskSpec;

const HEADER: u64 = 0x30_0000;
const DATA: u64 = 0x31_0000;
const STATUS: u64 = 0x32_0000;
const NOT_RAM: u64 = 1 << 40;

fn disk(read_only: bool) -> (Block, tempfile::NamedTempFile) {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    for sector in 0..8u8 {
        file.write_all(&[sector; 512]).unwrap();
    }
    let image = Image::open(&DiskSpec { read_only, ..DiskSpec::new(file.path()) }).unwrap();
    let block = Block::new(image, "disk0", 1).unwrap();
    block.accepted(block.features());
    (block, file)
}

/// Makes one request with the usual header and status around `data`, and returns the status.
fn request(block: &Block, kind: u32, sector: u64, data: &[Part]) -> (u8, Driver) {
    request_with(block, kind, sector, data, &[0x77; 4096])
}

/// The same, with `content` in the guest's memory at [`DATA`].
fn request_with(block: &Block, kind: u32, sector: u64, data: &[Part], content: &[u8]) -> (u8, Driver) {
    let mut driver = Driver::new();
    let mut header = kind.to_le_bytes().to_vec();
    header.extend([0; 4]);
    header.extend(sector.to_le_bytes());
    driver.ram.write(&header, HEADER).unwrap();
    driver.ram.write(&[0xee], STATUS).unwrap();
    driver.ram.write(content, DATA).unwrap();
    let mut parts = vec![(HEADER, 16, false)];
    parts.extend(data);
    parts.push((STATUS, 1, true));
    driver.offer(&parts);
    block.serve(0, &mut driver.queue(), driver.ram.mmap(), &AtomicBool::new(false)).unwrap();
    (driver.byte(STATUS), driver)
}

fn get(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

#[test]
fn read_when_inside_the_disk_fills_the_buffers_and_counts() {
    let (block, _file) = disk(false);
    let (status, driver) =
        request(&block, VIRTIO_BLK_T_IN, 2, &[(DATA, 512, true), (DATA + 4096, 1024, true)]);
    assert_eq!(status, 0);
    assert_eq!([driver.byte(DATA), driver.byte(DATA + 4096), driver.byte(DATA + 4096 + 512)], [2, 3, 4]);
    assert_eq!(driver.used(), [1537]);
    let counters = block.counters();
    assert_eq!((get(&counters.reads), get(&counters.sectors_read), get(&counters.errors)), (1, 3, 0));
}

#[test]
fn write_when_inside_the_disk_reaches_the_file_and_counts() {
    let (block, file) = disk(false);
    let (status, driver) = request(&block, VIRTIO_BLK_T_OUT, 7, &[(DATA, 512, false)]);
    assert_eq!(status, 0);
    assert_eq!(driver.used(), [1]);
    let content = std::fs::read(file.path()).unwrap();
    assert_eq!((content[7 * 512], content[7 * 512 - 1], content.len()), (0x77, 6, 4096));
    assert_eq!((get(&block.counters().writes), get(&block.counters().sectors_written)), (1, 1));
}

#[test]
fn write_when_read_only_is_an_error_and_changes_nothing() {
    let (block, file) = disk(true);
    assert_ne!(block.features() & 1 << VIRTIO_BLK_F_RO, 0);
    let (status, _) = request(&block, VIRTIO_BLK_T_OUT, 0, &[(DATA, 512, false)]);
    assert_eq!(u32::from(status), VIRTIO_BLK_S_IOERR);
    assert_eq!(std::fs::read(file.path()).unwrap()[0], 0);
    assert_eq!((get(&block.counters().sectors_written), get(&block.counters().errors)), (0, 1));
}

#[test]
fn transfer_when_past_the_end_misaligned_or_overflowing_is_an_error() {
    let (block, _file) = disk(false);
    for (sector, part) in [
        (8, (DATA, 512, true)),
        (7, (DATA, 1024, true)),
        (u64::MAX, (DATA, 512, true)),
        (0, (DATA, 511, true)),
        (0, (DATA, 512, false)),
        (0, (NOT_RAM, 512, true)),
        (0, (u64::MAX - 100, 512, true)),
    ] {
        let (status, _) = request(&block, VIRTIO_BLK_T_IN, sector, &[part]);
        assert_eq!(u32::from(status), VIRTIO_BLK_S_IOERR, "sector {sector} {part:?}");
    }
    assert_eq!(get(&block.counters().sectors_read), 0);
}

#[test]
fn disk_when_no_driver_came_was_not_found() {
    let file = tempfile::NamedTempFile::new().unwrap();
    file.as_file().set_len(4096).unwrap();
    let block = Block::new(Image::open(&DiskSpec::new(file.path())).unwrap(), "disk0", 1).unwrap();
    assert!(!block.was_found());
    block.accepted(1 << VIRTIO_F_VERSION_1);
    assert!(block.was_found());
}

#[test]
fn flush_and_id_when_asked_are_answered_and_others_are_unsupported() {
    let (block, _file) = disk(false);
    assert_eq!(request(&block, VIRTIO_BLK_T_FLUSH, 0, &[]).0, 0);
    assert_eq!(get(&block.counters().flushes), 1);
    let (status, driver) = request(&block, VIRTIO_BLK_T_GET_ID, 0, &[(DATA, 20, true)]);
    assert_eq!((status, driver.used()), (0, vec![21]));
    let id: Vec<u8> = (0..20).map(|at| driver.byte(DATA + at)).collect();
    assert_eq!(id, b"disk0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", "and nothing about the host's file");
    assert_eq!(u32::from(request(&block, VIRTIO_BLK_T_GET_ID, 0, &[(DATA, 19, true)]).0), VIRTIO_BLK_S_IOERR);
    assert_eq!(u32::from(request(&block, VIRTIO_BLK_T_SECURE_ERASE, 0, &[]).0), VIRTIO_BLK_S_UNSUPP);
}

#[test]
fn chain_when_too_short_or_without_a_status_is_given_back_empty() {
    let (block, _file) = disk(false);
    for parts in [
        &[(HEADER, 16, false)][..],
        &[(STATUS, 1, true)][..],
        &[(HEADER, 16, false), (STATUS, 1, false)][..],
        &[(HEADER, 16, false), (STATUS, 0, true)][..],
        &[(HEADER, 16, false), (NOT_RAM, 1, true)][..],
    ] {
        let mut driver = Driver::new();
        driver.offer(parts);
        block.serve(0, &mut driver.queue(), driver.ram.mmap(), &AtomicBool::new(false)).unwrap();
        assert_eq!(driver.used(), [0], "{parts:?}");
    }
}

#[test]
fn header_when_short_writable_or_outside_memory_is_an_error() {
    let (block, _file) = disk(false);
    for header in [(HEADER, 15, false), (HEADER, 16, true), (NOT_RAM, 16, false)] {
        let mut driver = Driver::new();
        driver.offer(&[header, (STATUS, 1, true)]);
        block.serve(0, &mut driver.queue(), driver.ram.mmap(), &AtomicBool::new(false)).unwrap();
        assert_eq!(u32::from(driver.byte(STATUS)), VIRTIO_BLK_S_IOERR, "{header:?}");
    }
}

#[test]
fn ring_when_its_index_runs_ahead_is_broken_and_ends_the_service() {
    let (block, _file) = disk(false);
    let mut driver = Driver::new();
    driver.offer(&[(HEADER, 16, false), (STATUS, 1, true)]);
    driver.ram.write(&300u16.to_le_bytes(), AVAIL + 2).unwrap();
    let served = block.serve(0, &mut driver.queue(), driver.ram.mmap(), &AtomicBool::new(false));
    assert_eq!(served, Err(BrokenRing));
}

#[test]
fn ring_when_at_address_zero_is_broken() {
    let (block, _file) = disk(false);
    let driver = Driver::new();
    let mut queue = driver.queue();
    queue.set_avail_ring_address(Some(0), Some(0));
    assert_eq!(block.serve(0, &mut queue, driver.ram.mmap(), &AtomicBool::new(false)), Err(BrokenRing));
}

#[test]
fn service_when_told_to_stop_leaves_the_rest() {
    let (block, _file) = disk(false);
    let mut driver = Driver::new();
    for _ in 0..3 {
        driver.offer(&[(HEADER, 16, false), (STATUS, 1, true)]);
    }
    let served = block.serve(0, &mut driver.queue(), driver.ram.mmap(), &AtomicBool::new(true));
    assert_eq!(served, Ok(false));
    assert_eq!(driver.used().len(), 1);
}

#[test]
fn request_when_a_buffer_or_their_number_is_too_large_is_refused() {
    let (block, _file) = disk(false);
    let (status, _) = request(&block, VIRTIO_BLK_T_IN, 0, &[(DATA, SEGMENT_BYTES_MAX + 512, true)]);
    assert_eq!(u32::from(status), VIRTIO_BLK_S_IOERR);
    let parts = vec![(DATA, 0, true); SEGMENTS_MAX as usize + 1];
    let (status, driver) = request(&block, VIRTIO_BLK_T_IN, 0, &parts);
    assert_eq!((status, driver.used()), (0xee, vec![0]));
}

const DISCARD: u32 = VIRTIO_BLK_T_DISCARD;
const ZEROS: u32 = VIRTIO_BLK_T_WRITE_ZEROES;

/// A range as the driver writes it.
fn range(sector: u64, sectors: u32, flags: u32) -> Vec<u8> {
    let bytes = sector.to_le_bytes().into_iter().chain(sectors.to_le_bytes()).chain(flags.to_le_bytes());
    bytes.collect()
}

/// Makes a request with these ranges, each of which it cuts in two.
fn ranges(block: &Block, kind: u32, ranges: &[Vec<u8>]) -> u32 {
    let bytes = ranges.concat();
    let parts: Vec<Part> = (0..bytes.len() as u64 / 8).map(|n| (DATA + n * 8, 8, false)).collect();
    request_with(block, kind, 0, &parts, &bytes).0.into()
}

/// The sectors of the file that read as zeros. The first always did.
fn zeros(file: &tempfile::NamedTempFile) -> Vec<usize> {
    let content = std::fs::read(file.path()).unwrap();
    content.chunks(512).enumerate().filter(|(_, bytes)| **bytes == [0; 512]).map(|(n, _)| n).collect()
}

#[test]
fn discard_and_zeros_when_inside_the_disk_make_zeros_of_exactly_these_sectors_and_count() {
    for (kind, flags) in [(DISCARD, 0), (ZEROS, 0), (ZEROS, 1)] {
        let (block, file) = disk(false);
        let status = ranges(&block, kind, &[range(2, 1, flags), range(5, 2, flags), range(8, 0, flags)]);
        assert_eq!((status, zeros(&file)), (VIRTIO_BLK_S_OK, vec![0, 2, 5, 6]), "{kind} {flags}");
        assert_eq!(file.as_file().metadata().unwrap().len(), 4096);
        let counters = block.counters();
        let counts =
            [&counters.discards, &counters.sectors_discarded, &counters.zeroings, &counters.sectors_zeroed];
        assert_eq!(counts.map(get), if kind == DISCARD { [1, 3, 0, 0] } else { [0, 0, 1, 3] });
    }
}

#[test]
fn ranges_when_one_is_outside_overflowing_or_too_long_change_nothing() {
    for kind in [DISCARD, ZEROS] {
        for bad in [
            range(8, 1, 0),
            range(7, 2, 0),
            range(u64::MAX, 1, 0),
            range(u64::MAX, u32::MAX, 0),
            range(1, u32::MAX, 0),
            range(0, RANGE_SECTORS_MAX + 1, 0),
        ] {
            let (block, file) = disk(false);
            assert_eq!(ranges(&block, kind, &[range(1, 1, 0), bad]), VIRTIO_BLK_S_IOERR);
            assert_eq!(zeros(&file), [0], "the good one before it is left, too");
            assert_eq!(get(&block.counters().errors), 1);
        }
    }
}

#[test]
fn ranges_when_they_have_flags_that_there_are_not_are_unsupported() {
    let (block, file) = disk(false);
    for (kind, flags) in [(DISCARD, 1), (DISCARD, 2), (ZEROS, 2), (ZEROS, 1 << 31)] {
        assert_eq!(ranges(&block, kind, &[range(1, 1, flags)]), VIRTIO_BLK_S_UNSUPP, "{kind} {flags}");
    }
    assert_eq!(zeros(&file), [0]);
}

#[test]
fn ranges_when_none_cut_off_too_many_writable_or_outside_memory_are_an_error() {
    let (block, file) = disk(false);
    let most = RANGES_MAX * 16;
    for parts in [
        &[][..],
        &[(DATA, 0, false)][..],
        &[(DATA, 15, false)][..],
        &[(DATA, 24, false)][..],
        &[(DATA, 16, true)][..],
        &[(DATA, 16, false), (DATA, 16, true)][..],
        &[(DATA, most + 16, false)][..],
        &[(DATA, most, false), (DATA, 16, false)][..],
        &[(DATA, 1 << 31, false), (DATA, 16, false)][..],
        &[(NOT_RAM, 16, false)][..],
        &[(u64::MAX - 8, 16, false)][..],
    ] {
        for kind in [DISCARD, ZEROS] {
            let status = request_with(&block, kind, 0, parts, &range(1, 1, 0).repeat(64)).0;
            assert_eq!(u32::from(status), VIRTIO_BLK_S_IOERR, "{parts:?}");
        }
    }
    assert_eq!(zeros(&file), [0]);
}

#[test]
fn ranges_when_as_many_as_allowed_are_done() {
    let (block, file) = disk(false);
    let status = ranges(&block, DISCARD, &vec![range(3, 1, 0); RANGES_MAX as usize]);
    assert_eq!((status, zeros(&file)), (VIRTIO_BLK_S_OK, vec![0, 3]));
}

#[test]
fn ranges_when_the_feature_was_not_accepted_or_the_disk_is_read_only_are_refused() {
    let (block, file) = disk(false);
    block.accepted(0);
    assert_eq!(ranges(&block, DISCARD, &[range(1, 1, 0)]), VIRTIO_BLK_S_UNSUPP);
    assert_eq!(ranges(&block, ZEROS, &[range(1, 1, 0)]), VIRTIO_BLK_S_UNSUPP);
    let (read_only, _file) = disk(true);
    let both = 1 << VIRTIO_BLK_F_DISCARD | 1 << VIRTIO_BLK_F_WRITE_ZEROES;
    assert_eq!(read_only.features() & both, 0);
    // No transport lets a driver accept what was not offered.
    read_only.accepted(both);
    assert_eq!(ranges(&read_only, DISCARD, &[range(1, 1, 0)]), VIRTIO_BLK_S_IOERR);
    assert_eq!(ranges(&read_only, ZEROS, &[range(1, 1, 0)]), VIRTIO_BLK_S_IOERR);
    assert_eq!(zeros(&file), [0]);
}

fn number<const BYTES: usize>(block: &Block, at: usize) -> u64 {
    let mut bytes = [0; BYTES];
    block.config().read(at, &mut bytes);
    bytes.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte))
}

#[test]
fn configuration_when_read_is_that_of_the_specification() {
    let (_, file) = disk(false);
    let block = Block::new(Image::open(&DiskSpec::new(file.path())).unwrap(), "disk0", 4).unwrap();
    assert_eq!((number::<8>(&block, 0), number::<4>(&block, 8), number::<4>(&block, 12)), (8, 65536, 254));
    assert_eq!((number::<2>(&block, 34), block.queues()), (4, 4));
    assert_eq!([36, 40, 44, 48, 52].map(|at| number::<4>(&block, at)), [1 << 21, 32, 8, 1 << 21, 32]);
    assert_eq!(number::<1>(&block, 56), 1);
}

#[test]
fn resize_when_larger_grows_the_file_and_the_driver_s_capacity() {
    let (block, file) = disk(false);
    let before = block.config().generation();
    block.resize(Some(8192)).unwrap();
    assert_eq!((file.as_file().metadata().unwrap().len(), number::<8>(&block, 0)), (8192, 16));
    assert_ne!(block.config().generation(), before);
    assert_eq!(request(&block, VIRTIO_BLK_T_IN, 15, &[(DATA, 512, true)]).0, 0);
    assert_eq!(u32::from(request(&block, VIRTIO_BLK_T_IN, 16, &[(DATA, 512, true)]).0), VIRTIO_BLK_S_IOERR);
}

#[test]
fn resize_when_the_file_has_grown_takes_its_size_even_read_only() {
    let (block, file) = disk(true);
    file.as_file().set_len(8192 + 100).unwrap();
    block.resize(None).unwrap();
    assert_eq!(block.bytes(), 8192);
    assert!(matches!(block.resize(Some(16384)), Err(ResizeError::ReadOnly)));
    assert_eq!((block.bytes(), file.as_file().metadata().unwrap().len()), (8192, 8192 + 100));
}

#[test]
fn resize_when_smaller_or_odd_changes_nothing() {
    let (block, file) = disk(false);
    assert!(matches!(block.resize(Some(2048)), Err(ResizeError::Shrinks { now: 4096, asked: 2048 })));
    assert!(matches!(block.resize(Some(8191)), Err(ResizeError::Odd(8191))));
    file.as_file().set_len(2048).unwrap();
    assert!(matches!(block.resize(None), Err(ResizeError::Shrinks { .. })));
    assert_eq!((block.bytes(), file.as_file().metadata().unwrap().len()), (4096, 2048));
    // What is not there any more is an error and no zeros.
    assert_eq!(u32::from(request(&block, VIRTIO_BLK_T_IN, 4, &[(DATA, 512, true)]).0), VIRTIO_BLK_S_IOERR);
}
