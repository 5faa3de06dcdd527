//! What leaves as mail, who reads it, and what is said when none leaves.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may fail loudly")]

use std::collections::BTreeMap;

use domain::factor::Method;
use domain::notice::{Kind, NoticeId};

use super::*;

/// 22:14 on Saturday 10 June 2023 in Hong Kong.
const AT_2214: UnixMs = UnixMs(1_686_406_440_000);

fn outbox(folder: &Path) -> Outbox {
    Outbox::open(&crate::config::Mail {
        from: "tidemark <no-reply@clearing.example>".to_owned(),
        way: Way::Folder(folder.to_owned()),
    })
    .unwrap()
}

/// A state in which operators have said whom to ask.
fn asked_of(english: &str, chinese: &str) -> domain::State {
    let policy = domain::policy::Policy {
        support_contact: english.to_owned(),
        support_contact_zh_hant: chinese.to_owned(),
        ..domain::policy::Policy::default()
    };
    let before = domain::State::unfounded();
    let rows = before
        .rows()
        .filter(|row| !matches!(row, domain::Row::Policy(_)));
    domain::State::from_rows(rows.chain([domain::Row::Policy(policy)])).unwrap()
}

/// A notice of the main line, of what happened at 22:14 in Hong Kong.
fn told(kind: Kind) -> Notice {
    told_on(domain::LineId::Main, kind, &domain::State::unfounded())
}

fn told_on(line: domain::LineId, kind: Kind, state: &domain::State) -> Notice {
    let line = domain::LineRef {
        cluster: domain::ClusterId([7; 16]),
        line,
        epoch: 1,
    };
    let entry = LogId {
        term: 3,
        node: 1,
        index: 128_731,
    };
    let notice = domain::notice::Notice {
        id: NoticeId { entry, part: 0 },
        account: "C00001U1".parse().unwrap(),
        address: "person@firm.example".to_owned(),
        kind,
        at: AT_2214,
    };
    Notice::of(&notice, &line, state)
}

async fn sent(letter: &Letter, mark: Mark) -> String {
    let folder = tempfile::tempdir().unwrap();
    let about = LogId {
        term: 1,
        node: 1,
        index: 7,
    };
    outbox(folder.path())
        .send("person@firm.example", letter, mark, about)
        .await
        .unwrap();
    let mails: Vec<_> = std::fs::read_dir(folder.path()).unwrap().collect();
    assert_eq!(mails.len(), 1);
    let mail = mails.into_iter().next().unwrap().unwrap();
    assert!(mail.file_name().to_string_lossy().ends_with(".eml"));
    std::fs::read_to_string(mail.path()).unwrap()
}

#[tokio::test]
async fn a_code_is_sent_in_both_languages_and_without_a_link_s29() {
    let code = Code::parse("12345678").ok().unwrap();
    let mail = sent(&Letter::LoginCode(code, UnixMs(0)), Mark::Real).await;
    assert!(mail.lines().any(|line| line == "Code: 12345678"), "{mail}");
    assert!(mail.contains("你的一次性密碼"), "{mail}");
    assert!(mail.contains("X-Tidemark-Drill: no"), "{mail}");
    assert!(!mail.contains("://"), "{mail}");
    assert!(!mail.contains("DRILL"), "{mail}");
}

#[tokio::test]
async fn mail_of_a_branch_is_marked_as_drill_mail() {
    let notice = Letter::Notice(told(Kind::PasswordChanged(Method::Otp)));
    let mail = sent(&notice, Mark::Drill).await;
    assert!(mail.contains("DRILL: what is changed"), "{mail}");
    assert!(mail.contains("X-Tidemark-Drill: yes"), "{mail}");
    assert!(!mail.contains("://"), "{mail}");
}

/// Each kind of notice.
fn kinds() -> Vec<Kind> {
    let changes = [
        (domain::audit::Kind::PasswordChanged, AT_2214),
        (domain::audit::Kind::ChannelReplaced, AT_2214.plus(60_000)),
    ];
    vec![
        Kind::Initiated,
        Kind::PasswordChanged(Method::Otp),
        Kind::PasswordChanged(Method::Smartcard),
        Kind::ChannelReplaced,
        Kind::EmailChanged,
        Kind::PasswordReset,
        Kind::ChannelReset,
        Kind::OtpRevoked,
        Kind::Suspended,
        Kind::Resumed,
        Kind::Deleted,
        Kind::CardRegistered,
        Kind::CardRevoked,
        Kind::SuspiciousAttempts,
        Kind::Locked,
        Kind::NotCarriedForward {
            session: "S2-2023-06-10".parse().unwrap(),
            changes: BTreeMap::from(changes),
        },
        Kind::Reminder,
    ]
}

#[tokio::test]
async fn each_notice_is_bilingual_says_whom_to_ask_and_has_a_reference_r11_r12_s29() {
    for kind in kinds() {
        let mail = sent(&Letter::Notice(told(kind)), Mark::Real).await;
        let (english, chinese) = mail.split_once("\r\n帳戶 C00001U1").unwrap();
        assert!(
            english.contains("Account C00001U1, 2023-06-10 22:14:00+08:00"),
            "{mail}"
        );
        assert!(
            english.contains("the hotline of the clearing house"),
            "{mail}"
        );
        assert!(english.contains("Reference: 3-1-128731-0"), "{mail}");
        assert!(chinese.contains("參考編號：3-1-128731-0"), "{mail}");
        assert!(chinese.contains("結算所熱線"), "{mail}");
        assert!(!chinese.contains("hotline"), "{mail}");
        for link in ["://", "www.", "<a"] {
            assert!(!mail.contains(link), "{mail}");
        }
        assert!(!mail.contains("DRILL"), "{mail}");
    }
}

#[tokio::test]
async fn whom_to_ask_is_told_in_the_language_of_each_half_and_never_as_a_link_r11_r12_s29() {
    let english = "the hotline, 2211 6688";
    let unsaid = "你的管理員，或結算所熱線";
    let cases = [
        ((english, "熱線 2211 6688"), (english, "熱線 2211 6688")),
        // Its number is the same in both.
        ((english, ""), (english, english)),
        (("www.clearing.example", ""), ("the clearing house", unsaid)),
        ((english, "https://clearing.example"), (english, unsaid)),
    ];
    for kind in [Kind::Reminder, Kind::Suspended] {
        for ((said, in_chinese), (expected, expected_in_chinese)) in cases {
            let state = asked_of(said, in_chinese);
            let notice = told_on(domain::LineId::Main, kind.clone(), &state);
            let mail = sent(&Letter::Notice(notice), Mark::Real).await;
            let (first, second) = mail.split_once("\r\n帳戶 C00001U1").unwrap();
            assert!(first.contains(expected), "{mail}");
            assert!(second.contains(expected_in_chinese), "{mail}");
            assert!(!mail.contains("://") && !mail.contains("www."), "{mail}");
        }
    }
}

#[tokio::test]
async fn what_was_not_carried_forward_is_told_with_its_time_of_day() {
    let kind = kinds().into_iter().rev().nth(1).unwrap();
    let mail = sent(&Letter::Notice(told(kind)), Mark::Real).await;
    let english =
        "Your change of 22:14 in session S2-2023-06-10 was not carried forward: password changed.";
    assert!(mail.contains(english), "{mail}");
    assert!(mail.contains("Your change of 22:15"), "{mail}");
    assert!(mail.contains("Use your earlier password"), "{mail}");
    assert!(mail.contains("請使用你原有的密碼"), "{mail}");
}

#[tokio::test]
async fn a_notice_that_is_sent_again_has_the_same_message_id() {
    let id = |mail: String| {
        let mut lines = mail.lines();
        let line = lines.find(|line| line.starts_with("Message-ID: "));
        line.unwrap().to_owned()
    };
    let once = id(sent(&Letter::Notice(told(Kind::Suspended)), Mark::Real).await);
    let again = id(sent(&Letter::Notice(told(Kind::Suspended)), Mark::Real).await);
    assert_eq!(once, again);
    let branch = domain::LineId::Branch {
        session: "S2-2023-06-10".parse().unwrap(),
        genesis: domain::Digest::ZERO,
    };
    let branch = told_on(branch, Kind::Suspended, &domain::State::unfounded());
    assert_ne!(id(sent(&Letter::Notice(branch), Mark::Drill).await), once);
}

#[tokio::test]
async fn mail_in_the_folder_is_for_its_owner_alone() {
    use std::os::unix::fs::PermissionsExt as _;
    let parent = tempfile::tempdir().unwrap();
    let folder = parent.path().join("outbox");
    let code = Code::parse("12345678").ok().unwrap();
    let letter = Letter::LoginCode(code, UnixMs(0));
    outbox(&folder)
        .send("person@firm.example", &letter, Mark::Real, LogId::default())
        .await
        .unwrap();
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&folder), 0o700);
    let mut mails = std::fs::read_dir(&folder).unwrap();
    let mail = mails.next().unwrap().unwrap().path();
    assert_eq!(mode(&mail), 0o600);
}

#[tokio::test]
async fn what_a_mail_server_says_of_the_recipient_is_not_repeated() {
    use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufStream};
    let socket = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = socket.local_addr().unwrap().port();
    let server = tokio::spawn(async move {
        let mut caller = BufStream::new(socket.accept().await.unwrap().0);
        let mut answer = "220 mail.example\r\n";
        loop {
            // A caller that hangs up has heard what it came for.
            if caller.write_all(answer.as_bytes()).await.is_err() || caller.flush().await.is_err() {
                return;
            }
            let mut line = String::new();
            if caller.read_line(&mut line).await.unwrap_or(0) == 0 {
                return;
            }
            answer = match line.get(..4) {
                Some("EHLO") => "250-mail.example\r\n250 8BITMIME\r\n",
                Some("RCPT") => "550 5.1.1 <person@firm.example> is not known here\r\n",
                Some(_) | None => "250 mail.example\r\n",
            };
        }
    });
    let folder = tempfile::tempdir().unwrap();
    let smtp = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous("127.0.0.1");
    let outbox = Outbox {
        sender: Sender::Smtp(Arc::new(smtp.port(port).build())),
        ..outbox(folder.path())
    };
    let letter = Letter::Notice(told(Kind::Suspended));
    let error = outbox
        .send("person@firm.example", &letter, Mark::Real, LogId::default())
        .await
        .unwrap_err();
    assert_eq!(error.to_string(), "the mail server answered 550");
    assert!(!format!("{error:?}").contains("person"), "{error:?}");
    server.abort();
}

#[tokio::test]
async fn an_address_that_is_none_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let letter = Letter::Notice(told(Kind::Suspended));
    let sent = outbox(folder.path())
        .send("nobody", &letter, Mark::Real, LogId::default())
        .await;
    assert!(matches!(sent, Err(Error::To)));
}
