//! What comes after session 2: its rollover, the answers that it wants, and what is told of it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail loudly"
)]

use crate::world::drill::{
    EAST, WEST, advance, branch_runs, now, open, reason, roll_over, sessions,
};
use crate::world::{S2, Shape, World, at, until, world};
use proto::account::v1::AccountClass;
use proto::admin::v1::AccountRow;
use proto::admin::v1::SuspendAccountRequest;
use proto::admin::v1::account_service_client::AccountServiceClient;
use proto::operator::v1::{
    Answer, AnswerHoldsRequest, GetEvidenceRequest, MustRepeatAnswer, PreviewRolloverRequest,
    PreviewRolloverResponse,
};

/// Two accounts of one firm.
async fn import(world: &World) {
    let row = |line: u32, user_id: &str| AccountRow {
        line,
        user_id: user_id.to_owned(),
        participant_id: "C1".to_owned(),
        account_class: AccountClass::User.into(),
        title: user_id.to_owned(),
        ..AccountRow::default()
    };
    let rows = vec![row(2, "U1"), row(3, "U2")];
    world.import(rows).await.unwrap();
}

async fn suspend(world: &World, node: usize, user_id: &str) {
    AccountServiceClient::new(world.operator(node, &world.kay).await)
        .suspend_account(SuspendAccountRequest {
            request_id: now(world),
            name: format!("participants/C1/users/{user_id}"),
            reason: "a test".to_owned(),
            ..SuspendAccountRequest::default()
        })
        .await
        .unwrap();
}

/// Two people are suspended in session 2, and it closes; what a rollover would do.
async fn two_suspended(world: &World) -> PreviewRolloverResponse {
    import(world).await;
    open(world).await;
    branch_runs(world).await;
    advance(world, at(22, 1)).await;
    until("the session serves", async || {
        let branch = world.nodes[WEST].lines().branch()?;
        branch.state().header().current.as_ref().map(|_| ())
    })
    .await;
    suspend(world, WEST, "U1").await;
    suspend(world, WEST, "U2").await;
    advance(world, at(23, 1)).await;
    let mut client = sessions(world, EAST, &world.kay).await;
    let preview = until("the branch has closed", async || {
        let request = PreviewRolloverRequest {
            session: S2.to_owned(),
            page_size: 1,
            ..PreviewRolloverRequest::default()
        };
        client.preview_rollover(request).await.ok()
    });
    preview.await.into_inner()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_answer_repeats_nothing_and_what_was_answered_is_not_repeated_later() {
    let world = world(Shape::TwoCentres).await;
    let preview = two_suspended(&world).await;
    let items: Vec<String> = preview.must_repeat.into_iter().map(|of| of.item).collect();
    let answer = |item: &str, answer: Answer, reason: &str| MustRepeatAnswer {
        item: item.to_owned(),
        answer: answer.into(),
        reason: reason.to_owned(),
    };
    let active = || {
        let state = world.nodes[EAST].lines().main().state();
        state.accounts().filter(|account| account.active()).count()
    };
    let repeated = || answer(&items[0], Answer::Repeat, "");
    for bad in [
        answer(&items[1], Answer::Waive, &"x".repeat(257)),
        answer("999999", Answer::Waive, "no such item"),
    ] {
        let refused = roll_over(&world, vec![repeated(), bad]).await.unwrap_err();
        assert_eq!(reason(&refused), "BAD_VALUES", "{refused:?}");
        assert_eq!(active(), 2, "a refused rollover changes nothing");
    }
    let waived = answer(&items[1], Answer::Waive, "a drill");
    roll_over(&world, vec![repeated(), waived]).await.unwrap();
    assert_eq!(active(), 1);
    // Nothing is held: nothing is left to repeat.
    let refused = sessions(&world, EAST, &world.kay)
        .await
        .answer_holds(AnswerHoldsRequest {
            request_id: now(&world),
            session: S2.to_owned(),
            answers: vec![answer(&items[1], Answer::Repeat, "")],
            validate_only: false,
        })
        .await
        .unwrap_err();
    assert_eq!(reason(&refused), "ALREADY_SO");
    assert_eq!(active(), 1);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_forgotten_is_told_in_pages() {
    let world = world(Shape::TwoCentres).await;
    let preview = two_suspended(&world).await;
    assert_eq!(preview.forgotten_count, 2);
    assert_eq!(preview.forgotten.len(), 1);
    assert!(!preview.next_page_token.is_empty());
    let mut client = sessions(&world, EAST, &world.kay).await;
    let mut listed = Vec::new();
    let mut request = GetEvidenceRequest {
        session: S2.to_owned(),
        page_size: 1,
        ..GetEvidenceRequest::default()
    };
    loop {
        let answer = client.get_evidence(request.clone()).await.unwrap();
        let evidence = answer.into_inner().evidence.unwrap();
        assert!(evidence.forgotten.len() <= 1);
        assert_eq!(evidence.forgotten_count, 2);
        listed.extend(evidence.forgotten.into_iter().map(|of| of.account));
        request.page_token = evidence.next_page_token;
        if request.page_token.is_empty() {
            break;
        }
    }
    assert_eq!(listed, ["U1", "U2"]);
    world.stop().await;
}
