"""The interface of the project's founding architecture document, over runs, stores and anchors.

    from mlprov.provenance import BlockchainManager, ProvenanceTracker

:class:`ProvenanceTracker` records a run (:func:`mlprov.start`) and anchors it before training,
after it, and after each epoch, as its JSON configuration says; :class:`BlockchainManager` stores
and verifies single hashes. Neither simulates anything: what is stored is an anchor of the store
log's checkpoint (docs/anchoring.md), delivered through the outbox. docs/founding.md has an example.
"""

from mlprov.provenance.blockchain import BlockchainManager
from mlprov.provenance.tracker import ProvenanceTracker

__all__ = ["BlockchainManager", "ProvenanceTracker"]
