//! What a drill proves: tokens dead in time, digests equal where they must be, lists that are
//! what was done.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use proto::audit::v1::GetCompletionMatrixRequest;
use proto::audit::v1::audit_service_client::AuditServiceClient;
use proto::line::v1::LogId;
use proto::operator::v1::cluster_service_client::ClusterServiceClient;
use proto::operator::v1::session_service_client::SessionServiceClient;
use proto::operator::v1::{
    Evidence, GetDigestsRequest, GetDigestsResponse, GetEvidenceRequest, GetStatusRequest,
    ListSessionsRequest, PlanStage,
};
use proto::token::v1::IntrospectTokenRequest;
use proto::token::v1::token_service_client::TokenServiceClient;
use tonic::Status;

use super::action::{Introspect, OfSession};
use super::people::Held;
use super::play::{Done, Passed, Player, Told, Trouble, full_digest, millis};
use super::report::{Proof, Verdict};
use super::stage::{Door, again, call, request};
use super::words;
use crate::exit::Failure;
use crate::refusal;

/// How soon a token that was ended is dead on every node (S32).
const DEAD_WITHIN: Duration = Duration::from_secs(1);
/// How long a node that is down may take to come back and say so.
const BACK_WITHIN: Duration = Duration::from_secs(10);
/// How often a node is asked meanwhile.
const LOOK: Duration = Duration::from_millis(20);

/// Whether a node refuses to say anything of tokens, since it does not serve.
fn says_nothing(status: &Status) -> bool {
    refusal::reason(status).is_some_and(|reason| {
        matches!(
            reason.as_str(),
            "CENTRE_NOT_SERVING" | "SESSION_CLOSED" | "BRANCH_OPEN"
        )
    })
}

/// One node's word on a token: good, or not.
async fn good(door: &Door, held: &Held, scope: &str) -> Result<bool, Status> {
    let message = IntrospectTokenRequest {
        access_token: held.text.clone(),
        portal: held.portal.into(),
        scope: scope.to_owned(),
        activity: false,
    };
    let answer = TokenServiceClient::new(door.channel.clone())
        .introspect_token(request(message))
        .await?
        .into_inner();
    Ok(answer.introspection.is_some_and(|found| found.active))
}

impl Player {
    pub(super) async fn introspect(&mut self, act: &Introspect) -> Done {
        let held = self.people.token(&act.token)?;
        let doors = self.stage.back().to_vec();
        if act.active {
            let doors = super::stage::at(&doors, &held.centre);
            let message = IntrospectTokenRequest {
                access_token: held.text.clone(),
                portal: held.portal.into(),
                scope: act.scope.clone(),
                activity: false,
            };
            let answer = call(&doors, |channel| {
                let message = message.clone();
                async move {
                    TokenServiceClient::new(channel)
                        .introspect_token(request(message))
                        .await
                }
            })
            .await?;
            return if answer.introspection.is_some_and(|found| found.active) {
                Ok(Told::new("good"))
            } else {
                Err(Failure::pre_check("the token is not good").into())
            };
        }
        let began = Instant::now();
        let (mut inactive, mut refused) = (0_usize, 0_usize);
        for door in &doors {
            loop {
                match good(door, &held, &act.scope).await {
                    Ok(false) => {
                        inactive += 1;
                        break;
                    }
                    Err(status) if says_nothing(&status) => {
                        refused += 1;
                        break;
                    }
                    // A node that is down accepts nothing; one that comes back is asked.
                    Err(status) if again(&status) && began.elapsed() < BACK_WITHIN => {
                        tokio::time::sleep(LOOK).await;
                    }
                    Err(status) if again(&status) => break,
                    Err(status) => return Err(status.into()),
                    Ok(true) if began.elapsed() > DEAD_WITHIN => {
                        return Err(Failure::mismatch(format!(
                            "node {} still accepts the token after a second",
                            door.node
                        ))
                        .into());
                    }
                    Ok(true) => tokio::time::sleep(LOOK).await,
                }
            }
        }
        // Between a session's times all refuse: the token is accepted nowhere.
        if inactive + refused == 0 {
            return Err(Failure::pre_check("no node said that the token is dead").into());
        }
        Ok(Told::new(format!(
            "dead on {inactive} nodes after {} ms; {refused} nodes do not serve",
            millis(began.elapsed())
        )))
    }

    /// Keeps a proof, and says what it says.
    pub(super) fn prove(&mut self, proof: Proof) -> Done {
        let told = match proof.equal.values().next() {
            Some(value) if proof.result == Verdict::Pass => {
                format!("{} values are {value}", proof.equal.len())
            }
            Some(_) | None => proof.what.clone(),
        };
        let holds = proof.result == Verdict::Pass;
        let values: Vec<String> = proof
            .equal
            .iter()
            .map(|(from, value)| format!("{from} {value}"))
            .collect();
        let failed = format!("{} does not hold: {}", proof.what, values.join(", "));
        self.proofs.push(proof);
        if holds {
            Ok(Told::new(told))
        } else {
            Err(Failure::mismatch(failed).into())
        }
    }

    /// The digests of a line at one node.
    pub(super) async fn digests(
        door: &Door,
        line: &str,
        log_id: Option<LogId>,
    ) -> Result<GetDigestsResponse, Status> {
        let message = GetDigestsRequest {
            line: line.to_owned(),
            log_id,
            wait: true,
        };
        call(std::slice::from_ref(door), |channel| {
            let message = message.clone();
            async move {
                ClusterServiceClient::new(channel)
                    .get_digests(request(message))
                    .await
            }
        })
        .await
    }

    /// The line's name holds the digest that the node verified before it started the branch.
    pub(super) async fn branch_is_boundary(&mut self, act: &OfSession) -> Done {
        let boundary = self
            .boundary
            .clone()
            .ok_or_else(|| Failure::pre_check("no boundary was taken"))?;
        let place = boundary
            .log_id
            .as_ref()
            .map(words::log_id)
            .unwrap_or_default();
        let centre = self.centre_of(&act.session)?;
        let mut equal = BTreeMap::from([("boundary".to_owned(), full_digest(&boundary))]);
        for door in self.stage.operator(None)?.to_vec() {
            let main = Self::digests(&door, "main", boundary.log_id).await?;
            let full = main.digests.map(|digests| digests.full).unwrap_or_default();
            equal.insert(format!("node {} main line at {place}", door.node), full);
            if door.centre == centre {
                let genesis = Self::genesis(&door, act.session.as_str()).await?;
                equal.insert(format!("node {} branch at start", door.node), genesis);
            }
        }
        self.confirmed(act.session.as_str()).await?;
        let what = "the branch starts on each node from the main line's state at the boundary";
        self.prove(Proof::of_equality("I1", what, equal))
    }

    /// Waits until the main line knows that the branch stands: a simulated clock could outrun it.
    async fn confirmed(&self, session: &str) -> Result<(), Trouble> {
        let deadline = Instant::now() + BACK_WITHIN;
        loop {
            let listed = call(self.stage.operator(None)?, |channel| async move {
                SessionServiceClient::new(channel)
                    .list_sessions(request(ListSessionsRequest {
                        page_size: 500,
                        page_token: String::new(),
                    }))
                    .await
            })
            .await?;
            let sessions = listed.sessions.iter();
            let mut sessions = sessions.filter_map(|entry| entry.session.as_ref());
            if sessions.any(|found| found.session == session && found.stage() != PlanStage::Opening)
            {
                return Ok(());
            }
            if Instant::now() >= deadline {
                return Err(Failure::pre_check("the branch was not confirmed in time").into());
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// The digest that a node's branch started from; waits for a node that is late.
    async fn genesis(door: &Door, session: &str) -> Result<String, Trouble> {
        let deadline = Instant::now() + Duration::from_secs(10);
        loop {
            let status = call(std::slice::from_ref(door), |channel| async move {
                ClusterServiceClient::new(channel)
                    .get_status(request(GetStatusRequest {}))
                    .await
            })
            .await?;
            let found = status
                .lines
                .iter()
                .filter_map(|line| line.line.as_ref())
                .find_map(|line| words::genesis(line, session));
            match found {
                Some(genesis) => return Ok(genesis.to_owned()),
                None if Instant::now() >= deadline => return Ok("no branch".to_owned()),
                None => tokio::time::sleep(LOOK).await,
            }
        }
    }

    pub(super) async fn nodes_agree(&mut self) -> Done {
        let doors = self.stage.operator(None)?.to_vec();
        let first = doors
            .first()
            .ok_or_else(|| Failure::pre_check("there is no node"))?;
        let last = Self::digests(first, "main", None).await?.log_id;
        let place = last.as_ref().map(words::log_id).unwrap_or_default();
        let (mut account, mut full) = (BTreeMap::new(), BTreeMap::new());
        for door in &doors {
            let found = Self::digests(door, "main", last).await?;
            let found = found.digests.unwrap_or_default();
            let from = format!("node {} at {place}", door.node);
            account.insert(from.clone(), found.account);
            full.insert(from, found.full);
        }
        self.prove(Proof::of_equality(
            "nodes, full",
            "all nodes have the same full digest at one entry of the main line",
            full,
        ))?;
        self.prove(Proof::of_equality(
            "nodes, account",
            "all nodes have the same account digest at one entry of the main line",
            account,
        ))
    }

    /// The sealed evidence of a session.
    pub(super) async fn evidence(&self, session: &str) -> Result<Evidence, Trouble> {
        let mut message = GetEvidenceRequest {
            session: session.to_owned(),
            ..GetEvidenceRequest::default()
        };
        let none = || Failure::pre_check(format!("there is no evidence of {session}"));
        let mut forgotten = Vec::new();
        loop {
            let answer = call(self.stage.operator(None)?, |channel| {
                let message = message.clone();
                async move {
                    SessionServiceClient::new(channel)
                        .get_evidence(request(message))
                        .await
                }
            })
            .await?;
            let mut evidence = answer.evidence.ok_or_else(none)?;
            forgotten.append(&mut evidence.forgotten);
            message.page_token = std::mem::take(&mut evidence.next_page_token);
            if message.page_token.is_empty() {
                evidence.forgotten = forgotten;
                return Ok(evidence);
            }
        }
    }

    pub(super) async fn forgotten_is_done(&mut self, act: &OfSession) -> Done {
        let evidence = self.evidence(act.session.as_str()).await?;
        let mut listed: Vec<String> = evidence
            .forgotten
            .iter()
            .map(|change| {
                format!(
                    "{} {}",
                    words::plain(&change.kind),
                    words::last(&change.account)
                )
            })
            .collect();
        let mut done: Vec<String> = self
            .branch_changes
            .iter()
            .map(|(kind, account)| format!("{} {account}", words::plain(kind)))
            .collect();
        listed.sort();
        done.sort();
        let equal = BTreeMap::from([
            ("people's own record".to_owned(), done.join(", ")),
            ("evidence".to_owned(), listed.join(", ")),
        ]);
        let what = "what is forgotten is not empty, and is what was done in session 2";
        self.prove(Proof::of_equality("I5", what, equal))
    }

    pub(super) async fn matrix_agrees(&mut self) -> Done {
        let cells = self.matrix().await?;
        let (mut missing, mut surplus) = (Vec::new(), Vec::new());
        let mut expected: BTreeMap<&Passed, u32> = BTreeMap::new();
        for passed in &self.passed {
            *expected.entry(passed).or_default() += 1;
        }
        let count = expected.len();
        for (passed, times) in expected {
            let found = cells.iter().find(|cell| {
                cell.session == passed.session
                    && cell.account == passed.account
                    && cell.method == passed.method
            });
            let server = found.map_or(0, |cell| cell.passed);
            let line = format!(
                "{} by {} in {}: {times} passed by the people's record, {server} by the server's",
                passed.account, passed.method, passed.session,
            );
            if server < times || found.is_none_or(|cell| !cell.completed) {
                missing.push(line);
            } else if server > times {
                // A login whose answer was lost: the person saw no token, and started again.
                surplus.push(line);
            }
        }
        self.anomalies.extend(surplus);
        let what = "the server's own records show each login of the test, as completed";
        let holds = missing.is_empty() && count > 0;
        self.proofs.push(Proof::of_finding("R51", what, holds));
        if holds {
            Ok(Told::new(format!("{count} cells")))
        } else {
            Err(Failure::mismatch(missing.join("; ")).into())
        }
    }

    /// The matrix of all sessions, by the records of a node.
    pub(super) async fn completions(&self) -> Result<Vec<proto::audit::v1::Completion>, Trouble> {
        let doors = self.stage.operator(None)?.to_vec();
        let answer = call(&doors, |channel| async move {
            AuditServiceClient::new(channel)
                .get_completion_matrix(request(GetCompletionMatrixRequest {
                    sessions: Vec::new(),
                }))
                .await
        })
        .await?;
        Ok(answer.completions)
    }

    /// No node holds the branch any more. Cleaning up is done behind the rollover, so it is
    /// waited for.
    async fn branch_is_gone(&mut self, session: &str) -> Result<(), Trouble> {
        let began = Instant::now();
        let mut held = Vec::new();
        for door in self.stage.operator(None)?.to_vec() {
            loop {
                let status = call(std::slice::from_ref(&door), |channel| async move {
                    ClusterServiceClient::new(channel)
                        .get_status(request(GetStatusRequest {}))
                        .await
                })
                .await?;
                let mut lines = status.lines.iter().filter_map(|line| line.line.as_ref());
                if !lines.any(|line| words::genesis(line, session).is_some()) {
                    break;
                }
                if began.elapsed() > BACK_WITHIN {
                    held.push(door.node.to_string());
                    break;
                }
                tokio::time::sleep(LOOK).await;
            }
        }
        let what = "no node holds the branch after the rollover";
        self.proofs
            .push(Proof::of_finding("branch gone", what, held.is_empty()));
        if held.is_empty() {
            Ok(())
        } else {
            Err(Failure::mismatch(format!("nodes {} hold the branch", held.join(", "))).into())
        }
    }

    pub(super) async fn branch_secrets_dead(&mut self, act: &OfSession) -> Done {
        self.branch_is_gone(act.session.as_str()).await?;
        let tried = super::dead::try_all(self).await?;
        let what = format!(
            "no rpc accepts a token of the branch; {} tries",
            tried.count
        );
        let holds = tried.accepted.is_empty() && tried.count > 0;
        self.proofs.push(Proof::of_finding("I6", &what, holds));
        if holds {
            Ok(Told::new(what))
        } else {
            Err(Failure::mismatch(format!("accepted: {}", tried.accepted.join(", "))).into())
        }
    }
}
