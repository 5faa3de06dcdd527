//! Promotion: the other centre goes on with a new main line, without the old one's consent
//! (LINES.md, "Promotion").
//!
//! Two operators sign its terms, and what they signed is the certificate: the new line begins with
//! it, and an old node that is shown it stops serving. What can be claimed of the loss is decided
//! here, by arithmetic. Deliberately absent: sealing, replaying, files.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::apply::{Context, Effect};
use crate::approval::{self, Act, By};
use crate::audit::{Event, Kind};
use crate::centre::{Centres, Retired};
use crate::cluster::Centre;
use crate::digest::Digest;
use crate::envelope::Actor;
use crate::id::{CentreName, NodeId};
use crate::line::{self, LineId, LogId};
use crate::outcome::{Answer, Rejection};
use crate::protection::{self, Mode, Protection};
use crate::registration::reason_fits;
use crate::session;
use crate::state::{Held, State};
use crate::time::UnixMs;

/// Names one promise of a node: one that was released and given again is another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct SealId(#[serde(with = "serde_bytes")] pub [u8; 16]);

impl fmt::Display for SealId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl std::str::FromStr for SealId {
    type Err = NotASeal;

    fn from_str(text: &str) -> Result<Self, NotASeal> {
        let mut bytes = [0; 16];
        if text.len() != 32 || !text.is_ascii() {
            return Err(NotASeal);
        }
        for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks(2)) {
            let pair = std::str::from_utf8(pair).map_err(|_| NotASeal)?;
            *byte = u8::from_str_radix(pair, 16).map_err(|_| NotASeal)?;
        }
        Ok(Self(bytes))
    }
}

/// The text is not 32 hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a seal's name is 32 hexadecimal digits")]
pub struct NotASeal;

/// What is lost of what the old main line answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Loss {
    /// Nothing.
    None,
    /// What nobody here can know.
    Unknown,
}

impl Loss {
    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "0",
            Self::Unknown => "unknown",
        }
    }
}

/// What two operators agree on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Terms {
    /// The centre that becomes the primary.
    pub centre: CentreName,
    /// The epoch of the new main line: one more than the old one's.
    pub epoch: u64,
    /// The last entry of the old line that the new one goes on from.
    pub boundary: LogId,
    /// The full digest of the state there, which the new line begins with.
    pub genesis: Digest,
    /// The nodes that form the new line's group, each with the promise that it gave.
    pub voters: BTreeMap<NodeId, SealId>,
    /// The centre's nodes that gave none.
    pub left_out: BTreeSet<NodeId>,
    /// The loss that is accepted.
    pub accepted_loss: Loss,
    /// Whether the new line begins even if the old primary cannot be shown to have stopped.
    pub accepts_split_brain: bool,
    /// Why.
    pub reason: String,
}

impl Terms {
    /// What a person is shown is what is signed.
    #[must_use]
    pub fn arguments(&self) -> Vec<(&'static str, String)> {
        let voters: Vec<String> = self
            .voters
            .iter()
            .map(|(node, seal)| format!("{node} sealed {seal}"))
            .collect();
        let left_out: Vec<String> = self.left_out.iter().map(ToString::to_string).collect();
        let split_brain = match self.accepts_split_brain {
            true => "accepted",
            false => "not accepted",
        };
        vec![
            ("centre", self.centre.to_string()),
            ("new epoch", self.epoch.to_string()),
            ("boundary", self.boundary.to_string()),
            ("genesis", self.genesis.to_string()),
            ("voters", voters.join(", ")),
            ("left out", left_out.join(", ")),
            ("loss", self.accepted_loss.name().to_owned()),
            ("split brain", split_brain.to_owned()),
            ("reason", self.reason.clone()),
        ]
    }
}

/// Terms that operators have signed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Certificate {
    /// The terms.
    pub terms: Terms,
    /// Who signed.
    pub by: By,
}

/// What was found at the centre that is to become the primary.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// How many nodes the centre has.
    pub nodes: usize,
    /// How many of them are sealed.
    pub sealed: usize,
    /// The protection that policy asked for, in the best node's state.
    pub mode: Mode,
    /// Whether that state says that the secondary had been given up.
    pub degraded: bool,
    /// Whether a majority of the old primary's nodes said, after they had stopped, that the
    /// secondary had not been given up since.
    pub acknowledged: bool,
}

impl Found {
    /// What can be claimed of the loss, and why (LINES.md, Promotion 4).
    #[must_use]
    pub fn claim(&self) -> (Loss, &'static str) {
        // Fewer than these, and w others may hold an answered change that no sealed one has.
        let enough = self
            .nodes
            .saturating_sub(protection::quorum(self.nodes))
            .saturating_add(1);
        if self.sealed < enough {
            return (
                Loss::Unknown,
                "too few nodes are sealed: others may hold what was answered",
            );
        }
        if self.degraded {
            return (
                Loss::Unknown,
                "the old line had given this centre up, and answered without it",
            );
        }
        match (self.mode, self.acknowledged) {
            (Mode::Async, _) => (
                Loss::Unknown,
                "the policy was async: answers did not wait for this centre",
            ),
            (Mode::Strict, _) => (
                Loss::None,
                "the policy was strict: nothing was answered without this centre",
            ),
            (Mode::Sync, true) => (
                Loss::None,
                "the old primary has stopped, and had not given this centre up",
            ),
            (Mode::Sync, false) => (
                Loss::Unknown,
                "the old primary may have given this centre up since it was last heard",
            ),
        }
    }
}

impl State {
    /// The certificate that this main line began with; none in the first epoch.
    #[must_use]
    pub fn certificate(&self) -> Option<&Certificate> {
        self.certificate.as_deref()
    }

    /// Whether terms can be those of the line after this one, and name all nodes that the centre
    /// has here.
    ///
    /// # Errors
    /// `BadValues`, saying what is wrong with them.
    pub fn may_promote(&self, terms: &Terms) -> Result<(), Rejection> {
        self.may_follow(terms)?;
        let known: BTreeSet<NodeId> = self.nodes_of(&terms.centre).collect();
        let named: BTreeSet<NodeId> = terms
            .voters
            .keys()
            .chain(&terms.left_out)
            .copied()
            .collect();
        if named != known || terms.voters.keys().any(|id| terms.left_out.contains(id)) {
            let problem = format!("these are not the nodes of {}", terms.centre);
            return Err(Rejection::BadValues(vec![problem]));
        }
        Ok(())
    }

    fn may_follow(&self, terms: &Terms) -> Result<(), Rejection> {
        let centres = self.centres().ok_or(Rejection::NotFounded)?;
        if centres.named(&terms.centre).is_none() {
            return Err(Rejection::NoSuchCentre);
        }
        let mut problems = Vec::new();
        if terms.epoch != self.header.epoch.saturating_add(1) {
            problems.push(format!("the next epoch is not {}", terms.epoch));
        }
        if terms.voters.is_empty() {
            problems.push("no node is sealed".to_owned());
        }
        if problems.is_empty() {
            reason_fits(&terms.reason)
        } else {
            Err(Rejection::BadValues(problems))
        }
    }

    /// Whether enough operators have signed these terms, as far as that can be judged without
    /// their signatures. Which nodes the centre has is not judged: a state that lags behind the
    /// boundary may know others.
    ///
    /// # Errors
    /// `BadValues`, `ApprovalDiffers`, `ApprovalOtherKey`, `NotApproved`.
    pub fn is_certified(&self, certificate: &Certificate) -> Result<(), Rejection> {
        self.may_follow(&certificate.terms)?;
        let act = Act::Promotion(Box::new(certificate.terms.clone()));
        for (operator, approval) in &certificate.by {
            approval::fits(self, operator, approval, &act)?;
        }
        let have = u32::try_from(certificate.by.len()).unwrap_or(u32::MAX);
        let need = self.policy.approvals;
        if have < need {
            return Err(Rejection::NotApproved { have, need });
        }
        Ok(())
    }
}

/// The first entry of a new main line, by the node that leads it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Begin {
    /// The certificate.
    pub certificate: Certificate,
}

/// Makes the old line's state the new line's own.
pub(crate) fn begin(state: &mut State, context: &Context<'_>, begin: &Begin) -> Effect {
    let event = Event::new(Kind::Promoted);
    match may_begin(state, context, &begin.certificate) {
        Ok(centres) => carry_out(state, context, &begin.certificate, centres),
        Err(rejection) => Effect::rejected(rejection, event),
    }
}

fn may_begin(
    state: &State,
    context: &Context<'_>,
    certificate: &Certificate,
) -> Result<Centres, Rejection> {
    if !matches!(context.actor, Actor::Node(_)) {
        return Err(Rejection::NotAllowed);
    }
    if state.header.line != LineId::Main {
        return Err(Rejection::MainLineOnly);
    }
    if state.certificate() == Some(certificate) {
        return Err(Rejection::AlreadySo);
    }
    state.may_promote(&certificate.terms)?;
    state.is_certified(certificate)?;
    if context.genesis != Some(certificate.terms.genesis) {
        return Err(Rejection::EvidenceDiffers);
    }
    let centres = state.centres().ok_or(Rejection::NotFounded)?;
    after(centres, &certificate.terms).ok_or(Rejection::NoSuchCentre)
}

/// The centres after the promotion. The old primary has no nodes any more: they come back under
/// fresh ids. Nor has the new one those that were left out, where the others are no majority.
fn after(centres: &Centres, terms: &Terms) -> Option<Centres> {
    let mut primary = centres.named(&terms.centre)?.clone();
    if terms.voters.len() <= primary.nodes.len() / 2 {
        primary
            .nodes
            .retain(|node| terms.voters.contains_key(&node.id));
    }
    let other = centres.all().find(|centre| centre.name != terms.centre);
    let mut retired = centres.retired.clone();
    for centre in centres.all() {
        let gone = centre.nodes.iter().filter(|node| {
            let stays = primary.nodes.iter().any(|other| other.id == node.id);
            !stays
        });
        retired.extend(gone.map(|node| {
            let was = Retired {
                centre: centre.name.clone(),
                address: node.address.clone(),
            };
            (node.id, was)
        }));
    }
    Some(Centres {
        retired,
        secondary: other.map(|other| Centre {
            name: other.name.clone(),
            nodes: Vec::new(),
        }),
        primary,
        switch: None,
        former: None,
    })
}

fn carry_out(
    state: &mut State,
    context: &Context<'_>,
    certificate: &Certificate,
    centres: Centres,
) -> Effect {
    let terms = &certificate.terms;
    let signed: Vec<String> = certificate.by.keys().map(ToString::to_string).collect();
    let detail = format!(
        "{} in epoch {}, from entry {} with digest {}; loss accepted: {}; signed by {}: {}",
        terms.centre,
        terms.epoch,
        terms.boundary,
        terms.genesis,
        terms.accepted_loss.name(),
        signed.join(", "),
        terms.reason,
    );
    let act = Act::Promotion(Box::new(terms.clone())).digest();
    let event = Event::new(Kind::Promoted)
        .detail(detail)
        .approved_by(act, &certificate.by);
    let mut effect = Effect::done(Answer::Nothing, event);
    let fence = state.header.fence.clone();
    if let Some(plan) = fence.and_then(|session| state.plan(&session)).cloned() {
        let id = plan.session.id.clone();
        let why = "dropped by a promotion";
        session::give_up(state, context, plan, why);
        let event = Event::new(Kind::SessionAbandoned).detail(format!("{id}: {why}"));
        effect.events.push(event);
    }
    line::end_short_lived(state, context.now);
    state.header.epoch = terms.epoch;
    state.header.line_since = context.now;
    let has_other = centres.secondary.is_some();
    state.header.protection = Protection {
        // Until the other centre is back, nobody protects what is answered.
        degraded_since: has_other.then_some(context.now),
        degraded_count: state
            .header
            .protection
            .degraded_count
            .saturating_add(u64::from(has_other)),
        degraded_ms: state.header.protection.degraded_ms_at(context.now),
        strict_until: 0,
        sync_until: 0,
    };
    state.centres = Some(Held::new(centres));
    state.certificate = Some(Held::new(certificate.clone()));
    // Entries count from the start again: a notice that waits must not stand where a new one will.
    state.outbox.rename(context.at);
    effect
}

/// Until when a certificate can be accepted: the earliest end of its approvals.
#[must_use]
pub fn ends_at(certificate: &Certificate) -> UnixMs {
    let ends = certificate.by.values().map(|one| one.statement.expires_at);
    ends.min().unwrap_or_default()
}
