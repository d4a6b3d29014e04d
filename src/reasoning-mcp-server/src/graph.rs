//! The graph of one session's thoughts.
//!
//! Owns what a thought, a revision and a branch mean, and the bounds of a session. It must not know HTTP, MCP or the clock. It
//! promises that a rejected thought changes nothing, and that what it rejects is named by the argument at fault.
//!
//! ```text
//! main     1 --- 2 --- 3 --- 5 (revises 2)
//!                 \
//! other            4 --- 6
//! ```
//!
//! Thoughts are numbered over the whole session in the order they came. A branch sees the thoughts of the branch that it left, up to
//! where it left it, and then its own. A revision takes the place of the thought it revises on the branches that see it: above, `main`
//! reads 1, 5, 3 and `other` reads 1, 2, 4, 6.

#[cfg(test)]
mod tests;

/// The branch that every session begins with.
pub(crate) const MAIN: &str = "main";

/// The longest name of a branch, in characters.
const BRANCH_NAME_LENGTH: usize = 64;

/// The bounds of one session, so that its memory is bounded too.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Thoughts in all branches together.
    pub(crate) thoughts: usize,
    /// Branches, `main` included.
    pub(crate) branches: usize,
    /// Bytes of one thought.
    pub(crate) thought_bytes: usize,
    /// Bytes of all thoughts together.
    pub(crate) session_bytes: usize,
}

/// Why a thought was not taken. The next call can do better: the argument is named, and what would be taken is said.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {reason}")]
pub(crate) struct Rejected {
    /// The argument at fault.
    pub(crate) field: &'static str,
    /// What is wrong with it.
    pub(crate) reason: String,
}

impl Rejected {
    /// `field` is at fault for `reason`.
    pub(crate) fn new(field: &'static str, reason: impl Into<String>) -> Self {
        Self {
            field,
            reason: reason.into(),
        }
    }
}

/// A thought that asks to be taken.
#[derive(Clone, Debug, Default)]
pub(crate) struct Draft {
    /// What is thought.
    pub(crate) text: String,
    /// The branch to go on with, or the name of the one to begin. Default: the branch of the latest thought.
    pub(crate) branch: Option<String>,
    /// Begins `branch` after this thought.
    pub(crate) branch_from: Option<u32>,
    /// Takes the place of this thought.
    pub(crate) revises: Option<u32>,
    /// This is the answer of its branch.
    pub(crate) conclusion: bool,
}

/// A thought that was taken.
#[derive(Debug)]
struct Thought {
    /// Index of its branch.
    branch: usize,
    /// The original thought whose place it takes; never itself a revision.
    revises: Option<u32>,
    text: String,
    conclusion: bool,
}

#[derive(Debug)]
struct Branch {
    name: String,
    /// The thought after which it left another branch; `None` for `main`.
    from: Option<u32>,
}

/// What was taken, and where it stands.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Taken {
    /// Its number in the session, from 1.
    pub(crate) number: u32,
    /// The name of its branch.
    pub(crate) branch: String,
    /// The original thought whose place it took.
    pub(crate) revises: Option<u32>,
}

/// One step of a chain as it reads now.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Step<'a> {
    /// The number of the original thought.
    pub(crate) number: u32,
    /// The numbers of its revisions, oldest first; the text is the last one's.
    pub(crate) revisions: Vec<u32>,
    /// What it says now.
    pub(crate) text: &'a str,
    /// Whether it is the answer of the branch.
    pub(crate) conclusion: bool,
}

/// A branch in short.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Overview<'a> {
    /// Its name.
    pub(crate) name: &'a str,
    /// The thought after which it left another branch.
    pub(crate) from: Option<u32>,
    /// How many steps its chain reads.
    pub(crate) steps: usize,
    /// Whether its last step is a conclusion.
    pub(crate) concluded: bool,
}

/// All thoughts of one session.
#[derive(Debug)]
pub(crate) struct Graph {
    limits: Limits,
    thoughts: Vec<Thought>,
    branches: Vec<Branch>,
    bytes: usize,
}

impl Graph {
    /// No thoughts yet, on the branch `main`.
    pub(crate) fn new(limits: Limits) -> Self {
        let main = Branch {
            name: MAIN.to_owned(),
            from: None,
        };
        Self {
            limits,
            thoughts: Vec::new(),
            branches: vec![main],
            bytes: 0,
        }
    }

    /// Takes a thought, or says which argument keeps it from being taken and changes nothing.
    pub(crate) fn add(&mut self, draft: Draft) -> Result<Taken, Rejected> {
        self.check_size(&draft.text)?;
        let place = self.place(draft.branch, draft.branch_from)?;
        let revises = draft.revises.map(|number| self.original(number, &place)).transpose()?;

        let branch = match place {
            Place::Existing(index) => index,
            Place::New(branch) => {
                self.branches.push(branch);
                self.branches.len() - 1
            }
        };
        self.bytes += draft.text.len();
        self.thoughts.push(Thought {
            branch,
            revises,
            text: draft.text,
            conclusion: draft.conclusion,
        });
        Ok(Taken {
            number: self.latest(),
            branch: self.branches[branch].name.clone(),
            revises,
        })
    }

    /// The chain of a branch as it reads now, revisions in the place of what they revise. Default: the branch of the latest thought.
    pub(crate) fn chain(&self, branch: Option<&str>) -> Result<(&str, Vec<Step<'_>>), Rejected> {
        let index = match branch {
            Some(name) => self.find(name).ok_or_else(|| self.unknown_branch(name))?,
            None => self.current(),
        };
        Ok((&self.branches[index].name, self.steps(index)))
    }

    /// Every branch in short, `main` first.
    pub(crate) fn overview(&self) -> Vec<Overview<'_>> {
        self.branches
            .iter()
            .enumerate()
            .map(|(index, branch)| {
                let steps = self.steps(index);
                Overview {
                    name: &branch.name,
                    from: branch.from,
                    concluded: steps.last().is_some_and(|step| step.conclusion),
                    steps: steps.len(),
                }
            })
            .collect()
    }

    /// How many more thoughts it takes.
    pub(crate) fn room(&self) -> usize {
        self.limits.thoughts - self.thoughts.len()
    }

    fn check_size(&self, text: &str) -> Result<(), Rejected> {
        let Limits {
            thoughts,
            thought_bytes,
            session_bytes,
            ..
        } = self.limits;
        if text.trim().is_empty() {
            return Err(Rejected::new("thought", "is empty; say what you think"));
        }
        if text.len() > thought_bytes {
            let reason = format!("has {} bytes, at most {thought_bytes} are taken; split it", text.len());
            return Err(Rejected::new("thought", reason));
        }
        if self.thoughts.len() >= thoughts || self.bytes + text.len() > session_bytes {
            let reason = format!(
                "the session is full ({} of {thoughts} thoughts, {} of {session_bytes} bytes); review it and begin another",
                self.thoughts.len(),
                self.bytes
            );
            return Err(Rejected::new("session_id", reason));
        }
        Ok(())
    }

    fn place(&self, name: Option<String>, from: Option<u32>) -> Result<Place, Rejected> {
        match (name, from) {
            (None, None) => Ok(Place::Existing(self.current())),
            (None, Some(_)) => Err(Rejected::new("branch", "is missing; name the branch that branch_from begins")),
            (Some(name), None) => match self.find(&name) {
                Some(index) => Ok(Place::Existing(index)),
                None => Err(self.unknown_branch(&name)),
            },
            (Some(name), Some(from)) => self.new_branch(name, from).map(Place::New),
        }
    }

    fn new_branch(&self, name: String, from: u32) -> Result<Branch, Rejected> {
        let spelled_well = name
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'));
        if name.is_empty() || name.len() > BRANCH_NAME_LENGTH || !spelled_well {
            let reason = format!("expected 1 to {BRANCH_NAME_LENGTH} of letters, digits, '-', '_' and '.'");
            return Err(Rejected::new("branch", reason));
        }
        if self.find(&name).is_some() {
            let reason = format!("`{name}` exists already; leave branch_from out to go on with it");
            return Err(Rejected::new("branch", reason));
        }
        if self.branches.len() >= self.limits.branches {
            let reason = format!("the session has {} branches, which is the most it takes", self.branches.len());
            return Err(Rejected::new("branch", reason));
        }
        self.thought("branch_from", from)?;
        Ok(Branch { name, from: Some(from) })
    }

    /// The original behind `number`, which must be in sight from `place`.
    fn original(&self, number: u32, place: &Place) -> Result<u32, Rejected> {
        let original = self.thought("revises", number)?.revises.unwrap_or(number);
        let (history, name) = match place {
            Place::Existing(index) => (self.history(*index), &self.branches[*index].name),
            Place::New(branch) => (self.inherited(branch), &branch.name),
        };
        if history.contains(&number) {
            Ok(original)
        } else {
            let reason = format!("thought {number} is not on the branch `{name}`");
            Err(Rejected::new("revises", reason))
        }
    }

    fn thought(&self, field: &'static str, number: u32) -> Result<&Thought, Rejected> {
        position(number)
            .and_then(|position| self.thoughts.get(position))
            .ok_or_else(|| match self.latest() {
                0 => Rejected::new(field, format!("there is no thought {number}; the session has none yet")),
                latest => Rejected::new(
                    field,
                    format!("there is no thought {number}; they are numbered 1 to {latest}"),
                ),
            })
    }

    fn unknown_branch(&self, name: &str) -> Rejected {
        let names: Vec<&str> = self.branches.iter().map(|branch| branch.name.as_str()).collect();
        let reason = format!(
            "there is no branch `{name}` (there are: {}); give branch_from to begin it",
            names.join(", ")
        );
        Rejected::new("branch", reason)
    }

    fn find(&self, name: &str) -> Option<usize> {
        self.branches.iter().position(|branch| branch.name == name)
    }

    /// The branch of the latest thought.
    fn current(&self) -> usize {
        self.thoughts.last().map_or(0, |thought| thought.branch)
    }

    /// The number of the latest thought; 0 when there is none.
    fn latest(&self) -> u32 {
        u32::try_from(self.thoughts.len()).unwrap_or(u32::MAX)
    }

    /// The numbers that a branch sees, in order.
    fn history(&self, index: usize) -> Vec<u32> {
        let mut numbers = self.inherited(&self.branches[index]);
        numbers.extend(
            (1..)
                .zip(&self.thoughts)
                .filter(|(_, thought)| thought.branch == index)
                .map(|(number, _)| number),
        );
        numbers
    }

    /// The part of it that stems from the branch it left.
    fn inherited(&self, branch: &Branch) -> Vec<u32> {
        let Some(from) = branch.from else { return Vec::new() };
        let left = position(from).and_then(|position| self.thoughts.get(position));
        let mut numbers = left.map_or_else(Vec::new, |thought| self.history(thought.branch));
        numbers.retain(|number| *number <= from);
        numbers
    }

    fn steps(&self, index: usize) -> Vec<Step<'_>> {
        let mut steps: Vec<Step<'_>> = Vec::new();
        for number in self.history(index) {
            let Some(thought) = position(number).and_then(|position| self.thoughts.get(position)) else {
                continue;
            };
            let revised = thought
                .revises
                .and_then(|original| steps.iter_mut().find(|step| step.number == original));
            match revised {
                Some(step) => {
                    step.revisions.push(number);
                    step.text = &thought.text;
                    step.conclusion = thought.conclusion;
                }
                None => steps.push(Step {
                    number,
                    revisions: Vec::new(),
                    text: &thought.text,
                    conclusion: thought.conclusion,
                }),
            }
        }
        steps
    }
}

/// Where a draft goes.
enum Place {
    /// To the branch with this index.
    Existing(usize),
    /// To a branch that it begins.
    New(Branch),
}

/// The index of a thought; `None` for the number 0.
fn position(number: u32) -> Option<usize> {
    usize::try_from(number).ok()?.checked_sub(1)
}
