//! The `corduroy` command: one file per command.
//!
//! Every flag has a twin in the environment (`--data` is `CORDUROY_DATA`); flags win. Results go to standard output,
//! everything else to standard error. Exit codes are in `exit`.

mod node;
mod up;

mod status;
mod topics;

mod append;
mod cursors;
mod read;

mod order;
mod payment;
mod shop;
mod stock;
mod voucher;

mod account;
mod campaign;

mod dead_letters;
mod saga;

mod bench;
mod dump;

mod completions;
mod man;

mod connect;
pub(crate) mod exit;
mod http;
mod moment;
mod output;
mod records;

use clap::{CommandFactory, Parser, Subcommand};
use exit::Failure;
use output::Format;
use std::process::ExitCode;

/// An event log replicated by Raft, in one binary.
///
/// Three nodes make a cluster: an append is acknowledged when a majority has it on disk. `corduroy up` starts three on
/// this machine; the other commands talk to them.
#[derive(Debug, Parser)]
#[command(
    name = "corduroy",
    version,
    propagate_version = true,
    after_help = "\
Examples:
  corduroy up                                  three nodes on this machine, until Ctrl-C
  corduroy topics create orders --partitions 4
  seq 1000 | corduroy append orders            a line is a record
  corduroy read orders --follow
  corduroy order create                        an order of the shop that every node carries

`corduroy help exit-codes` lists the exit codes."
)]
struct Cli {
    /// How results are written. Default: json for records (append, read, dump), text for the rest.
    #[arg(long, global = true, value_enum, env = "CORDUROY_FORMAT")]
    format: Option<Format>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Up(up::Args),
    Node(node::Args),
    Status(status::Args),
    Topics(topics::Args),
    Append(append::Args),
    Read(read::Args),
    Cursors(cursors::Args),
    Dump(dump::Args),
    Order(order::Args),
    Payment(payment::Args),
    Stock(stock::Args),
    Voucher(voucher::Args),
    Account(account::Args),
    Campaign(campaign::Args),
    DeadLetters(dead_letters::Args),
    Saga(saga::Args),
    Bench(bench::Args),
    Completions(completions::Args),
    Man(man::Args),
    ExitCodes(exit::Args),
}

/// Runs the command line of this process.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    match run(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}

fn run(cli: Cli) -> Result<(), Failure> {
    let format = cli.format;
    match cli.command {
        Command::Up(args) => up::run(args, format),
        Command::Node(args) => node::run(args),
        Command::Status(args) => status::run(&args, format),
        Command::Topics(args) => topics::run(&args, format),
        Command::Append(args) => append::run(args, format),
        Command::Read(args) => read::run(args, format),
        Command::Cursors(args) => cursors::run(&args, format),
        Command::Dump(args) => dump::run(&args, format),
        Command::Order(args) => order::run(&args, format),
        Command::Payment(args) => payment::run(&args, format),
        Command::Stock(args) => stock::run(&args, format),
        Command::Voucher(args) => voucher::run(&args, format),
        Command::Account(args) => account::run(&args, format),
        Command::Campaign(args) => campaign::run(&args, format),
        Command::DeadLetters(args) => dead_letters::run(&args, format),
        Command::Saga(args) => saga::run(&args, format),
        Command::Bench(args) => bench::run(args, format),
        Command::Completions(args) => completions::run(&args, Cli::command()),
        Command::Man(args) => man::run(&args, &Cli::command()),
        Command::ExitCodes(_) => exit::print(),
    }
}

/// Runs a command that needs the network.
fn block_on(command: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Failure::start(format!("cannot start the runtime: {error}")))?;
    let outcome = runtime.block_on(command);
    // What is still blocked (a read of standard input) has nothing left to say.
    runtime.shutdown_background();
    outcome
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_flag_has_a_twin_in_the_environment_and_a_sentence_of_help() {
        check(&Cli::command());
    }

    fn check(command: &clap::Command) {
        let name = command.get_name();
        for flag in command.get_arguments().filter(|arg| arg.get_long().is_some() && !arg.is_hide_set()) {
            let (long, env) = (flag.get_long().expect("filtered"), flag.get_env().and_then(|env| env.to_str()));
            assert!(env.is_some_and(|env| env.starts_with("CORDUROY_")), "{name} --{long} has {env:?}");
            assert!(flag.get_help().is_some(), "{name} --{long} explains itself");
        }
        for sub in command.get_subcommands() {
            assert!(sub.get_about().is_some(), "{} says what it does", sub.get_name());
            check(sub);
        }
    }
}
