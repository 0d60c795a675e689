"""What an offline W&B run wrote, read back without W&B's own reader, which it no longer has."""

import struct
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any


def read(path: Path) -> Iterator[Any]:
    """Records of a `.wandb` file: a 7-byte header, then a LevelDB log in blocks of 32 KiB."""
    from wandb.proto import wandb_internal_pb2

    data, position, buffer = path.read_bytes(), 7, b""
    if len(data) < position:
        return  # just begun
    assert data.startswith(b":W&B")
    while position + 7 <= len(data):
        left = 32768 - position % 32768
        if left < 7:
            position += left
            continue
        _, size, kind = struct.unpack("<IHB", data[position : position + 7])
        if kind == 0 or position + 7 + size > len(data):
            return
        buffer += data[position + 7 : position + 7 + size]
        position += 7 + size
        if kind in (1, 4):
            record = wandb_internal_pb2.Record()
            record.ParseFromString(buffer)
            buffer = b""
            yield record


def wait_for_exit(out: Path) -> None:
    """W&B's own process writes the file, and may still be at it when the run is finished for us."""
    deadline = time.monotonic() + 200
    while not records(out, "exit"):
        assert time.monotonic() < deadline
        time.sleep(0.1)


def records(out: Path, kind: str) -> list[Any]:
    """What there is of a kind in OUT's only run; nothing while its file is not there yet."""
    paths = list(out.glob("wandb/offline-run-*/run-*.wandb"))
    assert len(paths) <= 1
    return [
        getattr(record, kind) for path in paths for record in read(path) if record.WhichOneof("record_type") == kind
    ]
