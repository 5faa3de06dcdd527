//! `participant list` and `participant enrol` (R5, R6).

use proto::admin::v1::{
    EnrolParticipantRequest, ListParticipantsRequest, Participant as Firm, ParticipantState,
    WithdrawEnrolmentRequest,
};
use serde::Serialize;

use super::method::switch;
use crate::args::participant::{Enrol, List, Participant, State};
use crate::client::{Operator, told};
use crate::exit::Failure;
use crate::output::{Output, Table};

/// Lists or enrols participants.
///
/// # Errors
/// What went wrong, with its exit code.
pub async fn run(flags: &Participant, output: Output) -> Result<(), Failure> {
    match flags {
        Participant::List(flags) => list(flags, output).await,
        Participant::Enrol(flags) => enrol(flags, output).await,
        Participant::Firm(flags) => firm::run(flags, output).await,
    }
}

mod firm;
mod shut;

#[derive(Serialize)]
struct Row {
    participant: String,
    title: String,
    state: &'static str,
    enrolled: Vec<String>,
    methods: Vec<String>,
}

impl From<Firm> for Row {
    fn from(firm: Firm) -> Self {
        Self {
            state: state(firm.state()),
            participant: firm.name,
            title: firm.title,
            enrolled: firm.enrolled_sessions,
            methods: firm.method_switches.iter().map(switch).collect(),
        }
    }
}

/// Whether a participant's people may log in, in a word.
pub(crate) fn state(of: ParticipantState) -> &'static str {
    match of {
        ParticipantState::Active => "active",
        ParticipantState::Suspended => "suspended",
        ParticipantState::Deleted => "deleted",
        ParticipantState::Unspecified => "-",
    }
}

fn table(rows: &[Row]) -> String {
    let or_none = |texts: &[String]| match texts.join(", ") {
        text if text.is_empty() => "-".to_owned(),
        text => text,
    };
    let mut table = Table::new(&[
        "PARTICIPANT",
        "NAME",
        "STATE",
        "ENROLLED FOR",
        "METHODS SWITCHED",
    ]);
    for row in rows {
        table.row([
            row.participant.clone(),
            row.title.clone(),
            row.state.to_owned(),
            or_none(&row.enrolled),
            or_none(&row.methods),
        ]);
    }
    table.text()
}

async fn list(flags: &List, output: Output) -> Result<(), Failure> {
    let node = Operator::connect(&flags.connection).await?;
    let mut rows: Vec<Row> = Vec::new();
    let wanted = flags.state.map(|state| match state {
        State::Active => ParticipantState::Active,
        State::Suspended => ParticipantState::Suspended,
        State::Deleted => ParticipantState::Deleted,
    });
    let mut page_token = String::new();
    loop {
        let message = ListParticipantsRequest {
            page_size: 500,
            page_token,
            state: wanted.unwrap_or_default().into(),
        };
        let request = node.request(message, None);
        let answer = told(node.participant().list_participants(request).await)?;
        rows.extend(answer.participants.into_iter().map(Row::from));
        if answer.next_page_token.is_empty() {
            break;
        }
        page_token = answer.next_page_token;
    }
    output.data(&serde_json::json!({ "participants": rows }), || {
        table(&rows)
    })
}

async fn enrol(flags: &Enrol, output: Output) -> Result<(), Failure> {
    let name = format!("participants/{}", flags.participant);
    let session = flags.session.clone();
    let act = if flags.withdraw { "withdraw" } else { "enrol" };
    let node = Operator::connect(&flags.connection).await?;
    let id = node.request_id(&flags.change);
    let request_id = id.to_string();
    let (firm, last_day) = if flags.withdraw {
        let message = WithdrawEnrolmentRequest {
            request_id,
            name,
            session,
            validate_only: flags.change.dry_run,
        };
        let ask = |request| {
            let mut client = node.participant();
            async move { client.withdraw_enrolment(request).await }
        };
        let answer = node.change(id, &flags.change, message, ask).await?;
        (answer.participant, String::new())
    } else {
        let message = EnrolParticipantRequest {
            request_id,
            name,
            session,
            validate_only: flags.change.dry_run,
        };
        let ask = |request| {
            let mut client = node.participant();
            async move { client.enrol_participant(request).await }
        };
        let answer = node.change(id, &flags.change, message, ask).await?;
        (answer.participant, answer.last_day)
    };
    if flags.change.dry_run {
        output.talk("dry run: nothing was changed");
        let document = serde_json::json!({
            "dry_run": true, "participant": flags.participant, "session": flags.session, "act": act,
        });
        return output.data(&document, || {
            format!("would {act} {} for {}", flags.participant, flags.session)
        });
    }
    let rows: Vec<Row> = firm.into_iter().map(Row::from).collect();
    let document = serde_json::json!({ "participants": rows, "last_day": last_day });
    output.data(&document, || table(&rows))
}
