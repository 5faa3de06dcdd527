//! What a node says of itself to its peers.

use domain::{LogId, encoding};
use proto::peer::v1 as peer;

use crate::clockwatch::ClockVerdict;
use crate::facts::VERSION;
use crate::line::{Line, Role};
use crate::node::Node;
use crate::wire;

/// The node's status now.
pub(crate) fn of(node: &Node) -> peer::GetNodeStatusResponse {
    let verdict = match node.clock_verdict() {
        ClockVerdict::Unknown => peer::ClockVerdict::Unknown,
        ClockVerdict::Good { .. } => peer::ClockVerdict::Good,
        ClockVerdict::Off { .. } => peer::ClockVerdict::Off,
    };
    peer::GetNodeStatusResponse {
        node: node.id().0,
        clock_base_ms: node.base_time().0,
        clock_now_ms: node.time().0,
        clock_verdict: verdict.into(),
        lines: std::iter::once(node.main())
            .chain(node.branch())
            .map(|line| of_line(&line))
            .collect(),
        geneses: node
            .verified()
            .into_iter()
            .map(|(session, digest)| peer::GenesisStatus {
                session: session.as_str().to_owned(),
                digest: digest.0.to_vec().into(),
            })
            .collect(),
        version: VERSION.to_owned(),
        copied: node
            .copied()
            .all()
            .into_iter()
            .map(|evidence| peer::CopiedTrail {
                session: evidence.session.as_str().to_owned(),
                sequence: evidence.audit.sequence,
                hash: evidence.audit.hash.0.to_vec().into(),
            })
            .collect(),
        mailed: node.mailed().iter().map(ToString::to_string).collect(),
        facts: Some(node.facts().message()),
        registered: registered(node),
        rules: node.versions().rules,
        unplanned: node
            .orders()
            .iter()
            .map(|order| encoding::encode(order).into())
            .collect(),
    }
}

fn registered(node: &Node) -> Vec<u64> {
    let state = node.main().state();
    let centres = state
        .centres()
        .into_iter()
        .flat_map(|centres| centres.all());
    let nodes = centres.flat_map(|centre| &centre.nodes);
    nodes.map(|node| node.id.0).collect()
}

fn of_line(line: &Line) -> peer::LineStatus {
    let applied: Option<LogId> = *line.applied().borrow();
    let digests = applied.and_then(|log_id| line.digests_at(log_id));
    let head = line.state().header().audit;
    let members = line.membership();
    let role = match line.role() {
        Role::Learner => peer::LineRole::Learner,
        Role::Follower => peer::LineRole::Follower,
        Role::Candidate => peer::LineRole::Candidate,
        Role::Leader => peer::LineRole::Leader,
        Role::Stopped => peer::LineRole::Unspecified,
    };
    peer::LineStatus {
        line: Some(line.named()),
        applied: applied.map(wire::log_id),
        term: line.term(),
        leader: line.leader().map_or(0, |node| node.0),
        role: role.into(),
        digests: digests.map(|digests| peer::Digests {
            account: digests.account.0.to_vec().into(),
            full: digests.full.0.to_vec().into(),
        }),
        audit_head: Some(peer::AuditHead {
            sequence: head.sequence,
            hash: head.hash.0.to_vec().into(),
        }),
        voters: members.voters.iter().map(|node| node.0).collect(),
        learners: members.learners.iter().map(|node| node.0).collect(),
        last_log_index: line.last_log_index().unwrap_or(0),
        running: line.running().is_ok(),
    }
}
