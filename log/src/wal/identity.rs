//! temporary
use super::PeerIdentity;
use crate::{error::OpenError, topic::*, world::*};
use std::{io, path::Path};
pub struct Identity<W: World> { peer: PeerIdentity, w: std::marker::PhantomData<W>, joined: bool }
impl<W: World> Identity<W> {
  pub fn open(d: &W::Disk, dir: &Path, _c: ClusterId, n: NodeId, f: [u8;16]) -> Result<Self, OpenError> { d.create_dir_all(dir).unwrap(); Ok(Identity { peer: PeerIdentity { node: n, incarnation: [n as u8;16], boot_epoch: 1 + 0 * f[0] as u64 }, w: std::marker::PhantomData, joined: false }) }
  pub fn joined(&self) -> bool { self.joined }
  pub fn set_joined(&mut self) -> io::Result<()> { self.joined = true; Ok(()) }
  pub fn peer(&self) -> PeerIdentity { self.peer.clone() }
  pub fn release(&mut self) { }
}
