//! A state piece by piece, as snapshots and genesis files hold it.

use serde::{Deserialize, Serialize};

use super::{Header, Held, RULES_VERSION, State};
use crate::account::Account;
use crate::account::review::Review;
use crate::approval::Pending;
use crate::calendar::Calendar;
use crate::centre::Centres;
use crate::change::Procedure;
use crate::change_request::ChangeRequest;
use crate::cluster::Founding;
use crate::initiation::Activation;
use crate::keys::Key;
use crate::login::{Login, Mailed, Unknown};
use crate::migration::{Migration, Proposal, Terms};
use crate::notice::{Counts, Notice, Told};
use crate::participant::Participant;
use crate::policy::Policy;
use crate::promotion::Certificate;
use crate::registration::Registration;
use crate::request::Answered;
use crate::revocation;
use crate::script::Grant;
use crate::session::{Approvals, Hold, Plan};
use crate::token::{Endings, Token};

/// A piece of a state, as snapshots and genesis files hold it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Row {
    /// The small facts.
    Header(Header),
    /// How the cluster was founded.
    Founding(Box<Founding>),
    /// The centres as they are now.
    Centres(Box<Centres>),
    /// The certificate that the main line began with.
    Certificate(Box<Certificate>),
    /// The policy.
    Policy(Policy),
    /// The calendar.
    Calendar(Box<Calendar>),
    /// A firm.
    Participant(Participant),
    /// A person.
    Account(Box<Account>),
    /// A change request.
    ChangeRequest(Box<ChangeRequest>),
    /// What holds for the whole service: go-live and methods.
    Migration(Migration),
    /// On which terms a firm's people log in.
    Terms(Terms),
    /// A change of the migration that waits for another operator.
    Proposal(Box<Proposal>),
    /// The revocation list of smartcards.
    Revocations(Box<revocation::List>),
    /// A session's plan.
    Plan(Box<Plan>),
    /// The approvals of an act.
    Approvals(Approvals),
    /// A held account.
    Hold(Hold),
    /// The failures of an unknown user id.
    Unknown(Unknown),
    /// A request that was answered.
    Request(Box<Answered>),
    /// A live token.
    Token(Box<Token>),
    /// The latest endings of tokens.
    Endings(Endings),
    /// A login under way.
    Login(Box<Login>),
    /// Activation codes.
    Activation(Box<Activation>),
    /// A procedure under way.
    Procedure(Box<Procedure>),
    /// The codes mailed to an account lately.
    Mailed(Mailed),
    /// A notice that waits for its mail.
    Notice(Box<Notice>),
    /// How often somebody was told something lately.
    Told(Told),
    /// What of notices was not kept.
    NoticeCounts(Counts),
    /// An act that waits for another operator's approval.
    Pending(Box<Pending>),
    /// A caller.
    Registration(Box<Registration>),
    /// What a script may do.
    Grant(Box<Grant>),
    /// A key of the key files.
    Key(Box<Key>),
    /// An act that took access away, reviewed or not.
    Review(Box<Review>),
}

/// The rows are no state.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Damaged {
    /// There is no header among them.
    #[error("the rows hold no header")]
    NoHeader,
    /// The rules are newer than this binary.
    #[error("the state follows rules {found}, this binary knows rules up to {RULES_VERSION}")]
    NewerRules {
        /// The rules' version.
        found: u32,
    },
}

impl State {
    /// The state piece by piece.
    pub fn rows(&self) -> impl Iterator<Item = Row> + '_ {
        std::iter::once(Row::Header(self.header.clone()))
            .chain(
                self.founding()
                    .map(|founding| Row::Founding(Box::new(founding.clone()))),
            )
            .chain(boxed(self.centres().into_iter(), Row::Centres))
            .chain(boxed(self.certificate().into_iter(), Row::Certificate))
            .chain([
                Row::Policy(Policy::clone(&self.policy)),
                Row::Calendar(Box::new(Calendar::clone(&self.calendar))),
                Row::Endings(self.short.tokens.endings()),
                Row::Migration(Migration::clone(&self.migration)),
            ])
            .chain(self.participants.iter().cloned().map(Row::Participant))
            .chain(boxed(self.accounts.iter(), Row::Account))
            .chain(boxed(self.change_requests.iter(), Row::ChangeRequest))
            .chain(boxed(self.revocations().into_iter(), Row::Revocations))
            .chain(self.terms.iter().cloned().map(Row::Terms))
            .chain(boxed(self.proposals.iter(), Row::Proposal))
            .chain(boxed(self.plans.iter(), Row::Plan))
            .chain(boxed(self.keys.iter(), Row::Key))
            .chain(self.approvals.iter().cloned().map(Row::Approvals))
            .chain(self.holds.iter().cloned().map(Row::Hold))
            .chain(self.unknown.iter().cloned().map(Row::Unknown))
            .chain(boxed(self.requests.records().iter(), Row::Request))
            .chain(boxed(self.short.tokens.live().iter(), Row::Token))
            .chain(boxed(self.short.logins.iter(), Row::Login))
            .chain(boxed(self.short.activations.iter(), Row::Activation))
            .chain(boxed(self.short.procedures.iter(), Row::Procedure))
            .chain(self.short.mailed.iter().cloned().map(Row::Mailed))
            .chain([Row::NoticeCounts(self.outbox.counts())])
            .chain(boxed(self.outbox.iter(), Row::Notice))
            .chain(self.outbox.told().cloned().map(Row::Told))
            .chain(boxed(self.pending.iter(), Row::Pending))
            .chain(boxed(self.registrations.iter(), Row::Registration))
            .chain(boxed(self.grants.iter(), Row::Grant))
            .chain(boxed(self.reviews.iter(), Row::Review))
    }

    /// The state of which these are the pieces, in any order.
    ///
    /// # Errors
    /// `Damaged` when the header is missing or of rules that this binary does not know. Whether
    /// the pieces are the right ones, the digests say.
    pub fn from_rows(rows: impl IntoIterator<Item = Row>) -> Result<Self, Damaged> {
        let mut state = Self::unfounded();
        let mut header = None;
        for row in rows {
            match row {
                Row::Header(found) => header = Some(found),
                Row::Founding(founding) => state.founding = Some(Held::new(*founding)),
                Row::Centres(centres) => state.centres = Some(Held::new(*centres)),
                Row::Certificate(certificate) => {
                    state.certificate = Some(Held::new(*certificate));
                }
                Row::Policy(policy) => state.policy = Held::new(policy),
                Row::Calendar(calendar) => state.calendar = Held::new(*calendar),
                Row::Participant(participant) => state.restore_participant(participant),
                Row::Account(account) => state.put_account(*account),
                Row::ChangeRequest(request) => state.change_requests.set(*request),
                Row::Migration(migration) => state.migration = Held::new(migration),
                Row::Terms(terms) => drop(state.terms.set(terms)),
                Row::Proposal(proposal) => state.proposals.set(*proposal),
                Row::Revocations(list) => state.revocations = Some(Held::new(*list)),
                Row::Plan(plan) => drop(state.plans.set(*plan)),
                Row::Key(key) => drop(state.keys.set(*key)),
                Row::Approvals(approvals) => drop(state.approvals.set(approvals)),
                Row::Hold(hold) => drop(state.holds.set(hold)),
                Row::Unknown(unknown) => state.unknown.set(unknown),
                Row::Request(answered) => state.requests.note(*answered),
                Row::Token(token) => state.short.tokens.issue(*token),
                Row::Endings(endings) => state.short.tokens.set_endings(endings),
                Row::Login(login) => state.short.logins.set(*login),
                Row::Activation(activation) => state.short.activations.set(*activation),
                Row::Procedure(procedure) => state.short.procedures.set(*procedure),
                Row::Mailed(mailed) => state.short.mailed.set(mailed),
                Row::Notice(notice) => state.outbox.restore(*notice),
                Row::Told(told) => state.outbox.restore_told(told),
                Row::NoticeCounts(counts) => state.outbox.set_counts(counts),
                Row::Pending(pending) => state.pending.set(*pending),
                Row::Registration(known) => drop(state.registrations.set(*known)),
                Row::Grant(grant) => state.grants.set(*grant),
                Row::Review(review) => state.reviews.set(*review),
            }
        }
        let header = header.ok_or(Damaged::NoHeader)?;
        if header.rules_version > RULES_VERSION {
            return Err(Damaged::NewerRules {
                found: header.rules_version,
            });
        }
        state.header = header;
        state.find_erasing();
        Ok(state)
    }
}

fn boxed<'a, T: Clone + 'a>(
    records: impl Iterator<Item = &'a T> + 'a,
    row: impl Fn(Box<T>) -> Row + 'a,
) -> impl Iterator<Item = Row> + 'a {
    records.map(move |record| row(Box::new(record.clone())))
}
