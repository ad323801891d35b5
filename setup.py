"""The list of extension modules; everything else is in pyproject.toml and scripts/."""

import sys
from pathlib import Path

from setuptools import Extension, setup

sys.path.insert(0, str(Path(__file__).parent / "scripts"))

import native_libraries
from extension_build import (
    Build,
    BuildExtensions,
    SourceDistribution,
    find_torch,
    hardening_compile_flags,
    hardening_link_flags,
    sources,
)

CORE_ROOMS = (
    "base",
    "hash",
    "merkle",
    "codec",
    "tensor",
    "capture",
    "files",
    "sign",
    "store",
    "net",
    "anchor",
    "python",
)
WARNINGS = ["-Wall", "-Wextra"]

core = Extension(
    "mlprov._core",
    [*sources("*.c", *CORE_ROOMS), *sources("*.S", "hash")],
    include_dirs=["csrc"],
    define_macros=[
        ("Py_LIMITED_API", "0x030B0000"),
        ("_POSIX_C_SOURCE", "200809L"),
        ("_DEFAULT_SOURCE", None),
    ],
    extra_compile_args=[
        "-std=c11",
        *WARNINGS,
        *hardening_compile_flags(),
        *native_libraries.compile_flags(),
    ],
    extra_link_args=[*hardening_link_flags(), *native_libraries.link_flags()],
    py_limited_api=True,
    language="c",
)

modules = [core]
torch = find_torch()
bridge_sources = sources("*.cpp", "torch")
if torch and bridge_sources:
    bridge = Extension(
        "mlprov._torch",
        bridge_sources,
        include_dirs=["csrc"],
        define_macros=[
            ("MLP_TORCH_VERSION", f'"{torch.version}"'),
            ("_GLIBCXX_USE_CXX11_ABI", str(torch.cxx11_abi)),
        ],
        extra_compile_args=[
            "-std=c++20",
            "-g0",
            *(f"-isystem{directory}" for directory in torch.include_directories),
            *WARNINGS,
            *hardening_compile_flags(),
        ],
        extra_link_args=[
            f"-L{torch.library_directory}",
            *("-lc10", "-ltorch", "-ltorch_cpu", "-ltorch_python"),
            *hardening_link_flags(),
        ],
        language="c++",
    )
    modules.append(bridge)

setup(
    ext_modules=modules,
    cmdclass={"build": Build, "build_ext": BuildExtensions, "sdist": SourceDistribution},
    # Without the bridge, one wheel serves every Python from 3.11 on.
    options={} if len(modules) > 1 else {"bdist_wheel": {"py_limited_api": "cp311"}},
)
