//! Daemons for the tests: the real one, and a scripted one for what a real one cannot be made to do.

mod real;
mod scripted;

pub use real::RealDaemon;
pub use scripted::{
    PushCall, PushScript, Script, ScriptedDaemon, Scripts, Step, accepted, completed, daemon_error,
    progressed, push_completed, pushing, started, trailer_error, wanted,
};

#[allow(clippy::all)]
mod server {
    tonic::include_proto!("assetd.v1");
}

#[allow(dead_code, clippy::all)]
mod rpc {
    tonic::include_proto!("google.rpc");
}
