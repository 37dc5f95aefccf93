//! Pages to put: from a file, or made up.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use tmem_core::{PAGE_SIZE, Page};

use super::made_up::made_up;

/// Pages used in turn.
#[derive(Debug)]
pub(super) struct Corpus(Vec<Page>);

/// A corpus that cannot be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum CorpusError {
    /// It cannot be read.
    #[error("cannot read the corpus {file}: {source}; give the path of a readable file with --corpus")]
    Read {
        /// Which file.
        file: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It has no page.
    #[error("the corpus {0} is empty at byte 0: it has to hold at least one page of 4096 bytes")]
    Empty(PathBuf),
    /// It ends in the middle of a page.
    #[error(
        "the corpus {file} ends in the middle of a page: {extra} bytes after byte {at}; cut it to whole pages"
    )]
    Ragged {
        /// Which file.
        file: PathBuf,
        /// Bytes of whole pages.
        at: u64,
        /// Bytes after them.
        extra: u64,
    },
}

impl Corpus {
    pub(super) fn read(file: &Path) -> Result<Self, CorpusError> {
        let failed = |source| CorpusError::Read { file: file.to_path_buf(), source };
        let mut bytes = Vec::new();
        File::open(file).and_then(|mut f| f.read_to_end(&mut bytes)).map_err(failed)?;
        let (pages, rest) = bytes.as_chunks::<PAGE_SIZE>();
        if !rest.is_empty() {
            let at = (bytes.len() - rest.len()) as u64;
            return Err(CorpusError::Ragged { file: file.to_path_buf(), at, extra: rest.len() as u64 });
        }
        if pages.is_empty() {
            return Err(CorpusError::Empty(file.to_path_buf()));
        }
        Ok(Self(pages.to_vec()))
    }

    pub(super) fn made_up() -> Self {
        Self(made_up())
    }

    /// Page `n`, counted round and round.
    pub(super) fn page(&self, n: u64) -> &Page {
        let at = (n % self.0.len() as u64) as usize;
        self.0.get(at).expect("a corpus has a page, and a remainder is below their number")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn corpus(bytes: &[u8]) -> Result<Corpus, String> {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("corpus");
        std::fs::write(&file, bytes).unwrap();
        Corpus::read(&file).map_err(|why| why.to_string())
    }

    #[test]
    fn whole_pages_are_used_in_turn() {
        let two = [[1; PAGE_SIZE], [2; PAGE_SIZE]].concat();
        let corpus = corpus(&two).unwrap();
        assert_eq!((corpus.page(0)[0], corpus.page(3)[0]), (1, 2));
    }

    #[test]
    fn a_bad_corpus_is_named_with_the_position() {
        assert!(corpus(&[]).unwrap_err().contains("is empty at byte 0"));
        assert!(corpus(&[0; PAGE_SIZE + 5]).unwrap_err().contains("5 bytes after byte 4096"));
        let missing = Corpus::read(Path::new("/nonexistent/corpus")).unwrap_err().to_string();
        assert!(missing.contains("/nonexistent/corpus"));
    }
}
