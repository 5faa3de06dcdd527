//! Which line each rpc speaks to, read from the options in the protos: no handler decides for
//! itself, and an rpc without the option stops the node at its start.

use std::collections::BTreeMap;
use std::sync::Arc;

use prost_reflect::{DescriptorPool, ExtensionDescriptor, MethodDescriptor};
use proto::options::v1::Line;

/// Packages whose rpcs speak of a line in each message instead.
const EXEMPT: &str = "tidemark.peer.";

/// The descriptors cannot be used; a fault in the protos.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// They cannot be decoded.
    #[error("the descriptors cannot be read: {0}")]
    Descriptors(#[from] prost_reflect::DescriptorError),
    /// One of our options is not among them.
    #[error("the option {0} is not in the descriptors")]
    NoOption(&'static str),
    /// An rpc says no line.
    #[error("{0} does not say which line it speaks to")]
    NoLine(String),
}

/// What an rpc says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rpc {
    /// `/package.Service/Method`, as in the request's path.
    pub path: String,
    /// `package.Service`.
    pub service: String,
    /// The line.
    pub line: Target,
    /// Whether a call can change the line's state.
    pub writes: bool,
}

impl Rpc {
    /// Whether scripts may call it although it changes something: what a grant can name.
    #[must_use]
    pub fn scripted(&self) -> bool {
        let method = self.path.strip_prefix("/tidemark.operator.v1.");
        matches!(
            method,
            Some(
                "SessionService/OpenSession"
                    | "SessionService/CloseSession"
                    | "SessionService/RollOver"
                    | "CentreService/Switchover"
            )
        )
    }
}

/// The line that an rpc speaks to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// The line of the centre that serves.
    Serving,
    /// The main line.
    Main,
    /// None.
    None,
}

/// All rpcs by path.
#[derive(Debug, Clone)]
pub struct Table(Arc<BTreeMap<String, Arc<Rpc>>>);

impl Table {
    /// The table of the compiled protos.
    ///
    /// # Errors
    /// [`Error`] when an rpc lacks its options.
    pub fn read() -> Result<Self, Error> {
        let pool = DescriptorPool::decode(proto::FILE_DESCRIPTOR_SET)?;
        let option = |name| {
            pool.get_extension_by_name(name)
                .ok_or(Error::NoOption(name))
        };
        let line = option("tidemark.options.v1.line")?;
        let writes = option("tidemark.options.v1.writes")?;
        let mut rpcs = BTreeMap::new();
        for service in pool.services() {
            if !service.full_name().starts_with("tidemark.")
                || service.full_name().starts_with(EXEMPT)
            {
                continue;
            }
            for method in service.methods() {
                let path = format!("/{}/{}", service.full_name(), method.name());
                let rpc = Rpc {
                    service: service.full_name().to_owned(),
                    line: target(&method, &line).ok_or_else(|| Error::NoLine(path.clone()))?,
                    writes: method.options().get_extension(&writes).as_bool() == Some(true),
                    path: path.clone(),
                };
                rpcs.insert(path, Arc::new(rpc));
            }
        }
        Ok(Self(Arc::new(rpcs)))
    }

    /// The rpc with this path; none for health and reflection.
    #[must_use]
    pub fn get(&self, path: &str) -> Option<Arc<Rpc>> {
        self.0.get(path).cloned()
    }

    /// All rpcs, by path.
    pub fn rpcs(&self) -> impl Iterator<Item = &Rpc> {
        self.0.values().map(Arc::as_ref)
    }

    /// Whether people depend on the service only while this centre serves: some rpc of it speaks
    /// to the serving line.
    #[must_use]
    pub fn follows_sessions(&self, service: &str) -> bool {
        self.rpcs()
            .any(|rpc| rpc.service == service && rpc.line == Target::Serving)
    }
}

fn target(method: &MethodDescriptor, option: &ExtensionDescriptor) -> Option<Target> {
    let said = method.options().get_extension(option).as_enum_number()?;
    match Line::try_from(said).ok()? {
        Line::Unspecified => None,
        Line::Serving => Some(Target::Serving),
        Line::Main => Some(Target::Main),
        Line::None => Some(Target::None),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail loudly")]
mod tests {
    use super::*;

    #[test]
    fn every_rpc_says_its_line() {
        let table = Table::read().unwrap();
        let rpc = table
            .get("/tidemark.auth.v1.AuthService/BeginLogin")
            .unwrap();
        assert_eq!((rpc.line, rpc.writes), (Target::Serving, true));
        let rpc = table
            .get("/tidemark.operator.v1.SessionService/RollOver")
            .unwrap();
        assert_eq!((rpc.line, rpc.writes), (Target::Main, true));
        let rpc = table
            .get("/tidemark.operator.v1.ClusterService/GetStatus")
            .unwrap();
        assert_eq!((rpc.line, rpc.writes), (Target::None, false));
    }

    #[test]
    fn a_write_carries_a_request_id_but_for_introspection() {
        let pool = DescriptorPool::decode(proto::FILE_DESCRIPTOR_SET).unwrap();
        let table = Table::read().unwrap();
        for service in pool.services() {
            for method in service.methods() {
                let path = format!("/{}/{}", service.full_name(), method.name());
                let Some(rpc) = table.get(&path) else {
                    continue;
                };
                // Activity is noted by itself, at most once a minute; it is no request.
                if rpc.service == "tidemark.token.v1.TokenService" {
                    continue;
                }
                let has_id = method.input().get_field_by_name("request_id").is_some();
                assert_eq!(has_id, rpc.writes, "{path}");
            }
        }
    }
}
