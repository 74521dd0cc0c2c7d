"""Energy from a GPU's counter. The driver's library is one that is compiled here and counts 1.5 J at each look."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from gb_ray.train.account import gpu_meter
from gb_ray.train.account.gpu_meter import GpuMeter

LIBRARY = """
#include <string.h>
int nvmlInitWithFlags(unsigned flags) { return 0; }
int nvmlDeviceGetHandleByUUID(const char *uuid, void **device) { return strcmp(uuid, "GPU-7") ? 6 : 0; }
int nvmlDeviceGetTotalEnergyConsumption(void *device, unsigned long long *millijoules) {
    static unsigned long long count = 1ULL << 40;
    *millijoules = count += 1500;
    return 0;
}
"""
METER = """
import sys
from pathlib import Path
from gb_ray.train.account.gpu_meter import GpuMeter
meter = GpuMeter(Path(sys.argv[1]), 2, 1, sys.argv[2])
meter.write()
"""


@pytest.mark.parametrize(("uuid", "joules"), [("GPU-7", 3.0), ("MIG-7", None)])
def test_a_gpu_counts_from_the_meters_making(tmp_path: Path, uuid: str, joules: float | None) -> None:
    (tmp_path / "nvml.c").write_text(LIBRARY)
    library = tmp_path / "libnvidia-ml.so.1"
    subprocess.run(["gcc", "-shared", "-fPIC", "-o", library, tmp_path / "nvml.c"], check=True)
    environment = os.environ | {"LD_LIBRARY_PATH": str(tmp_path)}
    subprocess.run([sys.executable, "-c", METER, tmp_path, uuid], env=environment, check=True)
    found = json.loads((tmp_path / gpu_meter.FOLDER / "0002-0001.json").read_text())
    assert found == {"gpu": uuid, "joules": joules}
    assert gpu_meter.joules(tmp_path) == joules


def test_without_the_drivers_library_nothing_is_counted(tmp_path: Path) -> None:
    GpuMeter(tmp_path, 1, 0, "GPU-7")
    assert gpu_meter.joules(tmp_path) is None
    assert gpu_meter.joules(tmp_path / "nothing") is None


def test_the_workers_of_one_gpu_read_one_counter(tmp_path: Path) -> None:
    folder = tmp_path / gpu_meter.FOLDER
    folder.mkdir()
    for name, gpu, joules in (
        ("0001-0000", "a", 5),
        ("0001-0001", "a", 6),
        ("0001-0002", "b", 1),
        ("0002-0000", "a", 2),
    ):
        (folder / f"{name}.json").write_text(json.dumps({"gpu": gpu, "joules": joules}))
    assert gpu_meter.joules(tmp_path) == 9
