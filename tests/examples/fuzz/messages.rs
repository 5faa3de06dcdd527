//! Bodies of every rpc on every listener, with and without somebody's token: each is answered or
//! refused with a reason, and the nodes stay of one mind.

use std::time::Duration;

use prost::Message as _;
use prost_reflect::{
    DescriptorPool, DynamicMessage, FieldDescriptor, Kind, MapKey, MessageDescriptor, Value,
};
use proto::operator::v1::ReleaseSealsRequest;
use proto::operator::v1::centre_service_client::CentreServiceClient;
use server::table::{Rpc, Table};
use tests::cast::{CARD, CHAN, CHEUNG, LAU, MAK, SIT};
use tests::cluster::WEST;
use tests::raw::send_request;
use tests::{By, Cluster, Person};
use tidemark::drill::{Door, call, request, request_as};
use tidemark::refusal;
use tonic::{Code, Request};

use crate::Run;
use crate::dice::Dice;

/// Texts that mean something somewhere.
const TEXTS: &[&str] = &[
    "",
    "-",
    "main",
    "C00001U1",
    "participants/C00001",
    "participants/-",
    "participants/C00001/users/C00001U1",
    "participants/C00001/users/C00001U5",
    "participants/C00002/users/C00002U2",
    "participants/C00001/delegatedAdmins/C00001A1",
    "ccms-smartcard-online-and-reports",
    "dms-otp-security",
    "S1-2023-06-10",
    "S2-2023-06-10",
    "192.0.2.1",
    "::1",
    "not an address",
    "harbour lights at dusk",
    "\u{1F30A}\u{200B}ﬁ",
];
/// How deep messages within messages go.
const DEPTH_MAX: usize = 4;
/// Every call is answered within this.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);
/// How often people log in anew: what is thrown ends tokens, and suspends people.
const LOGGED_IN_EVERY: u64 = 250;
/// Whose tokens are shown.
const PEOPLE: [&Person; 5] = [&CHEUNG, &SIT, &MAK, &CHAN, &LAU];
/// How often the nodes are compared.
const COMPARED_EVERY: u64 = 500;
/// Moves the cluster's clock for good, by whatever it is told: an operator's right.
const LEFT_OUT: &str = "/tidemark.operator.v1.ClockService/AdvanceClock";

pub(crate) async fn throw(cluster: &Cluster, run: &mut Run) {
    cluster.serves_at("2023-06-10 18:00").await;
    let pool = DescriptorPool::decode(proto::FILE_DESCRIPTOR_SET).unwrap();
    let table = Table::read().unwrap();
    let rpcs: Vec<&Rpc> = table.rpcs().filter(|rpc| rpc.path != LEFT_OUT).collect();
    let mut tokens = Vec::new();
    let mut taken_with_token = 0_u64;
    while run.goes_on() {
        if run.tried.is_multiple_of(LOGGED_IN_EVERY) {
            tokens = logged_in(cluster, tokens).await;
        }
        let rpc = *run.dice.one(&rpcs);
        let input = input_of(&pool, rpc);
        let mut message = message(cluster, &run.dice, &input, 0).encode_to_vec();
        if run.dice.below(2) == 0 {
            message = run.dice.altered(&message);
        }
        message.truncate(server::listener::MESSAGE_BYTES_MAX);
        let token =
            (!tokens.is_empty() && run.dice.below(2) == 0).then(|| run.dice.one(&tokens).clone());
        let door = door(cluster, &run.dice, rpc, token.is_some());
        let request = match &token {
            Some(token) => request_as(message, token),
            None => Request::new(message),
        };
        let sent = send_request(&door, &rpc.path, request);
        let answer = tokio::time::timeout(ANSWER_TIMEOUT, sent).await;
        let Ok(answer) = answer else {
            panic!("{} does not answer", rpc.path);
        };
        if let Err(status) = &answer {
            let reason = refusal::reason(status);
            assert!(reason.is_some(), "{}: {status:?}", rpc.path);
            assert_ne!(status.code(), Code::Internal, "{}: {status:?}", rpc.path);
        }
        taken_with_token += u64::from(answer.is_ok() && token.is_some());
        run.count(answer.is_ok());
        if run.tried.is_multiple_of(COMPARED_EVERY) {
            of_one_mind(cluster).await;
        }
    }
    of_one_mind(cluster).await;
    println!("messages: {taken_with_token} taken with somebody's token");
    assert!(taken_with_token > 0, "no token was good for anything");
}

/// An assessment seals the secondary's nodes, which follow the primary no more until they are
/// released; then all are where it is.
async fn of_one_mind(cluster: &Cluster) {
    let doors = cluster.operators_at(WEST);
    let released = call(&doors, |channel| async move {
        CentreServiceClient::new(channel)
            .release_seals(request(ReleaseSealsRequest::default()))
            .await
    });
    released.await.unwrap();
    cluster.agreed_digests().await;
}

/// The tokens of whoever can still log in; those that were there, if nobody can.
async fn logged_in(cluster: &Cluster, before: Vec<String>) -> Vec<String> {
    let mut tokens = Vec::new();
    for person in PEOPLE {
        let option = person.card_option();
        if let Ok(token) = cluster.log_in(person, option, CARD, By::Card).await {
            tokens.push(token.text);
        }
    }
    if tokens.is_empty() { before } else { tokens }
}

fn input_of(pool: &DescriptorPool, rpc: &Rpc) -> MessageDescriptor {
    let method = rpc.path.rsplit('/').next().unwrap();
    let service = pool.get_service_by_name(&rpc.service).unwrap();
    let found = service.methods().find(|found| found.name() == method);
    found.unwrap().input()
}

/// Administrators ask for what operators do, at the front ends' listener.
fn door(cluster: &Cluster, dice: &Dice, rpc: &Rpc, by_person: bool) -> Door {
    let doors = match rpc.service.as_str() {
        admin if by_person && admin.starts_with("tidemark.admin.") => cluster.front(),
        "tidemark.auth.v1.AuthService" => cluster.front(),
        "tidemark.token.v1.TokenService" => cluster.back().to_vec(),
        _ => cluster.operators(1).to_vec(),
    };
    dice.one(&doors).clone()
}

fn message(cluster: &Cluster, dice: &Dice, of: &MessageDescriptor, depth: usize) -> DynamicMessage {
    let mut message = DynamicMessage::new(of.clone());
    for field in of.fields() {
        let is_id = field.name() == "request_id";
        if depth > DEPTH_MAX || (!is_id && dice.below(4) == 0) {
            continue;
        }
        let value = if is_id && dice.below(8) != 0 {
            Value::String(cluster.id())
        } else {
            value(cluster, dice, &field, depth)
        };
        message.set_field(&field, value);
    }
    message
}

fn value(cluster: &Cluster, dice: &Dice, field: &FieldDescriptor, depth: usize) -> Value {
    if field.is_map() {
        let entry = (
            MapKey::String("key".to_owned()),
            Value::String("v".to_owned()),
        );
        let text = matches!(field.kind(), Kind::Message(of)
            if of.map_entry_value_field().kind() == Kind::String
                && of.map_entry_key_field().kind() == Kind::String);
        return Value::Map(text.then_some(entry).into_iter().collect());
    }
    if field.is_list() {
        let count = dice.below(4);
        let items = (0..count).map(|_| single(cluster, dice, &field.kind(), depth));
        return Value::List(items.collect());
    }
    single(cluster, dice, &field.kind(), depth)
}

fn single(cluster: &Cluster, dice: &Dice, kind: &Kind, depth: usize) -> Value {
    let number = *dice.one(&[
        0,
        1,
        2,
        60,
        u64::MAX,
        i64::MAX.unsigned_abs(),
        dice.number(),
    ]);
    // Every cut of a number is one to try.
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_possible_wrap,
        reason = "whatever comes out is as good"
    )]
    let (short, signed) = (number as u32, number as i64);
    match kind {
        Kind::Float => Value::F32(f32::from_bits(short)),
        Kind::Double => Value::F64(f64::from_bits(number)),
        Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => Value::I32(short.cast_signed()),
        Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => Value::I64(signed),
        Kind::Uint32 | Kind::Fixed32 => Value::U32(short),
        Kind::Uint64 | Kind::Fixed64 => Value::U64(number),
        Kind::Bool => Value::Bool(number.is_multiple_of(2)),
        Kind::String => Value::String(text(dice)),
        Kind::Bytes => Value::Bytes(dice.bytes(200).into()),
        Kind::Enum(_) => Value::EnumNumber(i32::try_from(dice.below(7)).unwrap() - 1),
        Kind::Message(of) => Value::Message(message(cluster, dice, of, depth + 1)),
    }
}

fn text(dice: &Dice) -> String {
    match dice.below(8) {
        0 => String::from_utf8_lossy(&dice.bytes(64)).into_owned(),
        1 => "9".repeat(dice.below(3_000)),
        _ => (*dice.one(TEXTS)).to_owned(),
    }
}
