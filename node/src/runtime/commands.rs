//! The commands a partition remembers, so that one that is sent again has one effect and one answer (R52), and how many of them are
//! each principal's.
use super::service::Ticket;
use corduroy_log::world::Timestamp;
use corduroy_proto::runtime as pb;
use hashbrown::HashTable;
use imbl::Vector;
use std::collections::BTreeMap;
use xxhash_rust::xxh3::xxh3_64;

/// How far the first one of a principal is looked for.
const LOOKED_AT: usize = 10_000;

/// A command that was decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Kept {
    id: Ticket,
    /// Of its content.
    pub fingerprint: u64,
    expires: u64,
    /// Index of the entry that has its answer; 0: there is none yet.
    pub answered: u64,
    /// Whose it is, of those of clients; see [`principal`].
    principal: u64,
}

/// Clients choose the ids of some commands, and gateways of others; the two are kept for different times, so each has a queue, in
/// which what expires first comes first. A table finds them: 48 bytes a command, and some 10 of the table.
#[derive(Default)]
pub(crate) struct Commands {
    by_clients: Queue,
    by_gateways: Queue,
    /// How many of those of clients are each principal's.
    held: BTreeMap<u64, u64>,
}

#[derive(Default)]
struct Queue {
    /// Shared with a copy that a checkpoint is made from.
    kept: Vector<Kept>,
    /// How many were forgotten: the number of the first that is kept.
    forgotten: u64,
    /// Numbers.
    found: HashTable<u64>,
}

/// Stands for a principal. 0: nobody in particular.
pub(crate) fn principal(name: &str) -> u64 {
    if name.is_empty() { 0 } else { xxh3_64(name.as_bytes()) }
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

    fn expire(&mut self, now: Timestamp, mut gone: impl FnMut(&Kept)) {
        while let Some(first) = self.kept.front().filter(|first| first.expires <= now.0) {
            gone(first);
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
        let held = &mut self.held;
        self.by_clients.expire(now, |kept| match held.get_mut(&kept.principal) {
            Some(count) if *count > 1 => *count -= 1,
            _ => drop(held.remove(&kept.principal)),
        });
        self.by_gateways.expire(now, |_| {});
    }

    /// How many of a principal's are remembered, of those whose ids clients chose. Without those that are forgotten with the next
    /// batch.
    pub(crate) fn held(&self, principal: u64, now: Timestamp) -> u64 {
        let expired = self.by_clients.kept.iter().take_while(|kept| kept.expires <= now.0);
        let expired = expired.filter(|kept| kept.principal == principal).count() as u64;
        self.held.get(&principal).map_or(0, |held| held.saturating_sub(expired))
    }

    /// The same with those, which takes no time.
    pub(crate) fn most(&self, principal: u64) -> u64 {
        self.held.get(&principal).copied().unwrap_or_default()
    }

    /// When the first of a principal's expires from now on, or a little before.
    pub(crate) fn first_expires(&self, principal: u64, now: Timestamp) -> Option<u64> {
        let mut last = None;
        let kept = self.by_clients.kept.iter().skip_while(|kept| kept.expires <= now.0).take(LOOKED_AT);
        let first = kept.inspect(|kept| last = Some(kept.expires)).find(|kept| kept.principal == principal);
        first.map(|kept| kept.expires).or(last)
    }

    /// Remembers a command.
    pub(crate) fn add(&mut self, cause: &pb::CommandCause) {
        let Some(id) = Ticket::from_bytes(&cause.id) else { return };
        if self.get(&id).is_some() {
            return;
        }
        let principal = if cause.by_client { principal(&cause.principal) } else { 0 };
        let kept = Kept { id, fingerprint: cause.fingerprint, expires: cause.expires, answered: 0, principal };
        self.keep(kept, cause.by_client);
    }

    fn keep(&mut self, kept: Kept, by_client: bool) {
        if by_client {
            *self.held.entry(kept.principal).or_default() += 1;
            self.by_clients.add(kept);
        } else {
            self.by_gateways.add(kept);
        }
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

    /// For a checkpoint: a copy, made at once, to be encoded.
    pub(crate) fn frozen(&self) -> impl FnOnce() -> Vec<pb::StoredCommand> + Send + use<> {
        let (clients, gateways) = (self.by_clients.kept.clone(), self.by_gateways.kept.clone());
        move || {
            let stored = |by_client: bool| {
                move |kept: &Kept| pb::StoredCommand {
                    id: kept.id.to_bytes(),
                    fingerprint: kept.fingerprint,
                    expires: kept.expires,
                    answered: kept.answered,
                    by_client,
                    principal: kept.principal,
                }
            };
            clients.iter().map(stored(true)).chain(gateways.iter().map(stored(false))).collect()
        }
    }

    /// From a checkpoint.
    pub(crate) fn decode(stored: &[pb::StoredCommand]) -> Result<Self, String> {
        let mut commands = Commands::default();
        for command in stored {
            let id = Ticket::from_bytes(&command.id).ok_or("a command's id is not 16 bytes")?;
            let &pb::StoredCommand { fingerprint, expires, answered, principal, .. } = command;
            let kept = Kept { id, fingerprint, expires, answered, principal };
            if commands.get(&id).is_some() {
                return Err("a command is there twice".into());
            }
            commands.keep(kept, command.by_client);
        }
        Ok(commands)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const WHO: [&str; 3] = ["", "ada", "bob"];

    fn cause(id: u8, expires: u64, by_client: bool) -> pb::CommandCause {
        pb::CommandCause {
            id: Ticket([id; 16]).to_bytes(),
            fingerprint: id.into(),
            expires,
            by_client,
            principal: if by_client { WHO[id as usize % WHO.len()].into() } else { "ada".into() },
            ..pb::CommandCause::default()
        }
    }

    proptest! {
        /// Whatever comes and goes, it knows what a plain list knows; and so it does when it was stored and restored.
        #[test]
        fn it_remembers_what_is_not_expired(steps in proptest::collection::vec((0..20u8, any::<bool>(), 0..3u64), 0..200)) {
            let (mut commands, mut model, mut now) = (Commands::default(), Vec::<(u8, u64, u64, bool)>::new(), 0);
            for (index, (id, by_client, passed)) in steps.into_iter().enumerate() {
                now += passed;
                commands.expire(Timestamp(now));
                model.retain(|(_, expires, ..)| *expires > now);
                let (ticket, index) = (Ticket([id; 16]), index as u64 + 1);
                match model.iter_mut().find(|known| known.0 == id) {
                    Some(known) => {
                        known.2 = index;
                        commands.answer(&ticket, index);
                    }
                    None => {
                        let expires = now + if by_client { 24 } else { 10 };
                        model.push((id, expires, 0, by_client));
                        commands.add(&cause(id, expires, by_client));
                    }
                }
                prop_assert_eq!(commands.len(), model.len());
                for id in 0..20 {
                    let expected = model.iter().find(|known| known.0 == id).map(|known| known.2);
                    prop_assert_eq!(commands.get(&Ticket([id; 16])).map(|kept| kept.answered), expected);
                }
            }
            let restored = Commands::decode(&commands.frozen()()).expect("they were stored");
            prop_assert_eq!(restored.frozen()(), commands.frozen()());
            // What has expired since the last batch counts no more.
            now += 5;
            model.retain(|(_, expires, ..)| *expires > now);
            for (at, who) in WHO.into_iter().enumerate() {
                let own = || model.iter().filter(|(id, _, _, by_client)| *by_client && *id as usize % WHO.len() == at);
                for commands in [&commands, &restored] {
                    prop_assert_eq!(commands.held(principal(who), Timestamp(now)), own().count() as u64, "{:?}", who);
                    if let Some(first) = own().map(|(_, expires, ..)| *expires).min() {
                        prop_assert_eq!(commands.first_expires(principal(who), Timestamp(now)), Some(first));
                    }
                }
            }
        }
    }
}
