"""The goals of all scripts that ran, as one table and as ``build/bench.json``."""

from __future__ import annotations

import json

from _measure import RESULTS, Goal, table


def main() -> None:
    """Read ``build/bench/*.json``."""
    scripts = [
        json.loads(path.read_text(encoding="utf-8")) for path in sorted(RESULTS.glob("*.json"))
    ]
    target = RESULTS.with_suffix(".json")
    target.write_text(json.dumps(scripts, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    goals = [
        (script["script"], Goal(goal["claim"], goal["measured"], goal["goal"], goal["at_most"]))
        for script in scripts
        for goal in script["goals"]
        if goal["goal"] is not None
    ]
    missed = sum(1 for _, goal in goals if not goal.met)
    print(f"\n## {len(goals)} goals, {missed} missed ({target})\n")
    if scripts:
        print(f"{scripts[0]['machine']}, {scripts[0]['date']}\n")
    table(
        ["script", "claim", "measured", "goal", ""], [[name, *goal.row()] for name, goal in goals]
    )


if __name__ == "__main__":
    main()
