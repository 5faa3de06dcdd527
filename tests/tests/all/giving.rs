//! Who can give access over the API, tried by caller: no token alone, no operator alone, and nobody
//! by a password that it chose (LOGIN.md, "Administration"; S24, S25, S34; R9).
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail loudly"
)]

use proto::account::v1::AccountClass;
use proto::admin::v1::change_act::Act;
use proto::admin::v1::{AccountRow, NewAccount, NewCard, ParticipantRow, Plain};
use proto::auth::v1::StepUpAct;
use tests::Cluster;
use tests::administration::Admin;
use tests::cast::{CARD, CARD_S2, CHAN, CHEUNG, LEE, MAK, NG, SIT, TAM, YIP};
use tests::cluster::{cheap, refused};
use tests::import::{terms, verifier};

const PLAIN: Plain = Plain {};

#[tokio::test(flavor = "multi_thread")]
async fn an_administrator_s_token_alone_gives_nobody_access_s24_s34() {
    let cluster = Box::pin(Cluster::start()).await;
    cluster.serves_at("2023-06-10 18:00").await;
    let maker = cluster.with_card(&CHEUNG).await;
    let checker = cluster.with_card(&SIT).await;
    let [by, with] = [&maker, &checker].map(Admin::Token);
    let mut names = Vec::new();
    for person in [&NG, &CHAN] {
        cluster.suspend(&maker, person).await.unwrap();
        let resume = Act::Resume(PLAIN);
        let made = cluster.make(by, &person.resource(), resume).await;
        names.push(made.unwrap());
    }
    let approve = StepUpAct::ApproveChangeRequest;
    let required = async |name: &str| {
        let approved = cluster.check_as_it_is(with, name).await;
        assert_eq!(refused(approved), "STEP_UP_REQUIRED");
    };
    required(&names[0]).await;
    // For another request, by the maker's own token, for a channel: none of it is for this one.
    cluster.step_up(&checker, approve, &names[1]).await.unwrap();
    required(&names[0]).await;
    cluster.step_up(&maker, approve, &names[0]).await.unwrap();
    required(&names[0]).await;
    cluster.step_up(&checker, approve, &names[0]).await.unwrap();
    cluster.check_as_it_is(with, &names[0]).await.unwrap();
    cluster.with_card(&NG).await;
    // It was used up.
    required(&names[1]).await;
    cluster.check(with, &names[1]).await.unwrap();
    cluster.with_card(&CHAN).await;

    // The half of a code is no less.
    let other = cluster.with_card(&MAK).await;
    let issued = cluster.issue_as_it_is(Admin::Token(&other), &YIP).await;
    assert_eq!(refused(issued), "STEP_UP_REQUIRED");
    let issue = StepUpAct::IssueActivationCode;
    cluster
        .step_up(&other, issue, &TAM.resource())
        .await
        .unwrap();
    let issued = cluster.issue_as_it_is(Admin::Token(&other), &YIP).await;
    assert_eq!(refused(issued), "STEP_UP_REQUIRED");
    cluster.issue_half(&other, &YIP).await.unwrap();
    // A step-up says what it is for.
    for resource in ["", "changeRequests/1", "participants/C00002/users/"] {
        let begun = cluster.step_up(&other, approve, resource).await;
        assert!(refused(begun).starts_with("MALFORMED"), "{resource}");
    }
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_administrator_sends_a_verifier_and_two_operators_do_s25() {
    let cluster = Box::pin(Cluster::start()).await;
    cluster.serves_at("2023-06-10 18:00").await;
    let maker = cluster.with_card(&CHEUNG).await;
    let checker = cluster.with_card(&SIT).await;
    let card = || NewCard {
        number: "K99".to_owned(),
        verifier: verifier(CARD_S2, cheap()),
    };
    let create = Act::Create(NewAccount {
        title: "New".to_owned(),
        email: String::new(),
        card: Some(card()),
    });
    let new = "participants/C00001/users/C00001U9".to_owned();
    for (resource, act) in [(new, create), (LEE.resource(), Act::RegisterCard(card()))] {
        for by in [&maker, &checker].map(Admin::Token) {
            let made = cluster.make(by, &resource, act.clone()).await;
            assert_eq!(refused(made), "NOT_ALLOWED");
        }
    }
    // What an operator asks for, another one approves, and no administrator.
    let card = Act::RegisterCard(NewCard {
        number: "K13B".to_owned(),
        ..card()
    });
    let made = cluster
        .make(Admin::Operator(1), &LEE.resource(), card)
        .await;
    let name = made.unwrap();
    let approved = cluster.check(Admin::Token(&checker), &name).await;
    assert_eq!(refused(approved), "NOT_ALLOWED");
    let approved = cluster.check(Admin::Operator(1), &name).await;
    assert_eq!(refused(approved), "MAKER_IS_CHECKER");
    cluster.check(Admin::Operator(2), &name).await.unwrap();
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_issues_no_code_for_a_user_with_an_administrator_r9() {
    let cluster = Box::pin(Cluster::start()).await;
    cluster.serves_at("2023-06-10 18:00").await;
    let operator = Admin::Operator(1);
    let issued = cluster.issue_as_it_is(operator, &YIP).await;
    assert_eq!(refused(issued), "LOOKED_AFTER_BY_ADMINS");
    // C00003 has none; and administrators are the operators' to look after.
    cluster.issue_as_it_is(operator, &TAM).await.unwrap();
    cluster.issue_as_it_is(operator, &MAK).await.unwrap();
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_operator_alone_imports_nobody_s34() {
    let cluster = Box::pin(Cluster::start()).await;
    let firms = vec![ParticipantRow {
        line: 1,
        participant_id: "c00004".to_owned(),
        title: " A firm ".to_owned(),
    }];
    let row = |card: &str| AccountRow {
        line: 2,
        user_id: "c00004a1".to_owned(),
        participant_id: "C00004".to_owned(),
        account_class: AccountClass::DelegatedAdmin.into(),
        title: "Me".to_owned(),
        email: "me@elsewhere.example".to_owned(),
        card_number: "k41".to_owned(),
        card_verifier: card.to_owned(),
    };
    let own = verifier(CARD, cheap());
    let import = async |operator, rows: &[AccountRow]| {
        let done = cluster.import_as_it_is(operator, firms.clone(), rows.to_vec());
        done.await.map(|answer| answer.account_count)
    };
    let rows = vec![row(&own)];
    let wanted = terms(&firms, &rows);
    assert_eq!(refused(import(1, &rows).await), "NOT_APPROVED");
    for _ in 0..2 {
        assert_eq!(cluster.approve_import(1, &wanted).await.unwrap(), 1);
        assert_eq!(refused(import(1, &rows).await), "NOT_APPROVED");
    }
    // The second one's approval of other rows, a verifier among them, is of another import.
    let others = vec![row(&verifier(CARD, cheap()))];
    let other = terms(&firms, &others);
    assert_ne!(other.id(), wanted.id());
    assert_eq!(cluster.approve_import(2, &other).await.unwrap(), 1);
    assert_eq!(refused(import(1, &others).await), "NOT_APPROVED");
    assert_eq!(refused(import(2, &rows).await), "NOT_APPROVED");
    assert_eq!(cluster.approve_import(2, &wanted).await.unwrap(), 2);
    assert_eq!(import(1, &rows).await.unwrap(), 1);
    // A password in clear is no verifier, whoever approved it.
    let clear = vec![AccountRow {
        user_id: "C00004A2".to_owned(),
        card_number: "K42".to_owned(),
        ..row(CARD)
    }];
    for operator in [1, 2] {
        let terms = terms(&firms, &clear);
        cluster.approve_import(operator, &terms).await.unwrap();
    }
    assert_eq!(refused(import(1, &clear).await), "BAD_ROWS");
    cluster.end().await;
}
