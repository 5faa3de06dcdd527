//! The profile: how to reach a cluster, and as whom. `tidemark init` writes one that knows every
//! identity it made; an operator's own holds that operator alone. Paths in it are relative to it.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use domain::{BackEndId, CentreName, ClusterId, FrontEndId, OperatorId, ScriptId};
use serde::{Deserialize, Serialize};

use crate::exit::{Failure, file_failure};

/// What the file says.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct File {
    /// The cluster's uuid.
    pub cluster: String,
    /// The name that every node's certificate holds (R19).
    pub server_name: String,
    /// The authority of the nodes' certificates.
    pub ca: PathBuf,
    /// Operators, by id; the first one is taken if none is named.
    #[serde(default)]
    pub operators: BTreeMap<OperatorId, Identity>,
    /// Scripts, by id; one acts if it is named, or if there is no operator.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub scripts: BTreeMap<ScriptId, Identity>,
    /// Front ends, by id; for drills.
    #[serde(default)]
    pub front_ends: BTreeMap<FrontEndId, Identity>,
    /// Back ends, by id; for drills.
    #[serde(default)]
    pub back_ends: BTreeMap<BackEndId, Identity>,
    /// The authority of software smartcards; for drills on a cluster founded for them.
    #[serde(default)]
    pub cards: Option<Identity>,
    /// Folders in which nodes leave the mail that they send; for drills.
    #[serde(default)]
    pub mailboxes: Vec<PathBuf>,
    /// The nodes.
    #[serde(default)]
    pub node: Vec<Node>,
}

/// A certificate and its key, PEM files.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Identity {
    /// The certificate.
    pub cert: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

/// Where a node listens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Node {
    /// Its number.
    pub id: u64,
    /// Its centre.
    pub centre: CentreName,
    /// Its front-end listener, host and port.
    pub front: String,
    /// Its back-end listener.
    pub back: String,
    /// Its operators' listener.
    pub operator: String,
}

/// A profile, read and checked.
#[derive(Debug, Clone)]
pub struct Profile {
    file: File,
    cluster: ClusterId,
    folder: PathBuf,
}

impl Profile {
    /// Reads a profile file.
    ///
    /// # Errors
    /// If it cannot be read, has unknown fields, or names no node.
    pub fn read(path: &Path) -> Result<Self, Failure> {
        let text = fs::read_to_string(path).map_err(|error| file_failure("read", path, &error))?;
        let file: File = toml::from_str(&text).map_err(|error| {
            Failure::pre_check(format!("{} is no profile: {error}", path.display()))
        })?;
        let cluster = file.cluster.parse().map_err(|_| {
            Failure::pre_check(format!(
                "{}: cluster is no uuid: \"{}\"",
                path.display(),
                file.cluster
            ))
        })?;
        if file.node.is_empty() {
            return Err(Failure::pre_check(format!(
                "{} names no node: add a [[node]] with its addresses",
                path.display()
            )));
        }
        let folder = path.parent().unwrap_or_else(|| Path::new("")).to_path_buf();
        Ok(Self {
            file,
            cluster,
            folder,
        })
    }

    /// The cluster.
    #[must_use]
    pub fn cluster(&self) -> ClusterId {
        self.cluster
    }

    /// What the file says.
    #[must_use]
    pub fn file(&self) -> &File {
        &self.file
    }

    /// The nodes.
    #[must_use]
    pub fn nodes(&self) -> &[Node] {
        &self.file.node
    }

    /// The operator of this name, or the first one.
    ///
    /// # Errors
    /// If the profile has no such operator.
    pub fn operator(&self, name: Option<&str>) -> Result<(&OperatorId, &Identity), Failure> {
        let found = match name {
            Some(name) => self
                .file
                .operators
                .iter()
                .find(|(id, _)| id.as_str() == name),
            None => self.file.operators.first_key_value(),
        };
        found.ok_or_else(|| {
            let known: Vec<&str> = self.file.operators.keys().map(OperatorId::as_str).collect();
            Failure::usage(match name {
                Some(name) => format!("the profile has no operator \"{name}\""),
                None => "the profile has no operator".to_owned(),
            })
            .next(format!("it has: {}", known.join(", ")))
        })
    }

    /// Who acts at the operators' listener: the operator or script of this name, or the first
    /// operator, or where there is none the first script.
    ///
    /// # Errors
    /// If the profile has nobody of that name.
    pub fn actor(&self, name: Option<&str>) -> Result<&Identity, Failure> {
        let script = match name {
            Some(name) => {
                let id = name.strip_prefix("script/").unwrap_or(name);
                let mut scripts = self.file.scripts.iter();
                scripts.find(|(known, _)| known.as_str() == id)
            }
            None => self.file.scripts.first_key_value(),
        };
        match (self.operator(name), script) {
            (Ok((_, identity)), _) | (Err(_), Some((_, identity))) => Ok(identity),
            (Err(missing), None) => Err(missing),
        }
    }

    /// A path of the file, seen from here.
    #[must_use]
    pub fn path(&self, path: &Path) -> PathBuf {
        self.folder.join(path)
    }

    /// The text of a file that the profile names.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn text(&self, path: &Path) -> Result<String, Failure> {
        let path = self.path(path);
        fs::read_to_string(&path).map_err(|error| file_failure("read", &path, &error))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail loudly")]
mod tests {
    use super::*;

    const PROFILE: &str = r#"
cluster = "0188a1f0-0000-7abc-8123-456789abcdef"
server_name = "www.ccass.com"
ca = "ca/node.pem"

[operators.bob]
cert = "b.pem"
key = "b.key"

[operators.alice]
cert = "a.pem"
key = "a.key"

[[node]]
id = 1
centre = "east"
front = "127.0.0.1:7010"
back = "127.0.0.1:7011"
operator = "127.0.0.1:7012"
"#;

    fn read(text: &str) -> Result<Profile, Failure> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("profile.toml");
        fs::write(&path, text).unwrap();
        Profile::read(&path)
    }

    #[test]
    fn the_first_operator_acts_unless_another_is_named() {
        let profile = read(PROFILE).unwrap();
        assert_eq!(profile.operator(None).unwrap().0.as_str(), "alice");
        assert_eq!(profile.operator(Some("bob")).unwrap().0.as_str(), "bob");
        let missing = profile.operator(Some("carol")).unwrap_err();
        assert_eq!(missing.exit, crate::exit::Exit::Usage);
        assert_eq!(missing.next.unwrap(), "it has: alice, bob");
    }

    #[test]
    fn an_unknown_field_is_refused() {
        let refused = read(&PROFILE.replace("server_name", "servername")).unwrap_err();
        assert!(refused.what.contains("servername"), "{refused}");
        assert!(read(&PROFILE.replace("[[node]]", "[[nodes]]")).is_err());
    }
}
