use crate::world::{Disk, conformance, real::RealDisk};
use std::os::unix::fs::PermissionsExt as _;

#[test]
fn it_keeps_the_contract_of_the_seam() {
    let dir = tempfile::tempdir().unwrap();
    // A sync blocks inside its future: any executor does.
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(conformance::disk(&RealDisk, dir.path()));
}

#[test]
fn directories_and_files_belong_to_the_owner_alone() {
    let dir = tempfile::tempdir().unwrap();
    let nested = dir.path().join("a/b");
    RealDisk.create_dir_all(&nested).unwrap();
    RealDisk.create_new(&nested.join("file")).unwrap();
    let mode = |path: &std::path::Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&dir.path().join("a")), 0o700);
    assert_eq!(mode(&nested), 0o700);
    assert_eq!(mode(&nested.join("file")), 0o600);
}
