"""One made question of every LaMP task, in the official schema; nothing in it is anybody's data."""

import json
from pathlib import Path
from typing import Any

from harness.api import HistoryItem, TaskData
from harness.tasks.lamp_records import Names, parse
from harness.tasks.lamp_schema import SCHEMAS

INPUTS = {
    "lamp1": 'For an author who has written the paper with the title "Counting Rain", which reference is related? '
    'Just answer with [1] or [2] without explanation. [1]: "Drops" [2]: "On Sand"',
    "lamp2": "Which tag does this movie relate to? tags: [sci-fi, comedy] description: A robot wakes.",
    "lamp3": "What is the score of the following review on a scale of 1 to 5? review: It broke.",
    "lamp4": "Generate a headline for the following article: The harbour froze over.",
    "lamp5": "Generate a title for the following abstract of a paper: We count drops.",
    "lamp6": "Generate a subject for the following email: Can we move lunch?",
    "lamp7": "Paraphrase the following tweet without any explanation before or after it: I am tired.",
}
QUERIES = {
    "lamp1": '"Counting Rain" [1]: "Drops" [2]: "On Sand"',
    "lamp2": "A robot wakes.",
    "lamp3": "It broke.",
    "lamp4": "The harbour froze over.",
    "lamp5": "We count drops.",
    "lamp6": "Can we move lunch?",
    "lamp7": "I am tired.",
}
ITEMS: dict[str, dict[str, Any]] = {
    "lamp1": {"id": "i1", "title": "Counting Snow", "abstract": "We count flakes."},
    "lamp2": {"id": "i1", "tag": "comedy", "description": "A dog talks."},
    "lamp3": {"id": "i1", "text": "Fine.", "score": "4"},
    "lamp4": {"id": "i1", "title": "Ice, At Last", "text": "The lake froze over."},
    "lamp5": {"id": "i1", "title": "Counting\n Snow", "abstract": "We count flakes."},
    "lamp6": {"id": "i1", "title": "Lunch", "text": "Are you free at noon?"},
    "lamp7": {"id": "i1", "text": "so tired lol"},
}
HISTORIES = {
    "lamp1": (HistoryItem("i1", "Counting Snow"),),
    "lamp2": (HistoryItem("i1", "A dog talks.", "comedy"),),
    "lamp3": (HistoryItem("i1", "Fine.", "4"),),
    "lamp4": (HistoryItem("i1", "The lake froze over.", "Ice, At Last"),),
    "lamp5": (HistoryItem("i1", "We count flakes.", "Counting Snow"),),
    "lamp6": (HistoryItem("i1", "Are you free at noon?", "Lunch"),),
    "lamp7": (HistoryItem("i1", "so tired lol"),),
}
GOLDS = {
    "lamp1": "[2]",
    "lamp2": "sci-fi",
    "lamp3": "1",
    "lamp4": "Harbour, Frozen",
    "lamp5": "Counting Drops",
    "lamp6": "Moving lunch",
    "lamp7": "im tired",
}
TASKS = tuple(SCHEMAS)
NAMES = Names("dev_questions.json", "dev_outputs.json", "dev_users.json")


def question(task: str = "lamp2", **changes: Any) -> dict[str, Any]:
    """A question of the schema."""
    return {"id": "q1", "input": INPUTS[task], "profile": [ITEMS[task]], **changes}


def outputs(task: str = "lamp2", **golds: Any) -> dict[str, Any]:
    """An outputs file of the schema."""
    golds = golds or {"q1": GOLDS[task]}
    return {"task": SCHEMAS[task].folder, "golds": [{"id": key, "output": gold} for key, gold in golds.items()]}


def write(folder: Path, split: str = "dev", task: str = "lamp2", **files: object) -> Path:
    """Write one split into `folder`; `files` replaces contents by kind, bytes as they are."""
    folder.mkdir(parents=True, exist_ok=True)
    contents: dict[str, object] = {"questions": [question(task)], "outputs": outputs(task), **files}
    for kind, content in contents.items():
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        (folder / f"{split}_{kind}.json").write_bytes(data)
    return folder


def parsed(questions: object, golds: object = None, users: object = None, task: str = "lamp2") -> TaskData:
    """Both files of a split as they are read; golds are a good outputs file unless given."""
    return parse(SCHEMAS[task], NAMES, questions, outputs(task) if golds is None else golds, users)
