//! The graph: orders, cycles, and their cost.
use proptest::prelude::*;
use units::{Facts, Graph, SourceText, Unit, UnitName, parse_unit};

fn unit(name: &str, after: &[&str], before: &[&str]) -> Unit {
    let text = format!("command = \"x\"\nafter = {after:?}\nbefore = {before:?}");
    let name = UnitName::new(name).unwrap();
    let files = [SourceText::new("x.toml", text)];
    parse_unit(&name, &files, &Facts::of_the_system())
        .unit
        .unwrap()
}

fn order(units: &[Unit]) -> String {
    let graph = Graph::build(units);
    let names: Vec<&str> = graph.start_order().map(UnitName::as_str).collect();
    names.join(" ")
}

fn cycles(units: &[Unit]) -> Vec<String> {
    let cycles = Graph::build(units).cycles();
    cycles.iter().map(ToString::to_string).collect()
}

#[test]
fn units_start_behind_what_they_are_after_and_stop_backwards() {
    let units = [
        unit("web", &["db", "cache", "ghost"], &[]),
        unit("cache", &[], &[]),
        unit("db", &[], &["cache"]),
    ];
    assert_eq!(order(&units), "db cache web");
    let graph = Graph::build(&units);
    let stop: Vec<&str> = graph.stop_order().map(UnitName::as_str).collect();
    assert_eq!(stop, ["web", "cache", "db"]);
    let web = UnitName::new("web").unwrap();
    let earlier: Vec<&str> = graph.after(&web).map(UnitName::as_str).collect();
    assert_eq!(earlier, ["cache", "db"]);
    assert!(graph.cycles().is_empty());
}

#[test]
fn a_cycle_is_told_as_the_path_walked() {
    let units = [
        unit("web", &["db"], &[]),
        unit("db", &["cache"], &[]),
        unit("cache", &["web"], &[]),
        unit("aside", &["web"], &[]),
    ];
    assert_eq!(cycles(&units), ["cache after web after db after cache"]);
}

#[test]
fn every_cycle_of_a_knot_is_told() {
    let units = [
        unit("a", &["b", "c"], &[]),
        unit("b", &["a"], &[]),
        unit("c", &["a"], &[]),
        unit("x", &["y"], &["y"]),
        unit("y", &[], &[]),
        unit("z", &["y"], &["y"]),
    ];
    assert_eq!(
        cycles(&units),
        [
            "a after b after a",
            "c after a after c",
            "x after y after x",
            "z after y after z"
        ]
    );
}

#[test]
fn ten_thousand_units_in_one_chain_or_ring_are_no_trouble() {
    let name = |i: usize| format!("u{i}");
    let mut units: Vec<Unit> = (0..10_000)
        .map(|i| unit(&name(i), &[&name(i + 1)], &[]))
        .collect();
    let graph = Graph::build(&units);
    assert!(graph.cycles().is_empty());
    assert_eq!(graph.start_order().next().unwrap().as_str(), "u9999");
    units[9_999] = unit("u9999", &["u0"], &[]);
    let cycles = Graph::build(&units).cycles();
    assert_eq!(cycles.len(), 1);
    assert_eq!(cycles[0].0.len(), 10_000);
}

proptest! {
    #[test]
    fn the_order_holds_or_a_cycle_is_told(edges in prop::collection::vec((0..12usize, 0..12usize), 0..30)) {
        let name = |i: usize| format!("u{i}");
        let units: Vec<Unit> = (0..12)
            .map(|i| {
                let after: Vec<String> = edges
                    .iter()
                    .filter(|(from, to)| *from == i && *to != i)
                    .map(|(_, to)| name(*to))
                    .collect();
                let after: Vec<&str> = after.iter().map(String::as_str).collect();
                unit(&name(i), &after, &[])
            })
            .collect();
        let graph = Graph::build(&units);
        let order: Vec<&UnitName> = graph.start_order().collect();
        prop_assert_eq!(order.len(), 12);
        let at = |name: &UnitName| order.iter().position(|other| *other == name);
        let held = units.iter().all(|unit| {
            unit.dependencies.after.iter().all(|earlier| at(earlier) < at(&unit.name))
        });
        let cycles = graph.cycles();
        prop_assert_eq!(held, cycles.is_empty());
        for cycle in cycles {
            for (position, unit) in cycle.0.iter().enumerate() {
                let next = &cycle.0[(position + 1) % cycle.0.len()];
                prop_assert!(graph.after(unit).any(|earlier| earlier == next));
            }
        }
    }
}
