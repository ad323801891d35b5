"""The directory that ``mlprov run`` puts on PYTHONPATH; Python runs its sitecustomize at start."""
