//! The connection to one daemon.
//!
//! Knows nothing of assets, and repeats nothing.
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::OnceLock;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use http::{HeaderMap, Request, Response, StatusCode};
use http_body::{Frame, SizeHint};
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tonic::body::Body;
use tonic::transport::{Channel, Endpoint};
use tower::service_fn;
use tower::{BoxError, Service};

use crate::address::Target;
use crate::error::{Error, Result};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
// A hold is silent by design. These notice a daemon that is frozen, or out of reach, and the hold
// is then taken again. The daemon allows a ping every 5 s.
const PING_INTERVAL: Duration = Duration::from_secs(30);
const PING_TIMEOUT: Duration = Duration::from_secs(20);

/// Dials when it is first used, and again when the connection was lost.
pub(crate) struct Connection {
    endpoint: Endpoint,
    socket: Option<PathBuf>,
    channel: OnceLock<Channel>,
}

impl Connection {
    /// Dials nothing yet.
    pub(crate) fn new(target: Target) -> Result<Self> {
        let (authority, socket) = match target {
            // A socket has no name of its own that a daemon could expect.
            Target::Socket(path) => ("localhost".to_owned(), Some(path)),
            Target::Loopback(authority) | Target::Beyond(authority) => (authority, None),
        };
        let endpoint = Endpoint::from_shared(format!("http://{authority}")).map_err(|cause| {
            Error::new(tonic::Code::InvalidArgument, format!("{authority:?}: {cause}"))
        })?;
        let endpoint = endpoint
            .connect_timeout(CONNECT_TIMEOUT)
            .http2_keep_alive_interval(PING_INTERVAL)
            .keep_alive_timeout(PING_TIMEOUT);
        Ok(Self::at(endpoint, socket))
    }

    /// Uses an endpoint that the program has made, with TLS perhaps.
    pub(crate) fn to_endpoint(endpoint: Endpoint) -> Self {
        Self::at(endpoint, None)
    }

    fn at(endpoint: Endpoint, socket: Option<PathBuf>) -> Self {
        let channel = OnceLock::new();
        Self { endpoint, socket, channel }
    }

    /// Returns the channel. To be called in a Tokio runtime, to which the channel belongs then.
    pub(crate) fn channel(&self) -> Channel {
        let channel = self.channel.get_or_init(|| match self.socket.clone() {
            None => self.endpoint.connect_lazy(),
            Some(path) => {
                self.endpoint.connect_with_connector_lazy(service_fn(move |_| dial(path.clone())))
            }
        });
        channel.clone()
    }
}

async fn dial(path: PathBuf) -> std::io::Result<TokioIo<UnixStream>> {
    Ok(TokioIo::new(UnixStream::connect(path).await?))
}

/// A channel on which an answer that was cut fails as such.
///
/// When the other side resets a stream, the transport takes some of the ways to do so for its
/// proper end, and what is left is an answer without a status: nothing that a daemon says.
#[derive(Clone)]
pub(crate) struct Wire(pub(crate) Channel);

impl Service<Request<Body>> for Wire {
    type Response = Response<Whole>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.0.poll_ready(context).map_err(Into::into)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let response = self.0.call(request);
        Box::pin(async move {
            let (head, body) = response.await?.into_parts();
            // A proxy's answer has a status of its own kind.
            let has_status = head.status != StatusCode::OK || has_status(&head.headers);
            Ok(Response::from_parts(head, Whole { body, has_status }))
        })
    }
}

fn has_status(headers: &HeaderMap) -> bool {
    headers.contains_key("grpc-status")
}

/// A body that fails if it ends before a status came.
pub(crate) struct Whole {
    body: Body,
    has_status: bool,
}

impl http_body::Body for Whole {
    type Data = <Body as http_body::Body>::Data;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, BoxError>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
        if let Some(Ok(frame)) = &frame
            && frame.trailers_ref().is_some_and(has_status)
        {
            self.has_status = true;
        }
        Poll::Ready(match frame {
            None if !self.has_status => {
                // Once is enough.
                self.has_status = true;
                Some(Err("the stream was cut".into()))
            }
            None => None,
            Some(frame) => Some(frame.map_err(Into::into)),
        })
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use http::HeaderValue;
    use http_body::Body as _;

    use super::*;

    /// Has these trailers and nothing else.
    struct Trailers(Option<HeaderMap>);

    impl http_body::Body for Trailers {
        type Data = <Body as http_body::Body>::Data;
        type Error = BoxError;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Self::Data>, BoxError>>> {
            Poll::Ready(self.0.take().map(|trailers| Ok(Frame::trailers(trailers))))
        }
    }

    /// Reads to the end, and returns the failures on the way.
    async fn failures(body: Body, has_status: bool) -> Vec<String> {
        let mut body = Whole { body, has_status };
        let mut failures = Vec::new();
        while let Some(frame) = poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await {
            failures.extend(frame.err().map(|failure| failure.to_string()));
        }
        failures
    }

    #[tokio::test]
    async fn an_answer_that_ends_without_a_status_was_cut() {
        assert_eq!(failures(Body::empty(), false).await, ["the stream was cut"]);
        assert!(failures(Body::empty(), true).await.is_empty());
        let with = |name: &'static str| {
            let trailers = HeaderMap::from_iter([(
                http::HeaderName::from_static(name),
                HeaderValue::from_static("0"),
            )]);
            Body::new(Trailers(Some(trailers)))
        };
        assert!(failures(with("grpc-status"), false).await.is_empty());
        assert_eq!(failures(with("x-proxy"), false).await, ["the stream was cut"]);
    }
}
