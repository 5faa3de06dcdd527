//! Promotion on this node: promising to take part in no older main line, saying what is here,
//! accepting a certificate, and going on with the new main line (LINES.md, "Promotion").
//!
//! Each step is durable before anybody hears of it, and may be repeated after a crash at any point:
//! what was promised says how to go on. Deliberately absent: who asks the nodes, and what operators
//! are shown (the server).

use std::collections::BTreeSet;
use std::fmt;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use domain::promotion::{Begin, Certificate, SealId, Terms, ends_at};
use domain::state::State;
use domain::{Actor, Command, Digest, LineRef, LogId, NodeId};
use tokio::sync::{MutexGuard, watch};
use tokio::time::Instant;

use crate::image::{self, Header, Kind};
use crate::line::{self, Line, PATIENCE};
use crate::node::{Error, FIRST_EPOCH, Node, blocking};
use crate::propose::{Attempt, Proposal};
use crate::raft::Members;
use crate::standing::{Seal, Standing};
use crate::{branch, place, standing};

mod ask;
mod contest;
mod report;
mod tail;

pub use ask::ANSWER_MAX;
use ask::spread;
pub(crate) use ask::{answered, inform};
pub(crate) use contest::{Answer, named};
pub use report::{Accepted, Report, best};
use tail::write_rows;
pub(crate) use tail::{Tail, replay};

/// How often a node looks whether it has to go on with another main line.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// Checks the signatures of a certificate against the state that it is shown to.
pub type Judge = Arc<dyn Fn(&State, &Certificate) -> Result<(), String> + Send + Sync>;

/// What a node has promised, and the state that it would go on from.
pub(crate) struct Promotion {
    standing: watch::Sender<Standing>,
    tail: Mutex<Option<Tail>>,
    change: tokio::sync::Mutex<()>,
    judge: Judge,
    /// The nodes that accepted the certificate of an epoch when this one showed it to them.
    accepted: Mutex<BTreeSet<(NodeId, u64)>>,
}

impl fmt::Debug for Promotion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Promotion")
            .field("standing", &*self.standing.borrow())
            .finish_non_exhaustive()
    }
}

impl Promotion {
    pub(crate) fn new(standing: Standing, judge: Judge) -> Self {
        Self {
            standing: watch::Sender::new(standing),
            tail: Mutex::default(),
            change: tokio::sync::Mutex::new(()),
            judge,
            accepted: Mutex::default(),
        }
    }

    /// What is promised, as it changes.
    pub(crate) fn promised(&self) -> watch::Receiver<Standing> {
        self.standing.subscribe()
    }

    fn accepted(&self) -> std::sync::MutexGuard<'_, BTreeSet<(NodeId, u64)>> {
        self.accepted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn has_accepted(&self, node: NodeId, epoch: u64) -> bool {
        self.accepted().contains(&(node, epoch))
    }

    fn note_accepted(&self, node: NodeId, epoch: u64) {
        self.accepted().insert((node, epoch));
    }

    /// Held while a promise is made or kept.
    pub(crate) async fn change(&self) -> MutexGuard<'_, ()> {
        self.change.lock().await
    }
}

fn refused(why: impl Into<String>) -> Error {
    Error::Promotion(why.into())
}

impl Node {
    /// What this node has promised.
    #[must_use]
    pub fn standing(&self) -> Standing {
        self.inner.promotion.standing.borrow().clone()
    }

    /// Whether the main line here stands still on purpose: by a promise, or because one is being
    /// made, kept or taken back.
    #[must_use]
    pub fn stands_still(&self) -> bool {
        let epoch = self.main().reference().epoch;
        self.standing().stops(epoch) || self.inner.promotion.change.try_lock().is_err()
    }

    /// Promises durably to take part in no main line of an epoch below `epoch`, stops the one that
    /// runs, and says what is here. A node that is sealed for that epoch says so again, under the
    /// name that its promise has. Who asks names its own main line where it has a name.
    ///
    /// # Errors
    /// `Promotion` when the epoch is not the next one, the line is another or has not begun here, or
    /// a certificate was accepted; else the disk's.
    pub async fn seal(
        &self,
        epoch: u64,
        id: SealId,
        line: Option<Digest>,
    ) -> Result<Report, Error> {
        let _one_at_a_time = self.inner.promotion.change().await;
        let main = self.main();
        let mine = main.reference().epoch;
        if line.is_some() && main.inner.beginning != line {
            return Err(refused(format!(
                "node {} has another main line of epoch {mine}",
                self.id()
            )));
        }
        if epoch != mine.saturating_add(1) {
            return Err(refused(format!(
                "node {} is in epoch {mine}, and cannot be sealed for epoch {epoch}",
                self.id()
            )));
        }
        let mut standing = self.standing();
        if standing.accepted_epoch() >= epoch {
            return Err(refused(format!(
                "node {} has accepted a certificate for epoch {epoch}",
                self.id()
            )));
        }
        let seal = match standing.sealed {
            Some(seal) if seal.epoch == epoch => seal,
            Some(_) | None => {
                // Else it would stand still with nothing to go on from.
                self.judging(&main).await?;
                let seal = Seal { epoch, id };
                standing.sealed = Some(seal);
                self.promise(standing).await?;
                tracing::warn!(epoch, seal = %id, "sealed: the main line stops here");
                seal
            }
        };
        // After this nothing is written to its log any more, and nothing acknowledged.
        main.stop().await;
        let tail = self.tail(&main).await?;
        Ok(Report::of(self.id(), seal, &tail))
    }

    /// Takes a promise back that no certificate followed, and goes on with the main line.
    ///
    /// # Errors
    /// `Promotion` when the promise is another or a certificate was accepted; else the disk's.
    pub async fn release(&self, id: SealId) -> Result<(), Error> {
        let _one_at_a_time = self.inner.promotion.change().await;
        let mut standing = self.standing();
        let sealed = standing.sealed.filter(|seal| seal.id == id);
        // Who has accepted a certificate goes on with the new main line, and never with this one.
        let sealed = sealed.filter(|seal| standing.accepted_epoch() < seal.epoch);
        if sealed.is_none() {
            return Err(refused(format!(
                "node {} has no seal {id} that could be released",
                self.id()
            )));
        }
        standing.sealed = None;
        self.promise(standing).await?;
        *self.tails() = None;
        let main = self.main();
        let reference = main.reference();
        if self.standing().stops(reference.epoch) {
            tracing::warn!(seal = %id, "the seal is released: the main line stands still");
            return Ok(());
        }
        let base = main.inner.shared.base().clone();
        drop(main);
        tracing::warn!(seal = %id, "the seal is released: the main line goes on here");
        self.replace_main(reference, base).await
    }

    /// Accepts a certificate durably: a node of the centre that it names goes on with the new main
    /// line, every other stops for good. Accepting it again is fine.
    ///
    /// # Errors
    /// `Promotion` when it does not hold, or another was accepted for the same epoch; else the
    /// disk's.
    pub async fn accept(&self, certificate: Certificate) -> Result<Accepted, Error> {
        let epoch = certificate.terms.epoch;
        self.be_shown(certificate, false)
            .await?
            .accepted(self.id(), epoch)
    }

    /// As `accept`, by who says whether a line has begun with it; gives the certificate that was
    /// accepted before where that is another one.
    pub(crate) async fn be_shown(
        &self,
        certificate: Certificate,
        has_begun: bool,
    ) -> Result<Answer, Error> {
        let _one_at_a_time = self.inner.promotion.change().await;
        let main = self.main();
        let terms = &certificate.terms;
        let (epoch, is_voter) = (terms.epoch, terms.voters.contains_key(&self.id()));
        let mut standing = self.standing();
        let known = standing.accepted.clone();
        match known.filter(|known| known.terms.epoch == epoch) {
            Some(known) if known.terms == *terms => {}
            Some(known) => {
                self.contest(&known, certificate, has_begun).await?;
                return Ok(Answer::Another(Box::new(known)));
            }
            None => {
                let mine = main.reference().epoch;
                if mine >= epoch {
                    let id = self.id();
                    return Err(refused(format!("node {id} is in epoch {mine} already")));
                }
                if !is_voter && self.has_another_line(terms) {
                    standing.apart = epoch;
                }
                let state = self.judging(&main).await?;
                self.judge(&state, &certificate, &standing)?;
                let sealed = standing.sealed.map(|seal| seal.id);
                let named = terms.voters.get(&self.id());
                if named.is_some_and(|seal| Some(*seal) != sealed) {
                    return Err(refused(format!(
                        "node {} is not sealed as the certificate says",
                        self.id()
                    )));
                }
                standing.accepted = Some(certificate.clone());
                standing.conflicting = None;
                self.promise(standing.clone()).await?;
            }
        }
        if main.reference().epoch < epoch {
            main.stop().await;
        }
        let fenced = self.is_fenced_by(terms, &standing);
        Ok(Answer::Accepted(Accepted {
            fenced,
            degraded: fenced && self.gave_up(&main).await,
        }))
    }

    /// Whether the secondary was given up in what is in the log of a line that has stopped, applied
    /// or not: what was answered since is nowhere else. A node that cannot say counts as if it was.
    async fn gave_up(&self, main: &Line) -> bool {
        match self.tail(main).await {
            Ok(tail) => tail.state.header().protection.degraded_since.is_some(),
            Err(error) => {
                tracing::error!(%error, "cannot say whether the secondary was given up");
                true
            }
        }
    }

    /// Whether the certificate stops this node for good.
    fn is_fenced_by(&self, terms: &Terms, standing: &Standing) -> bool {
        let is_elsewhere = self.centre().is_none_or(|here| here.name != terms.centre);
        standing.joined < terms.epoch && (is_elsewhere || standing.apart >= terms.epoch)
    }

    fn holds(&self, state: &State, certificate: &Certificate) -> Result<(), Error> {
        state.is_certified(certificate).map_err(|rejection| {
            refused(format!("the certificate does not hold: {rejection:?}"))
        })?;
        (self.inner.promotion.judge)(state, certificate).map_err(Error::Promotion)
    }

    fn judge(
        &self,
        state: &State,
        certificate: &Certificate,
        standing: &Standing,
    ) -> Result<(), Error> {
        self.holds(state, certificate)?;
        let is_apart = standing.apart >= certificate.terms.epoch;
        if self.is_fenced_by(&certificate.terms, standing) && !is_apart {
            // The old primary knows who protected what it answered.
            let whole = state.may_promote(&certificate.terms);
            whole.map_err(|rejection| {
                refused(format!("the certificate does not hold: {rejection:?}"))
            })?;
        }
        // Who comes late is shown it long after: others have accepted it in time then.
        let is_voter = certificate.terms.voters.contains_key(&self.id());
        let is_over = ends_at(certificate) <= self.time();
        if is_voter && is_over && !self.hears_of(certificate.terms.epoch) {
            return Err(refused("the certificate has expired: sign anew"));
        }
        Ok(())
    }

    /// Makes a promise durable, then known.
    async fn promise(&self, standing: Standing) -> Result<(), Error> {
        let (data, written) = (self.data().to_owned(), standing.clone());
        blocking(move || Ok(standing::write(&data, &written)?)).await?;
        self.inner.promotion.standing.send_replace(standing);
        Ok(())
    }

    /// Goes on with the main line that an accepted certificate names.
    async fn go_on(&self, certificate: &Certificate) -> Result<(), Error> {
        let _one_at_a_time = self.inner.promotion.change().await;
        let old = self.main();
        let terms = &certificate.terms;
        let reference = LineRef {
            epoch: terms.epoch,
            ..old.reference()
        };
        if old.reference().epoch >= terms.epoch {
            return Ok(());
        }
        // Who joined has nothing to go on from.
        let is_new = self.standing().joined >= terms.epoch;
        let tail = match is_new {
            true => None,
            false => self
                .tail(&old)
                .await
                .inspect_err(|error| tracing::warn!(%error, "goes on from another node's"))
                .ok(),
        };
        let own = tail.filter(|tail| tail.last == terms.boundary && tail.digest == terms.genesis);
        let genesis = if let Some(tail) = own {
            write_rows(&old, tail.rows.clone()).await?;
            let path = place::beginning(self.data(), &reference);
            let (header, state) = (header(&old.reference(), terms.boundary), tail.state.clone());
            blocking(move || {
                branch::make_folder(&path)?;
                image::write(&path, &header, &state)?;
                Ok(())
            })
            .await?;
            tail.state
        } else {
            self.fetch_beginning(&reference, terms).await?
        };
        drop(old);
        self.replace_main(reference.clone(), genesis).await?;
        *self.tails() = None;
        tracing::warn!(epoch = reference.epoch, "the new main line runs here");
        Ok(())
    }

    /// The beginning of the new main line from one of those that formed it.
    async fn fetch_beginning(&self, reference: &LineRef, terms: &Terms) -> Result<State, Error> {
        let mut last = refused("no node of the new main line can be asked");
        let others = self.peers().others().into_iter().map(|peer| peer.node);
        let from = terms.voters.keys().copied().chain(others);
        for from in from.filter(|from| *from != self.id()) {
            match self.receive_beginning(reference, terms, from).await {
                Ok(state) => return Ok(state),
                Err(error) => last = error,
            }
        }
        Err(last)
    }
}

impl Standing {
    fn accepted_epoch(&self) -> u64 {
        let accepted = self.accepted.as_ref();
        accepted.map_or(0, |certificate| certificate.terms.epoch)
    }
}

fn header(of: &LineRef, last: LogId) -> Header {
    Header {
        format: image::FORMAT,
        kind: Kind::Base,
        reference: of.clone(),
        last: Some(last),
        members: Members::default(),
        members_at: None,
    }
}

/// What the main line of this reference begins with: in the first epoch what the cluster does, later
/// what was kept when its certificate was accepted.
pub(crate) async fn base(data: &Path, reference: &LineRef, founded: State) -> Result<State, Error> {
    if reference.epoch == FIRST_EPOCH {
        return Ok(founded);
    }
    let path = place::beginning(data, reference);
    blocking(move || Ok(image::read(&path)?.state)).await
}

/// Follows what was promised, for as long as the node runs.
pub(crate) async fn follow(node: Node) {
    let mut standing = node.inner.promotion.promised();
    loop {
        let now = standing.borrow_and_update().clone();
        if let (Some(accepted), Some(other)) = (&now.accepted, &now.conflicting) {
            contest::tell(&node, accepted, other).await;
        } else if let Some(certificate) = &now.accepted {
            let is_next = certificate.terms.epoch > node.main().reference().epoch;
            if is_next
                && !node.is_fenced_by(&certificate.terms, &now)
                && let Err(error) = Box::pin(node.go_on(certificate)).await
            {
                tracing::warn!(%error, "the new main line does not run here yet; will try again");
            }
            spread(&node, certificate).await;
        }
        let _elapsed = tokio::time::timeout(LOOK_EVERY, standing.changed()).await;
    }
}

/// The nodes that form the group of a main line after the first epoch; none here if this is not one
/// of them.
pub(crate) fn founders(node: &Node, main: &Line) -> Option<BTreeSet<NodeId>> {
    let certificate = node.standing().accepted?;
    let terms = certificate.terms;
    (terms.epoch == main.reference().epoch && terms.voters.contains_key(&node.id()))
        .then(|| terms.voters.into_keys().collect())
}

/// The first entry of a new main line, by whichever node leads first.
pub(crate) async fn begin(node: &Node, main: &Line) -> Result<(), line::Error> {
    let reference = main.reference();
    if main.state().header().epoch == reference.epoch {
        return Ok(());
    }
    // A state that lags behind the log may only look as if it had not begun.
    main.lead_and_apply(Instant::now() + PATIENCE).await?;
    let certificate = node.standing().accepted;
    let certificate = certificate.filter(|one| one.terms.epoch == reference.epoch);
    let (Some(certificate), true) = (certificate, main.state().header().epoch != reference.epoch)
    else {
        return Ok(());
    };
    let proposal = Proposal {
        actor: Actor::Node(node.id()),
        request: None,
        command: Command::Promote(Box::new(Begin { certificate })),
    };
    match main.write(proposal, Instant::now() + PATIENCE).await {
        Attempt::Done(at, outcome) => {
            tracing::warn!(%at, epoch = reference.epoch, result = ?outcome.result, "began");
            Ok(())
        }
        Attempt::Again => Err(line::Error::NoLeader),
        Attempt::Unclear => Err(line::Error::OutcomeUnknown),
        Attempt::Refused(error) => Err(error),
    }
}
