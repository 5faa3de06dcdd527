//! What operators do in a drill: accounts, timetable, emergency, and the session's plan.

use std::time::Instant;

use domain::account::import::Terms;
use proto::admin::v1::account_service_client::AccountServiceClient;
use proto::admin::v1::import_service_client::ImportServiceClient;
use proto::admin::v1::readiness_service_client::ReadinessServiceClient;
use proto::admin::v1::{
    ApproveImportRequest, ImportAccountsRequest, ListUnreadyAccountsRequest, SuspendAccountRequest,
};
use proto::operator::v1::calendar_service_client::CalendarServiceClient;
use proto::operator::v1::emergency_service_client::EmergencyServiceClient;
use proto::operator::v1::session_service_client::SessionServiceClient;
use proto::operator::v1::{
    Answer, ApprovePlanRequest, CloseSessionRequest, ListSessionsRequest, MustRepeatAnswer,
    OpenSessionRequest, PlanAct, PreviewRolloverRequest, RollOverRequest, SetTimetableRequest,
    SuspendOnMainLineRequest,
};

use super::action::{
    Approve, Close, EmergencySuspend, Import, Open, Rollover, SetTimetable, Unready, Where,
};
use super::people::resource;
use super::play::{Done, Player, Told, Trouble, full_digest, millis};
use super::stage::{at, call, request, seen};
use super::words;
use crate::accounts;
use crate::exit::{Failure, file_failure};
use crate::refusal;

/// Most sessions that are looked at.
const SESSIONS_MAX: i32 = 500;

impl Player {
    pub(super) async fn import(&mut self, act: &Import) -> Done {
        let folder = &self.setting.folder;
        let rows = accounts::read(
            &folder.join(&self.drill.data.accounts),
            Some(&folder.join(&self.drill.data.participants)),
        )?;
        let parts = [(rows.participants.as_slice(), rows.accounts.as_slice())];
        let terms = server::import::terms(rows.participants.len(), parts);
        self.approve_import(&terms).await?;
        let message = ImportAccountsRequest {
            request_id: self.clock.request_id(),
            import_digest: terms.id().to_string(),
            participants: rows.participants,
            accounts: rows.accounts,
            ..ImportAccountsRequest::default()
        };
        let answer = call(self.stage.operator(act.operator.as_ref())?, |channel| {
            let message = message.clone();
            async move {
                ImportServiceClient::new(channel)
                    .import_accounts(request(message))
                    .await
            }
        })
        .await?;
        Ok(Told::new(format!(
            "{} participants, {} accounts",
            answer.participant_count, answer.account_count
        )))
    }

    /// One operator after the other approves the rows, as many as it takes.
    async fn approve_import(&self, terms: &Terms) -> Result<(), Trouble> {
        for number in 1.. {
            let doors = self.stage.operator_number(number)?;
            let seen = seen(doors).await?;
            let approval = self.stage.pen(number)?.sign(&terms.act(), &seen)?;
            let message = ApproveImportRequest {
                request_id: self.clock.request_id(),
                participant_count: terms.participants,
                account_count: terms.accounts,
                part_digests: terms.parts.iter().map(|part| part.0.to_vec()).collect(),
                approval: Some(approval),
            };
            let answer = call(doors, |channel| {
                let message = message.clone();
                async move {
                    ImportServiceClient::new(channel)
                        .approve_import(request(message))
                        .await
                }
            })
            .await?;
            if answer.approval_count >= answer.needed_count {
                break;
            }
        }
        Ok(())
    }

    pub(super) async fn set_timetable(&mut self, act: &SetTimetable) -> Done {
        let path = self.setting.folder.join(&self.drill.data.timetable);
        let mut text =
            std::fs::read_to_string(&path).map_err(|error| file_failure("read", &path, &error))?;
        if let Some((right, wrong)) = &act.replace {
            text = text.replace(right.as_str(), wrong);
        }
        let message = SetTimetableRequest {
            request_id: self.clock.request_id(),
            timetable_toml: text,
            dry_run: false,
            ..SetTimetableRequest::default()
        };
        let answer = call(self.stage.operator(None)?, |channel| {
            let message = message.clone();
            async move {
                CalendarServiceClient::new(channel)
                    .set_timetable(request(message))
                    .await
            }
        })
        .await?;
        Ok(Told::new(format!("{} sessions", answer.sessions.len())))
    }

    pub(super) async fn unready(&mut self, act: &Unready) -> Done {
        let person = self.drill.person(&act.person)?.clone();
        let message = ListUnreadyAccountsRequest {
            parent: format!("participants/{}", person.participant),
            page_size: SESSIONS_MAX,
            page_token: String::new(),
        };
        let answer = call(self.stage.operator(None)?, |channel| {
            let message = message.clone();
            async move {
                ReadinessServiceClient::new(channel)
                    .list_unready_accounts(request(message))
                    .await
            }
        })
        .await?;
        let listed = answer
            .accounts
            .iter()
            .filter_map(|row| row.account.as_ref())
            .any(|account| account.user_id == person.account.as_str());
        if listed {
            Ok(Told::new(format!("{} is listed", person.account)))
        } else {
            Err(Failure::pre_check(format!("{} is not listed", person.account)).into())
        }
    }

    pub(super) async fn emergency_suspend(&mut self, act: &EmergencySuspend) -> Done {
        let person = self.drill.person(&act.person)?.clone();
        let doors = self.stage.operator(act.operator.as_ref())?;
        let (carry, notice) = match act.on {
            Where::Main => {
                let message = SuspendOnMainLineRequest {
                    request_id: self.clock.request_id(),
                    name: resource(&person),
                    reason: act.reason.clone(),
                    ..SuspendOnMainLineRequest::default()
                };
                let answer = call(doors, |channel| {
                    let message = message.clone();
                    async move {
                        EmergencyServiceClient::new(channel)
                            .suspend_on_main_line(request(message))
                            .await
                    }
                })
                .await?;
                (answer.carry_forward, answer.notice)
            }
            Where::Serving => {
                let message = SuspendAccountRequest {
                    request_id: self.clock.request_id(),
                    name: resource(&person),
                    reason: act.reason.clone(),
                    client_address: String::new(),
                    ..SuspendAccountRequest::default()
                };
                let answer = call(&at(doors, &self.centre), |channel| {
                    let message = message.clone();
                    async move {
                        AccountServiceClient::new(channel)
                            .suspend_account(request(message))
                            .await
                    }
                })
                .await?;
                (answer.carry_forward, answer.notice)
            }
        };
        let carry = words::carry(carry);
        self.note("AccountSuspended", person.account.as_str(), carry);
        Ok(Told::new(notice).carried(carry))
    }

    pub(super) async fn approve(&mut self, act: &Approve) -> Done {
        let doors = self.stage.operator_number(act.operator)?;
        let seen = seen(doors).await?;
        let listed = call(doors, |channel| async move {
            SessionServiceClient::new(channel)
                .list_sessions(request(ListSessionsRequest {
                    page_size: SESSIONS_MAX,
                    page_token: String::new(),
                }))
                .await
        })
        .await?;
        let plan = listed
            .sessions
            .into_iter()
            .find(|entry| {
                let session = entry.session.as_ref();
                session.is_some_and(|session| session.session == act.session.as_str())
            })
            .ok_or_else(|| Failure::pre_check(format!("{} is not listed", act.session)))?;
        let digest = plan
            .plan_digest
            .parse()
            .map_err(|_| Failure::mismatch("the plan's digest is none"))?;
        let opening = domain::session::Act::Open(act.session.clone());
        let signed = domain::approval::Act::Session(opening, digest);
        let approval = self.stage.pen(act.operator)?.sign(&signed, &seen)?;
        let message = ApprovePlanRequest {
            request_id: self.clock.request_id(),
            session: act.session.to_string(),
            act: PlanAct::Open.into(),
            plan_digest: plan.plan_digest,
            approval: Some(approval),
            validate_only: false,
        };
        let answer = call(doors, |channel| {
            let message = message.clone();
            async move {
                SessionServiceClient::new(channel)
                    .approve_plan(request(message))
                    .await
            }
        })
        .await?;
        Ok(Told::new(format!(
            "{} of {} approvals",
            answer.approval_count, answer.needed_count
        )))
    }

    pub(super) async fn open(&mut self, act: &Open) -> Done {
        let began = Instant::now();
        let message = OpenSessionRequest {
            request_id: self.clock.request_id(),
            session: act.session.to_string(),
            validate_only: false,
        };
        let answer = call(self.stage.operator(None)?, |channel| {
            let message = message.clone();
            async move {
                SessionServiceClient::new(channel)
                    .open_session(request(message))
                    .await
            }
        })
        .await?;
        self.measured_ms
            .insert("opening".to_owned(), millis(began.elapsed()));
        let boundary = answer
            .boundary
            .ok_or_else(|| Failure::pre_check("the session has no boundary"))?;
        let place = boundary
            .log_id
            .as_ref()
            .map(words::log_id)
            .unwrap_or_default();
        let epoch = boundary.line.as_ref().map_or(0, |line| line.epoch);
        let told = format!(
            "boundary at entry {place}, epoch {epoch}, digest {}",
            full_digest(&boundary)
        );
        self.boundary = Some(boundary);
        self.centre = self.centre_of(&act.session)?;
        Ok(Told::new(told))
    }

    pub(super) async fn close(&mut self, act: &Close) -> Done {
        let began = Instant::now();
        let doors = at(self.stage.operator(None)?, &self.centre_of(&act.session)?);
        let message = CloseSessionRequest {
            request_id: self.clock.request_id(),
            session: act.session.to_string(),
            validate_only: false,
        };
        let answer = call(&doors, |channel| {
            let message = message.clone();
            async move {
                SessionServiceClient::new(channel)
                    .close_session(request(message))
                    .await
            }
        })
        .await;
        let told = match answer {
            Ok(answer) => {
                let place = answer.closed_log_id.as_ref().map(words::log_id);
                format!("closed at entry {}", place.unwrap_or_default())
            }
            // The timetable was faster than the operator.
            Err(status)
                if refusal::reason(&status)
                    .is_some_and(|reason| reason.starts_with("ALREADY_")) =>
            {
                "closed by the timetable".to_owned()
            }
            Err(status) => return Err(status.into()),
        };
        self.measured_ms
            .insert("closing".to_owned(), millis(began.elapsed()));
        Ok(Told::new(told))
    }

    pub(super) async fn roll_over(&mut self, act: &Rollover) -> Done {
        let answers = self.answers(act).await?;
        let began = Instant::now();
        let message = RollOverRequest {
            request_id: self.clock.request_id(),
            session: act.session.to_string(),
            answers,
            ..RollOverRequest::default()
        };
        let answer = call(self.stage.operator(None)?, |channel| {
            let message = message.clone();
            async move {
                SessionServiceClient::new(channel)
                    .roll_over(request(message))
                    .await
            }
        })
        .await?;
        if answer.already_done != act.already_done {
            return Err(Failure::mismatch(if answer.already_done {
                "it had been rolled over before"
            } else {
                "it was rolled over a second time"
            })
            .into());
        }
        if !act.already_done {
            self.measured_ms
                .insert("rollover".to_owned(), millis(began.elapsed()));
        }
        self.rolled_over = true;
        self.centre = self.centre_of(&self.drill.first_session)?;
        Ok(Told::new(format!("business day {}", answer.business_day)))
    }

    /// An answer for each item of the people that the step names.
    async fn answers(&self, act: &Rollover) -> Result<Vec<MustRepeatAnswer>, Trouble> {
        if act.repeat.is_empty() && act.waive.is_empty() {
            return Ok(Vec::new());
        }
        let message = PreviewRolloverRequest {
            session: act.session.to_string(),
            ..PreviewRolloverRequest::default()
        };
        let preview = call(self.stage.operator(None)?, |channel| {
            let message = message.clone();
            async move {
                SessionServiceClient::new(channel)
                    .preview_rollover(request(message))
                    .await
            }
        })
        .await?;
        let account = |person: &String| {
            let person = self.drill.person(person)?;
            Ok::<String, Failure>(person.account.to_string())
        };
        let repeat: Vec<String> = act.repeat.iter().map(account).collect::<Result<_, _>>()?;
        let waive: Vec<String> = act.waive.iter().map(account).collect::<Result<_, _>>()?;
        let mut answers = Vec::new();
        for item in preview.must_repeat {
            let of = item.change.map(|change| change.account).unwrap_or_default();
            let of = words::last(&of).to_owned();
            let (answer, reason) = if repeat.contains(&of) {
                (Answer::Repeat, String::new())
            } else if waive.contains(&of) {
                (Answer::Waive, "told by the drill".to_owned())
            } else {
                continue;
            };
            answers.push(MustRepeatAnswer {
                item: item.item,
                answer: answer.into(),
                reason,
            });
        }
        Ok(answers)
    }
}
