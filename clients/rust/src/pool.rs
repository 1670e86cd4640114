//! One connection per node, made when first used.
use crate::Error;
use corduroy_proto::v1::{admin_client::AdminClient, log_client::LogClient};
use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};
use tonic::{
    codegen::http::HeaderValue,
    transport::{Channel, Endpoint},
};

/// Largest answer accepted: a page of records with a batch of the largest size, and room to spare.
const MAX_ANSWER: usize = 32 << 20;
/// HTTP/2 windows: large enough that a reader on a fast link does not stall on window updates.
const STREAM_WINDOW: u32 = 4 << 20;
const CONNECTION_WINDOW: u32 = 16 << 20;
/// Largest HTTP/2 frame a node may send: an answer of a subscription in two of them, where the usual size takes 32.
const FRAME: u32 = 256 << 10;
/// A peer that answers no ping for this long is gone, whatever TCP believes.
const KEEPALIVE: Duration = Duration::from_secs(3);

/// Connections by address. Lazy: a connection that cannot be made fails the calls that wanted it, and the next call
/// tries again.
#[derive(Debug)]
pub(crate) struct Pool {
    connect_timeout: Duration,
    user_agent: Option<HeaderValue>,
    channels: Mutex<HashMap<String, Channel>>,
}

impl Pool {
    /// # Errors
    /// `Invalid` for a name that cannot be part of a header.
    pub(crate) fn new(connect_timeout: Duration, name: Option<&str>) -> Result<Self, Error> {
        let invalid = |_| Error::Invalid(format!("{name:?} is not a name for a client: visible ASCII alone"));
        let user_agent = name.map(|name| HeaderValue::from_str(name).map_err(invalid)).transpose()?;
        Ok(Pool { connect_timeout, user_agent, channels: Mutex::default() })
    }

    pub(crate) fn log(&self, address: &str) -> Result<LogClient<Channel>, Error> {
        Ok(LogClient::new(self.channel(address)?).max_decoding_message_size(MAX_ANSWER))
    }

    pub(crate) fn admin(&self, address: &str) -> Result<AdminClient<Channel>, Error> {
        Ok(AdminClient::new(self.channel(address)?).max_decoding_message_size(MAX_ANSWER))
    }

    pub(crate) fn channel(&self, address: &str) -> Result<Channel, Error> {
        let mut channels = self.channels.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(channel) = channels.get(address) {
            return Ok(channel.clone());
        }
        let channel = self.endpoint(address)?.connect_lazy();
        channels.insert(address.to_owned(), channel.clone());
        Ok(channel)
    }

    /// How to connect to an address. Needs no runtime, unlike the connection itself.
    pub(crate) fn endpoint(&self, address: &str) -> Result<Endpoint, Error> {
        let uri = if address.contains("://") { address.to_owned() } else { format!("http://{address}") };
        let endpoint = Endpoint::from_shared(uri)
            .map_err(|error| Error::Invalid(format!("{address:?} is not an address (host:port): {error}")))?;
        let endpoint = match &self.user_agent {
            Some(name) => endpoint.user_agent(name.clone()).map_err(|error| Error::Invalid(error.to_string()))?,
            None => endpoint,
        };
        Ok(endpoint
            .connect_timeout(self.connect_timeout)
            .tcp_nodelay(true)
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_frame_size(FRAME)
            .http2_keep_alive_interval(KEEPALIVE)
            .keep_alive_timeout(KEEPALIVE)
            .keep_alive_while_idle(true))
    }
}
