"""Writes diagram and tables of order states into the pages; run with `python -m tests.unit.protocol.order_pages`.

They are made from STATES and STEPS and stand between two marks; `test_order_pages.py` holds the pages against them.
"""

import re
from pathlib import Path

from tillbridge_protocol.orders import FINAL, STATES, STEPS, UNROUTED

ROOT = Path(__file__).resolve().parents[3]
COMMAND = "python -m tests.unit.protocol.order_pages"


def diagram() -> str:
    """Every step of the table as a mermaid diagram."""
    lines = ["```mermaid", "stateDiagram-v2", f"    [*] --> {UNROUTED}: taken in (server)"]
    lines += [f"    {step.before} --> {step.after}: {step.event} ({step.by})" for step in STEPS]
    lines += [f"    {state} --> [*]" for state in STATES if state in FINAL]
    return "\n".join([*lines, "```"])


def meanings() -> str:
    """What each state means and what a person does about an order that stays in it."""
    rows = [f"| `{name}` | {state.meaning} | {state.next_step} |" for name, state in STATES.items()]
    return "\n".join(["| state | what it means | when an order stays in it |", "|---|---|---|", *rows])


def steps() -> str:
    """Which steps lead out of each state, and who makes them."""
    rows = []
    for state in STATES:
        out = [f"{step.event} → `{step.after}` ({step.by})" for step in STEPS if step.before == state]
        rows.append(f"| `{state}` | {', '.join(out)} |")
    return "\n".join(["| state | steps |", "|---|---|", *rows])


#: page: what stands in it, in order.
PAGES = {"README.md": (diagram, meanings), "protocol/PROTOCOL.md": (steps,)}


def filled(text: str, parts: list[str]) -> str:
    """A page with these parts between its marks, one after the other."""
    made = iter(parts)
    return re.sub(
        r"(<!-- order states: made by [^\n]* -->\n).*?(<!-- end -->)",
        lambda found: f"{found[1]}{next(made)}\n{found[2]}", text, flags=re.DOTALL,
    )


def main() -> None:
    """Write all pages."""
    for page, makers in PAGES.items():
        path = ROOT / page
        text = filled(path.read_text(encoding="utf-8"), [make() for make in makers])
        path.write_text(text, encoding="utf-8", newline="\n")
        print(page)


if __name__ == "__main__":
    main()
