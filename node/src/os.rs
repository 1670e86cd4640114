//! What the operating system must grant this process.
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Fewer than these and a node fails in the middle of its work: ports, peers, clients, segments.
const NEEDED: u64 = 1024;

/// Raises the limit on open files as far as this process may, and refuses to go on when that is too low.
///
/// # Errors
/// One sentence with the command to type.
pub(crate) fn enough_descriptors() -> Result<(), String> {
    let limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum {
        // When that is refused, the soft limit decides.
        let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
    }
    enough(getrlimit(Resource::Nofile).current)
}

fn enough(granted: Option<u64>) -> Result<(), String> {
    match granted {
        Some(granted) if granted < NEEDED => Err(format!(
            "this process may open only {granted} files, a node needs {NEEDED}: type `ulimit -n {NEEDED}` before starting \
             it (the hard limit may have to be raised first)"
        )),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn too_few_descriptors_are_refused_with_the_command_to_type() {
        let refusal = enough(Some(256)).expect_err("too few");
        assert!(refusal.contains("only 256 files") && refusal.contains("`ulimit -n 1024`"), "{refusal}");
        assert_eq!(enough(Some(1024)), Ok(()));
        assert_eq!(enough(None), Ok(()), "no limit");
    }
}
