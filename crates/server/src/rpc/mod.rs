//! The handlers, thin on purpose: read the call, settle what is secret, propose, answer.
//!
//! One file for each noun. Which services are on which listener is said here and nowhere else.

use std::sync::Arc;

use proto::admin::v1::account_service_server::AccountServiceServer;
use proto::admin::v1::change_request_service_server::ChangeRequestServiceServer;
use proto::admin::v1::import_service_server::ImportServiceServer;
use proto::admin::v1::participant_service_server::ParticipantServiceServer;
use proto::admin::v1::readiness_service_server::ReadinessServiceServer;
use proto::audit::v1::audit_service_server::AuditServiceServer;
use proto::auth::v1::auth_service_server::AuthServiceServer;
use proto::operator::v1::backup_service_server::BackupServiceServer;
use proto::operator::v1::calendar_service_server::CalendarServiceServer;
use proto::operator::v1::centre_service_server::CentreServiceServer;
use proto::operator::v1::clock_service_server::ClockServiceServer;
use proto::operator::v1::cluster_service_server::ClusterServiceServer;
use proto::operator::v1::emergency_service_server::EmergencyServiceServer;
use proto::operator::v1::key_service_server::KeyServiceServer;
use proto::operator::v1::node_service_server::NodeServiceServer;
use proto::operator::v1::policy_service_server::PolicyServiceServer;
use proto::operator::v1::registration_service_server::RegistrationServiceServer;
use proto::operator::v1::revocation_list_service_server::RevocationListServiceServer;
use proto::operator::v1::script_service_server::ScriptServiceServer;
use proto::operator::v1::session_service_server::SessionServiceServer;
use proto::token::v1::token_service_server::TokenServiceServer;
use tonic::server::NamedService;
use tonic::service::Routes;

use crate::edge::Edge;
use crate::health;
use crate::identity::Listener;
use crate::listener::MESSAGE_BYTES_MAX;

mod account;
mod audit;
mod auth;
mod backup;
mod calendar;
pub(crate) mod centre;
mod change;
mod change_request;
mod changed;
pub(crate) mod cluster;
pub(crate) mod export;
mod import;
mod initiation;
mod keys;
mod login;
mod migration;
mod node;
mod participant;
mod plan;
mod policy;
mod readiness;
mod registration;
mod rehash;
mod remind;
mod revocation_list;
mod script;
mod session;
mod token;

pub use cluster::{Clock, Cluster};

/// Answers a call: takes the request apart, runs the handler, and makes a status of a refusal.
macro_rules! answered {
    ($edge:expr, $request:expr, $handler:path) => {{
        let edge = &$edge;
        let answer = match $crate::request::Ask::read($request) {
            Ok(ask) => $handler(edge, ask).await,
            Err(refusal) => Err(refusal),
        };
        edge.tell(answer)
    }};
}
pub(crate) use answered;

/// A service with the limits of this surface.
macro_rules! limited {
    ($server:ident, $service:expr) => {
        $server::new($service)
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX * 8)
    };
}

/// The services of a listener, with health for each of them.
///
/// # Errors
/// When the descriptors cannot be served by reflection: a fault in the protos.
pub fn routes(edge: &Edge, listener: Listener) -> Result<Routes, tonic_reflection::server::Error> {
    let mut served = Served::new();
    match listener {
        Listener::Front => {
            served.add(limited!(AuthServiceServer, auth::Auth(edge.clone())));
            served.add(limited!(
                AccountServiceServer,
                account::Accounts(edge.clone())
            ));
            served.add(limited!(
                ChangeRequestServiceServer,
                change_request::ChangeRequests(edge.clone())
            ));
            served.add(limited!(
                ReadinessServiceServer,
                readiness::Readiness(edge.clone())
            ));
            served.add(limited!(AuditServiceServer, audit::Audits(edge.clone())));
        }
        Listener::Back => {
            served.add(limited!(TokenServiceServer, token::Tokens(edge.clone())));
        }
        Listener::Operator => {
            served.add(limited!(
                AccountServiceServer,
                account::Accounts(edge.clone())
            ));
            served.add(limited!(
                ChangeRequestServiceServer,
                change_request::ChangeRequests(edge.clone())
            ));
            served.add(limited!(
                ReadinessServiceServer,
                readiness::Readiness(edge.clone())
            ));
            served.add(limited!(
                ParticipantServiceServer,
                participant::Participants(edge.clone())
            ));
            served.add(limited!(ImportServiceServer, import::Imports(edge.clone())));
            served.add(limited!(ClusterServiceServer, Cluster(edge.clone())));
            served.add(limited!(ClockServiceServer, Clock(edge.clone())));
            served.add(limited!(CentreServiceServer, centre::Centres(edge.clone())));
            served.add(limited!(NodeServiceServer, node::Nodes(edge.clone())));
            served.add(limited!(
                SessionServiceServer,
                session::Sessions(edge.clone())
            ));
            served.add(limited!(
                CalendarServiceServer,
                calendar::Calendars(edge.clone())
            ));
            served.add(limited!(
                PolicyServiceServer,
                policy::Policies(edge.clone())
            ));
            served.add(limited!(KeyServiceServer, keys::Keys(edge.clone())));
            served.add(limited!(BackupServiceServer, backup::Backups(edge.clone())));
            served.add(limited!(
                RegistrationServiceServer,
                registration::Registrations(edge.clone())
            ));
            served.add(limited!(ScriptServiceServer, script::Scripts(edge.clone())));
            served.add(limited!(
                RevocationListServiceServer,
                revocation_list::RevocationLists(edge.clone())
            ));
            served.add(limited!(
                EmergencyServiceServer,
                account::Emergencies(edge.clone())
            ));
            served.add(limited!(AuditServiceServer, audit::Audits(edge.clone())));
            let reflection = tonic_reflection::server::Builder::configure()
                .register_encoded_file_descriptor_set(proto::FILE_DESCRIPTOR_SET)
                .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
                .build_v1()?;
            served.routes.add_service(reflection);
        }
        Listener::Peer => {
            let server = consensus::service::Service::server(edge.node().clone());
            served.routes.add_service(server);
        }
    }
    Ok(served.with_health(edge))
}

struct Served {
    routes: tonic::service::RoutesBuilder,
    names: Vec<&'static str>,
}

impl Served {
    fn new() -> Self {
        Self {
            routes: Routes::builder(),
            names: Vec::new(),
        }
    }

    fn add<S>(&mut self, service: S)
    where
        S: tower::Service<
                http::Request<tonic::body::Body>,
                Response = http::Response<tonic::body::Body>,
                Error = std::convert::Infallible,
            > + NamedService
            + Clone
            + Send
            + Sync
            + 'static,
        S::Future: Send + 'static,
    {
        self.names.push(S::NAME);
        self.routes.add_service(service);
    }

    fn with_health(mut self, edge: &Edge) -> Routes {
        let (edge, names) = (edge.clone(), self.names);
        let probe: health::Probe = Arc::new(move |name| {
            let table = &edge.parts().table;
            match name {
                // The node as a whole: it is up, and has a leader to ask.
                "" => Some(edge.answers(&edge.serving_line())),
                name if !names.contains(&name) => None,
                name if table.follows_sessions(name) => Some(edge.serves_people()),
                // Everything works without the file until the next start.
                name if name == KeyServiceServer::<keys::Keys>::NAME => {
                    Some(edge.keys().problem().is_none() && edge.answers(&edge.node().main()))
                }
                _ => Some(edge.answers(&edge.node().main())),
            }
        });
        self.routes.add_service(health::Service::server(probe));
        self.routes.routes()
    }
}
