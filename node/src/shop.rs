//! The services of this repository, and their routes.
use crate::{
    Builder,
    config::ShopConfig,
    gateway,
    services::{
        account::Account, activity::Activity, campaign::Campaign, delivery::Delivery, order::Order, payment::Payment,
        stock::Stock, voucher::Voucher,
    },
};

/// Adds all of them to a node.
pub fn with_services(builder: Builder, config: &ShopConfig) -> Builder {
    let (settings, campaign_max_age) = (&config.settings, config.campaign_max_age);
    let builder = config.max_ages.iter().fold(builder, |builder, (service, age)| builder.max_age(service, *age));
    builder
        .keep(config.keep)
        .patience(config.gateway_timeout)
        .service_with(Order::new(settings.clone()), config.partitions)
        .service_with(Payment, config.payment_partitions)
        .service_with(Stock, config.stock_partitions)
        .service_with(Delivery::new(settings.clone()), config.delivery_partitions)
        .service_with(Voucher::new(settings.clone()), config.voucher_partitions)
        .service_with(Activity::new(settings.clone()), config.activity_partitions)
        .service_with(Account, config.account_partitions)
        .service_with(Campaign, config.campaign_partitions)
        .routes(move |services| gateway::shop::routes(services, campaign_max_age))
}
