"""What the doctor finds: each line with what to do where something does not fit."""

from pathlib import Path

import pytest
import requests
from huggingface_hub import constants

from harness.results import examination
from harness.results.examination import Finding, machine, models, packages


def advice(findings: list[Finding], what: str) -> str:
    [finding] = [finding for finding in findings if finding.what == what]
    return finding.advice


def test_a_machine_with_room_needs_nothing() -> None:
    found = list(machine(load=0.1, threads=1, memory=8.0, disk=10.0))
    assert [finding.what for finding in found if finding.advice] == []
    assert all(finding.found for finding in found)


@pytest.mark.parametrize(
    ("changes", "what"),
    [({"load": 1000.0, "threads": 2}, "load average"), ({"memory": 1.0}, "memory"), ({"disk": 0.5}, "disk")],
)
def test_what_does_not_fit_is_said_on_its_line_alone(changes: dict[str, float], what: str) -> None:
    found = list(machine(**{"load": 0.1, "threads": 1, "memory": 8.0, "disk": 10.0, **changes}))
    assert [finding.what for finding in found if finding.advice] == [what]


def test_versions_are_held_against_the_tested_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    pins = tmp_path / "constraints.txt"
    pins.write_text("# tested\nPyYAML==0.0.1\n")
    monkeypatch.setattr(examination, "_PINS", pins)
    found = list(packages())
    assert {"torch", "transformers", "pyyaml"} <= {finding.what for finding in found}
    assert advice(found, "pyyaml") == "tested with 0.0.1"
    assert "gguf" not in [finding.what for finding in found]  # of an extra


def test_an_unfetched_model_says_its_command(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path))
    found = list(models())
    assert advice(found, "smollm2-135m") == "harness models fetch smollm2-135m"
    assert advice(found, "tiny-llama") == ""


def test_the_hub_is_asked_only_on_request_and_never_offline(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def unreachable(url: str, timeout: float) -> None:
        asked.append(url)
        raise requests.ConnectionError

    monkeypatch.setattr(requests, "head", unreachable)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    assert "not asked" in list(models())[-1].found
    assert asked == []
    assert list(models(ask=True))[-1].advice
    assert asked == [constants.ENDPOINT]
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert "HF_HUB_OFFLINE" in list(models(ask=True))[-1].found
    assert len(asked) == 1
