//! What nodes and clients have in common: the messages and services of `corduroy.v1`, generated from the `.proto` files
//! beside this crate, and the bytes of a batch.
//!
//! Every `bytes` field is a [`bytes::Bytes`]: a payload is decoded by reference counting, not by copying.

/// Package `corduroy.v1`.
pub mod v1 {
    #![allow(clippy::all, missing_docs)]
    tonic::include_proto!("corduroy.v1");
    include!(concat!(env!("OUT_DIR"), "/nodes/corduroy.v1.rs"));
}

/// Package `corduroy.runtime.v1`: what the service runtime keeps and says.
pub mod runtime {
    #![allow(clippy::all, missing_docs)]
    tonic::include_proto!("corduroy.runtime.v1");
}

/// Package `corduroy.order.v1`.
pub mod order {
    #![allow(clippy::all, missing_docs)]
    tonic::include_proto!("corduroy.order.v1");
}

/// Package `corduroy.payment.v1`.
pub mod payment {
    #![allow(clippy::all, missing_docs)]
    tonic::include_proto!("corduroy.payment.v1");
}

/// Package `corduroy.stock.v1`.
pub mod stock {
    #![allow(clippy::all, missing_docs)]
    tonic::include_proto!("corduroy.stock.v1");
}

/// Package `corduroy.voucher.v1`.
pub mod voucher {
    #![allow(clippy::all, missing_docs)]
    tonic::include_proto!("corduroy.voucher.v1");
}

/// Package `corduroy.delivery.v1`.
pub mod delivery {
    #![allow(clippy::all, missing_docs)]
    tonic::include_proto!("corduroy.delivery.v1");
}

/// Package `corduroy.campaign.v1`.
pub mod campaign {
    #![allow(clippy::all, missing_docs)]
    tonic::include_proto!("corduroy.campaign.v1");
}

/// Package `corduroy.activity.v1`.
pub mod activity {
    #![allow(clippy::all, missing_docs)]
    tonic::include_proto!("corduroy.activity.v1");
}

/// Package `corduroy.account.v1`.
pub mod account {
    #![allow(clippy::all, missing_docs)]
    tonic::include_proto!("corduroy.account.v1");
}

pub mod batch;

pub mod packet;

/// The encoded `FileDescriptorSet` of every file in this crate, for gRPC reflection.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));
