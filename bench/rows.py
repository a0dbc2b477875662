"""A million rows (or so many as the first argument says) in one format, for measuring an import.

    python3 bench/rows.py 1000000 jsonl > rows.jsonl
    python3 bench/rows.py 1000000 csv > rows.csv
    python3 bench/rows.py 1000000 sqlite rows.db
    /usr/bin/time -v tunesmith data import rows.jsonl --out out.jsonl      (its line `Maximum resident set size`)
"""

import json
import random
import sqlite3
import sys

WORDS = "where is my order when will the invoice come back return refund please thank you parcel customer number".split()


def rows(count):
    """Id, question and answer of about 300 bytes, the same every time."""
    chance = random.Random(5)
    for n in range(count):
        text = lambda words: " ".join(chance.choices(WORDS, k=words))
        yield n, f"{text(20)} {n}?", f"{text(30)}."


def main():
    count, form = int(sys.argv[1]), sys.argv[2]
    if form == "sqlite":
        with sqlite3.connect(sys.argv[3]) as db:
            db.execute("create table tickets (id integer, question text, answer text)")
            db.executemany("insert into tickets values (?, ?, ?)", rows(count))
        return
    if form == "csv":
        print("id,question,answer")
    for n, question, answer in rows(count):
        if form == "csv":
            print(f'{n},"{question}","{answer}"')
        else:
            print(json.dumps({"id": str(n), "instruction": question, "response": answer}))


if __name__ == "__main__":
    main()
