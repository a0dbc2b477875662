//! A tensor held as it lies in a file, in memory of its own, its rows decoded when they are asked for.

use crate::bnb::{Fill, Int8, Nf4, Part, Raw, Scheme};
use crate::tensor::decode;
use crate::{Dtype, Error, RowOrder, Stored};

/// A matrix (rows, width), or a vector as one row, whose rows come out as f32 in the Hugging Face order.
#[derive(Clone, Debug)]
pub struct Coded {
    shape: Vec<usize>,
    rows: usize,
    width: usize,
    kind: Kind,
}

#[derive(Clone, Debug)]
enum Kind {
    Plain { dtype: Dtype, bytes: Vec<u8>, order: RowOrder },
    Nf4(Nf4),
    Int8(Int8),
}

impl Coded {
    /// A copy of a tensor's bytes: any element or block type.
    ///
    /// # Errors
    /// `Buffer` if the bytes are not as many as type and shape need.
    pub fn of(stored: &Stored<'_>) -> Result<Coded, Error> {
        let t = &stored.tensor;
        match t.dtype.bytes_of(&t.shape) {
            Some(size) if size == t.bytes.len() => {}
            size => {
                let (found, expected) = (t.bytes.len(), size.unwrap_or(0));
                return Err(Error::Buffer { tensor: t.name.to_string(), what: "the number of stored bytes", found, expected });
            }
        }
        if let (RowOrder::Paired { .. }, [_]) = (stored.order, t.shape.as_slice()) {
            return Coded::of_bias(stored);
        }
        let kind = Kind::Plain { dtype: t.dtype, bytes: t.bytes.to_vec(), order: stored.order };
        Ok(Coded { shape: t.shape.clone(), rows: t.rows(), width: t.width(), kind })
    }

    /// A vector whose elements are in the order of rows: small, so it is put in order and kept decoded.
    fn of_bias(stored: &Stored<'_>) -> Result<Coded, Error> {
        let width = stored.tensor.elements();
        let mut values = vec![0f32; width];
        stored.read_f32(&mut values)?;
        let bytes = values.iter().flat_map(|x| x.to_le_bytes()).collect();
        let kind = Kind::Plain { dtype: Dtype::F32, bytes, order: RowOrder::Plain };
        Ok(Coded { shape: stored.tensor.shape.clone(), rows: 1, width, kind })
    }

    /// Quantises a (rows, width) matrix; `fill(row, out)` gives whole rows from `row` on. What is decoded from NF4 is
    /// rounded to `dtype` (F32, F16 or BF16), as bitsandbytes does with the type of the model; int8 ignores it.
    ///
    /// # Errors
    /// `Range` for a value that is not finite; what `fill` returns.
    pub fn quantised(tensor: &str, shape: (usize, usize), scheme: Scheme, dtype: Dtype, fill: Fill<'_>) -> Result<Coded, Error> {
        Ok(match scheme {
            Scheme::Nf4 { double } => Coded::from(Nf4::quantise(tensor, shape, double, dtype, fill)?),
            Scheme::Int8 => Coded::from(Int8::quantise(tensor, shape, fill)?),
        })
    }

    /// The shape, outermost first.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// Rows.
    pub fn outputs(&self) -> usize {
        self.rows
    }

    /// Elements of a row.
    pub fn inputs(&self) -> usize {
        self.width
    }

    /// How it is quantised by bitsandbytes, if so.
    pub fn scheme(&self) -> Option<Scheme> {
        match &self.kind {
            Kind::Plain { .. } => None,
            Kind::Nf4(w) => Some(Scheme::Nf4 { double: w.double() }),
            Kind::Int8(_) => Some(Scheme::Int8),
        }
    }

    /// How elements are stored, in a word: "NF4", "Q4_K", "BF16".
    pub fn kind(&self) -> &'static str {
        match (&self.kind, self.scheme()) {
            (Kind::Plain { dtype, .. }, _) => dtype.name(),
            (_, scheme) => scheme.map_or("", Scheme::name),
        }
    }

    /// Its numbers as they lie, if it is quantised by bitsandbytes.
    pub fn raw(&self) -> Option<Raw<'_>> {
        match &self.kind {
            Kind::Plain { .. } => None,
            Kind::Nf4(w) => Some(w.raw()),
            Kind::Int8(w) => Some(w.raw()),
        }
    }

    /// Bytes of the numbers held.
    pub fn bytes(&self) -> usize {
        match &self.kind {
            Kind::Plain { bytes, .. } => bytes.len(),
            Kind::Nf4(w) => w.bytes(),
            Kind::Int8(w) => w.bytes(),
        }
    }

    /// A run of a row costs least when it begins and ends at multiples of this: 256 or a divisor of it.
    pub fn align(&self) -> usize {
        match &self.kind {
            Kind::Plain { dtype, .. } => dtype.block_elements(),
            // Blocks of a flattened matrix keep to the rows only where rows are whole blocks.
            Kind::Nf4(w) if self.width.is_multiple_of(w.block()) => w.block().min(256),
            Kind::Nf4(_) | Kind::Int8(_) => 1,
        }
    }

    /// Writes elements `from..from + out.len()` of row `row`.
    ///
    /// # Panics
    /// If they are not all in the row.
    pub fn decode(&self, row: usize, from: usize, out: &mut [f32]) {
        assert!(row < self.rows && from + out.len() <= self.width, "row {row}, {from}+{} of {} x {}", out.len(), self.rows, self.width);
        match &self.kind {
            Kind::Nf4(w) => w.decode(row, from, out),
            Kind::Int8(w) => w.decode(row, from, out),
            Kind::Plain { dtype, bytes, order } => {
                let row = order.stored_row(row, self.rows);
                let row_bytes = self.width / dtype.block_elements() * dtype.block_bytes();
                run(*dtype, &bytes[row * row_bytes..][..row_bytes], from, out);
            }
        }
    }

    /// The tensors of `<name>` for a safetensors file: itself, or a quantised weight with its companions.
    ///
    /// # Errors
    /// `Buffer` for the blocks and row orders of GGUF, which safetensors does not have.
    pub fn parts(&self, name: &str) -> Result<Vec<Part<'_>>, Error> {
        match &self.kind {
            Kind::Nf4(w) => Ok(w.parts(name)),
            Kind::Int8(w) => Ok(w.parts(name)),
            Kind::Plain { dtype, bytes, order: RowOrder::Plain } if dtype.block_elements() == 1 => {
                Ok(vec![Part { name: name.to_string(), dtype: *dtype, shape: self.shape.clone(), bytes: bytes.into() }])
            }
            Kind::Plain { dtype, .. } => {
                let (found, expected) = (dtype.block_elements(), 1);
                Err(Error::Buffer { tensor: name.to_string(), what: "the number of elements in a block of GGUF", found, expected })
            }
        }
    }
}

/// Decodes elements `from..` of one row: whole blocks in place, a block that is cut by way of a copy.
fn run(dtype: Dtype, row: &[u8], from: usize, out: &mut [f32]) {
    /// Elements of the largest block.
    const MOST: usize = 256;
    let (elements, size) = (dtype.block_elements(), dtype.block_bytes());
    let cut = |at: usize, place: &mut [f32]| {
        let mut block = [0f32; MOST];
        let block = &mut block[..elements];
        decode(dtype, &row[at / elements * size..][..size], block);
        place.copy_from_slice(&block[at % elements..][..place.len()]);
    };
    let head = (from.next_multiple_of(elements) - from).min(out.len());
    let (first, rest) = out.split_at_mut(head);
    let (whole, last) = rest.split_at_mut(rest.len() / elements * elements);
    if !first.is_empty() {
        cut(from, first);
    }
    decode(dtype, &row[(from + head) / elements * size..][..whole.len() / elements * size], whole);
    if !last.is_empty() {
        cut(from + head + whole.len(), last);
    }
}

impl From<Nf4> for Coded {
    fn from(w: Nf4) -> Coded {
        let (rows, width) = w.shape();
        Coded { shape: vec![rows, width], rows, width, kind: Kind::Nf4(w) }
    }
}

impl From<Int8> for Coded {
    fn from(w: Int8) -> Coded {
        let (rows, width) = w.shape();
        Coded { shape: vec![rows, width], rows, width, kind: Kind::Int8(w) }
    }
}
