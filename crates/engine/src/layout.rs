//! A micro-batch as a flat list of tokens: segments that follow each other, each a continuation of another or of nothing.
//!
//! A segment attends to itself (causally) and to all of its ancestors. Examples that begin with the
//! same tokens are children of one segment, so what they share is held and computed once.

/// A run of consecutive tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Row of the first token.
    pub start: usize,
    /// Number of tokens.
    pub len: usize,
    /// The segment that this one continues; always an earlier one.
    pub parent: Option<usize>,
    /// Its keys and values are there already: it is attended to and asks nothing itself.
    pub cached: bool,
}

/// The segments of a micro-batch.
#[derive(Clone, Debug, Default)]
pub struct Layout {
    segments: Vec<Segment>,
    first_position: Vec<usize>,
    tokens: usize,
}

impl Layout {
    /// A layout without segments.
    pub fn new() -> Layout {
        Layout::default()
    }

    /// Appends a segment of `len` tokens after all others and returns its index.
    pub fn push(&mut self, len: usize, parent: Option<usize>) -> usize {
        self.append(len, parent, false)
    }

    /// As [`Layout::push`] without parent, for tokens whose keys and values are known.
    pub fn push_cached(&mut self, len: usize) -> usize {
        self.append(len, None, true)
    }

    fn append(&mut self, len: usize, parent: Option<usize>, cached: bool) -> usize {
        let position = parent.map_or(0, |p| self.first_position[p] + self.segments[p].len);
        self.segments.push(Segment { start: self.tokens, len, parent, cached });
        self.first_position.push(position);
        self.tokens += len;
        self.segments.len() - 1
    }

    /// Number of tokens, the rows of every activation.
    pub fn tokens(&self) -> usize {
        self.tokens
    }

    /// The segments in order of their rows.
    pub fn segments(&self) -> &[Segment] {
        &self.segments
    }

    /// Position of a segment's first token in its sequence.
    pub fn first_position(&self, segment: usize) -> usize {
        self.first_position[segment]
    }

    /// Position of every row in its sequence.
    pub fn positions(&self) -> Vec<u32> {
        let mut all = Vec::with_capacity(self.tokens);
        for (s, first) in self.segments.iter().zip(&self.first_position) {
            all.extend((*first..first + s.len).map(|p| p as u32));
        }
        all
    }

    /// Rows of the ancestors of `segment` in order of position, from position `from` on.
    pub fn ancestor_rows(&self, segment: usize, from: usize) -> Vec<u32> {
        let mut chain = Vec::new();
        let mut at = self.segments[segment].parent;
        while let Some(s) = at {
            chain.push(s);
            at = self.segments[s].parent;
        }
        let mut rows = Vec::new();
        for s in chain.into_iter().rev() {
            let (segment, first) = (self.segments[s], self.first_position[s]);
            let skip = from.saturating_sub(first).min(segment.len);
            rows.extend((segment.start + skip..segment.start + segment.len).map(|r| r as u32));
        }
        rows
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_branch_of_a_branch_counts_positions_on() {
        let mut l = Layout::new();
        let root = l.push(3, None);
        let a = l.push(2, Some(root));
        let b = l.push(4, Some(root));
        let c = l.push(1, Some(a));
        assert_eq!(l.positions(), [0, 1, 2, 3, 4, 3, 4, 5, 6, 5]);
        assert_eq!(l.ancestor_rows(c, 0), [0, 1, 2, 3, 4]);
        assert_eq!(l.ancestor_rows(c, 2), [2, 3, 4]);
        assert_eq!(l.ancestor_rows(b, 9), [] as [u32; 0]);
        assert_eq!(l.tokens(), 10);
    }
}
