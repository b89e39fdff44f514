"""An owner who knows what shall become of each email, and answers texts as a person would.

What is wanted stands in the sender's address: `approve.1@example.com`, `edit`, `ignore`, `wait` (never answered) and
`late` (answered only once it timed out). The owner texts a thing again only when a text asks for it.
"""

from __future__ import annotations

import re
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from queue import Empty, SimpleQueue

from email_orchestrator.demo.standins import GatewayStandIn, SentMessage

WHO = re.compile(r"\b(approve|edit|ignore|wait|late)\.[\w-]+@example\.com")
NUMBER = re.compile(r"#(\d+)")
PART = re.compile(r"\[(\d+)/(\d+)\] ")


class Owner:
    """Reads the gateway's texts and answers them; `said` lists the answers, `surprises` what made no sense."""

    def __init__(self, gateway: GatewayStandIn, was_accepted: Callable[[int], bool]) -> None:
        self._gateway = gateway
        self._was_accepted = was_accepted
        self._texts: SimpleQueue[SentMessage | None] = SimpleQueue()
        self._wishes: dict[int, str] = {}
        self._answered: set[tuple[int, str]] = set()
        self._last: dict[str, int] = {}
        self._begun: dict[tuple[str, int], list[str]] = defaultdict(list)
        self.busy = False
        self.said: list[str] = []
        self.surprises: list[str] = []
        gateway.sent.on_add = self._texts.put
        self._thread = threading.Thread(target=self._live, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Put the phone away."""
        self._texts.put(None)
        self._thread.join(15)

    @property
    def idle(self) -> bool:
        """Whether every text was read and answered."""
        return not self.busy and self._texts.empty()

    def _live(self) -> None:
        while True:
            try:
                text = self._texts.get(timeout=0.2)
            except Empty:
                continue
            if text is None:
                return
            self.busy = True
            self._read(text.message)
            self.busy = False

    def _read(self, text: str) -> None:
        """Read a text, or the last part of one together with those before it."""
        if part := PART.match(text):
            before = self._begun[part[2], int(part[1]) - 1]
            text = (before.pop() if before else "") + text
            if part[1] != part[2]:
                self._begun[part[2], int(part[1])].append(text)
                return
        number = int(found[1]) if (found := NUMBER.search(text)) else 0
        if who := WHO.search(text):
            self._wishes.setdefault(number, who[1])
        if answer := self._answer(text, number):
            self._say(answer)

    def _answer(self, text: str, number: int) -> str | None:
        wish = self._wishes.get(number, "")
        if "I cannot tell whether" in text:
            return f"3 #{number}" if self._was_accepted(number) else f"retry #{number}"
        if "Failed to" in text:
            return f"retry #{number}"
        if "and is closed" in text:
            return None if wish == "wait" else f"1 #{number}"
        if "crossed with a newer draft" in text:
            return self._decide(wish, number, "crossed")
        if "could not act on" in text:
            self.surprises.append(text)
            return None
        if "1=Send" in text:
            return self._on_offer(text, wish, number)
        return None

    def _on_offer(self, text: str, wish: str, number: int) -> str | None:
        if wish in ("wait", "late") and "Once more" not in text:
            return None
        kind = match[0] if (match := re.search(r"Draft \d+\b|Once more|Reminder", text)) else "Draft 1"
        if (number, kind) in self._answered and kind != "Once more":
            return None
        self._answered.add((number, kind))
        return self._decide(wish, number, kind)

    def _decide(self, wish: str, number: int, kind: str) -> str | None:
        match wish:
            case "ignore":
                return f"3 #{number}"
            case "edit" if (number, "Draft 2") not in self._answered and kind != "Once more":
                return f"2 #{number} make it shorter"
            case "wait":
                return None
        return f"1 #{number}"

    def _say(self, words: str) -> None:
        # A network stamps whole seconds: the same words twice in one second are one text.
        while self._last.get(words) == int(time.time()):
            time.sleep(0.02)
        self._last[words] = int(time.time())
        self.said.append(words)
        self._gateway.text_from_owner(words)
