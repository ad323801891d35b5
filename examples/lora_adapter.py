"""A LoRA adapter: a frozen base, a few small matrices that are trained, and a file of these alone.

    python examples/lora_adapter.py     (pip install transformers peft; no download)

Every epoch's record has base and adapter, each tensor with its digest: that the base did not change
is there to be seen. The adapter's file is recorded as a checkpoint.
"""

from __future__ import annotations

import torch
from peft import LoraConfig, get_peft_model
from torch import nn
from transformers import BertConfig, BertForSequenceClassification

import mlprov


def main() -> None:
    """Train the adapter, save it, verify it, and see that the base is as it was."""
    torch.manual_seed(0)
    configuration = BertConfig(
        vocab_size=100, hidden_size=32, num_hidden_layers=2, num_attention_heads=2,
        intermediate_size=64, max_position_embeddings=16,
    )  # fmt: skip
    base = BertForSequenceClassification(configuration)
    adapter = LoraConfig(r=4, target_modules=["query", "value"], task_type="SEQ_CLS")
    model = get_peft_model(base, adapter)
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-2)
    tokens = torch.randint(0, 100, (64, 12))
    labels = (tokens.float().mean(1) > 50).long()

    with mlprov.start("bert-lora", model=model, optimizer=optimizer, config=adapter) as run:
        run.track_data(train=(tokens, labels))
        for epoch in run.epochs(3):
            for batch, target in run.track(zip(tokens.split(16), labels.split(16), strict=True)):
                loss = nn.functional.cross_entropy(model(input_ids=batch).logits, target)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
            epoch.log(loss=loss)
        model.save_pretrained("lora-adapter")
        run.checkpoint("lora-adapter")
    bundle = run.export("lora.mlprov")
    print(run)
    print(mlprov.verify(bundle, model=model))

    changed = [line.name for line in mlprov.diff(f"{run.id}:0", f"{run.id}:2").changes
               if line.kind == "tensor"]  # fmt: skip
    print(f"changed between the first epoch and the last: {len(changed)} tensors")
    if not all("lora_" in name or "classifier" in name for name in changed):
        raise SystemExit("lora_adapter.py: a tensor of the base has changed")


if __name__ == "__main__":
    main()
