//! Messages as bytes, so that a test can send what no client of ours would.

use bytes::{Buf, BufMut, Bytes};
use http::uri::PathAndQuery;
use tidemark::drill::Door;
use tonic::client::Grpc;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::{Request, Status};

/// Sends and takes bytes as they are.
#[derive(Debug, Clone, Copy, Default)]
pub struct RawCodec;

impl Codec for RawCodec {
    type Encode = Vec<u8>;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        *self
    }

    fn decoder(&mut self) -> Self {
        *self
    }
}

impl Encoder for RawCodec {
    type Item = Vec<u8>;
    type Error = Status;

    fn encode(&mut self, item: Vec<u8>, into: &mut EncodeBuf<'_>) -> Result<(), Status> {
        into.put_slice(&item);
        Ok(())
    }
}

impl Decoder for RawCodec {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(from.copy_to_bytes(from.remaining())))
    }
}

/// Sends bytes as they are to an rpc; a refusal comes before anything else of the answer.
///
/// # Errors
/// The refusal.
///
/// # Panics
/// If the connection is gone.
pub async fn send(door: &Door, path: &str, bytes: Vec<u8>) -> Result<(), Status> {
    send_request(door, path, Request::new(bytes)).await
}

/// The same with what goes beside the message, such as a token.
///
/// # Errors
/// The refusal.
///
/// # Panics
/// If the connection is gone.
pub async fn send_request(
    door: &Door,
    path: &str,
    request: Request<Vec<u8>>,
) -> Result<(), Status> {
    let mut grpc = Grpc::new(door.channel.clone());
    grpc.ready().await.unwrap();
    let path: PathAndQuery = path.parse().unwrap();
    grpc.server_streaming(request, path, RawCodec)
        .await
        .map(drop)
}
