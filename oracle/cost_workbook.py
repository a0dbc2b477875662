"""LibreOffice recalculates a workbook of `tunesmith cost` and agrees with it to the cent.

    tunesmith cost --inputs examples/cost/typical.toml --out a --xlsx a.xlsx
    tunesmith cost --inputs other.toml --out b
    python3 oracle/cost_workbook.py a.xlsx a/cost.json [b/cost.json ...]

The results that the workbook brings along are taken out first, so every figure is LibreOffice's own. With further
results (same months, same ways) their inputs are typed into the yellow cells, and all must follow. Needs `soffice`
(Debian: libreoffice-calc-nogui) and nothing beside Python.
"""

import csv
import json
import re
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

# All sheets, cells as they are and not as they are shown.
CSV = "csv:Text - txt - csv (StarCalc):44,34,76,1,,0,false,false,false,false,false,-1"


def sheets(source: Path, inputs: dict[str, float], folder: Path) -> dict[str, list[list[str]]]:
    """What LibreOffice makes of the workbook with these inputs."""
    stripped = folder / "book.xlsx"
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(stripped, "w") as new:
        texts = re.findall(r"<si>.*?<t[^>]*>(.*?)</t>.*?</si>", old.read("xl/sharedStrings.xml").decode(), re.S)
        for name in old.namelist():
            data = old.read(name)
            if name.startswith("xl/worksheets/sheet"):
                text = data.decode()
                formulas = text.count("<f>")
                text = re.sub(r"(</f>)<v>[^<]*</v>", r"\1", text)
                assert "</f><v>" not in text
                if name.endswith("sheet2.xml"):
                    text = typed(text, texts, inputs)
                print(f"    {name}: {formulas} formulas, their results taken out")
                data = text.encode()
            new.writestr(name, data)
    subprocess.run(["soffice", f"-env:UserInstallation=file://{folder}/profile", "--headless", "--convert-to", CSV, "--outdir", folder, stripped],
                   check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return {path.stem.removeprefix("book-"): list(csv.reader(path.open())) for path in folder.glob("book-*.csv")}


def typed(text: str, texts: list[str], inputs: dict[str, float]) -> str:
    """The sheet of inputs with other values in its yellow cells."""
    left = set(inputs)
    for row, index in re.findall(r'<c r="A(\d+)"[^>]*t="s"[^>]*><v>(\d+)</v>', text):
        name = texts[int(index)]
        if name in inputs:
            text, n = re.subn(rf'(<c r="B{row}"[^>]*>)<v>[^<]*</v>', rf"\g<1><v>{inputs[name]!r}</v>", text)
            assert n == 1, name
            left.discard(name)
    assert not left, f"the workbook lacks {left}"
    return text


def compare(found: dict[str, list[list[str]]], result: dict) -> tuple[int, int]:
    """Cells that agree to the cent, and those that do not."""
    rows = found["Months"]
    count = result["inputs"]["months"]
    good = bad = 0
    at = 12
    for way in result["ways"]:
        at = next(n for n in range(at, len(rows)) if rows[n][count + 1] == "all")
        for line in [*way["lines"], {**way, "title": "total"}]:
            at += 1
            assert rows[at][0] == line["title"], (rows[at][0], line["title"])
            ours = [*line["months_usd"], line["total_usd"]]
            for column, usd in enumerate(ours, 1):
                theirs = float(rows[at][column])
                if round(theirs * 100) == round(usd * 100):
                    good += 1
                else:
                    bad += 1
                    print(f"    {way['way']}, {line['title']}, month {column}: LibreOffice {theirs}, ours {usd}")
    return good, bad


def volumes(found: dict[str, list[list[str]]], before: Path) -> tuple[int, int]:
    """The sheet of volumes against the results that the workbook brought along."""
    with zipfile.ZipFile(before) as book:
        text = book.read("xl/worksheets/sheet4.xml").decode()
    ours = {cell: float(value) for cell, value in re.findall(r'<c r="([B-D]\d+)"[^>]*><f>[^<]*</f><v>([^<]*)</v>', text)}
    good = bad = 0
    for cell, usd in ours.items():
        theirs = float(found["Volumes"][int(cell[1:]) - 1]["ABCD".index(cell[0])])
        if round(theirs * 100) == round(usd * 100):
            good += 1
        else:
            bad += 1
            print(f"    Volumes {cell}: LibreOffice {theirs}, ours {usd}")
    assert good + bad > 100
    return good, bad


def main() -> int:
    book, first, *others = map(Path, sys.argv[1:])
    wrong = 0
    for index, path in enumerate([first, *others]):
        result = json.loads(path.read_text())
        changed = {} if index == 0 else {name: v["value"] for name, v in result["inputs"].items() if isinstance(v, dict)}
        print(f"{path}:")
        with tempfile.TemporaryDirectory() as folder:
            found = sheets(book, changed, Path(folder))
        good, bad = compare(found, result)
        summary = {row[0]: row[1] for row in found["Summary"] if len(row) > 1}
        least = next(way for way in result["ways"] if way["way"] == result["cheapest"])
        totals = sorted((float(value), title) for title, value in summary.items() if title.split(":")[0] in ("API", "Managed fine-tuning", "Self-hosted"))
        assert summary["costs least"] == totals[0][1], (summary["costs least"], totals)
        assert round(totals[0][0] * 100) == round(least["total_usd"] * 100), (totals, least["total_usd"])
        print(f"    months: {good} cells agree to the cent, {bad} do not; costs least: {summary['costs least']}, {totals[0][0]}")
        wrong += bad
        if index == 0:
            good, bad = volumes(found, book)
            print(f"    volumes: {good} cells agree to the cent, {bad} do not")
            wrong += bad
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
