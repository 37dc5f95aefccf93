//! Bytes between a file and guest memory, at an offset, so that several threads may share the file.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;

use vm_memory::VolatileSlice;

type Call =
    unsafe extern "C" fn(libc::c_int, *const libc::iovec, libc::c_int, libc::off64_t) -> libc::ssize_t;

/// Most parts that the host takes in one call.
const PARTS_MAX: usize = libc::UIO_MAXIOV as usize;

/// Fills `parts` with the file's bytes from `at` on.
pub(super) fn read(file: &File, parts: &[VolatileSlice<'_>], at: u64) -> io::Result<()> {
    all(file, libc::preadv64, parts, at, io::ErrorKind::UnexpectedEof)
}

/// Writes `parts` to the file from `at` on.
pub(super) fn write(file: &File, parts: &[VolatileSlice<'_>], at: u64) -> io::Result<()> {
    all(file, libc::pwritev64, parts, at, io::ErrorKind::WriteZero)
}

fn all(file: &File, call: Call, parts: &[VolatileSlice<'_>], at: u64, end: io::ErrorKind) -> io::Result<()> {
    // An empty part would look like the file's end.
    let mut left: Vec<VolatileSlice<'_>> = parts.iter().filter(|part| !part.is_empty()).copied().collect();
    let mut at = at;
    while !left.is_empty() {
        match once(file, call, &left, at) {
            Ok(0) => return Err(end.into()),
            Ok(done) => {
                at += done as u64;
                advance(&mut left, done)?;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn once(file: &File, call: Call, parts: &[VolatileSlice<'_>], at: u64) -> io::Result<usize> {
    let at = i64::try_from(at).map_err(|_| io::ErrorKind::InvalidInput)?;
    let guards: Vec<_> =
        parts.iter().take(PARTS_MAX).map(|part| (part.ptr_guard_mut(), part.len())).collect();
    let vectors: Vec<libc::iovec> = guards
        .iter()
        .map(|(guard, len)| libc::iovec { iov_base: guard.as_ptr().cast(), iov_len: *len })
        .collect();
    // SAFETY: `call` is preadv64 or pwritev64. Every vector is a part of guest memory, which stays mapped and may be written by
    // anybody at any time while its slice is borrowed, and so by the kernel; nobody holds a reference to its bytes. There are at
    // most PARTS_MAX of them, which fits c_int, and they outlive the call.
    match unsafe { call(file.as_raw_fd(), vectors.as_ptr(), vectors.len() as libc::c_int, at) } {
        done @ 0.. => Ok(done as usize),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Takes the first `done` bytes off.
fn advance(parts: &mut Vec<VolatileSlice<'_>>, mut done: usize) -> io::Result<()> {
    let whole = parts.iter().take_while(|part| {
        let all = part.len() <= done;
        if all {
            done -= part.len();
        }
        all
    });
    let whole = whole.count();
    parts.drain(..whole);
    if let Some(first) = parts.first_mut() {
        *first = first.offset(done).map_err(|_| io::ErrorKind::InvalidData)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn slices(bytes: &mut [Vec<u8>]) -> Vec<VolatileSlice<'_>> {
        bytes.iter_mut().map(|part| VolatileSlice::from(part.as_mut_slice())).collect()
    }

    #[test]
    fn parts_when_read_and_written_are_in_order_and_at_the_offset() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"0123456789").unwrap();
        let mut parts = [vec![0; 2], vec![], vec![0; 3]];
        read(&file, &slices(&mut parts), 4).unwrap();
        assert_eq!(parts, [b"45".to_vec(), vec![], b"678".to_vec()]);
        write(&file, &slices(&mut parts), 0).unwrap();
        let mut back = [vec![0; 10]];
        read(&file, &slices(&mut back), 0).unwrap();
        assert_eq!(back[0], b"4567856789");
    }

    #[test]
    fn read_when_past_the_end_is_an_error() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"0123456789").unwrap();
        let mut parts = [vec![0; 8], vec![0; 8]];
        let error = read(&file, &slices(&mut parts), 0).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    }

    #[test]
    fn parts_when_more_than_the_host_takes_at_once_are_all_moved() {
        let file = tempfile::tempfile().unwrap();
        let mut parts = vec![vec![7]; PARTS_MAX + 1];
        write(&file, &slices(&mut parts), 0).unwrap();
        assert_eq!(file.metadata().unwrap().len(), PARTS_MAX as u64 + 1);
    }

    #[test]
    fn progress_when_it_ends_inside_a_part_goes_on_there() {
        let mut bytes = [vec![1; 3], vec![2; 3], vec![3; 3]];
        let mut parts = slices(&mut bytes);
        advance(&mut parts, 4).unwrap();
        assert_eq!(parts.iter().map(VolatileSlice::len).collect::<Vec<_>>(), [2, 3]);
        advance(&mut parts, 5).unwrap();
        assert!(parts.is_empty());
    }
}
