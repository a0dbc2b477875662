"""The token ids of a run's train.pack as lines of {"ids": […], "learned": [0, 1, …]}, for programs that know no pack.

    python3 bench/ids.py RUN/train.pack IDS_JSONL

The form of a pack is in crates/record/src/pack.rs. Standard library only.
"""
import json, struct, sys

pack = open(sys.argv[1], "rb").read()
assert pack[:8] == b"TSMPACK\0", "no pack"
at = 16 + struct.unpack_from("<II", pack, 8)[1]
examples, tokens = struct.unpack_from("<QQ", pack, at)
at += 16
lengths = [struct.unpack_from("<I", pack, at + 8 * i)[0] for i in range(examples)]
at += 8 * examples
ids = struct.unpack_from(f"<{tokens}I", pack, at)
bits = pack[at + 4 * tokens:]
with open(sys.argv[2], "w") as out:
    first = 0
    for n in lengths:
        span = range(first, first + n)
        out.write(json.dumps({"ids": ids[first:first + n], "learned": [bits[j >> 3] >> (j & 7) & 1 for j in span]}, separators=(",", ":")) + "\n")
        first += n
