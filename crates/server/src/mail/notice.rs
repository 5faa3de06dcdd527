//! What notices say: in English, which is canonical, and in Traditional Chinese (R12), with whom to
//! ask and a reference (R11), and without a link (S29).

use std::collections::BTreeMap;

use domain::audit;
use domain::factor::Method;
use domain::id::SessionId;
use domain::notice::{self, Kind};
use domain::policy::Support;
use domain::{Digest, LineRef, State, UnixMs, encoding};

/// A notice as it is mailed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    notice: notice::Notice,
    support: Support,
    message_id: String,
}

/// English and Chinese.
type Both = (String, String);

fn both(english: &str, chinese: &str) -> Both {
    (english.to_owned(), chinese.to_owned())
}

impl Notice {
    /// The notice of this line, in whose state it stands.
    #[must_use]
    pub fn of(notice: &notice::Notice, line: &LineRef, state: &State) -> Self {
        Self {
            support: without_links(state.policy().support()),
            message_id: message_id(notice, line),
            notice: notice.clone(),
        }
    }

    pub(super) fn message_id(&self) -> &str {
        &self.message_id
    }

    pub(super) fn subject(&self) -> &'static str {
        match &self.notice.kind {
            Kind::SuspiciousAttempts | Kind::Locked => "Failed logins / 登入失敗通知",
            Kind::NotCarriedForward { .. } => "A change was not carried forward / 變更不獲保留通知",
            Kind::Reminder => "Set up two-factor authentication / 請設定雙重認證",
            Kind::Initiated
            | Kind::PasswordChanged(_)
            | Kind::ChannelReplaced
            | Kind::EmailChanged
            | Kind::PasswordReset
            | Kind::ChannelReset
            | Kind::OtpRevoked
            | Kind::Suspended
            | Kind::Resumed
            | Kind::Deleted
            | Kind::CardRegistered
            | Kind::CardRevoked => "Your account was changed / 帳戶變更通知",
        }
    }

    pub(super) fn text(&self) -> String {
        let (english, chinese) = said(&self.notice.kind);
        let (warning, warned) = match &self.notice.kind {
            Kind::NotCarriedForward { .. } | Kind::Reminder => both(
                &format!("If you have a question, ask {}.", self.support.english),
                &format!("如有查詢，請聯絡：{}。", self.support.chinese),
            ),
            Kind::Initiated
            | Kind::PasswordChanged(_)
            | Kind::ChannelReplaced
            | Kind::EmailChanged
            | Kind::PasswordReset
            | Kind::ChannelReset
            | Kind::OtpRevoked
            | Kind::Suspended
            | Kind::Resumed
            | Kind::Deleted
            | Kind::CardRegistered
            | Kind::CardRevoked
            | Kind::SuspiciousAttempts
            | Kind::Locked => both(
                &format!(
                    "If you do not know of this, tell {} at once.",
                    self.support.english
                ),
                &format!("如你不知悉此事，請立即聯絡：{}。", self.support.chinese),
            ),
        };
        let notice::Notice {
            account, at, id, ..
        } = &self.notice;
        format!(
            "Account {account}, {at}\n{english}\n{warning}\nReference: {id}\n\n\
             帳戶 {account}，{at}\n{chinese}\n{warned}\n參考編號：{id}\n",
        )
    }
}

/// Whom to ask; what everybody knows where the policy's words hold a link.
fn without_links(support: Support) -> Support {
    let linked = |text: &str| ["://", "www."].iter().any(|part| text.contains(part));
    let unsaid = Support::unsaid();
    Support {
        english: Some(support.english)
            .filter(|text| !linked(text))
            .unwrap_or(unsaid.english),
        chinese: Some(support.chinese)
            .filter(|text| !linked(text))
            .unwrap_or(unsaid.chinese),
    }
}

/// Derived from cluster, line and notice: whoever sends it again sends the same.
fn message_id(notice: &notice::Notice, line: &LineRef) -> String {
    let line = Digest::of("notice line", &[&encoding::encode(line)]).to_string();
    let line = line.get(..16).unwrap_or_default();
    format!("<notice.{}.{line}@tidemark>", notice.id)
}

fn said(kind: &Kind) -> Both {
    match kind {
        Kind::Initiated => both(
            "Password and one-time password were set up for your account.",
            "你的帳戶已設定密碼及一次性密碼。",
        ),
        Kind::PasswordChanged(Method::Otp) => both(
            "The password of your account was changed.",
            "你的帳戶密碼已更改。",
        ),
        Kind::PasswordChanged(Method::Smartcard) => both(
            "The password of your smartcard login was changed.",
            "你的智能卡登入密碼已更改。",
        ),
        Kind::ChannelReplaced => both(
            "The way in which your account gets one-time passwords was changed.",
            "你的帳戶收取一次性密碼的途徑已更改。",
        ),
        Kind::EmailChanged => both(
            "The e-mail address of your account was changed.",
            "你的帳戶電郵地址已更改。",
        ),
        Kind::PasswordReset => both(
            "A reset of your account's password was started: the present one does not count any more.",
            "你的帳戶密碼正在重設，現有密碼已失效。",
        ),
        Kind::ChannelReset => both(
            "A reset of your account's one-time passwords was started: the present way to get them does not count any more.",
            "你的帳戶一次性密碼正在重設，現有途徑已失效。",
        ),
        Kind::OtpRevoked => both(
            "Password and one-time password of your account were taken away; set them up again.",
            "你的帳戶密碼及一次性密碼已被撤銷，請重新設定。",
        ),
        Kind::Suspended => both("Your account was suspended.", "你的帳戶已被暫停使用。"),
        Kind::Resumed => both("Your account may log in again.", "你的帳戶已恢復使用。"),
        Kind::Deleted => both("Your account was deleted.", "你的帳戶已被刪除。"),
        Kind::CardRegistered => both(
            "A smartcard was registered for your account.",
            "你的帳戶已登記智能卡。",
        ),
        Kind::CardRevoked => both(
            "The smartcard of your account was revoked.",
            "你的帳戶智能卡已被撤銷。",
        ),
        Kind::SuspiciousAttempts => both(
            "Somebody failed to log in to your account several times.",
            "有人多次嘗試登入你的帳戶但未能成功。",
        ),
        Kind::Locked => both(
            "Too many logins to your account failed: a password or its one-time passwords are disabled until they are unlocked.",
            "你的帳戶登入失敗次數過多，密碼或一次性密碼已被停用，直至解鎖為止。",
        ),
        Kind::NotCarriedForward { session, changes } => not_carried_forward(session, changes),
        Kind::Reminder => both(
            "Your account has yet to be set up with a password and one-time passwords. Ask for an activation code where you log in.",
            "你的帳戶尚未設定密碼及一次性密碼，請於登入頁面索取啟動碼。",
        ),
    }
}

/// What a rollover forgot, one line a change, the earliest first.
fn not_carried_forward(session: &SessionId, changes: &BTreeMap<audit::Kind, UnixMs>) -> Both {
    let mut changes: Vec<(UnixMs, audit::Kind)> =
        changes.iter().map(|(kind, at)| (*at, *kind)).collect();
    changes.sort_unstable();
    let (mut english, mut chinese) = (String::new(), String::new());
    for (at, kind) in &changes {
        let (what, zh) = changed(*kind);
        let time = time_of_day(*at);
        english.push_str(&format!(
            "Your change of {time} in session {session} was not carried forward: {what}.\n"
        ));
        chinese.push_str(&format!(
            "你於 {session} 節 {time} 作出的變更不獲保留：{zh}。\n"
        ));
    }
    english.push_str("Use your earlier password, and all else as it was before that session.");
    chinese.push_str("請使用你原有的密碼；其他設定亦與該節之前相同。");
    (english, chinese)
}

/// `22:14`, in Hong Kong (R14).
fn time_of_day(at: UnixMs) -> String {
    at.to_string().get(11..16).unwrap_or_default().to_owned()
}

fn changed(kind: audit::Kind) -> (&'static str, &'static str) {
    use audit::Kind as Audited;
    #[allow(
        clippy::wildcard_enum_match_arm,
        reason = "most of what is audited changes no account; `notice::tells_of` has the list"
    )]
    match kind {
        Audited::Initiated => (
            "password and one-time password set up",
            "設定密碼及一次性密碼",
        ),
        Audited::PasswordChanged => ("password changed", "更改密碼"),
        Audited::ChannelReplaced => (
            "way to get one-time passwords changed",
            "更改收取一次性密碼的途徑",
        ),
        Audited::OtpRevoked => (
            "password and one-time password taken away",
            "撤銷密碼及一次性密碼",
        ),
        Audited::PasswordReset => ("reset of the password", "重設密碼"),
        Audited::ChannelReset => ("reset of one-time passwords", "重設一次性密碼"),
        Audited::AccountSuspended => ("account suspended", "暫停帳戶"),
        Audited::AccountResumed => ("account resumed", "恢復帳戶"),
        Audited::AccountUnlocked => ("account unlocked", "解鎖帳戶"),
        Audited::AccountRenamed => ("name changed", "更改名稱"),
        Audited::AccountDeleted => ("account deleted", "刪除帳戶"),
        Audited::EmailSet => ("e-mail address changed", "更改電郵地址"),
        Audited::CardRegistered => ("smartcard registered", "登記智能卡"),
        Audited::CardRevoked => ("smartcard revoked", "撤銷智能卡"),
        _ => ("account changed", "更改帳戶"),
    }
}
