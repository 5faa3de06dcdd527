//! Reminders by mail to those who have yet to set up 2FA (R1, R8), as operators send them.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may fail loudly")]

use std::collections::BTreeSet;

use proto::admin::v1::SendRemindersRequest;
use tests::Cluster;
use tests::cast::{CHAN, CHEUNG, HO, LAU, LEE, NG, SIT, TAM, WONG, YIP};
use tests::cluster::refused;

const WORDS: &str = "has yet to be set up";
const ALL: &str = "participants/-";

/// Whom a dry run names, page by page.
async fn due(cluster: &Cluster, parent: &str, page_size: i32) -> Vec<String> {
    let mut accounts = Vec::new();
    let mut page_token = String::new();
    loop {
        let message = SendRemindersRequest {
            dry_run: true,
            page_size,
            page_token,
            ..cluster.reminders(parent)
        };
        let page = cluster
            .remind(cluster.operators(1), &message)
            .await
            .unwrap();
        assert!(page_size == 0 || page.accounts.len() <= usize::try_from(page_size).unwrap());
        assert_eq!(page.reminded_count as usize, page.accounts.len());
        accounts.extend(page.accounts);
        page_token = page.next_page_token;
        if page_token.is_empty() {
            return accounts;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_has_yet_to_initiate_is_reminded_by_mail_once_a_day_r1_r8_r11_r12() {
    let cluster = Box::pin(Cluster::start()).await;
    cluster.serves_at("2023-06-10 18:00").await;
    cluster.sets_up_app(&WONG).await;
    cluster.suspend_main(&NG).await.unwrap();

    let all = due(&cluster, ALL, 0).await;
    for person in [&CHAN, &LEE, &LAU, &YIP, &TAM, &CHEUNG, &SIT] {
        assert!(all.contains(&person.resource()), "{}", person.id);
    }
    // One has initiated, one has no address, one is suspended.
    for person in [&WONG, &HO, &NG] {
        assert!(!all.contains(&person.resource()), "{}", person.id);
    }
    assert_eq!(due(&cluster, ALL, 2).await, all, "by pages it is the same");
    let firm = due(&cluster, "participants/C00002", 0).await;
    let admin = "participants/C00002/delegatedAdmins/C00002A1".to_owned();
    assert_eq!(firm, [admin, LAU.resource(), YIP.resource()]);
    assert!(
        cluster.notices(&LAU, WORDS).is_empty(),
        "a dry run mails nothing"
    );

    // One page, sent twice as a caller does that lost the answer.
    let first = SendRemindersRequest {
        page_size: 2,
        ..cluster.reminders("participants/C00002")
    };
    let operator = cluster.operators(1);
    let answer = cluster.remind(operator, &first).await.unwrap();
    assert_eq!(
        (answer.reminded_count, &*answer.next_page_token),
        (2, LAU.id)
    );
    assert!(answer.accounts.is_empty());
    assert_eq!(cluster.remind(operator, &first).await.unwrap(), answer);
    let mail = cluster.notice(&LAU, WORDS).await;
    assert!(!mail.drill, "{}", mail.text);
    assert!(mail.text.contains("帳戶尚未設定"), "R12: {}", mail.text);
    assert!(
        mail.text.contains("hotline") && mail.text.contains("Reference: "),
        "R11: {}",
        mail.text
    );
    assert!(
        !mail.text.contains("://") && !mail.text.contains("www."),
        "S29: {}",
        mail.text
    );
    // Who goes on from there, and who begins anew, reminds the other one alone.
    let rest = cluster.reminders("participants/C00002");
    let answer = cluster.remind(operator, &rest).await.unwrap();
    assert_eq!((answer.reminded_count, &*answer.next_page_token), (1, ""));
    cluster.notice(&YIP, WORDS).await;
    let answer = cluster
        .remind(operator, &cluster.reminders(ALL))
        .await
        .unwrap();
    assert_eq!(answer.reminded_count as usize, all.len() - 3);
    for person in [&CHAN, &LEE, &TAM, &CHEUNG, &SIT] {
        cluster.notice(person, WORDS).await;
    }
    assert!(due(&cluster, ALL, 0).await.is_empty());
    let answer = cluster
        .remind(operator, &cluster.reminders(ALL))
        .await
        .unwrap();
    assert_eq!(answer.reminded_count, 0);
    let to: Vec<String> = cluster
        .mails()
        .into_iter()
        .filter(|mail| mail.text.contains(WORDS))
        .map(|mail| mail.to)
        .collect();
    let people: BTreeSet<&String> = to.iter().collect();
    assert_eq!(to.len(), people.len(), "nobody twice: {to:?}");
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn reminders_are_an_operators_and_wait_for_the_end_of_a_branch() {
    let cluster = Box::pin(Cluster::start()).await;
    cluster.serves_at("2023-06-10 18:00").await;
    let asked = cluster
        .remind(&cluster.front(), &cluster.reminders(ALL))
        .await;
    assert_eq!(refused(asked), "NOT_ALLOWED");
    let operator = cluster.operators(1);
    for (message, reason) in [
        (cluster.reminders("participants/C99999"), "NOT_FOUND"),
        (cluster.reminders("everybody"), "MALFORMED_PARENT"),
        (
            SendRemindersRequest {
                reason: String::new(),
                ..cluster.reminders(ALL)
            },
            "BAD_VALUES",
        ),
        (
            SendRemindersRequest {
                page_size: -1,
                ..cluster.reminders(ALL)
            },
            "MALFORMED_PAGE_SIZE",
        ),
    ] {
        let asked = cluster.remind(operator, &message).await;
        assert_eq!(refused(asked), reason, "{message:?}");
    }
    cluster.session_2().await;
    let asked = cluster.remind(operator, &cluster.reminders(ALL)).await;
    assert_eq!(refused(asked), "BRANCH_OPEN");
    for person in [&CHAN, &LAU, &TAM] {
        assert!(cluster.notices(person, WORDS).is_empty());
    }
    cluster.end().await;
}
