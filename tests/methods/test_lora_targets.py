"""What LoRA adapts where nothing was named, on architectures that peft knows and on others."""

import pytest
import torch
from transformers import MixtralConfig, MixtralForCausalLM, Olmo2Config, Olmo2ForCausalLM, Phi3Config, Phi3ForCausalLM

from harness.conformance.toys import toy_queries
from harness.methods.fine_tuning.weights import LoraSettings, Trained
from harness.model.lm import load
from tests.methods.trained import aloe, dpo

MODELS = {
    "phi3": (Phi3Config, Phi3ForCausalLM, {}),
    "olmo2": (Olmo2Config, Olmo2ForCausalLM, {}),
    "mixtral": (MixtralConfig, MixtralForCausalLM, {"num_local_experts": 2}),
}


@pytest.mark.parametrize("method", [aloe(training="lora", lora=LoraSettings(r=2, dropout=0.0)), dpo()])
@pytest.mark.parametrize("kind", MODELS)
def test_every_architecture_has_layers_to_adapt(make_context, toy_source, tmp_path, kind, method):
    config, model, more = MODELS[kind]
    shape = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "max_position_embeddings": 512}
    ends = {"bos_token_id": 2, "eos_token_id": 1, "pad_token_id": 0, "initializer_range": 0.3}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2}
    torch.manual_seed(0)
    model(config(vocab_size=len(toy_source.tokenizer), **shape, **ends, **heads, **more)).save_pretrained(
        tmp_path / "m"
    )
    toy_source.tokenizer.save_pretrained(tmp_path / "m")
    context = make_context(lm=load(str(tmp_path / "m")))
    fitted = method.fit(context)
    assert isinstance(fitted, Trained)
    assert any(("v_proj" if kind == "mixtral" else "o_proj") in name for name in fitted.tensors)
    assert not any("lm_head" in name or "embed" in name for name in fitted.tensors)
    asked = load(str(tmp_path / "m"))
    prompts = [fitted.prompt(query, ()) for query in toy_queries(context.users)]
    plain = asked.log_likelihood(prompts, ["comedy"] * len(prompts))
    with fitted.patched_model(asked):
        assert not torch.equal(asked.log_likelihood(prompts, ["comedy"] * len(prompts)), plain)
    assert torch.equal(asked.log_likelihood(prompts, ["comedy"] * len(prompts)), plain)


def test_a_known_architecture_keeps_pefts_choice_and_named_modules_are_taken(toy_source):
    assert LoraSettings().peft(toy_source.model).target_modules == {"q_proj", "v_proj"}
    assert LoraSettings(target_modules=("o_proj",)).peft(toy_source.model).target_modules == {"o_proj"}
