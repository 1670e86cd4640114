//! Packets as bytes: counted first, then decoded.
//!
//! An element of a repeated field takes as little as two bytes on the wire and a hundred in memory, so a limit on bytes
//! alone lets a packet of 16 MiB become a GiB. What a packet holds is therefore counted in its bytes, and one that holds
//! more than [`ELEMENTS`] is refused before anything of it is decoded. What is left is bounded by the packet itself:
//! payloads share its memory, and texts are part of it.
use crate::v1::Packet;
use bytes::{Buf as _, Bytes};
use prost::{DecodeError, Message as _};
use tonic::{
    Status, codec,
    codec::{DecodeBuf, Decoder},
};
use tonic_prost::ProstEncoder;

/// Messages, entries and batches in one packet, the messages inside of messages included. In memory they take about 3 MiB.
pub const ELEMENTS: usize = 16 << 10;

/// Why bytes are not taken for a packet.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PacketError {
    /// It holds more than [`ELEMENTS`].
    #[error("a packet of more than {ELEMENTS} messages and entries")]
    TooMany,
    /// Its bytes are no protobuf message, or one with the groups of an older protobuf.
    #[error("a packet that ends or goes on where it should not")]
    Malformed,
    /// They are one, and not a packet.
    #[error(transparent)]
    Decode(#[from] DecodeError),
}

/// Decodes a packet that is within the limit.
///
/// # Errors
/// [`PacketError`]; none of them goes away by asking again.
pub fn decode(bytes: Bytes) -> Result<Packet, PacketError> {
    count(&bytes, &PACKET, &mut { ELEMENTS })?;
    Ok(Packet::decode(bytes)?)
}

/// The fields of a message that are counted, by number, and what is counted inside of them.
#[derive(Debug, PartialEq)]
struct Counted(&'static [(usize, Counted)]);

const ENTRY: Counted = Counted(&[]);
const APPEND_BATCH: Counted = Counted(&[(5, ENTRY)]);
const PROCESSES_GONE: Counted = Counted(&[(1, ENTRY), (2, ENTRY)]);
const HEARTBEATS: Counted = Counted(&[(2, ENTRY)]);
const FEED_BATCHES: Counted = Counted(&[(2, ENTRY)]);
const PEER_MESSAGE: Counted =
    Counted(&[(5, APPEND_BATCH), (11, PROCESSES_GONE), (12, HEARTBEATS), (13, HEARTBEATS), (23, FEED_BATCHES)]);
const PACKET: Counted = Counted(&[(1, PEER_MESSAGE)]);

/// Counts down from `left`.
fn count(mut message: &[u8], counted: &Counted, left: &mut usize) -> Result<(), PacketError> {
    if counted.0.is_empty() {
        return Ok(());
    }
    while !message.is_empty() {
        let key = varint(&mut message)?;
        let (field, wire_type) = (key >> 3, key & 7);
        let value = match wire_type {
            0 => varint(&mut message).map(|_| &[][..])?,
            1 => take(&mut message, 8)?,
            2 => varint(&mut message).and_then(|len| take(&mut message, len))?,
            5 => take(&mut message, 4)?,
            _ => return Err(PacketError::Malformed),
        };
        if let Some((_, inside)) = counted.0.iter().find(|(number, _)| *number == field) {
            *left = left.checked_sub(1).ok_or(PacketError::TooMany)?;
            count(value, inside, left)?;
        }
    }
    Ok(())
}

/// A varint, as the decoder reads it.
fn varint(bytes: &mut &[u8]) -> Result<usize, PacketError> {
    prost::decode_length_delimiter(bytes).map_err(|_| PacketError::Malformed)
}

fn take<'m>(bytes: &mut &'m [u8], len: usize) -> Result<&'m [u8], PacketError> {
    let (taken, rest) = bytes.split_at_checked(len).ok_or(PacketError::Malformed)?;
    *bytes = rest;
    Ok(taken)
}

/// The codec of the service `Peer`: as for any other, but for [`decode`].
#[derive(Clone, Copy, Debug, Default)]
pub struct Codec;

impl codec::Codec for Codec {
    type Encode = Packet;
    type Decode = Packet;
    type Encoder = ProstEncoder<Packet>;
    type Decoder = Self;

    fn encoder(&mut self) -> Self::Encoder {
        ProstEncoder::default()
    }

    fn decoder(&mut self) -> Self {
        *self
    }
}

impl Decoder for Codec {
    type Item = Packet;
    type Error = Status;

    fn decode(&mut self, bytes: &mut DecodeBuf<'_>) -> Result<Option<Packet>, Status> {
        let bytes = bytes.copy_to_bytes(bytes.remaining());
        decode(bytes).map(Some).map_err(|error| Status::invalid_argument(error.to_string()))
    }
}

#[cfg(test)]
mod tests;
