//! Tensor names of GGUF to those of Hugging Face, and back.

/// Where a GGUF tensor belongs in the Hugging Face layout.
#[derive(Debug, PartialEq)]
pub(crate) enum Target {
    /// One tensor of this name.
    Whole(String),
    /// A stack over experts; the parts are named `{before}{expert}{after}`.
    Experts { before: String, after: &'static str },
}

/// Whose heads the rows of a tensor are split into, where the file stores them reordered.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Heads {
    None,
    Query,
    Key,
}

/// The Hugging Face place of a GGUF tensor, or none for one that is not a weight (rotary factors) or not known.
pub(crate) fn hugging_face(name: &str, architecture: &str) -> Option<(Target, Heads)> {
    let whole = |s: &str| Some((Target::Whole(s.to_string()), Heads::None));
    match name {
        "token_embd.weight" => return whole("model.embed_tokens.weight"),
        "output_norm.weight" => return whole("model.norm.weight"),
        "output.weight" => return whole("lm_head.weight"),
        _ => {}
    }
    let (layer, rest) = name.strip_prefix("blk.")?.split_once('.')?;
    if layer.is_empty() || !layer.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let (part, kind) = rest.rsplit_once('.')?;
    if kind != "weight" && kind != "bias" {
        return None;
    }
    let moe = format!("model.layers.{layer}.block_sparse_moe");
    if let Some(after) = stacked(part).filter(|_| kind == "weight") {
        return Some((Target::Experts { before: format!("{moe}.experts."), after }, Heads::None));
    }
    if part == "ffn_gate_inp" {
        return whole(&format!("{moe}.gate.{kind}"));
    }
    if let Some((w, expert)) = single_expert(part) {
        return whole(&format!("{moe}.experts.{expert}.{w}.{kind}"));
    }
    let module = module(part, architecture)?;
    Some((Target::Whole(format!("model.layers.{layer}.{module}.{kind}")), heads(part, architecture)))
}

/// The parts of a block that lie at the same place in every architecture, by GGUF and Hugging Face name.
const PARTS: [(&str, &str); 12] = [
    ("attn_norm", "input_layernorm"),
    ("ffn_norm", "post_attention_layernorm"),
    ("attn_q", "self_attn.q_proj"),
    ("attn_k", "self_attn.k_proj"),
    ("attn_v", "self_attn.v_proj"),
    ("attn_qkv", "self_attn.qkv_proj"),
    ("attn_output", "self_attn.o_proj"),
    ("attn_q_norm", "self_attn.q_norm"),
    ("attn_k_norm", "self_attn.k_norm"),
    ("ffn_gate", "mlp.gate_proj"),
    ("ffn_up", "mlp.up_proj"),
    ("ffn_down", "mlp.down_proj"),
];

/// Phi-3 keeps gate and up in one tensor, gate first, as its own implementation does.
const FUSED: (&str, &str) = ("ffn_up", "mlp.gate_up_proj");

fn module(part: &str, architecture: &str) -> Option<&'static str> {
    if architecture == "phi3" && part == FUSED.0 {
        return Some(FUSED.1);
    }
    PARTS.iter().find(|(gguf, _)| *gguf == part).map(|(_, hf)| *hf)
}

/// The stacks over experts, by GGUF name and the ending of an expert's matrix.
const STACKS: [(&str, &str); 3] = [("ffn_gate_exps", ".w1.weight"), ("ffn_down_exps", ".w2.weight"), ("ffn_up_exps", ".w3.weight")];

/// The GGUF name of a tensor by its Hugging Face name; the matrices of all experts have that of their stack.
pub(crate) fn gguf(name: &str, architecture: &str) -> Option<(String, Heads)> {
    match name {
        "model.embed_tokens.weight" => return Some(("token_embd.weight".to_string(), Heads::None)),
        "model.norm.weight" => return Some(("output_norm.weight".to_string(), Heads::None)),
        "lm_head.weight" => return Some(("output.weight".to_string(), Heads::None)),
        _ => {}
    }
    let (layer, rest) = name.strip_prefix("model.layers.")?.split_once('.')?;
    let in_block = |part: &str, heads| Some((format!("blk.{layer}.{part}"), heads));
    if let Some(part) = rest.strip_prefix("block_sparse_moe.") {
        let stack = STACKS.iter().find(|(_, after)| part.starts_with("experts.") && part.ends_with(after));
        let name =
            stack.map(|(stack, _)| format!("{stack}.weight")).or_else(|| (part == "gate.weight").then(|| "ffn_gate_inp.weight".into()));
        return in_block(&name?, Heads::None);
    }
    let (module, kind) = rest.rsplit_once('.')?;
    let part = if module == FUSED.1 { FUSED.0 } else { PARTS.iter().find(|(_, hf)| *hf == module)?.0 };
    in_block(&format!("{part}.{kind}"), heads(part, architecture))
}

fn heads(part: &str, architecture: &str) -> Heads {
    match (architecture, part) {
        ("llama", "attn_q") => Heads::Query,
        ("llama", "attn_k") => Heads::Key,
        _ => Heads::None,
    }
}

fn stacked(part: &str) -> Option<&'static str> {
    STACKS.iter().find(|(gguf, _)| *gguf == part).map(|(_, after)| *after)
}

/// Older files hold one tensor for each expert: `ffn_gate.3`.
fn single_expert(part: &str) -> Option<(&'static str, &str)> {
    let (name, expert) = part.split_once('.')?;
    let w = match name {
        "ffn_gate" => "w1",
        "ffn_down" => "w2",
        "ffn_up" => "w3",
        _ => return None,
    };
    (!expert.is_empty() && expert.bytes().all(|b| b.is_ascii_digit())).then_some((w, expert))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(name: &str, architecture: &str) -> Option<String> {
        match hugging_face(name, architecture)?.0 {
            Target::Whole(s) => Some(s),
            Target::Experts { before, after } => Some(format!("{before}E{after}")),
        }
    }

    #[test]
    fn names_of_each_family() {
        let cases = [
            ("llama", "token_embd.weight", "model.embed_tokens.weight"),
            ("llama", "blk.12.attn_q.weight", "model.layers.12.self_attn.q_proj.weight"),
            ("qwen2", "blk.0.attn_k.bias", "model.layers.0.self_attn.k_proj.bias"),
            ("qwen3", "blk.0.attn_q_norm.weight", "model.layers.0.self_attn.q_norm.weight"),
            ("phi3", "blk.1.ffn_up.weight", "model.layers.1.mlp.gate_up_proj.weight"),
            ("phi3", "blk.1.attn_qkv.weight", "model.layers.1.self_attn.qkv_proj.weight"),
            ("llama", "blk.1.ffn_up.weight", "model.layers.1.mlp.up_proj.weight"),
            ("llama", "blk.1.ffn_up_exps.weight", "model.layers.1.block_sparse_moe.experts.E.w3.weight"),
            ("llama", "blk.1.ffn_down.5.weight", "model.layers.1.block_sparse_moe.experts.5.w2.weight"),
            ("llama", "blk.1.ffn_gate_inp.weight", "model.layers.1.block_sparse_moe.gate.weight"),
        ];
        for (architecture, from, to) in cases {
            assert_eq!(plain(from, architecture).as_deref(), Some(to));
            // Older files alone have one tensor for each expert.
            let back = gguf(&to.replace('E', "0"), architecture).map(|x| x.0);
            assert_eq!(back.as_deref(), Some(from.replace("down.5", "down_exps").as_str()));
        }
        for other in ["rope_freqs.weight", "blk.x.attn_q.weight", "blk..attn_q.weight", "blk.0.attn_q.scale", "blk.0"] {
            assert_eq!(plain(other, "llama"), None);
        }
        assert_eq!(hugging_face("blk.0.attn_q.bias", "llama").map(|x| x.1), Some(Heads::Query));
        assert_eq!(hugging_face("blk.0.attn_k.weight", "qwen2").map(|x| x.1), Some(Heads::None));
    }
}
