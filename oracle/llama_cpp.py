"""Does llama.cpp load the GGUF files that `tunesmith export` writes, cut a text alike and give it the same log-probabilities?

    python oracle/llama_cpp.py FOLDER target/release/examples/logprobs TEXT.txt FILE.gguf ...

By hand, after `cargo build --release -p export --example logprobs`. FOLDER holds llama.cpp's libraries, either of

  CPU    npm pack @node-llama-cpp/linux-x64@3.22.1, unpacked: package/bins/linux-x64 (llama.cpp v0.5.0); needs Python
         with numpy and gguf 0.19.0.
  BLAS   Debian forky, in a container or made by debootstrap: apt install libllama0 libggml0-backend-blas
         libopenblas0-pthread python3-gguf; /usr/lib/x86_64-linux-gnu. Ran with libllama0 0.7.0, libggml0 0.27.0,
         OpenBLAS 0.3.34, python3-gguf 0.7.0, numpy 2.4.6.

llama.cpp is called through its C interface, with flash attention off and a float32 cache of keys and values, since both
round otherwise, and the whole text is one batch. For each file: whether llama.cpp's tokens of the text are ours, and the
largest difference of the log-probability of a next token, in three ways:

  as it is   llama.cpp on the file. Its CPU products round what a weight is multiplied by to the weight's own kind, F16 to
             halves and Q8_0 to eight bits, which ours do not. Its BLAS products, of 32 tokens or more, decode the weight
             to float32 and round nothing.
  in f32     llama.cpp on the same file with every tensor decoded to float32 by the gguf package: no activation is rounded,
             so what is left says whether our file's weights, names, order of rows and metadata are right.
  scale      the largest difference between `as it is` and `in f32`: llama.cpp against itself.

The bound of 1e-3 holds for `in f32`, and with BLAS for `as it is` too; the script ends with an error where it does not,
where tokens differ, or where a text is too short for BLAS.
"""
import ctypes as c, json, os, subprocess, sys, tempfile
import numpy as np
from gguf import GGUFReader, GGUFWriter, GGMLQuantizationType, GGUFValueType, quants

BOUND = 1e-3
# The fewest tokens in one batch for which ggml gives a product to BLAS.
BLAS_FROM = 32


class Params(c.Structure):
    """Room for a struct of parameters that is handed over by value; single fields are set by their place."""
    _fields_ = [("words", c.c_uint32 * 128)]


class Batch(c.Structure):
    _fields_ = [("n", c.c_int32), ("token", c.POINTER(c.c_int32)), ("embd", c.c_void_p), ("pos", c.POINTER(c.c_int32)),
                ("n_seq", c.POINTER(c.c_int32)), ("seq", c.POINTER(c.POINTER(c.c_int32))), ("logits", c.POINTER(c.c_int8))]


# Places in llama_context_params, in words of four bytes.
N_CTX, N_BATCH, N_UBATCH, OUTPUTS, OUTPUTS_PER_SEQ, FLASH, TYPE_K, TYPE_V = 0, 1, 2, 5, 6, 13, 26, 27


def library(folder):
    def load(name):
        paths = [os.path.join(folder, name + end) for end in (".v0.5.0.so", ".so.0", ".so")]
        return c.CDLL(next(filter(os.path.exists, paths), paths[-1]), mode=c.RTLD_GLOBAL)

    base, ggml, llama = load("libggml-base"), load("libggml"), load("libllama")
    plugins = os.path.join(folder, "ggml", "backends0")
    ggml.ggml_backend_load_all_from_path(os.path.abspath(plugins if os.path.isdir(plugins) else folder).encode())
    ggml.ggml_backend_dev_get.restype, ggml.ggml_backend_dev_get.argtypes = c.c_void_p, [c.c_size_t]
    ggml.ggml_backend_dev_count.restype = c.c_size_t
    base.ggml_backend_dev_name.restype, base.ggml_backend_dev_name.argtypes = c.c_char_p, [c.c_void_p]
    llama.devices = [base.ggml_backend_dev_name(ggml.ggml_backend_dev_get(i)).decode() for i in range(ggml.ggml_backend_dev_count())]
    # Told only where something fails. The function must outlive the calls.
    llama.said = []
    llama.hear = c.CFUNCTYPE(None, c.c_int, c.c_char_p, c.c_void_p)(lambda level, text, _: llama.said.append(text.decode(errors="replace")))
    llama.llama_log_set(llama.hear, None)
    llama.llama_backend_init()
    for name, result, arguments in [
        ("llama_context_default_params", Params, []), ("llama_model_default_params", Params, []),
        ("llama_model_load_from_file", c.c_void_p, [c.c_char_p, Params]), ("llama_init_from_model", c.c_void_p, [c.c_void_p, Params]),
        ("llama_model_get_vocab", c.c_void_p, [c.c_void_p]), ("llama_vocab_n_tokens", c.c_int32, [c.c_void_p]),
        ("llama_tokenize", c.c_int32, [c.c_void_p, c.c_char_p, c.c_int32, c.POINTER(c.c_int32), c.c_int32, c.c_bool, c.c_bool]),
        ("llama_batch_init", Batch, [c.c_int32, c.c_int32, c.c_int32]), ("llama_decode", c.c_int32, [c.c_void_p, Batch]),
        ("llama_get_logits_ith", c.POINTER(c.c_float), [c.c_void_p, c.c_int32]),
        ("llama_free", None, [c.c_void_p]), ("llama_model_free", None, [c.c_void_p]),
    ]:
        function = getattr(llama, name)
        function.restype, function.argtypes = result, arguments
    defaults = llama.llama_context_default_params().words
    found = [defaults[i] for i in (N_CTX, N_BATCH, N_UBATCH, TYPE_K, TYPE_V)] + [c.c_int32(defaults[FLASH]).value]
    assert found == [512, 2048, 512, 1, 1, -1], f"this llama.cpp keeps its parameters elsewhere: {found}"
    return llama


def logprobs(llama, path, ids, text):
    """The log-probability of each id after those before it, by llama.cpp; and its own ids of the text."""
    model = llama.llama_model_load_from_file(path.encode(), llama.llama_model_default_params())
    assert model, f"llama.cpp does not load {path}:\n{''.join(llama.said[-8:])}"
    vocab = llama.llama_model_get_vocab(model)
    cut = (c.c_int32 * (len(text) + 8))()
    bytes_ = text.encode()
    count = llama.llama_tokenize(vocab, bytes_, len(bytes_), cut, len(cut), False, True)
    params = llama.llama_context_default_params()
    for place, value in [(N_CTX, len(ids)), (N_BATCH, len(ids)), (N_UBATCH, len(ids)), (OUTPUTS, len(ids)), (OUTPUTS_PER_SEQ, len(ids)), (FLASH, 0), (TYPE_K, 0), (TYPE_V, 0)]:
        params.words[place] = value
    context = llama.llama_init_from_model(model, params)
    assert context, "llama.cpp makes no context"
    batch = llama.llama_batch_init(len(ids), 0, 1)
    batch.n = len(ids)
    for i, id in enumerate(ids):
        batch.token[i], batch.pos[i], batch.n_seq[i], batch.seq[i][0], batch.logits[i] = id, i, 1, 0, 1
    assert llama.llama_decode(context, batch) == 0, "llama.cpp does not decode"
    n = llama.llama_vocab_n_tokens(vocab)
    rows = np.array([np.ctypeslib.as_array(llama.llama_get_logits_ith(context, i), (n,)) for i in range(len(ids) - 1)], np.float64)
    llama.llama_free(context)
    llama.llama_model_free(model)
    rows -= rows.max(1, keepdims=True)
    rows -= np.log(np.exp(rows).sum(1, keepdims=True))
    return rows[np.arange(len(ids) - 1), ids[1:]], list(cut[:count])


def in_float32(path, out):
    """The same file with every tensor decoded to float32."""
    reader = GGUFReader(path)
    writer = GGUFWriter(out, reader.fields["general.architecture"].contents())
    for field in reader.fields.values():
        if field.name.startswith("GGUF.") or field.name in ("general.architecture", "general.file_type"):
            continue
        inner = field.types[1] if field.types[0] == GGUFValueType.ARRAY else None
        writer.add_key_value(field.name, field.contents(), field.types[0], inner)
    for t in reader.tensors:
        values = quants.dequantize(t.data, t.tensor_type) if t.tensor_type != GGMLQuantizationType.F32 else t.data
        writer.add_tensor(t.name, np.ascontiguousarray(values, np.float32).reshape([int(n) for n in t.shape[::-1]]))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def main():
    folder, ours, text_path, *files = sys.argv[1:]
    llama, text, failed = library(folder), open(text_path, encoding="utf-8", newline="").read(), False
    blas = "BLAS" in llama.devices
    print("devices:", ", ".join(llama.devices))
    for path in files:
        mine = json.loads(subprocess.run([ours, path, text_path], check=True, capture_output=True, text=True).stdout)
        ids, expected = mine["ids"], np.array(mine["logprobs"])
        assert not blas or len(ids) >= BLAS_FROM, f"{text_path} has {len(ids)} tokens; BLAS is used from {BLAS_FROM} on"
        as_is, cut = logprobs(llama, path, ids, text)
        with tempfile.TemporaryDirectory() as scratch:
            decoded = os.path.join(scratch, "f32.gguf")
            in_float32(path, decoded)
            in_f32, _ = logprobs(llama, decoded, ids, text)
        far = lambda a, b: np.abs(a - b).max()
        same = cut == ids
        failed |= not same or not far(in_f32, expected) <= BOUND or blas and not far(as_is, expected) <= BOUND
        print(f"{os.path.basename(path)}: {len(ids)} tokens, {'the same' if same else 'OTHER TOKENS'}; log-probabilities: "
              f"as it is {far(as_is, expected):.1e}, in f32 {far(in_f32, expected):.1e}, scale {far(as_is, in_f32):.1e}")
    sys.exit(failed)


main()
