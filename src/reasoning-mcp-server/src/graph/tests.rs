//! What a chain reads after thoughts, revisions and branches, and what is refused.

use super::*;
use proptest::prelude::*;

const LIMITS: Limits = Limits {
    thoughts: 12,
    branches: 3,
    thought_bytes: 20,
    session_bytes: 60,
};

fn draft(text: &str) -> Draft {
    Draft {
        text: text.to_owned(),
        ..Draft::default()
    }
}

fn branching(text: &str, branch: &str, from: u32) -> Draft {
    Draft {
        branch: Some(branch.to_owned()),
        branch_from: Some(from),
        ..draft(text)
    }
}

fn on(text: &str, branch: &str) -> Draft {
    Draft {
        branch: Some(branch.to_owned()),
        ..draft(text)
    }
}

fn revising(text: &str, number: u32) -> Draft {
    Draft {
        revises: Some(number),
        ..draft(text)
    }
}

fn graph(drafts: impl IntoIterator<Item = Draft>) -> Graph {
    let mut graph = Graph::new(LIMITS);
    for draft in drafts {
        graph.add(draft).unwrap();
    }
    graph
}

fn texts<'a>(graph: &'a Graph, branch: &str) -> Vec<&'a str> {
    let (_, steps) = graph.chain(Some(branch)).unwrap();
    steps.iter().map(|step| step.text).collect()
}

#[test]
fn thoughts_are_numbered_and_read_in_order() {
    let mut graph = graph([draft("a"), draft("b")]);
    let taken = graph.add(draft("c")).unwrap();
    assert_eq!((taken.number, taken.branch.as_str(), taken.revises), (3, MAIN, None));
    assert_eq!(texts(&graph, MAIN), ["a", "b", "c"]);
}

#[test]
fn a_branch_sees_what_was_there_where_it_left_and_then_its_own() {
    let graph = graph([draft("a"), draft("b"), branching("x", "other", 1), draft("y"), on("c", MAIN)]);
    assert_eq!(texts(&graph, MAIN), ["a", "b", "c"]);
    assert_eq!(
        texts(&graph, "other"),
        ["a", "x", "y"],
        "without a name a thought goes on where the last one was"
    );
}

#[test]
fn a_revision_takes_the_place_of_its_original_where_it_is_seen() {
    let graph = graph([
        draft("a"),
        draft("b"),
        branching("x", "before", 2),
        Draft {
            branch: Some(MAIN.to_owned()),
            ..revising("A", 1)
        },
        branching("y", "after", 4),
    ]);
    assert_eq!(texts(&graph, MAIN), ["A", "b"]);
    assert_eq!(texts(&graph, "before"), ["a", "b", "x"], "it left before the revision");
    assert_eq!(texts(&graph, "after"), ["A", "b", "y"], "it left after the revision");
}

#[test]
fn a_revision_of_a_revision_revises_the_original() {
    let mut graph = graph([draft("a"), draft("b"), revising("A", 1)]);
    assert_eq!(graph.add(revising("AA", 3)).unwrap().revises, Some(1));
    let (_, steps) = graph.chain(None).unwrap();
    assert_eq!(
        (steps[0].number, steps[0].text, &steps[0].revisions[..]),
        (1, "AA", &[3, 4][..])
    );
}

#[test]
fn a_branch_is_concluded_by_its_last_step() {
    let conclusion = Draft {
        conclusion: true,
        ..draft("so")
    };
    let mut graph = graph([draft("a"), conclusion]);
    assert!(graph.overview()[0].concluded);
    graph.add(branching("but", "doubt", 2)).unwrap();
    let overview: Vec<_> = graph
        .overview()
        .iter()
        .map(|branch| (branch.steps, branch.concluded))
        .collect();
    assert_eq!(overview, [(2, true), (3, false)]);
}

#[test]
fn what_is_refused_names_the_argument_and_changes_nothing() {
    let long = "x".repeat(21);
    let table = [
        (draft(" \n"), "thought: is empty"),
        (draft(&long), "thought: has 21 bytes, at most 20"),
        (
            on("t", "nowhere"),
            "branch: there is no branch `nowhere` (there are: main, side)",
        ),
        (branching("t", "side", 1), "branch: `side` exists already"),
        (branching("t", "no spaces", 1), "branch: expected 1 to 64"),
        (branching("t", "", 1), "branch: expected 1 to 64"),
        (
            branching("t", "new", 9),
            "branch_from: there is no thought 9; they are numbered 1 to 3",
        ),
        (branching("t", "new", 0), "branch_from: there is no thought 0"),
        (
            Draft {
                branch_from: Some(1),
                ..draft("t")
            },
            "branch: is missing",
        ),
        (revising("t", 4), "revises: there is no thought 4"),
        (
            Draft {
                branch: Some(MAIN.to_owned()),
                ..revising("t", 3)
            },
            "revises: thought 3 is not on the branch `main`",
        ),
        (
            Draft {
                revises: Some(2),
                ..branching("t", "new", 1)
            },
            "revises: thought 2 is not on the branch `new`",
        ),
    ];
    let mut graph = graph([draft("a"), draft("b"), branching("x", "side", 1)]);
    let before = format!("{graph:?}");
    for (draft, expected) in table {
        let refused = graph.add(draft).unwrap_err().to_string();
        assert!(refused.starts_with(expected), "{refused:?} should begin with {expected:?}");
        assert_eq!(format!("{graph:?}"), before, "{expected}");
    }
    assert_eq!(
        Graph::new(LIMITS).add(revising("t", 1)).unwrap_err().to_string(),
        "revises: there is no thought 1; the session has none yet"
    );
}

#[test]
fn a_session_is_bounded_in_thoughts_in_bytes_and_in_branches() {
    let mut full = graph((0..12).map(|_| draft("t")));
    assert_eq!(full.room(), 0);
    let refused = full.add(draft("t")).unwrap_err();
    assert_eq!(refused.field, "session_id");
    assert!(refused.reason.contains("12 of 12 thoughts"), "{refused}");

    let mut heavy = graph((0..3).map(|_| draft(&"x".repeat(20))));
    assert!(heavy.add(draft("t")).unwrap_err().reason.contains("60 of 60 bytes"));

    let mut wide = graph([draft("a"), branching("b", "one", 1), branching("c", "two", 1)]);
    assert_eq!(wide.add(branching("d", "three", 1)).unwrap_err().field, "branch");
}

#[derive(Clone, Debug)]
enum Wish {
    Continue,
    On(usize),
    Branch(u32),
    Revise(u32),
}

fn wish() -> impl Strategy<Value = Wish> {
    prop_oneof![
        Just(Wish::Continue),
        (0..4_usize).prop_map(Wish::On),
        (0..10_u32).prop_map(Wish::Branch),
        (0..10_u32).prop_map(Wish::Revise),
    ]
}

proptest! {
    /// Whatever is asked for: every chain reads originals in rising order, each once, and shows the newest revision it sees.
    #[test]
    fn every_chain_reads_in_order(wishes in prop::collection::vec(wish(), 0..20)) {
        let mut graph = Graph::new(LIMITS);
        for wish in wishes {
            let text = (graph.latest() + 1).to_string();
            let names = [MAIN, "b1", "b2", "nowhere"];
            // A refusal is fine: it changes nothing, and the chains below must read well all the same.
            let _ = graph.add(match wish {
                Wish::Continue => draft(&text),
                Wish::On(index) => on(&text, names[index]),
                Wish::Branch(from) => branching(&text, &format!("b{}", graph.branches.len()), from),
                Wish::Revise(number) => revising(&text, number),
            });
        }
        for branch in graph.overview() {
            let (_, steps) = graph.chain(Some(branch.name)).unwrap();
            prop_assert!(steps.is_sorted_by(|a, b| a.number < b.number));
            for step in steps {
                let shown = step.revisions.last().unwrap_or(&step.number);
                prop_assert_eq!(step.text, shown.to_string());
                prop_assert!(step.revisions.is_sorted_by(|a, b| a < b));
                prop_assert!(step.revisions.first().is_none_or(|first| *first > step.number));
            }
        }
    }
}
