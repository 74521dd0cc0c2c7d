"""What is wrong on this machine, and how to mend it. Looks; starts nothing and changes nothing."""

from __future__ import annotations

import os
import platform
import shutil
import sys
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

import psutil
from pydantic import BaseModel

from gb_ray import machine
from gb_ray.section import UserError

PACKAGES = ("torch", "ray", "deepspeed", "transformers", "mlflow", "pyarrow")
SERVE_PORT = 8000
DISK_GB = 5
MEMORY_GB = 4


class Finding(BaseModel):
    """One thing looked at. `mend` says what to do when it is not `ok`."""

    what: str
    ok: bool
    found: str
    mend: str = ""


def examine(home: Path, tracking: str | None) -> list[Finding]:
    """Every finding, in the order in which a run would stumble over them."""
    looks: list[Callable[[], Finding]] = [
        _python,
        *(lambda name=name: _package(name) for name in PACKAGES),
        _compiler,
        _operator,
        _processor,
        _gpus,
        _memory,
        lambda: _disk(home),
        _ray,
        _port,
        lambda: _tracking(home, tracking),
    ]
    return [look() for look in looks]


def _python() -> Finding:
    ok = sys.version_info >= (3, 11)
    return Finding(what="python", ok=ok, found=platform.python_version(), mend="Install Python 3.11 or newer")


def _package(name: str) -> Finding:
    try:
        return Finding(what=name, ok=True, found=metadata.version(name))
    except metadata.PackageNotFoundError:
        return Finding(what=name, ok=False, found="not installed", mend="Run: pip install -c constraints.txt -e .")


def _compiler() -> Finding:
    found = shutil.which(os.environ.get("CXX", "g++"))
    mend = "DeepSpeed compiles its operators when one is needed: install g++ (Debian: apt-get install g++)"
    return Finding(what="compiler", ok=found is not None, found=found or "no g++", mend=mend)


def _operator() -> Finding:
    root = Path(os.environ.get("TORCH_EXTENSIONS_DIR", "~/.cache/torch_extensions")).expanduser()
    built = sorted(path.name for path in root.rglob("deepspeed_*.so"))
    found = ", ".join(built) if built else "none compiled: no stage that is offered here needs one"
    return Finding(what="DeepSpeed operator", ok=True, found=found)


def _processor() -> Finding:
    precision = "bf16 in hardware" if machine.has_bf16() else "no bf16 in hardware: runs train in fp32"
    return Finding(what="processor", ok=True, found=f"{os.cpu_count()} cores, {precision}")


def _gpus() -> Finding:
    import torch

    if not torch.cuda.is_available():
        hidden = Path("/proc/driver/nvidia").exists()
        found = "a driver is loaded, but this torch sees no GPU" if hidden else "none"
        return Finding(what="GPUs", ok=not hidden, found=found, mend="Install a torch built for CUDA")
    names = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    return Finding(what="GPUs", ok=True, found=", ".join(names))


def _memory() -> Finding:
    free = psutil.virtual_memory().available / 1e9
    mend = f"Ray, two workers and a replica take about {MEMORY_GB} GB: close something"
    return Finding(what="memory", ok=free >= MEMORY_GB, found=f"{free:.1f} GB available", mend=mend)


def _disk(home: Path) -> Finding:
    free = shutil.disk_usage(home).free / 1e9
    mend = f"Free some, or pass --home on another disk; a run of a small model takes under {DISK_GB} GB"
    return Finding(what="disk", ok=free >= DISK_GB, found=f"{free:.0f} GB free under {home}", mend=mend)


def _ray() -> Finding:
    running = machine.ray_here()
    if running is None:
        return Finding(what="Ray", ok=True, found="none runs here: verbs start one of their own")
    found = f"one runs here (gcs_server, pid {running.pid}): verbs ask for --ray auto or --ray local"
    return Finding(what="Ray", ok=True, found=found)


def _port() -> Finding:
    owner = machine.port_owner(SERVE_PORT)
    mend = "Set serve.port to another one"
    return Finding(
        what=f"port {SERVE_PORT}", ok=owner is None, found=f"taken by {owner}" if owner else "free", mend=mend
    )


def _tracking(home: Path, uri: str | None) -> Finding:
    from gb_ray.registry.tracking import Tracking

    try:
        found = Tracking.open(home, uri)
    except UserError as error:
        return Finding(what="tracking", ok=False, found=str(error), mend="See mlflow/README.md")
    return Finding(what="tracking", ok=True, found=found.uri)
