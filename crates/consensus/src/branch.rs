//! Branches on this node: their genesis, their start, their end.
//!
//! These are primitives, each of which may be repeated after a crash at any point. When to use
//! them is the plan in the main line's state (LINES.md, "The plan of a session").

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, MutexGuard, PoisonError};

use domain::state::State;
use domain::{Digest, LineId, LineRef, LogId, NodeId, SessionId};
use futures::StreamExt;
use futures::stream::BoxStream;
use tonic::Status;

use crate::line::{self, Line};
use crate::machine::{self, Machine};
use crate::node::{Error, Fork, Node, blocking};
use crate::raft::{Snapshot, SnapshotMeta};
use crate::transfer::Count;
use crate::{files, genesis, image, place};

const REFUSED: &str = "refused";

impl Node {
    /// The reference of a session's branch that starts from the state with this full digest. Its
    /// epoch is that of its boundary: a promotion that comes later does not rename it.
    #[must_use]
    pub fn branch_reference(&self, session: &SessionId, genesis: Digest) -> LineRef {
        LineRef {
            line: LineId::Branch {
                session: session.clone(),
                genesis,
            },
            epoch: self.epoch_of(session),
            cluster: self.cluster(),
        }
    }

    fn epoch_of(&self, session: &SessionId) -> u64 {
        let main = self.main();
        let state = main.state();
        let boundary = state.plan(session).and_then(|plan| plan.boundary);
        let planned = boundary.map(|boundary| boundary.epoch);
        let ordered = || self.order(session).map(|order| order.epoch);
        planned
            .or_else(ordered)
            .unwrap_or_else(|| main.reference().epoch)
    }

    /// The genesis files that were found whole here, with their full digests.
    #[must_use]
    pub fn geneses(&self) -> Vec<(SessionId, Digest)> {
        let known = &self.inner.geneses;
        let known = known.lock().unwrap_or_else(PoisonError::into_inner);
        known
            .iter()
            .map(|(id, digest)| (id.clone(), *digest))
            .collect()
    }

    /// Keeps the state at a boundary that was applied here, so that the branch need not wait for
    /// the disk: what is pinned brings it back (LINES.md, Opening).
    pub(crate) fn note_fork(&self, session: &SessionId, at: LogId, state: State) {
        let digest = state.digests().full;
        let mut forks = self.forks();
        forks.insert(session.clone(), Fork { at, state, digest });
    }

    fn forks(&self) -> MutexGuard<'_, BTreeMap<SessionId, Fork>> {
        let forks = &self.inner.forks;
        forks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The sessions whose state at the boundary this node has verified, in memory or on its disk.
    #[must_use]
    pub fn verified(&self) -> Vec<(SessionId, Digest)> {
        let mut verified: BTreeMap<SessionId, Digest> = self.geneses().into_iter().collect();
        for (session, fork) in self.forks().iter() {
            verified.insert(session.clone(), fork.digest);
        }
        verified.into_iter().collect()
    }

    pub(crate) fn note_genesis(&self, session: &SessionId, digest: Option<Digest>) {
        let known = &self.inner.geneses;
        let mut known = known.lock().unwrap_or_else(PoisonError::into_inner);
        match digest {
            Some(digest) => known.insert(session.clone(), digest),
            None => known.remove(session),
        };
    }

    /// Writes the state at a boundary as the genesis of the session's branch, durably, and gives
    /// its full digest. A genesis of that boundary that is there already is only checked.
    ///
    /// # Errors
    /// `Image` and `File`: the disk's.
    pub async fn fork(
        &self,
        session: &SessionId,
        boundary: LogId,
        state: &State,
    ) -> Result<Digest, Error> {
        let full = state.digests().full;
        let path = genesis::path(self.data(), session);
        let parent = self.main().reference();
        let state = state.clone();
        blocking(move || {
            if genesis::verify(&path, boundary, &full).is_err() {
                make_folder(&path)?;
                genesis::write(&path, &parent, boundary, &state)?;
            }
            Ok(())
        })
        .await?;
        self.note_genesis(session, Some(full));
        Ok(full)
    }

    /// The verified genesis of a session's branch: the state, its boundary, and its full digest.
    /// None when it is not here.
    ///
    /// # Errors
    /// `Image` when the file is damaged; it may be fetched from a peer then.
    pub async fn genesis(
        &self,
        session: &SessionId,
    ) -> Result<Option<(State, LogId, Digest)>, Error> {
        let fork = self.forks().get(session).cloned();
        if let Some(Fork { at, state, digest }) = fork {
            return Ok(Some((state, at, digest)));
        }
        let path = genesis::path(self.data(), session);
        let image = blocking(move || {
            if !files::exists(&path) {
                return Ok(None);
            }
            Ok(Some(genesis::read(&path)?))
        })
        .await?;
        let Some(image) = image else {
            return Ok(None);
        };
        self.note_genesis(session, Some(image.digests.full));
        let boundary = image.header.last.unwrap_or_default();
        Ok(Some((image.state, boundary, image.digests.full)))
    }

    /// Looks for the genesis files that are here, so that peers can be told.
    pub(crate) async fn find_geneses(&self) {
        let sessions: Vec<SessionId> = files::read_dir(self.data().join("genesis"))
            .into_iter()
            .flatten()
            .flatten()
            .filter_map(|entry| {
                let name = entry.file_name();
                let name = Path::new(&name);
                let is_genesis = name.extension().is_some_and(|kind| kind == "genesis");
                let session = name.file_stem().filter(|_| is_genesis)?.to_str()?;
                SessionId::parse(session).ok()
            })
            .collect();
        for session in sessions {
            if let Err(error) = self.genesis(&session).await {
                tracing::warn!(%session, %error, "a genesis here cannot be used");
            }
        }
    }

    /// Starts the session's branch from a verified genesis, with these voters, which must be the
    /// same on every node. A branch that runs already is given as it is. While this node's clock is
    /// off, and where no voters are named, it only joins the group that others form or formed.
    ///
    /// # Errors
    /// `Branch` when another branch runs, or this node refused this one before.
    pub async fn start_branch(
        &self,
        session: &SessionId,
        genesis: State,
        voters: &BTreeSet<NodeId>,
    ) -> Result<Line, Error> {
        // A caller that gives up half-way must not leave a group behind that nobody can stop.
        let (node, session, voters) = (self.clone(), session.clone(), voters.clone());
        let start = async move { Box::pin(node.start_whole(&session, genesis, &voters)).await };
        tokio::spawn(start).await.map_err(io::Error::other)?
    }

    async fn start_whole(
        &self,
        session: &SessionId,
        genesis: State,
        voters: &BTreeSet<NodeId>,
    ) -> Result<Line, Error> {
        let _one_at_a_time = self.inner.branch_change.lock().await;
        // A node that stops takes the lock once, and nothing starts after that.
        self.main().running()?;
        let reference = self.branch_reference(session, genesis.digests().full);
        if let Some(running) = self.branch() {
            return if running.reference() == reference {
                Ok(running)
            } else {
                let runs = running.reference().line;
                Err(Error::Branch(format!("{runs} runs here: drop it first")))
            };
        }
        if self.has_refused(session) {
            return Err(Error::Branch(format!(
                "this node refused to start the branch of {session}"
            )));
        }
        let (disk, trails) = (self.inner.disk.clone(), self.inner.trails.clone());
        let opened = reference.clone();
        let (log, machine) = blocking(move || {
            let log = disk.log(&opened)?;
            // On a branch nothing needs to be seen as it is applied.
            let hook: machine::Hook = Arc::new(|_, _, _, _| {});
            let trail = trails.of(&opened).map_err(machine::Error::from)?;
            let machine = Machine::open(log.clone(), trail, genesis, hook)?;
            Ok((log, machine))
        })
        .await?;
        let line = Line::start(line::Start {
            reference,
            peers: self.peers().clone(),
            clock: self.clock(),
            clock_is_ok: self.clock_verdict().is_good(),
            last_good: self.last_good(),
            log,
            machine,
            builders: Arc::clone(&self.inner.builders),
        })
        .await?;
        // Forming the group is standing for election: a node whose clock is off leaves it to the
        // others, or to a later round.
        if line.clock_is_ok() && !voters.is_empty() {
            line.initialize(voters).await?;
        }
        *self
            .inner
            .branch
            .write()
            .unwrap_or_else(PoisonError::into_inner) = Some(line.clone());
        tracing::info!(line = %line.reference().line, "the branch runs here");
        Ok(line)
    }

    /// Stops the session's branch if it runs here, and deletes its log, snapshots and genesis.
    /// Its audit trail stays. May be repeated.
    ///
    /// # Errors
    /// The disk's.
    pub async fn drop_branch(&self, session: &SessionId) -> Result<(), Error> {
        let _one_at_a_time = self.inner.branch_change.lock().await;
        let running = {
            let mut branch = self
                .inner
                .branch
                .write()
                .unwrap_or_else(PoisonError::into_inner);
            branch.take_if(|line| is_of(&line.reference(), session))
        };
        if let Some(line) = running {
            line.stop().await;
        }
        let disk = self.inner.disk.clone();
        let lines = blocking(move || Ok(disk.lines()?)).await?;
        for line in lines.iter().filter(|line| is_of(line, session)) {
            // The log could write the last rows of the trail again: not after this.
            self.sync_audit(line).await?;
            self.inner.disk.forget(line).await?;
        }
        self.note_genesis(session, None);
        self.forks().remove(session);
        genesis::remove(self.data(), session)?;
        self.forget_order(session).await
    }

    /// Promises durably never to start the session's branch here, so that it can be given up
    /// (LINES.md, Abandon). Refused while the branch runs here.
    ///
    /// # Errors
    /// `Branch` when it runs here; else the disk's.
    pub async fn refuse_branch(&self, session: &SessionId) -> Result<(), Error> {
        let _one_at_a_time = self.inner.branch_change.lock().await;
        let disk = self.inner.disk.clone();
        let lines = blocking(move || Ok(disk.lines()?)).await?;
        if lines.iter().any(|line| is_of(line, session)) {
            return Err(Error::Branch(format!(
                "the branch of {session} was started here"
            )));
        }
        let path = self.refusal(session);
        blocking(move || {
            make_folder(&path)?;
            let file = files::File::create(&path)?;
            file.sync_all()?;
            if let Some(folder) = path.parent() {
                place::sync_folder(folder)?;
            }
            Ok(())
        })
        .await
    }

    /// Whether this node promised never to start the session's branch.
    #[must_use]
    pub fn has_refused(&self, session: &SessionId) -> bool {
        files::exists(&self.refusal(session))
    }

    fn refusal(&self, session: &SessionId) -> PathBuf {
        genesis::path(self.data(), session).with_extension(REFUSED)
    }

    /// Receives a snapshot for a line, to be installed.
    pub(crate) async fn receive_snapshot(
        &self,
        line: &Line,
        announced: SnapshotMeta,
        length: u64,
        mut chunks: BoxStream<'static, Result<tonic::codegen::Bytes, Status>>,
    ) -> Result<Snapshot, Status> {
        let mut incoming = line.inner.shared.snapshots().incoming()?;
        let mut count = Count::new(length);
        while let Some(chunk) = chunks.next().await {
            let chunk = chunk?;
            count.add(&chunk)?;
            incoming = crate::blocking::run(move || {
                incoming.write(&chunk)?;
                Ok::<_, io::Error>(incoming)
            })
            .await??;
        }
        count.finish()?;
        let (meta, file) = crate::blocking::run(move || incoming.finish())
            .await?
            .map_err(|error: image::Error| Status::invalid_argument(error.to_string()))?;
        if meta != announced {
            return Err(Status::invalid_argument(format!(
                "the snapshot is {meta}, announced was {announced}"
            )));
        }
        Ok(Snapshot {
            meta,
            snapshot: file,
        })
    }
}

fn is_of(line: &LineRef, session: &SessionId) -> bool {
    match &line.line {
        LineId::Main => false,
        LineId::Branch { session: of, .. } => of == session,
    }
}

pub(crate) fn make_folder(file: &Path) -> io::Result<()> {
    file.parent().map_or(Ok(()), place::create_folder)
}
