"""Asks the platforms' own code whether files of `tunesmith data emit` are right.

    pip install openai google-genai botocore together==1.5.35 datasets
    tunesmith data emit FILE --to PLATFORM ...        for each platform
    python bench/emitted.py FILE.openai.jsonl FILE.together.jsonl ...

The platform is the last part of the name before .jsonl. What is not installed is passed over and told.
"""

import json
import sys
from pathlib import Path


def rows(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8-sig").splitlines()]


def openai(path):
    """Messages and tools against the types of the `openai` package, and the keys of a training row."""
    from openai.types.chat import ChatCompletionMessageParam, ChatCompletionToolParam
    from pydantic import TypeAdapter

    messages, tools = TypeAdapter(list[ChatCompletionMessageParam]), TypeAdapter(list[ChatCompletionToolParam])
    for row in rows(path):
        parts = [row] if "messages" in row else [row["input"], {"messages": row["preferred_output"]}, {"messages": row["non_preferred_output"]}]
        for part in parts:
            assert set(part) <= {"messages", "tools", "parallel_tool_calls"}, set(part)
            # The weight is of training rows alone.
            messages.validate_python([{k: v for k, v in m.items() if k != "weight"} for m in part["messages"]])
            tools.validate_python(part.get("tools", []))
    return "openai types"


def together(path):
    """The last check of rows that the SDK made before an upload."""
    from together.utils.files import check_file

    report = check_file(path)
    assert report["is_check_passed"], report
    return "together check_file"


def vertex(path):
    """Contents, instructions and tools against the types of `google-genai`."""
    from google.genai import types

    for row in rows(path):
        assert set(row) <= {"systemInstruction", "contents", "tools", "completions"}, set(row)
        for content in row["contents"] + [answer["completion"] for answer in row.get("completions", [])]:
            types.Content.model_validate(content)
        if "systemInstruction" in row:
            types.Content.model_validate(row["systemInstruction"])
        for tool in row.get("tools", []):
            types.Tool.model_validate(tool)
    return "google-genai types"


def bedrock(path):
    """Messages against botocore's model of Converse."""
    import botocore.session
    from botocore.validate import ParamValidator

    model = botocore.session.get_session().get_service_model("bedrock-runtime").operation_model("Converse")
    for row in rows(path):
        assert set(row) <= {"schemaVersion", "system", "messages"}, set(row)
        messages = [m for m in row["messages"] if "candidates" not in m]
        asked = {"modelId": "nova", "messages": messages, "system": row.get("system", [])}
        report = ParamValidator().validate(asked, model.input_shape)
        assert not report.has_errors(), report.generate_report()
    return "botocore Converse"


def table(path):
    """Whether Arrow takes the rows as one table, with the keys that TRL and Axolotl look for."""
    from datasets import load_dataset

    found = load_dataset("json", data_files=str(path), split="train", cache_dir="/tmp/emitted-cache")
    wanted = [{"messages"}, {"prompt", "chosen", "rejected"}, {"messages", "chosen", "rejected"}]
    assert any(keys <= set(found.column_names) for keys in wanted), found.column_names
    assert len(found) == len(rows(path))
    return "datasets load_dataset"


JUDGES = {"openai": openai, "azure": openai, "together": together, "vertex": vertex, "bedrock": bedrock, "trl": table, "axolotl": table}

if __name__ == "__main__":
    failed = False
    for name in sys.argv[1:]:
        path = Path(name)
        platform = path.name.removesuffix(".jsonl").rsplit(".", 1)[-1]
        try:
            print(f"{path.name}: {len(rows(path))} rows, {JUDGES[platform](path)}: right")
        except ImportError as why:
            print(f"{path.name}: not judged, {why}")
        except Exception as why:
            failed = True
            print(f"{path.name}: REFUSED, {type(why).__name__}: {str(why)[:400]}")
    sys.exit(failed)
