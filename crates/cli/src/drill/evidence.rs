//! What the report takes from the cluster at the end: the sealed evidence, the timetable, the
//! matrix.

use proto::account::v1::{AccountClass, Method};
use proto::operator::v1::session_service_client::SessionServiceClient;
use proto::operator::v1::{Answer, Evidence, ListSessionsRequest, SessionEntry};

use super::play::{Player, Trouble};
use super::report::{Answered, Cell, Change, SessionRow};
use super::stage::{call, request};
use super::words;
use crate::exit::Failure;
use crate::refusal::{self, Asked};

/// What was gathered.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    pub(crate) timetable: Vec<SessionRow>,
    pub(crate) approved_by: Vec<String>,
    pub(crate) forgotten: Vec<Change>,
    pub(crate) must_repeat: Vec<Answered>,
    pub(crate) matrix: Vec<Cell>,
}

impl From<Trouble> for Failure {
    fn from(trouble: Trouble) -> Self {
        match trouble {
            Trouble::Refused(status) => refusal::failure(&status, Asked::Read),
            Trouble::Failed(failure) => failure,
        }
    }
}

impl Player {
    /// Asks for everything that the report needs and the steps did not bring.
    pub(super) async fn gather(&self) -> Result<Seen, Failure> {
        let mut seen = Seen::default();
        let listed = call(self.stage.operator(None)?, |channel| async move {
            SessionServiceClient::new(channel)
                .list_sessions(request(ListSessionsRequest {
                    page_size: 500,
                    page_token: String::new(),
                }))
                .await
        })
        .await
        .map_err(Trouble::from)?;
        let ours = [
            self.drill.first_session.as_str(),
            self.drill.second_session.as_str(),
        ];
        for entry in &listed.sessions {
            let Some(row) = session_row(entry) else {
                continue;
            };
            if ours.contains(&row.session.as_str()) {
                seen.approved_by.extend(entry.approvers.iter().cloned());
                seen.timetable.push(row);
            }
        }
        seen.matrix = self.matrix().await?;
        if self.rolled_over {
            let evidence = self.evidence(self.drill.second_session.as_str()).await?;
            seen.forgotten = evidence.forgotten.iter().map(change).collect();
            seen.must_repeat = answered(&evidence);
        }
        Ok(seen)
    }

    /// The matrix of the drill's sessions.
    pub(super) async fn matrix(&self) -> Result<Vec<Cell>, Trouble> {
        let mut cells: Vec<Cell> = self
            .completions()
            .await?
            .iter()
            .map(|completion| Cell {
                session: completion.session.clone(),
                participant: words::last(&completion.participant).to_owned(),
                class: class(completion.account_class()).to_owned(),
                account: words::last(&completion.account).to_owned(),
                method: method(completion.method()).to_owned(),
                tried: completion.tried_count,
                passed: completion.passed_count,
                completed: completion.completed,
            })
            .collect();
        cells.sort();
        Ok(cells)
    }
}

/// A class in words.
pub(crate) fn class(class: AccountClass) -> &'static str {
    match class {
        AccountClass::User => "user",
        AccountClass::DelegatedAdmin => "DA",
        AccountClass::Unspecified => "-",
    }
}

/// A method in words.
pub(crate) fn method(method: Method) -> &'static str {
    match method {
        Method::Smartcard => "smartcard",
        Method::Otp => "OTP",
        Method::Unspecified => "-",
    }
}

/// A listed session as a row of the report.
pub(crate) fn session_row(entry: &SessionEntry) -> Option<SessionRow> {
    let session = entry.session.as_ref()?;
    Some(SessionRow {
        session: session.session.clone(),
        centre: session.centre.clone(),
        role: words::centre_role(session.centre_role).to_owned(),
        opens: words::local(session.open_time.as_ref()),
        closes: words::local(session.close_time.as_ref()),
        source: session.source.clone(),
        stage: words::stage(session.stage).to_owned(),
    })
}

/// A change as the report shows it.
pub(crate) fn change(change: &proto::operator::v1::Change) -> Change {
    Change {
        kind: change.kind.clone(),
        account: change.account.clone(),
        at: words::local(change.time.as_ref()),
        by: change.actor.clone(),
    }
}

/// The must-repeat list with its answers.
pub(crate) fn answered(evidence: &Evidence) -> Vec<Answered> {
    evidence
        .answered
        .iter()
        .filter_map(|row| {
            let item = row.item.as_ref()?;
            Some(Answered {
                item: item.item.clone(),
                change: item.change.as_ref().map(change).unwrap_or(Change {
                    kind: String::new(),
                    account: String::new(),
                    at: String::new(),
                    by: String::new(),
                }),
                answer: match row.answer() {
                    Answer::Repeat => "repeated",
                    Answer::Waive => "waived",
                    Answer::Unspecified => "unanswered",
                }
                .to_owned(),
                reason: row.reason.clone(),
            })
        })
        .collect()
}
