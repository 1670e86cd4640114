 # fn main() -> Result<(), Box<dyn std::error::Error>> { corduroy_node::testing::block_on(async {
 # let cluster = corduroy_node::testing::Cluster::start(3).await?;
 # let admin = corduroy_client::Admin::new(cluster.admin(), std::time::Duration::from_secs(15))?;
