//! Connections to nodes over mutual TLS. Any node takes an operator's call: it forwards to the
//! leader by itself, so all there is to find is a node that answers.

use std::future::Future;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use proto::admin::v1::account_service_client::AccountServiceClient;
use proto::admin::v1::change_request_service_client::ChangeRequestServiceClient;
use proto::admin::v1::import_service_client::ImportServiceClient;
use proto::admin::v1::participant_service_client::ParticipantServiceClient;
use proto::admin::v1::readiness_service_client::ReadinessServiceClient;
use proto::audit::v1::audit_service_client::AuditServiceClient;
use proto::operator::v1::backup_service_client::BackupServiceClient;
use proto::operator::v1::calendar_service_client::CalendarServiceClient;
use proto::operator::v1::centre_service_client::CentreServiceClient;
use proto::operator::v1::cluster_service_client::ClusterServiceClient;
use proto::operator::v1::emergency_service_client::EmergencyServiceClient;
use proto::operator::v1::key_service_client::KeyServiceClient;
use proto::operator::v1::node_service_client::NodeServiceClient;
use proto::operator::v1::policy_service_client::PolicyServiceClient;
use proto::operator::v1::registration_service_client::RegistrationServiceClient;
use proto::operator::v1::revocation_list_service_client::RevocationListServiceClient;
use proto::operator::v1::script_service_client::ScriptServiceClient;
use proto::operator::v1::session_service_client::SessionServiceClient;
use proto::operator::v1::{GetStatusRequest, GetStatusResponse};
use tokio::time::Instant;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint};
use tonic::{Request, Status};

use crate::approval::{self, Pen, Seen};
use crate::args::{Change, Connection};
use crate::drill::clock::{ahead, mint, time};
use crate::drill::words;
use crate::exit::{Exit, Failure};
use crate::output::Output;
use crate::profile::{Identity, Profile};
use crate::refusal::{self, Asked};

/// How long a node may take to accept a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// Largest message that is taken from a node.
const MESSAGE_BYTES_MAX: usize = 16 * 1024 * 1024;

/// A channel to `address` that connects when it is first used.
///
/// # Errors
/// If a PEM file cannot be read, or the address is none.
pub fn dial(profile: &Profile, identity: &Identity, address: &str) -> Result<Channel, Failure> {
    let file = profile.file();
    let tls = ClientTlsConfig::new()
        .ca_certificate(Certificate::from_pem(profile.text(&file.ca)?))
        .identity(tonic::transport::Identity::from_pem(
            profile.text(&identity.cert)?,
            profile.text(&identity.key)?,
        ))
        .domain_name(&file.server_name);
    let endpoint = Endpoint::from_shared(format!("https://{address}"))
        .and_then(|endpoint| endpoint.tls_config(tls))
        .map_err(|error| Failure::pre_check(format!("cannot dial {address}: {error}")))?;
    Ok(endpoint
        .connect_timeout(CONNECT_TIMEOUT)
        .tcp_nodelay(true)
        .connect_lazy())
}

/// Whether a change of this process was committed without being protected.
static DEGRADED: AtomicBool = AtomicBool::new(false);

/// Whether a change that this process asked for was committed while the secondary centre did not
/// confirm: it is lost if the primary is lost before the secondary has it.
#[must_use]
pub fn was_degraded() -> bool {
    DEGRADED.load(Ordering::Relaxed)
}

fn is_degraded<T>(answer: &tonic::Response<T>) -> bool {
    let said = answer.metadata().get(server::gate::PROTECTION);
    said.is_some_and(|said| said == "degraded")
}

/// An operator's connection to one node.
#[derive(Debug, Clone)]
pub struct Operator {
    channel: Channel,
    pen: Pen,
    node: u64,
    timeout: Duration,
    /// How far the cluster's clock is ahead of this machine's; 0 unless it is simulated.
    ahead_ms: i64,
}

impl Operator {
    /// Connects as the flags say: to the node that they name, or to the first that answers.
    ///
    /// # Errors
    /// If the profile lacks the operator or the node, or no node answers.
    pub async fn connect(flags: &Connection) -> Result<Self, Failure> {
        let profile = Profile::read(&flags.profile)?;
        let mut failures = Vec::new();
        for mut node in Self::each(flags, &profile)? {
            match node.answers().await {
                Ok(()) => return Ok(node),
                Err(status) => failures.push(format!("node {}: {}", node.node, status.message())),
            }
        }
        Err(Failure::new(
            Exit::PreCheck,
            format!("no node answers:\n  {}", failures.join("\n  ")),
        )
        .next("start the nodes, or check the addresses in the profile"))
    }

    /// As `connect`, to a node of the centre that serves, unless the flags name a node: there
    /// accounts are looked after. Between sessions any node takes operators' calls.
    ///
    /// # Errors
    /// As `connect`.
    pub async fn serving(flags: &Connection) -> Result<Self, Failure> {
        let first = Self::connect(flags).await?;
        let status = first.status().await?;
        let serving = status.centres.iter().find(|centre| centre.serving);
        let Some(serving) = serving.filter(|centre| centre.centre != status.node_centre) else {
            return Ok(first);
        };
        if flags.node.is_some() {
            return Ok(first);
        }
        let profile = Profile::read(&flags.profile)?;
        for node in profile.nodes() {
            if node.centre.as_str() != serving.centre {
                continue;
            }
            let mut there = flags.clone();
            there.node = Some(node.id);
            if let Ok(found) = Self::connect(&there).await {
                return Ok(found);
            }
        }
        // It says which centre serves, in its own words.
        Ok(first)
    }

    /// A connection to each node that the flags allow, connected or not.
    ///
    /// # Errors
    /// If the profile lacks the operator or the node.
    pub fn each(flags: &Connection, profile: &Profile) -> Result<Vec<Self>, Failure> {
        let identity = profile.actor(flags.operator.as_deref())?;
        let pen = Pen::read(profile, identity)?;
        let wanted = |id: u64| flags.node.is_none_or(|only| only == id);
        let nodes = profile
            .nodes()
            .iter()
            .filter(|node| wanted(node.id))
            .map(|node| {
                Ok(Self {
                    channel: dial(profile, identity, &node.operator)?,
                    pen: pen.clone(),
                    node: node.id,
                    timeout: flags.timeout,
                    ahead_ms: 0,
                })
            })
            .collect::<Result<Vec<Self>, Failure>>()?;
        match (nodes.is_empty(), flags.node) {
            (true, Some(only)) => Err(Failure::usage(format!("the profile has no node {only}"))),
            (true, None) | (false, _) => Ok(nodes),
        }
    }

    async fn answers(&mut self) -> Result<(), Status> {
        let mut request = Request::new(GetStatusRequest {});
        request.set_timeout(CONNECT_TIMEOUT);
        let status = self.cluster().get_status(request).await?.into_inner();
        if status.simulated_clock {
            self.ahead_ms = ahead(words::unix_ms(status.clock_time.as_ref()));
        }
        Ok(())
    }

    /// The id of a change: the one that is repeated, or a new one that carries the time.
    #[must_use]
    pub fn request_id(&self, change: &Change) -> uuid::Uuid {
        change.request_id.unwrap_or_else(|| mint(self.ahead_ms))
    }

    /// The cluster's time, as this machine knows it.
    #[must_use]
    pub fn now(&self) -> domain::UnixMs {
        time(self.ahead_ms)
    }

    /// The place of the main line that this node shows now: what an approval is made of. Asked for
    /// before what is approved is shown, so that nothing older is.
    ///
    /// # Errors
    /// If the node does not answer, or has no main line yet.
    pub async fn seen(&self) -> Result<Seen, Failure> {
        Seen::of(&self.status().await?)
    }

    /// What the node says of itself and the cluster.
    ///
    /// # Errors
    /// If the node does not answer.
    pub async fn status(&self) -> Result<GetStatusResponse, Failure> {
        let request = self.request(GetStatusRequest {}, None);
        told(self.cluster().get_status(request).await)
    }

    /// Shows what is signed, and signs it with the operator's key.
    ///
    /// # Errors
    /// If the key cannot be used.
    pub fn sign(
        &self,
        act: &domain::approval::Act,
        seen: &Seen,
        output: Output,
    ) -> Result<proto::approval::v1::Approval, Failure> {
        approval::show(act, seen, output);
        self.pen.sign(act, seen)
    }

    /// As `sign`; in a dry run it is shown alone, and nothing is signed.
    ///
    /// # Errors
    /// If the key cannot be used.
    pub fn sign_unless_dry(
        &self,
        change: &Change,
        act: &domain::approval::Act,
        seen: &Seen,
        output: Output,
    ) -> Result<Option<proto::approval::v1::Approval>, Failure> {
        if change.dry_run {
            output.talk("dry run: nothing is signed; it would be");
            approval::show(act, seen, output);
            return Ok(None);
        }
        self.sign(act, seen, output).map(Some)
    }

    /// How long the flags say to wait.
    #[must_use]
    pub fn patience(&self) -> Duration {
        self.timeout
    }

    /// The node's number.
    #[must_use]
    pub fn node(&self) -> u64 {
        self.node
    }

    /// A request that waits as long as the flags say, with the reason for the audit.
    pub fn request<T>(&self, message: T, reason: Option<&str>) -> Request<T> {
        let mut request = Request::new(message);
        request.set_timeout(self.timeout);
        // Texts of other scripts cannot stand in metadata as they are.
        if let Some(reason) = reason {
            request.metadata_mut().insert_bin(
                "tidemark-reason-bin",
                tonic::metadata::MetadataValue::from_bytes(reason.as_bytes()),
            );
        }
        request
    }

    /// Asks for a change with its request id, and again for as long as the flags say while the
    /// service says that it changes over: that is the one answer that clients retry by themselves.
    ///
    /// # Errors
    /// The node's refusal.
    pub async fn change<B, T, Fut>(
        &self,
        id: uuid::Uuid,
        change: &Change,
        message: B,
        call: impl Fn(Request<B>) -> Fut,
    ) -> Result<T, Failure>
    where
        B: Clone,
        Fut: Future<Output = Result<tonic::Response<T>, Status>>,
    {
        let deadline = Instant::now() + self.timeout;
        loop {
            let request = self.request(message.clone(), change.reason.as_deref());
            let answer = call(request).await;
            let wait = answer
                .as_ref()
                .err()
                .filter(|status| refusal::passing(status));
            match wait.and_then(refusal::retry_after) {
                Some(wait) if Instant::now() + wait < deadline => tokio::time::sleep(wait).await,
                Some(_) | None => {
                    if !change.dry_run && answer.as_ref().is_ok_and(is_degraded) {
                        DEGRADED.store(true, Ordering::Relaxed);
                    }
                    return answer
                        .map(tonic::Response::into_inner)
                        .map_err(|status| refusal::failure(&status, Asked::Change(id)));
                }
            }
        }
    }

    /// The nodes and their lines.
    #[must_use]
    pub fn cluster(&self) -> ClusterServiceClient<Channel> {
        ClusterServiceClient::new(self.channel.clone()).max_decoding_message_size(MESSAGE_BYTES_MAX)
    }

    /// Sessions.
    #[must_use]
    pub fn session(&self) -> SessionServiceClient<Channel> {
        SessionServiceClient::new(self.channel.clone()).max_decoding_message_size(MESSAGE_BYTES_MAX)
    }

    /// The nodes.
    #[must_use]
    pub fn nodes(&self) -> NodeServiceClient<Channel> {
        NodeServiceClient::new(self.channel.clone()).max_decoding_message_size(MESSAGE_BYTES_MAX)
    }

    /// The centres.
    #[must_use]
    pub fn centre(&self) -> CentreServiceClient<Channel> {
        CentreServiceClient::new(self.channel.clone())
    }

    /// The calendar.
    #[must_use]
    pub fn calendar(&self) -> CalendarServiceClient<Channel> {
        CalendarServiceClient::new(self.channel.clone())
    }

    /// Imports.
    #[must_use]
    pub fn import(&self) -> ImportServiceClient<Channel> {
        ImportServiceClient::new(self.channel.clone())
    }

    /// Readiness.
    #[must_use]
    pub fn readiness(&self) -> ReadinessServiceClient<Channel> {
        ReadinessServiceClient::new(self.channel.clone())
    }

    /// Accounts.
    #[must_use]
    pub fn account(&self) -> AccountServiceClient<Channel> {
        AccountServiceClient::new(self.channel.clone()).max_decoding_message_size(MESSAGE_BYTES_MAX)
    }

    /// Participants.
    #[must_use]
    pub fn participant(&self) -> ParticipantServiceClient<Channel> {
        ParticipantServiceClient::new(self.channel.clone())
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
    }

    /// Change requests.
    #[must_use]
    pub fn change_request(&self) -> ChangeRequestServiceClient<Channel> {
        ChangeRequestServiceClient::new(self.channel.clone())
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
    }

    /// Emergencies, on the main line.
    #[must_use]
    pub fn emergency(&self) -> EmergencyServiceClient<Channel> {
        EmergencyServiceClient::new(self.channel.clone())
    }

    /// The policy.
    #[must_use]
    pub fn policy(&self) -> PolicyServiceClient<Channel> {
        PolicyServiceClient::new(self.channel.clone())
    }

    /// The keys.
    #[must_use]
    pub fn keys(&self) -> KeyServiceClient<Channel> {
        KeyServiceClient::new(self.channel.clone())
    }

    /// Backups.
    #[must_use]
    pub fn backup(&self) -> BackupServiceClient<Channel> {
        BackupServiceClient::new(self.channel.clone())
    }

    /// Who may call.
    #[must_use]
    pub fn registration(&self) -> RegistrationServiceClient<Channel> {
        RegistrationServiceClient::new(self.channel.clone())
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
    }

    /// What scripts may do.
    #[must_use]
    pub fn script(&self) -> ScriptServiceClient<Channel> {
        ScriptServiceClient::new(self.channel.clone()).max_decoding_message_size(MESSAGE_BYTES_MAX)
    }

    /// The revocation list of smartcards.
    #[must_use]
    pub fn revocation_list(&self) -> RevocationListServiceClient<Channel> {
        RevocationListServiceClient::new(self.channel.clone())
    }

    /// The audit trail.
    #[must_use]
    pub fn audit(&self) -> AuditServiceClient<Channel> {
        AuditServiceClient::new(self.channel.clone()).max_decoding_message_size(MESSAGE_BYTES_MAX)
    }
}

/// The answer of an act that has no request id, or the failure that a person reads: a lost answer
/// leaves an unknown outcome.
///
/// # Errors
/// The node's refusal.
pub fn acted<T>(answer: Result<tonic::Response<T>, Status>) -> Result<T, Failure> {
    answer
        .map(tonic::Response::into_inner)
        .map_err(|status| refusal::failure(&status, Asked::Act))
}

/// The answer of a read, or the failure that a person reads.
///
/// # Errors
/// The node's refusal.
pub fn told<T>(answer: Result<tonic::Response<T>, Status>) -> Result<T, Failure> {
    answer
        .map(tonic::Response::into_inner)
        .map_err(|status| refusal::failure(&status, Asked::Read))
}
