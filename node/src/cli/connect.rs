//! How commands find the cluster.
use super::exit::Failure;
use corduroy_client::{Admin, Client};
use std::time::Duration;

/// Where the gRPC ports of the cluster are.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct GrpcArgs {
    /// gRPC addresses of nodes; one that answers is enough.
    #[arg(
        long,
        visible_alias = "server",
        value_name = "ADDR,...",
        value_delimiter = ',',
        env = "CORDUROY_GRPC",
        default_value = "127.0.0.1:7001,127.0.0.1:7002,127.0.0.1:7003"
    )]
    grpc: Vec<String>,
    #[command(flatten)]
    timeout: TimeoutArgs,
}

/// Where the admin ports of the cluster are.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct AdminArgs {
    /// Admin addresses of nodes; one that answers is enough.
    #[arg(
        long,
        global = true,
        value_name = "ADDR,...",
        value_delimiter = ',',
        env = "CORDUROY_ADMIN",
        default_value = "127.0.0.1:7201,127.0.0.1:7202,127.0.0.1:7203"
    )]
    admin: Vec<String>,
    #[command(flatten)]
    timeout: TimeoutArgs,
}

#[derive(Clone, Debug, clap::Args)]
struct TimeoutArgs {
    /// How long one request may take, retries included.
    #[arg(
        long,
        global = true,
        value_name = "TIME",
        env = "CORDUROY_TIMEOUT",
        default_value = "15s",
        value_parser = humantime::parse_duration
    )]
    timeout: Duration,
}

impl GrpcArgs {
    /// Connects.
    pub(crate) async fn client(&self) -> Result<Client, Failure> {
        Ok(Client::builder().endpoints(self.grpc.clone()).timeout(self.timeout.timeout).connect().await?)
    }
}

impl AdminArgs {
    /// A client of the admin ports.
    pub(crate) fn admin(&self) -> Result<Admin, Failure> {
        Ok(Admin::new(self.admin.clone(), self.timeout.timeout)?)
    }
}
