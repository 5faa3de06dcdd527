//! What is listed, over the API: nothing of another firm's to a delegated administrator (R9, R47),
//! all of it page by page, and by each filter what fits it and nothing else.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail loudly"
)]

use proto::account::v1::{Account, AccountClass, AccountStatus, Stage};
use proto::admin::v1::account_service_client::AccountServiceClient;
use proto::admin::v1::change_act::Act;
use proto::admin::v1::change_request_service_client::ChangeRequestServiceClient;
use proto::admin::v1::participant_service_client::ParticipantServiceClient;
use proto::admin::v1::readiness_service_client::ReadinessServiceClient;
use proto::admin::v1::{
    AccountFilter, ChangeRequestState, GetAccountRequest, GetAccountTokenRequest,
    GetChangeRequestRequest, GetReadinessReportRequest, ListAccountTokensRequest,
    ListAccountsRequest, ListActReviewsRequest, ListChangeRequestsRequest, ListParticipantsRequest,
    ListUnreadyAccountsRequest, ParticipantState,
};
use proto::operator::v1::registration_service_client::RegistrationServiceClient;
use proto::operator::v1::{ListRegistrationsRequest, RetireCallerRequest};
use tests::administration::Admin;
use tests::cast::{ALL, CHAN, CHEUNG, HO, LEE, MAK, NG, SIT, WONG, YIP};
use tests::cluster::refused;
use tests::{Cluster, Person};
use tidemark::drill::call;
use tonic::Status;

/// Most pages that any list here has.
const PAGES_MAX: usize = 40;

/// One call as somebody.
macro_rules! ask {
    ($cluster:expr, $by:expr, $client:ident, $rpc:ident, $message:expr) => {{
        let (by, message) = ($by, $message);
        call(&by.doors($cluster), |channel| {
            let message = by.request(message.clone());
            async move { $client::new(channel).$rpc(message).await }
        })
        .await
    }};
}

/// All pages of a list, which none may leave too full, and their number.
macro_rules! pages {
    ($cluster:expr, $by:expr, $client:ident, $rpc:ident, $message:expr, $rows:ident) => {{
        let mut message = $message;
        let mut rows = Vec::new();
        let mut pages = 0;
        loop {
            let answer = ask!($cluster, $by, $client, $rpc, message.clone()).unwrap();
            let most = usize::try_from(message.page_size).unwrap();
            assert!(answer.$rows.len() <= most, "a page is too full");
            pages += 1;
            assert!(pages <= PAGES_MAX, "the pages do not end");
            rows.extend(answer.$rows);
            if answer.next_page_token.is_empty() {
                break (rows, pages);
            }
            message.page_token = answer.next_page_token;
        }
    }};
}

fn parent(firm: &str) -> String {
    format!("participants/{firm}")
}

/// What every read of another firm's answers an administrator, or a user of the firm itself.
async fn reads_of(cluster: &Cluster, by: Admin<'_>, firm: &str, of: &Person) -> Vec<String> {
    let name = of.resource();
    let get = GetAccountRequest { name: name.clone() };
    let tokens = ListAccountTokensRequest { name };
    let list = ListAccountsRequest {
        parent: parent(firm),
        ..ListAccountsRequest::default()
    };
    let report = GetReadinessReportRequest {
        parent: parent(firm),
    };
    let unready = ListUnreadyAccountsRequest {
        parent: parent(firm),
        ..ListUnreadyAccountsRequest::default()
    };
    let requests = ListChangeRequestsRequest {
        parent: parent(firm),
        ..ListChangeRequestsRequest::default()
    };
    let reviews = ListActReviewsRequest {
        parent: parent(firm),
        ..ListActReviewsRequest::default()
    };
    vec![
        refused(ask!(cluster, by, AccountServiceClient, get_account, get)),
        refused(ask!(
            cluster,
            by,
            AccountServiceClient,
            list_account_tokens,
            tokens
        )),
        refused(ask!(cluster, by, AccountServiceClient, list_accounts, list)),
        refused(ask!(
            cluster,
            by,
            ReadinessServiceClient,
            get_readiness_report,
            report
        )),
        refused(ask!(
            cluster,
            by,
            ReadinessServiceClient,
            list_unready_accounts,
            unready
        )),
        refused(ask!(
            cluster,
            by,
            ChangeRequestServiceClient,
            list_change_requests,
            requests
        )),
        refused(ask!(
            cluster,
            by,
            ChangeRequestServiceClient,
            list_act_reviews,
            reviews
        )),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn an_administrator_reads_nothing_of_another_firm_nor_a_user_of_anybody_r9_r47() {
    let cluster = Box::pin(Cluster::start()).await;
    cluster.serves_at("2023-06-10 18:00").await;
    let mak = cluster.with_card(&MAK).await;
    let cheung = cluster.with_card(&CHEUNG).await;
    let chan = cluster.with_card(&CHAN).await;
    let [stranger, own, user] = [&mak, &cheung, &chan].map(Admin::Token);
    let act = Act::SetEmail("ho@harbour.example".to_owned());
    let request = cluster.make(own, &HO.resource(), act).await.unwrap();

    // Another firm's, everybody's, and an administrator of the same firm.
    for (firm, whom) in [("C00001", &CHAN), ("-", &HO), ("C00001", &CHEUNG)] {
        let told = reads_of(&cluster, stranger, firm, whom).await;
        assert!(
            told.iter().all(|one| one == "OTHER_PARTICIPANT"),
            "{told:?}"
        );
    }
    let of_own_firm = GetAccountRequest {
        name: MAK.resource(),
    };
    let told = ask!(
        &cluster,
        stranger,
        AccountServiceClient,
        get_account,
        of_own_firm
    );
    assert_eq!(refused(told), "OTHER_PARTICIPANT", "R9: operators look");
    // A user looks after nobody, not even of its own firm.
    let told = reads_of(&cluster, user, "C00001", &CHAN).await;
    assert!(told.iter().all(|one| one == "NOT_ALLOWED"), "{told:?}");

    // What is not the stranger's looks like what is not there.
    let token_id = cluster.tokens_of(own, &CHAN.resource()).await.unwrap()[0]
        .token_id
        .clone();
    let token = GetAccountTokenRequest { token_id };
    let told = ask!(
        &cluster,
        stranger,
        AccountServiceClient,
        get_account_token,
        token.clone()
    );
    assert_eq!(refused(told), "NOT_FOUND");
    let found = ask!(
        &cluster,
        own,
        AccountServiceClient,
        get_account_token,
        token
    );
    assert_eq!(found.unwrap().token.unwrap().account, CHAN.resource());
    let request = GetChangeRequestRequest { name: request };
    let told = ask!(
        &cluster,
        stranger,
        ChangeRequestServiceClient,
        get_change_request,
        request
    );
    assert_eq!(refused(told), "NO_SUCH_CHANGE_REQUEST");

    // And its own users it sees: those, and no administrator.
    let list = ListAccountsRequest {
        parent: parent("C00002"),
        ..ListAccountsRequest::default()
    };
    let seen = ask!(
        &cluster,
        stranger,
        AccountServiceClient,
        list_accounts,
        list
    );
    let seen: Vec<String> = ids(&seen.unwrap().accounts);
    assert_eq!(seen, ["C00002U1", "C00002U2"]);
    let report = GetReadinessReportRequest {
        parent: parent("C00002"),
    };
    let report = ask!(
        &cluster,
        stranger,
        ReadinessServiceClient,
        get_readiness_report,
        report
    );
    let firms = report.unwrap().participants;
    assert_eq!((firms.len(), firms[0].account_count), (1, 2));
    cluster.end().await;
}

fn ids(accounts: &[Account]) -> Vec<String> {
    accounts.iter().map(|one| one.user_id.clone()).collect()
}

fn listed(page_size: i32, filter: AccountFilter) -> ListAccountsRequest {
    ListAccountsRequest {
        parent: parent("-"),
        page_size,
        page_token: String::new(),
        filter: Some(filter),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn accounts_are_listed_page_by_page_and_by_each_filter() {
    let cluster = Box::pin(Cluster::start()).await;
    cluster.serves_at("2023-06-10 18:00").await;
    cluster.sets_up_app(&WONG).await;
    cluster.sets_up_mail(&LEE).await;
    let admin = cluster.with_card(&CHEUNG).await;
    cluster.revoke_card(&admin, &LEE).await.unwrap();
    cluster.suspend(&admin, &NG).await.unwrap();
    let by = Admin::Operator(1);
    let every = AccountFilter::default;

    let whole = listed(500, every());
    let (all, count) = pages!(
        &cluster,
        by,
        AccountServiceClient,
        list_accounts,
        whole,
        accounts
    );
    assert_eq!((all.len(), count), (ALL.len(), 1));
    for page_size in [1, 2, 3, 10, 11] {
        let paged = listed(page_size, every());
        let (found, count) = pages!(
            &cluster,
            by,
            AccountServiceClient,
            list_accounts,
            paged,
            accounts
        );
        assert_eq!(found, all, "{page_size} a page");
        let size = usize::try_from(page_size).unwrap();
        assert_eq!(count, ALL.len().div_ceil(size), "{page_size} a page");
    }
    assert!(ids(&all).is_sorted());
    for (wrong, reason) in [
        (listed(-1, every()), "MALFORMED_PAGE_SIZE"),
        (
            ListAccountsRequest {
                page_token: "?".to_owned(),
                ..listed(2, every())
            },
            "MALFORMED_PAGE_TOKEN",
        ),
        (
            listed(
                2,
                AccountFilter {
                    stage: 77,
                    ..every()
                },
            ),
            "MALFORMED_FILTER_STAGE",
        ),
    ] {
        let told = ask!(&cluster, by, AccountServiceClient, list_accounts, wrong);
        assert_eq!(refused(told), reason);
    }

    let [user, admin] = [AccountClass::User, AccountClass::DelegatedAdmin];
    let two = |filter| listed(2, filter);
    for (filter, expected) in [
        (
            AccountFilter {
                user_id: YIP.id.to_owned(),
                ..every()
            },
            vec![YIP.id],
        ),
        (
            AccountFilter {
                account_class: admin.into(),
                ..every()
            },
            vec![CHEUNG.id, SIT.id, MAK.id],
        ),
        (
            AccountFilter {
                status: AccountStatus::Suspended.into(),
                ..every()
            },
            vec![NG.id],
        ),
        (
            AccountFilter {
                stage: Stage::SmartcardOnly.into(),
                ..every()
            },
            vec![HO.id],
        ),
        (
            AccountFilter {
                stage: Stage::Initiated.into(),
                ..every()
            },
            vec![WONG.id],
        ),
        (
            AccountFilter {
                stage: Stage::TwoFactorOnly.into(),
                ..every()
            },
            vec![LEE.id],
        ),
        // All that is said must fit.
        (
            AccountFilter {
                account_class: user.into(),
                status: AccountStatus::Suspended.into(),
                stage: Stage::EmailRegistered.into(),
                ..every()
            },
            vec![NG.id],
        ),
        (
            AccountFilter {
                account_class: admin.into(),
                status: AccountStatus::Suspended.into(),
                ..every()
            },
            vec![],
        ),
    ] {
        let said = format!("{filter:?}");
        let (found, _) = pages!(
            &cluster,
            by,
            AccountServiceClient,
            list_accounts,
            two(filter),
            accounts
        );
        assert_eq!(ids(&found), expected, "{said}");
    }
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn change_requests_are_listed_page_by_page_and_by_state_s34() {
    let cluster = Box::pin(Cluster::start()).await;
    cluster.serves_at("2023-06-10 18:00").await;
    let maker = cluster.with_card(&CHEUNG).await;
    let checker = cluster.with_card(&SIT).await;
    let other = cluster.with_card(&MAK).await;
    let [by, with, stranger] = [&maker, &checker, &other].map(Admin::Token);
    let mut made = Vec::new();
    for number in 0..5 {
        let act = Act::SetEmail(format!("ho{number}@harbour.example"));
        made.push(cluster.make(by, &HO.resource(), act).await.unwrap());
    }
    // They are listed by name, which says nothing of when they were made.
    made.sort_unstable();
    let act = Act::SetEmail("yip2@lionrock.example".to_owned());
    cluster.make(stranger, &YIP.resource(), act).await.unwrap();
    cluster.withdraw(by, &made[0]).await.unwrap();
    cluster.reject(with, &made[1]).await.unwrap();
    cluster.check(with, &made[2]).await.unwrap();

    let of_firm = |page_size, state: ChangeRequestState| ListChangeRequestsRequest {
        parent: parent("C00001"),
        state: state.into(),
        page_size,
        page_token: String::new(),
    };
    let any = ChangeRequestState::Unspecified;
    let names = |found: Vec<proto::admin::v1::ChangeRequest>| {
        let names = found.into_iter().map(|request| request.name);
        names.collect::<Vec<_>>()
    };
    for page_size in [1, 2, 4, 5, 500] {
        let message = of_firm(page_size, any);
        let (found, count) = pages!(
            &cluster,
            by,
            ChangeRequestServiceClient,
            list_change_requests,
            message,
            change_requests
        );
        assert_eq!(names(found), made, "{page_size} a page");
        let size = usize::try_from(page_size).unwrap();
        assert_eq!(count, made.len().div_ceil(size), "{page_size} a page");
    }
    for (state, expected) in [
        (ChangeRequestState::Withdrawn, &made[..1]),
        (ChangeRequestState::Rejected, &made[1..2]),
        (ChangeRequestState::Approved, &made[2..3]),
        (ChangeRequestState::Open, &made[3..]),
    ] {
        let message = of_firm(1, state);
        let (found, _) = pages!(
            &cluster,
            by,
            ChangeRequestServiceClient,
            list_change_requests,
            message,
            change_requests
        );
        assert_eq!(names(found), expected, "{state:?}");
    }
    let everybody = ListChangeRequestsRequest {
        parent: parent("-"),
        ..of_firm(2, ChangeRequestState::Open)
    };
    let (found, _) = pages!(
        &cluster,
        Admin::Operator(1),
        ChangeRequestServiceClient,
        list_change_requests,
        everybody,
        change_requests
    );
    assert_eq!(found.len(), 3);
    cluster.end().await;
}

async fn retire(cluster: &Cluster, caller: &str) -> Result<(), Status> {
    let message = RetireCallerRequest {
        validate_only: false,
        request_id: cluster.id(),
        caller: caller.to_owned(),
        reason: "replaced".to_owned(),
    };
    let by = Admin::Operator(1);
    ask!(
        cluster,
        by,
        RegistrationServiceClient,
        retire_caller,
        message
    )
    .map(drop)
}

#[tokio::test(flavor = "multi_thread")]
async fn firms_and_callers_are_listed_page_by_page_and_by_filter() {
    let cluster = Box::pin(Cluster::start()).await;
    cluster.serves_at("2023-06-10 18:00").await;
    cluster.suspend_firm("C00003", false).await.unwrap();
    let by = Admin::Operator(1);
    let firms = |page_size, state: ParticipantState| ListParticipantsRequest {
        page_size,
        page_token: String::new(),
        state: state.into(),
    };
    for (page_size, state, expected) in [
        (
            500,
            ParticipantState::Unspecified,
            vec!["C00001", "C00002", "C00003"],
        ),
        (
            2,
            ParticipantState::Unspecified,
            vec!["C00001", "C00002", "C00003"],
        ),
        (1, ParticipantState::Active, vec!["C00001", "C00002"]),
        (1, ParticipantState::Suspended, vec!["C00003"]),
        (1, ParticipantState::Deleted, vec![]),
    ] {
        let message = firms(page_size, state);
        let (found, _) = pages!(
            &cluster,
            by,
            ParticipantServiceClient,
            list_participants,
            message,
            participants
        );
        let found: Vec<_> = found.into_iter().map(|firm| firm.name).collect();
        let expected: Vec<_> = expected.into_iter().map(parent).collect();
        assert_eq!(found, expected, "{state:?}, {page_size} a page");
    }
    let wrong = ListParticipantsRequest {
        state: 9,
        ..firms(1, ParticipantState::Active)
    };
    let told = ask!(
        &cluster,
        by,
        ParticipantServiceClient,
        list_participants,
        wrong
    );
    assert_eq!(refused(told), "MALFORMED_STATE");

    retire(&cluster, "front-end/web-2").await.unwrap();
    let callers = |page_size, role: &str, omit_retired| ListRegistrationsRequest {
        page_size,
        page_token: String::new(),
        role: role.to_owned(),
        omit_retired,
    };
    let everybody = [
        "operator/alice",
        "operator/bob",
        "front-end/web-1",
        "front-end/web-2",
        "back-end/ccms-1",
    ];
    for (page_size, role, omit_retired, expected) in [
        (500, "", false, &everybody[..]),
        (2, "", false, &everybody[..]),
        (1, "operator", false, &everybody[..2]),
        (1, "front-end", false, &everybody[2..4]),
        (1, "front-end", true, &everybody[2..3]),
        (1, "back-end", false, &everybody[4..]),
        (1, "script", false, &[]),
    ] {
        let message = callers(page_size, role, omit_retired);
        let (found, _) = pages!(
            &cluster,
            by,
            RegistrationServiceClient,
            list_registrations,
            message,
            registrations
        );
        let found: Vec<_> = found.into_iter().map(|one| one.caller).collect();
        assert_eq!(found, expected, "{role}, {page_size} a page");
    }
    let wrong = callers(1, "nobody", false);
    let told = ask!(
        &cluster,
        by,
        RegistrationServiceClient,
        list_registrations,
        wrong
    );
    assert_eq!(refused(told), "MALFORMED_ROLE");
    cluster.end().await;
}
