//! t
pub mod server {
    tonic::include_proto!("assetd.v1");
}
pub mod rpc {
    tonic::include_proto!("google.rpc");
}
