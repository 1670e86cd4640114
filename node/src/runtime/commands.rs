//! The commands a partition remembers, so that one that is sent again has one effect and one answer (R52).
use super::service::Ticket;
use corduroy_log::world::Timestamp;
use corduroy_proto::runtime as pb;
use hashbrown::HashTable;
use std::collections::VecDeque;
use xxhash_rust::xxh3::xxh3_64;

/// A command that was decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Kept {
    id: Ticket,
    /// Of its content.
    pub fingerprint: u64,
    expires: u64,
    /// Index of the entry that has its answer; 0: there is none yet.
    pub answered: u64,
}

/// Clients choose the ids of some commands, and gateways of others; the two are kept for different times, so each has a queue, in
/// which what expires first comes first. A table finds them: 40 bytes a command, and some 10 of the table.
#[derive(Default)]
pub(crate) struct Commands {
    by_clients: Queue,
    by_gateways: Queue,
}

#[derive(Default)]
struct Queue {
    kept: VecDeque<Kept>,
    /// How many were forgotten: the number of the first that is kept.
    forgotten: u64,
    /// Numbers.
    found: HashTable<u64>,
}

fn hash(id: &Ticket) -> u64 {
    xxh3_64(&id.0)
}

impl Queue {
    fn at(&self, number: u64) -> &Kept {
        &self.kept[(number - self.forgotten) as usize]
    }

    fn find(&self, id: &Ticket) -> Option<u64> {
        self.found.find(hash(id), |number| self.at(*number).id == *id).copied()
    }

    fn add(&mut self, kept: Kept) {
        let number = self.forgotten + self.kept.len() as u64;
        self.kept.push_back(kept);
        let (all, forgotten) = (&self.kept, self.forgotten);
        self.found.insert_unique(hash(&kept.id), number, |number| hash(&all[(*number - forgotten) as usize].id));
    }

    fn expire(&mut self, now: Timestamp) {
        while let Some(first) = self.kept.front().filter(|first| first.expires <= now.0) {
            let number = self.forgotten;
            if let Ok(entry) = self.found.find_entry(hash(&first.id), |found| *found == number) {
                entry.remove();
            }
            self.kept.pop_front();
            self.forgotten += 1;
        }
    }

    fn answer(&mut self, id: &Ticket, index: u64) {
        if let Some(number) = self.find(id) {
            self.kept[(number - self.forgotten) as usize].answered = index;
        }
    }
}

impl Commands {
    /// A command that was decided and is not forgotten.
    pub(crate) fn get(&self, id: &Ticket) -> Option<Kept> {
        [&self.by_clients, &self.by_gateways].into_iter().find_map(|queue| Some(*queue.at(queue.find(id)?)))
    }

    /// Forgets what has expired.
    pub(crate) fn expire(&mut self, now: Timestamp) {
        self.by_clients.expire(now);
        self.by_gateways.expire(now);
    }

    /// Remembers a command.
    pub(crate) fn add(&mut self, cause: &pb::CommandCause) {
        let Some(id) = Ticket::from_bytes(&cause.id) else { return };
        if self.get(&id).is_some() {
            return;
        }
        let kept = Kept { id, fingerprint: cause.fingerprint, expires: cause.expires, answered: 0 };
        if cause.by_client { &mut self.by_clients } else { &mut self.by_gateways }.add(kept);
    }

    /// Remembers where a command's answer is.
    pub(crate) fn answer(&mut self, id: &Ticket, index: u64) {
        self.by_clients.answer(id, index);
        self.by_gateways.answer(id, index);
    }

    /// How many are remembered.
    #[cfg(test)]
    fn len(&self) -> usize {
        self.by_clients.kept.len() + self.by_gateways.kept.len()
    }

    /// For a checkpoint.
    pub(crate) fn encode(&self) -> Vec<pb::StoredCommand> {
        let stored = |by_client: bool| {
            move |kept: &Kept| pb::StoredCommand {
                id: kept.id.to_bytes(),
                fingerprint: kept.fingerprint,
                expires: kept.expires,
                answered: kept.answered,
                by_client,
            }
        };
        let clients = self.by_clients.kept.iter().map(stored(true));
        clients.chain(self.by_gateways.kept.iter().map(stored(false))).collect()
    }

    /// From a checkpoint.
    pub(crate) fn decode(stored: &[pb::StoredCommand]) -> Result<Self, String> {
        let mut commands = Commands::default();
        for command in stored {
            let id = Ticket::from_bytes(&command.id).ok_or("a command's id is not 16 bytes")?;
            let kept =
                Kept { id, fingerprint: command.fingerprint, expires: command.expires, answered: command.answered };
            if commands.get(&id).is_some() {
                return Err("a command is there twice".into());
            }
            if command.by_client { &mut commands.by_clients } else { &mut commands.by_gateways }.add(kept);
        }
        Ok(commands)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn cause(id: u8, expires: u64, by_client: bool) -> pb::CommandCause {
        pb::CommandCause {
            id: Ticket([id; 16]).to_bytes(),
            fingerprint: id.into(),
            expires,
            by_client,
            ..pb::CommandCause::default()
        }
    }

    proptest! {
        /// Whatever comes and goes, it knows what a plain list knows; and so it does when it was stored and restored.
        #[test]
        fn it_remembers_what_is_not_expired(steps in proptest::collection::vec((0..20u8, any::<bool>(), 0..3u64), 0..200)) {
            let (mut commands, mut model, mut now) = (Commands::default(), Vec::<(u8, u64, u64)>::new(), 0);
            for (index, (id, by_client, passed)) in steps.into_iter().enumerate() {
                now += passed;
                commands.expire(Timestamp(now));
                model.retain(|(_, expires, _)| *expires > now);
                let (ticket, index) = (Ticket([id; 16]), index as u64 + 1);
                match model.iter_mut().find(|known| known.0 == id) {
                    Some(known) => {
                        known.2 = index;
                        commands.answer(&ticket, index);
                    }
                    None => {
                        let expires = now + if by_client { 24 } else { 10 };
                        model.push((id, expires, 0));
                        commands.add(&cause(id, expires, by_client));
                    }
                }
                prop_assert_eq!(commands.len(), model.len());
                for id in 0..20 {
                    let expected = model.iter().find(|known| known.0 == id).map(|known| known.2);
                    prop_assert_eq!(commands.get(&Ticket([id; 16])).map(|kept| kept.answered), expected);
                }
            }
            let restored = Commands::decode(&commands.encode()).expect("they were stored");
            prop_assert_eq!(restored.encode(), commands.encode());
        }
    }
}
