"""The defog text-to-SQL questions as two Tunesmith projects, and the judge of their answers, which executes them.

    python3 bench/text2sql.py make OUT DATA MODEL     writes OUT/a and OUT/b: each trains on one half and is asked the other
    tunesmith train OUT/a/tunesmith.toml --out OUT/a/run && tunesmith eval OUT/a/run      and the same with b
    python3 bench/text2sql.py score OUT DATA          executes all answers of base and tuned model

DATA holds questions_gen_sqlite.jsonl.gz and db/*.sql of defog's sql-eval and defog-data (Apache-2.0), and the loader of the latter.
An answer is right if its rows are those of one of the accepted queries, as a multiset of tuples with nine digits of a float; where
the question asks for an order, also in it. A fence of Markdown and prose around it are forgiven, so that knowledge is compared and
not form. The verdicts are written to OUT/verdicts.jsonl. Standard library only.
"""
import collections, gzip, importlib.util, json, math, pathlib, random, re, sqlite3, sys, time

ROWS, SECONDS = 100_000, 5.0
ALLOWED = {sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_FUNCTION, sqlite3.SQLITE_RECURSIVE}
ENDLESS = "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c) SELECT COUNT(*) FROM c"
RECIPE = """[model]
base = {model}

[data]
train = "train.jsonl"
eval = "eval.jsonl"

[adapter]
rank = 16

[train]
epochs = 3
lr = 5e-4
batch = 8
seed = 0
precision = "auto"

[eval]
few_shot = 0
max_new_tokens = 160
"""


def questions(data):
    """The rows, each with its accepted queries, shuffled and then ordered by database and kind of question."""
    rows = [json.loads(line) for line in gzip.open(data / "questions_gen_sqlite.jsonl.gz", "rt", encoding="utf8")]
    for r in rows:
        assert "{" not in r["query"], "alternatives in braces are not expanded; the SQLite file has none"
        r["gold"] = [q.strip() for q in r["query"].split(";") if q.strip()]
    random.Random(0).shuffle(rows)
    return sorted(rows, key=lambda r: (r["db_name"], r["query_category"]))


def halves(data):
    """What fold a and fold b are asked; each trains on what the other is asked."""
    rows = questions(data)
    return {"a": rows[0::2], "b": rows[1::2]}


def schema(data, name):
    """The tables of a database, a line each; SQLite needs no types."""
    con, lines = load(data, name), []
    for (table,) in con.execute("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name").fetchall():
        columns = ", ".join(c[1] for c in con.execute(f'PRAGMA table_info("{table}")'))
        lines.append(f"CREATE TABLE {table} ({columns});")
    return "\n".join(lines)


def load(data, name):
    """The database in memory, with its relative dates seen from today."""
    spec = importlib.util.spec_from_file_location("loader", data / "load_defog_sqlite.py")
    loader = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loader)
    con = sqlite3.connect(":memory:")
    bad = loader.load((data / "db" / f"{name}.sql").read_text(), con)
    assert not bad, f"{name}: {bad[0]}"
    return con


def make(out, data, model):
    asked = halves(data)
    schemas = {name: schema(data, name) for name in {r["db_name"] for r in asked["a"]}}
    for fold, other in (("a", "b"), ("b", "a")):
        (out / fold).mkdir(parents=True, exist_ok=True)
        for file, rows in (("train", asked[other]), ("eval", asked[fold])):
            lines = [json.dumps({"instruction": prompt(r, schemas), "response": r["gold"][0] + ";"}) for r in rows]
            (out / fold / f"{file}.jsonl").write_text("\n".join(lines) + "\n")
        (out / fold / "tunesmith.toml").write_text(RECIPE.format(model=json.dumps(str(model.resolve()))))
    both = {r["question"] for r in asked["a"]} & {r["question"] for r in asked["b"]}
    print(f"fold a is asked {len(asked['a'])} questions, fold b {len(asked['b'])}; in both: {len(both)}")


def prompt(r, schemas):
    hint = f"\n{r['instructions'].strip()}" if (r["instructions"] or "").strip() else ""
    return f"{schemas[r['db_name']]}\n\nAnswer with one SQLite query only.{hint}\nQuestion: {r['question']}"


def statement(text):
    """The first query of an answer: out of its fence, or from its first SELECT or WITH."""
    fence = re.search(r"```\w*\n(.*?)(?:```|$)", text, re.S)
    text = fence[1] if fence else text
    begin = re.search(r"\b(SELECT|WITH)\b", text, re.I)
    return text[begin.start():].split(";")[0] if begin else text


def execute(con, sql):
    """Names of the columns and the rows; it may only read, within limits."""
    end = time.monotonic() + SECONDS
    con.set_authorizer(lambda action, *_: sqlite3.SQLITE_OK if action in ALLOWED else sqlite3.SQLITE_DENY)
    con.set_progress_handler(lambda: time.monotonic() > end, 10_000)
    found = con.execute(sql)
    if found.description is None:
        raise sqlite3.Error("no query")
    rows = found.fetchmany(ROWS)
    plain = lambda v: float(f"{v:.9g}") if isinstance(v, float) else v
    return [c[0].lower() for c in found.description], [tuple(map(plain, row)) for row in rows]


def order(sql, names):
    """The columns that a query sorts its rows by, as places in them; None if it sorts by something else."""
    clause = re.search(r".*\bORDER BY\b(.*)", sql, re.I | re.S)[1]
    keys = re.sub(r"\bLIMIT\b.*|\bNULLS (FIRST|LAST)\b|\b(ASC|DESC)\b", "", clause, flags=re.I | re.S).lower().split(",")
    keys = [k.strip().split(".")[-1] for k in keys]
    return [names.index(k) for k in keys] if all(k in names for k in keys) else None


def asks_for_order(r):
    return r["query_category"] == "order_by" or re.search(r"\b(order|sort)", r["question"], re.I)


def same(gold, names, wanted, found, ordered):
    """Equal rows; in an ordered answer rows of equal keys may change places."""
    if collections.Counter(wanted) != collections.Counter(found):
        return False
    if not ordered or not re.search(r"\bORDER BY\b", gold, re.I):
        return True
    keys = order(gold, names)
    cut = lambda rows: [tuple(row[k] for k in keys) for row in rows] if keys else rows
    return cut(wanted) == cut(found)


def judge(con, r, answer):
    """"right", "wrong" or why it did not run; and whether it is right too where every ORDER BY of an accepted query counts."""
    try:
        found = execute(con, statement(answer))[1]
    except (sqlite3.Error, sqlite3.Warning, OverflowError) as e:
        return f"error: {e}", False
    wanted = [(gold, *execute(con, gold)) for gold in r["gold"]]
    if any(same(*w, found, asks_for_order(r)) for w in wanted):
        return "right", any(same(*w, found, True) for w in wanted)
    return "wrong", False


def wilson(k, n, z=1.959964):
    p, d = k / n, 1 + z * z / n
    mid, half = (p + z * z / (2 * n)) / d, z / d * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    return f"{100 * p:.1f} % ({100 * (mid - half):.1f}-{100 * (mid + half):.1f})"


def mcnemar(gained, lost):
    n = gained + lost
    return min(1.0, 2 * sum(math.comb(n, i) for i in range(min(gained, lost) + 1)) / 2**n)


def check(bases, rows):
    """The judge must accept every accepted query and refuse wrong, endless and writing ones."""
    for r in rows:
        con = bases[r["db_name"]]
        assert all(judge(con, r, gold) == ("right", True) for gold in r["gold"]), r["question"]
        twice = f"SELECT * FROM ({r['gold'][0]}) UNION ALL SELECT * FROM ({r['gold'][0]})"
        for bad in (twice, "SELECT 'nothing of the kind'", "I do not know.", ""):
            assert judge(con, r, bad)[0] != "right", (bad, r["question"])
    for sql, why in ((ENDLESS, "interrupted"), ("CREATE TABLE x (y)", "not authorized"), ("PRAGMA query_only = 0", "not authorized")):
        assert judge(bases["atis"], rows[0], sql)[0] == f"error: {why}", sql
    five = next(r for r in rows if r["question"].startswith("What are the top 5 cities"))
    assert judge(bases["geography"], five, f"SELECT * FROM ({five['gold'][0]}) ORDER BY 2 ASC")[0] == "wrong"
    print(f"the judge accepts every accepted query of {len(rows)} questions and none of 4 wrong answers to each")


def score(out, data):
    asked = halves(data)
    bases = {name: load(data, name) for name in {r["db_name"] for r in asked["a"]}}
    check(bases, asked["a"] + asked["b"])
    marks = collections.defaultdict(dict)
    for fold, rows in asked.items():
        for line in open(out / fold / "run" / "eval" / "outputs.jsonl", encoding="utf8"):
            o = json.loads(line)
            at = int(o["id"].split(":")[1]) - 1
            assert rows[at]["question"] in o["prompt"], o["id"]
            verdict, strict = judge(bases[rows[at]["db_name"]], rows[at], o["output"])
            marks[o["arm"]][fold, at] = {"verdict": verdict, "strict": strict, "db": rows[at]["db_name"], **o}
    report(marks, len(asked["a"] + asked["b"]))
    with open(out / "verdicts.jsonl", "w") as f:
        f.writelines(json.dumps(m) + "\n" for arm in marks.values() for m in arm.values())


def report(marks, n):
    rules = {"": lambda m: m["verdict"] == "right", "if every ORDER BY counts: ": lambda m: m["strict"]}
    for arm, of in marks.items():
        assert len(of) == n, f"{arm}: {len(of)} answers, expected {n}"
        failed = sum(m["verdict"].startswith("error") for m in of.values())
        print(f"\n{arm}: {failed} of {n} did not run")
        for rule, holds in rules.items():
            right = {k for k, m in of.items() if holds(m)}
            by_base = collections.Counter(of[k]["db"] for k in right)
            print(f"  {rule}{len(right)} right, {wilson(len(right), n)}; {dict(sorted(by_base.items()))}")
            best = {k for k, m in marks["tuned"].items() if holds(m)}
            if arm != "tuned":
                gained, lost = len(best - right), len(right - best)
                print(f"    the tuned model gained {gained} and lost {lost}; McNemar's exact p {mcnemar(gained, lost):.2g}")


if __name__ == "__main__":
    paths = [pathlib.Path(a) for a in sys.argv[2:]]
    {"make": make, "score": score}[sys.argv[1]](*paths)
