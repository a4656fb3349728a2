//! One call of a verb that has to do without something.

use crate::cases::Verb;
use crate::world::{BOUND, World};

/// What came of the call, with what the verb has printed.
#[derive(Debug)]
#[allow(dead_code, reason = "the texts are for Debug")]
pub enum Outcome {
    Works,
    /// The verb works, and prints this.
    Warns(String),
    /// The verb fails, and prints this one line.
    Fails(String),
    /// The verb fails without one line of text, or does not do what it says, or leaves
    /// something behind.
    Unclear(String),
}

pub struct Trial<'a> {
    pub world: &'a World,
    pub verb: &'a Verb,
}

impl Trial<'_> {
    /// Runs the verb after the words `before`. What comes before and after the verb has
    /// everything.
    pub fn without(&self, before: &[String]) -> Outcome {
        let (world, verb) = (self.world, self.verb);
        let (pid, kept) = verb.prepare(world).expect("a container");
        let before: Vec<_> = before.iter().map(String::as_str).collect();
        let words = verb.words(world);
        let words: Vec<_> = words.iter().map(String::as_str).collect();
        let (ended, output) = world.verb_after(&before, &words).run(BOUND);
        let said = ended.stderr.trim_end().replace(&world.id, "ID");
        let mut outcome = if !ended.hang.is_empty() {
            Outcome::Unclear(format!("hangs: {}", ended.hang.join("; ")))
        } else if (verb.succeeded)(ended.code) {
            match (verb.check)(world, pid, &ended, &kept.unwrap_or(output)) {
                Err(why) => Outcome::Unclear(format!("succeeds, but {why}; stderr {said:?}")),
                Ok(()) if said.is_empty() => Outcome::Works,
                Ok(()) => Outcome::Warns(said.clone()),
            }
        } else if said.lines().count() == 1 {
            Outcome::Fails(said.clone())
        } else {
            Outcome::Unclear(format!("exit status {}, stderr {said:?}", ended.code))
        };
        if verb.creates() && matches!(outcome, Outcome::Fails(_)) {
            let left = world.left();
            if !left.is_empty() {
                outcome = Outcome::Unclear(format!("leaves {left:?}; stderr {said:?}"));
            }
        }
        world.delete().expect("delete");
        let left = world.left();
        if !left.is_empty() {
            world.clean_up();
            outcome = Outcome::Unclear(format!("leaves {left:?} after delete; stderr {said:?}"));
        }
        outcome
    }
}
