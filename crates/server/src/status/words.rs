//! What people are shown in their own language.

/// What people are shown in Traditional Chinese, by reason; English is canonical (R12).
const CHINESE: &[(&str, &str)] = &[
    ("CREDENTIALS_REJECTED", "用戶識別碼、密碼或驗證碼不正確"),
    ("TOKEN_EXPIRED", "登入已結束，請重新登入"),
    ("SESSION_CLOSED", "服務現已關閉"),
    ("BRANCH_OPEN", "服務現已關閉"),
    ("CENTRE_NOT_SERVING", "現由另一數據中心提供服務"),
    ("RATE_LIMITED", "嘗試次數過多，請稍後再試"),
    ("TOO_MANY", BUSY),
    ("HASHING_QUEUE_FULL", BUSY),
    ("NO_LEADER", BUSY),
    ("SECONDARY_UNREACHABLE", BUSY),
    ("CENTRE_CHANGING", BUSY),
    ("CLOCK_OFF", BUSY),
    ("NODE_STOPPING", BUSY),
    ("OUTCOME_UNKNOWN", "未能確定結果，請稍後再試"),
    ("INITIATION_REQUIRED", "請先設定密碼及一次性密碼"),
    ("ALREADY_INITIATED", "密碼及一次性密碼已經設定"),
    ("INITIATION_DENIED", "本節不可設定密碼及一次性密碼"),
    ("METHOD_OFF", "此登入方式已停用，請使用另一登入方式"),
    (
        "REVOCATION_LIST_OVERDUE",
        "智能卡登入暫停，請使用一次性密碼登入",
    ),
    ("NOT_ENROLLED", "參與者並未登記參加本節"),
    (
        "PARTICIPANT_SUSPENDED",
        "參與者已被暫停，恢復前其人員均不能登入",
    ),
    ("WRONG_PORTAL", "此帳戶須使用另一入口"),
    ("EMAIL_JUST_CHANGED", "電郵地址剛更改，暫不發送驗證碼"),
    ("PASSWORD_TOO_SHORT", "密碼太短"),
    ("PASSWORD_TOO_LONG", "密碼太長"),
    ("PASSWORD_BREACHED", "此密碼曾外洩，請另選密碼"),
    ("PASSWORD_BLOCKED", "此密碼不可使用，請另選密碼"),
    ("STEP_UP_REQUIRED", "請先驗證現有的途徑或智能卡"),
    ("PROCEDURE_ENDED", ANEW),
    ("ALREADY_DONE", ANEW),
    ("LINE_CHANGED", ANEW),
];

const BUSY: &str = "系統繁忙，請稍後再試";
const ANEW: &str = "請重新開始";

/// The text for a reason; elsewhere the English one stands.
pub(super) fn chinese(reason: &str) -> Option<&'static str> {
    let found = CHINESE.iter().find(|(known, _)| *known == reason);
    found.map(|(_, text)| *text)
}

/// Every reason that has a text.
#[cfg(test)]
pub(super) fn reasons() -> impl Iterator<Item = &'static str> {
    CHINESE.iter().map(|(reason, _)| *reason)
}
