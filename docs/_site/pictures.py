"""Draws the pictures of the documentation: ``python docs/_site/pictures.py`` writes docs/pictures/*.svg."""

from __future__ import annotations

from pathlib import Path
from xml.sax.saxutils import escape

FOLDER = Path(__file__).parents[1] / "pictures"

INK, GREY, PALE = "#1f2933", "#7b8794", "#f1f5f4"
GREEN, ORANGE, BLUE = "#0b6e4f", "#c05621", "#2b6cb0"

_CHARACTER = 0.55
"""The width of a character of a wide sans-serif font, as a part of its size."""


class Picture:
    """An SVG with a white background, which is readable in light and dark mode."""

    def __init__(self, width: int, height: int, title: str) -> None:
        self._width = width
        self._head = (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}"'
            f' height="{height}" role="img" font-family="system-ui, sans-serif" font-size="14">\n'
            f"<title>{escape(title)}</title>\n"
            f'<rect width="{width}" height="{height}" fill="#fff"/>\n'
            "<defs>"
            + "".join(
                f'<marker id="to-{colour[1:]}" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="7"'
                f' markerHeight="7" orient="auto"><path d="M0 0L10 5L0 10z" fill="{colour}"/></marker>'
                for colour in (INK, GREY, GREEN, ORANGE, BLUE)
            )
            + "</defs>\n"
        )
        self._parts: list[str] = []

    def box(
        self, x: int, y: int, width: int, height: int, text: str = "", *, fill: str = PALE, edge: str = GREY
    ) -> None:
        self._parts.append(
            f'<rect x="{x}" y="{y}" width="{width}" height="{height}" rx="6" fill="{fill}" stroke="{edge}"/>'
        )
        if text:
            self.text(x + width // 2, y + height // 2 + 5, text, anchor="middle")

    def text(
        self, x: int, y: int, text: str, *, colour: str = INK, anchor: str = "start", size: int = 14
    ) -> None:
        before = {"start": 0.0, "middle": 0.5, "end": 1.0}[anchor]
        width = len(text) * size * _CHARACTER
        if x - width * before < 0 or x + width * (1 - before) > self._width:
            raise ValueError(f"{text!r} does not fit into the picture")
        self._parts.append(
            f'<text x="{x}" y="{y}" fill="{colour}" text-anchor="{anchor}" font-size="{size}">'
            f"{escape(text)}</text>"
        )

    def line(
        self,
        x1: int,
        y1: int,
        x2: int,
        y2: int,
        *,
        colour: str = GREY,
        width: int = 1,
        is_dashed: bool = False,
    ) -> None:
        dashes = ' stroke-dasharray="5 4"' if is_dashed else ""
        self._parts.append(
            f'<line x1="{x1}" y1="{y1}" x2="{x2}" y2="{y2}" stroke="{colour}"'
            f' stroke-width="{width}"{dashes}/>'
        )

    def arrow(
        self, x1: int, y1: int, x2: int, y2: int, *, colour: str = INK, is_dashed: bool = False
    ) -> None:
        dashes = ' stroke-dasharray="5 4"' if is_dashed else ""
        self._parts.append(
            f'<line x1="{x1}" y1="{y1}" x2="{x2}" y2="{y2}" stroke="{colour}" stroke-width="2"'
            f' marker-end="url(#to-{colour[1:]})"{dashes}/>'
        )

    def __str__(self) -> str:
        return self._head + "\n".join(self._parts) + "\n</svg>\n"


def lanes() -> Picture:
    """Conversations, lanes and connections."""
    picture = Picture(720, 300, "Conversations, lanes and connections")
    picture.text(100, 24, "conversations", anchor="middle", colour=GREY)
    picture.text(400, 24, "connections with lanes", anchor="middle", colour=GREY)
    picture.text(640, 24, "service", anchor="middle", colour=GREY)
    picture.box(560, 40, 140, 240, "Responses API")
    for top, names in ((40, ("Ada", "Bob", "Cleo")), (170, ("Dan", "Eve"))):
        picture.box(270, top, 260, 110 if len(names) == 3 else 80, fill="#fff", edge=GREEN)
        for index, name in enumerate(names):
            middle = top + 22 + 33 * index
            picture.box(30, middle - 13, 140, 26, f"{name}: a turn")
            picture.arrow(170, middle, 285, middle, colour=GREEN)
            picture.line(288, middle, 530, middle, colour=GREEN, width=3)
            picture.text(300, middle - 5, f"lane-{index}", size=12, colour=GREEN)
            picture.arrow(530, middle, 560, middle, colour=GREEN)
    picture.box(30, 252, 140, 26, "1,000 more, idle", fill="#fff")
    picture.text(280, 270, "an idle conversation needs no socket", colour=GREY)
    return picture


def fleet() -> Picture:
    """Processes, balancer, replicas of the gateway, and the service."""
    picture = Picture(720, 330, "Processes, balancer, gateway and service")
    for x, name in ((90, "your processes"), (268, "balancer"), (440, "gateway"), (640, "service")):
        picture.text(x, 24, name, anchor="middle", colour=GREY)
    picture.box(580, 40, 120, 270, "Responses API")
    picture.text(20, 62, "one process", colour=GREY, size=12)
    picture.box(20, 70, 140, 30, "trunkline.Client", fill="#e6f4ef", edge=GREEN)
    picture.line(160, 85, 574, 85, colour=GREEN, width=3)
    picture.text(20, 127, "one machine", colour=GREY, size=12)
    picture.box(20, 135, 140, 30, "jobs, workers")
    picture.arrow(160, 150, 378, 150)
    picture.box(380, 135, 120, 30, "sidecar", fill="#e6f4ef", edge=GREEN)
    picture.line(500, 150, 574, 150, colour=GREEN, width=3)
    picture.text(20, 192, "many machines", colour=GREY, size=12)
    for y in (200, 240, 280):
        picture.box(20, y, 140, 30, ("Python", "JavaScript", "any client")[(y - 200) // 40])
        picture.arrow(160, y + 15, 208, 255)
        picture.arrow(328, 255, 378, y + 15)
        picture.box(380, y, 120, 30, "replica", fill="#e6f4ef", edge=GREEN)
        picture.line(500, y + 15, 574, y + 15, colour=GREEN, width=3)
    picture.box(210, 235, 118, 40, "hash by key")
    picture.text(572, 76, "few warm sockets", colour=GREEN, size=12, anchor="end")
    return picture


def delta() -> Picture:
    """Two turns of a conversation: the first in full, the second as a delta."""
    picture = Picture(720, 250, "Full turns and deltas")
    picture.text(40, 30, "the history of your application", colour=GREY)
    x = 40
    items = (("instructions", 100), ("user", 60), ("call", 60), ("output", 70), ("answer", 70), ("user", 60))
    for index, (name, width) in enumerate(items):
        is_new = index == len(items) - 1
        picture.box(
            x, 45, width, 34, name, fill="#e6f4ef" if is_new else PALE, edge=GREEN if is_new else GREY
        )
        x += width + 8
    picture.line(40, 92, 436, 92, colour=BLUE, width=2)
    picture.text(40, 112, "the service remembers this as response A", colour=BLUE)
    picture.line(444, 92, 504, 92, colour=GREEN, width=2)
    picture.text(444, 112, "new", colour=GREEN)
    picture.text(40, 155, "full", colour=ORANGE)
    picture.box(110, 137, 400, 28, "instructions + all items", fill="#fdf0e7", edge=ORANGE)
    picture.text(525, 156, "first, or after a loss", colour=GREY)
    picture.text(40, 205, "delta", colour=GREEN)
    picture.box(110, 187, 240, 28, "previous_response_id: A + user", fill="#e6f4ef", edge=GREEN)
    picture.text(365, 206, "sent on every further turn", colour=GREY)
    return picture


def barge_in() -> Picture:
    """An interruption: the old answer drains on its lane while the next turn runs on another."""
    picture = Picture(720, 250, "An interruption on lanes")
    for y, name in ((70, "lane-0"), (150, "lane-1")):
        picture.text(20, y + 5, name, colour=GREY)
        picture.line(80, y, 690, y)
    picture.box(100, 54, 60, 32, "turn 1")
    picture.box(160, 54, 150, 32, "answer, spoken", fill="#e6f4ef", edge=GREEN)
    picture.box(310, 54, 280, 32, "the rest drains, unread", fill="#fff", edge=GREY)
    picture.line(310, 30, 310, 190, colour=ORANGE, width=2, is_dashed=True)
    picture.text(318, 40, "the caller interrupts", colour=ORANGE)
    picture.box(316, 134, 60, 32, "turn 2")
    picture.box(376, 134, 214, 32, "answer, spoken", fill="#e6f4ef", edge=GREEN)
    picture.text(316, 190, "sent at once, on the same connection", colour=GREEN)
    picture.text(20, 230, "The history holds what the caller heard: chat.heard(…)", colour=INK)
    return picture


def recovery() -> Picture:
    """A connection that is lost before and after the first output."""
    picture = Picture(720, 280, "Recovery of a turn")
    for top, title in ((40, "lost before output"), (160, "lost after output")):
        picture.text(20, top - 10, title, colour=GREY)
        picture.box(20, top, 70, 34, "send")
        picture.arrow(90, top + 17, 120, top + 17)
        picture.box(120, top, 90, 34, "created", fill="#fff")
    picture.arrow(210, 57, 250, 57)
    picture.box(250, 40, 110, 34, "lost", fill="#fdf0e7", edge=ORANGE)
    picture.arrow(360, 57, 400, 57, colour=GREEN)
    picture.box(400, 40, 150, 34, "sent again", fill="#e6f4ef", edge=GREEN)
    picture.arrow(550, 57, 590, 57, colour=GREEN)
    picture.box(590, 40, 110, 34, "answer", fill="#e6f4ef", edge=GREEN)
    picture.text(250, 95, "on another connection; only the metrics show it", colour=GREEN)
    picture.arrow(210, 177, 250, 177)
    picture.box(250, 160, 110, 34, "text, read")
    picture.arrow(360, 177, 400, 177)
    picture.box(400, 160, 150, 34, "lost", fill="#fdf0e7", edge=ORANGE)
    picture.arrow(550, 177, 590, 177, colour=ORANGE)
    picture.box(590, 160, 110, 34, "exception", fill="#fdf0e7", edge=ORANGE)
    picture.text(250, 215, "ConnectionLost(output_seen=True): no text comes twice,", colour=ORANGE)
    picture.text(250, 235, "and the history holds what was read", colour=ORANGE)
    return picture


def layers() -> Picture:
    """The layers of the package, with what each may import."""
    picture = Picture(720, 400, "Layers of the package")
    rows = (
        ("client, conversation, run, stream", "the API", PALE),
        ("_turns", "one turn: attempts, unread events, deadlines", PALE),
        ("_network", "connections, pool, HTTP, dials, wake-ups", PALE),
        ("_observe", "metrics, hooks, wire log: written, never read", PALE),
        ("_decisions", "pure: baselines, placement, recovery", "#e6f4ef"),
        ("_protocol", "pure: events, items, lanes, reception", "#e6f4ef"),
    )
    for index, (name, about, fill) in enumerate(rows):
        top = 20 + 62 * index
        picture.box(30, top, 280, 44, name, fill=fill, edge=GREEN if fill != PALE else GREY)
        picture.text(330, top + 27, about, colour=GREY)
        if index + 1 < len(rows):
            picture.arrow(170, top + 44, 170, top + 62, colour=GREY)
    return picture


def favicon() -> Picture:
    """Three lanes on a line."""
    picture = Picture(32, 32, "trunkline")
    picture.box(1, 1, 30, 30, fill=GREEN, edge=GREEN)
    for y in (10, 16, 22):
        picture.line(6, y, 26, y, colour="#ffffff", width=2)
    return picture


PICTURES = {
    "lanes": lanes,
    "fleet": fleet,
    "delta": delta,
    "barge-in": barge_in,
    "recovery": recovery,
    "layers": layers,
    "favicon": favicon,
}


def main() -> None:
    """Write all pictures."""
    FOLDER.mkdir(exist_ok=True)
    for name, draw in PICTURES.items():
        (FOLDER / f"{name}.svg").write_text(str(draw()))


if __name__ == "__main__":
    main()
