"""Label errors of Banking77 with injected noise: ours beside cleanlab, on the same rows.

Usage: python bench/label_errors.py NOISE.jsonl.gz TRUTH.jsonl.gz [path of the example binary `meaning`]
The example is built by `cargo build -p data --example meaning`. Needs scikit-learn and cleanlab.
"""

import gzip
import json
import subprocess
import sys
import tempfile
import time

import numpy as np
from cleanlab.filter import find_label_issues
from cleanlab.rank import get_label_quality_scores
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import cross_val_predict

TOP = 1000


def figures(name, doubt, wrong, flagged, suggested_right, seconds):
    order = np.argsort(-doubt, kind="stable")
    found = wrong[flagged].sum()
    print(f"{name:28s} AUROC {roc_auc_score(wrong, doubt):.4f}  precision in the first {TOP} {wrong[order[:TOP]].mean():.3f}  "
          f"flagged {len(flagged)} with precision {wrong[flagged].mean():.3f} and recall {found / wrong.sum():.3f}  "
          f"right label suggested {suggested_right:.3f}  {seconds:.1f} s")


def ours(binary, rows, truth, wrong):
    with tempfile.NamedTemporaryFile("w", suffix=".jsonl") as file:
        for row in rows:
            file.write(json.dumps({"id": row["id"], "instruction": row["text"], "response": row["label"]}) + "\n")
        file.flush()
        began = time.time()
        lines = subprocess.run([binary, "label_error", file.name], check=True, capture_output=True, text=True).stdout.splitlines()
        seconds = time.time() - began
    doubt, flagged, right = np.zeros(len(rows)), [], []
    for line in lines:
        found = json.loads(line)
        index = int(found["id"])
        doubt[index] = found["score"]
        if found["flagged"]:
            flagged.append(index)
            if wrong[index]:
                right.append(found["suggested"] == truth[index]["true_label"])
    figures("tunesmith", doubt, wrong, np.array(flagged), np.mean(right), seconds)


def theirs(rows, truth, wrong, **features):
    names = sorted({row["label"] for row in rows})
    labels = np.array([names.index(row["label"]) for row in rows])
    began = time.time()
    matrix = TfidfVectorizer(sublinear_tf=True, min_df=2, **features).fit_transform([row["text"] for row in rows])
    probabilities = cross_val_predict(LogisticRegression(C=10, max_iter=300), matrix, labels, cv=5, method="predict_proba")
    issues = find_label_issues(labels, probabilities, return_indices_ranked_by="self_confidence", n_jobs=1)
    seconds = time.time() - began
    right = [names[probabilities[i].argmax()] == truth[i]["true_label"] for i in issues if wrong[i]]
    for method in ("self_confidence", "normalized_margin"):
        doubt = 1 - get_label_quality_scores(labels, probabilities, method=method)
        figures(f"cleanlab {method}", doubt, wrong, issues, np.mean(right), seconds)


def main():
    rows = [json.loads(line) for line in gzip.open(sys.argv[1])]
    truth = [json.loads(line) for line in gzip.open(sys.argv[2])]
    wrong = np.array([row["is_error"] == 1 for row in truth])
    if len(sys.argv) > 3:
        ours(sys.argv[3], rows, truth, wrong)
    if len(sys.argv) < 5:
        theirs(rows, truth, wrong, ngram_range=(1, 2))


main()
