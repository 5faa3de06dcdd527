//! Tokens: what a login yields. Only their hashes stand here (S30).

use std::net::IpAddr;

use imbl::{OrdMap, OrdSet, Vector};
use serde::{Deserialize, Serialize};

use crate::account::Class;
use crate::apply::{Context, Effect};
use crate::audit::{Event, Kind};
use crate::digest::Digest;
use crate::envelope::Actor;
use crate::factor::{ChannelKind, Method};
use crate::id::{AccountId, FrontEndId, ParticipantId, ProcedureId, SessionId};
use crate::outcome::{Answer, Rejection};
use crate::portal::{LandingOption, Portal, Scope};
use crate::state::State;
use crate::table::{Expires, Expiring, Record};
use crate::time::UnixMs;

/// Most live tokens of one account; a further login ends the oldest.
pub const TOKENS_AN_ACCOUNT_MAX: usize = 16;
/// Most live tokens on a line.
pub const TOKENS_MAX: usize = 1_000_000;
/// How many endings the state remembers for watchers.
pub const ENDINGS_KEPT: usize = 10_000;
/// The shortest time between two records of a token's activity.
pub const ACTIVITY_MS_MIN: u64 = 60_000;

/// The hash of a token.
pub type TokenId = Digest;

/// A live token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Token {
    /// Its hash.
    pub id: TokenId,
    /// Whose.
    pub account: AccountId,
    /// The firm.
    pub participant: ParticipantId,
    /// User or delegated administrator.
    pub class: Class,
    /// The option that was logged in through.
    pub option: LandingOption,
    /// The channel of the one-time password, if one was used (S40).
    pub channel: Option<ChannelKind>,
    /// The front end that obtained it; no other may use it.
    pub front_end: FrontEndId,
    /// The online session.
    pub session: SessionId,
    /// The person's address at the login, as the front end stated it.
    pub address: Option<IpAddr>,
    /// The step-up or replacement that it has under way: one at a time.
    pub procedure: Option<ProcedureId>,
    /// How often the firm's tokens had been ended when it was issued: another count, and it has
    /// ended with them.
    #[serde(default)]
    pub endings: u64,
    /// When it was issued.
    pub issued_at: UnixMs,
    /// When it ends at the latest.
    pub ends_at: UnixMs,
    /// When it ends without activity.
    pub idle_until: UnixMs,
}

impl Record for Token {
    type Key = TokenId;
    const TABLE: &'static str = "token";
    fn key(&self) -> TokenId {
        self.id
    }
}

impl Expires for Token {
    fn expires(&self) -> UnixMs {
        self.ends_at.min(self.idle_until)
    }
}

impl Token {
    /// Where it counts.
    #[must_use]
    pub fn portal(&self) -> Portal {
        self.option.portal()
    }
    /// How its person logged in.
    #[must_use]
    pub fn method(&self) -> Method {
        self.option.method()
    }
    /// What it opens.
    #[must_use]
    pub fn scopes(&self) -> &'static [Scope] {
        self.option.scopes()
    }
}

/// What ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Ending {
    /// One token.
    Token(TokenId),
    /// All tokens of a firm's people that were issued before.
    Participant(ParticipantId),
}

/// The latest endings, as a snapshot holds them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endings {
    /// How many endings there were on this line.
    pub ended: u64,
    /// The hash over all endings.
    pub hash: Digest,
    /// The latest of them.
    pub latest: Vec<Ending>,
}

/// The live tokens, and the latest endings.
#[derive(Debug, Clone)]
pub struct Tokens {
    live: Expiring<Token>,
    by_account: OrdSet<(AccountId, UnixMs, TokenId)>,
    /// How often all tokens of a firm were ended; it follows from the firms.
    endings_of: OrdMap<ParticipantId, u64>,
    endings: Vector<Ending>,
    ended: u64,
    hash: Digest,
}

impl Default for Tokens {
    fn default() -> Self {
        Self {
            live: Expiring::default(),
            by_account: OrdSet::new(),
            endings_of: OrdMap::new(),
            endings: Vector::new(),
            ended: 0,
            hash: Digest::ZERO,
        }
    }
}

impl FromIterator<Token> for Tokens {
    fn from_iter<I: IntoIterator<Item = Token>>(tokens: I) -> Self {
        let mut all = Self::default();
        for token in tokens {
            all.issue(token);
        }
        all
    }
}

impl Tokens {
    /// The token with this hash, if it lives.
    #[must_use]
    pub fn get(&self, id: &TokenId, now: UnixMs) -> Option<&Token> {
        self.live.get(id, now).filter(|token| self.counts(token))
    }

    /// Whether the token did not end with its firm's.
    fn counts(&self, token: &Token) -> bool {
        let endings = self.endings_of.get(&token.participant);
        token.endings == endings.copied().unwrap_or_default()
    }

    /// The account's live tokens, oldest first.
    pub fn of<'a>(
        &'a self,
        account: &'a AccountId,
        now: UnixMs,
    ) -> impl Iterator<Item = &'a Token> + 'a {
        self.by_account
            .range((account.clone(), UnixMs(0), Digest::ZERO)..)
            .take_while(move |(owner, _, _)| owner == account)
            .filter_map(move |(_, _, id)| self.get(id, now))
    }

    /// The endings from position `from` on, as far as they are remembered, and the position after
    /// them. None when `from` is older than what is remembered.
    #[must_use]
    pub fn endings_from(&self, from: u64) -> Option<(Vec<Ending>, u64)> {
        let remembered = self.endings.len() as u64;
        let skip = from.checked_sub(self.ended.saturating_sub(remembered))?;
        let skip = usize::try_from(skip).ok()?;
        Some((
            self.endings.iter().skip(skip).cloned().collect(),
            self.ended,
        ))
    }

    /// How many endings there were on this line.
    #[must_use]
    pub fn ended(&self) -> u64 {
        self.ended
    }

    pub(crate) fn live(&self) -> &Expiring<Token> {
        &self.live
    }

    pub(crate) fn endings_hash(&self) -> Digest {
        self.hash
    }

    pub(crate) fn endings(&self) -> Endings {
        Endings {
            ended: self.ended,
            hash: self.hash,
            latest: self.endings.iter().cloned().collect(),
        }
    }

    pub(crate) fn set_endings(&mut self, endings: Endings) {
        self.ended = endings.ended;
        self.hash = endings.hash;
        self.endings = endings.latest.into();
    }

    /// Ends all tokens at once. Watchers are told by the generation, not one by one.
    pub(crate) fn end_all(&mut self) {
        *self = Self {
            ended: self.ended.saturating_add(self.live.len() as u64),
            hash: self.hash,
            endings_of: self.endings_of.clone(),
            ..Self::default()
        };
    }

    /// The records of the account's tokens, those that ended with the firm's too, oldest first.
    fn kept_of(&self, account: &AccountId) -> Vec<TokenId> {
        self.by_account
            .range((account.clone(), UnixMs(0), Digest::ZERO)..)
            .take_while(|(owner, _, _)| owner == account)
            .map(|(_, _, id)| *id)
            .collect()
    }

    pub(crate) fn issue(&mut self, token: Token) {
        let owned = self.kept_of(&token.account);
        let surplus = (owned.len() + 1).saturating_sub(TOKENS_AN_ACCOUNT_MAX);
        for id in owned.iter().take(surplus) {
            self.end(id);
        }
        self.by_account
            .insert((token.account.clone(), token.issued_at, token.id));
        self.live.set(token);
    }

    /// Notes what the token has under way; gives what it had.
    pub(crate) fn set_procedure(
        &mut self,
        id: &TokenId,
        procedure: ProcedureId,
    ) -> Option<ProcedureId> {
        let mut former = None;
        self.live
            .change(id, |token| former = token.procedure.replace(procedure));
        former
    }

    pub(crate) fn touch(&mut self, id: &TokenId, idle_until: UnixMs) {
        self.live.change(id, |token| token.idle_until = idle_until);
    }

    /// Ends one token; says whether it lived.
    pub(crate) fn end(&mut self, id: &TokenId) -> bool {
        let Some(token) = self.live.remove(id) else {
            return false;
        };
        self.note_end(&token);
        true
    }

    /// Ends all tokens of the account; says how many there were.
    pub(crate) fn end_of(&mut self, account: &AccountId) -> u32 {
        let live = self.of(account, UnixMs(0)).count();
        for id in &self.kept_of(account) {
            self.end(id);
        }
        u32::try_from(live).unwrap_or(u32::MAX)
    }

    /// Ends all tokens that the front end obtained; says how many there were.
    pub(crate) fn end_at(&mut self, front_end: &FrontEndId) -> u32 {
        let live = self.live.iter();
        let own = live.filter(|token| token.front_end == *front_end);
        let own: Vec<TokenId> = own.map(|token| token.id).collect();
        for id in &own {
            self.end(id);
        }
        u32::try_from(own.len()).unwrap_or(u32::MAX)
    }

    /// Ends all tokens of the firm's people at once, however many there are: `endings` is the
    /// count that tokens name from now on. The records of the others go as they expire.
    pub(crate) fn end_participant(&mut self, participant: &ParticipantId, endings: u64) {
        self.set_endings_of(participant, endings);
        let id = participant.as_str().as_bytes();
        self.hash = Digest::of("tidemark endings of a participant", &[&self.hash.0, id]);
        self.note(Ending::Participant(participant.clone()));
    }

    /// The count that tokens of the firm's people name.
    pub(crate) fn set_endings_of(&mut self, participant: &ParticipantId, endings: u64) {
        self.endings_of.insert(participant.clone(), endings);
    }

    pub(crate) fn remove_ended(&mut self, now: UnixMs, limit: usize) {
        for token in self.live.remove_ended(now, limit) {
            self.note_end(&token);
        }
    }

    fn note_end(&mut self, token: &Token) {
        self.by_account
            .remove(&(token.account.clone(), token.issued_at, token.id));
        self.hash = Digest::of("tidemark endings", &[&self.hash.0, &token.id.0]);
        self.note(Ending::Token(token.id));
    }

    fn note(&mut self, ending: Ending) {
        self.endings.push_back(ending);
        self.ended = self.ended.saturating_add(1);
        if self.endings.len() > ENDINGS_KEPT {
            self.endings.pop_front();
        }
    }
}

/// What is asked about tokens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Command {
    /// The person logs out, or ends others of its tokens (R29).
    End {
        /// The token that is shown.
        token: TokenId,
        /// Which end.
        which: Which,
    },
    /// Notes activity, so that the token does not end for idleness (S31).
    Touch {
        /// The token.
        token: TokenId,
    },
}

/// Which tokens a person ends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Which {
    /// The one that is shown.
    This,
    /// All of the account.
    All,
    /// Another one of the account.
    One(TokenId),
}

impl Command {
    pub(crate) fn kind(&self) -> Kind {
        match self {
            Self::End { .. } => Kind::LoggedOut,
            Self::Touch { .. } => Kind::TokenTouched,
        }
    }
}

/// The live token that the actor shows, if it is the front end that obtained it.
///
/// # Errors
/// `TokenEnded` also when the token is another front end's.
pub(crate) fn shown<'a>(
    state: &'a State,
    context: &Context<'_>,
    id: &TokenId,
) -> Result<&'a Token, Rejection> {
    state
        .short
        .tokens
        .get(id, context.now)
        .filter(|token| match context.actor {
            Actor::FrontEnd(front_end) => token.front_end == *front_end,
            Actor::BackEnd(_) | Actor::Operator(_) | Actor::Node(_) | Actor::Script(_) => false,
        })
        .ok_or(Rejection::TokenEnded)
}

pub(crate) fn apply(state: &mut State, context: &Context<'_>, command: &Command) -> Effect {
    match command {
        Command::End { token, which } => end(state, context, token, which),
        Command::Touch { token } => touch(state, context, token),
    }
}

fn end(state: &mut State, context: &Context<'_>, id: &TokenId, which: &Which) -> Effect {
    let token = match shown(state, context, id) {
        Ok(token) => token.clone(),
        Err(rejection) => return Effect::rejected(rejection, Event::new(Kind::LoggedOut)),
    };
    let tokens = &mut state.short.tokens;
    let count = match which {
        Which::This => u32::from(tokens.end(&token.id)),
        Which::All => tokens.end_of(&token.account),
        Which::One(other) => {
            let own = tokens
                .get(other, context.now)
                .is_some_and(|other| other.account == token.account);
            u32::from(own && tokens.end(other))
        }
    };
    let mut event = Event::new(Kind::LoggedOut)
        .at(token.portal(), token.method())
        .by(&token.account);
    event.account = Some(token.account);
    event.participant = Some(token.participant);
    event.class = Some(token.class);
    Effect::done(Answer::TokensEnded { count }, event)
}

fn touch(state: &mut State, context: &Context<'_>, id: &TokenId) -> Effect {
    let event = Event::new(Kind::TokenTouched);
    let found = match context.actor {
        Actor::BackEnd(_) => state
            .short
            .tokens
            .get(id, context.now)
            .ok_or(Rejection::TokenEnded),
        Actor::FrontEnd(_) => shown(state, context, id),
        Actor::Operator(_) | Actor::Node(_) | Actor::Script(_) => Err(Rejection::NotAllowed),
    };
    let token = match found {
        Ok(token) => token,
        Err(rejection) => return Effect::rejected(rejection, event),
    };
    let idle_ms = state.policy.token_idle_ms;
    let noted_at = token.idle_until.minus(idle_ms);
    let account = token.account.clone();
    if context.now.since(noted_at) < ACTIVITY_MS_MIN {
        return Effect::rejected(Rejection::AlreadySo, event);
    }
    state.short.tokens.touch(id, context.now.plus(idle_ms));
    let mut event = event.by(&account);
    event.account = Some(account);
    Effect::done(Answer::Nothing, event)
}
