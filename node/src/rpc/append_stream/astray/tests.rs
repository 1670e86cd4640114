//! Which place blocks which, and how many are remembered.
use super::*;

fn at(topic: &str, partition: Option<u32>) -> Place {
    Place { topic: topic.into(), partition }
}

#[test]
fn a_place_blocks_itself_and_no_other() {
    let mut astray = Astray::default();
    assert!(!astray.blocks(&at("t", Some(0))), "nothing has failed");
    assert_eq!(astray.remember(at("t", Some(0))), Ok(()));
    assert!(astray.blocks(&at("t", Some(0))));
    assert!(!astray.blocks(&at("t", Some(1))));
    assert!(!astray.blocks(&at("u", Some(0))));
}

#[test]
fn a_place_without_a_partition_blocks_all_of_its_topic() {
    let mut astray = Astray::default();
    assert_eq!(astray.remember(at("t", None)), Ok(()));
    for partition in [None, Some(0), Some(7)] {
        assert!(astray.blocks(&at("t", partition)), "{partition:?}");
        assert!(!astray.blocks(&at("u", partition)), "{partition:?}");
    }
}

#[test]
fn a_place_without_a_partition_is_blocked_by_any_of_its_topic() {
    let mut astray = Astray::default();
    assert_eq!(astray.remember(at("t", Some(3))), Ok(()));
    assert!(astray.blocks(&at("t", None)));
    assert!(!astray.blocks(&at("u", None)));
}

#[test]
fn the_last_place_there_is_room_for_is_full_and_blocks() {
    let mut astray = Astray::default();
    // Of two topics: what counts is the places.
    let places = (0..).map(|number: u32| at(["t", "u"][number as usize % 2], Some(number / 2)));
    for place in places.take(PLACES - 1) {
        assert_eq!(astray.remember(place), Ok(()));
    }
    assert_eq!(astray.remember(at("t", Some(0))), Ok(()), "known already");
    assert_eq!(astray.remember(at("v", None)), Err(Full));
    assert!(astray.blocks(&at("v", None)));
}
