//! One request over a connection of its own, to init or over a unix socket, with a deadline.
//!
//! What is asked here is asked rarely, so a connection a request is cheap and leaves nothing to
//! go stale when the other end is started anew. What is asked often goes by [`crate::lanes`].

use std::fmt::Write;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Body, Incoming};
use hyper::client::conn::http1::SendRequest;
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;

use crate::admin::version;
use crate::remote::line::{LineError, Remote};

/// The largest answer that is read: far more than a full table of jobs.
const LARGEST: usize = 64 << 20;

/// Where to ask.
#[derive(Clone, Debug)]
pub(crate) enum Server {
    /// With what goes into `Authorization`, if anything does.
    Tcp(SocketAddr, Option<HeaderValue>),
    Unix(PathBuf),
    /// Over TLS, below a path.
    Remote(Arc<Remote>, &'static str),
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HttpError {
    #[error("cannot connect: {0}")]
    Connect(io::Error),
    #[error("{0}")]
    Remote(#[from] Box<LineError>),
    #[error("the connection broke: {0}")]
    Broken(#[from] hyper::Error),
    #[error("no answer within {0:?}")]
    TooSlow(Duration),
    #[error("the answer cannot be read: {0}")]
    Body(Box<dyn std::error::Error + Send + Sync>),
    #[error("the answer is not what was expected: {0}")]
    Json(#[from] serde_json::Error),
    #[error("the request cannot be made: {0}")]
    Request(#[from] http::Error),
}

/// A whole answer.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) body: Bytes,
    /// The version of bootctl that has answered, if it is one.
    pub(crate) version: Option<String>,
}

impl Answer {
    /// Reads the whole of it.
    pub(crate) async fn read(response: Response<Incoming>) -> Result<Self, HttpError> {
        let (parts, body) = response.into_parts();
        let body = Limited::new(body, LARGEST).collect().await.map_err(HttpError::Body)?;
        let version = version::of(&parts.headers);
        Ok(Self { status: parts.status, body: body.to_bytes(), version })
    }

    pub(crate) fn json<T: DeserializeOwned>(&self) -> Result<T, HttpError> {
        Ok(serde_json::from_slice(&self.body)?)
    }
}

impl Server {
    /// Asks, and reads the whole answer.
    pub(crate) async fn ask(
        &self,
        method: Method,
        path: &str,
        body: Option<&impl Serialize>,
        within: Duration,
    ) -> Result<Answer, HttpError> {
        let body = body.map(serde_json::to_vec).transpose()?;
        let work = async { Answer::read(self.send(method, path, body).await?).await };
        timeout(within, work).await.unwrap_or(Err(HttpError::TooSlow(within)))
    }

    /// Asks, and leaves the body to be read as it comes.
    pub(crate) async fn open(&self, path: &str) -> Result<Response<Incoming>, HttpError> {
        self.send(Method::GET, path, None).await
    }

    /// Asks as a client of `host` would, and answers how; the body is left unread.
    pub(crate) async fn status(
        &self,
        path: &str,
        host: &str,
        within: Duration,
    ) -> Result<StatusCode, HttpError> {
        let request = Request::builder().uri(path).header(header::HOST, host);
        let request = request.header(header::CONNECTION, "close").body(Full::new(Bytes::new()))?;
        let answer = timeout(within, self.exchange(request)).await;
        answer.unwrap_or(Err(HttpError::TooSlow(within))).map(|answer| answer.status())
    }

    /// Puts nothing, and leaves the answer, which may be of this type, to be read as it comes.
    pub(crate) async fn put_for(
        &self,
        path: &str,
        accept: &'static str,
    ) -> Result<Response<Incoming>, HttpError> {
        let request = self.request(Method::PUT, path).header(header::ACCEPT, accept);
        self.exchange(request.body(Full::new(Bytes::new()))?).await
    }

    /// Asks without a body, and leaves the answer to be read as it comes.
    pub(crate) async fn begin(
        &self,
        method: Method,
        path: &str,
    ) -> Result<Response<Incoming>, HttpError> {
        self.send(method, path, None).await
    }

    /// Puts a value, and leaves the answer to be read as it comes.
    pub(crate) async fn put_json(
        &self,
        path: &str,
        body: &impl Serialize,
    ) -> Result<Response<Incoming>, HttpError> {
        self.send(Method::PUT, path, Some(serde_json::to_vec(body)?)).await
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<Vec<u8>>,
    ) -> Result<Response<Incoming>, HttpError> {
        self.exchange(self.whole(method, path, body.map(Bytes::from))?).await
    }

    /// A request with a body of JSON, or none.
    pub(crate) fn whole(
        &self,
        method: Method,
        path: &str,
        body: Option<Bytes>,
    ) -> Result<Request<Full<Bytes>>, HttpError> {
        let request = self.request(method, path);
        let request = match &body {
            Some(_) => request.header(header::CONTENT_TYPE, "application/json"),
            None => request,
        };
        Ok(request.body(Full::new(body.unwrap_or_default()))?)
    }

    /// Puts bytes of no certain type, however long that takes.
    pub(crate) async fn put(
        &self,
        path: &str,
        body: Bytes,
    ) -> Result<Response<Incoming>, HttpError> {
        self.stream(path, Full::new(body)).await
    }

    /// The same with bytes that come one after the other.
    pub(crate) async fn stream<B>(
        &self,
        path: &str,
        body: B,
    ) -> Result<Response<Incoming>, HttpError>
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        self.exchange(self.request(Method::PUT, path).body(body)?).await
    }

    /// The same for an answer of this type.
    pub(crate) async fn stream_for<B>(
        &self,
        path: &str,
        accept: &'static str,
        body: B,
    ) -> Result<Response<Incoming>, HttpError>
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let request = self.request(Method::PUT, path).header(header::ACCEPT, accept);
        self.exchange(request.body(body)?).await
    }

    fn request(&self, method: Method, path: &str) -> http::request::Builder {
        let host = match self {
            Self::Tcp(address, _) => address.to_string(),
            Self::Unix(_) => "localhost".to_owned(),
            Self::Remote(remote, _) => remote.address().to_string(),
        };
        let (below, authorization) = match self {
            Self::Tcp(_, authorization) => ("", authorization.as_ref()),
            Self::Unix(_) => ("", None),
            Self::Remote(remote, below) => (*below, Some(remote.authorization())),
        };
        let mut request = Request::builder().method(method).uri(format!("{below}{path}"));
        request = request.header(header::HOST, host);
        if let Some(authorization) = authorization {
            request = request.header(header::AUTHORIZATION, authorization);
        }
        request
    }

    async fn exchange<B>(&self, request: Request<B>) -> Result<Response<Incoming>, HttpError>
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        Ok(self.connect().await?.send_request(request).await?)
    }

    /// A connection for requests with bodies of this kind.
    pub(crate) async fn connect<B>(&self) -> Result<SendRequest<B>, HttpError>
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        match self {
            Self::Tcp(address, _) => {
                let stream = TcpStream::connect(address).await.map_err(HttpError::Connect)?;
                shake_hands(stream).await
            }
            Self::Unix(path) => {
                let stream = UnixStream::connect(path).await.map_err(HttpError::Connect)?;
                shake_hands(stream).await
            }
            Self::Remote(remote, _) => shake_hands(remote.connect().await.map_err(Box::new)?).await,
        }
    }
}

/// A name as part of a path, whatever it holds.
pub(crate) fn segment(name: &str) -> String {
    name.bytes().fold(String::new(), |mut text, byte| {
        if byte.is_ascii_alphanumeric() || b"-._".contains(&byte) {
            text.push(char::from(byte));
        } else {
            let _ = write!(text, "%{byte:02X}");
        }
        text
    })
}

/// One request and its answer over a connection that is nobody else's.
pub(crate) async fn over<B>(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    request: Request<B>,
) -> Result<Response<Incoming>, HttpError>
where
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    Ok(shake_hands(stream).await?.send_request(request).await?)
}

async fn shake_hands<B>(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
) -> Result<SendRequest<B>, HttpError>
where
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    // Its errors show in the answer.
    tokio::spawn(async move { drop(connection.await) });
    Ok(sender)
}

impl HttpError {
    /// Whether there is a place to connect to, and nobody listens.
    pub(crate) fn is_refused(&self) -> bool {
        matches!(self, Self::Connect(error) if error.kind() == io::ErrorKind::ConnectionRefused)
    }

    /// Whether the other end may not be connected to.
    pub(crate) fn is_forbidden(&self) -> bool {
        matches!(self, Self::Connect(e) if e.kind() == io::ErrorKind::PermissionDenied)
    }
}
