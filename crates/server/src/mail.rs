//! Mail: one-time codes, activation codes, and notices of what changed (LOGIN.md, "Mail").
//!
//! Codes are sent once, after their commit; notices stand in the line's state until `post` has
//! mailed them. Every mail is in English and Traditional Chinese (R12) and holds no link (S29);
//! mail of a branch says that it is of a drill. Deliberately absent: whether something may be sent;
//! that is the line's answer.

use std::fmt;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use credential::code::{Code, Half};
use domain::{LogId, UnixMs};
use lettre::message::header::{ContentTransferEncoding, ContentType, HeaderName, HeaderValue};
use lettre::message::{Body, Mailbox};
use lettre::transport::smtp::AsyncSmtpTransport;
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Certificate, CertificateStore, Tls, TlsParameters};
use lettre::{AsyncTransport, Message, Tokio1Executor};
use tokio::io::AsyncWriteExt as _;
use tokio::sync::Semaphore;
use uuid::Uuid;
use zeroize::Zeroizing;

use crate::config::{Smtp, SmtpSecurity, Way};

mod notice;
pub mod post;

pub use notice::Notice;

/// Most mails on their way at once; further ones are dropped with a warning.
pub const UNDER_WAY_MAX: usize = 256;

/// How long a mail server may take over one step.
const SMTP_STEP_MAX: Duration = Duration::from_secs(20);

/// Mail in a folder holds codes: nobody but its owner reads it.
const FOLDER_MODE: u32 = 0o700;
const FILE_MODE: u32 = 0o600;

/// Why no mail can be sent, or one was not.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The sender of the configuration is no address.
    #[error("mail.from {0:?} is not an address")]
    From(String),
    /// A person's address cannot be used.
    #[error("the address cannot be used")]
    To,
    /// The message could not be put together.
    #[error("the message could not be made: {0}")]
    Message(#[from] lettre::error::Error),
    /// The folder cannot be written.
    #[error("{folder}: {source}")]
    Folder {
        /// Which folder.
        folder: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The mail server cannot be called as the configuration says.
    #[error("the mail server {host}: {source}")]
    Server {
        /// Its host.
        host: String,
        /// Why.
        source: lettre::transport::smtp::Error,
    },
    /// The mail server refused, or could not be reached. Its own words are left out: they quote
    /// the recipient.
    #[error("{0}")]
    Smtp(String),
    /// The mail server took the connection and refused this mail for good. Its own words are left
    /// out here too.
    #[error("{0}")]
    Refused(String),
    /// Too many are on their way.
    #[error("more than {UNDER_WAY_MAX} mails are on their way")]
    TooMany,
}

/// What went wrong with the mail server, and the code of its answer if it gave one.
fn smtp_words(error: &lettre::transport::smtp::Error) -> String {
    match error.status() {
        Some(code) => format!("the mail server answered {code}"),
        None if error.is_timeout() => "the mail server did not answer in time".to_owned(),
        None if error.is_tls() => "no TLS with the mail server".to_owned(),
        None if error.is_response() => "the mail server's answer cannot be read".to_owned(),
        None if error.is_client() => "the mail server cannot take the mail".to_owned(),
        None => "the mail server cannot be reached".to_owned(),
    }
}

/// Whether a mail is about something that stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mark {
    /// It is.
    Real,
    /// It is of a branch, and will be forgotten.
    Drill,
}

/// What is sent.
pub enum Letter {
    /// A one-time code for a login.
    LoginCode(Code, UnixMs),
    /// A one-time code that proves a channel or confirms an act.
    ConfirmationCode(Code, UnixMs),
    /// The mailed part of an activation.
    ActivationCode(Half, UnixMs),
    /// A notice.
    Notice(Notice),
}

impl Letter {
    /// A stable name, in a header of the mail.
    fn kind(&self) -> &'static str {
        match self {
            Self::LoginCode(..) => "login-code",
            Self::ConfirmationCode(..) => "channel-code",
            Self::ActivationCode(..) => "activation-code",
            Self::Notice(..) => "notice",
        }
    }

    fn subject(&self) -> &'static str {
        match self {
            Self::LoginCode(..) => "One-time password / 一次性密碼",
            Self::ConfirmationCode(..) => "Confirmation code / 確認碼",
            Self::ActivationCode(..) => "Activation code / 啟動碼",
            Self::Notice(notice) => notice.subject(),
        }
    }

    fn text(&self) -> Zeroizing<String> {
        Zeroizing::new(match self {
            Self::LoginCode(code, ends) => format!(
                "Your one-time password.\nCode: {code}\nIt counts once, until {ends}. Nobody will ask you for it.\n\n\
                 你的一次性密碼已列於上方，\n只可使用一次，有效至 {ends}。任何人均不會向你索取。\n",
                code = code.text(),
            ),
            Self::ConfirmationCode(code, ends) => format!(
                "Your confirmation code.\nCode: {code}\nIt counts once, until {ends}. Nobody will ask you for it.\n\n\
                 你的確認碼已列於上方，\n只可使用一次，有效至 {ends}。任何人均不會向你索取。\n",
                code = code.text(),
            ),
            Self::ActivationCode(half, ends) => {
                let half = half.text();
                format!(
                    "Your activation code.\nCode: {}\nIt counts once, until {ends}, with your smartcard password or the code that your administrator gives you.\n\n\
                     你的啟動碼已列於上方，\n只可使用一次，有效至 {ends}，並須配合智能卡密碼或管理員提供的代碼。\n",
                    *half,
                )
            }
            Self::Notice(notice) => notice.text(),
        })
    }

    /// One id for one act: a mail that is sent again is known for the same.
    fn message_id(&self, about: LogId) -> String {
        match self {
            Self::Notice(notice) => notice.message_id().to_owned(),
            Self::LoginCode(..) | Self::ConfirmationCode(..) | Self::ActivationCode(..) => {
                format!("<{}.{about}@tidemark>", self.kind())
            }
        }
    }
}

/// Answers that are about this mail and not about who sends it (RFC 5321 §4.2.3, RFC 3463).
const ABOUT_THE_MAIL: [u16; 6] = [550, 551, 552, 553, 554, 556];

fn smtp_error(error: &lettre::transport::smtp::Error) -> Error {
    let code = error.status().map(u16::from);
    let words = smtp_words(error);
    match code {
        Some(code) if ABOUT_THE_MAIL.contains(&code) => Error::Refused(words),
        Some(_) | None => Error::Smtp(words),
    }
}

#[derive(Clone)]
enum Sender {
    Folder(Arc<Path>),
    Smtp(Arc<AsyncSmtpTransport<Tokio1Executor>>),
}

/// Where mail leaves the node. Clones share it.
#[derive(Clone)]
pub struct Outbox {
    from: Mailbox,
    sender: Sender,
    under_way: Arc<Semaphore>,
}

impl fmt::Debug for Outbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outbox")
            .field("from", &self.from)
            .finish_non_exhaustive()
    }
}

impl Outbox {
    /// An outbox as the configuration says. A folder is made if it is not there.
    ///
    /// # Errors
    /// [`Error`] when the sender is no address, or folder or password file cannot be used.
    pub fn open(config: &crate::config::Mail) -> Result<Self, Error> {
        let from = config.from.parse();
        let from = from.map_err(|_| Error::From(config.from.clone()))?;
        let sender = match &config.way {
            Way::Folder(folder) => {
                let made = std::fs::DirBuilder::new()
                    .recursive(true)
                    .mode(FOLDER_MODE)
                    .create(folder);
                made.map_err(|source| Error::Folder {
                    folder: folder.clone(),
                    source,
                })?;
                Sender::Folder(folder.as_path().into())
            }
            Way::Smtp(smtp) => Sender::Smtp(Arc::new(transport(smtp)?)),
        };
        Ok(Self {
            from,
            sender,
            under_way: Arc::new(Semaphore::new(UNDER_WAY_MAX)),
        })
    }

    /// Sends a letter behind the caller's back, so that the time of an answer does not tell
    /// whether one was sent. A failure is logged, without the address.
    pub fn post(&self, to: &str, letter: Letter, mark: Mark, about: LogId) {
        let kind = letter.kind();
        let (outbox, to) = (self.clone(), to.to_owned());
        let Ok(permit) = Arc::clone(&self.under_way).try_acquire_owned() else {
            tracing::warn!(kind, error = %Error::TooMany, "a mail was not sent");
            return;
        };
        tokio::spawn(async move {
            if let Err(error) = outbox.send(&to, &letter, mark, about).await {
                tracing::warn!(kind, %error, "a mail was not sent");
            }
            drop(permit);
        });
    }

    /// Sends a letter, and waits until it is in the folder or with the mail server.
    ///
    /// # Errors
    /// [`Error`]; the mail may be sent again then.
    pub async fn send(
        &self,
        to: &str,
        letter: &Letter,
        mark: Mark,
        about: LogId,
    ) -> Result<(), Error> {
        let message = self.message(to, letter, mark, about)?;
        self.deliver(message).await
    }

    fn message(
        &self,
        to: &str,
        letter: &Letter,
        mark: Mark,
        about: LogId,
    ) -> Result<Message, Error> {
        let (subject, text) = (letter.subject(), letter.text());
        let (subject, text) = match mark {
            Mark::Real => (subject.to_owned(), text),
            Mark::Drill => (
                format!("[DRILL / 演習] {subject}"),
                Zeroizing::new(format!(
                    "DRILL: what is changed in this session is forgotten afterwards.\n\
                     演習：在本節作出的變更不會保留。\n\n{}",
                    *text
                )),
            ),
        };
        // As it is, and not in base64: people and drills read the folder. Our lines are far
        // shorter than the 998 bytes that a line may have (RFC 5322 §2.1.1).
        let body = Body::dangerous_pre_encoded(
            text.replace('\n', "\r\n").into_bytes(),
            ContentTransferEncoding::EightBit,
        );
        let header = |name: &'static str, value: &str| {
            HeaderValue::new(HeaderName::new_from_ascii_str(name), value.to_owned())
        };
        let mark = match mark {
            Mark::Real => "no",
            Mark::Drill => "yes",
        };
        let mut message = Message::builder()
            .from(self.from.clone())
            .to(to.parse().map_err(|_| Error::To)?)
            .subject(subject)
            .message_id(Some(letter.message_id(about)))
            .header(ContentType::TEXT_PLAIN)
            .body(body)?;
        let headers = message.headers_mut();
        headers.insert_raw(header("X-Tidemark-Kind", letter.kind()));
        headers.insert_raw(header("X-Tidemark-Drill", mark));
        Ok(message)
    }

    async fn deliver(&self, message: Message) -> Result<(), Error> {
        match &self.sender {
            Sender::Smtp(server) => {
                let sent = server.send(message).await;
                sent.map_err(|error| smtp_error(&error))?;
                Ok(())
            }
            Sender::Folder(folder) => {
                let failed = |source| Error::Folder {
                    folder: folder.to_path_buf(),
                    source,
                };
                // Named by time, so that a listing is in the order of sending; renamed when
                // whole, so that nobody reads half a mail.
                let name = Uuid::now_v7();
                let partial = folder.join(format!(".{name}"));
                let bytes = Zeroizing::new(message.formatted());
                private(&partial, &bytes).await.map_err(failed)?;
                tokio::fs::rename(&partial, folder.join(format!("{name}.eml")))
                    .await
                    .map_err(failed)
            }
        }
    }
}

/// Writes a new file that nobody but its owner reads.
async fn private(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let mut file = tokio::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(FILE_MODE)
        .open(path)
        .await?;
    file.write_all(bytes).await?;
    file.flush().await
}

fn transport(smtp: &Smtp) -> Result<AsyncSmtpTransport<Tokio1Executor>, Error> {
    let tls = tls(smtp)?;
    let builder = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(&smtp.host)
        .port(smtp.port)
        .timeout(Some(SMTP_STEP_MAX))
        .tls(match smtp.security {
            SmtpSecurity::Starttls => Tls::Required(tls),
            SmtpSecurity::Tls => Tls::Wrapper(tls),
        });
    let (Some(user), Some(file)) = (&smtp.user, &smtp.password_file) else {
        return Ok(builder.build());
    };
    let password = read(file)?;
    let credentials = Credentials::new(user.clone(), password.trim_end().to_owned());
    Ok(builder.credentials(credentials).build())
}

fn tls(smtp: &Smtp) -> Result<TlsParameters, Error> {
    let failed = |source| Error::Server {
        host: smtp.host.clone(),
        source,
    };
    let mut tls = TlsParameters::builder(smtp.host.clone());
    if let Some(file) = &smtp.anchors {
        let anchors = Certificate::from_pem(read(file)?.as_bytes()).map_err(failed)?;
        tls = tls
            .certificate_store(CertificateStore::None)
            .add_root_certificate(anchors);
    }
    tls.build().map_err(failed)
}

fn read(file: &Path) -> Result<Zeroizing<String>, Error> {
    let text = std::fs::read_to_string(file).map_err(|source| Error::Folder {
        folder: file.to_owned(),
        source,
    })?;
    Ok(Zeroizing::new(text))
}

#[cfg(test)]
mod tests;
