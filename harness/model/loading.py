"""Models and tokenizers from a folder or the Hugging Face hub: safetensors only, no remote code, clear refusals."""

import importlib.util
import json
import re
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar

import torch
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForSeq2SeqLM,
    AutoTokenizer,
    BitsAndBytesConfig,
    GenerationConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from harness.api import HarnessError, home

Quantization = Literal["nf4"]
T = TypeVar("T")

_NO_LIMIT = 10**9  # tokenizers without a limit state a huge number
_PLAIN_WORDS = "The answer to a question"
_HUB_NAME = re.compile(r"[\w-][\w.-]*(/[\w.-]+)?")
_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def choose_device(device: str) -> torch.device:
    """The device meant by "auto", "cpu", "cuda", "cuda:1"... Raises HarnessError if there is no such device here."""
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        chosen = torch.device(device)
        torch.zeros(1, device=chosen).item()  # which the device "meta" cannot give
    except (RuntimeError, AssertionError) as error:
        raise HarnessError(
            f"Device {device!r} cannot be used: {first_line(error)} Use --device cpu, or auto to take a GPU if one is "
            "there and torch was built for it."
        ) from error
    return chosen


def computes_bfloat16(device: torch.device) -> bool:
    """Whether the device does so itself: CUDA emulates it on GPUs before Ampere, many times slower."""
    return device.type != "cuda" or torch.cuda.is_bf16_supported(including_emulation=False)


def choose_dtype(dtype: str, device: torch.device) -> torch.dtype:
    """The dtype meant by "auto" or by its name; half precision on a CPU warns.

    "auto" is bfloat16, but float32 on a CPU and on GPUs that only emulate bfloat16.
    """
    if dtype == "auto":
        return torch.float32 if device.type == "cpu" or not computes_bfloat16(device) else torch.bfloat16
    if dtype not in _DTYPES:
        raise HarnessError(f"Unknown dtype {dtype!r}. Use auto, {', '.join(_DTYPES)}.")
    if device.type == "cpu" and _DTYPES[dtype].itemsize == 2:
        warnings.warn(f"{dtype} is many times slower than float32 on most CPUs", stacklevel=3)
    return _DTYPES[dtype]


def load_model(
    name_or_path: str, device: torch.device, dtype: torch.dtype, quantization: Quantization | None
) -> PreTrainedModel:
    """A pretrained model in eval mode whose `generate` is greedy. Raises HarnessError if it cannot be had."""
    source = _source(name_or_path)
    config = _fetch(lambda: AutoConfig.from_pretrained(source, trust_remote_code=False), source, "configuration")
    auto: Any = AutoModelForSeq2SeqLM if config.is_encoder_decoder else AutoModelForCausalLM
    arguments = {} if quantization is None else {"quantization_config": _nf4(dtype)}
    model, found = _fetch(
        lambda: auto.from_pretrained(
            source,
            dtype=dtype,
            device_map=device,
            use_safetensors=True,
            trust_remote_code=False,
            output_loading_info=True,
            **arguments,
        ),
        source,
        "safetensors weights",
    )
    if found["missing_keys"]:
        missing = ", ".join(sorted(found["missing_keys"])[:3])
        raise HarnessError(
            f"The checkpoint {source} lacks weights of {type(model).__name__}: {missing} ({len(found['missing_keys'])} "
            "in all). They would be random. Save the whole model, language modelling head included."
        )
    model.generation_config = _greedy(model)
    ends = model.generation_config.eos_token_id
    if not all(end is None or isinstance(end, int) for end in (ends if isinstance(ends, list) else [ends])):
        raise HarnessError(
            f"The generation_config of {source} has the eos_token_id {ends!r}. "
            "Name tokens by their ids, and save again."
        )
    if config.is_encoder_decoder and model.generation_config.decoder_start_token_id is None:
        raise HarnessError(
            f"Neither the configuration of {source} nor its generation_config says with which token the decoder "
            "starts. Set decoder_start_token_id (T5: the padding token's id) and save again."
        )
    return model


def load_tokenizer(name_or_path: str) -> PreTrainedTokenizerBase:
    """The tokenizer saved beside a model, padding on the left, with its end of sequence for padding if it has none."""
    source = _source(name_or_path)
    tokenizer = _fetch(lambda: AutoTokenizer.from_pretrained(source, trust_remote_code=False), source, "tokenizer")
    read = _fetch(lambda: tokenizer(_PLAIN_WORDS, add_special_tokens=False)["input_ids"], source, "tokenizer")
    if not set(read) - {tokenizer.unk_token_id}:
        raise HarnessError(
            f"The tokenizer of {source} cannot read plain words: its vocabulary is not there. Save it beside the model "
            "with tokenizer.save_pretrained(folder)."
        )
    if tokenizer.eos_token_id is None:
        raise HarnessError(
            f"The tokenizer of {source} has no eos_token, so no answer would end. Set it and save again."
        )
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    tokenizer.padding_side = "left"
    return tokenizer


def max_length(name: str, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> int:
    """The context in tokens, the least that configuration and tokenizer state. Raises HarnessError if neither does."""
    config = model.config.get_text_config()
    stated = [getattr(config, key, None) for key in ("max_position_embeddings", "n_positions")]
    stated.append(tokenizer.model_max_length)
    lengths = [length for length in stated if isinstance(length, int | float) and 0 < length < _NO_LIMIT]
    if not lengths:
        raise HarnessError(
            f"Neither the configuration of {name} (max_position_embeddings, n_positions) nor its tokenizer "
            "(model_max_length) says how many tokens it takes. Set one of them and save again."
        )
    return int(min(lengths))


def check_tokens(
    name: str, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, prompt_ids: Sequence[int]
) -> None:
    """Raise HarnessError if a token that may reach the model has no embedding there; a GPU would not survive it.

    `prompt_ids` are those of any prompt, with what surrounds its text.
    """
    added = tokenizer.added_tokens_decoder
    named = {
        "padding": tokenizer.pad_token_id,
        "end of sequence": tokenizer.eos_token_id,
        "prompt's surroundings": max(prompt_ids, default=0),
        "vocabulary": max((token for token in tokenizer.get_vocab().values() if token not in added), default=0),
    }
    weight = model.get_input_embeddings().weight
    assert isinstance(weight, torch.Tensor)
    rows = weight.shape[0]
    outside = {what: token for what, token in named.items() if token is not None and token >= rows}
    for what, token in outside.items():
        raise HarnessError(
            f"The tokenizer of {name} does not fit the model: its {what} ({tokenizer.convert_ids_to_tokens(token)!r}) "
            f"has the id {token}, but there are {rows} embeddings, 0 to {rows - 1}. Save the tokenizer that the model "
            "was trained with, choose another token (the end of sequence may serve for padding), or add embeddings "
            "with model.resize_token_embeddings(len(tokenizer)), train them, and save both again."
        )


def _source(name_or_path: str) -> str:
    path = home(name_or_path)
    if path.exists():
        _refuse_adapter(path)
        if not (path / "config.json").is_file():
            raise HarnessError(f"{path} is no model folder: it holds no config.json. Name what save_pretrained wrote.")
        _refuse_pickle(path)
        return str(path)
    if not _HUB_NAME.fullmatch(name_or_path):
        raise HarnessError(
            f"There is no model folder {path}. Give an existing folder, or a hub name such as organisation/model."
        )
    return name_or_path


def _refuse_adapter(folder: Path) -> None:
    file = folder / "adapter_config.json"
    if not file.is_file():
        return
    try:
        base = json.loads(file.read_text(encoding="utf-8"))["base_model_name_or_path"]
    except (OSError, ValueError, KeyError, TypeError):
        base = None
    raise HarnessError(
        f"{folder} is a PEFT adapter of {base or 'a base model that it does not name'}, not a model of its own. Name "
        "the base model, or merge the two once and name the result: "
        "AutoPeftModelForCausalLM.from_pretrained(folder).merge_and_unload().save_pretrained(new_folder) (encoder-"
        "decoders: AutoPeftModelForSeq2SeqLM); save the tokenizer there too."
    )


def _refuse_pickle(folder: Path) -> None:
    names = sorted(file.name for file in folder.iterdir())
    pickles = [name for name in names if name.endswith((".bin", ".pt", ".pth", ".ckpt"))]
    if pickles and not any(name.endswith(".safetensors") for name in names):
        raise HarnessError(
            f"{folder} holds its weights as pickle only ({pickles[0]}), and loading a pickle can run any code, so only "
            "safetensors are loaded. If you trust the file, convert it once: "
            "AutoModelForCausalLM.from_pretrained(folder).save_pretrained(new_folder); save the tokenizer there too."
        )


def _fetch(get: Callable[[], T], source: str, what: str) -> T:
    try:
        return get()
    except torch.OutOfMemoryError as error:  # a RuntimeError, too
        raise HarnessError(
            f"{source!r} does not fit what is free of the device's memory. See nvidia-smi for what else is there, "
            f"choose --dtype bfloat16 or --quantization nf4, or another --device. Reason: {first_line(error)}"
        ) from error
    except Exception as error:  # whatever the files are: a value of another type than the library expects is anything
        hint = (
            "Check that the folder is complete, and its files are as they were saved."
            if Path(source).exists()
            else "It is no folder here; if it is meant to be a hub name, check its spelling and the connection "
            "(HF_HUB_OFFLINE=1 allows only what was downloaded before), and that it is a model, not an adapter of one."
        )
        raise HarnessError(f"No {what} could be loaded for {source!r}. {hint} Reason: {first_line(error)}") from error


def first_line(error: Exception) -> str:
    """What was raised, on one line: its first, and the second where the first only introduces it."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    text = " ".join(lines[: 1 + lines[0].endswith(":")]) if lines else ""
    return text if text and not isinstance(error, KeyError) else f"{type(error).__name__} {text}".rstrip()


def _nf4(dtype: torch.dtype) -> BitsAndBytesConfig:
    if importlib.util.find_spec("bitsandbytes") is None:
        raise HarnessError("nf4 quantization needs a package that is not installed: pip install bitsandbytes")
    return BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=dtype, bnb_4bit_use_double_quant=True
    )


def _greedy(model: PreTrainedModel) -> GenerationConfig:
    """A checkpoint may come with sampling or a repetition penalty; keep its token ids only."""
    own = model.generation_config
    return GenerationConfig(
        bos_token_id=own.bos_token_id,
        eos_token_id=own.eos_token_id,
        pad_token_id=own.pad_token_id,
        decoder_start_token_id=own.decoder_start_token_id,
        do_sample=False,
        num_beams=1,
        use_cache=True,
    )
