//! The example that shows how to embed the log does what it says.
#[path = "../examples/embed.rs"]
mod embed;

#[test]
fn three_nodes_in_a_process_go_on_when_one_is_killed() {
    embed::main().expect("what was acknowledged is there");
}
