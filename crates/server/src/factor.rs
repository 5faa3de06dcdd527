//! Factors at the edge: what a person typed or a card signed becomes a verdict, and what is new
//! is sealed (LOGIN.md). Every verdict on somebody who does not exist costs what it costs for
//! somebody who does (S23).

use credential::associated::Associated;
use credential::breached::Wanted;
use credential::card::{self, Challenge};
use credential::code::Code;
use credential::password::{Verdict as Typed, Verifier};
use credential::qr;
use credential::rules::{self, Person, Strength};
use credential::secret::{Malformed, Password, Seed};
use credential::totp::{self, LOOKBACK_STEPS, Parameters};
use domain::account::Account;
use domain::factor::{
    CardProof, Channel, ChannelKind, CodeProof, Method, NewChannel, Sealed, Verdict,
};
use domain::id::{AccountId, ProcedureId};
use domain::login::Subject;
use domain::revocation::Serial;
use domain::{Digest, State, UnixMs};
use proto::auth::v1 as auth;
use tokio::sync::oneshot;
use zeroize::Zeroizing;

use crate::edge::Edge;
use crate::hashing::Lane;
use crate::status::{Field, Refusal};

/// The issuer that authenticator apps show.
const ISSUER: &str = "tidemark";
/// Longest user id that is looked at, in bytes; a longer one is nobody's.
const USER_ID_BYTES_MAX: usize = 256;

/// Somebody who says to be `user_id`: an account, or nobody, who is treated alike.
pub struct Claimed {
    /// Who.
    pub subject: Subject,
    /// The user id in capitals, as challenges name it.
    pub user_id: String,
    /// The account, if there is one.
    pub account: Option<Account>,
}

impl Claimed {
    /// Looks the user id up.
    ///
    /// # Errors
    /// `MALFORMED_USER_ID` for an empty or very long one; any other is somebody's or nobody's.
    pub fn look_up(edge: &Edge, state: &State, typed: &str) -> Result<Self, Refusal> {
        let typed = typed.trim();
        if typed.is_empty() || typed.len() > USER_ID_BYTES_MAX {
            let should_be = format!("1 to {USER_ID_BYTES_MAX} bytes");
            return Err(Refusal::malformed(Field::UserId, &should_be));
        }
        let user_id = typed.to_uppercase();
        // Taken for everybody, so that it costs the same.
        let digest = unknown(edge, state, &user_id);
        let account = AccountId::parse(typed)
            .ok()
            .and_then(|id| state.account(&id).cloned());
        Ok(Self {
            subject: match &account {
                Some(account) => Subject::Known(account.id.clone()),
                None => Subject::Unknown(digest),
            },
            user_id,
            account,
        })
    }

    /// The account's id, or one that no account can have.
    #[must_use]
    pub fn row(&self) -> AccountId {
        row(self.account.as_ref())
    }
}

/// The keyed digest that a user id is known by while nobody has it: failures that were counted
/// under a former key go on being counted, as an account's do (S23).
fn unknown(edge: &Edge, state: &State, user_id: &str) -> Digest {
    let now = edge.now(state);
    let counted = |digest: &Digest| {
        let methods = [Method::Smartcard, Method::Otp];
        methods
            .iter()
            .any(|method| state.unknown(&(*digest, *method), now).is_some())
    };
    let former = edge.keyring().former_digests("user id", user_id.as_bytes());
    let digest = edge.keyring().digest("user id", user_id.as_bytes()).digest;
    let former = former.into_iter().map(|keyed| keyed.digest);
    former.into_iter().find(counted).unwrap_or(digest)
}

/// The id that something is sealed for. What is sealed for nobody is never opened.
#[must_use]
pub fn row(account: Option<&Account>) -> AccountId {
    match account {
        Some(account) => account.id.clone(),
        None => AccountId::parse("nobody").unwrap_or_else(|never| {
            // The text is well formed.
            unreachable!("{never}")
        }),
    }
}

/// A password that was typed to be compared.
///
/// # Errors
/// `MALFORMED_…` when it is empty or longer than any.
pub fn typed(text: &str, field: Field) -> Result<Password, Refusal> {
    Password::parse(text).map_err(|wrong| Refusal::malformed(field, &should_be(wrong)))
}

fn should_be(wrong: Malformed) -> String {
    format!("a password: what was sent {wrong}")
}

/// Whether the password is the account's for this method, on the hashing threads.
///
/// # Errors
/// `HASHING_QUEUE_FULL` when too many wait.
pub async fn judge(
    edge: &Edge,
    lane: &Lane,
    password: Password,
    account: Option<&Account>,
    method: Method,
) -> Result<Verdict, Refusal> {
    compare(edge, lane, password, account, method, None).await
}

/// As `judge`; and a right password that is kept at less than today's cost is hashed anew, after
/// the verdict (S21). None comes where none is due.
///
/// # Errors
/// As `judge`.
pub async fn judge_and_renew(
    edge: &Edge,
    lane: &Lane,
    password: Password,
    account: Option<&Account>,
    method: Method,
) -> Result<(Verdict, oneshot::Receiver<Verifier>), Refusal> {
    let (sender, anew) = oneshot::channel();
    let verdict = compare(edge, lane, password, account, method, Some(sender)).await?;
    Ok((verdict, anew))
}

async fn compare(
    edge: &Edge,
    lane: &Lane,
    password: Password,
    account: Option<&Account>,
    method: Method,
    anew: Option<oneshot::Sender<Verifier>>,
) -> Result<Verdict, Refusal> {
    let stored = account.and_then(|account| Some((&account.id, account.password(method)?)));
    let verifier = match stored {
        None => None,
        Some((id, stored)) => {
            let opened = edge
                .keyring()
                .open(&stored.verifier, &Associated::verifier(id, method))?;
            let verifier = Verifier::from_bytes(&opened);
            Some(verifier.map_err(|fault| Refusal::Internal(fault.to_string()))?)
        }
    };
    let version = stored.map_or(0, |(_, stored)| stored.version);
    match edge
        .parts()
        .pool
        .verify(lane, password, verifier, anew)
        .await?
    {
        Typed::Right => Ok(Verdict::Right { version }),
        Typed::Wrong => Ok(Verdict::Wrong),
    }
}

/// A new password for the account's method: held to the rules, hashed and sealed.
///
/// # Errors
/// `PASSWORD_TOO_SHORT` or `PASSWORD_BLOCKED`, with the reason (S18).
pub async fn new_password(
    edge: &Edge,
    lane: &Lane,
    text: &str,
    account: Option<&Account>,
    method: Method,
) -> Result<Sealed, Refusal> {
    let password = Password::parse(text).map_err(|wrong| match wrong {
        Malformed::TooLong { .. } => Refusal::PasswordTooLong,
        Malformed::Empty | Malformed::TooShort { .. } | Malformed::Alphabet => {
            Refusal::Password(rules::Refusal::TooShort {
                min: rules::LENGTH_MIN,
            })
        }
    })?;
    let person = Person {
        user_id: account.map_or("", |account| account.id.as_str()),
        participant_id: account.map_or("", |account| account.participant.as_str()),
        email: account
            .and_then(|account| account.email.as_ref())
            .map(|email| email.address.as_str()),
    };
    check_new(edge, &password, &person).await?;
    let verifier = edge.parts().pool.hash(lane, password).await?;
    let associated = Associated::verifier(&row(account), method);
    Ok(seal(edge, verifier.as_bytes(), &associated)?)
}

/// Holds a new password to the rules, and to the list of stolen ones.
///
/// # Errors
/// `PASSWORD_TOO_SHORT`, `PASSWORD_BLOCKED` or `PASSWORD_BREACHED`, with the reason (S18). A list
/// that cannot be read lets no password pass.
async fn check_new(edge: &Edge, password: &Password, person: &Person<'_>) -> Result<(), Refusal> {
    rules::check(password, Strength::WithSecondFactor, person).map_err(Refusal::Password)?;
    let Some(list) = edge.parts().breached.clone() else {
        return Ok(());
    };
    let wanted = Wanted::of(password);
    let looked = tokio::task::spawn_blocking(move || list.holds(&wanted))
        .await
        .map_err(|error| Refusal::Internal(error.to_string()))?;
    match looked {
        Ok(false) => Ok(()),
        Ok(true) => Err(Refusal::Password(rules::Refusal::Breached)),
        Err(error) => Err(Refusal::Internal(error.to_string())),
    }
}

/// Seals a value for its row.
///
/// # Errors
/// The keyring's.
pub fn seal(
    edge: &Edge,
    plaintext: &[u8],
    associated: &Associated,
) -> Result<Sealed, credential::seal::Error> {
    edge.keyring().seal(plaintext, associated, edge.entropy())
}

/// What a typed code proves of a channel. `mailed` is the sealed code that was sent.
///
/// # Errors
/// The keyring's: a sealed value that does not open.
pub fn code_proof(
    edge: &Edge,
    account: &AccountId,
    seed: Option<&Sealed>,
    mailed: Option<(&Sealed, &Associated)>,
    typed: &str,
    now: UnixMs,
) -> Result<CodeProof, Refusal> {
    let Ok(typed) = Code::parse(typed) else {
        return Ok(match seed {
            Some(_) => CodeProof::Step(None),
            None => CodeProof::Mailed { matched: false },
        });
    };
    let Some(seed) = seed else {
        let matched = match mailed {
            None => false,
            Some((sealed, associated)) => matches_sealed_code(edge, sealed, associated, &typed)?,
        };
        return Ok(CodeProof::Mailed { matched });
    };
    let opened = edge.keyring().open(seed, &Associated::seed(account))?;
    let seed = Seed::from_bytes(opened).map_err(|fault| Refusal::Internal(fault.to_string()))?;
    let step = totp::matched_step(&seed, Parameters::default(), &typed, now, LOOKBACK_STEPS);
    Ok(CodeProof::Step(
        step.map_err(|fault| Refusal::Internal(fault.to_string()))?,
    ))
}

fn matches_sealed_code(
    edge: &Edge,
    sealed: &Sealed,
    associated: &Associated,
    typed: &Code,
) -> Result<bool, Refusal> {
    let opened = edge.keyring().open(sealed, associated)?;
    let text = std::str::from_utf8(&opened).unwrap_or_default();
    Ok(Code::parse(text).is_ok_and(|sent| sent.matches(typed)))
}

/// What a typed code proves of the account's own channel.
///
/// # Errors
/// As [`code_proof`].
pub fn own_code_proof(
    edge: &Edge,
    account: &Account,
    mailed: Option<(&Sealed, &Associated)>,
    typed: &str,
    now: UnixMs,
) -> Result<CodeProof, Refusal> {
    let seed = account.otp.as_ref().and_then(|otp| match &otp.channel {
        Channel::Authenticator { seed, .. } => Some(seed),
        Channel::Email => None,
    });
    code_proof(edge, &account.id, seed, mailed, typed, now)
}

/// What a typed code proves of a channel that is being set up.
///
/// # Errors
/// As [`code_proof`].
pub fn new_code_proof(
    edge: &Edge,
    account: &AccountId,
    procedure: ProcedureId,
    channel: &NewChannel,
    typed: &str,
    now: UnixMs,
) -> Result<CodeProof, Refusal> {
    let associated = Associated::procedure_code(account, procedure);
    match channel {
        NewChannel::Authenticator { seed } => {
            code_proof(edge, account, Some(seed), None, typed, now)
        }
        NewChannel::Email { code } => {
            code_proof(edge, account, None, Some((code, &associated)), typed, now)
        }
    }
}

/// A channel to set up, and what the person must be told or sent.
pub struct Enrolment {
    /// The channel, sealed.
    pub channel: NewChannel,
    /// The app's key, told once.
    pub authenticator: Option<auth::AuthenticatorEnrolment>,
    /// The code to mail once the channel is named in the log.
    pub code: Option<Code>,
}

/// A new channel of this kind for the account, or for nobody.
///
/// # Errors
/// The keyring's.
pub fn enrol(
    edge: &Edge,
    account: &AccountId,
    procedure: ProcedureId,
    kind: ChannelKind,
) -> Result<Enrolment, Refusal> {
    match kind {
        ChannelKind::Authenticator => {
            let secret = Seed::random(edge.entropy());
            let uri = totp::uri(&secret, Parameters::default(), ISSUER, account.as_str())
                .map_err(|fault| Refusal::Internal(fault.to_string()))?;
            let drawn = qr::svg(&uri).map_err(|fault| Refusal::Internal(fault.to_string()))?;
            Ok(Enrolment {
                channel: NewChannel::Authenticator {
                    seed: seal(edge, secret.as_bytes(), &Associated::seed(account))?,
                },
                authenticator: Some(auth::AuthenticatorEnrolment {
                    otpauth_uri: plain(&uri),
                    secret_base32: plain(&secret.text()),
                    qr_code_svg: plain(&drawn),
                }),
                code: None,
            })
        }
        ChannelKind::Email => {
            let code = Code::random(edge.entropy());
            let associated = Associated::procedure_code(account, procedure);
            Ok(Enrolment {
                channel: NewChannel::Email {
                    code: seal(edge, code.as_bytes(), &associated)?,
                },
                authenticator: None,
                code: Some(code),
            })
        }
    }
}

/// A secret that leaves in an answer: tonic wants a plain string.
#[must_use]
pub fn plain(secret: &Zeroizing<String>) -> String {
    secret.as_str().to_owned()
}

/// The card that signed the challenge; none when chain or signature do not hold.
#[must_use]
pub fn card_proof(
    edge: &Edge,
    state: &State,
    proof: &auth::CardProof,
    challenge: &Challenge,
    now: UnixMs,
) -> Option<CardProof> {
    let proved = card::verify(
        &edge.parts().anchors,
        &edge.revocations(state),
        &proof.certificate_chain_der,
        challenge,
        &proof.signature,
        now,
    );
    match proved {
        Ok(proved) => {
            let serials = std::iter::once(&proved.serial).chain(&proved.issuers);
            Some(CardProof {
                number: proved.number.clone(),
                serials: serials
                    .map(|serial| Serial(serial.as_bytes().to_vec()))
                    .collect(),
            })
        }
        Err(error) => {
            // The person is told nothing of it.
            tracing::info!(%error, "a card proved nothing");
            None
        }
    }
}

/// A challenge as a message.
#[must_use]
pub fn challenge(of: &Challenge) -> auth::CardChallenge {
    auth::CardChallenge {
        line: Some(crate::wire::line_reference(&of.line)),
        portal: crate::wire::portal(of.portal).into(),
        option: of.option.clone(),
        user_id: of.user_id.clone(),
        nonce: of.nonce.to_vec(),
        expire_unix_ms: of.expires_at.0,
    }
}
