//! What a drill proves: tokens dead in time, digests equal where they must be, lists that are
//! what was done.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};

use proto::audit::v1::GetCompletionMatrixRequest;
use proto::audit::v1::audit_service_client::AuditServiceClient;
use proto::line::v1::LogId;
use proto::operator::v1::cluster_service_client::ClusterServiceClient;
use proto::operator::v1::session_service_client::SessionServiceClient;
use proto::operator::v1::{
    Evidence, ExportLogRequest, GetDigestsRequest, GetDigestsResponse, GetEvidenceRequest,
    GetStatusRequest,
};
use proto::token::v1::IntrospectTokenRequest;
use proto::token::v1::token_service_client::TokenServiceClient;
use tokio::io::AsyncWriteExt as _;
use tonic::Status;

use super::action::{Introspect, OfSession};
use super::people::Held;
use super::play::{Done, Passed, Player, Told, Trouble, full_digest, millis};
use super::report::{Proof, Verdict};
use super::stage::{Door, call, request};
use super::words;
use crate::exit::{Failure, file_failure};

/// How soon a token that was ended is dead on every node (S32).
const DEAD_WITHIN: Duration = Duration::from_secs(1);
/// How often a node is asked meanwhile.
const LOOK: Duration = Duration::from_millis(20);

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
        for door in &doors {
            // A node that refuses to say does not accept the token either.
            while let Ok(true) = good(door, &held, &act.scope).await {
                if began.elapsed() > DEAD_WITHIN {
                    return Err(Failure::mismatch(format!(
                        "node {} still accepts the token after a second",
                        door.node
                    ))
                    .into());
                }
                tokio::time::sleep(LOOK).await;
            }
        }
        Ok(Told::new(format!(
            "dead on {} nodes after {} ms",
            doors.len(),
            millis(began.elapsed())
        )))
    }

    /// Keeps a proof, and says what it says.
    fn prove(&mut self, proof: Proof) -> Done {
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
    async fn digests(
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
        let what = "the branch starts on each node from the main line's state at the boundary";
        self.prove(Proof::of_equality("I1", what, equal))
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

    pub(super) async fn replay_agrees(&mut self) -> Done {
        let folder = tempfile::tempdir()
            .map_err(|error| Failure::internal(format!("no temporary folder: {error}")))?;
        let doors = self.stage.operator(None)?.to_vec();
        let mut equal = BTreeMap::new();
        let mut seen = Vec::new();
        for door in &doors {
            if seen.contains(&door.centre) {
                continue;
            }
            seen.push(door.centre.clone());
            let file = folder.path().join(format!("{}.log", door.centre));
            export(door, &file).await?;
            let replayed = self.replay(&file).await?;
            let name = format!("replay of {}'s log by a process of its own", door.centre);
            let last = LogId {
                term: replayed.term,
                node: replayed.node,
                index: replayed.index,
            };
            let place = words::log_id(&last);
            equal.insert(format!("{name}, to {place}"), replayed.account);
            for other in &doors {
                let found = Self::digests(other, "main", Some(last)).await?;
                let account = found.digests.map(|digests| digests.account);
                let from = format!("node {} at {place}", other.node);
                equal.insert(from, account.unwrap_or_default());
            }
        }
        let what = "the exported log alone gives the account digest that every node has";
        self.prove(Proof::of_equality("I4", what, equal))
    }

    /// Replays an exported log in a process of its own, which is given nothing else.
    async fn replay(&self, file: &PathBuf) -> Result<Replayed, Failure> {
        let run = tokio::process::Command::new(&self.setting.replayer)
            .args(["--output", "json", "log", "replay"])
            .arg(file)
            .env_clear()
            .stdin(Stdio::null())
            .output()
            .await
            .map_err(|error| file_failure("run", &self.setting.replayer, &error))?;
        if !run.status.success() {
            return Err(Failure::mismatch(format!(
                "the replay failed: {}",
                String::from_utf8_lossy(&run.stderr).trim()
            )));
        }
        serde_json::from_slice(&run.stdout)
            .map_err(|error| Failure::internal(format!("the replay's answer: {error}")))
    }

    /// The sealed evidence of a session.
    pub(super) async fn evidence(&self, session: &str) -> Result<Evidence, Trouble> {
        let message = GetEvidenceRequest {
            session: session.to_owned(),
        };
        let answer = call(self.stage.operator(None)?, |channel| {
            let message = message.clone();
            async move {
                SessionServiceClient::new(channel)
                    .get_evidence(request(message))
                    .await
            }
        })
        .await?;
        let none = || Failure::pre_check(format!("there is no evidence of {session}"));
        Ok(answer.evidence.ok_or_else(none)?)
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
        let mut missing = Vec::new();
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
            if found.is_none_or(|cell| cell.passed != times || !cell.completed) {
                missing.push(format!(
                    "{} by {} in {}: {times} passed by the people's record, {} by the server's",
                    passed.account,
                    passed.method,
                    passed.session,
                    found.map_or(0, |cell| cell.passed)
                ));
            }
        }
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

    pub(super) async fn branch_secrets_dead(&mut self) -> Done {
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

/// What the replaying process answers.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Replayed {
    /// The term of the last entry applied.
    pub term: u64,
    /// The node that wrote it.
    pub node: u64,
    /// Its index.
    pub index: u64,
    /// How many entries there were.
    pub entries: u64,
    /// Where the replay began: `first entry`, or an entry of a snapshot.
    pub from: String,
    /// The account digest of the state.
    pub account: String,
    /// Its full digest.
    pub full: String,
}

/// Writes a node's log of the main line to a file.
async fn export(door: &Door, file: &PathBuf) -> Result<(), Trouble> {
    let mut chunks = call(std::slice::from_ref(door), |channel| async move {
        ClusterServiceClient::new(channel)
            .export_log(request(ExportLogRequest {
                line: "main".to_owned(),
            }))
            .await
    })
    .await?;
    let failed = |error: std::io::Error| file_failure("write", file, &error);
    let mut to = tokio::fs::File::create(file).await.map_err(failed)?;
    while let Some(part) = chunks.message().await? {
        to.write_all(&part.chunk).await.map_err(failed)?;
    }
    to.flush().await.map_err(failed)?;
    Ok(())
}
