//! What a step of a drill can do, one type an act. Everything here is what somebody outside the
//! cluster does: a person at a front end, a back end, an operator.

use domain::{CentreName, OperatorId, SessionId};
use serde::Deserialize;

/// The act of a step.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    /// An operator imports the drill's participants and accounts.
    Import(Import),
    /// An operator sets the drill's timetable, or a spoilt copy of it.
    SetTimetable(SetTimetable),
    /// An operator looks for an account in the readiness report.
    Unready(Unready),
    /// A person logs in.
    Login(Login),
    /// A person logs out.
    Logout(Logout),
    /// A person asks for an activation code; the answer is the same for everybody.
    AskActivation(AskActivation),
    /// An administrator has the second half of an activation code made, to pass on by voice.
    IssueHalf(IssueHalf),
    /// A person sets up password and OTP channel.
    Initiate(Initiate),
    /// A person changes the password of the token's method.
    ChangePassword(ChangePassword),
    /// A person replaces the OTP channel.
    ReplaceChannel(ReplaceChannel),
    /// A delegated administrator suspends a user.
    Suspend(Suspend),
    /// An operator suspends somebody in an emergency, on the main line or where people log in.
    EmergencySuspend(EmergencySuspend),
    /// A back end checks a token at every node of the serving centre.
    Introspect(Introspect),
    /// An operator approves that a session be opened.
    Approve(Approve),
    /// An operator opens a session.
    Open(Open),
    /// An operator closes a session.
    Close(Close),
    /// An operator rolls a session over.
    Rollover(Rollover),
    /// The branch's digest on each node of its centre is the main line's at the boundary (I1).
    BranchIsBoundary(OfSession),
    /// What the evidence says is forgotten is what the drill's people did (I5).
    ForgottenIsDone(OfSession),
    /// No token or password of the branch is accepted by any rpc that takes one (I6).
    BranchSecretsDead(OfSession),
    /// The digests of all nodes are equal at one entry of the main line.
    NodesAgree(Nothing),
    /// A process of its own gets the same account digest from the exported log alone (I4).
    ReplayAgrees(Nothing),
    /// The server's own records show each login of the drill (R51, R56).
    MatrixAgrees(Nothing),
}

/// An act that needs no words.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Nothing {}

/// `import`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Import {
    /// The operator; the profile's first one if not said.
    pub operator: Option<OperatorId>,
}

/// `set-timetable`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SetTimetable {
    /// A text of the file and what stands in its place, to spoil it.
    pub replace: Option<(String, String)>,
}

/// `unready`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Unready {
    /// Who is to be in the report.
    pub person: String,
}

/// How a login proves its second factor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Factor {
    /// The smartcard signs.
    Card,
    /// The authenticator app shows a code.
    App,
    /// A code comes by e-mail.
    Email,
}

/// `login`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Login {
    /// Who.
    pub person: String,
    /// The landing option.
    pub option: String,
    /// Which of the person's passwords.
    pub password: String,
    /// The second factor.
    pub factor: Factor,
    /// Which of the person's app keys, where there are several.
    pub key: Option<String>,
    /// The centre to go to; the one that serves if not said.
    pub centre: Option<CentreName>,
    /// What the token is called afterwards; it is forgotten if not said.
    pub token: Option<String>,
    /// Whether "Function not available" must show (R27), or must not (R28).
    pub function_not_available: Option<bool>,
}

/// `logout`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Logout {
    /// Which token.
    pub token: String,
}

/// `ask-activation`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AskActivation {
    /// Who.
    pub person: String,
    /// Whether a code comes by e-mail.
    pub mail: bool,
}

/// `issue-half`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IssueHalf {
    /// For whom.
    pub person: String,
    /// The token of the delegated administrator.
    pub token: String,
}

/// What an activation code alone does not prove (S24).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Proof {
    /// The card's password, the person's `card`.
    CardPassword,
    /// The half that an administrator passed on by voice.
    SecondHalf,
}

/// The channel of one-time passwords.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OtpChannel {
    /// The authenticator app.
    App,
    /// The registered e-mail address.
    Email,
}

/// `initiate`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Initiate {
    /// Who.
    pub person: String,
    /// The channel to set up.
    pub channel: OtpChannel,
    /// What proves more than the code.
    pub proof: Proof,
    /// Which of the person's passwords to set.
    pub password: String,
    /// What the app's key is called afterwards; `app` if not said.
    pub key: Option<String>,
}

/// Why somebody changes a factor.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Why {
    /// Of their own wish.
    #[default]
    Routine,
    /// The old one may be in other hands.
    LostOrCompromised,
}

/// `change-password`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChangePassword {
    /// Whose, by the token.
    pub token: String,
    /// Which password it is now.
    pub current: String,
    /// Which it is to be.
    pub new: String,
    /// Why.
    #[serde(default)]
    pub why: Why,
}

/// `replace-channel`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReplaceChannel {
    /// Whose, by the token.
    pub token: String,
    /// Which of the person's passwords is the current one.
    pub current: String,
    /// Which app key proves the current channel; `app` if not said.
    pub key: Option<String>,
    /// What the new app key is called afterwards.
    pub new_key: String,
    /// Why.
    #[serde(default)]
    pub why: Why,
}

/// `suspend`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Suspend {
    /// Whom.
    pub person: String,
    /// The token of the delegated administrator.
    pub token: String,
    /// Why, for the audit.
    pub reason: String,
}

/// Where an emergency suspension acts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Where {
    /// On the main line: it stays.
    Main,
    /// On the open branch: it acts where people are logging in.
    Serving,
}

/// `emergency-suspend`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EmergencySuspend {
    /// Whom.
    pub person: String,
    /// Where.
    pub on: Where,
    /// Why, for the audit.
    pub reason: String,
    /// The operator; the profile's first one if not said.
    pub operator: Option<OperatorId>,
}

/// `introspect`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Introspect {
    /// Which token.
    pub token: String,
    /// The scope that it must have.
    pub scope: String,
    /// Whether it must be good. If not, it must be dead everywhere within a second (S32).
    pub active: bool,
}

/// `approve`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Approve {
    /// The session.
    pub session: SessionId,
    /// Which of the profile's operators: 1 or 2.
    pub operator: usize,
}

/// `open`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Open {
    /// The session.
    pub session: SessionId,
}

/// `close`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Close {
    /// The session.
    pub session: SessionId,
}

/// `rollover`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rollover {
    /// The session.
    pub session: SessionId,
    /// People whose items are repeated on the main line.
    #[serde(default)]
    pub repeat: Vec<String>,
    /// People whose items stay forgotten.
    #[serde(default)]
    pub waive: Vec<String>,
    /// Whether it must have been done before.
    #[serde(default)]
    pub already_done: bool,
}

/// An act on a session's branch.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OfSession {
    /// The session.
    pub session: SessionId,
}
