use super::*;
use crate::{
    testing::ViewDamage,
    world::{Direction, Pair, StoreChange, StoreError, ViewStore, Views, conformance},
};
use std::ops::Bound;

const STORE: &str = "/views/a.1";

#[test]
fn it_keeps_the_contract_of_the_seam() {
    let sim = Sim::seed(1);
    sim.run(async { conformance::views(&sim.env(1).views, Path::new("/")) });
}

fn put(nth: u64) -> StoreChange {
    StoreChange { tree: "t", key: nth.to_be_bytes().to_vec(), value: Some(vec![nth as u8; 4]) }
}

fn everything<S: ViewStore>(store: &S) -> Vec<Pair> {
    store.range("t", (Bound::Unbounded, Bound::Unbounded), Direction::Ascending, usize::MAX).unwrap()
}

/// What a store with forty batches of one pair holds after that; `None` where it does not open.
fn after(seed: u64, happens: impl FnOnce(&Sim)) -> Option<Vec<Pair>> {
    let sim = Sim::seed(seed);
    sim.run(async {
        sim.spare_views(1, true);
        let views = sim.env(1).views;
        let mut store = views.create(Path::new(STORE), 0).unwrap();
        (0..40).for_each(|nth| store.apply(vec![put(nth)]).unwrap());
        store.flush().unwrap();
        happens(&sim);
        sim.kill(1);
        assert!(matches!(store.get("t", b""), Err(StoreError::Failed(_))), "that of a dead node");
        drop(store);
        sim.restart(1).views.open(Path::new(STORE), 0).ok().map(|store| everything(&store))
    })
}

#[test]
fn each_kind_of_damage_is_what_it_says() {
    let whole = after(2, |_| {}).expect("a kill loses nothing that was flushed");
    assert_eq!(whole.len(), 40);
    let damaged = |damage| after(3, move |sim| assert_eq!(sim.damage_views(1, damage), 1));
    let last = damaged(ViewDamage::LoseLast).unwrap();
    assert!(last.len() < 40 && whole.starts_with(&last), "the last are missing, and no others");
    let some = damaged(ViewDamage::LoseSome).unwrap();
    assert!(some.len() < 40 && some.last() == whole.last() && some.iter().all(|pair| whole.contains(pair)));
    let flipped = damaged(ViewDamage::FlipBit).unwrap();
    assert_eq!(flipped.iter().filter(|pair| !whole.contains(pair)).count(), 1);
    assert_eq!(damaged(ViewDamage::Unopenable), None);
    let older = damaged(ViewDamage::Older).unwrap();
    assert!(older.len() < 40 && whole.starts_with(&older));
    assert_eq!(damaged(ViewDamage::Removed), None);
    assert_eq!(after(3, |sim| assert_eq!(sim.damage_views(1, ViewDamage::OfAnother), 0, "there is none")), Some(whole));
}

#[test]
fn a_store_of_another_node_is_taken_for_ones_own() {
    let sim = Sim::seed(4);
    sim.run(async {
        let (mine, other) = (sim.env(1).views, sim.env(2).views);
        let store = mine.create(Path::new(STORE), 0).unwrap();
        let mut theirs = other.create(Path::new("/views/a.7"), 0).unwrap();
        theirs.apply(vec![put(1)]).unwrap();
        assert_eq!(sim.damage_views(1, ViewDamage::OfAnother), 1);
        assert_eq!(everything(&store), everything(&theirs));
    });
}

#[test]
fn crashes_do_everything_that_may_be_done_and_the_same_seed_does_the_same() {
    let lives = |seed: u64| {
        let sim = Sim::seed(seed);
        sim.run(async {
            let mut held = Vec::new();
            for life in 0..300_u64 {
                let views = sim.restart(1).views;
                let store = views.open(Path::new(STORE), 0);
                let mut store = store.or_else(|_| {
                    views.remove(Path::new(STORE))?;
                    views.create(Path::new(STORE), 0)
                });
                if let Ok(store) = &mut store {
                    (0..20).for_each(|nth| store.apply(vec![put(life * 20 + nth)]).unwrap());
                    held.push(everything(store).len());
                }
                if life % 2 == 0 { sim.kill(1) } else { sim.power_cut(1) }
            }
            (held, sim.view_damages(1))
        })
    };
    let (held, damages) = lives(5);
    let seen: Vec<ViewDamage> = damages.iter().filter(|(_, times)| *times > 0).map(|(damage, _)| *damage).collect();
    assert_eq!(seen, ViewDamage::ALL.into_iter().filter(|d| *d != ViewDamage::OfAnother).collect::<Vec<_>>());
    assert_eq!(lives(5), (held, damages));
}

#[test]
fn operations_fail_and_panic_where_that_is_ordered() {
    let sim = Sim::seed(6);
    sim.run(async {
        let views = sim.env(1).views;
        let store = views.create(Path::new(STORE), 0).unwrap();
        sim.trouble_views(1, Some(3));
        let failures: Vec<StoreError> = (0..200).filter_map(|_| store.get("t", b"").err()).collect();
        assert!((30..110).contains(&failures.len()), "{}", failures.len());
        assert!(failures.iter().any(|failure| matches!(failure, StoreError::Panicked(_))));
        sim.trouble_views(1, None);
        assert_eq!(store.get("t", b""), Ok(None));
    });
}
