"""avtrain doctor: what is installed and what this machine gives for training, each as one finding."""

from __future__ import annotations

import importlib
import platform
import shutil
from collections.abc import Sequence
from pathlib import Path

import torch
import torch.distributed as dist

from avprep.shared import __version__
from avprep.shared.errors import first_line
from avprep.shared.machine import Finding, computer, disks, package, shared_memory

TORCHS_PACKAGES = {"torchvision": "torchvision", "torchaudio": "torchaudio.functional"}
"""packages with libraries of their own that load beside one torch alone, and what loads them"""
NEEDED_PACKAGES = (
    "numpy",
    "pyarrow",
    "safetensors",
    "scikit-learn",
    "simplejpeg",
)
OTHER_PACKAGES = ("fsspec", "s3fs", "gcsfs", "tensorboard", "onnx", "onnxruntime")
SHARED_BYTES = 1_000_000_000  # NCCL between the GPUs of a machine; a container has 64 MB by default


def examine(folders: Sequence[Path] = ()) -> list[Finding]:
    """All findings: versions, GPUs, NCCL, processor, memory, disks of `folders`. Takes a few seconds."""
    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    return [
        Finding(f"avtrain {__version__}, Python {platform.python_version()}, {platform.platform()}"),
        Finding(f"torch {torch.__version__}, {torch.get_num_threads()} threads"),
        *(_loaded(name, module) for name, module in TORCHS_PACKAGES.items()),
        *(package(name, needed=True) for name in NEEDED_PACKAGES),
        *(package(name, needed=False) for name in OTHER_PACKAGES),
        _cuda(),
        *(_gpu(number) for number in range(gpus)),
        _nccl(),
        Finding("gloo: " + ("there" if dist.is_gloo_available() else "missing"), fine=dist.is_gloo_available()),
        _compiler(),
        *computer(),
        *disks(folders),
        shared_memory(least_bytes=SHARED_BYTES if gpus > 1 else 0),
    ]


def _loaded(name: str, module: str) -> Finding:
    """The version of a package that must load beside this torch."""
    installed = package(name, needed=True)
    if not installed.fine:
        return installed
    try:
        importlib.import_module(module)
    except (ImportError, OSError, RuntimeError) as error:
        text = f"{installed.text} does not load beside torch {torch.__version__} ({first_line(error)})"
        return Finding(text, fine=False, needed=True)
    return installed


def _cuda() -> Finding:
    """CUDA as torch was built with it, or why there is no GPU."""
    if torch.version.cuda is None:
        return Finding("CUDA: this torch was built without it, and trains on the CPU", fine=False)
    built = f"CUDA {torch.version.cuda}, cuDNN {torch.backends.cudnn.version()}"
    try:
        torch.cuda.init()
    except (RuntimeError, AssertionError) as error:
        return Finding(f"{built}: no GPU can be used ({first_line(error)})", fine=False)
    return Finding(f"{built}: {torch.cuda.device_count()} GPUs")


def _gpu(number: int) -> Finding:
    about = torch.cuda.get_device_properties(number)
    free, total = torch.cuda.mem_get_info(number)
    runs = f"sm_{about.major}{about.minor}"
    bf16 = "" if torch.cuda.is_bf16_supported() else ", no bf16"
    return Finding(f"GPU {number}: {about.name}, {runs}, {total / 1e9:.1f} GB, {free / 1e9:.1f} GB free{bf16}")


def _nccl() -> Finding:
    """What several GPUs need to talk."""
    if not dist.is_nccl_available():
        return Finding("NCCL: this torch has none", fine=False)
    return Finding(f"NCCL {'.'.join(map(str, torch.cuda.nccl.version()))}")


def _compiler() -> Finding:
    compiler = shutil.which("g++") or shutil.which("c++")
    return Finding(f"C++ compiler: {compiler or 'none, and pretrain --compile needs one'}", fine=compiler is not None)
