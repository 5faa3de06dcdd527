//! What people are shown in their own language.

/// What people are shown in Traditional Chinese; elsewhere the English text stands (R12).
pub(super) fn chinese(reason: &str) -> Option<&'static str> {
    Some(match reason {
        "CREDENTIALS_REJECTED" => "用戶識別碼、密碼或驗證碼不正確",
        "TOKEN_EXPIRED" => "登入已結束，請重新登入",
        "SESSION_CLOSED" => "服務現已關閉",
        "CENTRE_NOT_SERVING" => "現由另一數據中心提供服務",
        "RATE_LIMITED" => "嘗試次數過多，請稍後再試",
        "HASHING_QUEUE_FULL" | "NO_LEADER" | "SECONDARY_UNREACHABLE" | "CENTRE_CHANGING" => {
            "系統繁忙，請稍後再試"
        }
        "INITIATION_REQUIRED" => "請先設定密碼及一次性密碼",
        "ALREADY_INITIATED" => "密碼及一次性密碼已經設定",
        "INITIATION_DENIED" => "本節不可設定密碼及一次性密碼",
        "METHOD_OFF" => "此登入方式已停用，請使用另一登入方式",
        "REVOCATION_LIST_OVERDUE" => "智能卡登入暫停，請使用一次性密碼登入",
        "NOT_ENROLLED" => "參與者並未登記參加本節",
        "WRONG_PORTAL" => "此帳戶須使用另一入口",
        "PASSWORD_TOO_SHORT" => "密碼太短",
        "PASSWORD_TOO_LONG" => "密碼太長",
        "PASSWORD_BREACHED" => "此密碼曾外洩，請另選密碼",
        "PASSWORD_BLOCKED" => "此密碼不可使用，請另選密碼",
        "STEP_UP_REQUIRED" => "請先驗證現有的途徑或智能卡",
        "ALREADY_DONE" | "LINE_CHANGED" => "請重新開始",
        _ => return None,
    })
}
