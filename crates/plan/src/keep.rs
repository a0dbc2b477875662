//! The ladder: how much of a layer is kept for its backward pass, and what is made again instead.

/// How much of a layer is kept. Each rung keeps less than the one before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Keep {
    /// All that backward reads.
    All,
    /// All but gate and up: one product makes them again.
    Narrow,
    /// The layer's input and attention's result: the products are made again, attention is not.
    Attention,
    /// The layer's input alone: all but the down projection is computed twice.
    Input,
}

impl Keep {
    /// The rungs that make something again, in the order in which they are tried.
    pub(crate) const LADDER: [Keep; 3] = [Keep::Narrow, Keep::Attention, Keep::Input];

    /// What is made again, in words.
    pub fn title(self) -> &'static str {
        match self {
            Keep::All => "nothing",
            Keep::Narrow => "gate and up",
            Keep::Attention => "q, k, v, the attention's output product, gate and up",
            Keep::Input => "everything but the down projection",
        }
    }

    /// The rung above.
    pub(crate) fn before(self) -> Keep {
        match self {
            Keep::All | Keep::Narrow => Keep::All,
            Keep::Attention => Keep::Narrow,
            Keep::Input => Keep::Attention,
        }
    }
}

/// What each layer keeps: the first `layers` of them at `rung`, the others at the rung above.
///
/// The first layers pay, since their backward pass comes last: while theirs are made again, the others are gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Choice {
    pub rung: Keep,
    pub layers: usize,
}

impl Choice {
    /// Nothing is made again.
    pub(crate) const ALL: Choice = Choice { rung: Keep::All, layers: 0 };

    pub(crate) fn of(self, layer: usize) -> Keep {
        if layer < self.layers { self.rung } else { self.rung.before() }
    }

    /// Every choice for `layers` layers, the cheapest first.
    pub(crate) fn ladder(layers: usize) -> impl Iterator<Item = Choice> {
        let rungs = Keep::LADDER.into_iter().flat_map(move |rung| (1..=layers).map(move |layers| Choice { rung, layers }));
        std::iter::once(Choice::ALL).chain(rungs)
    }

    /// How many of `layers` layers are at each rung below the top, as (rung, layers).
    pub(crate) fn counts(self, layers: usize) -> Vec<(Keep, usize)> {
        let both = [(self.rung, self.layers), (self.rung.before(), layers - self.layers)];
        both.into_iter().filter(|(keep, n)| *keep != Keep::All && *n > 0).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ladder_begins_with_nothing_and_ends_with_everything() {
        let all: Vec<Choice> = Choice::ladder(4).collect();
        assert_eq!((all.len(), all[0]), (13, Choice::ALL));
        assert!((0..4).all(|l| all[12].of(l) == Keep::Input));
        assert_eq!(all[6].counts(4), [(Keep::Attention, 2), (Keep::Narrow, 2)]);
        assert_eq!(all[2].counts(4), [(Keep::Narrow, 2)]);
        // Each step keeps less in one layer and more in none.
        for pair in all.windows(2) {
            assert_eq!((0..4).filter(|&l| pair[1].of(l) > pair[0].of(l)).count(), 1);
            assert!((0..4).all(|l| pair[1].of(l) >= pair[0].of(l)));
        }
    }
}
