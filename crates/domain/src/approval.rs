//! Approvals: operators' signed statements, what each is about, and when one counts (S34; LOGIN.md,
//! "Administration").
//!
//! What an act's arguments are is said here and nowhere else, as names and values that a person can
//! read: what is shown before signing is what is signed. Deliberately absent: signatures. The edge
//! checks them; here an approval is counted by arithmetic, and kept so that anybody can check it
//! again.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::account::{self, import};
use crate::apply::Context;
use crate::audit::{Kind, Row};
use crate::centre::{self, nodes};
use crate::change_request;
use crate::cluster::KeyPin;
use crate::digest::Digest;
use crate::envelope::{Actor, Command};
use crate::id::{ChangeRequestId, ClusterId, OperatorId};
use crate::line::LineId;
use crate::migration;
use crate::outcome::Rejection;
use crate::participant;
use crate::policy::Policy;
use crate::promotion;
use crate::registration::{self, Holder, Registering};
use crate::script;
use crate::session;
use crate::state::State;
use crate::table::{Expires, Record};
use crate::time::UnixMs;

/// Longest that an approval may be valid: 30 minutes (LOGIN.md, "Administration").
pub const LIFE_MS_MAX: u64 = 30 * 60 * 1_000;
/// Most bytes of a certificate in an approval.
pub const CERTIFICATE_BYTES_MAX: usize = 4 * 1_024;
/// Most bytes of a signature.
pub const SIGNATURE_BYTES_MAX: usize = 128;
/// Most acts that wait for another operator.
pub const PENDING_MAX: usize = 1_000;

/// What an operator signs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Statement {
    /// The cluster.
    pub cluster: ClusterId,
    /// The main line's epoch.
    pub epoch: u64,
    /// The act, by its stable name.
    pub act: String,
    /// The digest of the act's arguments.
    pub arguments: Digest,
    /// The log index that the operator was shown.
    pub index: u64,
    /// When the approval ends.
    pub expires_at: UnixMs,
}

/// A signed statement with what it takes to check it again: the certificate whose key made it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Approval {
    /// What was signed.
    pub statement: Statement,
    /// The fingerprint of the certificate's key.
    pub key: KeyPin,
    /// The operator's certificate as DER.
    #[serde(with = "serde_bytes")]
    pub certificate: Vec<u8>,
    /// ECDSA P-256 with SHA-256, ASN.1.
    #[serde(with = "serde_bytes")]
    pub signature: Vec<u8>,
}

/// A command with the approval that the edge has checked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Signed {
    /// The approval.
    pub approval: Approval,
    /// What the operator asks for.
    pub command: Command,
}

/// An act that takes two operators, with everything that they agree on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Act {
    /// Opening or giving up a session, by the digest of its plan.
    Session(session::Act, Digest),
    /// Go-live or a login method.
    Migration(migration::Change),
    /// A firm as a whole: that it be resumed or deleted.
    Participant(participant::Act),
    /// A change request, by the digest of what it asks for.
    ChangeRequest(ChangeRequestId, Digest),
    /// The policy as a whole, and the one that it replaces if that was said.
    Policy(Box<Policy>, Option<Digest>),
    /// Firms and people from files, by the digests of their rows.
    Import(Box<import::Terms>),
    /// Who may call, by which key.
    Register(Registering),
    /// What a script may do.
    Grant(Box<script::Terms>),
    /// That a centre goes on with a new main line.
    Promotion(Box<promotion::Terms>),
    /// Which nodes a centre has.
    Nodes(Box<nodes::Change>),
}

impl Act {
    /// The act's stable name.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Session(session::Act::Open(_), _) => "session.open",
            Self::Session(session::Act::Abandon(_), _) => "session.abandon",
            Self::Migration(change) => match change {
                migration::Change::Schedule { .. } => "go-live.schedule",
                migration::Change::Approve { .. } => "go-live.approve",
                migration::Change::Postpone { .. } => "go-live.postpone",
                migration::Change::Withdraw => "go-live.withdraw",
                migration::Change::Switch { .. } => "method.set",
            },
            Self::Participant(act) => act.name(),
            Self::ChangeRequest(..) => "change-request.approve",
            Self::Policy(..) => "policy.set",
            Self::Import(_) => "account.import",
            Self::Register(_) => "registration.register",
            Self::Grant(_) => "script.grant",
            Self::Promotion(_) => "centre.promote",
            Self::Nodes(_) => "centre.nodes",
        }
    }

    /// The act's arguments, in their order: what a person is shown is what is signed.
    #[must_use]
    pub fn arguments(&self) -> Vec<(&'static str, String)> {
        match self {
            Self::Session(session::Act::Open(id) | session::Act::Abandon(id), plan) => {
                vec![("session", id.to_string()), ("plan", plan.to_string())]
            }
            Self::Migration(change) => migration_arguments(change),
            Self::Participant(act) => act.arguments(),
            Self::ChangeRequest(id, content) => {
                vec![
                    ("request", id.to_string()),
                    ("content", content.to_string()),
                ]
            }
            Self::Policy(policy, seen) => vec![
                ("policy", policy.digest().to_string()),
                (
                    "in place of",
                    seen.map(|of| of.to_string()).unwrap_or_default(),
                ),
            ],
            Self::Import(terms) => terms.arguments(),
            Self::Register(registering) => registering.arguments(),
            Self::Grant(terms) => terms.arguments(),
            Self::Promotion(terms) => terms.arguments(),
            Self::Nodes(change) => change.arguments(),
        }
    }

    /// The digest of the arguments: BLAKE3 over `tidemark approval arguments v1`, the act's name,
    /// and each argument's name and value, each with its length as eight bytes, little endian,
    /// before it.
    #[must_use]
    pub fn digest(&self) -> Digest {
        let arguments = self.arguments();
        let mut parts: Vec<&[u8]> = vec![self.name().as_bytes()];
        for (name, value) in &arguments {
            parts.push(name.as_bytes());
            parts.push(value.as_bytes());
        }
        Digest::of("tidemark approval arguments v1", &parts)
    }

    /// What is to be signed for the act.
    #[must_use]
    pub fn statement(
        &self,
        (cluster, epoch): (ClusterId, u64),
        index: u64,
        expires_at: UnixMs,
    ) -> Statement {
        Statement {
            cluster,
            epoch,
            act: self.name().to_owned(),
            arguments: self.digest(),
            index,
            expires_at,
        }
    }

    /// The act that a command of an operator approves, if it does.
    #[must_use]
    pub fn of(state: &State, command: &Command) -> Option<Self> {
        match command {
            Command::Session(session::Command::Approve { act, plan }) => {
                Some(Self::Session(act.clone(), *plan))
            }
            Command::Migration(migration::Command::Say { change, .. }) => {
                Some(Self::Migration(change.clone()))
            }
            Command::Participant(participant::Command::Say { act, .. }) => {
                Some(Self::Participant(act.clone()))
            }
            Command::ChangeRequest(change_request::Command::Approve { id, token: None }) => {
                let found = state.change_requests().get(id, state.header().clock);
                let content = found.map_or(Digest::ZERO, change_request::ChangeRequest::content);
                Some(Self::ChangeRequest(*id, content))
            }
            Command::SetPolicy { policy, seen } => {
                Some(Self::Policy(Box::new(policy.clone()), *seen))
            }
            Command::Account(account::Command::ApproveImport { terms }) => Some(terms.act()),
            Command::Registration(registration::Command::Register { registering, .. }) => {
                Some(Self::Register(registering.clone()))
            }
            Command::Script(script::Command::Grant { terms, .. }) => {
                Some(Self::Grant(Box::new(terms.clone())))
            }
            Command::Centre(centre::Command::ChangeNodes { change, .. }) => {
                Some(Self::Nodes(change.clone()))
            }
            Command::Signed(signed) => Self::of(state, &signed.command),
            Command::Cluster(_)
            | Command::Session(_)
            | Command::SetCalendar(_)
            | Command::Account(_)
            | Command::Participant(_)
            | Command::ChangeRequest(_)
            | Command::Migration(_)
            | Command::SetRevocationList(_)
            | Command::Login(_)
            | Command::Token(_)
            | Command::Initiation(_)
            | Command::Change(_)
            | Command::Notice(_)
            | Command::Keys(_)
            | Command::Protection(_)
            | Command::Centre(_)
            | Command::Promote(_)
            | Command::Registration(_)
            | Command::Script(_) => None,
        }
    }
}

/// The acts whose approvals have records of a kind of their own.
const RECORDED_AS: [(Kind, &[&str]); 4] = [
    (
        Kind::MigrationProposed,
        &[
            "go-live.schedule",
            "go-live.approve",
            "go-live.postpone",
            "go-live.withdraw",
            "method.set",
        ],
    ),
    (Kind::ChangeApproved, &["change-request.approve"]),
    (Kind::RegistrationApproved, &["registration.register"]),
    (Kind::ScriptGrantApproved, &["script.grant"]),
];

/// Whether a record of this kind can be of an operator's approval of the act of this name; none
/// where a record of this kind is of no operator's approval.
#[must_use]
pub fn is_recorded_as(kind: Kind, act: &str) -> Option<bool> {
    let mut own = RECORDED_AS.iter();
    if kind == Kind::ActApproved {
        return Some(own.all(|(_, acts)| !acts.contains(&act)));
    }
    own.find(|(of, _)| *of == kind)
        .map(|(_, acts)| acts.contains(&act))
}

/// The acts, by the kinds of the records that they are carried out by (S34).
const CARRIED_OUT_AS: [(Kind, &[&str]); 14] = [
    (Kind::PolicySet, &["policy.set"]),
    (Kind::AccountsImported, &["account.import"]),
    (Kind::CallerRegistered, &["registration.register"]),
    (Kind::ScriptGranted, &["script.grant"]),
    (Kind::NodesChanged, &["centre.nodes"]),
    (Kind::ParticipantResumed, &["participant.resume"]),
    (Kind::ParticipantDeleted, &["participant.delete"]),
    (
        Kind::GoLiveSet,
        &[
            "go-live.schedule",
            "go-live.approve",
            "go-live.postpone",
            "go-live.withdraw",
        ],
    ),
    (Kind::MethodsSet, &["method.set"]),
    // A script's grant is the approval of what it opens.
    (Kind::SessionOpened, &["session.open", "script.grant"]),
    (Kind::BranchStarted, &["session.open", "script.grant"]),
    (Kind::SessionAdopted, &["session.open", "script.grant"]),
    (Kind::SessionAbandoned, &["session.abandon"]),
    (Kind::Promoted, &["centre.promote"]),
];

/// Whether a record of this kind can be of the carrying out of the act of this name.
#[must_use]
pub fn is_carried_out_as(kind: Kind, act: &str) -> bool {
    let mut own = CARRIED_OUT_AS.iter();
    own.any(|(of, acts)| *of == kind && acts.contains(&act))
}

/// Whether the record is of an act that several operators must have approved. A method of one
/// account is switched by one person, or by a change request; a branch that was planned begins by
/// the boundary's approvals, and a promotion gives a session up by its own.
#[must_use]
pub fn takes_approvals(row: &Row) -> bool {
    let listed = CARRIED_OUT_AS.iter().any(|(kind, _)| *kind == row.kind);
    let excepted = (row.kind == Kind::MethodsSet && row.account.is_some())
        || row.kind == Kind::BranchStarted
        || (row.kind == Kind::SessionAbandoned && !row.actor.starts_with("operator/"));
    listed && !excepted
}

fn migration_arguments(change: &migration::Change) -> Vec<(&'static str, String)> {
    use migration::{Change, Subject, Switch};
    match change {
        Change::Schedule { date } | Change::Postpone { date } => vec![("date", date.to_string())],
        Change::Approve { date, reference } => {
            vec![("date", date.to_string()), ("reference", reference.clone())]
        }
        Change::Withdraw => Vec::new(),
        Change::Switch { of, method, switch } => {
            let of = match of {
                Subject::Service => "service".to_owned(),
                Subject::Participant(id) => format!("participant/{id}"),
            };
            let method = match method {
                crate::factor::Method::Smartcard => "smartcard",
                crate::factor::Method::Otp => "otp",
            };
            let switch = match switch {
                Switch::On => "on".to_owned(),
                Switch::Off => "off".to_owned(),
                Switch::OffFrom(UnixMs(at)) => format!("off from {at}"),
                Switch::OnFrom(UnixMs(at)) => format!("on from {at}"),
            };
            vec![
                ("of", of),
                ("method", method.to_owned()),
                ("switch", switch),
            ]
        }
    }
}

/// Who approved, each with the statement.
pub type By = BTreeMap<OperatorId, Approval>;

/// An act that too few operators have approved yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pending {
    /// What it is about: one act on a thing waits at a time.
    pub about: String,
    /// What was approved.
    pub act: Act,
    /// By whom.
    pub by: By,
    /// When it is forgotten.
    pub ends_at: UnixMs,
}

impl Record for Pending {
    type Key = String;
    const TABLE: &'static str = "pending act";
    fn key(&self) -> String {
        self.about.clone()
    }
}

impl Expires for Pending {
    fn expires(&self) -> UnixMs {
        self.ends_at
    }
}

/// The operator who asks, with an approval that fits the act and is valid now.
pub(crate) fn given(
    state: &State,
    context: &Context<'_>,
    act: &Act,
) -> Result<(OperatorId, Approval), Rejection> {
    let operator = match context.actor {
        Actor::Operator(operator) => operator,
        Actor::FrontEnd(_) | Actor::BackEnd(_) | Actor::Node(_) | Actor::Script(_) => {
            return Err(Rejection::NotAllowed);
        }
    };
    let approval = context.approval.ok_or(Rejection::ApprovalUnsigned)?;
    let statement = &approval.statement;
    if context.now >= statement.expires_at {
        return Err(Rejection::ApprovalExpired);
    }
    if statement.expires_at.since(context.now) > LIFE_MS_MAX {
        return Err(Rejection::ApprovalTooLong);
    }
    fits(state, operator, approval, act)?;
    if !was_seen(state, context, statement.index) {
        return Err(Rejection::ApprovalDiffers);
    }
    Ok((operator.clone(), approval.clone()))
}

/// Whether it is this operator's approval of this act, on this line; whenever it was given.
pub(crate) fn fits(
    state: &State,
    operator: &OperatorId,
    approval: &Approval,
    act: &Act,
) -> Result<(), Rejection> {
    let statement = &approval.statement;
    if !is_key_of(state, operator, approval) {
        return Err(Rejection::ApprovalOtherKey);
    }
    let bounded = approval.certificate.len() <= CERTIFICATE_BYTES_MAX
        && approval.signature.len() <= SIGNATURE_BYTES_MAX;
    let fits = bounded
        && Some(statement.cluster) == state.cluster()
        && statement.epoch == state.header.epoch
        && statement.act == act.name()
        && statement.arguments == act.digest();
    fits.then_some(()).ok_or(Rejection::ApprovalDiffers)
}

/// Whether the index can have been shown before this entry. Entries without a command have one too.
/// On a branch it is the main line's, which the edge alone can judge.
fn was_seen(state: &State, context: &Context<'_>, index: u64) -> bool {
    match state.header.line {
        LineId::Main => index < context.at.index,
        LineId::Branch { .. } => true,
    }
}

fn is_key_of(state: &State, operator: &OperatorId, approval: &Approval) -> bool {
    state
        .registered(&Holder::Operator(operator.clone()))
        .is_some_and(|registered| registered.key == approval.key)
}

/// Those approvals that count now: signed by operators who are still registered with the key, of
/// this epoch, and not expired.
pub(crate) fn counted(state: &State, now: UnixMs, by: &By) -> By {
    by.iter()
        .filter(|(operator, approval)| {
            now < approval.statement.expires_at
                && approval.statement.epoch == state.header.epoch
                && is_key_of(state, operator, approval)
        })
        .map(|(operator, approval)| (operator.clone(), approval.clone()))
        .collect()
}

/// How far an act has come with one more approval.
pub(crate) struct Counted {
    /// Who approved, this one too.
    pub(crate) by: By,
    /// How many have.
    pub(crate) have: u32,
    /// How many it takes.
    pub(crate) need: u32,
    /// The digest of what was approved.
    pub(crate) act: Digest,
}

/// Notes an approval of an act; with the last one that it takes, the act no longer waits and is to
/// be carried out. Who approves something else about the same thing begins anew.
pub(crate) fn note(
    state: &mut State,
    context: &Context<'_>,
    about: String,
    act: Act,
) -> Result<Counted, Rejection> {
    let (operator, approval) = given(state, context, &act)?;
    let named = act.digest();
    let now = context.now;
    let waiting = state.pending.get(&about, now);
    let mut by = waiting
        .filter(|waiting| waiting.act == act)
        .map(|waiting| counted(state, now, &waiting.by))
        .unwrap_or_default();
    if waiting.is_none() && state.pending.len() >= PENDING_MAX {
        return Err(Rejection::TooMany);
    }
    by.insert(operator, approval);
    let have = u32::try_from(by.len()).unwrap_or(u32::MAX);
    let need = state.policy.approvals;
    if have < need {
        state.pending.set(Pending {
            about,
            act,
            by: by.clone(),
            ends_at: now.plus(LIFE_MS_MAX),
        });
    } else {
        state.pending.remove(&about);
    }
    Ok(Counted {
        by,
        have,
        need,
        act: named,
    })
}
