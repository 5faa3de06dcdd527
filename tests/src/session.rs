//! The plan of a session, as operators drive it, and the digests and records that they compare.

use std::collections::BTreeMap;
use std::path::PathBuf;

use domain::approval::Act;
use proto::audit::v1::audit_service_client::AuditServiceClient;
use proto::audit::v1::{
    AuditEvent, Completion, GetCompletionMatrixRequest, ListAuditEventsRequest,
};
use proto::line::v1::{Boundary, Digests, LogId};
use proto::operator::v1::cluster_service_client::ClusterServiceClient;
use proto::operator::v1::session_service_client::SessionServiceClient;
use proto::operator::v1::{
    Answer, ApprovePlanRequest, CloseSessionRequest, CloseSessionResponse, Evidence,
    ExportLogRequest, GetDigestsRequest, GetEvidenceRequest, ListSessionsRequest, MustRepeatAnswer,
    OpenSessionRequest, PlanAct, PlanStage, PreviewRolloverRequest, PreviewRolloverResponse,
    RollOverRequest, RollOverResponse, SessionEntry,
};
use tidemark::drill::{Door, call, request};
use tidemark::refusal;
use tonic::Status;

use crate::cluster::{Cluster, EAST, S2, WEST, settled, until};

impl Cluster {
    /// Every session of the calendar around today.
    pub async fn sessions(&self) -> Vec<SessionEntry> {
        let answer = call(self.operators(1), |channel| async move {
            SessionServiceClient::new(channel)
                .list_sessions(request(ListSessionsRequest {
                    page_size: 500,
                    page_token: String::new(),
                }))
                .await
        })
        .await;
        answer.unwrap().sessions
    }

    /// Operator 1 or 2 approves that session 2 opens.
    ///
    /// # Errors
    /// The refusal.
    pub async fn approve(&self, operator: usize) -> Result<u32, Status> {
        self.approve_act(operator, PlanAct::Open).await
    }

    /// Operator 1 or 2 approves that session 2 opens, or that it is given up.
    ///
    /// # Errors
    /// The refusal.
    pub async fn approve_act(&self, operator: usize, of: PlanAct) -> Result<u32, Status> {
        let listed = self.sessions().await;
        let plan = listed
            .into_iter()
            .find(|entry| entry.session.as_ref().unwrap().session == S2)
            .unwrap();
        let session = S2.parse().unwrap();
        let named = match of {
            PlanAct::Abandon => domain::session::Act::Abandon(session),
            PlanAct::Open | PlanAct::Unspecified => domain::session::Act::Open(session),
        };
        let act = Act::Session(named, plan.plan_digest.parse().unwrap());
        let message = ApprovePlanRequest {
            approval: Some(self.signed(operator, &act).await),
            request_id: self.id(),
            session: S2.to_owned(),
            act: of.into(),
            plan_digest: plan.plan_digest,
            validate_only: false,
        };
        let answer = call(self.operators(operator), |channel| {
            let message = message.clone();
            async move {
                SessionServiceClient::new(channel)
                    .approve_plan(request(message))
                    .await
            }
        })
        .await?;
        Ok(answer.approval_count)
    }

    /// Both operators approve that session 2 opens.
    ///
    /// # Panics
    /// If one is refused.
    pub async fn approved(&self) {
        self.approve(1).await.unwrap();
        self.approve(2).await.unwrap();
    }

    /// An operator opens session 2.
    ///
    /// # Errors
    /// The refusal.
    pub async fn open(&self) -> Result<Boundary, Status> {
        let message = OpenSessionRequest {
            request_id: self.id(),
            session: S2.to_owned(),
            validate_only: false,
        };
        let answer = call(self.operators(1), |channel| {
            let message = message.clone();
            async move {
                SessionServiceClient::new(channel)
                    .open_session(request(message))
                    .await
            }
        })
        .await?;
        Ok(answer.boundary.unwrap())
    }

    /// Opens session 2, again while session 1 is still closing, and sends people there.
    ///
    /// # Panics
    /// If it is refused.
    pub async fn opened(&self) -> Boundary {
        let boundary = settled(|| self.open()).await.unwrap();
        // The clock must not outrun the main line's word that the branch stands.
        until("the branch is confirmed", async || {
            let listed = self.sessions().await;
            let mut sessions = listed.iter().filter_map(|entry| entry.session.as_ref());
            let open = sessions.any(|one| one.session == S2 && one.stage() == PlanStage::Open);
            open.then_some(())
        })
        .await;
        self.send_to(WEST);
        boundary
    }

    /// From the import to the open branch at 22:00: session 1 is over, and the secondary serves.
    pub async fn session_2(&self) -> Boundary {
        self.shut_at("2023-06-10 20:01").await;
        self.approved().await;
        let boundary = self.opened().await;
        self.serves_at("2023-06-10 22:00").await;
        boundary
    }

    /// An operator closes session 2.
    ///
    /// # Errors
    /// The refusal.
    pub async fn close(&self) -> Result<CloseSessionResponse, Status> {
        let message = CloseSessionRequest {
            request_id: self.id(),
            session: S2.to_owned(),
            validate_only: false,
        };
        call(&self.operators_at(WEST), |channel| {
            let message = message.clone();
            async move {
                SessionServiceClient::new(channel)
                    .close_session(request(message))
                    .await
            }
        })
        .await
    }

    /// Closes session 2, unless the timetable was faster.
    ///
    /// # Panics
    /// If it is refused for another reason.
    pub async fn closed(&self) {
        match self.close().await {
            Ok(_) => {}
            Err(status) => {
                let reason = refusal::reason(&status).unwrap_or_default();
                assert!(reason.starts_with("ALREADY_"), "{status:?}");
            }
        }
    }

    /// What a rollover of session 2 would do.
    ///
    /// # Errors
    /// The refusal.
    pub async fn preview(&self) -> Result<PreviewRolloverResponse, Status> {
        let message = PreviewRolloverRequest {
            session: S2.to_owned(),
            ..PreviewRolloverRequest::default()
        };
        call(self.operators(1), |channel| {
            let message = message.clone();
            async move {
                SessionServiceClient::new(channel)
                    .preview_rollover(request(message))
                    .await
            }
        })
        .await
    }

    /// An operator rolls session 2 over.
    ///
    /// # Errors
    /// The refusal.
    pub async fn roll_over(
        &self,
        answers: Vec<MustRepeatAnswer>,
    ) -> Result<RollOverResponse, Status> {
        let message = RollOverRequest {
            request_id: self.id(),
            session: S2.to_owned(),
            answers,
            accept_gap: String::new(),
            validate_only: false,
        };
        call(self.operators(1), |channel| {
            let message = message.clone();
            async move {
                SessionServiceClient::new(channel)
                    .roll_over(request(message))
                    .await
            }
        })
        .await
    }

    /// Rolls session 2 over with one answer to all that must be repeated, and sends people back.
    ///
    /// # Panics
    /// If it is refused.
    pub async fn rolled_over(&self, answer: Answer) -> RollOverResponse {
        let preview = settled(|| self.preview()).await.unwrap();
        let answers: Vec<MustRepeatAnswer> = preview
            .must_repeat
            .into_iter()
            .map(|item| MustRepeatAnswer {
                item: item.item,
                answer: answer.into(),
                reason: "told by the test".to_owned(),
            })
            .collect();
        let done = settled(|| self.roll_over(answers.clone())).await.unwrap();
        self.send_to(EAST);
        done
    }

    /// The evidence of session 2, once its nodes have closed.
    pub async fn evidence(&self) -> Evidence {
        let answer = settled(|| {
            call(self.operators(1), |channel| async move {
                SessionServiceClient::new(channel)
                    .get_evidence(request(GetEvidenceRequest {
                        session: S2.to_owned(),
                        ..GetEvidenceRequest::default()
                    }))
                    .await
            })
        })
        .await;
        answer.unwrap().evidence.unwrap()
    }

    /// The main line's digests at one node: at an entry, or at its last one.
    pub async fn digests(&self, door: &Door, log_id: Option<LogId>) -> (LogId, Digests) {
        let message = GetDigestsRequest {
            line: "main".to_owned(),
            log_id,
            wait: true,
        };
        let answer = call(std::slice::from_ref(door), |channel| {
            let message = message.clone();
            async move {
                ClusterServiceClient::new(channel)
                    .get_digests(request(message))
                    .await
            }
        })
        .await
        .unwrap();
        (answer.log_id.unwrap(), answer.digests.unwrap())
    }

    /// The main line's digests, which every node has at one entry.
    ///
    /// # Panics
    /// If two nodes differ.
    pub async fn agreed_digests(&self) -> Digests {
        let running: Vec<u64> = self.running().collect();
        let doors = self.operators(1).iter();
        let doors: Vec<&Door> = doors.filter(|door| running.contains(&door.node)).collect();
        let (last, agreed) = self.digests(doors[0], None).await;
        for door in doors {
            let (_, found) = self.digests(door, Some(last)).await;
            assert_eq!(found, agreed, "node {} at {last:?}", door.node);
        }
        agreed
    }

    /// A node's log of the main line, written to a file by itself (I4).
    pub async fn export(&self, node: u64) -> PathBuf {
        let doors = self.operators(1).iter();
        let doors: Vec<Door> = doors.filter(|door| door.node == node).cloned().collect();
        let mut chunks = call(&doors, |channel| async move {
            ClusterServiceClient::new(channel)
                .export_log(request(ExportLogRequest {
                    line: "main".to_owned(),
                }))
                .await
        })
        .await
        .unwrap();
        let mut bytes = Vec::new();
        while let Some(part) = chunks.message().await.unwrap() {
            bytes.extend(part.chunk);
        }
        let path = self.folder().join(format!("export-{node}.log"));
        std::fs::write(&path, bytes).unwrap();
        path
    }

    /// The matrix of all sessions, by the records of the nodes.
    pub async fn matrix(&self) -> Vec<Completion> {
        let answer = call(self.operators(1), |channel| async move {
            AuditServiceClient::new(channel)
                .get_completion_matrix(request(GetCompletionMatrixRequest {
                    sessions: Vec::new(),
                }))
                .await
        })
        .await;
        answer.unwrap().completions
    }

    /// The audit trail of a line: `main`, or a branch's name.
    pub async fn audit(&self, doors: &[Door], line: &str) -> Vec<AuditEvent> {
        let mut events = Vec::new();
        let mut page_token = String::new();
        loop {
            let message = ListAuditEventsRequest {
                line: line.to_owned(),
                page_size: 500,
                page_token,
                ..ListAuditEventsRequest::default()
            };
            let answer = call(doors, |channel| {
                let message = message.clone();
                async move {
                    AuditServiceClient::new(channel)
                        .list_audit_events(request(message))
                        .await
                }
            })
            .await
            .unwrap();
            events.extend(answer.events);
            if answer.next_page_token.is_empty() {
                return events;
            }
            page_token = answer.next_page_token;
        }
    }

    /// How often each kind of event stands in the main line's audit trail.
    pub async fn audited_kinds(&self) -> BTreeMap<String, usize> {
        let mut kinds = BTreeMap::new();
        for event in self.audit(self.operators(1), "main").await {
            *kinds.entry(event.kind).or_default() += 1;
        }
        kinds
    }
}
