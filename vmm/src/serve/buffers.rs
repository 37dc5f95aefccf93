//! A request's buffers in guest memory, one piece after the other.

use vm_memory::VolatileSlice;

/// The next bytes of a request's buffers.
pub(super) struct Buffers<'p, 'a> {
    parts: std::slice::Iter<'p, VolatileSlice<'a>>,
    rest: Option<VolatileSlice<'a>>,
}

impl<'p, 'a> Buffers<'p, 'a> {
    pub(super) fn new(parts: &'p [VolatileSlice<'a>]) -> Self {
        let mut parts = parts.iter();
        let rest = parts.next().cloned();
        Self { parts, rest }
    }

    /// The next `len` bytes, if they lie in one buffer.
    pub(super) fn whole(&mut self, len: usize) -> Option<VolatileSlice<'a>> {
        let rest = self.rest.take().filter(|rest| !rest.is_empty()).or_else(|| self.parts.next().cloned())?;
        match rest.split_at(len) {
            Ok((first, behind)) => {
                self.rest = Some(behind);
                Some(first)
            }
            Err(_) => {
                self.rest = Some(rest);
                None
            }
        }
    }

    /// Fills `to` with the next bytes.
    pub(super) fn take(&mut self, to: &mut [u8]) {
        let mut done = 0;
        while let Some(piece) = self.piece(to.len() - done) {
            done += piece.copy_to(to.get_mut(done..).unwrap_or_default());
        }
    }

    /// Fills the next bytes with `from`.
    pub(super) fn fill(&mut self, from: &[u8]) {
        let mut done = 0;
        while let Some(piece) = self.piece(from.len() - done) {
            piece.copy_from(from.get(done..done + piece.len()).unwrap_or_default());
            done += piece.len();
        }
    }

    /// The next bytes of one buffer, `most` of them or fewer; nothing at the end, and for none.
    fn piece(&mut self, most: usize) -> Option<VolatileSlice<'a>> {
        if most == 0 {
            return None;
        }
        let rest = self.rest.take().filter(|rest| !rest.is_empty()).or_else(|| self.parts.next().cloned())?;
        let (first, behind) = rest.split_at(rest.len().min(most)).ok()?;
        self.rest = Some(behind);
        Some(first)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_come_in_order_whatever_the_buffers_are_cut_into() {
        let mut memory = [[1u8, 2, 3].to_vec(), vec![], vec![4], vec![5, 6, 7, 8]];
        let parts: Vec<_> = memory.iter_mut().map(|part| VolatileSlice::from(part.as_mut_slice())).collect();
        let mut buffers = Buffers::new(&parts);
        let mut five = [0; 5];
        buffers.take(&mut five);
        assert_eq!(five, [1, 2, 3, 4, 5]);
        assert!(buffers.whole(4).is_none(), "three are left");
        assert_eq!(buffers.whole(3).unwrap().len(), 3);
        let mut buffers = Buffers::new(&parts);
        buffers.fill(&[9; 8]);
        let mut all = [0; 8];
        Buffers::new(&parts).take(&mut all);
        assert_eq!(all, [9; 8]);
    }
}
