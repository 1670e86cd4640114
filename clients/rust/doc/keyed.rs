 # fn main() -> Result<(), Box<dyn std::error::Error>> { corduroy_node::testing::block_on(async {
 # let cluster = corduroy_node::testing::Cluster::start(3).await?;
 # let client = corduroy_client::Client::builder().endpoints(cluster.grpc()).connect().await?;
 # let admin = corduroy_client::Admin::new(cluster.admin(), std::time::Duration::from_secs(15))?;
 # let new = corduroy_client::NewTopic { key_index: true, ..corduroy_client::NewTopic::new("accounts", 2) };
 # admin.create(new).await?;
