//! Buffers with the time in which they are alive, and the moment at which most bytes are.

/// How long a buffer lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Life {
    /// From the start of the run to its end.
    Run,
    /// From a layer's forward pass to its backward pass.
    Pass,
    /// While a layer is computed.
    Layer,
    /// While the head and the loss are computed.
    Head,
}

impl Life {
    /// In words.
    pub fn title(self) -> &'static str {
        match self {
            Life::Run => "the whole run",
            Life::Pass => "forward to backward",
            Life::Layer => "while a layer runs",
            Life::Head => "while the head runs",
        }
    }
}

/// A named piece of memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Buffer {
    /// What it is.
    pub name: String,
    /// Its size.
    pub bytes: u64,
    /// How long it lives.
    pub life: Life,
    /// Why it is there.
    pub why: String,
}

impl Buffer {
    /// A buffer of this name, size, life and reason.
    pub fn new(name: impl Into<String>, bytes: u64, life: Life, why: impl Into<String>) -> Buffer {
        Buffer { name: name.into(), bytes, life, why: why.into() }
    }
}

/// What a buffer is: the same for every layer that has one.
pub(crate) struct What {
    pub name: &'static str,
    pub life: Life,
    pub why: &'static str,
}

/// A buffer in time: alive from moment `from` through moment `to`.
#[derive(Clone, Copy)]
pub(crate) struct Item {
    pub what: &'static What,
    pub bytes: u64,
    pub from: usize,
    pub to: usize,
}

/// The moment with the most bytes alive (the first of several), and these bytes.
pub(crate) fn peak(items: &[Item]) -> (usize, u64) {
    let end = items.iter().map(|i| i.to + 1).max().unwrap_or(0);
    let (mut born, mut gone) = (vec![0u64; end + 1], vec![0u64; end + 1]);
    for i in items {
        born[i.from] += i.bytes;
        gone[i.to + 1] += i.bytes;
    }
    let (mut best, mut live) = ((0, 0), 0);
    for moment in 0..end {
        live = live + born[moment] - gone[moment];
        if live > best.1 {
            best = (moment, live);
        }
    }
    best
}

/// What is alive at `moment`, those of one kind together, the largest first.
pub(crate) fn alive(items: &[Item], moment: usize) -> Vec<Buffer> {
    let mut all: Vec<(&What, u64, u64)> = Vec::new();
    for i in items.iter().filter(|i| i.bytes > 0 && (i.from..=i.to).contains(&moment)) {
        match all.iter_mut().find(|(what, ..)| std::ptr::eq(*what, i.what)) {
            Some((_, bytes, count)) => (*bytes, *count) = (*bytes + i.bytes, *count + 1),
            None => all.push((i.what, i.bytes, 1)),
        }
    }
    all.sort_by_key(|(_, bytes, _)| std::cmp::Reverse(*bytes));
    let name = |what: &What, count: u64| match (what.life, count) {
        (Life::Pass, 2..) => format!("{}, {count} layers", what.name),
        _ => what.name.to_string(),
    };
    all.into_iter().map(|(what, bytes, count)| Buffer::new(name(what, count), bytes, what.life, what.why)).collect()
}

/// Every kind of buffer at the moment at which most of it is alive, the largest first.
pub(crate) fn every(items: &[Item]) -> Vec<Buffer> {
    let mut kinds: Vec<&'static What> = Vec::new();
    for i in items {
        if !kinds.iter().any(|k| std::ptr::eq(*k, i.what)) {
            kinds.push(i.what);
        }
    }
    let one = |kind: &&'static What| {
        let own: Vec<Item> = items.iter().filter(|i| std::ptr::eq(i.what, *kind)).copied().collect();
        alive(&own, peak(&own).0)
    };
    let mut all: Vec<Buffer> = kinds.iter().flat_map(one).collect();
    all.sort_by_key(|b| std::cmp::Reverse(b.bytes));
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    static A: What = What { name: "a", life: Life::Pass, why: "" };
    static B: What = What { name: "b", life: Life::Layer, why: "" };

    #[test]
    fn the_peak_is_the_moment_with_most_alive_and_its_buffers_add_up_to_it() {
        let item = |what, bytes, from, to| Item { what, bytes, from, to };
        let items = [item(&A, 5, 0, 9), item(&A, 7, 1, 8), item(&B, 4, 3, 3), item(&B, 6, 4, 4), item(&B, 6, 9, 9)];
        let (moment, bytes) = peak(&items);
        assert_eq!((moment, bytes), (4, 18));
        let now = alive(&items, moment);
        assert_eq!(now.iter().map(|b| b.bytes).sum::<u64>(), bytes);
        assert_eq!((now[0].name.as_str(), now[0].bytes, now[1].name.as_str()), ("a, 2 layers", 12, "b"));
        assert_eq!(every(&items).iter().map(|b| b.bytes).collect::<Vec<_>>(), [12, 6]);
    }
}
