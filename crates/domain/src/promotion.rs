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
use crate::encoding;
use crate::envelope::Actor;
use crate::id::{CentreName, NodeId};
use crate::line::{self, LineId, LogId};
use crate::outcome::{Answer, Rejection};
use crate::protection::{self, Mode, Protection};
use crate::registration::reason_fits;
use crate::session::{self, Plan};
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
    /// No more entries than these; which, nobody here can know.
    AtMost(u64),
    /// What nobody here can know.
    Unknown,
}

impl Loss {
    /// Whether who accepts this accepts what was found.
    #[must_use]
    pub fn covers(self, found: Self) -> bool {
        match (self, found) {
            (Self::Unknown, _) | (_, Self::None) => true,
            (Self::AtMost(most), Self::AtMost(entries)) => entries <= most,
            (Self::None, Self::AtMost(_)) | (Self::None | Self::AtMost(_), Self::Unknown) => false,
        }
    }
}

impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("0"),
            Self::AtMost(entries) => write!(f, "at most {entries} entries"),
            Self::Unknown => f.write_str("unknown"),
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
    /// Names the old line, where others of its epoch may have begun: none in the first epoch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub old: Option<Digest>,
    /// Why.
    pub reason: String,
}

impl Terms {
    /// Names the line that begins with these terms: two of one epoch are told apart by it, whatever
    /// they begin with.
    #[must_use]
    pub fn line(&self) -> Digest {
        Digest::of("main line", &[&encoding::encode(self)])
    }

    /// Whether, once a line has begun with these terms, none can ever begin with the others: a node
    /// accepts one of them, and too few are left for the others' majority.
    #[must_use]
    pub fn excludes(&self, others: &Self) -> bool {
        let only_here = self.voters.keys();
        let only_here = only_here.filter(|id| !others.voters.contains_key(id));
        let majority = |voters: usize| voters / 2 + 1;
        let here = majority(self.voters.len()).saturating_sub(only_here.count());
        let left = others.voters.len().saturating_sub(here);
        left < majority(others.voters.len())
    }

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
        let mut arguments = vec![
            ("centre", self.centre.to_string()),
            ("new epoch", self.epoch.to_string()),
            ("boundary", self.boundary.to_string()),
            ("genesis", self.genesis.to_string()),
            ("voters", voters.join(", ")),
            ("left out", left_out.join(", ")),
            ("loss", self.accepted_loss.to_string()),
            ("split brain", split_brain.to_owned()),
            ("reason", self.reason.clone()),
        ];
        arguments.extend(self.old.map(|old| ("old line", old.to_string())));
        arguments
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
    /// What the old primary's nodes said; none unless a majority of them has stopped.
    pub stopped: Option<Stopped>,
    /// Whether two lines began in the old one's epoch: what the other answered is not here.
    pub contested: bool,
}

/// What a majority of the old primary's nodes said after they had stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stopped {
    /// Whether they had given the secondary up since its last entry.
    pub gave_up: bool,
    /// How many entries they have at most that the new line does not; none where the two logs
    /// cannot be compared.
    pub beyond: Option<u64>,
}

impl Found {
    /// What can be claimed of the loss, and why (LINES.md, Promotion 4).
    #[must_use]
    pub fn claim(&self) -> (Loss, &'static str) {
        if self.contested {
            return (
                Loss::Unknown,
                "two lines began in this epoch, and the other one answered too",
            );
        }
        let (loss, why) = self.nothing_or_unknown();
        // A majority of the old primary's nodes has all that was ever committed.
        match (loss, self.stopped.and_then(|stopped| stopped.beyond)) {
            (Loss::Unknown, Some(entries)) => (Loss::AtMost(entries), why),
            (loss, _) => (loss, why),
        }
    }

    fn nothing_or_unknown(&self) -> (Loss, &'static str) {
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
        match (self.mode, self.stopped.map(|stopped| stopped.gave_up)) {
            (Mode::Async, _) => (
                Loss::Unknown,
                "the policy was async: answers did not wait for this centre",
            ),
            (Mode::Strict, _) => (
                Loss::None,
                "the policy was strict: nothing was answered without this centre",
            ),
            (Mode::Sync, Some(false)) => (
                Loss::None,
                "the old primary has stopped, and had not given this centre up",
            ),
            (Mode::Sync, Some(true)) => (
                Loss::Unknown,
                "the old primary had given this centre up, and answered without it",
            ),
            (Mode::Sync, None) => (
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

/// The plan of a branch that stands, if one does.
fn standing(state: &State) -> Option<Plan> {
    let session = state.standing_branch()?;
    state.plan(session).cloned()
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
        terms.accepted_loss,
        signed.join(", "),
        terms.reason,
    );
    let act = Act::Promotion(Box::new(terms.clone())).digest();
    let event = Event::new(Kind::Promoted)
        .detail(detail)
        .approved_by(act, &certificate.by);
    let mut effect = Effect::done(Answer::Nothing, event);
    while let Some(plan) = standing(state) {
        let id = &plan.session.id;
        let event =
            Event::new(Kind::SessionAbandoned).detail(format!("{id}: {}", session::DROPPED));
        effect.events.push(event);
        session::drop_branch(state, context, plan);
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
