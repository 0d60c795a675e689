"""Compare LLM personalization methods under one wall-clock budget.

from harness import compare

comparison = compare(methods="instruct,chameleon", tasks="lamp3", budget="60s")
print(comparison.to_pandas())
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from harness.library import compare

__all__ = ["compare"]

# trl's trainers report each training to the Hugging Face hub, which reads this when it is first imported.
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")

# Installed, the plug-ins lie below this folder; in a checkout, beside it. A checkout that Python finds first, its root
# being the current folder, must not run with another installation's plug-ins, or with none.
_ROOT = Path(__file__).parents[1]
if (_ROOT / "pyproject.toml").exists():
    __path__.append(str(_ROOT))


def __getattr__(name: str) -> Any:
    # `harness --help` must not wait for torch, so the library is imported when it is first used.
    if name == "compare":
        from harness.library import compare

        return compare
    raise AttributeError(f"module 'harness' has no attribute '{name}'")
