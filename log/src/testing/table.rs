//! Tables without a disk, for tests of machines.
use crate::{Table, world::DiskFile};
use bytes::Bytes;
use std::{io, sync::Mutex};

/// A table of these rows, which ascend by key, as if a checkpoint had written it.
///
/// # Panics
/// They do not ascend.
pub fn table(rows: impl IntoIterator<Item = (Bytes, Bytes)>) -> Table {
    crate::partition::table_of(Memory::default(), rows.into_iter()).expect("rows that ascend")
}

/// A file in memory.
#[derive(Debug, Default)]
struct Memory(Mutex<Vec<u8>>);

impl DiskFile for Memory {
    fn write_all_at(&self, offset: u64, buffers: &[&[u8]]) -> io::Result<()> {
        let mut file = self.0.lock().expect("nobody panics with it");
        file.truncate(offset as usize);
        buffers.iter().for_each(|buffer| file.extend_from_slice(buffer));
        Ok(())
    }

    fn read_exact_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let file = self.0.lock().expect("nobody panics with it");
        let range = offset as usize..offset as usize + buffer.len();
        buffer.copy_from_slice(file.get(range).ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.0.lock().expect("nobody panics with it").len() as u64)
    }

    fn allocate(&self, _: u64) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn truncate(&self, _: u64) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    async fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn sync_all(&self) -> io::Result<()> {
        Ok(())
    }
}
