//! The matrices of a decoder and how many parameters they have.

use formats::ModelConfig;

/// Matrices that read the same input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Group {
    /// Query, key, value.
    Qkv,
    /// The attention's output.
    Out,
    /// Gate and up, of every expert.
    GateUp,
    /// Down, of every expert.
    Down,
    /// Which experts a token goes to.
    Router,
}

impl Group {
    /// Those that adapters are put on.
    pub(crate) const ADAPTED: [Group; 4] = [Group::Qkv, Group::Out, Group::GateUp, Group::Down];
}

/// One matrix of a block.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Matrix {
    pub group: Group,
    pub outputs: u64,
    pub inputs: u64,
    /// How many of it there are: the experts.
    pub copies: u64,
    /// How many of them a token is multiplied by.
    pub active: u64,
    pub bias: bool,
}

impl Matrix {
    /// Elements of all copies, without bias.
    pub(crate) fn elements(&self) -> u64 {
        self.copies * self.outputs * self.inputs
    }

    /// Parameters of a rank-`rank` adapter on all copies.
    pub(crate) fn adapter(&self, rank: u64) -> u64 {
        if self.group == Group::Router { 0 } else { self.copies * rank * (self.outputs + self.inputs) }
    }
}

/// The matrices of one block. Projections that a model holds fused are one matrix, as their adapter is.
pub(crate) fn block(c: &ModelConfig) -> Vec<Matrix> {
    let (h, i) = (c.hidden as u64, c.intermediate as u64);
    let (q, kv) = ((c.heads * c.head_dim) as u64, (c.kv_heads * c.head_dim) as u64);
    let (copies, active) = c.experts.as_ref().map_or((1, 1), |e| (e.count as u64, e.per_token as u64));
    let plain = |group, outputs, inputs, bias| Matrix { group, outputs, inputs, copies: 1, active: 1, bias };
    let expert = |group, outputs, inputs| Matrix { group, outputs, inputs, copies, active, bias: c.mlp_bias };
    let mut all = if c.fused_projections {
        vec![plain(Group::Qkv, q + 2 * kv, h, c.qkv_bias)]
    } else {
        [q, kv, kv].map(|outputs| plain(Group::Qkv, outputs, h, c.qkv_bias)).to_vec()
    };
    all.push(plain(Group::Out, h, q, c.o_bias));
    if c.experts.is_some() {
        all.push(plain(Group::Router, copies, h, false));
    }
    if c.fused_projections {
        all.push(expert(Group::GateUp, 2 * i, h));
    } else {
        all.extend([expert(Group::GateUp, i, h); 2]);
    }
    all.push(expert(Group::Down, h, i));
    all
}

/// Parameters of a block that are no matrix: norms and biases.
pub(crate) fn block_vectors(c: &ModelConfig) -> u64 {
    let norms = 2 * c.hidden as u64 + if c.qk_norm { 2 * c.head_dim as u64 } else { 0 };
    norms + block(c).iter().filter(|m| m.bias).map(|m| m.copies * m.outputs).sum::<u64>()
}

/// Elements of the embedding; of the head too, where it is its own.
pub(crate) fn table(c: &ModelConfig) -> u64 {
    (c.vocab * c.hidden) as u64
}

/// Parameters of the whole model.
pub fn parameters(c: &ModelConfig) -> u64 {
    let blocks = block(c).iter().map(Matrix::elements).sum::<u64>() + block_vectors(c);
    let tables = if c.tied_embeddings { 1 } else { 2 };
    c.layers as u64 * blocks + tables * table(c) + c.hidden as u64
}

/// Parameters of an adapter of rank `rank` on every linear layer but the head and the router.
pub fn adapted(c: &ModelConfig, rank: u64) -> u64 {
    c.layers as u64 * block(c).iter().map(|m| m.adapter(rank)).sum::<u64>()
}
