//! Signed approvals, as an operator makes them: the statement shown, then signed with the key of
//! the operator's own profile (LOGIN.md, "Administration"). What an act's arguments are is
//! `domain`'s to say; this side and the service use the same definition.

use domain::approval::Act;
use domain::{ClusterId, UnixMs};
use proto::approval::v1::Approval;
use proto::operator::v1::GetStatusResponse;
use zeroize::Zeroizing;

use crate::drill::words;
use crate::exit::Failure;
use crate::output::Output;
use crate::profile::{Identity, Profile};

/// How long an approval is valid: less than it may be, so that clocks may differ a little.
const LIFE_MS: u64 = 25 * 60_000;

/// What an operator has been shown: the place of the main line that a statement names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seen {
    /// The cluster.
    pub cluster: ClusterId,
    /// The main line's epoch.
    pub epoch: u64,
    /// The last entry that the node had applied.
    pub index: u64,
    /// The node's clock.
    pub now: UnixMs,
}

impl Seen {
    /// The place that a node's status shows.
    ///
    /// # Errors
    /// If it shows no main line.
    pub fn of(status: &GetStatusResponse) -> Result<Self, Failure> {
        let main = status.lines.first();
        let line = main.and_then(|main| main.line.as_ref());
        // A node that was restarted alone knows of no entry yet that it is committed.
        let index = main.map(|main| main.applied_log_id.unwrap_or_default().index);
        let cluster = line.and_then(|line| line.cluster.parse().ok());
        match (cluster, line, index) {
            (Some(cluster), Some(line), Some(index)) => Ok(Self {
                cluster,
                epoch: line.epoch,
                index,
                now: words::unix_ms(status.clock_time.as_ref()),
            }),
            _ => Err(Failure::pre_check(
                "the node shows no main line that could be approved on",
            )),
        }
    }
}

/// What an operator signs with.
#[derive(Clone)]
pub struct Pen {
    certificate_pem: String,
    key_pem: Zeroizing<String>,
}

impl std::fmt::Debug for Pen {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pen").finish_non_exhaustive()
    }
}

impl Pen {
    /// The key and certificate of an identity of the profile.
    ///
    /// # Errors
    /// If a file cannot be read.
    pub fn read(profile: &Profile, identity: &Identity) -> Result<Self, Failure> {
        Ok(Self::new(
            profile.text(&identity.cert)?,
            Zeroizing::new(profile.text(&identity.key)?),
        ))
    }

    /// A pen of a certificate and its key, both PEM.
    #[must_use]
    pub fn new(certificate_pem: String, key_pem: Zeroizing<String>) -> Self {
        Self {
            certificate_pem,
            key_pem,
        }
    }

    /// Signs the act, as of what was shown.
    ///
    /// # Errors
    /// If the key or the certificate cannot be used.
    pub fn sign(&self, act: &Act, seen: &Seen) -> Result<Approval, Failure> {
        self.sign_until(act, seen, seen.now.plus(LIFE_MS))
    }

    /// As `sign`, valid until `expires_at`.
    ///
    /// # Errors
    /// As `sign`.
    pub fn sign_until(
        &self,
        act: &Act,
        seen: &Seen,
        expires_at: UnixMs,
    ) -> Result<Approval, Failure> {
        let statement = act.statement((seen.cluster, seen.epoch), seen.index, expires_at);
        let signed = credential::approval::sign(&self.key_pem, &self.certificate_pem, statement)
            .map_err(|error| Failure::pre_check(format!("nothing was signed: {error}")))?;
        Ok(Approval {
            certificate: signed.certificate,
            signature: signed.signature,
            index: seen.index,
            expire_time: Some(words::timestamp(expires_at)),
        })
    }
}

/// Shows what is to be signed, on stderr.
pub(crate) fn show(act: &Act, seen: &Seen, output: Output) {
    let mut text = format!("signing       {}", act.name());
    for (name, value) in act.arguments() {
        text.push_str(&format!("\n  {name:<12}{value}"));
    }
    let until = words::local(Some(&words::timestamp(seen.now.plus(LIFE_MS))));
    text.push_str(&format!(
        "\n  {:<12}{}, epoch {}, as of entry {}, until {until}",
        "cluster", seen.cluster, seen.epoch, seen.index
    ));
    output.talk(&text);
}
