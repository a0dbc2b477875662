//! Attention on the GPU; kernels in attention.cu, and on Hopper in attention_hopper.cu and attention_hopper_back.cu.

use super::Dims;
use crate::cuda::tiles::{self, BACKWARD, FORWARD, Launch, Lists, Tile};
use crate::cuda::{About, Arg, Args, Buffer, Gpu, Rows, args};
use crate::layout::Layout;

pub mod decode;
mod hopper;

const FILE: &str = "attention";

/// Lists of tiles as arrays: start, tiles, order.
const LISTS: [usize; 3] = [2, 5, 8];

/// Which kernels do it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// Those of every GPU.
    General,
    /// Those of Hopper.
    Hopper {
        /// How many there are decides how the sums of dk and dv are shared.
        multiprocessors: usize,
    },
}

/// The kernels that a GPU takes for heads like `d`: Hopper's where a head begins at a multiple of sixteen bytes.
pub fn version(about: &About, d: Dims) -> Version {
    match about.capability {
        (9, 0) if d.head_dim.is_multiple_of(8) && d.head_dim <= HEAD_MAX => {
            Version::Hopper { multiprocessors: about.multiprocessors as usize }
        }
        _ => Version::General,
    }
}

impl Version {
    /// Tiles of the forward pass, by key and by query of the backward pass.
    fn tiles(self, d: Dims) -> [Tile; 3] {
        match self {
            Version::General => [FORWARD, BACKWARD, BACKWARD],
            Version::Hopper { .. } => hopper::tiles(d),
        }
    }
}

/// What each row of a micro-batch sees, as arrays that go to the device: the last row that sees it, its position, and the
/// tiles of the forward pass, by key and by query of the backward pass.
pub struct Host {
    how: How,
    arrays: Vec<Vec<u32>>,
}

/// The same on the device.
pub struct Seen {
    how: How,
    arrays: Vec<Buffer<u32>>,
}

/// What the arrays were made for.
#[derive(Clone, Copy)]
struct How {
    version: Version,
    rows: usize,
    /// Blocks that share a tile of keys; Hopper's only.
    parts: usize,
}

impl Host {
    /// Works out what `layout` means for heads like `d` and the kernels of `version`.
    pub fn of(layout: &Layout, d: Dims, version: Version) -> Host {
        let rows = layout.tokens();
        let reach = tiles::reach(layout);
        let [forward, keys, queries] = version.tiles(d);
        let by_query = |tile| tiles::by_query(layout, &reach, tile, d.window);
        let (forward, keys, queries) = (by_query(forward), tiles::by_key(&by_query(keys), rows, keys), by_query(queries));
        let parts = match version {
            Version::General => 1,
            Version::Hopper { multiprocessors } => tiles::hopper::parts(&keys, (d.heads, d.kv_heads), multiprocessors),
        };
        let lists = [forward, keys, queries].into_iter().flat_map(|Lists { start, tiles, order }| [start, tiles, order]);
        Host { how: How { version, rows, parts }, arrays: [reach.last, reach.pos].into_iter().chain(lists).collect() }
    }

    /// The arrays, to be copied in this order.
    pub fn arrays(&self) -> &[Vec<u32>] {
        &self.arrays
    }

    /// How many blocks share a tile of keys on the way back.
    pub fn parts(&self) -> usize {
        self.how.parts
    }

    /// What they are once they lie on the device.
    pub fn seen(&self, arrays: Vec<Buffer<u32>>) -> Seen {
        assert!(arrays.len() == self.arrays.len());
        Seen { how: self.how, arrays }
    }

    /// The most words that the arrays of a layout of `rows` rows have: Hopper's tiles are larger, so its lists are shorter.
    pub fn words(rows: usize) -> usize {
        let tiles = |t: Tile| {
            let (queries, keys) = (rows.div_ceil(t.queries), rows.div_ceil(t.keys));
            2 * queries.max(keys) + 1 + queries * keys
        };
        2 * rows + tiles(FORWARD) + 2 * tiles(BACKWARD)
    }
}

/// What the kernels read; the same struct as in attention.cu.
#[derive(Clone, Copy)]
#[repr(C)]
struct Attend {
    qkvo: [u64; 4],
    lse: u64,
    last: u64,
    pos: u64,
    lists: [u64; 3],
    rows: u32,
    heads: u32,
    kv_heads: u32,
    head_dim: u32,
    ld: u32,
    ldo: u32,
    window: u32,
    scale: f32,
}

/// And what the backward pass adds.
#[derive(Clone, Copy)]
#[repr(C)]
struct Backward {
    at: Attend,
    d_o: u64,
    dqkv: [u64; 3],
    delta: u64,
    ldd: u32,
    _end: u32,
}

impl Arg for Attend {}
impl Arg for Backward {}

/// Where q, k and v begin in rows that hold them side by side.
fn heads(qkv: Rows, d: Dims) -> [Rows; 3] {
    let (q, kv) = (d.heads * d.head_dim, d.kv_heads * d.head_dim);
    assert_eq!(qkv.width, q + 2 * kv, "rows of {d:?}");
    [0..q, q..q + kv, q + kv..q + 2 * kv].map(|columns| qkv.columns(columns))
}

fn attend(o: Rows, lse: &Buffer<f32>, qkv: Rows, seen: &Seen, d: Dims) -> Attend {
    let [q, k, v] = heads(qkv, d).map(|rows| rows.at);
    assert!(seen.how.rows == qkv.rows && o.rows == qkv.rows && o.width == d.heads * d.head_dim && lse.len() >= d.heads * o.rows);
    Attend {
        qkvo: [q, k, v, o.at],
        lse: lse.address(),
        last: seen.arrays[0].address(),
        pos: seen.arrays[1].address(),
        lists: [0; 3],
        rows: o.rows as u32,
        heads: d.heads as u32,
        kv_heads: d.kv_heads as u32,
        head_dim: d.head_dim as u32,
        ld: qkv.stride as u32,
        ldo: o.stride as u32,
        window: d.window.unwrap_or(0) as u32,
        scale: d.scale,
    }
}

fn with_lists(a: Attend, seen: &Seen, which: usize) -> Attend {
    let lists = &seen.arrays[LISTS[which]..LISTS[which] + 3];
    Attend { lists: [0, 1, 2].map(|i| lists[i].address()), ..a }
}

/// The size of head that a kernel was compiled for, and its place in the lists of names.
fn size(d: Dims) -> (usize, usize) {
    let size = tiles::compiled_head(d.head_dim).expect("models with wider heads are refused when they are opened");
    (size, size / 32 - 1)
}

fn run(gpu: &Gpu, name: &'static str, (heads, tiles): (usize, usize), l: Launch, args: Args) {
    gpu.launch(FILE, name, (heads, tiles, 1), l.threads as usize, l.shared as usize, args);
}

/// The widest head that there are kernels for.
pub const HEAD_MAX: usize = 128;

/// `o` and `lse` (heads, rows) from `qkv`: rows of all q, all k and all v heads side by side.
pub fn forward(gpu: &Gpu, o: Rows, lse: &Buffer<f32>, qkv: Rows, seen: &Seen, d: Dims) {
    let a = with_lists(attend(o, lse, qkv, seen, d), seen, 0);
    if seen.how.version != Version::General {
        return gpu.note(hopper::forward(gpu, a, qkv, o, seen, d));
    }
    let (size, which) = size(d);
    let name = ["attention_forward_32", "attention_forward_64", "attention_forward_96", "attention_forward_128"][which];
    run(gpu, name, (d.heads, o.rows.div_ceil(FORWARD.queries)), tiles::forward(size), args![a]);
}

/// `dqkv` from `d_o`, rows as far apart as those of `o`; `delta` (heads, rows) is written on the way.
pub fn backward(gpu: &Gpu, dqkv: Rows, d_o: Rows, delta: &Buffer<f32>, (o, lse): (Rows, &Buffer<f32>), qkv: Rows, seen: &Seen, d: Dims) {
    let at = attend(o, lse, qkv, seen, d);
    assert!(d_o.stride == o.stride && d_o.rows == o.rows && d_o.width == o.width && dqkv.rows == o.rows && delta.len() >= d.heads * o.rows);
    let b =
        Backward { at, d_o: d_o.at, dqkv: heads(dqkv, d).map(|rows| rows.at), delta: delta.address(), ldd: dqkv.stride as u32, _end: 0 };
    if seen.how.version != Version::General {
        return gpu.note(hopper::backward(gpu, b, d_o, (o, qkv), seen, d));
    }
    let (size, which) = size(d);
    let count = o.rows.div_ceil(BACKWARD.keys);
    gpu.launch(FILE, "attention_delta", ((o.rows * d.heads).div_ceil(32), 1, 1), 256, 0, args![b]);
    let name = ["attention_queries_32", "attention_queries_64", "attention_queries_96", "attention_queries_128"][which];
    run(gpu, name, (d.heads, count), tiles::queries(size), args![Backward { at: with_lists(at, seen, 2), ..b }]);
    let name = ["attention_keys_32", "attention_keys_64", "attention_keys_96", "attention_keys_128"][which];
    let launch = tiles::keys(size, gpu.about().shared as u32);
    run(gpu, name, (d.kv_heads, count), launch, args![Backward { at: with_lists(at, seen, 1), ..b }]);
}
