//! The `corduroy` command. Everything is in [`corduroy_node::cli`].

fn main() -> std::process::ExitCode {
    corduroy_node::cli::main()
}
