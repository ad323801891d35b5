"""Draws docs/hash_rates.svg from what hash_rates.py kept: rates of one thread by size.

python benchmarks/hash_rates.py && python benchmarks/_chart.py
"""

from __future__ import annotations

import json
from pathlib import Path

from _measure import RESULTS

TARGET = Path(__file__).resolve().parents[1] / "docs" / "hash_rates.svg"
WIDTH, HEIGHT = 760, 420
LEFT, RIGHT, TOP, BOTTOM = 60, 170, 40, 60
COLOURS = {
    "mlprov": "#0a6cff",
    "blake3": "#e07b00",
    "sha256": "#8a3ffc",
    "crc32": "#6f6f6f",
    "XOR": "#009d8e",
}
NAMES = {
    "mlprov": "mlprov (BLAKE3)",
    "blake3": "PyPI blake3",
    "sha256": "hashlib SHA-256",
    "crc32": "zlib.crc32",
    "XOR": "torch.hash_tensor (XOR)",
}


def text(x: float, y: float, words: str, anchor: str = "start", colour: str = "#555") -> str:
    """One line of text."""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{colour}">{words}</text>'


def draw(facts: dict[str, object], rates: dict[str, dict[str, float]]) -> str:
    """The whole picture."""
    sizes = list(rates["mlprov"])
    top = max(max(rates[name].values()) for name in COLOURS)
    ceiling = int(top) + 1

    def x(place: int) -> float:
        return LEFT + place * (WIDTH - LEFT - RIGHT) / (len(sizes) - 1)

    def y(value: float) -> float:
        return HEIGHT - BOTTOM - value * (HEIGHT - TOP - BOTTOM) / ceiling

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
        'font-family="sans-serif" font-size="12">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>',
        text(
            LEFT,
            22,
            f"GB/s of one thread by size of the input: {facts['machine']}",
            "start",
            "#222",
        ),
    ]
    for value in range(ceiling + 1):
        parts.append(
            f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y(value):.1f}" y2="{y(value):.1f}" '
            'stroke="#ddd"/>'
        )
        parts.append(text(LEFT - 8, y(value) + 4, str(value), "end"))
    parts += [text(x(i), HEIGHT - BOTTOM + 20, size, "middle") for i, size in enumerate(sizes)]
    ends = sorted(COLOURS, key=lambda name: -rates[name][sizes[-1]])
    label = 0.0
    for name in ends:
        points = " ".join(f"{x(i):.1f},{y(rates[name][size]):.1f}" for i, size in enumerate(sizes))
        width = 3 if name == "mlprov" else 1.5
        parts.append(
            f'<polyline points="{points}" fill="none" stroke="{COLOURS[name]}" '
            f'stroke-width="{width}"/>'
        )
        label = max(label + 16, y(rates[name][sizes[-1]]) + 4)  # none over another
        parts.append(text(WIDTH - RIGHT + 8, label, NAMES[name], "start", COLOURS[name]))
    return "\n".join([*parts, "</svg>"]) + "\n"


def main() -> None:
    """Write the file."""
    facts = json.loads((RESULTS / "hash_rates.json").read_text(encoding="utf-8"))
    TARGET.write_text(draw(facts, facts["rates"]), encoding="utf-8")
    print(f"wrote {TARGET}")


if __name__ == "__main__":
    main()
