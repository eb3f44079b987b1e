//! Where the daemon is.
use std::env;
use std::net::IpAddr;
use std::path::PathBuf;

use tonic::Code;

use crate::error::{Error, Result};

pub(crate) const ADDRESS_VARIABLE: &str = "ASSETD_ADDRESS";
const SYSTEM_ADDRESS: &str = "unix:///run/assetd/assetd.sock";

/// How a daemon is reached.
#[derive(Debug, PartialEq)]
pub(crate) enum Target {
    Socket(PathBuf),
    /// `host:port` on this node.
    Loopback(String),
    /// `host:port` beyond it: nothing may be said there in the clear.
    Beyond(String),
}

/// Returns where the daemon is when the program does not say: what the operator wrote into
/// `ASSETD_ADDRESS`, else the socket that a daemon of this user listens on.
pub(crate) fn default_address() -> Result<String> {
    let variable = |name: &str| env::var(name).ok();
    address_from(variable, rustix::process::geteuid().is_root())
}

fn address_from(variable: impl Fn(&str) -> Option<String>, is_root: bool) -> Result<String> {
    let set = |name: &str| variable(name).filter(|value| !value.is_empty());
    if let Some(address) = set(ADDRESS_VARIABLE) {
        return Ok(address);
    }
    if is_root {
        return Ok(SYSTEM_ADDRESS.to_owned());
    }
    match set("XDG_RUNTIME_DIR") {
        Some(folder) => Ok(format!("unix://{}/assetd/assetd.sock", folder.trim_end_matches('/'))),
        None => Err(Error::new(
            Code::InvalidArgument,
            format!(
                "where is the daemon? Set {ADDRESS_VARIABLE} to unix:///path/to/assetd.sock or \
                 host:port (XDG_RUNTIME_DIR is not set either)"
            ),
        )),
    }
}

/// Reads `unix:///path`, `unix:path` or `host:port`.
pub(crate) fn parse(address: &str) -> Result<Target> {
    let target = match address.strip_prefix("unix:") {
        Some(path) => socket(path),
        None => host_and_port(address.strip_prefix("tcp://").unwrap_or(address)),
    };
    target.ok_or_else(|| {
        let message =
            format!("{address:?} is no address: write unix:///path/to/assetd.sock or host:port");
        Error::new(Code::InvalidArgument, message)
    })
}

fn socket(path: &str) -> Option<Target> {
    // After "//" there would be a host, and sockets have none.
    let path = match path.strip_prefix("//") {
        Some(path) if path.starts_with('/') => path,
        Some(_) => return None,
        None => path,
    };
    (!path.trim_matches('/').is_empty()).then(|| Target::Socket(path.into()))
}

fn host_and_port(authority: &str) -> Option<Target> {
    let (host, port) = authority.rsplit_once(':')?;
    let port: u16 = port.parse().ok()?;
    let bare = match host.strip_prefix('[') {
        Some(host) => host.strip_suffix(']')?,
        None if host.contains(':') => return None,
        None => host,
    };
    if bare.is_empty() || bare.contains('/') || port == 0 {
        return None;
    }
    let is_loopback =
        bare.parse::<IpAddr>().map_or(bare == "localhost", |address| address.is_loopback());
    let authority = authority.to_owned();
    Some(if is_loopback { Target::Loopback(authority) } else { Target::Beyond(authority) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_is_what_the_operator_says_else_the_users_socket() {
        let say = |address: &'static str, folder: &'static str| {
            move |name: &str| match name {
                ADDRESS_VARIABLE => Some(address.to_owned()),
                "XDG_RUNTIME_DIR" => Some(folder.to_owned()),
                _ => None,
            }
        };
        assert_eq!(address_from(say("host:1", "/run/me"), true).unwrap(), "host:1");
        assert_eq!(address_from(say("", "/run/me"), true).unwrap(), SYSTEM_ADDRESS);
        assert_eq!(
            address_from(say("", "/run/me/"), false).unwrap(),
            "unix:///run/me/assetd/assetd.sock"
        );
        let lost = address_from(say("", ""), false).unwrap_err();
        assert!(lost.message().contains("XDG_RUNTIME_DIR"), "{lost}");
    }

    #[test]
    fn addresses_are_sockets_or_hosts_with_ports() {
        for (address, target) in [
            ("unix:///run/a.sock", Target::Socket("/run/a.sock".into())),
            ("unix:a.sock", Target::Socket("a.sock".into())),
            ("localhost:1", Target::Loopback("localhost:1".into())),
            ("tcp://127.0.0.9:50", Target::Loopback("127.0.0.9:50".into())),
            ("[::1]:50", Target::Loopback("[::1]:50".into())),
            ("models:7000", Target::Beyond("models:7000".into())),
        ] {
            assert_eq!(parse(address).unwrap(), target, "{address}");
        }
    }

    #[test]
    fn what_is_no_address_is_refused_by_name() {
        for address in [
            "",
            "unix:",
            "unix://",
            "unix:///",
            "unix://host/a",
            "host",
            ":1",
            "host:",
            "http://host:1",
            "host:0",
            "host:99999",
            "::1:50",
            "[::1",
        ] {
            let refused = parse(address).unwrap_err();
            assert_eq!(refused.code(), Code::InvalidArgument, "{address}");
            assert!(refused.message().contains(address), "{refused}");
        }
    }
}
