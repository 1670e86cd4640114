use super::*;
use crate::{
    FILE_DESCRIPTOR_SET,
    v1::{AppendBatch, Entry, PeerMessage, peer_message::Body},
};
use prost_types::{DescriptorProto, FileDescriptorSet, field_descriptor_proto::Label};
use std::collections::BTreeMap;

/// As much as a connection takes.
const LARGEST: usize = 16 << 20;

/// The field of that number, with a message or bytes in it.
fn field(number: usize, value: &[u8]) -> Vec<u8> {
    let mut bytes = vec![(number << 3 | 2) as u8];
    prost::encode_length_delimiter(value.len(), &mut bytes).unwrap();
    bytes.extend_from_slice(value);
    bytes
}

fn packet(bodies: Vec<Body>) -> Packet {
    let message = |body| PeerMessage { body: Some(body) };
    Packet { messages: bodies.into_iter().map(message).collect(), confirmed: 7 }
}

fn decode_again(packet: &Packet) -> Result<Packet, PacketError> {
    decode(packet.encode_to_vec().into())
}

fn append(entries: usize) -> AppendBatch {
    let entry = Entry { term: 3, index: 300, kind: 3, payload: vec![9; 100].into(), crc: 5 };
    AppendBatch { stream: 70_000, entries: vec![entry; entries], ..AppendBatch::default() }
}

#[test]
fn the_largest_packet_is_not_decoded_into_a_thousand_times_as_many_bytes() {
    let fill = |number: usize| field(number, &[]).repeat(LARGEST / 2 - 16);
    for (what, bytes) in [
        ("empty messages", fill(1)),
        ("empty entries in an append", field(1, &field(5, &fill(5)))),
        ("processes that are gone", field(1, &field(11, &fill(1)))),
        ("ends of logs", field(1, &field(11, &fill(2)))),
        ("heartbeats", field(1, &field(12, &fill(2)))),
        ("answers to heartbeats", field(1, &field(13, &fill(2)))),
        // Each takes the place of the one before it, or is put together with it: a decoder does all of them.
        ("appends in one message", field(1, &fill(5))),
        ("heartbeats in many messages", field(1, &fill(12))),
        ("few entries in each of many appends", field(1, &field(5, &field(5, &[]).repeat(9))).repeat(LARGEST / 32)),
    ] {
        assert!(bytes.len() <= LARGEST, "{what}");
        assert_eq!(decode(bytes.into()), Err(PacketError::TooMany), "{what}");
    }
}

#[test]
fn the_limit_holds_over_the_whole_packet_and_to_the_element() {
    let with = |bodies: usize, entries: usize| {
        let mut all = vec![Body::AppendClose(Default::default()); bodies];
        all.push(Body::Append(append(entries)));
        packet(all)
    };
    // The append is an element, and so is the message around it.
    let largest = with(ELEMENTS / 2, ELEMENTS / 2 - 2);
    assert_eq!(decode_again(&largest), Ok(largest));
    assert_eq!(decode_again(&with(ELEMENTS / 2, ELEMENTS / 2 - 1)), Err(PacketError::TooMany));
    assert_eq!(decode_again(&with(ELEMENTS / 2 + 1, ELEMENTS / 2 - 2)), Err(PacketError::TooMany));
}

#[test]
fn what_is_in_the_payloads_is_not_counted() {
    let mut append = append(2);
    append.entries[1].payload = field(1, &[]).repeat(ELEMENTS).into();
    let packet = packet(vec![Body::Append(append)]);
    assert_eq!(decode_again(&packet), Ok(packet));
}

#[test]
fn bytes_that_are_no_packet_are_refused() {
    let packet = packet(vec![Body::Append(append(3))]).encode_to_vec();
    for len in 1..packet.len() {
        // A packet cut off before its second field is one.
        let whole = len == packet.len() - 2;
        assert_eq!(decode(packet[..len].to_vec().into()).is_ok(), whole, "{len} of {} bytes", packet.len());
    }
    let group = [1 << 3 | 3, 1 << 3 | 4];
    assert_eq!(decode(group.to_vec().into()), Err(PacketError::Malformed));
    let message_that_is_a_number = [1 << 3, 1];
    assert!(matches!(decode(message_that_is_a_number.to_vec().into()), Err(PacketError::Decode(_))));
}

/// A field that is added to `peer.proto` must be added here, if it repeats or leads to one that does.
#[test]
fn every_repeated_field_of_a_packet_is_counted() {
    let files = FileDescriptorSet::decode(FILE_DESCRIPTOR_SET).unwrap().file;
    let messages: BTreeMap<String, DescriptorProto> = files
        .into_iter()
        .flat_map(|file| {
            let package = file.package().to_owned();
            file.message_type.into_iter().map(move |message| (format!(".{package}.{}", message.name()), message))
        })
        .collect();
    assert_eq!(counted_in(".corduroy.v1.Packet", &messages), format!("{PACKET:?}"));
}

/// What `Counted` should be for a message, as it prints itself.
fn counted_in(name: &str, messages: &BTreeMap<String, DescriptorProto>) -> String {
    let nothing = format!("{:?}", Counted(&[]));
    let mut counted = Vec::new();
    for field in &messages[name].field {
        let repeated = field.label() == Label::Repeated;
        let inside = messages.get(field.type_name()).map(|_| counted_in(field.type_name(), messages));
        assert!(!repeated || inside.is_some(), "{name}.{}: only messages can be counted", field.name());
        if let Some(inside) = inside.filter(|inside| repeated || *inside != nothing) {
            counted.push(format!("({}, {inside})", field.number()));
        }
    }
    format!("Counted([{}])", counted.join(", "))
}
