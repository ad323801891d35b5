"""Two lines for each framework: its own callbacks, recorded as a run.

    trainer = L.Trainer(callbacks=[mlprov.integrations.lightning.Callback("digits")])
    trainer = Trainer(..., callbacks=[mlprov.integrations.huggingface.Callback("digits")])
    model.fit(x, y, callbacks=[mlprov.integrations.keras.Callback("digits")])
    run = mlprov.integrations.sklearn.fit(estimator, x, y)

Frameworks without hooks, such as JAX, say what their weights are: ``run.step(state)``. A framework
is imported when its module here is used, and by nothing else. What each records, and what it cannot
see, is told in docs/integrations.md.
"""

from __future__ import annotations

import importlib
from typing import Any

__all__ = ["huggingface", "keras", "lightning", "sklearn"]


def __getattr__(name: str) -> Any:
    """Load the module of a framework when it is first used (PEP 562)."""
    if name not in __all__:
        raise AttributeError(f"module 'mlprov.integrations' has no attribute {name!r}")
    return importlib.import_module(f"mlprov.integrations.{name}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
