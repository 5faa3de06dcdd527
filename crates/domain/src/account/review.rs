//! Acts by which one person took access away, and whether another one has looked at them since
//! (LOGIN.md, "Administration").
//!
//! Taking access away takes effect at once, by one person. The entry that does it puts a record
//! here; a second person reviews it, another by identity, as with change requests. A review undoes
//! nothing: giving back is a change request. What two people wanted (change requests, operators'
//! approvals) is not here.
//!
//! A branch has a list of its own: it begins with the main line's and goes with the branch. What
//! was reviewed there waits on the main line still, and what was taken away there is asked for by
//! the must-repeat list.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{By, Class};
use crate::apply::{Context, Effect};
use crate::audit::{Event, Kind};
use crate::envelope::Actor;
use crate::id::{AccountId, ParticipantId};
use crate::outcome::{self, Answer, Rejection};
use crate::state::State;
use crate::table::{Expires, Record};
use crate::time::UnixMs;
use crate::token::{self, TokenId};

/// Most acts on the list. No act waits for room: the oldest goes, reviewed ones first, and the
/// audit says of one that was not.
pub const REVIEWS_MAX: usize = 10_000;
/// How many acts of a full list may be one firm's before its own make room for its next, so that
/// nobody pushes another firm's off the list.
pub const A_FIRMS_SHARE: usize = REVIEWS_MAX / 10;
/// How long an act stays to be read after its review.
pub const KEPT_MS: u64 = 30 * 24 * 3_600_000;

/// Names an act on its line: the sequence number of its record in the audit, which never falls and
/// goes on in a cluster that begins with a backup.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ReviewId(pub u64);

impl fmt::Display for ReviewId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

impl FromStr for ReviewId {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(Self)
    }
}

/// An act by which one person took access away.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Review {
    /// Its name.
    pub id: ReviewId,
    /// What was done, as the audit has it.
    pub kind: Kind,
    /// From whom; none where it was a firm as a whole, or a caller.
    pub account: Option<AccountId>,
    /// The firm; none for a caller.
    pub participant: Option<ParticipantId>,
    /// The account's class: it says who may review.
    pub class: Option<Class>,
    /// Why, with what the audit says beside it.
    pub reason: String,
    /// Who did it.
    pub by: By,
    /// When, by the line's clock.
    pub at: UnixMs,
    /// Who reviewed it and when; none while it waits.
    pub reviewed: Option<(By, UnixMs)>,
}

impl Review {
    /// Whether it is about a user of the firm, and so for the firm's delegated administrators too.
    #[must_use]
    pub fn is_of_user_of(&self, firm: &ParticipantId) -> bool {
        self.participant.as_ref() == Some(firm) && self.class == Some(Class::User)
    }

    fn event(&self, kind: Kind, more: &str) -> Event {
        let detail = format!(
            "{} ({}) by {}: {}{more}",
            self.kind, self.id, self.by, self.reason
        );
        let mut event = Event::new(kind).detail(detail);
        event.account.clone_from(&self.account);
        event.participant.clone_from(&self.participant);
        event.class = self.class;
        event
    }
}

impl Record for Review {
    type Key = ReviewId;
    const TABLE: &'static str = "review";
    fn key(&self) -> ReviewId {
        self.id
    }
}

impl Expires for Review {
    /// One that waits never ends by itself.
    fn expires(&self) -> UnixMs {
        self.reviewed
            .as_ref()
            .map_or(UnixMs(u64::MAX), |(_, at)| at.plus(KEPT_MS))
    }
}

impl State {
    /// Acts that took access away and wait for a review, or were reviewed lately, the oldest first.
    pub fn reviews(&self, now: UnixMs) -> impl Iterator<Item = &Review> {
        let all = self.reviews.iter();
        all.filter(move |review| now < review.expires())
    }
}

/// Puts the act on the list with the entry that carried it out. `effect` begins with the act's own
/// event.
pub(crate) fn note(
    state: &mut State,
    context: &Context<'_>,
    by: &By,
    mut effect: Effect,
) -> Effect {
    let (outcome::Result::Done(_), Some(event)) = (&effect.result, effect.events.first()) else {
        return effect;
    };
    let review = Review {
        // The act's event is the first that this entry chains.
        id: ReviewId(state.header.audit.sequence),
        kind: event.kind,
        account: event.account.clone(),
        participant: event.participant.clone(),
        class: event.class,
        reason: event.detail.clone().unwrap_or_default(),
        by: by.clone(),
        at: context.now,
        reviewed: None,
    };
    while state.reviews.len() >= REVIEWS_MAX {
        let Some(gone) = make_room(state, review.participant.as_ref()) else {
            break;
        };
        if gone.reviewed.is_none() {
            // Without who acts now: it may be another firm's, which reads this record.
            let unreviewed = gone.event(Kind::ActUnreviewed, "; nobody reviewed it in time");
            effect.events.push(unreviewed);
        }
    }
    state.reviews.set(review);
    effect
}

/// Takes the act out that goes first, so that one of this firm, or of a caller for none, has room.
fn make_room(state: &mut State, firm: Option<&ParticipantId>) -> Option<Arc<Review>> {
    let alike = || {
        let all = state.reviews.iter();
        all.filter(|review| review.participant.as_ref() == firm)
    };
    if alike().count() < A_FIRMS_SHARE {
        return state.reviews.remove_first();
    }
    let first = alike()
        .min_by_key(|review| (review.expires(), review.id))?
        .id;
    state.reviews.remove(&first)
}

/// A second person has looked at an act.
pub(super) fn review(
    state: &mut State,
    context: &Context<'_>,
    act: ReviewId,
    token: Option<&TokenId>,
) -> Effect {
    let event = Event::new(Kind::ActReviewed);
    let (by, firm) = match reviewer(state, context, token) {
        Ok(reviewer) => reviewer,
        Err(rejection) => return Effect::rejected(rejection, event),
    };
    let found = state
        .reviews
        .get(&act, context.now)
        .filter(|review| firm.is_none_or(|firm| review.is_of_user_of(&firm)));
    let Some(review) = found.cloned() else {
        return Effect::rejected(Rejection::NoSuchReview, event.by(&by));
    };
    let event = review.event(Kind::ActReviewed, "").by(&by);
    if review.by == by {
        return Effect::rejected(Rejection::MakerIsChecker, event);
    }
    if review.reviewed.is_some() {
        return Effect::rejected(Rejection::AlreadySo, event);
    }
    state.reviews.set(Review {
        reviewed: Some((by, context.now)),
        ..review
    });
    let carry = state.header.line.carry();
    Effect::done(Answer::Changed { carry }, event)
}

/// Who asks, and the firm whose users a delegated administrator looks after; none for an operator.
fn reviewer(
    state: &State,
    context: &Context<'_>,
    token: Option<&TokenId>,
) -> Result<(By, Option<ParticipantId>), Rejection> {
    match (context.actor, token) {
        (Actor::Operator(operator), None) => Ok((By::Operator(operator.clone()), None)),
        (Actor::FrontEnd(_), Some(token)) => {
            let token = token::shown(state, context, token)?;
            match token.class {
                Class::DelegatedAdmin => {
                    let by = By::Account(token.account.clone());
                    Ok((by, Some(token.participant.clone())))
                }
                Class::User => Err(Rejection::NotAllowed),
            }
        }
        (
            Actor::Operator(_)
            | Actor::FrontEnd(_)
            | Actor::BackEnd(_)
            | Actor::Node(_)
            | Actor::Script(_),
            Some(_) | None,
        ) => Err(Rejection::NotAllowed),
    }
}
