//! The state: everything that a line knows, in memory, in persistent maps. A clone is O(1).

use std::sync::Arc;

use imbl::{OrdMap, OrdSet};
use serde::{Deserialize, Serialize};

mod firms;
mod rows;

pub use firms::ERASED_AN_ENTRY;
pub use rows::{Damaged, Row};

use crate::account::Account;
use crate::account::review::Review;
use crate::approval::Pending;
use crate::audit;
use crate::calendar::{Calendar, Day};
use crate::centre::Centres;
use crate::change::Procedure;
use crate::change_request::ChangeRequests;
use crate::cluster::Founding;
use crate::digest::{Digest, SetHash};
use crate::encoding;
use crate::factor::Steps;
use crate::id::{AccountId, CardNumber, ClusterId, ParticipantId, SessionId};
use crate::initiation::Activation;
use crate::keys::Key;
use crate::line::{LineId, LineRef, LogId};
use crate::login::{Login, Mailed, Unknown, UnknownId};
use crate::migration::{Migration, Proposal, Terms};
use crate::notice::Outbox;
use crate::outcome::Rejection;
use crate::participant::Participant;
use crate::policy::Policy;
use crate::promotion::Certificate;
use crate::protection::Protection;
use crate::registration::{Holder, Registration};
use crate::request::Requests;
use crate::revocation;
use crate::script::Grant;
use crate::session::{Approvals, Hold, Plan};
use crate::table::{Expiring, Table};
use crate::time::UnixMs;
use crate::token::Tokens;
use crate::totp;

/// The rules that this binary applies by; one entry will raise it once all nodes can.
pub const RULES_VERSION: u32 = 1;

/// The small facts of a line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// The rules that entries are applied by.
    pub rules_version: u32,
    /// The line.
    pub line: LineId,
    /// When the line became what it is; request ids that are older may have gone to another.
    pub line_since: UnixMs,
    /// The main line's epoch.
    pub epoch: u64,
    /// Counts the times that everything short-lived was ended.
    pub generation: u64,
    /// Records of requests minted before this may be gone; it never falls.
    pub requests_from: UnixMs,
    /// No TOTP step at or below it is accepted.
    pub totp_floor: u64,
    /// The line's clock: the latest time that an entry carried.
    pub clock: UnixMs,
    /// How far the simulated clock is ahead of the machines'.
    pub clock_offset_ms: i64,
    /// The last entry that was applied.
    pub applied: LogId,
    /// The end of the audit chain.
    pub audit: audit::Head,
    /// The secondary session that fences this line.
    pub fence: Option<SessionId>,
    /// The session that serves on this line.
    pub current: Option<SessionId>,
    /// A branch after its close: nothing more is applied.
    pub ended: bool,
    /// The business day.
    pub business_day: Option<Day>,
    /// What the main line promises of its answers.
    pub protection: Protection,
}

/// Everything that counts once or for a short time. It lies outside the account digest, and a
/// change of lines ends it whole.
#[derive(Debug, Clone, Default)]
pub(crate) struct Short {
    pub(crate) tokens: Tokens,
    pub(crate) logins: Expiring<Login>,
    pub(crate) activations: Expiring<Activation>,
    pub(crate) procedures: Expiring<Procedure>,
    pub(crate) mailed: Expiring<Mailed>,
}

impl Short {
    pub(crate) fn end_all(&mut self) {
        self.tokens.end_all();
        self.logins = Expiring::default();
        self.activations = Expiring::default();
        self.procedures = Expiring::default();
        self.mailed = Expiring::default();
    }
}

/// A value that changes seldom, with its digest.
#[derive(Debug, Clone)]
pub(crate) struct Held<T> {
    value: Arc<T>,
    digest: Digest,
}

impl<T: Serialize> Held<T> {
    pub(crate) fn new(value: T) -> Self {
        Self {
            digest: Digest::of("held", &[&encoding::encode(&value)]),
            value: Arc::new(value),
        }
    }
}

impl<T> std::ops::Deref for Held<T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.value
    }
}

/// The two digests of a state (LINES.md, "Digests").
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Digests {
    /// Over participants, accounts, factors and change requests.
    pub account: Digest,
    /// Over everything but audit records.
    pub full: Digest,
}

/// What a line knows.
#[derive(Debug, Clone)]
pub struct State {
    pub(crate) header: Header,
    pub(crate) founding: Option<Held<Founding>>,
    pub(crate) centres: Option<Held<Centres>>,
    pub(crate) certificate: Option<Held<Certificate>>,
    pub(crate) policy: Held<Policy>,
    pub(crate) calendar: Held<Calendar>,
    pub(crate) participants: Table<Participant>,
    /// The deleted ones of which accounts are left; it follows from the two tables.
    pub(crate) erasing: OrdSet<ParticipantId>,
    pub(crate) accounts: Table<Account>,
    pub(crate) by_participant: OrdSet<(ParticipantId, AccountId)>,
    pub(crate) by_card: OrdMap<CardNumber, AccountId>,
    pub(crate) change_requests: ChangeRequests,
    pub(crate) reviews: Expiring<Review>,
    pub(crate) migration: Held<Migration>,
    pub(crate) terms: Table<Terms>,
    pub(crate) proposals: Expiring<Proposal>,
    pub(crate) pending: Expiring<Pending>,
    pub(crate) registrations: Table<Registration>,
    pub(crate) grants: Expiring<Grant>,
    pub(crate) revocations: Option<Held<revocation::List>>,
    pub(crate) keys: Table<Key>,
    pub(crate) plans: Table<Plan>,
    pub(crate) approvals: Table<Approvals>,
    pub(crate) holds: Table<Hold>,
    pub(crate) unknown: Expiring<Unknown>,
    pub(crate) requests: Requests,
    pub(crate) outbox: Outbox,
    pub(crate) short: Short,
}

impl Default for State {
    fn default() -> Self {
        Self::unfounded()
    }
}

impl State {
    /// The state of a line without entries.
    #[must_use]
    pub fn unfounded() -> Self {
        Self {
            header: Header {
                rules_version: RULES_VERSION,
                line: LineId::Main,
                line_since: UnixMs(0),
                epoch: 1,
                generation: 0,
                requests_from: UnixMs(0),
                totp_floor: 0,
                clock: UnixMs(0),
                clock_offset_ms: 0,
                applied: LogId::default(),
                audit: audit::Head::default(),
                fence: None,
                current: None,
                ended: false,
                business_day: None,
                protection: Protection::default(),
            },
            founding: None,
            centres: None,
            certificate: None,
            policy: Held::new(Policy::default()),
            calendar: Held::new(Calendar::default()),
            participants: Table::default(),
            erasing: OrdSet::new(),
            accounts: Table::default(),
            by_participant: OrdSet::new(),
            by_card: OrdMap::new(),
            change_requests: ChangeRequests::default(),
            reviews: Expiring::default(),
            migration: Held::new(Migration::default()),
            terms: Table::default(),
            proposals: Expiring::default(),
            pending: Expiring::default(),
            registrations: Table::default(),
            grants: Expiring::default(),
            revocations: None,
            keys: Table::default(),
            plans: Table::default(),
            approvals: Table::default(),
            holds: Table::default(),
            unknown: Expiring::default(),
            requests: Requests::default(),
            outbox: Outbox::default(),
            short: Short::default(),
        }
    }

    /// The small facts.
    #[must_use]
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// How the cluster was founded; none before its first entry.
    #[must_use]
    pub fn founding(&self) -> Option<&Founding> {
        self.founding.as_deref()
    }

    /// The policy.
    #[must_use]
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// The calendar.
    #[must_use]
    pub fn calendar(&self) -> &Calendar {
        &self.calendar
    }

    /// The firm; a deleted one too.
    #[must_use]
    pub fn participant(&self, id: &ParticipantId) -> Option<&Participant> {
        self.participants.get(id)
    }

    /// All firms, deleted ones too.
    pub fn participants(&self) -> impl Iterator<Item = &Participant> {
        self.participants.iter()
    }

    /// The account.
    #[must_use]
    pub fn account(&self, id: &AccountId) -> Option<&Account> {
        self.accounts.get(id)
    }

    /// All accounts.
    pub fn accounts(&self) -> impl Iterator<Item = &Account> {
        self.accounts.iter()
    }

    /// How many accounts there are.
    #[must_use]
    pub fn accounts_count(&self) -> usize {
        self.accounts.len()
    }

    /// The firm's accounts that were not deleted, from the id `from` on.
    pub fn accounts_of<'a>(
        &'a self,
        participant: &'a ParticipantId,
        from: &AccountId,
    ) -> impl Iterator<Item = &'a Account> + 'a {
        self.by_participant
            .range((participant.clone(), from.clone())..)
            .take_while(move |(owner, _)| owner == participant)
            .filter_map(|(_, id)| self.accounts.get(id))
    }

    /// The account that the card belongs to.
    #[must_use]
    pub fn account_of_card(&self, number: &CardNumber) -> Option<&Account> {
        self.accounts.get(self.by_card.get(number)?)
    }

    /// The change requests, open and lately decided.
    #[must_use]
    pub fn change_requests(&self) -> &ChangeRequests {
        &self.change_requests
    }

    /// What holds for the whole service: go-live and methods.
    #[must_use]
    pub fn migration(&self) -> &Migration {
        &self.migration
    }

    /// On which terms the firm's people log in; none where nothing was said.
    #[must_use]
    pub fn terms(&self, participant: &ParticipantId) -> Option<&Terms> {
        self.terms.get(participant)
    }

    /// The changes of the migration that wait for another operator.
    pub fn proposals(&self, now: UnixMs) -> impl Iterator<Item = &Proposal> {
        let proposals = self.proposals.iter();
        proposals.filter(move |proposal| now < proposal.ends_at)
    }

    /// Acts that wait for another operator's approval: policy, registrations, grants.
    pub fn pending(&self, now: UnixMs) -> impl Iterator<Item = &Pending> {
        let pending = self.pending.iter();
        pending.filter(move |pending| now < pending.ends_at)
    }

    /// Everybody who was ever registered, retired ones included.
    pub fn registrations(&self) -> impl Iterator<Item = &Registration> {
        self.registrations.iter()
    }

    /// The caller, if it is registered and not retired.
    #[must_use]
    pub fn registered(&self, holder: &Holder) -> Option<&Registration> {
        let known = self.registrations.get(holder)?;
        known.retired.is_none().then_some(known)
    }

    /// The operators that are registered now.
    pub fn operators(&self) -> impl Iterator<Item = &Registration> {
        let live = self.registrations().filter(|known| known.retired.is_none());
        live.filter(|known| matches!(known.holder, Holder::Operator(_)))
    }

    /// What scripts may do, or could lately.
    pub fn grants(&self) -> impl Iterator<Item = &Grant> {
        self.grants.iter()
    }

    /// The revocation list of smartcards, if one was set.
    #[must_use]
    pub fn revocations(&self) -> Option<&revocation::List> {
        self.revocations.as_deref()
    }

    /// Names the revocation list; none without one.
    #[must_use]
    pub fn revocations_digest(&self) -> Option<Digest> {
        self.revocations.as_ref().map(|held| held.digest)
    }

    /// The plan of a session, once it was opened.
    #[must_use]
    pub fn plan(&self, session: &SessionId) -> Option<&Plan> {
        self.plans.get(session)
    }

    /// All plans.
    pub fn plans(&self) -> impl Iterator<Item = &Plan> {
        self.plans.iter()
    }

    /// The approvals of an act.
    #[must_use]
    pub fn approvals(&self, act: &crate::session::Act) -> Option<&Approvals> {
        self.approvals.get(act)
    }

    /// Accounts that wait for an operator's answer after a rollover that ran by itself.
    pub fn holds(&self) -> impl Iterator<Item = &Hold> {
        self.holds.iter()
    }

    /// The live tokens.
    #[must_use]
    pub fn tokens(&self) -> &Tokens {
        &self.short.tokens
    }

    /// A login under way.
    #[must_use]
    pub fn login(&self, id: &crate::id::LoginId, now: UnixMs) -> Option<&Login> {
        self.short.logins.get(id, now)
    }

    /// The account's activation codes.
    #[must_use]
    pub fn activation(&self, account: &AccountId, now: UnixMs) -> Option<&Activation> {
        self.short.activations.get(account, now)
    }

    /// A procedure under way.
    #[must_use]
    pub fn procedure(&self, id: &crate::id::ProcedureId, now: UnixMs) -> Option<&Procedure> {
        self.short.procedures.get(id, now)
    }

    /// The notices that wait for their mail.
    #[must_use]
    pub fn outbox(&self) -> &Outbox {
        &self.outbox
    }

    /// The failures of an unknown user id.
    #[must_use]
    pub fn unknown(&self, id: &UnknownId, now: UnixMs) -> Option<&Unknown> {
        self.unknown.get(id, now)
    }

    /// The line as peers name it; none before the cluster is founded.
    #[must_use]
    pub fn reference(&self) -> Option<LineRef> {
        Some(LineRef {
            cluster: self.cluster()?,
            line: self.header.line.clone(),
            epoch: self.header.epoch,
        })
    }

    /// The cluster; none before it is founded.
    #[must_use]
    pub fn cluster(&self) -> Option<ClusterId> {
        self.founding().map(|founding| founding.cluster)
    }

    /// The session that serves people on this line at `now`.
    ///
    /// # Errors
    /// `CentreNotServing` on a fenced line; `CentreSwitching` while the primary's role moves;
    /// `SessionClosed` when no session is open, or when its closing time has passed, whatever the
    /// log says.
    pub fn open_session(&self, now: UnixMs) -> Result<&Plan, Rejection> {
        if let (Some(_), Some(serving)) = (&self.header.fence, self.serving_centre()) {
            return Err(Rejection::CentreNotServing {
                serving: serving.clone(),
            });
        }
        let switch = self.centres().and_then(|centres| centres.switch.as_ref());
        if let (LineId::Main, Some(switch)) = (&self.header.line, switch) {
            return Err(Rejection::CentreSwitching {
                to: switch.to.clone(),
            });
        }
        let now = now.max(self.header.clock);
        self.header
            .current
            .as_ref()
            .and_then(|id| self.plan(id))
            .filter(|plan| plan.session.holds(now))
            .ok_or_else(|| Rejection::SessionClosed {
                next: self.next_opening(now),
            })
    }

    /// The TOTP steps that can be accepted at `now`.
    pub(crate) fn steps(&self, now: UnixMs) -> Steps {
        let skew_ms = self.policy.clock_skew_ms;
        Steps {
            floor: self.header.totp_floor,
            first: totp::step(now.minus(skew_ms)).saturating_sub(totp::STEPS_BACK),
            last: totp::step(now.plus(skew_ms)),
        }
    }

    fn next_opening(&self, now: UnixMs) -> Option<(SessionId, UnixMs)> {
        let primary = &self.primary()?.name;
        let next = self.calendar.next_session(now, primary)?;
        Some((next.id, next.opens))
    }

    /// The digests of the state.
    #[must_use]
    pub fn digests(&self) -> Digests {
        let sum = |hashes: &[&SetHash]| {
            let mut sum = SetHash::default();
            for hash in hashes {
                sum.add_all(hash);
            }
            sum.digest()
        };
        let account = sum(&[
            self.participants.hash(),
            self.accounts.hash(),
            self.change_requests.hash(),
            self.terms.hash(),
        ]);
        let [notices, told] = self.outbox.hashes();
        let rest = sum(&[
            notices,
            told,
            self.reviews.hash(),
            self.plans.hash(),
            self.keys.hash(),
            self.approvals.hash(),
            self.proposals.hash(),
            self.pending.hash(),
            self.registrations.hash(),
            self.grants.hash(),
            self.holds.hash(),
            self.unknown.hash(),
            self.requests.records().hash(),
            self.short.tokens.live().hash(),
            self.short.logins.hash(),
            self.short.activations.hash(),
            self.short.procedures.hash(),
            self.short.mailed.hash(),
        ]);
        let founding = self
            .founding
            .as_ref()
            .map_or(Digest::ZERO, |held| held.digest);
        let centres = self
            .centres
            .as_ref()
            .map_or(Digest::ZERO, |held| held.digest);
        let certificate = self
            .certificate
            .as_ref()
            .map_or(Digest::ZERO, |held| held.digest);
        let revocations = self.revocations_digest().unwrap_or(Digest::ZERO);
        let full = Digest::of(
            "tidemark full",
            &[
                &account.0,
                &rest.0,
                &encoding::encode(&self.header),
                &founding.0,
                &centres.0,
                &certificate.0,
                &self.policy.digest.0,
                &self.calendar.digest.0,
                &self.migration.digest.0,
                &revocations.0,
                &self.short.tokens.ended().to_le_bytes(),
                &self.short.tokens.endings_hash().0,
                &encoding::encode(&self.outbox.counts()),
            ],
        );
        Digests { account, full }
    }

    /// Puts a new or changed account, keeps the look-ups by firm and card true, and notes what its
    /// holder is to be told (S28).
    pub(crate) fn put_account(&mut self, account: Account) {
        let id = account.id.clone();
        let number = account.card.as_ref().map(|card| card.number.clone());
        let place = (account.participant.clone(), id.clone());
        match account.deleted() {
            true => self.by_participant.remove(&place),
            false => self.by_participant.insert(place),
        };
        let former = self.accounts.set(account);
        if let (Some(former), Some(now)) = (&former, self.accounts.get(&id)) {
            self.outbox.note_change(former, now);
        }
        let former = former.and_then(|former| former.card.as_ref().map(|card| card.number.clone()));
        if let Some(former) = former.filter(|former| Some(former) != number.as_ref()) {
            self.by_card.remove(&former);
        }
        if let Some(number) = number {
            self.by_card.insert(number, id);
        }
    }
}
