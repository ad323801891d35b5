"""The bridge to libtorch: read by the core through a capsule, never by Python code."""

from typing import Final

# csrc/torch/bridge.h: struct mlp_torch_bridge in a capsule of the name "mlprov._torch.bridge".
bridge: Final[object]

# The release that the bridge was built against, as torch.__version__ gives it.
torch_version: Final[str]
