//! How much a branch will have forgotten: counted from its audit rows, each of which is read once.

use std::collections::BTreeSet;
use std::time::Duration;

use domain::audit::{Kind, Repeat, Row};
use domain::factor::Method;
use domain::id::{AccountId, NodeId};
use domain::{LineId, LineRef};

use crate::edge::Edge;

/// Rows that are read at once.
const PAGE: u32 = 4_096;
/// Most pages that one status reads; the next one goes on.
const PAGES_MAX: usize = 16;
/// How long a node of the branch may take to send a page.
const ANSWER_MAX: Duration = Duration::from_millis(500);

/// What was counted of a branch so far.
#[derive(Debug)]
pub(crate) struct Tally {
    line: LineRef,
    next: u64,
    begun: bool,
    changes: u64,
    accounts: BTreeSet<AccountId>,
    repeats: BTreeSet<(AccountId, Repeat, Option<Method>)>,
}

/// The numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) changes: u64,
    pub(super) accounts: u64,
    pub(super) repeats: u64,
}

impl Tally {
    fn new(line: LineRef) -> Self {
        Self {
            line,
            next: 0,
            begun: false,
            changes: 0,
            accounts: BTreeSet::new(),
            repeats: BTreeSet::new(),
        }
    }

    /// As the evidence counts at the close (`domain::session::Evidence::count`).
    fn add(&mut self, rows: &[Row]) {
        for row in rows {
            self.next = row.sequence.saturating_add(1);
            self.begun |= row.kind == Kind::BranchStarted;
            if !self.begun || !row.is_change() {
                continue;
            }
            self.changes = self.changes.saturating_add(1);
            self.accounts.extend(row.account.clone());
            if let (Some(kind), Some(account)) = (row.repeat, &row.account) {
                self.repeats.insert((account.clone(), kind, row.method));
            }
        }
    }

    fn counts(&self) -> Counts {
        Counts {
            changes: self.changes,
            accounts: self.accounts.len() as u64,
            repeats: self.repeats.len() as u64,
        }
    }
}

/// The branch counted up to now; none if nobody who has its rows can be asked.
pub(super) async fn count(edge: &Edge, line: &LineRef, voters: &[NodeId]) -> Option<Counts> {
    let mut kept = edge.tally().lock().await;
    let tally = match kept.as_mut() {
        Some(tally) if tally.line == *line => tally,
        Some(_) | None => kept.insert(Tally::new(line.clone())),
    };
    for _ in 0..PAGES_MAX {
        let rows = rows(edge, line, tally.next, voters).await?;
        if rows.is_empty() {
            break;
        }
        tally.add(&rows);
    }
    Some(tally.counts())
}

async fn rows(edge: &Edge, line: &LineRef, from: u64, voters: &[NodeId]) -> Option<Vec<Row>> {
    let node = edge.node();
    let page = usize::try_from(PAGE).unwrap_or(usize::MAX);
    // A trail that is being copied grows from its beginning.
    if let Ok(rows) = node.audit_rows(line, from, page).await
        && (!rows.is_empty() || node.line(line).is_ok())
    {
        return Some(rows);
    }
    for voter in voters.iter().filter(|voter| runs_at(edge, line, **voter)) {
        let asked = node.fetch_audit(line, from, PAGE, *voter);
        if let Ok(Ok(rows)) = tokio::time::timeout(ANSWER_MAX, asked).await {
            return Some(rows);
        }
    }
    None
}

fn runs_at(edge: &Edge, line: &LineRef, node: NodeId) -> bool {
    let heard = edge.node().heard().from(node);
    let mut lines = heard.into_iter().flat_map(|(_, status)| status.lines);
    let is_branch = matches!(line.line, LineId::Branch { .. });
    is_branch
        && lines
            .any(|said| consensus::wire::read_line_ref(said.line).is_ok_and(|said| said == *line))
}
