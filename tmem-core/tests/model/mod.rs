//! The rules of the store, written down as simply as possible: what must be there, and what may be.

use std::collections::BTreeMap;

use tmem_core::Page;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Persistent,
    Ephemeral,
    Shared,
}

/// Key of a page in a pool of the model.
pub(crate) type Place = (u64, u32);

#[derive(Clone, Debug, Default)]
pub(crate) struct Pool {
    pub(crate) pages: BTreeMap<Place, Box<Page>>,
}

/// One client: its pools by number, and whether it is frozen.
#[derive(Clone, Debug, Default)]
pub(crate) struct Client {
    pub(crate) pools: Vec<Option<(Kind, usize)>>,
    pub(crate) frozen: bool,
    pub(crate) shared_allowed: bool,
}

/// The whole store.
#[derive(Clone, Debug, Default)]
pub(crate) struct Model {
    pub(crate) clients: Vec<Client>,
    pub(crate) pools: Vec<Pool>,
    pub(crate) shared: Option<usize>,
}

impl Model {
    pub(crate) fn pool(&self, client: usize, id: usize) -> Option<(Kind, usize)> {
        self.clients[client].pools.get(id).copied().flatten()
    }

    pub(crate) fn members(&self, pool: usize) -> usize {
        self.clients.iter().flat_map(|c| c.pools.iter().flatten()).filter(|(_, p)| *p == pool).count()
    }

    /// Leaves a pool: a private one is gone, and so are the leaver's pages in a shared one.
    pub(crate) fn leave(&mut self, client: usize, id: usize) {
        let Some((kind, pool)) = self.pool(client, id) else { return };
        self.clients[client].pools[id] = None;
        if kind == Kind::Shared && self.members(pool) == 0 {
            self.shared = None;
        }
    }
}
