"""Other packages and ours in one run: the same model, prompts and number of new tokens, processor seconds, one thread.

lm-eval's `hf` on our task file, and its `steered` with one direction for everybody, against our evaluation; `repeng`
and `steering-vectors`, where they are installed (neither admits the numpy or transformers that the harness runs on:
`pip install --no-deps --target FOLDER`, and FOLDER on PYTHONPATH), for a direction from pairs and for steering by it.

LAMP=DIR takes genuine prompts; PROMPTS says how many (4).
"""

import os
import time

import numpy as np
import pytest
import torch

from harness.api import Edits
from harness.methods.base_prompt import Unedited
from harness.methods.chameleon.directions import top_direction
from harness.model.lm import load
from harness.model.packaged.catalog import SMOLLM2_135M
from harness.registry import TASKS
from harness.running.evaluation import evaluate
from harness.tasks import lm_eval_utils

pytestmark = [
    pytest.mark.usefixtures("one_thread"),
    pytest.mark.skipif(not SMOLLM2_135M.fetched, reason="SmolLM2 is not here: harness models fetch smollm2-135m"),
]
PROMPTS, BATCH, LAYER, NEW_TOKENS = int(os.environ.get("PROMPTS", "4")), 8, 10, 16
SOURCE = os.environ.get("LAMP", "synthetic")
TEMPLATE = {"apply_chat_template": True}


@pytest.fixture(scope="module")
def lm():
    return load(str(SMOLLM2_135M.folder), "cpu", "float32", batch_size=BATCH)


@pytest.fixture(scope="module")
def data():
    return TASKS.get("lamp7")().load(SOURCE, "dev")


def seconds(run):
    start = time.process_time()
    found = run()
    return time.process_time() - start, found


def report(name, theirs, ours):
    print(f"\n{name}: theirs {theirs:.1f} s, ours {ours:.1f} s, ratio {ours / theirs:.2f}")


class Everybody(Unedited):
    """The base prompt, and one direction that is removed from the MLP's output for everybody."""

    def __init__(self, task, direction):
        super().__init__(task)
        self._direction = direction

    def edits(self, queries):
        return Edits((LAYER,), (0,) * len(queries), neutral=self._direction[None, None])


@pytest.mark.parametrize("steered", [False, True], ids=["hf", "steered"])
def test_evaluation_beside_lm_eval(lm, data, tmp_path, steered):
    from lm_eval import simple_evaluate
    from lm_eval.models.hf_steered import SteeredModel
    from lm_eval.models.huggingface import HFLM
    from lm_eval.tasks import TaskManager

    task = TASKS.get("lamp7")()
    direction = torch.randn(lm.hidden_size, generator=torch.Generator().manual_seed(0))
    where = {"device": "cpu", "dtype": "float32", "batch_size": BATCH}
    if steered:
        # lm-eval reads hooks from torch files only.
        removed = {"steering_vector": direction, "steering_coefficient": 0.0, "action": "clamp"}
        torch.save({f"layers.{LAYER}.mlp": removed}, tmp_path / "steer.pt")
        model = SteeredModel(str(SMOLLM2_135M.folder), steer_path=str(tmp_path / "steer.pt"), **where)
    else:
        model = HFLM(str(SMOLLM2_135M.folder), **where)
    folder = os.path.dirname(lm_eval_utils.__file__)
    manager = TaskManager(include_path=folder, include_defaults=False, metadata={"source": SOURCE, "split": "dev"})
    settings = {"limit": PROMPTS, "bootstrap_iters": 0, "log_samples": True, **TEMPLATE}
    theirs, found = seconds(lambda: simple_evaluate(model, tasks=["lamp7"], task_manager=manager, **settings))
    queries = data.queries[:PROMPTS]
    histories = {query.id: lm_eval_utils._latest(data.histories[query.user]) for query in queries}
    golds = {query.id: data.golds[query.id] for query in queries}
    personalizer = Everybody(task, direction) if steered else Unedited(task)
    ours, own = seconds(lambda: evaluate(lm, task, personalizer, queries, histories, golds))
    report("lm-eval " + ("steered" if steered else "hf"), theirs, ours)
    outputs = [sample["resps"][0][0].strip() for sample in found["samples"]["lamp7"]]
    same = sum(one == other.strip() for one, other in zip(outputs, own.samples["output"], strict=True))
    print(f"{same} of {PROMPTS} answers are the same")


@pytest.fixture(scope="module")
def texts(lm, data):
    """Positive and negative texts as a chat, and the prompts to steer."""
    task = TASKS.get("lamp7")()

    def chat(build, insight, query):
        prompt = build(query.text, data.histories[query.user][:8], insight=insight)
        return lm.tokenizer.decode(lm.prompt_ids(prompt)) + "yes"

    chosen = data.queries[:PROMPTS]
    positive = [chat(task.prompts.personal, "short posts", query) for query in chosen]
    negative = [chat(task.prompts.neutral, "be plain", query) for query in chosen]
    return positive, negative


def our_directions(lm, texts):
    prompts = [text.removesuffix("yes") for side in texts for text in side]
    # The texts hold the template already.
    states = torch.stack([*_represented(lm, prompts)])
    positive, negative = states.split(PROMPTS)
    return [top_direction((positive - negative)[:, layer]) for layer in range(lm.num_layers)]


def _represented(lm, prompts):
    encode = lm.prompt_ids
    lm.prompt_ids = lambda text: lm.tokenizer(text, add_special_tokens=False)["input_ids"]
    try:
        return lm.represent(prompts, ["yes"] * len(prompts), "last")
    finally:
        lm.prompt_ids = encode


def generated(lm, prompts, generate):
    lm.tokenizer.padding_side = "left"
    inputs = lm.tokenizer(prompts, padding=True, return_tensors="pt", add_special_tokens=False)
    with torch.no_grad():
        generate(**inputs, max_new_tokens=NEW_TOKENS, min_new_tokens=NEW_TOKENS, do_sample=False, pad_token_id=lm._pad)


def our_steering(lm, texts, offset):
    prompts = [text.removesuffix("yes") for text in texts]
    edits = Edits((LAYER,), (0,) * len(prompts), offset=offset[None, None])
    encode, lm.prompt_ids = lm.prompt_ids, lambda text: lm.tokenizer(text, add_special_tokens=False)["input_ids"]
    ends, lm.model.generation_config.eos_token_id = lm.model.generation_config.eos_token_id, None
    try:
        lm.generate(prompts, NEW_TOKENS, edits)
    finally:
        lm.prompt_ids, lm.model.generation_config.eos_token_id = encode, ends


def test_directions_and_steering_beside_repeng(lm, texts):
    np.float_ = np.float64  # repeng 0.4.0 names a type that numpy 2 dropped
    repeng = pytest.importorskip("repeng", reason="repeng is not installed")
    entries = [repeng.DatasetEntry(one, other) for one, other in zip(*texts, strict=True)]
    train = repeng.ControlVector.train
    theirs, vector = seconds(lambda: train(lm.model, lm.tokenizer, entries, batch_size=BATCH))
    ours, _ = seconds(lambda: our_directions(lm, texts))
    report("repeng, directions of all layers", theirs, ours)
    prompts = [text.removesuffix("yes") for text in texts[0]]
    control = repeng.ControlModel(lm.model, [LAYER])
    control.set_control(vector, 0.1)
    theirs, _ = seconds(lambda: generated(lm, prompts, control.generate))
    control.unwrap()
    ours, _ = seconds(lambda: our_steering(lm, texts[0], 0.1 * torch.tensor(vector.directions[LAYER])))
    report(f"repeng, {NEW_TOKENS} tokens steered", theirs, ours)


def test_directions_and_steering_beside_steering_vectors(lm, texts):
    steering = pytest.importorskip("steering_vectors", reason="steering-vectors is not installed")
    pairs = list(zip(*texts, strict=True))
    settings = {"layer_type": "mlp", "batch_size": BATCH, "aggregator": steering.pca_aggregator()}
    theirs, vector = seconds(lambda: steering.train_steering_vector(lm.model, lm.tokenizer, pairs, **settings))
    ours, _ = seconds(lambda: our_directions(lm, texts))
    report("steering-vectors, directions of all layers", theirs, ours)
    offset = vector.layer_activations[LAYER]
    vector.layer_activations = {LAYER: offset}
    prompts = [text.removesuffix("yes") for text in texts[0]]
    with vector.apply(lm.model, multiplier=0.1):
        theirs, _ = seconds(lambda: generated(lm, prompts, lm.model.generate))
    ours, _ = seconds(lambda: our_steering(lm, texts[0], 0.1 * offset))
    report(f"steering-vectors, {NEW_TOKENS} tokens steered", theirs, ours)
