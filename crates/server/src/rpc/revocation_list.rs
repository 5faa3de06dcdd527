//! `RevocationListService`: the revocation list of smartcards, believed only with the signature
//! of a configured anchor, and kept as an entry of the main line (S36).

use credential::revocation::RevocationList;
use domain::UnixMs;
use domain::revocation::{List, Serial};
use proto::operator::v1 as operator;
use proto::operator::v1::revocation_list_service_server::RevocationListService;
use tonic::{Request, Response, Status};

use super::answered;
use crate::edge::Edge;
use crate::request::Ask;
use crate::status::Refusal;
use crate::wire;

/// The service.
#[derive(Debug, Clone)]
pub(super) struct RevocationLists(pub(super) Edge);

#[tonic::async_trait]
impl RevocationListService for RevocationLists {
    async fn get_revocation_list(
        &self,
        request: Request<operator::GetRevocationListRequest>,
    ) -> Result<Response<operator::GetRevocationListResponse>, Status> {
        answered!(self.0, request, get)
    }

    async fn set_revocation_list(
        &self,
        request: Request<operator::SetRevocationListRequest>,
    ) -> Result<Response<operator::SetRevocationListResponse>, Status> {
        answered!(self.0, request, set)
    }
}

fn shown(list: &List, grace_ms: u64) -> operator::RevocationList {
    let usable_until: UnixMs = list.next_update.plus(grace_ms);
    operator::RevocationList {
        number: list.number,
        this_update_time: Some(wire::time(list.this_update)),
        next_update_time: Some(wire::time(list.next_update)),
        usable_until_time: Some(wire::time(usable_until)),
        revoked_count: u32::try_from(list.serials.len()).unwrap_or(u32::MAX),
    }
}

async fn get(
    edge: &Edge,
    ask: Ask<operator::GetRevocationListRequest>,
) -> Result<operator::GetRevocationListResponse, Refusal> {
    let (_, state) = edge.fresh(&ask).await?;
    let policy = state.policy();
    let list = state.revocations();
    Ok(operator::GetRevocationListResponse {
        revocation_list: list.map(|list| shown(list, policy.revocation_grace_ms)),
        required: policy.revocation_list_required,
    })
}

/// Reads the file, and checks who signed it.
fn read(edge: &Edge, file: &[u8]) -> Result<List, Refusal> {
    let read = RevocationList::read(file, &edge.parts().anchors_pem);
    let list = read.map_err(|wrong| Refusal::Problems {
        reason: "BAD_REVOCATION_LIST",
        problems: vec![("list".to_owned(), wrong.to_string())],
    })?;
    let serials = list.serials.iter();
    Ok(List {
        number: list.number,
        this_update: list.this_update,
        next_update: list.next_update,
        serials: serials
            .map(|serial| Serial(serial.as_bytes().to_vec()))
            .collect(),
    })
}

async fn set(
    edge: &Edge,
    ask: Ask<operator::SetRevocationListRequest>,
) -> Result<operator::SetRevocationListResponse, Refusal> {
    let key = ask.key(&ask.body.request_id, edge.keyring())?;
    let mut list = read(edge, &ask.body.list)?;
    // By number and not by length: the line wants one order, whatever the file's was.
    list.serials.sort_unstable();
    let (line, state) = edge.fresh(&ask).await?;
    let answer = shown(&list, state.policy().revocation_grace_ms);
    if !ask.body.dry_run {
        let command = domain::Command::SetRevocationList(Box::new(list));
        edge.propose(&ask, &line, Some(key), command).await?;
    }
    Ok(operator::SetRevocationListResponse {
        revocation_list: Some(answer),
    })
}
