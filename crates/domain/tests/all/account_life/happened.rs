//! What happened over all histories.

use std::cell::RefCell;
use std::collections::BTreeMap;

/// How often each thing happened.
#[derive(Debug, Default)]
pub(super) struct Happened(RefCell<BTreeMap<&'static str, u64>>);

/// What must have happened, each in one history of twenty at least.
const EXPECTED: &[&str] = &[
    "initiated",
    "initiated by mail",
    "set up after a reset",
    "password changed",
    "channel replaced",
    "logged in",
    "login begun",
    "set-up begun",
    "OTP revoked",
    "card revoked",
    "card registered",
    "suspended",
    "DA suspended",
    "resumed",
    "unlocked",
    "address set",
    "password reset",
    "channel reset",
    "both reset",
    "method disabled",
    "method allowed",
    "half issued",
    "created",
    "imported",
    "deleted",
    "firm suspended",
    "firm deleted",
    "token ended",
    "ended token refused",
    "shut firm's person refused",
    "other firm's act refused",
    "maker's approval refused",
    "stranger's begin refused",
    "begun with both proofs",
    "ended login refused",
    "password that counts works",
    "ended password refused",
    "former card refused",
    "thing of another line refused",
    "token of Saturday refused",
];

impl Happened {
    pub(super) fn note(&self, what: &'static str) {
        *self.0.borrow_mut().entry(what).or_default() += 1;
    }

    pub(super) fn note_if(&self, happened: bool, what: &'static str) {
        if happened {
            self.note(what);
        }
    }

    /// What happened too seldom to show anything.
    pub(super) fn too_seldom(&self, cases: u64) -> Vec<&'static str> {
        let counts = self.0.borrow();
        let seldom = |what: &&&str| counts.get(**what).copied().unwrap_or(0) <= cases / 20;
        EXPECTED.iter().filter(seldom).copied().collect()
    }
}
