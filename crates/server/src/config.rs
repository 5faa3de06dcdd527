//! `node.toml`: what one node is told by the file it is started with.
//!
//! Unknown fields are refused, so that a misspelt one does not silently keep its default. What
//! the whole cluster agrees on (policy, calendar, who is registered) is deliberately absent: that
//! is in the state.

use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use consensus::peers::Peer;
use domain::id::PLACES;
use domain::{CentreName, NodeId};
use serde::Deserialize;

use crate::web::Origins;

/// Most bytes of a configuration file.
pub const FILE_BYTES_MAX: u64 = 64 * 1024;
/// Most threads that hash passwords.
pub const HASHING_THREADS_MAX: usize = 256;
/// Most passwords that wait for a hashing thread.
pub const HASHING_QUEUE_MAX: usize = 65_536;

/// Why a configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file could not be read.
    #[error("cannot read {path}: {source}")]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file is larger than any configuration.
    #[error("{path} has more than {FILE_BYTES_MAX} bytes: is it a configuration file?")]
    TooLarge {
        /// Which file.
        path: PathBuf,
    },
    /// The text is no configuration: the message names line, field and what is allowed.
    #[error("{path}: {source}")]
    Form {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        source: Box<toml::de::Error>,
    },
    /// A value that the form allows and the node does not.
    #[error("{path}: {what}")]
    Value {
        /// Which file.
        path: PathBuf,
        /// What is wrong, and what would be right.
        what: String,
    },
}

/// What a node is started with. Relative paths of the file are made absolute here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// The node's place: its number as in the founding file, or as it was registered with.
    pub node: u64,
    /// Nodes that came after the founding, whom a node without anything on its disk asks too.
    pub others: Vec<Peer>,
    /// Where everything is kept. One process at a time.
    pub data: PathBuf,
    /// A program that stops the other centre for good and exits with 0 once it has: asked in a
    /// promotion, with the centre's name as its argument, when that centre does not say itself that
    /// it has stopped.
    pub fence_hook: Option<PathBuf>,
    /// The founding file.
    pub founding: PathBuf,
    /// The key file.
    pub keys: PathBuf,
    /// The node's certificate, and those that lead to its anchor (PEM).
    pub certificate: PathBuf,
    /// The key of the certificate (PEM).
    pub private_key: PathBuf,
    /// Where the node listens.
    pub listen: Listen,
    /// The origins whose pages may call by gRPC-Web; none unless the file names some.
    pub web_origins: Origins,
    /// Whom the node trusts.
    pub anchors: Anchors,
    /// How passwords are hashed.
    pub hashing: Hashing,
    /// The list of stolen passwords that no new one may be on (S18), if there is one.
    pub breached_passwords: Option<PathBuf>,
    /// How mail leaves.
    pub mail: Mail,
}

/// The addresses; port 0 takes any that is free.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Listen {
    /// For front ends.
    pub front: SocketAddr,
    /// For back ends.
    pub back: SocketAddr,
    /// For operators.
    pub operator: SocketAddr,
    /// For the other nodes.
    pub peer: SocketAddr,
    /// For load balancers, in plain HTTP; not served unless it is named.
    pub health: Option<SocketAddr>,
    /// Figures for a monitoring system, in plain HTTP; not served unless it is named.
    pub metrics: Option<SocketAddr>,
}

/// Trust anchors, one file (PEM) for each listener, and for smartcards.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Anchors {
    /// Of front ends.
    pub front: PathBuf,
    /// Of back ends.
    pub back: PathBuf,
    /// Of operators.
    pub operator: PathBuf,
    /// Of nodes.
    pub peer: PathBuf,
    /// Of smartcards.
    pub cards: PathBuf,
}

/// The pool of hashing threads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Hashing {
    /// How many threads; 0 for one a core.
    pub threads: usize,
    /// How many passwords may wait; more are shed.
    pub queue: usize,
}

impl Default for Hashing {
    fn default() -> Self {
        Self {
            threads: 0,
            queue: 256,
        }
    }
}

/// How mail leaves the node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mail {
    /// The sender's address.
    pub from: String,
    /// Where it goes.
    pub way: Way,
}

/// Where mail goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Way {
    /// Into a folder, a file a message: for drills, and for an agent that picks them up.
    Folder(PathBuf),
    /// To a mail server.
    Smtp(Smtp),
}

/// A mail server.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Smtp {
    /// Its name, which its certificate must carry.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// How the connection is secured.
    #[serde(default)]
    pub security: SmtpSecurity,
    /// The file (PEM) with the trust anchors of its certificate, where it is not one that everybody
    /// trusts; then no other is trusted.
    pub anchors: Option<PathBuf>,
    /// Whom to log in as, if at all.
    pub user: Option<String>,
    /// The file with the password for that, so that this file holds no secret.
    pub password_file: Option<PathBuf>,
}

/// How the connection to a mail server is secured. There is no way without TLS: mail holds codes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SmtpSecurity {
    /// Plain at first, then `STARTTLS`, or nothing is sent.
    #[default]
    Starttls,
    /// TLS from the first byte.
    Tls,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    node: u64,
    data: PathBuf,
    founding: PathBuf,
    keys: PathBuf,
    certificate: PathBuf,
    private_key: PathBuf,
    #[serde(default)]
    web_origins: Vec<String>,
    breached_passwords: Option<PathBuf>,
    fence_hook: Option<PathBuf>,
    #[serde(default)]
    peer: Vec<OtherNode>,
    listen: Listen,
    anchors: Anchors,
    #[serde(default)]
    hashing: Hashing,
    #[serde(default)]
    mail: MailTable,
}

/// A node that came after the founding.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OtherNode {
    node: u64,
    centre: CentreName,
    address: String,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct MailTable {
    from: Option<String>,
    folder: Option<PathBuf>,
    smtp: Option<Smtp>,
}

impl Config {
    /// Reads a file; its relative paths begin at its own folder.
    ///
    /// # Errors
    /// [`Error`], with what to change.
    pub fn read(path: &Path) -> Result<Self, Error> {
        let failed = |source| Error::Read {
            path: path.to_owned(),
            source,
        };
        let length = std::fs::metadata(path).map_err(failed)?.len();
        if length > FILE_BYTES_MAX {
            return Err(Error::TooLarge {
                path: path.to_owned(),
            });
        }
        let text = std::fs::read_to_string(path).map_err(failed)?;
        Self::parse(&text, path)
    }

    /// Reads the text of a file that is, or would be, at `path`.
    ///
    /// # Errors
    /// [`Error`], with what to change.
    pub fn parse(text: &str, path: &Path) -> Result<Self, Error> {
        let file: File = toml::from_str(text).map_err(|source| Error::Form {
            path: path.to_owned(),
            source: Box::new(source),
        })?;
        let base = path.parent().unwrap_or_else(|| Path::new(""));
        let wrong = |what: &dyn fmt::Display| Error::Value {
            path: path.to_owned(),
            what: what.to_string(),
        };
        if !(1..PLACES).contains(&file.node) {
            return Err(wrong(&format_args!(
                "node must be from 1 to {}, as in the founding file",
                PLACES - 1
            )));
        }
        let Hashing { threads, queue } = file.hashing;
        if threads > HASHING_THREADS_MAX {
            return Err(wrong(&format_args!(
                "hashing.threads must be at most {HASHING_THREADS_MAX}; 0 for one a core"
            )));
        }
        if !(1..=HASHING_QUEUE_MAX).contains(&queue) {
            return Err(wrong(&format_args!(
                "hashing.queue must be from 1 to {HASHING_QUEUE_MAX}"
            )));
        }
        let data = base.join(file.data);
        let way = match (file.mail.folder, file.mail.smtp) {
            (Some(_), Some(_)) => {
                return Err(wrong(&"mail.folder and mail.smtp exclude each other"));
            }
            (Some(folder), None) => Way::Folder(base.join(folder)),
            (None, None) => Way::Folder(data.join("outbox")),
            (None, Some(mut smtp)) => {
                if smtp.user.is_some() != smtp.password_file.is_some() {
                    return Err(wrong(
                        &"mail.smtp.user and mail.smtp.password_file go together",
                    ));
                }
                smtp.password_file = smtp.password_file.map(|file| base.join(file));
                smtp.anchors = smtp.anchors.map(|file| base.join(file));
                Way::Smtp(smtp)
            }
        };
        Ok(Self {
            node: file.node,
            data,
            founding: base.join(file.founding),
            keys: base.join(file.keys),
            certificate: base.join(file.certificate),
            private_key: base.join(file.private_key),
            listen: file.listen,
            web_origins: Origins::parse(&file.web_origins).map_err(|what| wrong(&what))?,
            anchors: Anchors {
                front: base.join(file.anchors.front),
                back: base.join(file.anchors.back),
                operator: base.join(file.anchors.operator),
                peer: base.join(file.anchors.peer),
                cards: base.join(file.anchors.cards),
            },
            hashing: file.hashing,
            breached_passwords: file.breached_passwords.map(|path| base.join(path)),
            fence_hook: file.fence_hook.map(|path| base.join(path)),
            others: file
                .peer
                .into_iter()
                .map(|other| Peer {
                    node: NodeId(other.node),
                    centre: other.centre,
                    address: other.address,
                })
                .collect(),
            mail: Mail {
                from: file
                    .mail
                    .from
                    .unwrap_or_else(|| "tidemark <no-reply@localhost>".to_owned()),
                way,
            },
        })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic, reason = "a test may fail loudly")]
mod tests {
    use super::*;

    const NODE: &str = r#"
node = 1
data = "data"
founding = "founding.json"
keys = "/etc/tidemark/keys.toml"
certificate = "node.pem"
private_key = "node.key"

[listen]
front = "127.0.0.1:0"
back = "127.0.0.1:0"
operator = "127.0.0.1:0"
peer = "127.0.0.1:0"

[anchors]
front = "front.pem"
back = "back.pem"
operator = "operator.pem"
peer = "peer.pem"
cards = "cards.pem"
"#;

    fn parse(text: &str) -> Result<Config, Error> {
        Config::parse(text, Path::new("/srv/n1/node.toml"))
    }

    #[test]
    fn paths_begin_at_the_files_folder() {
        let config = parse(NODE).unwrap();
        assert_eq!(config.data, Path::new("/srv/n1/data"));
        assert_eq!(config.keys, Path::new("/etc/tidemark/keys.toml"));
        assert_eq!(config.breached_passwords, None);
        let listed = parse(&format!("breached_passwords = \"pwned.txt\"\n{NODE}")).unwrap();
        let list = listed.breached_passwords.unwrap();
        assert_eq!(list, Path::new("/srv/n1/pwned.txt"));
        let Way::Folder(outbox) = config.mail.way else {
            panic!("a folder is the default");
        };
        assert_eq!(outbox, Path::new("/srv/n1/data/outbox"));
    }

    #[test]
    fn a_mail_server_s_files_begin_at_the_files_folder_too() {
        let smtp =
            "smtp = { host = \"m\", port = 465, security = \"tls\", anchors = \"mail.pem\" }";
        let config = parse(&format!("{NODE}\n[mail]\n{smtp}")).unwrap();
        let Way::Smtp(smtp) = config.mail.way else {
            panic!("a mail server was named");
        };
        assert_eq!(smtp.security, SmtpSecurity::Tls);
        assert_eq!(smtp.anchors.unwrap(), Path::new("/srv/n1/mail.pem"));
    }

    #[test]
    fn an_unknown_field_is_refused_by_name() {
        for text in [
            format!("tls = false\n{NODE}"),
            format!("{NODE}\n[hashing]\nthread = 4"),
            NODE.replace("peer = \"127", "peers = \"127"),
        ] {
            let message = parse(&text).unwrap_err().to_string();
            assert!(message.contains("unknown field"), "{message}");
            assert!(message.contains("/srv/n1/node.toml"), "{message}");
        }
    }

    #[test]
    fn values_that_cannot_be_are_refused() {
        for (text, named) in [
            (NODE.replace("node = 1", "node = 0"), "node"),
            (format!("web_origins = [\"*\"]\n{NODE}"), "web_origins"),
            (format!("{NODE}[hashing]\nqueue = 0"), "hashing.queue"),
            (
                format!("{NODE}[hashing]\nthreads = 1000"),
                "hashing.threads",
            ),
            (
                format!("{NODE}[mail]\nfolder = \"a\"\nsmtp = {{ host = \"m\", port = 25 }}"),
                "mail.folder",
            ),
            (
                format!("{NODE}[mail]\nsmtp = {{ host = \"m\", port = 25, user = \"u\" }}"),
                "mail.smtp.user",
            ),
        ] {
            let message = parse(&text).unwrap_err().to_string();
            assert!(message.contains(named), "{message}");
        }
    }

    #[test]
    fn a_missing_file_is_named() {
        let error = Config::read(Path::new("/nowhere/node.toml")).unwrap_err();
        assert!(error.to_string().contains("/nowhere/node.toml"));
    }
}
