//! The rollover: what it would forget, the answers that it wants, and its one entry.

use std::collections::BTreeMap;
use std::time::Duration;

use consensus::Line;
use consensus::follow::Wanted;
use domain::account;
use domain::audit::Repeat;
use domain::factor::Method;
use domain::id::{NodeId, SessionId};
use domain::participant;
use domain::request::Key;
use domain::session::{Command, MustRepeat, Phase, Plan, Reply, Sealing, Whose};
use domain::{Rejection, State};
use proto::operator::v1 as operator;
use tokio::time::Instant;

use super::evidence::{Page, count, evidence_of, forgotten, item, not_gathered, repeat_reason};
use super::{read_session, shown};
use crate::edge::Edge;
use crate::reads::Read;
use crate::request::Ask;
use crate::status::{Field, Refusal};

/// Longest wait for the branch's records to be durable in both centres.
const WAIT_MAX: Duration = Duration::from_secs(20);
/// What is kept of a call's time for its entry and its answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(3);

pub(super) async fn preview(
    edge: &Edge,
    ask: Ask<operator::PreviewRolloverRequest>,
) -> Result<operator::PreviewRolloverResponse, Refusal> {
    let session = read_session(&ask.body.session)?;
    let page = Page::read(ask.body.page_size, &ask.body.page_token)?;
    let (_, state) = edge.fresh(&ask).await?;
    check_closed(&state, &session)?;
    let gathered = edge
        .node()
        .gather_by(&session, Wanted::Evidence, patience(&ask))
        .await;
    let evidence = gathered.map_err(|error| not_gathered(&error))?.evidence;
    let day = state.plan(&session).map(|plan| plan.session.day);
    let next = day.and_then(|day| state.calendar().next_business_day(day));
    let found = forgotten(edge, &evidence, &page).await?;
    let read = Read::of(session.to_string(), found.changes.len());
    edge.note_read(&ask, &state, read)?;
    Ok(operator::PreviewRolloverResponse {
        forgotten: found.changes,
        next_page_token: found.next_page_token,
        forgotten_count: count(&evidence),
        must_repeat: evidence.must_repeat.iter().map(item).collect(),
        next_business_day: next.map(|day| day.to_string()).unwrap_or_default(),
        session: shown(edge, &session),
    })
}

/// Whether the main line has sealed what the session's branch left behind.
fn is_sealed(plan: &Plan) -> bool {
    let sealed = plan.sealed.as_ref();
    sealed.is_some_and(|sealed| sealed.evidence.is_some())
}

/// Whether the session's branch has closed and waits for its rollover, or was given up and its
/// evidence may still be attached.
fn check_closed<'a>(state: &'a State, session: &SessionId) -> Result<&'a Plan, Refusal> {
    let rejected = |rejection| Refusal::Rejected {
        rejection,
        clock: state.header().clock,
    };
    let plan = state
        .plan(session)
        .ok_or_else(|| rejected(Rejection::NoSuchSession))?;
    match plan.phase {
        Phase::Closed => Ok(plan),
        Phase::Abandoned if !is_sealed(plan) => Ok(plan),
        Phase::Opening | Phase::Open | Phase::RolledOver | Phase::Abandoned => {
            Err(rejected(Rejection::WrongPhase { phase: plan.phase }))
        }
    }
}

fn read_answers(
    answers: &[operator::MustRepeatAnswer],
    otherwise: Option<&str>,
) -> Result<BTreeMap<u64, Reply>, Refusal> {
    let mut replies = BTreeMap::new();
    for answer in answers {
        let item: u64 = answer
            .item
            .parse()
            .map_err(|_| Refusal::malformed(Field::Other("item"), "one that the preview names"))?;
        let reply = match operator::Answer::try_from(answer.answer) {
            Ok(operator::Answer::Repeat) => Reply::Repeated,
            Ok(operator::Answer::Waive) => {
                let reason = match answer.reason.as_str() {
                    "" => otherwise.unwrap_or_default(),
                    said => said,
                };
                if reason.is_empty() {
                    return Err(Refusal::malformed(
                        Field::Required("reason"),
                        "why it is waived",
                    ));
                }
                Reply::Waived {
                    reason: reason.to_owned(),
                }
            }
            Ok(operator::Answer::Unspecified) | Err(_) => {
                return Err(Refusal::malformed(
                    Field::Required("answer"),
                    "ANSWER_REPEAT or ANSWER_WAIVE",
                ));
            }
        };
        replies.insert(item, reply);
    }
    Ok(replies)
}

/// Whether the line would take the command once its items are repeated. Asked before anything is
/// repeated: a refused command changes nothing.
fn may_repeat<B>(
    edge: &Edge,
    ask: &Ask<B>,
    line: &Line,
    key: Key,
    command: domain::Command,
) -> Result<(), Refusal> {
    match edge.judge(ask, line, Some(key), command) {
        Ok(_)
        | Err(Refusal::Rejected {
            rejection: Rejection::NotRepeated { .. },
            ..
        }) => Ok(()),
        Err(refusal) => Err(refusal),
    }
}

/// What does on the main line what the item did on the branch.
fn again(item: &MustRepeat, reason: String) -> domain::Command {
    let account = match &item.of {
        Whose::Account(account) => account.clone(),
        Whose::Participant(participant) => {
            let participant = participant.clone();
            return domain::Command::Participant(participant::Command::Suspend {
                participant,
                reason,
            });
        }
    };
    domain::Command::Account(match (item.kind, item.method) {
        // A card's password cannot be taken away alone.
        (Repeat::Suspension | Repeat::ParticipantSuspension, _)
        | (Repeat::PasswordCompromised, Some(Method::Smartcard)) => account::Command::Suspend {
            account,
            token: None,
            reason,
        },
        (Repeat::MethodDisabled, method) => account::Command::DisableMethod {
            account,
            token: None,
            method: method.unwrap_or(Method::Otp),
            from: None,
            reason,
        },
        (Repeat::CardRevocation, _) => account::Command::RevokeCard {
            account,
            token: None,
            reason,
        },
        (Repeat::OtpRevocation | Repeat::PasswordCompromised | Repeat::ChannelCompromised, _) => {
            account::Command::RevokeOtp { account, reason }
        }
    })
}

/// Does on the main line what the branch did and the rollover forgets; what is so already stays.
async fn repeat<B>(
    edge: &Edge,
    ask: &Ask<B>,
    items: &[MustRepeat],
    replies: &BTreeMap<u64, Reply>,
) -> Result<(), Refusal> {
    let main = edge.node().main();
    for item in items {
        match replies.get(&item.sequence) {
            Some(Reply::Repeated) => {}
            Some(Reply::Waived { .. }) | None => continue,
        }
        let reason = format!("repeated after the branch: {}", repeat_reason(item.kind));
        let command = again(item, reason);
        match edge.propose(ask, &main, None, command).await {
            Ok(_)
            | Err(Refusal::Rejected {
                rejection:
                    Rejection::AlreadySo | Rejection::NoSuchAccount | Rejection::OtherParticipant,
                ..
            }) => {}
            Err(refusal) => return Err(refusal),
        }
    }
    Ok(())
}

/// Until when a call waits for what is still on its way between the centres: some time before its
/// own deadline, so that the caller gets an answer and not an unknown outcome.
fn patience<B>(ask: &Ask<B>) -> Instant {
    let now = Instant::now();
    let longest = now + WAIT_MAX;
    let own = ask.deadline.map(|own| own.checked_sub(ANSWER_WITHIN));
    own.map_or(longest, |own| longest.min(own.unwrap_or(now)))
        .max(now)
}

/// What is missing of the branch's audit records, and what to do.
fn missing_at(edge: &Edge, durable_at: &[NodeId]) -> String {
    let state = edge.node().main().state();
    let Some(primary) = state.primary() else {
        return "the cluster is not founded".to_owned();
    };
    let missing: Vec<String> = primary
        .nodes
        .iter()
        .filter(|node| !durable_at.contains(&node.id))
        .map(|node| node.id.to_string())
        .collect();
    format!(
        "the branch's audit records are durable at {} of the {} nodes of {}, and a majority is \
         needed; missing at node {}: see that they run and reach the other centre, then try again, \
         or accept the gap by name with a reason",
        durable_at.len(),
        primary.nodes.len(),
        primary.name,
        missing.join(", ")
    )
}

pub(super) async fn roll_over(
    edge: &Edge,
    ask: Ask<operator::RollOverRequest>,
) -> Result<operator::RollOverResponse, Refusal> {
    let body = &ask.body;
    let key = ask.key(&body.request_id, edge.keyring())?;
    let session = read_session(&body.session)?;
    let replies = read_answers(&body.answers, ask.reason.as_deref())?;
    let (line, state) = edge.fresh(&ask).await?;
    if state.plan(&session).is_some_and(is_sealed) {
        return rolled_over(edge, &session, AlreadyDone::Yes).await;
    }
    check_closed(&state, &session)?;
    // Who accepts the gap does not wait for it to close.
    let wanted = if body.accept_gap.is_empty() {
        Wanted::InBothCentres
    } else {
        Wanted::Evidence
    };
    let gathered = edge
        .node()
        .gather_by(&session, wanted, patience(&ask))
        .await;
    let gathered = gathered.map_err(|error| not_gathered(&error))?;
    let gap = (!gathered.in_both_centres).then(|| body.accept_gap.clone());
    let items = gathered.evidence.must_repeat.clone();
    let command = domain::Command::Session(Command::RollOver {
        session: session.clone(),
        evidence: Box::new(gathered.evidence),
        replies: replies.clone(),
        gap_accepted: gap.clone().filter(|gap| !gap.is_empty()),
    });
    match may_repeat(edge, &ask, &line, key, command.clone()) {
        Ok(()) => {}
        // Somebody else's, or the one that runs by itself, came first.
        Err(Refusal::Rejected {
            rejection: Rejection::AlreadySo,
            ..
        }) => return rolled_over(edge, &session, AlreadyDone::Yes).await,
        Err(refusal) => return Err(refusal),
    }
    if gap.is_some_and(|gap| gap.is_empty()) {
        return Err(Refusal::NoEvidence {
            why: missing_at(edge, &gathered.durable_at),
        });
    }
    if body.validate_only {
        edge.note_read(&ask, &state, Read::of("validate only".to_owned(), 1))?;
        return Ok(operator::RollOverResponse::default());
    }
    repeat(edge, &ask, &items, &replies).await?;
    match edge.propose(&ask, &line, Some(key), command).await {
        Ok(_) => rolled_over(edge, &session, AlreadyDone::No).await,
        Err(Refusal::Rejected {
            rejection: Rejection::AlreadySo,
            ..
        }) => rolled_over(edge, &session, AlreadyDone::Yes).await,
        Err(refusal) => Err(refusal),
    }
}

#[derive(Clone, Copy)]
enum AlreadyDone {
    Yes,
    No,
}

async fn rolled_over(
    edge: &Edge,
    session: &SessionId,
    done: AlreadyDone,
) -> Result<operator::RollOverResponse, Refusal> {
    let state = edge.node().main().state();
    Ok(operator::RollOverResponse {
        evidence: Some(evidence_of(edge, session, &Page::FIRST).await?),
        business_day: state
            .header()
            .business_day
            .map(|day| day.to_string())
            .unwrap_or_default(),
        already_done: match done {
            AlreadyDone::Yes => true,
            AlreadyDone::No => false,
        },
    })
}

pub(super) async fn answer_holds(
    edge: &Edge,
    ask: Ask<operator::AnswerHoldsRequest>,
) -> Result<operator::AnswerHoldsResponse, Refusal> {
    let key = ask.key(&ask.body.request_id, edge.keyring())?;
    let session = read_session(&ask.body.session)?;
    let replies = read_answers(&ask.body.answers, ask.reason.as_deref())?;
    let (line, state) = edge.fresh(&ask).await?;
    // What is not held was answered before: it is not for this call to repeat.
    let held: Vec<MustRepeat> = state
        .plan(&session)
        .and_then(|plan| plan.sealed.as_ref())
        .map(held)
        .unwrap_or_default();
    let command = domain::Command::Session(Command::AnswerHolds {
        session,
        replies: replies.clone(),
    });
    may_repeat(edge, &ask, &line, key, command.clone())?;
    if ask.body.validate_only {
        edge.note_read(&ask, &state, Read::of("validate only".to_owned(), 1))?;
        return Ok(operator::AnswerHoldsResponse {});
    }
    repeat(edge, &ask, &held, &replies).await?;
    edge.propose(&ask, &line, Some(key), command).await?;
    Ok(operator::AnswerHoldsResponse {})
}

fn held(sealing: &Sealing) -> Vec<MustRepeat> {
    let items = sealing.evidence.iter().flat_map(|all| &all.must_repeat);
    items
        .filter(|item| sealing.held.contains(&item.sequence))
        .cloned()
        .collect()
}
