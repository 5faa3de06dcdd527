//! Firms in the state: what follows from a firm's record for its people.

use super::State;
use crate::account::{Account, By, Class, Status};
use crate::id::{AccountId, ParticipantId};
use crate::line::LineId;
use crate::notice::REMINDERS_ROOM;
use crate::participant::Participant;
use crate::session::Whose;

/// Most accounts of deleted firms that one entry erases.
pub const ERASED_AN_ENTRY: usize = 64;

impl State {
    /// The firm, unless it was deleted.
    #[must_use]
    pub fn firm(&self, id: &ParticipantId) -> Option<&Participant> {
        self.participants.get(id).filter(|firm| !firm.deleted())
    }

    /// Whether the account is gone for good, by itself or with its firm.
    #[must_use]
    pub fn gone(&self, account: &Account) -> bool {
        let firm = self.participants.get(&account.participant);
        account.deleted() || firm.is_some_and(Participant::deleted)
    }

    /// Puts a new or changed firm; where its people's tokens were ended, they end.
    pub(crate) fn put_participant(&mut self, firm: Participant) {
        let (id, endings) = (firm.id.clone(), firm.endings);
        if firm.deleted() && self.has_accounts(&id) {
            self.erasing.insert(id.clone());
        }
        let former = self.participants.set(firm);
        if former.map_or(0, |former| former.endings) != endings {
            self.short.tokens.end_participant(&id, endings);
        }
    }

    /// Whether the firm has a delegated administrator who may act, beside this one.
    pub(crate) fn has_admin(&self, firm: &ParticipantId, beside: Option<&By>) -> bool {
        self.accounts_of(firm, &AccountId::first())
            .filter(|account| account.class == Class::DelegatedAdmin && account.active())
            .any(|account| beside != Some(&By::Account(account.id.clone())))
    }

    fn has_accounts(&self, firm: &ParticipantId) -> bool {
        self.accounts_of(firm, &AccountId::first()).next().is_some()
    }

    /// Finds the deleted firms of which accounts are left: after a snapshot's rows, as it was when
    /// the snapshot was taken.
    pub(super) fn find_erasing(&mut self) {
        let deleted = self.participants.iter().filter(|firm| firm.deleted());
        let left = deleted.filter(|firm| self.has_accounts(&firm.id));
        self.erasing = left.map(|firm| firm.id.clone()).collect();
    }

    /// Puts a firm of a snapshot, whose tokens' endings stand in rows of their own.
    pub(super) fn restore_participant(&mut self, firm: Participant) {
        self.short.tokens.set_endings_of(&firm.id, firm.endings);
        self.participants.set(firm);
    }

    /// Erases some accounts of firms that were deleted: a bounded number, and not faster than
    /// their holders can be told. Only on the main line: what a branch leaves is discarded whole.
    pub(crate) fn erase_some(&mut self) {
        if self.header.line != LineId::Main || self.outbox.len() > REMINDERS_ROOM {
            return;
        }
        let Some(id) = self.erasing.get_min().cloned() else {
            return;
        };
        let status = self.participants.get(&id).map(|firm| firm.status.clone());
        let Some(Status::Deleted { at, by }) = status else {
            return;
        };
        let first = AccountId::first();
        let left = self.accounts_of(&id, &first).take(ERASED_AN_ENTRY);
        let left: Vec<Account> = left.cloned().collect();
        for mut account in left {
            account.delete(at, by.clone());
            self.short.activations.remove(&account.id);
            self.holds.remove(&Whose::Account(account.id.clone()));
            self.put_account(account);
        }
        if !self.has_accounts(&id) {
            self.erasing.remove(&id);
        }
    }
}
