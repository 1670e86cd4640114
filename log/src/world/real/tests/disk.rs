use crate::world::{Disk, DiskFile, real::RealDisk};
use std::{io, os::unix::fs::PermissionsExt as _};

fn run<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread().build().expect("a runtime").block_on(future)
}

#[test]
fn buffers_are_written_one_after_the_other_and_read_back() {
    let dir = tempfile::tempdir().unwrap();
    let file = RealDisk.create_new(&dir.path().join("segment")).unwrap();
    // More buffers than one system call takes, some of them empty.
    let buffers: Vec<Vec<u8>> = (0..3000_usize).map(|i| vec![i as u8; i % 5]).collect();
    let slices: Vec<&[u8]> = buffers.iter().map(Vec::as_slice).collect();
    file.write_all_at(7, &slices).unwrap();
    run(file.sync_data()).unwrap();

    let expected = buffers.concat();
    let mut read = vec![0; expected.len()];
    file.read_exact_at(7, &mut read).unwrap();
    assert_eq!(read, expected);
    assert_eq!(file.len().unwrap(), 7 + expected.len() as u64);
    let past_the_end = file.read_exact_at(8, &mut read).unwrap_err();
    assert_eq!(past_the_end.kind(), io::ErrorKind::UnexpectedEof);
}

#[test]
fn allocated_space_reads_as_zeros_and_never_shortens() {
    let dir = tempfile::tempdir().unwrap();
    let file = RealDisk.create_new(&dir.path().join("segment")).unwrap();
    file.write_all_at(0, &[b"head"]).unwrap();
    file.allocate(100_000).unwrap();
    file.allocate(10).unwrap();
    let mut bytes = vec![1; 100_000];
    file.read_exact_at(0, &mut bytes).unwrap();
    assert_eq!(&bytes[..4], b"head");
    assert!(bytes[4..].iter().all(|byte| *byte == 0));
    file.truncate(4).unwrap();
    assert_eq!(file.len().unwrap(), 4);
}

#[test]
fn directories_and_files_belong_to_the_owner_alone() {
    let dir = tempfile::tempdir().unwrap();
    let nested = dir.path().join("a/b");
    RealDisk.create_dir_all(&nested).unwrap();
    RealDisk.create_dir_all(&nested).unwrap();
    RealDisk.create_new(&nested.join("z")).unwrap();
    RealDisk.create_new(&nested.join("c")).unwrap();
    let mode = |path: &std::path::Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&nested), 0o700);
    assert_eq!(mode(&nested.join("z")), 0o600);
    assert_eq!(RealDisk.list(&nested).unwrap(), ["c", "z"]);
    RealDisk.rename(&nested.join("z"), &nested.join("c")).unwrap();
    RealDisk.sync_dir(&nested).unwrap();
    assert_eq!(RealDisk.list(&nested).unwrap(), ["c"]);
    assert!(!RealDisk.exists(&nested.join("z")).unwrap());
    let again = RealDisk.create_new(&nested.join("c")).unwrap_err();
    assert_eq!(again.kind(), io::ErrorKind::AlreadyExists);
    assert!(RealDisk.free_bytes(&nested).unwrap() > 0);
}

#[test]
fn a_lock_is_exclusive_until_it_is_dropped() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("lock");
    let held = RealDisk.lock(&path).unwrap();
    assert_eq!(RealDisk.lock(&path).unwrap_err().kind(), io::ErrorKind::WouldBlock);
    drop(held);
    RealDisk.lock(&path).unwrap();
}
