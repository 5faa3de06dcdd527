//! Domain values as messages, and back. Nothing here decides anything.

use domain::account::{Account, Class, SetUp, Stage, Status};
use domain::change::Reason;
use domain::digest::Digest;
use domain::factor::{ChannelKind, Method, Reset};
use domain::id::{AccountId, ParticipantId};
use domain::migration::{Methods, Switch};
use domain::outcome::Functions;
use domain::portal::{Portal, Scope};
use domain::{Carry, Digests, LineId, LineRef, LogId, UnixMs};
use prost_types::{Duration, Timestamp};
use proto::account::v1 as account;
use proto::auth::v1 as auth;
use proto::line::v1 as line;

use crate::status::{Field, Refusal};

/// Shown after a CCMS login whose business functions are closed (R27); that exact text.
pub const FUNCTION_NOT_AVAILABLE: &str = "Function not available";

/// A time.
#[must_use]
pub fn time(at: UnixMs) -> Timestamp {
    Timestamp {
        seconds: i64::try_from(at.0 / 1_000).unwrap_or(i64::MAX),
        nanos: i32::try_from(at.0 % 1_000 * 1_000_000).unwrap_or_default(),
    }
}

/// A time, to the millisecond; none for one before 1970.
#[must_use]
pub fn read_time(at: &Timestamp) -> Option<UnixMs> {
    let seconds = u64::try_from(at.seconds).ok()?;
    let nanos = u64::try_from(at.nanos).ok()?;
    Some(UnixMs(
        seconds.checked_mul(1_000)?.checked_add(nanos / 1_000_000)?,
    ))
}

/// A length of time.
#[must_use]
pub fn duration(ms: u64) -> Duration {
    let Timestamp { seconds, nanos } = time(UnixMs(ms));
    Duration { seconds, nanos }
}

/// The line's name: `main`, or `branch/{session}/{genesis}`.
#[must_use]
pub fn line_name(line: &LineId) -> String {
    match line {
        LineId::Main => "main".to_owned(),
        LineId::Branch { session, genesis } => format!("branch/{session}/{genesis}"),
    }
}

/// A line.
#[must_use]
pub fn line_reference(reference: &LineRef) -> line::LineReference {
    line::LineReference {
        cluster: reference.cluster.to_string(),
        line: line_name(&reference.line),
        epoch: reference.epoch,
    }
}

/// A place in a log.
#[must_use]
pub fn log_id(at: LogId) -> line::LogId {
    line::LogId {
        term: at.term,
        node: at.node,
        index: at.index,
    }
}

/// A log id as a message has it.
#[must_use]
pub fn read_log_id(at: line::LogId) -> LogId {
    LogId {
        term: at.term,
        node: at.node,
        index: at.index,
    }
}

/// Two digests.
#[must_use]
pub fn digests(digests: &Digests) -> line::Digests {
    line::Digests {
        account: digests.account.to_string(),
        full: digests.full.to_string(),
    }
}

/// A digest in hexadecimal.
///
/// # Errors
/// `MALFORMED_…` for anything else.
pub fn read_digest(text: &str, field: &'static str) -> Result<Digest, Refusal> {
    let malformed = || Refusal::malformed(Field::Other(field), "64 hexadecimal digits");
    if text.len() != 64 || !text.is_ascii() {
        return Err(malformed());
    }
    let mut bytes = [0; 32];
    for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks(2)) {
        let pair = std::str::from_utf8(pair).map_err(|_| malformed())?;
        *byte = u8::from_str_radix(pair, 16).map_err(|_| malformed())?;
    }
    Ok(Digest(bytes))
}

/// What becomes of a change.
#[must_use]
pub fn carry(carry: Carry) -> line::CarryForward {
    match carry {
        Carry::CarriedForward => line::CarryForward::CarriedForward,
        Carry::DiscardedAtRollover => line::CarryForward::DiscardedAtRollover,
    }
}

/// The same in words.
#[must_use]
pub fn notice(carry: Carry) -> (&'static str, &'static str) {
    match carry {
        Carry::CarriedForward => ("What you change stays in force.", "你所作的變更將會保留。"),
        Carry::DiscardedAtRollover => (
            "What you change in this session is NOT carried forward to the next business day.",
            "你在本節所作的變更將不會保留至下一個營業日。",
        ),
    }
}

/// The same in one text, English first (R12).
#[must_use]
pub fn notice_text(of: Carry) -> String {
    let (english, chinese) = notice(of);
    format!("{english} {chinese}")
}

/// A portal.
#[must_use]
pub fn portal(portal: Portal) -> account::Portal {
    match portal {
        Portal::Ccms => account::Portal::Ccms,
        Portal::Dms => account::Portal::Dms,
    }
}

/// A portal; none when it was left out.
///
/// # Errors
/// `MALFORMED_PORTAL` for a number that no portal has.
pub fn read_portal(number: i32) -> Result<Option<Portal>, Refusal> {
    match account::Portal::try_from(number) {
        Ok(account::Portal::Unspecified) => Ok(None),
        Ok(account::Portal::Ccms) => Ok(Some(Portal::Ccms)),
        Ok(account::Portal::Dms) => Ok(Some(Portal::Dms)),
        Err(_) => Err(malformed_portal()),
    }
}

/// A portal that must be there.
///
/// # Errors
/// `MALFORMED_PORTAL`.
pub fn required_portal(number: i32) -> Result<Portal, Refusal> {
    read_portal(number)?.ok_or_else(malformed_portal)
}

fn malformed_portal() -> Refusal {
    Refusal::malformed(Field::Required("portal"), "PORTAL_CCMS or PORTAL_DMS")
}

/// A method.
#[must_use]
pub fn method(method: Method) -> account::Method {
    match method {
        Method::Smartcard => account::Method::Smartcard,
        Method::Otp => account::Method::Otp,
    }
}

/// The methods that were switched; what is on is not among them.
#[must_use]
pub fn method_switches(methods: &Methods) -> Vec<account::MethodSwitch> {
    let shown = |which: Method| {
        let (state, from) = match methods.get(which) {
            Switch::On => return None,
            Switch::Off => (account::MethodState::Off, None),
            Switch::OffFrom(from) => (account::MethodState::Off, Some(from)),
            Switch::OnFrom(from) => (account::MethodState::On, Some(from)),
        };
        Some(account::MethodSwitch {
            method: method(which).into(),
            state: state.into(),
            effective_time: from.map(time),
        })
    };
    [Method::Smartcard, Method::Otp]
        .into_iter()
        .filter_map(shown)
        .collect()
}

/// A channel; unspecified for none.
#[must_use]
pub fn channel(channel: Option<ChannelKind>) -> account::Channel {
    match channel {
        None => account::Channel::Unspecified,
        Some(ChannelKind::Authenticator) => account::Channel::Authenticator,
        Some(ChannelKind::Email) => account::Channel::Email,
    }
}

/// A method; none when it was left out.
///
/// # Errors
/// `MALFORMED_METHOD` for a number that no method has.
pub fn read_method(number: i32) -> Result<Option<Method>, Refusal> {
    match account::Method::try_from(number) {
        Ok(account::Method::Unspecified) => Ok(None),
        Ok(account::Method::Smartcard) => Ok(Some(Method::Smartcard)),
        Ok(account::Method::Otp) => Ok(Some(Method::Otp)),
        Err(_) => Err(Refusal::malformed(
            Field::Other("method"),
            "METHOD_SMARTCARD or METHOD_OTP",
        )),
    }
}

/// A method that must be said.
///
/// # Errors
/// `MALFORMED_METHOD` when it was left out too.
pub fn required_method(number: i32, field: &'static str) -> Result<Method, Refusal> {
    read_method(number)?
        .ok_or_else(|| Refusal::malformed(Field::Required(field), "METHOD_SMARTCARD or METHOD_OTP"))
}

/// What somebody sets up.
#[must_use]
pub fn set_up(set_up: SetUp) -> auth::SetUp {
    match set_up {
        SetUp::Both => auth::SetUp::Both,
        SetUp::Password => auth::SetUp::Password,
        SetUp::Channel => auth::SetUp::Channel,
    }
}

/// A channel; the authenticator app where nothing is said (S40).
///
/// # Errors
/// `MALFORMED_CHANNEL`.
pub fn read_channel(number: i32) -> Result<ChannelKind, Refusal> {
    match account::Channel::try_from(number) {
        Ok(account::Channel::Unspecified | account::Channel::Authenticator) => {
            Ok(ChannelKind::Authenticator)
        }
        Ok(account::Channel::Email) => Ok(ChannelKind::Email),
        Err(_) => Err(Refusal::malformed(
            Field::Other("channel"),
            "CHANNEL_AUTHENTICATOR or CHANNEL_EMAIL",
        )),
    }
}

/// Why somebody changes a factor; it must be said.
///
/// # Errors
/// `MALFORMED_REASON`.
pub fn read_reason(number: i32) -> Result<Reason, Refusal> {
    match account::ChangeReason::try_from(number) {
        Ok(account::ChangeReason::Routine) => Ok(Reason::Routine),
        Ok(account::ChangeReason::LostOrCompromised) => Ok(Reason::LostOrCompromised),
        Ok(account::ChangeReason::Unspecified) | Err(_) => Err(Refusal::malformed(
            Field::Required("reason"),
            "CHANGE_REASON_ROUTINE or CHANGE_REASON_LOST_OR_COMPROMISED",
        )),
    }
}

/// A class of accounts.
#[must_use]
pub fn class(class: Class) -> account::AccountClass {
    match class {
        Class::User => account::AccountClass::User,
        Class::DelegatedAdmin => account::AccountClass::DelegatedAdmin,
    }
}

/// The ids of scopes.
#[must_use]
pub fn scopes(scopes: &[Scope]) -> Vec<String> {
    scopes.iter().map(|scope| scope.id().to_owned()).collect()
}

/// What is shown when the business functions are closed; else nothing.
#[must_use]
pub fn function_status(functions: Functions) -> String {
    match functions {
        Functions::NotAvailable => FUNCTION_NOT_AVAILABLE.to_owned(),
        Functions::Open | Functions::Completed => String::new(),
    }
}

/// The participant's resource name.
#[must_use]
pub fn participant_name(participant: &ParticipantId) -> String {
    format!("participants/{participant}")
}

/// The account's resource name.
#[must_use]
pub fn account_name(participant: &ParticipantId, class: Class, id: &AccountId) -> String {
    let kind = kind_of(class);
    format!("participants/{participant}/{kind}/{id}")
}

fn kind_of(class: Class) -> &'static str {
    match class {
        Class::User => "users",
        Class::DelegatedAdmin => "delegatedAdmins",
    }
}

/// What an account's resource name says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Name {
    /// The firm.
    pub participant: ParticipantId,
    /// The class.
    pub class: Class,
    /// The user id.
    pub id: AccountId,
}

impl Name {
    /// Whether it is this account's.
    #[must_use]
    pub fn is_of(&self, account: &Account) -> bool {
        self.id == account.id
            && self.class == account.class
            && self.participant == account.participant
    }
}

/// Reads an account's resource name.
///
/// # Errors
/// `MALFORMED_NAME`.
pub fn read_account_name(text: &str) -> Result<Name, Refusal> {
    let malformed = || {
        Refusal::malformed(
            Field::Other("name"),
            "participants/{p}/users/{u} or participants/{p}/delegatedAdmins/{d}",
        )
    };
    let mut parts = text.split('/');
    let (Some("participants"), Some(participant), Some(kind), Some(id), None) = (
        parts.next(),
        parts.next(),
        parts.next(),
        parts.next(),
        parts.next(),
    ) else {
        return Err(malformed());
    };
    let class = [Class::User, Class::DelegatedAdmin]
        .into_iter()
        .find(|class| kind_of(*class) == kind)
        .ok_or_else(malformed)?;
    Ok(Name {
        participant: ParticipantId::parse(participant).map_err(|_| malformed())?,
        class,
        id: AccountId::parse(id).map_err(|_| malformed())?,
    })
}

/// Reads `participants/{p}`; none for `participants/-`, which is all.
///
/// # Errors
/// `MALFORMED_PARENT`.
pub fn read_parent(text: &str) -> Result<Option<ParticipantId>, Refusal> {
    let malformed =
        || Refusal::malformed(Field::Other("parent"), "participants/{p} or participants/-");
    match text.strip_prefix("participants/").ok_or_else(malformed)? {
        "-" => Ok(None),
        id => ParticipantId::parse(id).map(Some).map_err(|_| malformed()),
    }
}

/// An account, without secrets.
#[must_use]
pub fn account(of: &Account) -> account::Account {
    let locked = of.otp.as_ref().is_some_and(domain::factor::Otp::locked)
        || of.locked(Method::Smartcard)
        || of.locked(Method::Otp);
    let status = match &of.status {
        Status::Suspended { .. } => account::AccountStatus::Suspended,
        Status::Deleted { .. } => account::AccountStatus::Deleted,
        Status::Active if locked => account::AccountStatus::Locked,
        Status::Active => account::AccountStatus::Active,
    };
    let stage = match of.stage() {
        Stage::NoEmail => account::Stage::SmartcardOnly,
        Stage::EmailRegistered => account::Stage::EmailRegistered,
        Stage::Initiated => account::Stage::Initiated,
        Stage::TwoFactorOnly => account::Stage::TwoFactorOnly,
    };
    account::Account {
        name: account_name(&of.participant, of.class, &of.id),
        user_id: of.id.to_string(),
        account_class: class(of.class).into(),
        status: status.into(),
        stage: stage.into(),
        email: of
            .email
            .as_ref()
            .map(|email| email.address.clone())
            .unwrap_or_default(),
        channel: channel(of.otp.as_ref().map(|otp| otp.channel.kind())).into(),
        has_card: of.card.is_some(),
        last_login_time: of.last_login.map(time),
        etag: of.etag().to_string(),
        title: of.title.clone(),
        email_codes_from_time: of
            .email
            .as_ref()
            .filter(|email| email.codes_from > email.since)
            .map(|email| time(email.codes_from)),
        reset: match of.otp.as_ref().and_then(|otp| otp.reset) {
            None => account::Reset::Unspecified,
            Some(Reset::Password) => account::Reset::Password,
            Some(Reset::Channel) => account::Reset::Channel,
        }
        .into(),
        method_switches: method_switches(&of.methods),
    }
}

/// The version that a caller saw; none where it does not say. One that no version can have is
/// another than any.
///
/// # Errors
/// `ETAG_MISMATCH`.
pub fn read_etag(text: &str) -> Result<Option<Digest>, Refusal> {
    match text {
        "" => Ok(None),
        etag => etag.parse().map(Some).map_err(|_| Refusal::EtagMismatch),
    }
}

/// A page's size: the default for 0, never more than the limit (AIP-158).
///
/// # Errors
/// `MALFORMED_PAGE_SIZE` for a negative one.
pub fn page_size(asked: i32, default: usize, max: usize) -> Result<usize, Refusal> {
    match usize::try_from(asked) {
        Ok(0) => Ok(default),
        Ok(size) => Ok(size.min(max)),
        Err(_) => Err(Refusal::malformed(Field::Other("page_size"), "0 or more")),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail loudly")]
mod tests {
    use super::*;

    #[test]
    fn resource_names_read_back() {
        let name = read_account_name("participants/C00001/users/KAY01").unwrap();
        assert_eq!(
            account_name(&name.participant, name.class, &name.id),
            "participants/C00001/users/KAY01"
        );
        let name = read_account_name("participants/C1/delegatedAdmins/d").unwrap();
        assert_eq!(name.class, Class::DelegatedAdmin);
        for bad in [
            "",
            "participants/C1",
            "participants/C1/clerks/x",
            "participants/C1/users/x/y",
        ] {
            assert!(read_account_name(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn times_read_back() {
        let at = UnixMs(1_686_391_200_123);
        assert_eq!(read_time(&time(at)), Some(at));
    }

    #[test]
    fn what_a_branch_forgets_is_said_in_both_languages_r12() {
        let text = notice_text(Carry::DiscardedAtRollover);
        assert!(text.contains("NOT carried forward"));
        assert!(text.contains("不會保留"));
    }
}
