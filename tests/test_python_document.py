"""The code in docs/python.md runs as it stands."""

import os
import re
import subprocess
import sys
from pathlib import Path

DOCUMENT = Path(__file__).parents[1] / "docs" / "python.md"


def test_the_code_of_the_document_runs_and_a_comparison_keeps_quiet(tmp_path):
    blocks = re.findall(r"^```python\n(.*?)^```", DOCUMENT.read_text(encoding="utf-8"), flags=re.M | re.S)
    assert len(blocks) == 3
    script = tmp_path / "document.py"
    blocks.insert(1, "import sys; print('compared', file=sys.stderr)\n")
    script.write_text("\n".join(blocks), encoding="utf-8")
    environment = {name: value for name, value in os.environ.items() if name != "TQDM_DISABLE"}
    done = subprocess.run(
        [sys.executable, script], cwd=tmp_path, capture_output=True, text=True, timeout=240, env=environment
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "runs" / "python" / "comparison.md").exists()
    said, _, later = done.stderr.partition("compared\n")
    assert said == ""
    assert "Loading weights" in later, "libraries are as quiet as in the comparison"
