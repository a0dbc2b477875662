//! Which mails belong together, and in which order they were said.

use super::head::Head;
use std::collections::HashMap;

/// An id that so many mails name, and none carries, is no mail but a constant of some program.
const CONSTANT: u32 = 100;
/// The same of an id that so many different mails carry.
const COPIES: u32 = 20;
/// A mail answers another by its subject alone within this time.
const SUBJECT_SECONDS: i64 = 60 * 86_400;

/// Sets that grow together.
struct Sets(Vec<u32>);

impl Sets {
    fn root(&mut self, mut n: u32) -> u32 {
        while self.0[n as usize] != n {
            self.0[n as usize] = self.0[self.0[n as usize] as usize];
            n = self.0[n as usize];
        }
        n
    }

    /// The earlier root stays, so that sets are numbered by their first mail.
    fn join(&mut self, a: u32, b: u32) {
        let (a, b) = (self.root(a), self.root(b));
        self.0[a.max(b) as usize] = a.min(b);
    }
}

/// The threads: numbers of their mails, in the order in which they were said; the threads in the order of their first mails.
pub fn threads(heads: &[Head], ids: usize) -> Vec<Vec<u32>> {
    let mut sets = Sets((0..heads.len() as u32).collect());
    let holders = by_reference(heads, ids, &mut sets);
    by_subject(heads, &holders, &mut sets);
    let mut threads: Vec<Vec<u32>> = Vec::new();
    let mut place: HashMap<u32, usize> = HashMap::new();
    for n in 0..heads.len() as u32 {
        let at = *place.entry(sets.root(n)).or_insert(threads.len());
        if at == threads.len() {
            threads.push(Vec::new());
        }
        threads[at].push(n);
    }
    for thread in &mut threads {
        in_order(thread, heads, &holders);
    }
    threads
}

/// Joins mails that name the same ids, whether the mail with that id is there or not. Returns the first mail that carries each id.
fn by_reference(heads: &[Head], ids: usize, sets: &mut Sets) -> Vec<Option<u32>> {
    let mut holders: Vec<Option<u32>> = vec![None; ids];
    let mut carried = vec![0u32; ids];
    let mut named = vec![0u32; ids];
    for (n, head) in heads.iter().enumerate() {
        if let Some(id) = head.id {
            holders[id as usize].get_or_insert(n as u32);
            carried[id as usize] += 1;
        }
        head.refs.iter().for_each(|id| named[*id as usize] += 1);
    }
    let mut first: Vec<Option<u32>> = vec![None; ids];
    for (n, head) in heads.iter().enumerate() {
        for id in head.id.iter().chain(&*head.refs).map(|id| *id as usize) {
            let constant = carried[id] > COPIES || (carried[id] == 0 && named[id] > CONSTANT);
            if !constant {
                let other = *first[id].get_or_insert(n as u32);
                sets.join(other, n as u32);
            }
        }
    }
    holders
}

/// Joins answers whose references lead nowhere to the last mail of that subject between the same two people.
fn by_subject(heads: &[Head], holders: &[Option<u32>], sets: &mut Sets) {
    let mut order: Vec<u32> = (0..heads.len() as u32).collect();
    order.sort_by_key(|n| (heads[*n as usize].at.unwrap_or(i64::MAX), *n));
    let mut last: HashMap<(u32, u32, u32), u32> = HashMap::new();
    for n in order {
        let head = &heads[n as usize];
        let (Some(subject), Some(from)) = (head.subject, head.from) else { continue };
        let pairs = || head.to.iter().map(|to| (subject, from.min(*to), from.max(*to)));
        let lost = head.refs.iter().all(|id| holders[*id as usize].is_none());
        if lost && head.reply {
            let before = |other: &u32| match (heads[*other as usize].at, head.at) {
                (Some(then), Some(now)) => now - then <= SUBJECT_SECONDS,
                _ => true,
            };
            if let Some(other) = pairs().filter_map(|pair| last.get(&pair)).filter(|n| before(n)).max() {
                sets.join(*other, n);
            }
        }
        for pair in pairs() {
            last.insert(pair, n);
        }
    }
}

/// Sorts by time, where no mail stands before the one that it answers.
fn in_order(thread: &mut [u32], heads: &[Head], holders: &[Option<u32>]) {
    if thread.len() < 2 {
        return;
    }
    let inside: HashMap<u32, usize> = thread.iter().enumerate().map(|(at, n)| (*n, at)).collect();
    let parents: Vec<Option<usize>> = thread
        .iter()
        .map(|n| {
            let known = heads[*n as usize].refs.iter().rev().filter_map(|id| holders[*id as usize]);
            known.filter(|p| p != n).find_map(|p| inside.get(&p).copied())
        })
        .collect();
    let keys = keys(thread, heads, &parents);
    let mut order: Vec<usize> = (0..thread.len()).collect();
    order.sort_by_key(|n| (keys[*n], thread[*n]));
    let sorted: Vec<u32> = order.into_iter().map(|n| thread[n]).collect();
    thread.copy_from_slice(&sorted);
}

/// What each mail is sorted by: its time, which is no earlier than that of the mail that it answers, and how deep it lies below.
fn keys(thread: &[u32], heads: &[Head], parents: &[Option<usize>]) -> Vec<Option<(i64, u32)>> {
    let time = |n: usize| heads[thread[n] as usize].at;
    let mut keys: Vec<Option<(i64, u32)>> = vec![None; thread.len()];
    let mut walked: Vec<usize> = vec![usize::MAX; thread.len()];
    for start in 0..thread.len() {
        // Up to a mail whose key is known, or to one that was passed on this way: a loop.
        let mut chain = Vec::new();
        let mut at = Some(start);
        while let Some(n) = at.filter(|n| keys[*n].is_none() && walked[*n] != start) {
            walked[n] = start;
            chain.push(n);
            at = parents[n];
        }
        let mut above = at.and_then(|n| keys[n]);
        let looped = at.filter(|n| keys[*n].is_none()).and_then(|n| chain.iter().position(|c| *c == n));
        let mut down: Vec<usize> = Vec::new();
        if let Some(closes) = looped {
            // The earliest mail of a loop was there first.
            down = chain.split_off(closes);
            down.reverse();
            let first = (0..down.len()).min_by_key(|i| (time(down[*i]).unwrap_or(i64::MAX), thread[down[*i]])).unwrap_or(0);
            let joins = down.last().copied();
            down.rotate_left(first);
            above = settle(&mut keys, &down, None, time);
            above = joins.and_then(|n| keys[n]).or(above);
            down.clear();
        }
        down.extend(chain.into_iter().rev());
        settle(&mut keys, &down, above, time);
    }
    keys
}

/// Gives keys to mails each of which answers the one before; the key of the last.
fn settle(
    keys: &mut [Option<(i64, u32)>],
    down: &[usize],
    mut above: Option<(i64, u32)>,
    time: impl Fn(usize) -> Option<i64>,
) -> Option<(i64, u32)> {
    for n in down {
        let key = match (time(*n), above) {
            (Some(own), Some((time, depth))) => (own.max(time), depth + 1),
            (Some(own), None) => (own, 0),
            (None, Some((time, depth))) => (time, depth + 1),
            (None, None) => (i64::MIN, 0),
        };
        keys[*n] = Some(key);
        above = Some(key);
    }
    above
}

#[cfg(test)]
mod tests {
    use super::super::head::Spot;
    use super::*;

    fn head(id: u32, refs: &[u32], at: i64) -> Head {
        let spot = Spot { file: 0, number: 1, offset: 0, length: 0, escaped: false };
        Head {
            spot,
            id: Some(id),
            refs: refs.into(),
            subject: None,
            reply: false,
            forward: false,
            from: None,
            to: [].into(),
            at: Some(at),
            redated: false,
            automatic: false,
        }
    }

    #[test]
    fn answers_follow_what_they_answer_whatever_their_dates() {
        let heads = [head(0, &[], 100), head(1, &[0], 50), head(2, &[0, 1], 60), head(3, &[], 70)];
        assert_eq!(threads(&heads, 4), [vec![0, 1, 2], vec![3]]);
    }

    #[test]
    fn a_missing_parent_joins_its_answers() {
        let heads = [head(0, &[9], 1), head(1, &[9], 2), head(2, &[8], 3)];
        assert_eq!(threads(&heads, 10), [vec![0, 1], vec![2]]);
    }

    #[test]
    fn loops_and_doubles_end_and_lose_nothing() {
        let heads = [head(0, &[1], 5), head(1, &[2], 4), head(2, &[0], 3), head(2, &[2, 0], 9), head(5, &[5], 1)];
        let found = threads(&heads, 6);
        assert_eq!(found[0], [2, 1, 0, 3], "the earliest of a loop comes first");
        let mut all: Vec<u32> = found.concat();
        all.sort();
        assert_eq!(all, [0, 1, 2, 3, 4]);
        assert_eq!(found.len(), 2);
    }

    #[test]
    fn a_constant_of_a_program_joins_nobody() {
        let heads: Vec<Head> = (0..150).map(|n| head(n, &[200], i64::from(n))).collect();
        assert_eq!(threads(&heads, 201).len(), 150);
    }

    #[test]
    fn a_chain_of_a_hundred_thousand_answers_is_no_trouble() {
        let heads: Vec<Head> =
            (0..100_000).map(|n| head(n, if n == 0 { &[] } else { std::slice::from_ref(Box::leak(Box::new(n - 1))) }, 0)).collect();
        let found = threads(&heads, 100_000);
        assert_eq!(found.len(), 1);
        assert!(found[0].iter().enumerate().all(|(at, n)| at as u32 == *n));
    }
}
