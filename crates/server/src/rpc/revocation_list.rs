//! `RevocationListService`: the revocation list of smartcards, believed only with the signature
//! of a configured anchor, and kept as an entry of the main line (S36), or of a branch too while
//! one is open.

use credential::revocation::RevocationList;
use domain::revocation::{List, Serial};
use domain::{Carry, LineId, Rejection, UnixMs};
use proto::operator::v1 as operator;
use proto::operator::v1::revocation_list_service_server::RevocationListService;
use tonic::{Request, Response, Status};

use super::answered;
use crate::edge::{Edge, Validity};
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

    async fn set_revocation_list_on_branch(
        &self,
        request: Request<operator::SetRevocationListOnBranchRequest>,
    ) -> Result<Response<operator::SetRevocationListOnBranchResponse>, Status> {
        answered!(self.0, request, set_on_branch)
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

/// What a call says, whichever line it speaks to.
struct Said<'a> {
    request_id: &'a str,
    list: &'a [u8],
    validity: Validity,
}

/// Sets the list on the line that the call speaks to, once that line is known to be right.
async fn set_on<B: prost::Message>(
    edge: &Edge,
    ask: &Ask<B>,
    said: Said<'_>,
    is_right: impl Fn(&LineId) -> Result<(), Rejection>,
) -> Result<(operator::RevocationList, Carry), Refusal> {
    let key = ask.key(said.request_id, edge.keyring())?;
    let mut list = read(edge, said.list)?;
    // By number and not by length: the line wants one order, whatever the file's was.
    list.serials.sort_unstable();
    let (line, state) = edge.fresh(ask).await?;
    is_right(&state.header().line).map_err(|rejection| Refusal::Rejected {
        rejection,
        clock: edge.now(&state),
    })?;
    let answer = shown(&list, state.policy().revocation_grace_ms);
    let command = domain::Command::SetRevocationList(Box::new(list));
    edge.propose_or_judge(ask, &line, (Some(key), said.validity), command)
        .await?;
    Ok((answer, state.header().line.carry()))
}

async fn set(
    edge: &Edge,
    ask: Ask<operator::SetRevocationListRequest>,
) -> Result<operator::SetRevocationListResponse, Refusal> {
    let said = Said {
        request_id: &ask.body.request_id,
        list: &ask.body.list,
        validity: Validity::of(ask.body.dry_run),
    };
    let (list, _) = set_on(edge, &ask, said, |_| Ok(())).await?;
    Ok(operator::SetRevocationListResponse {
        revocation_list: Some(list),
    })
}

async fn set_on_branch(
    edge: &Edge,
    ask: Ask<operator::SetRevocationListOnBranchRequest>,
) -> Result<operator::SetRevocationListOnBranchResponse, Refusal> {
    let said = Said {
        request_id: &ask.body.request_id,
        list: &ask.body.list,
        validity: Validity::of(ask.body.dry_run),
    };
    let on_branch = |line: &LineId| match line {
        LineId::Branch { .. } => Ok(()),
        LineId::Main => Err(Rejection::BranchOnly),
    };
    let (list, carry) = set_on(edge, &ask, said, on_branch).await?;
    Ok(operator::SetRevocationListOnBranchResponse {
        revocation_list: Some(list),
        carry_forward: wire::carry(carry).into(),
        notice: wire::notice_text(carry),
    })
}
