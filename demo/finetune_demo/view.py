"""Progress for people: a live picture on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console, Group
from rich.live import Live
from rich.markup import escape
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from finetune_demo.snapshot import Snapshot, describe, settled


class View:
    """Shows steps and, while the cluster works, the resources.

    On a terminal the present step has a spinner and the resources are redrawn in place; without one every change is a
    line, so that a log of the demo reads as its story.
    """

    def __init__(self, console: Console) -> None:
        self.console = console
        self._started = time.monotonic()
        self._said: dict[str, str] = {}
        self._live: Live | None = None
        self._title = ""
        self._detail = ""
        self._since = self._started
        self._snapshot = Snapshot()

    @contextmanager
    def step(self, title: str) -> Iterator[None]:
        """Show `title` while the block runs, and how long it took."""
        self._title, self._detail, self._since = title, "", time.monotonic()
        if not self.console.is_terminal:
            self._print(f"{title} ...")
            yield
            self._print(f"{title}: {time.monotonic() - self._since:.0f} s")
            return
        with Live(
            console=self.console, get_renderable=self._render, refresh_per_second=6, transient=True
        ) as self._live:
            yield
        self._live = None
        self.console.print(
            f"[green]✓[/green] {title} [dim]{time.monotonic() - self._since:.0f} s[/dim]", highlight=False
        )

    def detail(self, text: str) -> None:
        """What the present step is at."""
        self._detail = text
        if self._live is None:
            self._print(f"  {text}")

    def resources(self, snapshot: Snapshot) -> None:
        """Show the cluster's resources, which say more than the last detail."""
        self._snapshot, self._detail = snapshot, ""
        if self._live is not None:
            return
        for name, resource in snapshot.resources().items():
            line = describe(name, resource)
            if self._said.get(name) != line:
                self._said[name] = line
                self._print(f"  {line}")

    def _print(self, line: str) -> None:
        stamp = f"{time.monotonic() - self._started:5.0f} s  "
        self.console.print(stamp + line, highlight=False, markup=False, soft_wrap=True)

    def _render(self) -> Group:
        seconds = f" [dim]{time.monotonic() - self._since:.0f} s[/dim]"
        head = Spinner("dots", Text.from_markup(f"{self._title}{seconds}  [dim]{escape(self._detail)}[/dim]"))
        table = Table.grid(padding=(0, 1))
        for name, resource in self._snapshot.resources().items():
            table.add_row(" ", "[green]●[/green]" if settled(resource) else "○", Text(describe(name, resource)))
        for name, pod in sorted(self._snapshot.pods.items()):
            phase = pod.get("status", {}).get("phase", "")
            if phase in {"Pending", "Running"}:
                table.add_row(" ", " ", Text(f"pod/{name}: {phase}", style="dim"))
        return Group(head, table)
