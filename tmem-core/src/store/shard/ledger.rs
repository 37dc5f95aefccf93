//! A client's ledger in one shard: what it may still spend here, what it has, what it did, and which of its pages goes
//! first.

use std::sync::Arc;

use crate::account::{Account, Denied, Grants};
use crate::evict::{AnyPolicy, Policy};
use crate::key::Kind;
use crate::usage::ClientCounters;

/// Needed to spend and to return bytes.
pub(in crate::store) type Bank<'a> = &'a dyn Grants;

/// The ledger. Its shard's lock guards it, so its numbers are plain.
pub(in crate::store) struct Ledger {
    account: Arc<Account>,
    /// Bytes granted to the client that this shard may spend.
    credit: u64,
    /// Of bytes to keep in persistent pools, those that it may spend.
    kept_credit: u64,
    metadata: u64,
    /// Bytes charged for what the policy remembers, or saved up for it; part of `metadata`.
    saved: u64,
    persistent: u64,
    ephemeral: u64,
    counters: ClientCounters,
    policy: AnyPolicy,
}

impl Ledger {
    pub(in crate::store) fn new(account: Arc<Account>, policy: AnyPolicy) -> Self {
        Self {
            account,
            credit: 0,
            kept_credit: 0,
            metadata: 0,
            saved: 0,
            persistent: 0,
            ephemeral: 0,
            counters: ClientCounters::default(),
            policy,
        }
    }

    pub(in crate::store) fn metadata(&self) -> u64 {
        self.metadata
    }

    pub(in crate::store) fn credit(&self) -> u64 {
        self.credit
    }

    pub(in crate::store) fn persistent(&self) -> u64 {
        self.persistent
    }

    pub(in crate::store) fn ephemeral(&self) -> u64 {
        self.ephemeral
    }

    pub(in crate::store) fn counters(&self) -> &ClientCounters {
        &self.counters
    }

    pub(in crate::store) fn count(&mut self, what: impl FnOnce(&mut ClientCounters)) {
        what(&mut self.counters);
    }

    pub(super) fn policy(&mut self) -> &mut AnyPolicy {
        &mut self.policy
    }

    /// Charges bytes of a page, of which `metadata` are not its data, and of pools of that kind.
    pub(super) fn charge(
        &mut self,
        bank: Bank<'_>,
        kind: Kind,
        bytes: u64,
        metadata: u64,
    ) -> Result<(), Denied> {
        if kind == Kind::Persistent && self.kept_credit < bytes {
            self.kept_credit += bank.grant_kept(&self.account, bytes - self.kept_credit);
            if self.kept_credit < bytes {
                return Err(Denied::Share);
            }
        }
        if self.credit < bytes {
            self.credit += bank.grant(&self.account, bytes - self.credit);
            if self.credit < bytes {
                return Err(Denied::Cap);
            }
        }
        self.credit -= bytes;
        if kind == Kind::Persistent {
            self.kept_credit -= bytes;
        }
        self.metadata += metadata;
        Ok(())
    }

    /// Returns charged bytes.
    pub(super) fn refund(&mut self, bank: Bank<'_>, kind: Kind, bytes: u64, metadata: u64) {
        self.metadata -= metadata;
        self.credit += bytes;
        let idle = bank.idle();
        if self.account.is_over_cap() {
            bank.give_back(&self.account, std::mem::take(&mut self.credit));
        } else if self.credit > idle {
            bank.give_back(&self.account, self.credit - idle / 2);
            self.credit = idle / 2;
        }
        if kind == Kind::Persistent {
            self.kept_credit += bytes;
            if self.kept_credit > idle {
                bank.give_back_kept(&self.account, self.kept_credit - idle / 2);
                self.kept_credit = idle / 2;
            }
        }
    }

    /// A page came, or one that was there went.
    pub(super) fn count_page(&mut self, kind: Kind, by: i64) {
        let pages = if kind == Kind::Persistent { &mut self.persistent } else { &mut self.ephemeral };
        *pages = pages.wrapping_add_signed(by);
    }

    /// Charges what the policy wants to remember, if the cap has room for it, and tells whether all of it is paid for.
    pub(super) fn pay(&mut self, bank: Bank<'_>) -> bool {
        let wants = self.policy.wants() as u64;
        let less = self.saved.saturating_sub(wants);
        self.saved -= less;
        self.refund(bank, Kind::Ephemeral, less, less);
        let more = wants - self.saved;
        if more > 0 && self.charge(bank, Kind::Ephemeral, more, more).is_ok() {
            self.saved += more;
        }
        self.saved >= wants
    }

    /// Puts by half of what an eviction freed for what the policy wants to remember. So its memory grows with evictions,
    /// and a client at its cap stays below it.
    pub(super) fn save(&mut self, freed: u64) {
        let wants = self.policy.wants() as u64;
        let more = wants.saturating_sub(self.saved).min(freed / 2).min(self.credit);
        self.credit -= more;
        self.saved += more;
        self.metadata += more;
    }

    /// Returns what was charged for the policy's memory: the client is gone, and the policy goes with it.
    pub(in crate::store) fn forgo(&mut self) {
        let saved = std::mem::take(&mut self.saved);
        self.metadata -= saved;
        self.credit += saved;
    }

    /// Returns all credit. False when there was none.
    pub(in crate::store) fn settle(&mut self, bank: Bank<'_>) -> bool {
        let (credit, kept) = (std::mem::take(&mut self.credit), std::mem::take(&mut self.kept_credit));
        bank.give_back(&self.account, credit);
        bank.give_back_kept(&self.account, kept);
        credit > 0 || kept > 0
    }
}
