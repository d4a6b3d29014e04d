//! Plain HTTP to a tool's loopback port, small answers only.

use super::MOST;
use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use std::net::SocketAddr;
use tokio::{net::TcpStream, task::JoinSet};

/// `GET path`: anything but 2xx and 3xx is an error.
pub(super) async fn get(address: SocketAddr, path: &str) -> Result<(), String> {
    let answer = Exchange::begin(address, Method::GET, path, HeaderMap::new(), Bytes::new()).await?;
    let status = answer.status();
    if status.is_success() || status.is_redirection() {
        Ok(())
    } else {
        Err(format!("GET {path} answered {status}"))
    }
}

/// One request on a connection of its own, which is closed when this is dropped.
pub(super) struct Exchange {
    response: Response<Incoming>,
    _connection: JoinSet<()>,
}

impl Exchange {
    /// Sends the request and waits for the head of the answer.
    pub(super) async fn begin(
        address: SocketAddr,
        method: Method,
        path: &str,
        headers: HeaderMap,
        body: Bytes,
    ) -> Result<Self, String> {
        let stream = TcpStream::connect(address).await.map_err(|error| error.to_string())?;
        let handshake = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await;
        let (mut sender, connection) = handshake.map_err(|error| error.to_string())?;
        let mut driver = JoinSet::new();
        // Its error, if any, also reaches the request.
        driver.spawn(async move { drop(connection.await) });
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = method;
        *request.uri_mut() = path.parse().map_err(|error| format!("path {path:?}: {error}"))?;
        *request.headers_mut() = headers;
        let host = address.to_string().parse().map_err(|_| "address is no host".to_owned())?;
        request.headers_mut().insert(header::HOST, host);
        let response = sender.send_request(request).await.map_err(|error| error.to_string())?;
        Ok(Self {
            response,
            _connection: driver,
        })
    }

    pub(super) fn status(&self) -> StatusCode {
        self.response.status()
    }

    pub(super) fn headers(&self) -> &HeaderMap {
        self.response.headers()
    }

    /// Reads on until `found` sees what it looks for in what came so far, the answer ends, or it grows too long.
    pub(super) async fn read_until<T>(&mut self, found: impl Fn(&[u8]) -> Option<T>) -> Result<Option<T>, String> {
        let mut read = Vec::new();
        while read.len() <= MOST {
            let Some(frame) = self.response.body_mut().frame().await else {
                return Ok(found(&read));
            };
            if let Ok(data) = frame.map_err(|error| error.to_string())?.into_data() {
                read.extend_from_slice(&data);
            }
            if let Some(value) = found(&read) {
                return Ok(Some(value));
            }
        }
        Err(format!("its answer is longer than {MOST} bytes"))
    }
}
