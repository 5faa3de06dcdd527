//! The operators' signed approvals in a trail (S34), checked again without a node: each is by the
//! operator whom its record names, of such an act, valid when it was counted, and stands wherever
//! an operator's approval is recorded. So a trail that was made anew, signatures of its end and
//! all, still lacks what only the operators' own keys can make.
//!
//! Deliberately absent: what an act was about. A record says it in words, and names what was
//! approved by the digest of its arguments; the arguments themselves it does not hold. And who the first operators are: the trail
//! does not say with which keys a cluster was founded, so that an operator's first approval says
//! it, and every later one must agree.

use std::collections::BTreeMap;

use domain::Digest;
use domain::approval::{Approval, LIFE_MS_MAX, is_recorded_as};
use domain::audit::{Kind, Row, Verdict};
use domain::cluster::KeyPin;
use domain::id::ClusterId;

use super::acts::Acts;
use crate::approval;
use crate::certificate::{self, Holder};

/// The approvals of a trail as far as it was read.
#[derive(Debug, Default)]
pub(super) struct Approvals {
    /// The key that each operator signs with.
    keys: BTreeMap<String, KeyPin>,
    cluster: Option<ClusterId>,
    count: u64,
    acts: Acts,
}

impl Approvals {
    /// How many there were, all good.
    pub(super) fn count(&self) -> u64 {
        self.count
    }

    /// Whether all are of this cluster.
    pub(super) fn are_of(&self, cluster: ClusterId) -> bool {
        self.cluster.is_none_or(|own| own == cluster)
    }

    /// Checks the approvals of a row, if it has any or must have them.
    ///
    /// # Errors
    /// What is wrong.
    pub(super) fn follow(&mut self, row: &Row) -> Result<(), &'static str> {
        let came = row.approved.as_ref().map(|approved| approved.by.as_slice());
        let mut with = Vec::new();
        for signed in came.unwrap_or_default() {
            with.push((self.signer(signed)?, signed));
            self.count += 1;
        }
        self.own(row)?;
        self.acts.follow(row, &with)?;
        self.note_registration(row);
        Ok(())
    }

    /// Checks the row's own approval.
    fn own(&mut self, row: &Row) -> Result<(), &'static str> {
        let counted = row.verdict == Verdict::Done && row.actor.starts_with("operator/");
        let Some(signed) = &row.approval else {
            return match counted && is_recorded_as(row.kind, "").is_some() {
                true => Err("it is of an operator's approval, and has none that was signed"),
                false => Ok(()),
            };
        };
        self.check(row, signed)?;
        let statement = &signed.statement;
        match is_recorded_as(row.kind, &statement.act) {
            Some(false) => return Err("its approval is of another act"),
            // What was answered again was counted before.
            None => {}
            Some(true) => {
                let left = statement.expires_at.since(row.at);
                if row.at >= statement.expires_at || left > LIFE_MS_MAX {
                    return Err("its approval was not valid then");
                }
            }
        }
        self.count += 1;
        Ok(())
    }

    /// Whether the operator whom the row names signed it.
    fn check(&mut self, row: &Row, signed: &Approval) -> Result<(), &'static str> {
        match self.signer(signed)? == row.actor {
            true => Ok(()),
            false => Err("its approval was signed by somebody else"),
        }
    }

    /// The operator who signed it, if it is good.
    fn signer(&mut self, signed: &Approval) -> Result<String, &'static str> {
        approval::check(signed).map_err(|error| match error {
            approval::Error::OtherKey => "its approval's certificate has another key",
            approval::Error::Certificate(_) => "its approval's certificate cannot be read",
            approval::Error::Signature
            | approval::Error::Key
            | approval::Error::Sign
            | approval::Error::Expired
            | approval::Error::TooLong => "its approval is not what the operator signed",
        })?;
        let peer = certificate::peer(&signed.certificate)
            .map_err(|_| "its approval's certificate names nobody")?;
        let signer = match peer.identity.holder {
            Holder::Operator(id) => format!("operator/{id}"),
            Holder::FrontEnd(_) | Holder::BackEnd(_) | Holder::Script(_) | Holder::Node(_) => {
                return Err("its approval was not signed by an operator");
            }
        };
        let cluster = signed.statement.cluster;
        if peer.identity.cluster != cluster || !self.are_of(cluster) {
            return Err("its approval is of another cluster");
        }
        self.cluster = Some(cluster);
        let known = self.keys.entry(signer.clone()).or_insert(signed.key);
        match *known == signed.key {
            true => Ok(signer),
            false => Err("its approval was signed with another key than the operator's"),
        }
    }

    /// An operator who was registered anew signs with the key that was registered.
    fn note_registration(&mut self, row: &Row) {
        let said = row.detail.as_deref().unwrap_or_default();
        if row.kind != Kind::CallerRegistered {
            return;
        }
        let Some((holder, rest)) = said.split_once(", key ") else {
            return;
        };
        let key = rest.split(':').next().unwrap_or_default();
        match key.parse::<Digest>() {
            Ok(Digest(key)) => drop(self.keys.insert(holder.to_owned(), KeyPin(key))),
            Err(_) => drop(self.keys.remove(holder)),
        }
    }
}
