"""The installed harness lies below `harness`: a project with its own `tasks` or `methods` meets none of it."""

import compileall
import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path, PurePosixPath
from zipfile import ZipFile

import pytest

from tests.tasks.made import write

pytestmark = pytest.mark.thorough

ROOT = Path(__file__).parents[1]
PLACES = {
    "harness": "harness",
    "methods": "harness/methods",
    "tasks": "harness/tasks",
    "leaderboards": "harness/leaderboards",
}
OWN_RESULTS = ("leaderboards/records/", "leaderboards/ci-data/", "leaderboards/ci.json")  # of this repository, not used
SECONDS = 240  # for any one command; only one that hangs takes so long
RUNS = """from harness import compare
assert compare(methods="instruct", tasks="lamp3", budget="5s", users=2, out="out").rows[0].status == "complete"
"""
FINDS = """from harness.registry import METHODS, TASKS
assert METHODS.get("instruct").__name__ == "Instruct" and TASKS.get("lamp3").name == "lamp3"
"""
METHOD = "harness.methods.instruct"
PROJECTS = {  # what a project may have at its root, how it imports it, and what the harness must do beside it
    "packages": (
        ("tasks/__init__.py", "methods/__init__.py", "leaderboards/__init__.py"),
        "from tasks import mine\nimport methods, leaderboards",
        RUNS,
    ),
    "a folder without __init__": (("tasks/prepare.py", "methods/__init__.py"), "from tasks.prepare import mine", FINDS),
    "a module": (("tasks.py", "methods.py"), "from tasks import mine\nimport methods", FINDS),
}
LM_EVAL_AND_EVALUATE = """
import evaluate
from lm_eval.tasks import TaskManager
from harness import tasks

folder = tasks.__path__[0]
print(sorted(TaskManager(include_path=folder, include_defaults=False).all_tasks))
lamp2 = evaluate.load(f"{folder}/evaluate_modules/lamp", "lamp2")
print(lamp2.compute(predictions=["Comedy.", "news"], references=["comedy", "action"])["accuracy"])
"""


def run(*command: object, cwd: Path, pythonpath: str | None = None) -> str:
    """What a command prints; it must succeed, and knows nothing of how these tests were started."""
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    environment |= {"HF_HUB_OFFLINE": "1", "HF_HOME": str(cwd / "huggingface"), "OMP_NUM_THREADS": "1"}
    if pythonpath is not None:
        environment["PYTHONPATH"] = pythonpath
    arguments = [str(part) for part in command]
    result = subprocess.run(arguments, cwd=cwd, env=environment, capture_output=True, text=True, timeout=SECONDS)
    assert result.returncode == 0, f"{arguments}:\n{result.stdout}\n{result.stderr}"
    return result.stdout


def pip(*arguments: object, cwd: Path) -> None:
    options = ("--quiet", "--disable-pip-version-check", "--no-deps", "--no-index", "--no-build-isolation")
    run(sys.executable, "-m", "pip", *arguments, *options, cwd=cwd)


def contents(wheel: Path) -> set[str]:
    return {name for name in ZipFile(wheel).namelist() if not PurePosixPath(name).parts[0].endswith(".dist-info")}


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of what is installed from, as building leaves files behind; it has been run, which leaves bytecode."""
    folder = tmp_path_factory.mktemp("checkout")
    for name in PLACES:
        shutil.copytree(ROOT / name, folder / name)
        compileall.compile_dir(folder / name, quiet=1)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder)
    return folder


@pytest.fixture(scope="module")
def wheel(checkout: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("wheel")
    pip("wheel", checkout, "--wheel-dir", out, cwd=out)
    (found,) = out.iterdir()
    return found


def build(what: str, source: Path, out: Path) -> Path:
    """What a hook of the build backend makes of a source tree."""
    out.mkdir()
    code = "import sys; from setuptools import build_meta; getattr(build_meta, sys.argv[1])(sys.argv[2])"
    run(sys.executable, "-c", code, f"build_{what}", out, cwd=source)
    (found,) = out.iterdir()
    return found


def environment_with(folder: Path, wheel: Path) -> Path:
    """A fresh environment's folder of programs; the dependencies are those of this environment."""
    run(sys.executable, "-m", "venv", "--without-pip", folder, cwd=folder)
    pip("--python", folder / "bin" / "python", "install", wheel, cwd=folder)
    (site_packages,) = folder.glob("lib/*/site-packages")
    # A folder named in a .pth file is searched, but its own .pth files, such as an editable install's, are not read.
    folders = [path for path in sys.path if Path(path).name in ("site-packages", "dist-packages")]
    (site_packages / "dependencies.pth").write_text("\n".join(folders))
    return folder / "bin"


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return environment_with(tmp_path_factory.mktemp("installed"), wheel)


@pytest.fixture(scope="module")
def editable(checkout: Path, wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As `pip install --editable` makes it. `wheel` comes first: it would take in what this leaves in the checkout."""
    folder = tmp_path_factory.mktemp("editable")
    return environment_with(folder, build("editable", checkout, folder / "wheel"))


@pytest.fixture(params=PROJECTS)
def project(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A user's project, with LaMP data in `x` and a script that imports its own modules and the harness."""
    files, imports, works = PROJECTS[request.param]
    for name in files:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("def mine():\n    return 'mine'\n")
    write(tmp_path / "x" / "LaMP_3", task="lamp3")
    (tmp_path / "own.py").write_text(f"{imports}\nprint(mine())\n")
    (tmp_path / "both.py").write_text(f"import harness\n{imports}\n{works}print('both', mine())\n")
    return tmp_path


def test_the_wheel_holds_every_file_of_the_tree_and_no_other(wheel: Path) -> None:
    expected = {
        f"{place}/{path.relative_to(ROOT / folder).as_posix()}"
        for folder, place in PLACES.items()
        for path in (ROOT / folder).rglob("*")
        if path.is_file()
        and "__pycache__" not in path.parts
        and not path.relative_to(ROOT).as_posix().startswith(OWN_RESULTS)
    }
    assert expected - contents(wheel) == set(), "missing; is the package in pyproject.toml's list?"
    assert contents(wheel) - expected == set()


def test_nothing_but_harness_is_installed_at_the_top(wheel: Path) -> None:
    top = {PurePosixPath(name).parts[0] for name in ZipFile(wheel).namelist()}
    assert {name for name in top if not name.endswith(".dist-info")} == {"harness"}


def test_a_source_distribution_builds_the_same_wheel(checkout: Path, wheel: Path, tmp_path: Path) -> None:
    with tarfile.open(build("sdist", checkout, tmp_path / "sdist")) as archive:
        archive.extractall(tmp_path / "unpacked", filter="data")
    (source,) = (tmp_path / "unpacked").iterdir()
    pip("wheel", source, "--wheel-dir", tmp_path, cwd=tmp_path)
    (second,) = tmp_path.glob("*.whl")
    assert contents(second) == contents(wheel)


def test_a_project_and_the_installed_harness_do_not_meet(installed: Path, project: Path) -> None:
    assert run(installed / "python", "own.py", cwd=project) == "mine\n"
    assert run(installed / "python", "both.py", cwd=project).splitlines()[-1] == "both mine"
    assert "paper-mistral" in run(installed / "harness", "presets", cwd=project, pythonpath=".")
    assert "lamp3" in run(installed / "harness", "data", "check", "x", cwd=project, pythonpath=".")


@pytest.mark.parametrize("project", ["packages"], indirect=True)
@pytest.mark.parametrize("environment", ["installed", "editable"])
def test_the_command_works_in_a_project_however_it_is_installed(
    environment: str, request: pytest.FixtureRequest, project: Path
) -> None:
    programs = request.getfixturevalue(environment)
    assert run(programs / "python", "own.py", cwd=project) == "mine\n"
    assert "paper-mistral" in run(programs / "harness", "presets", cwd=project)
    assert "lamp3" in run(programs / "harness", "data", "check", "x", cwd=project)


@pytest.mark.parametrize("project", ["packages"], indirect=True)
def test_lm_eval_and_evaluate_read_the_installed_folder(installed: Path, project: Path) -> None:
    (project / "outside.py").write_text(LM_EVAL_AND_EVALUATE)
    tasks, accuracy = run(installed / "python", "outside.py", cwd=project).splitlines()[-2:]
    assert tasks == str([f"lamp{number}" for number in range(1, 8)])
    assert float(accuracy) == 0.5


@pytest.mark.parametrize("environment", ["installed", "editable"])
def test_a_checkout_in_the_current_folder_brings_its_own_plugins(
    environment: str, request: pytest.FixtureRequest, checkout: Path, tmp_path: Path
) -> None:
    """Somebody installs and stays where they cloned, or has a second clone."""
    python = request.getfixturevalue(environment) / "python"
    second = tmp_path / "second"
    shutil.copytree(checkout, second)
    found = "import harness, harness.tasks.lamp; print(harness.__file__, harness.tasks.lamp.__file__)"
    assert run(python, "-c", found, cwd=second).split() == [
        str(second / "harness" / "__init__.py"),
        str(second / "tasks" / "lamp.py"),
    ]
    hashed = f"from harness.results.source_closure import plugin_closure as c; print(c({METHOD!r}).modules[{METHOD!r}])"
    before = run(python, "-c", hashed, cwd=second)
    with (second / "methods" / "instruct.py").open("a") as source:
        source.write("CHANGED = True\n")
    assert run(python, "-c", hashed, cwd=second) != before
