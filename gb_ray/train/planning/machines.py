"""Accelerators a run may be planned for: memory, arithmetic, bandwidth, power.

Each entry names the maker's page its figures are from. On 2026-11-22 they were compared with what others quote of these
pages: the pages themselves were out of reach.
"""

from __future__ import annotations

import re
from typing import NamedTuple

NVIDIA = "https://www.nvidia.com/en-us/data-center"


class Accelerator(NamedTuple):
    """One device. Rates are without sparsity, which training does not use, and without TF32, which torch leaves off."""

    memory: int
    """Bytes."""
    half: float
    """FLOP/s in 16 bits."""
    single: float
    """FLOP/s in fp32."""
    bandwidth: float
    """Bytes a second between memory and processor."""
    watts: float
    """What one may take at the most."""
    bf16: bool
    words: frozenset[str]
    """All of them are in the name by which the device calls itself."""
    page: str

    def peak(self, precision: str) -> float:
        """FLOP/s in bf16, fp16 or fp32."""
        return self.single if precision == "fp32" else self.half


def _of(
    gigabytes: int, half: float, single: float, bandwidth: float, watts: float, words: str, page: str, bf16: bool = True
) -> Accelerator:
    rates = half * 1e12, single * 1e12, bandwidth * 1e12
    return Accelerator(int(gigabytes * 1e9), *rates, watts, bf16, frozenset(words.lower().split()), page)


# The pages of Ada, Hopper and Blackwell give tensor rates with sparsity, which are twice these: 242 for an L4, 733 for
# an L40S, 1,979 for H100 SXM and H200. Those of B200 are an eighth of HGX B200's 36 PFLOP/s and 600 TFLOP/s, and of DGX
# B200's 1,440 GB and 64 TB/s. Of a T4 the page says 300 GB/s, its data sheet 320 and more. Of an A100 the
# watts are those of an SXM module; one on PCIe takes 250 or 300.
CATALOGUE = {
    "T4-16GB": _of(16, 65, 8.1, 0.3, 70, "T4", f"{NVIDIA}/tesla-t4/", bf16=False),
    "L4-24GB": _of(24, 121, 30.3, 0.3, 72, "L4", f"{NVIDIA}/l4/"),
    "L40S-48GB": _of(48, 362, 91.6, 0.864, 350, "L40S", f"{NVIDIA}/l40s/"),
    "A100-40GB": _of(40, 312, 19.5, 1.555, 400, "A100 40GB", f"{NVIDIA}/a100/"),
    "A100-80GB": _of(80, 312, 19.5, 2.039, 400, "A100 80GB", f"{NVIDIA}/a100/"),
    "H100-80GB": _of(80, 989, 67, 3.35, 700, "H100 80GB HBM3", f"{NVIDIA}/h100/"),
    "H200-141GB": _of(141, 989, 67, 4.8, 700, "H200", f"{NVIDIA}/h200/"),
    "B200-180GB": _of(180, 2250, 75, 8.0, 1000, "B200", f"{NVIDIA}/dgx-b200/"),
    "MI300X-192GB": _of(
        192, 1307, 163, 5.3, 750, "MI300X", "https://www.amd.com/en/products/accelerators/instinct/mi300/mi300x.html"
    ),
}


def by_device_name(name: str) -> Accelerator | None:
    """The entry of a device by what it calls itself, such as "NVIDIA A100-SXM4-80GB"; None where there is none."""
    words = set(re.split(r"[^a-z0-9]+", name.lower()))
    return next((entry for entry in CATALOGUE.values() if entry.words <= words), None)
