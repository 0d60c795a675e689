"""Tiny random models of every architecture, and tokenizers made from a few strings."""

import string
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    GPTNeoConfig,
    GPTNeoForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    Phi3Config,
    Phi3ForCausalLM,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2ForCausalLM,
    T5Config,
    T5ForConditionalGeneration,
)

TEXTS = [
    "Which tag does this movie relate to? Your answer: comedy",
    "A lonely detective follows a trail of letters across the city. Your answer: thriller or classic",
    "just had the best coffee in town, again! Your answer: dystopia, fantasy, romance",
]
SPECIAL = {"pad_token": "<pad>", "eos_token": "</s>", "bos_token": "<s>"}
CHAT_SPECIAL = ["<|im_start|>", "<|im_end|>"]
CAUSAL = ("llama", "mistral", "qwen2", "gpt2")
ARCHITECTURES = (*CAUSAL, "t5")


def byte_level_tokenizer(**arguments: object) -> PreTrainedTokenizerFast:
    """A BPE tokenizer of the GPT-2 kind, trained on a few strings."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=340,
        special_tokens=[*SPECIAL.values(), *CHAT_SPECIAL],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(TEXTS, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, **{**SPECIAL, "extra_special_tokens": CHAT_SPECIAL, **arguments}
    )


def unigram_tokenizer() -> PreTrainedTokenizerFast:
    """A tokenizer of the T5 kind: special tokens are pieces of the vocabulary, the end of sequence is appended."""
    special = ["<pad>", "</s>", "<unk>"]
    characters = sorted({*"".join(TEXTS), *string.printable.strip(), "▁"} - {" "})
    words = sorted({f"▁{word}" for text in TEXTS for word in text.split()})
    scores = [*((t, 0.0) for t in special), *((c, -9.0) for c in characters), *((w, -4.0) for w in words)]
    tokenizer = Tokenizer(models.Unigram(scores, unk_id=2))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", eos_token="</s>", unk_token="<unk>", model_max_length=256
    )


def tiny_model(kind: str, vocabulary: int) -> PreTrainedModel:
    """A random model with 3 layers of width 32; initialised widely, so that different prompts get different answers."""
    torch.manual_seed(0)
    shape = {"vocab_size": vocabulary, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 3}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2}
    ends = {"bos_token_id": 2, "eos_token_id": 1, "pad_token_id": 0, "initializer_range": 0.3}
    rope = {**shape, **heads, **ends, "max_position_embeddings": 256}
    gpt2 = {"vocab_size": vocabulary, "n_embd": 32, "n_layer": 3, "n_head": 4, "n_positions": 256, **ends}
    neo = {"vocab_size": vocabulary, "hidden_size": 32, "num_layers": 3, "num_heads": 4, "window_size": 16, **ends}
    neo |= {"attention_types": [[["global", "local", "local"], 1]], "max_position_embeddings": 256}
    factors = {"short_factor": [1.0] * 4, "long_factor": [float(n + 2) for n in range(4)]}
    longrope = {"rope_type": "longrope", "rope_theta": 10_000.0, **factors}
    t5 = {"d_model": 32, "d_kv": 8, "d_ff": 48, "num_layers": 3, "num_heads": 4}
    t5_ids = {"vocab_size": vocabulary, "decoder_start_token_id": 0, "eos_token_id": 1, "initializer_factor": 1.2}
    recipes: dict[str, tuple[type[PreTrainedModel], PretrainedConfig]] = {
        "llama": (LlamaForCausalLM, LlamaConfig(**rope)),
        "mistral": (MistralForCausalLM, MistralConfig(**rope, sliding_window=None)),
        "qwen2": (Qwen2ForCausalLM, Qwen2Config(**rope)),
        "gpt2": (GPT2LMHeadModel, GPT2Config(**gpt2)),
        "gpt_neo": (GPTNeoForCausalLM, GPTNeoConfig(**neo)),
        "phi3": (Phi3ForCausalLM, Phi3Config(**rope, rope_parameters=longrope, original_max_position_embeddings=64)),
        "t5": (T5ForConditionalGeneration, T5Config(**t5, **t5_ids, feed_forward_proj="gated-gelu")),
    }
    model_class, config = recipes[kind]
    return model_class(config).eval()


def write_model(kind: str, folder: Path) -> Path:
    """A model and its tokenizer on disk, as a user would have them."""
    tokenizer = unigram_tokenizer() if kind == "t5" else byte_level_tokenizer()
    tiny_model(kind, len(tokenizer)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
