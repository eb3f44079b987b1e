//! skeleton
#![allow(missing_docs)]
pub mod v1 {
    tonic::include_proto!("assetd.v1");
}
mod rpc {
    tonic::include_proto!("google.rpc");
}
