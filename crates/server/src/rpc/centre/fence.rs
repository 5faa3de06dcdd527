//! Keeping an old main line from going on: its nodes are sealed and read, which can be taken back,
//! and only then shown the certificate, which cannot (LINES.md, "Promotion", 4 and 5).
//!
//! What they have once they stand still bounds the loss. Deliberately absent: what may be claimed
//! of it (`domain::promotion::Found`).

use std::collections::{BTreeMap, BTreeSet};

use consensus::promotion::{self, Report};
use domain::promotion::{Certificate, Found, SealId, Stopped};
use domain::{CentreName, LogId, NodeId};
use futures::future::join_all;
use proto::operator::v1 as operator;
use tokio::process::Command;
use tokio::time::Duration;

use super::promote::{other, sealed, seals};
use crate::edge::{Edge, WORD_AGE_MAX};
use crate::status::Refusal;

/// How long a fence hook may take.
const HOOK_MAX: Duration = Duration::from_secs(10);
/// How long nodes may take to stop that did not answer when they were to be sealed just before:
/// people wait for the new primary.
const SILENT_MAX: Duration = Duration::from_secs(1);

/// Who may still go on with an old line.
pub(super) struct Old {
    /// The centre.
    pub(super) name: CentreName,
    nodes: BTreeSet<NodeId>,
    /// Whether it is another line of this epoch, and not the one that is gone on from.
    pub(super) is_contested: bool,
}

impl Old {
    /// The other centre's; where two lines began in this epoch, the nodes that formed the other
    /// one.
    pub(super) fn of(edge: &Edge, centre: &CentreName) -> Option<Self> {
        if let Some(certificate) = contested(edge) {
            return Some(Self {
                name: certificate.terms.centre,
                nodes: certificate.terms.voters.into_keys().collect(),
                is_contested: true,
            });
        }
        let old = other(&edge.node().centres(), centre).cloned()?;
        Some(Self {
            name: old.name,
            nodes: old.nodes.iter().map(|node| node.id).collect(),
            is_contested: false,
        })
    }

    /// Those that answer still.
    pub(super) fn heard(&self, edge: &Edge) -> Vec<u64> {
        let heard = self.nodes.iter().filter(|node| {
            let heard = edge.node().heard().from(**node);
            heard.is_some_and(|(ago, _)| ago <= WORD_AGE_MAX)
        });
        heard.map(|node| node.0).collect()
    }

    /// Whether a majority answers still.
    pub(super) fn answers(&self, edge: &Edge) -> bool {
        self.heard(edge).len() > self.nodes.len() / 2
    }
}

/// The certificate of another line of the epoch that this node is in.
pub(super) fn contested(edge: &Edge) -> Option<Certificate> {
    let (node, standing) = (edge.node(), edge.node().standing());
    let is_now = standing.is_contested(node.main().reference().epoch);
    standing.conflicting.filter(|_| is_now)
}

/// What came of it.
pub(super) struct Fenced {
    pub(super) fence: operator::Fence,
    /// What was found then; none where an order is repeated.
    pub(super) found: Option<Found>,
}

/// Keeps the old line from going on, if what would be lost then is accepted. `found` is what the
/// new primary has.
pub(super) async fn fence(
    edge: &Edge,
    certificate: &Certificate,
    found: Option<(Found, Report)>,
) -> Result<Fenced, Refusal> {
    let terms = &certificate.terms;
    let Some(old) = Old::of(edge, &terms.centre) else {
        let found = found.map(|(found, _)| found);
        accepted(certificate, found.as_ref())?;
        let fence = operator::Fence::Acknowledged;
        return Ok(Fenced { fence, found });
    };
    let hook = edge.parts().fence_hook.as_ref();
    // Nodes that are shown a certificate have stopped for good, so that none is shown in vain: of two
    // lines of one epoch each has stopped already.
    let may_stop = old.is_contested || old.answers(edge);
    if !may_stop && hook.is_none() && !terms.accepts_split_brain {
        return Err(not_fenced(&old, 0));
    }
    let mut asked = BTreeMap::new();
    let was_asked = found.is_some() && old.answers(edge) && !old.is_contested;
    let found = match found {
        Some((mut found, best)) => {
            if was_asked {
                (found.stopped, asked) = read(edge, &old, &best).await;
            }
            Some(found)
        }
        None => None,
    };
    if let Err(refused) = accepted(certificate, found.as_ref()) {
        release(edge, &asked).await;
        return Err(refused);
    }
    let is_silent = was_asked && found.as_ref().is_some_and(|found| found.stopped.is_none());
    let patience = match is_silent {
        true => SILENT_MAX,
        false => promotion::ANSWER_MAX,
    };
    let shown = old.nodes.iter().map(|node| {
        let shown = edge.node().show_certificate(*node, certificate);
        tokio::time::timeout(patience, shown)
    });
    let answers = join_all(shown).await.into_iter().flatten();
    let answers: Vec<_> = answers.flatten().collect();
    let fenced = answers.iter().filter(|answer| answer.fenced);
    let stopped = fenced.clone().count();
    if stopped > old.nodes.len() / 2 {
        let gave_up = answers.iter().any(|answer| answer.degraded);
        let found = found.map(|found| Found {
            stopped: found.stopped.map(|stopped| Stopped {
                gave_up: stopped.gave_up || gave_up,
                ..stopped
            }),
            ..found
        });
        let fence = operator::Fence::Acknowledged;
        return Ok(Fenced { fence, found });
    }
    // Who did not stop may have answered since.
    let found = found.map(|found| Found {
        stopped: None,
        ..found
    });
    if let Some(hook) = hook {
        let run = Command::new(hook)
            .arg(old.name.as_str())
            .kill_on_drop(true)
            .status();
        match tokio::time::timeout(HOOK_MAX, run).await {
            Ok(Ok(status)) if status.success() => {
                let fence = operator::Fence::Hook;
                return Ok(Fenced { fence, found });
            }
            other => tracing::error!(?other, "the fence hook did not stop the old primary"),
        }
    }
    if terms.accepts_split_brain {
        let fence = operator::Fence::None;
        return Ok(Fenced { fence, found });
    }
    // Who has accepted stays where it is.
    release(edge, &asked).await;
    Err(not_fenced(&old, u32::try_from(stopped).unwrap_or(u32::MAX)))
}

fn not_fenced(old: &Old, stopped: u32) -> Refusal {
    Refusal::NotFenced {
        centre: old.name.clone(),
        stopped,
    }
}

/// Whether the terms accept the loss that was found.
fn accepted(certificate: &Certificate, found: Option<&Found>) -> Result<(), Refusal> {
    let Some((claim, why)) = found.map(Found::claim) else {
        return Ok(());
    };
    let accepted = certificate.terms.accepted_loss;
    if accepted.covers(claim) {
        return Ok(());
    }
    Err(Refusal::NotPromoted {
        why: format!("a loss of {accepted} cannot be claimed, it is {claim}: {why}"),
    })
}

/// Seals the old primary's nodes and reads what they have, if a majority can be; else lets them go
/// on. Gives the seals that stand.
async fn read(edge: &Edge, old: &Old, new: &Report) -> (Option<Stopped>, BTreeMap<NodeId, SealId>) {
    let said = seals(edge, old.nodes.clone()).await;
    let sealed = sealed(&said);
    let asked = sealed.iter().map(|one| (one.node, one.seal.id)).collect();
    match promotion::best(sealed.iter().copied()) {
        Some(best) if sealed.len() > said.len() / 2 => (Some(stopped(&sealed, best, new)), asked),
        Some(_) | None => {
            release(edge, &asked).await;
            (None, BTreeMap::new())
        }
    }
}

/// What a majority of the old primary's nodes says against what the new one has.
fn stopped(old: &[&Report], best: &Report, new: &Report) -> Stopped {
    let gave_up = |one: &&Report| one.degraded || one.degraded_count != new.degraded_count;
    // While the role moves, others may have decided what is committed.
    let is_settled = !new.switching && !best.switching;
    Stopped {
        gave_up: old.iter().any(gave_up),
        beyond: is_settled.then(|| {
            let from = common(best.last, new);
            best.last.index.saturating_sub(from)
        }),
    }
}

/// The index up to which a log that ends with `last` has what the new primary has: all of it where
/// one leader wrote the last of both, else what is known to be committed.
fn common(last: LogId, new: &Report) -> u64 {
    let one_leader = (last.term, last.node) == (new.last.term, new.last.node);
    match one_leader {
        true => new.last.index,
        false => new.applied.index,
    }
}

async fn release(edge: &Edge, seals: &BTreeMap<NodeId, SealId>) {
    let asked = seals.iter().map(|(node, seal)| async move {
        if let Err(error) = edge.node().ask_to_release(*node, *seal).await {
            tracing::error!(%node, %error, "cannot release a seal");
        }
    });
    join_all(asked).await;
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use consensus::promotion::{Report, best};
    use consensus::standing::Seal;
    use domain::promotion::SealId;
    use domain::protection::Mode;
    use domain::{Digest, LogId, NodeId, UnixMs};

    use super::{common, stopped};

    fn at(term: u64, node: u64, index: u64) -> LogId {
        LogId { term, node, index }
    }

    fn report(node: u64, last: LogId, applied: LogId) -> Report {
        Report {
            node: NodeId(node),
            seal: Seal {
                epoch: 2,
                id: SealId([1; 16]),
            },
            last,
            applied,
            nodes: BTreeSet::new(),
            digest: Digest::ZERO,
            clock: UnixMs(0),
            mode: Mode::Sync,
            degraded: false,
            degraded_count: 1,
            switching: false,
            uncommitted: Vec::new(),
            uncommitted_count: 0,
        }
    }

    #[test]
    fn the_best_node_has_the_latest_leader_s_entry_and_not_the_longest_log() {
        let long = report(4, at(2, 1, 90), at(2, 1, 20));
        let short = report(5, at(3, 2, 30), at(3, 2, 30));
        let shorter = report(6, at(3, 2, 29), at(3, 2, 29));
        for reports in [[&long, &short, &shorter], [&shorter, &short, &long]] {
            let found = best(reports).map(|found| found.node);
            assert_eq!(found, Some(NodeId(5)));
        }
        assert!(best([]).is_none());
    }

    #[test]
    fn the_loss_is_bounded_by_what_the_old_log_has_beyond_the_common_part() {
        let new = report(4, at(2, 1, 30), at(2, 1, 20));
        // One leader wrote the last of both: what the new one has is a part of the other.
        assert_eq!(common(at(2, 1, 35), &new), 30);
        // Another leader may have written over what is not known to be committed.
        assert_eq!(common(at(3, 2, 35), &new), 20);
        let old = report(1, at(3, 2, 35), at(3, 2, 33));
        assert_eq!(stopped(&[&old], &old, &new).beyond, Some(15));
        let behind = report(1, at(2, 1, 28), at(2, 1, 28));
        assert_eq!(stopped(&[&behind], &behind, &new).beyond, Some(0));
        let moving = Report {
            switching: true,
            ..old
        };
        assert_eq!(stopped(&[&moving], &moving, &new).beyond, None);
    }

    #[test]
    fn who_gave_the_secondary_up_and_forgot_it_since_is_told_by_the_count() {
        let new = report(4, at(2, 1, 30), at(2, 1, 30));
        let old = report(1, at(2, 1, 35), at(2, 1, 35));
        assert!(!stopped(&[&old], &old, &new).gave_up);
        // Given up, and then a stricter policy: not degraded any more, and answered alone before.
        let strict = Report {
            mode: Mode::Strict,
            degraded_count: 2,
            ..report(2, at(2, 1, 34), at(2, 1, 34))
        };
        assert!(stopped(&[&old, &strict], &old, &new).gave_up);
        let degraded = Report {
            degraded: true,
            ..report(2, at(2, 1, 34), at(2, 1, 34))
        };
        assert!(stopped(&[&old, &degraded], &old, &new).gave_up);
    }
}
