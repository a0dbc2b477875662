//! A job on the device: batches of sequences in their places, and the recorded step.

use super::fit::{bytes, fit, passes, room};
use super::list::{List, Prompts};
use super::pass::Pass;
use super::room::Room;
use super::{Speaker, Steps};
use crate::Error;
use crate::generate::{Job, Machine};
use engine::cuda::graph::Graph;
use engine::cuda::{Arena, Error as Failure};
use engine::ops::{attention, rope};

/// The cache row of a sequence that asks nothing: there is none, so nothing is written.
const NOWHERE: u32 = u32::MAX;

/// What the device knows of every place, as the next step will read it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Seats {
    len: Vec<u32>,
    angles: Vec<u32>,
    rows: Vec<u32>,
    start: Vec<u32>,
    /// Whether the device knows it too.
    told: bool,
}

impl Seats {
    fn new(slots: usize) -> Seats {
        Seats { len: vec![0; slots], angles: vec![0; slots], rows: vec![NOWHERE; slots], start: vec![0; slots], told: false }
    }

    /// A sequence of `len` tokens whose newest asks; its own tokens, `own` of them before that one, begin at cache row `start`.
    fn sit(&mut self, place: usize, len: usize, own: usize, start: usize, long: u32) {
        let position = len as u32 - 1;
        (self.len[place], self.angles[place]) = (len as u32, position + long);
        (self.rows[place], self.start[place]) = ((start + own) as u32, start as u32);
        self.told = false;
    }

    /// Only `kept` go on.
    fn keep(&mut self, kept: &[usize]) {
        for place in 0..self.len.len() {
            if self.len[place] > 0 && !kept.contains(&place) {
                (self.len[place], self.rows[place], self.told) = (0, NOWHERE, false);
            }
        }
    }

    /// What the step's last call does on the device.
    fn next(&mut self) {
        for place in (0..self.len.len()).filter(|&p| self.len[p] > 0).collect::<Vec<_>>() {
            self.len[place] += 1;
            self.angles[place] += 1;
            self.rows[place] += 1;
        }
    }
}

/// A job's buffers, and where it stands.
pub(super) struct Device<'a> {
    s: Speaker<'a>,
    job: &'a Job<'a>,
    graph: Option<Graph>, // before the buffers that it names
    room: Room,
    table: rope::gpu::Table,
    long: u32,
    seats: Seats,
    /// The newest token of every place, as the device has it.
    ids: Vec<u32>,
    /// Steps made call by call.
    called: usize,
}

impl<'a> Device<'a> {
    /// Takes what batches of at most `most` sequences need, or of fewer where the memory has no room for them.
    pub fn open(s: &Speaker<'a>, job: &'a Job, most: usize) -> Result<Device<'a>, Error> {
        let (free, _) = s.gpu.memory()?;
        let sizes = fit(job, s.d, s.weights, most, free);
        let asked = bytes(s.d, s.weights, sizes);
        if asked > free {
            return Err(Failure::Memory { asked, free }.into());
        }
        let room = room(&mut Arena::new(s.gpu, asked)?, s.d, s.weights, sizes);
        room.state.clear();
        let table = rope::gpu::Table::new(s.gpu, &s.d.table(sizes.longest))?;
        // Where angles depend on a sequence's length, those of long ones follow in the table.
        let long = if s.d.long_from().is_some_and(|n| sizes.longest > n) { sizes.longest as u32 } else { 0 };
        let (seats, ids) = (Seats::new(sizes.slots), vec![0; sizes.slots]);
        Ok(Device { s: *s, job, graph: None, room, table, long, seats, ids, called: 0 })
    }

    /// Sequences side by side.
    pub fn slots(&self) -> usize {
        self.room.sizes.slots
    }

    fn pass(&self) -> Pass<'_> {
        Pass { s: self.s, room: &self.room, table: &self.table }
    }

    fn run(&self, prompts: &Prompts, first: Option<usize>) -> Result<(), Error> {
        let version = attention::gpu::version(self.s.gpu.about(), self.s.d.attention());
        let loaded = List::new(prompts, self.s.d, self.long, version).load(&self.room.list)?;
        self.pass().prompts(&loaded, first);
        Ok(())
    }

    /// One step of all places: the first call by call, so that everything is loaded, then recorded.
    fn go(&mut self) -> Result<(), Error> {
        if self.s.steps == Steps::Called || self.called == 0 {
            self.called += 1;
            self.pass().step();
            return Ok(());
        }
        if self.graph.is_none() {
            self.s.weights.forget(); // what is decoded already would be left out of the record
            self.graph = Some(Graph::record(self.s.gpu, || self.pass().step())?);
        }
        if let Some(graph) = &self.graph {
            graph.launch();
            self.s.weights.forget();
        }
        Ok(())
    }

    /// As [`super::Answerer::follow`].
    pub fn follow(&mut self, answers: &[Vec<u32>]) -> Result<Vec<Vec<f32>>, Error> {
        let (vocab, all) = (self.s.d.vocab, self.job.order.clone());
        if self.slots() < all.len() {
            let (free, _) = self.s.gpu.memory()?;
            return Err(Failure::Memory { asked: free, free }.into());
        }
        if self.job.prefix > 0 {
            self.begin()?;
        }
        let mut found = vec![Vec::new(); answers.len()];
        self.prompts(&all)?;
        for token in 0.. {
            let logits = self.room.logits.read()?;
            let asks: Vec<usize> = (0..all.len()).filter(|&place| token < answers[all[place]].len()).collect();
            asks.iter().for_each(|&place| found[all[place]].extend_from_slice(&logits[place * vocab..][..vocab]));
            let kept: Vec<usize> = asks.into_iter().filter(|&place| token + 1 < answers[all[place]].len()).collect();
            if kept.is_empty() {
                break;
            }
            let ids: Vec<u32> = kept.iter().map(|&place| answers[all[place]][token]).collect();
            self.step(&kept, &ids)?;
        }
        Ok(found)
    }
}

impl Machine for Device<'_> {
    fn begin(&mut self) -> Result<(), Error> {
        let prefix = self.job.prefix;
        self.run(&Prompts { own: vec![(&self.job.prompts[0][..prefix], 0)], before: 0 }, None)
    }

    fn prompts(&mut self, group: &[usize]) -> Result<Vec<u32>, Error> {
        let (job, prefix, long) = (self.job, self.job.prefix, self.long);
        let (mut start, mut starts) = (prefix, Vec::new());
        self.seats.keep(&[]);
        for (place, &i) in group.iter().enumerate() {
            let own = job.own(i).len();
            starts.push(start);
            self.seats.sit(place, prefix + own + 1, own, start, long);
            start += own + job.room(i);
        }
        for part in passes(job, group, self.room.sizes.rows) {
            let first = part.start;
            let own = part.map(|place| (job.own(group[place]), starts[place])).collect();
            self.run(&Prompts { own, before: prefix }, Some(first))?;
        }
        self.ids = self.room.state.ids.read()?;
        Ok(self.ids[..group.len()].to_vec())
    }

    fn step(&mut self, kept: &[usize], ids: &[u32]) -> Result<Vec<u32>, Error> {
        self.seats.keep(kept);
        if !self.seats.told {
            let p = &self.seats;
            self.room.state.write([&p.len, &p.angles, &p.rows, &p.start])?;
            self.seats.told = true;
        }
        // The device has its own choice already; it is told where the caller goes on with another.
        if kept.iter().zip(ids).any(|(&place, &id)| self.ids[place] != id) {
            kept.iter().zip(ids).for_each(|(&place, &id)| self.ids[place] = id);
            self.room.state.ids.write(&self.ids)?;
        }
        self.go()?;
        self.seats.next();
        self.ids = self.room.state.ids.read()?;
        Ok(kept.iter().map(|&place| self.ids[place]).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seats_know_where_the_next_token_goes() {
        let mut p = Seats::new(3);
        // Behind 20 common tokens: five own ones in rows 20 to 24, and two from row 40 on; the newest of each asks.
        p.sit(0, 26, 5, 20, 0);
        p.sit(1, 23, 2, 40, 1000);
        assert_eq!((p.len.as_slice(), p.angles.as_slice()), (&[26, 23, 0][..], &[25, 1022, 0][..]));
        assert_eq!((p.rows.as_slice(), p.start.as_slice()), (&[25, 42, NOWHERE][..], &[20, 40, 0][..]));
        p.told = true;
        p.next();
        assert_eq!((p.len.as_slice(), p.rows.as_slice(), p.told), (&[27, 24, 0][..], &[26, 43, NOWHERE][..], true));
        p.keep(&[0, 1]);
        assert!(p.told);
        p.keep(&[1]);
        assert_eq!((p.len.as_slice(), p.rows.as_slice(), p.told), (&[0, 24, 0][..], &[NOWHERE, 43, NOWHERE][..], false));
    }
}
